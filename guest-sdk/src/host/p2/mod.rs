//! A host of wasi:http 0.2: the bindings of `wasip2`, and what makes an async program of their pollables.
//!
//! The exported function is not async: it runs the handler, and what that has spawned, to the end.

mod convert;
mod executor;
mod incoming;
mod outgoing;

use std::future::Future;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use http::StatusCode;
use wasip2::clocks::monotonic_clock;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{IncomingRequest, OutgoingResponse, ResponseOutparam};

use self::convert::{fields, incoming_request, incoming_response, outgoing_request};
use self::executor::Readiness;
use super::Active;
use crate::{Request, Response, Result, answer, respond};

pub(super) static ACTIVE: Active = Active::new();

pub(super) fn sleep(duration: Duration) -> LocalBoxFuture<'static, ()> {
    let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let passed = Readiness::of(monotonic_clock::subscribe_duration(nanoseconds));
    async move { passed.wait().await }.boxed_local()
}

pub(super) fn send(request: Request) -> LocalBoxFuture<'static, Result<Response>> {
    async {
        let (head, contents) = request.into_parts();
        let (request, body) = outgoing_request(&head)?;
        let arriving = outgoing_handler::handle(request, None).map_err(convert::told)?;
        // The answer may begin before the request has ended.
        executor::spawn(outgoing::send(contents, body).boxed_local());
        let arrived = loop {
            if let Some(arrived) = arriving.get() {
                break arrived.expect("an answer is taken once");
            }
            Readiness::of(arriving.subscribe()).wait().await;
        };
        incoming_response(arrived.map_err(convert::told)?)
    }
    .boxed_local()
}

pub(super) fn spawn(task: LocalBoxFuture<'static, ()>) {
    executor::spawn(task);
}

/// What the exported function does.
#[doc(hidden)]
pub fn handle<F>(handler: impl FnOnce(Request) -> F + 'static, request: IncomingRequest, answer_to: ResponseOutparam)
where
    F: Future<Output = Result<Response>> + 'static,
{
    ACTIVE.set();
    executor::run(async move {
        let response = match incoming_request(request) {
            Ok(request) => answer::of(handler(request).await),
            // The host has let something through that is no request of HTTP.
            Err(error) => answer::of(Err(respond::refuse(StatusCode::BAD_REQUEST, format!("{error:#}")))),
        };
        respond_with(response, answer_to).await;
    });
}

async fn respond_with(mut response: Response, answer_to: ResponseOutparam) {
    let headers = fields(response.headers()).unwrap_or_else(|error| {
        response = answer::of(Err(error.context("the host refuses the headers of the answer")));
        fields(response.headers()).expect("the headers of a failure are well-formed")
    });
    let head = OutgoingResponse::new(headers);
    head.set_status_code(response.status().as_u16()).expect("a `StatusCode` is one");
    let body = head.body().expect("the body is taken once");
    ResponseOutparam::set(answer_to, Ok(head));
    outgoing::send(response.into_body(), body).await;
}

/// Exports the handler; the attribute `handler` writes this.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_p2 {
    ($handler:path) => {
        struct Exported;

        impl $crate::__private::wasip2::exports::http::incoming_handler::Guest for Exported {
            fn handle(
                request: $crate::__private::wasip2::http::types::IncomingRequest,
                answer_to: $crate::__private::wasip2::http::types::ResponseOutparam,
            ) {
                $crate::__private::p2::handle($handler, request, answer_to);
            }
        }

        $crate::__private::wasip2::http::proxy::export!(Exported with_types_in $crate::__private::wasip2);
    };
}
