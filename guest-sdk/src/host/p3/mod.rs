//! A host of wasi:http 0.3: the bindings of `wasip3`, and most of its conversions from and to the types of `http`.
//!
//! One instance serves many requests at once, so nothing here is kept for longer than a call.

mod convert;

use std::future::Future;
use std::time::Duration;

use anyhow::anyhow;
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use http::StatusCode;
use wasip3::clocks::monotonic_clock;
use wasip3::http::client;
use wasip3::http::types::{ErrorCode, Request as WasiRequest, Response as WasiResponse};
use wasip3::http_compat::{http_from_wasi_response, http_into_wasi_request};

use self::convert::{fields, incoming_request, outgoing_response};
use super::Active;
use crate::{Body, Request, Response, Result, answer, respond};

pub(super) static ACTIVE: Active = Active::new();

pub(super) fn sleep(duration: Duration) -> LocalBoxFuture<'static, ()> {
    let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    monotonic_clock::wait_for(nanoseconds).boxed_local()
}

pub(super) fn send(request: Request) -> LocalBoxFuture<'static, Result<Response>> {
    async {
        let request = http_into_wasi_request(request).map_err(told)?;
        let response = client::send(request).await.map_err(told)?;
        Ok(http_from_wasi_response(response).map_err(told)?.map(Body::new))
    }
    .boxed_local()
}

pub(super) fn spawn(task: LocalBoxFuture<'static, ()>) {
    // Without its handle it goes on by itself.
    drop(wasip3::spawn_local(task));
}

fn told(code: ErrorCode) -> anyhow::Error {
    anyhow!("{code:?}")
}

/// What the exported function does.
#[doc(hidden)]
pub async fn handle<F>(handler: impl FnOnce(Request) -> F, request: WasiRequest) -> Result<WasiResponse, ErrorCode>
where
    F: Future<Output = Result<Response>>,
{
    ACTIVE.set();
    let mut response = match incoming_request(request) {
        Ok(request) => answer::of(handler(request).await),
        // The host has let something through that is no request of HTTP.
        Err(error) => answer::of(Err(respond::refuse(StatusCode::BAD_REQUEST, format!("{error:#}")))),
    };
    let headers = fields(response.headers()).unwrap_or_else(|error| {
        response = answer::of(Err(error.context("the host refuses the headers of the answer")));
        fields(response.headers()).expect("the headers of a failure are well-formed")
    });
    Ok(outgoing_response(response.status(), headers, response.into_body()))
}

/// Exports the handler; the attribute `handler(p3)` writes this.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_p3 {
    ($handler:path) => {
        struct Exported;

        impl $crate::__private::wasip3::exports::http::handler::Guest for Exported {
            async fn handle(
                request: $crate::__private::wasip3::http::types::Request,
            ) -> ::core::result::Result<
                $crate::__private::wasip3::http::types::Response,
                $crate::__private::wasip3::http::types::ErrorCode,
            > {
                $crate::__private::p3::handle($handler, request).await
            }
        }

        $crate::__private::wasip3::http::service::export!(Exported with_types_in $crate::__private::wasip3);
    };
}
