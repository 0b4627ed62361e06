//! What runs inside of an instance: its event loop, which begins what arrives and passes on what is answered. Whoever drives the
//! instance polls it; time is not kept here.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use http::Request;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::oneshot;
use wasmtime::component::Accessor;
use wasmtime::{AsContextMut, Store};
use wasmtime_wasi_http::p3;
use wasmtime_wasi_http::p3::bindings::Service;
use wasmtime_wasi_http::{Error, WasiHttpView};

use super::super::body::RequestBody;
use super::super::fault::Fault;
use super::super::grants::CallName;
use super::super::link::Link;
use super::super::sandbox::Sandbox;
use super::super::tasks::Tasks;
use super::seat::Place;
use super::{Pre, Reuse};

/// Requests on their way into the loop, and what it says of itself.
pub(super) struct Inbox {
    pub(super) arrived: RefCell<VecDeque<Arrival>>,
    /// No task runs, and nothing has arrived.
    pub(super) is_idle: Cell<bool>,
    /// The guest takes another request at the moment.
    pub(super) is_ready: Cell<bool>,
    /// Whose request has begun since the loop was last polled from outside: one at a time.
    pub(super) begun: RefCell<Option<Arc<Link>>>,
}

pub(super) struct Arrival {
    pub(super) request: Request<RequestBody>,
    pub(super) place: Rc<Place>,
    pub(super) name: CallName,
    /// Nothing else was in the instance when it came.
    pub(super) is_alone: bool,
    pub(super) sent: oneshot::Receiver<()>,
}

/// Instantiates, and runs until something ends the instance.
pub(super) async fn run(
    pre: Arc<Pre>,
    mut store: Store<Sandbox>,
    inbox: Rc<Inbox>,
    reuse: Reuse,
) -> (Store<Sandbox>, wasmtime::Result<()>) {
    let result = match pre.service.instantiate_async(&mut store).await {
        Ok(service) => {
            let served = store.run_concurrent(async |accessor| serve(accessor, &service, &inbox, reuse).await).await;
            served.and_then(|result| result)
        }
        Err(error) => Err(error),
    };
    if result.is_err() {
        Tasks::blame(&mut store.as_context_mut());
    }
    (store, result)
}

/// Begins what arrives, and passes on what is answered.
async fn serve(accessor: &Accessor<Sandbox>, service: &Service, inbox: &Inbox, reuse: Reuse) -> wasmtime::Result<()> {
    let handler = *service.wasi_http_handler().func_handle().func();
    let mut answers = pin!(FuturesUnordered::new());
    // This is polled before each piece of work that the guest does, and after the last. So nothing needs to wake it.
    let mut nobody = Context::from_waker(Waker::noop());
    poll_fn(|cx| {
        while let Poll::Ready(Some(answered)) = answers.poll_next_unpin(cx) {
            answered?;
        }
        let is_ready = accessor.poll_ready_for_concurrent_call(handler, &mut nobody).is_ready();
        let mut is_idle = answers.is_empty() && accessor.poll_no_interesting_tasks(&mut nobody).is_ready();
        // Where one request is served at a time, what goes on after its answer is still part of it.
        if is_ready
            && (reuse.at_once_max > 1 || is_idle)
            && inbox.begun.borrow().is_none()
            && let Some(arrival) = inbox.next()
        {
            inbox.begun.replace(Some(Arc::clone(&arrival.place.link)));
            answers.push(begin(accessor, service, arrival)?);
            is_idle = false;
        }
        inbox.is_ready.set(is_ready);
        inbox.is_idle.set(is_idle && inbox.arrived.borrow().is_empty());
        Poll::Pending
    })
    .await
}

/// A request's body that tells the call when the guest waits for more: it may not be the call that drives the guest.
struct Upload {
    body: RequestBody,
    link: Arc<Link>,
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let waited = self.body.is_awaited();
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        // Once: who waits may be the call itself, if the guest answers with this very body.
        if frame.is_pending() && !waited {
            self.link.alarm.wake();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Inbox {
    /// The next request that somebody still waits for.
    fn next(&self) -> Option<Arrival> {
        let mut arrived = self.arrived.borrow_mut();
        std::iter::from_fn(|| arrived.pop_front()).find(|arrival| arrival.place.is_seated.get())
    }
}

/// Starts a task for a request. The future ends when it has answered.
fn begin<'a>(
    accessor: &'a Accessor<Sandbox>,
    service: &'a Service,
    arrival: Arrival,
) -> wasmtime::Result<impl Future<Output = wasmtime::Result<()>> + 'a> {
    let Arrival { request, place, name, is_alone, sent } = arrival;
    let link = Arc::clone(&place.link);
    // A line that the guest prints, or a request that it sends, is this one's for certain only if it is alone.
    let name = if is_alone { name } else { CallName { request: None } };
    let handle = service.wasi_http_handler().func_handle();
    let call = accessor.with(|mut store| {
        let sandbox = store.data_mut();
        sandbox.name_requests(name);
        let http = sandbox.http();
        // What becomes of the request's body is the client's affair, and not the answer's.
        let request = request.map(|body| Upload { body, link: Arc::clone(&link) });
        let (request, _) = p3::Request::from_http(http.hooks, request);
        let request = http.table.push(request)?;
        let call = handle.start_call_concurrent(store.as_context_mut(), (request,))?;
        if let Some(tasks) = store.data_mut().tasks() {
            tasks.begin(call.task(), Arc::clone(&link));
        }
        wasmtime::error::Ok(call)
    })?;
    Ok(async move {
        let (answer,) = handle.finish_call_concurrent(accessor, call).await?;
        let answer = match answer {
            Ok(response) => accessor.with(|mut store| {
                let response = store.data_mut().http().table.delete(response)?;
                let passed_on = async move { sent.await.map_err(|_| Error::ConnectionTerminated) };
                let answer = response.into_http(store.as_context_mut(), passed_on);
                wasmtime::error::Ok(answer.map_err(|error| Fault::BadAnswer(error.root_cause().to_string())))
            })?,
            Err(code) => Err(Fault::from_error_code_03(&code)),
        };
        link.answer(answer);
        link.alarm.wake();
        drop(place);
        Ok(())
    })
}
