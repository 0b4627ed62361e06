//! The kind of guest that exports `wasi:http/handler@0.3`: one instance serves many requests at once, on one thread.
//!
//! An instance has an event loop of its own, which runs all its tasks; whoever drives that drives all of them. It is
//! driven by the calls that are in it, each when it is polled, so that a request which answers at once is answered at
//! once; and by the thread (`shelf`), when something has happened that no call was waiting for.
//!
//! ```text
//!  call ──arrival──► inbox ──► loop: start the task ──► its answer ──► link ──► call
//!    │                          ▲        │ all tasks of the instance
//!    └────────── drive ─────────┘◄───────┘ wake: the thread is rung, and drives
//! ```
//!
//! Time is kept outside of the loop, because a guest that does not return keeps it from running: each call's by its
//! connection, each instance's by its thread. A task cannot be ended from outside, so one that is overdue retires its
//! instance: it takes nothing new, and goes when the others have ended, or are overdue as well. A trap, a limit that is
//! passed and an exit end the instance, and with it all that are in it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use http::uri::{self, Authority};
use http::{HeaderValue, Request, Uri};
use http_body::{Body, Frame, SizeHint};
use tokio::sync::oneshot;
use wasmtime::component::{Accessor, Component, Linker};
use wasmtime::{AsContextMut, Engine, Store};
use wasmtime_wasi_http::p3;
use wasmtime_wasi_http::p3::bindings::{Service, ServicePre};
use wasmtime_wasi_http::{Error, WasiHttpView};

use super::alarm::Alarm;
use super::body::{Recall, RequestBody};
use super::call::{Scheme, panic_text};
use super::clockwork::Clockwork;
use super::fault::{Fault, judge};
use super::link::Link;
use super::sandbox::{CallName, Grants, Sandbox};
use super::stopwatch::Stopwatch;
use super::tasks::Tasks;

/// How long a request goes on that nobody waits for any more. If it has not ended by then, its instance is retired; and
/// is ended, if nobody waits for anything in it.
const ABANDONED_GRACE: Duration = Duration::from_secs(1);

/// What makes instances of one module.
pub(super) struct Pre {
    service: ServicePre<Sandbox>,
}

/// Checks all that can be checked before a request comes: every import and the handler's type.
pub(super) fn prepare(linker: &Linker<Sandbox>, component: &Component) -> wasmtime::Result<Pre> {
    Ok(Pre { service: ServicePre::new(linker.instantiate_pre(component)?)? })
}

/// The request with all that it says of whom it is for in its URI, where a guest of this kind finds it.
pub(super) fn addressed(
    request: Request<RequestBody>,
    scheme: Scheme,
    authority: &HeaderValue,
) -> Request<RequestBody> {
    let (mut parts, body) = request.into_parts();
    let mut uri = parts.uri.into_parts();
    uri.scheme = Some(match scheme {
        Scheme::Http => uri::Scheme::HTTP,
        Scheme::Https => uri::Scheme::HTTPS,
    });
    uri.authority = uri.authority.or_else(|| Authority::try_from(authority.as_bytes()).ok());
    // A request that names no host (HTTP/1.0) has neither.
    if uri.authority.is_none() {
        uri.scheme = None;
    }
    parts.uri = Uri::from_parts(uri).unwrap_or_default();
    Request::from_parts(parts, body)
}

/// How far an instance is used.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reuse {
    /// Requests that it serves in all; 0: as many as come.
    pub(super) requests_max: u64,
    /// Requests that it serves at once.
    pub(super) at_once_max: usize,
}

/// One instance, shared by the calls that are in it and the thread that it lives on.
pub(super) struct Shared {
    pulse: Arc<Pulse>,
    inbox: Rc<Inbox>,
    life: RefCell<Life>,
    grants: Arc<Grants>,
    clockwork: Arc<Clockwork>,
    reuse: Reuse,
    /// Requests that it has begun.
    begun: Cell<u64>,
    /// What goes on in it although nobody waits for anything may go on until then.
    ends: Cell<Instant>,
    /// Those that are in it: a call waits for the answer, or a task has not given it.
    places: RefCell<Vec<Weak<Place>>>,
    /// It was the last one of those whose client has got its answer that set this.
    ends_late: Cell<bool>,
    /// Since when there has always been something to do.
    busy_since: Cell<Option<Instant>>,
    /// Instances of its module on its thread.
    siblings: Rc<Cell<usize>>,
    /// It takes nothing new.
    retired: Cell<bool>,
    /// It was in the middle of something when it last yielded: nothing else of it runs before that is done.
    is_computing: Cell<bool>,
    /// When it was last driven, and how that ended: it would have gone on.
    driven: Cell<Instant>,
    was_sliced: Cell<bool>,
}

/// What wakes an instance, and how long it runs.
struct Pulse {
    alarm: Alarm,
    stopwatch: Arc<Stopwatch>,
}

enum Life {
    Running(Running),
    /// Nothing of it runs any more. Its store lives until all calls have taken what their guest had said by then: the
    /// end of a body can be told from one that was left unfinished only as long as it does.
    Over(Box<End>),
}

/// How an instance has ended.
struct End {
    fault: Fault,
    /// Whose task did it, if that is known.
    culprit: Option<Arc<Link>>,
    /// A call has been told, and the log will be.
    is_told: Cell<bool>,
    /// `None`: it was lost in a panic of the host, and nothing that is left of its bodies can be believed.
    store: Option<Store<Sandbox>>,
}

/// The event loop. The store comes back with its end.
type Running = Pin<Box<dyn Future<Output = (Store<Sandbox>, wasmtime::Result<()>)>>>;

/// Requests on their way into the loop, and what it says of itself.
struct Inbox {
    arrived: RefCell<VecDeque<Arrival>>,
    /// Of the loop, since it last looked.
    waker: RefCell<Waker>,
    /// No task runs.
    is_idle: Cell<bool>,
    /// The guest takes another request at the moment.
    is_ready: Cell<bool>,
}

struct Arrival {
    request: Request<RequestBody>,
    link: Arc<Link>,
    name: CallName,
    place: Rc<Place>,
    sent: oneshot::Receiver<()>,
}

/// One request in the instance; lives as long as a call waits for it or its task has not answered.
struct Place {
    link: Arc<Link>,
    /// When it must be over.
    ends: Cell<Instant>,
    /// A call waits.
    is_seated: Cell<bool>,
}

/// A call's place in an instance. Leaving it does not end the task.
pub(super) struct Seat {
    shared: Rc<Shared>,
    place: Rc<Place>,
    body: Recall,
    /// Tells the guest that its answer has been passed on.
    sent: Option<oneshot::Sender<()>>,
    ordinal: u64,
}

/// What driving an instance came to.
pub(super) enum Driven {
    /// It ran, and may have said something.
    Ran,
    /// Nothing has happened that it waits for.
    Asleep,
    /// It has used a time slice up and would go on.
    Sliced,
    /// Nothing of it will ever run again.
    Over,
}

impl Shared {
    /// A new instance. Nothing of it runs before it is driven. `thread` is rung when it is to be driven and nobody does.
    pub(super) fn new(
        pre: &Arc<Pre>,
        engine: &Engine,
        grants: &Arc<Grants>,
        clockwork: &Arc<Clockwork>,
        reuse: Reuse,
        siblings: &Rc<Cell<usize>>,
        thread: &Waker,
    ) -> Rc<Shared> {
        siblings.set(siblings.get() + 1);
        let stopwatch = Arc::new(Stopwatch::new(clockwork.slice()));
        let tasks = Tasks::new(Arc::clone(&stopwatch));
        let store = Sandbox::serving_many(engine, Arc::clone(grants), tasks, reuse.at_once_max);
        let inbox = Rc::new(Inbox {
            arrived: RefCell::default(),
            waker: RefCell::new(Waker::noop().clone()),
            is_idle: Cell::new(true),
            is_ready: Cell::new(true),
        });
        Rc::new(Shared {
            pulse: Arc::new(Pulse { alarm: Alarm::new(thread.clone()), stopwatch }),
            life: RefCell::new(Life::Running(Box::pin(run(Arc::clone(pre), store, Rc::clone(&inbox), reuse)))),
            inbox,
            grants: Arc::clone(grants),
            clockwork: Arc::clone(clockwork),
            reuse,
            begun: Cell::new(0),
            ends: Cell::new(Instant::now()),
            places: RefCell::default(),
            ends_late: Cell::new(false),
            busy_since: Cell::new(None),
            siblings: Rc::clone(siblings),
            retired: Cell::new(false),
            is_computing: Cell::new(false),
            driven: Cell::new(Instant::now()),
            was_sliced: Cell::new(false),
        })
    }

    /// Whether it takes another request, and would begin it at once.
    pub(super) fn has_room(&self) -> bool {
        let is_free = !self.retired.get() && !self.is_computing.get() && self.inbox.is_ready.get();
        // What goes on after an answer is still that request's. One that is never retired has what nobody else has, so
        // the next request waits for it.
        let is_alone = self.reuse.at_once_max > 1 || self.inbox.is_idle.get() || self.reuse.requests_max == 0;
        is_free && is_alone && self.in_it() < self.reuse.at_once_max && !self.is_over()
    }

    /// It takes nothing new from here on.
    pub(super) fn retire(&self) {
        self.retired.set(true);
    }

    /// Hands a request over. It begins when the instance is driven next, which is for the caller to do.
    pub(super) fn begin(
        self: &Rc<Self>,
        request: Request<RequestBody>,
        link: &Arc<Link>,
        name: CallName,
        now: Instant,
    ) -> Seat {
        let ends = now + self.grants.limits.wall;
        let place = Rc::new(Place { link: Arc::clone(link), ends: Cell::new(ends), is_seated: Cell::new(true) });
        let mut places = self.places.borrow_mut();
        places.retain(|place| place.strong_count() > 0);
        places.push(Rc::downgrade(&place));
        // A line that the guest prints, or a request that it sends, is this one's for certain only if it is alone.
        let alone = places.len() == 1 && self.inbox.is_idle.get();
        let name = if alone { name } else { CallName { request: None } };
        let ordinal = self.begun.get() + 1;
        self.begun.set(ordinal);
        let busy_since = self.busy_since.get().unwrap_or(now);
        self.busy_since.set(Some(busy_since));
        // Otherwise what goes on after an answer would have no end while others come and go.
        let is_worn_out = now.saturating_duration_since(busy_since) >= self.grants.limits.wall;
        if ordinal == self.reuse.requests_max || is_worn_out {
            self.retired.set(true);
        }
        let body = request.body().recall();
        let (sent, told) = oneshot::channel();
        let arrival = Arrival { request, link: Arc::clone(link), name, place: Rc::clone(&place), sent: told };
        self.inbox.arrived.borrow_mut().push_back(arrival);
        self.inbox.is_idle.set(false);
        // First, so that nobody is rung: the call is about to be polled.
        self.pulse.alarm.stay_awake();
        self.inbox.waker.borrow().wake_by_ref();
        Seat { shared: Rc::clone(self), place, body, sent: Some(sent), ordinal }
    }

    /// Lets the guest run, if something has happened that it waits for. What it uses is `driver`'s, as far as it is not
    /// known whose it is.
    pub(super) fn drive(&self, driver: Option<&Link>) -> Driven {
        let driven = self.run_on(driver);
        self.was_sliced.set(matches!(driven, Driven::Sliced));
        driven
    }

    /// Whether it would go on, and has given way to others.
    pub(super) fn was_sliced(&self) -> bool {
        self.was_sliced.get()
    }

    /// When it last ran.
    pub(super) fn driven_last(&self) -> Instant {
        self.driven.get()
    }

    fn run_on(&self, driver: Option<&Link>) -> Driven {
        let alarm = &self.pulse.alarm;
        let mut life = self.life.borrow_mut();
        let Life::Running(running) = &mut *life else { return Driven::Over };
        while !alarm.begin_poll() {
            if alarm.fall_asleep() {
                return Driven::Asleep;
            }
        }
        let waker = Waker::from(Arc::clone(&self.pulse));
        let entered = self.clockwork.enter();
        let began = Instant::now();
        self.pulse.stopwatch.enter(began);
        let polled = catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(&mut Context::from_waker(&waker))));
        let stopped = Instant::now();
        self.driven.set(stopped);
        drop(entered);
        self.charge(self.pulse.stopwatch.lap(stopped), driver);
        // It may be inside of a call of WASI 0.2, for which all of its tasks wait: what has arrived is still there then.
        self.is_computing.set(self.pulse.stopwatch.was_sliced() || !self.inbox.arrived.borrow().is_empty());
        if self.inbox.is_idle.get() {
            self.busy_since.set(None);
        }
        match polled {
            Ok(Poll::Pending) if self.pulse.stopwatch.was_sliced() => {
                alarm.stay_awake();
                Driven::Sliced
            }
            Ok(Poll::Pending) => {
                // If it was woken meanwhile, it stays so.
                if !alarm.fall_asleep() && stopped - began >= self.clockwork.slice() {
                    return Driven::Sliced;
                }
                Driven::Ran
            }
            Ok(Poll::Ready((mut store, result))) => {
                let sandbox = store.data_mut();
                let culprit = sandbox.tasks().and_then(|tasks| tasks.culprit().cloned());
                let fault = match judge(result, sandbox.limits(), sandbox.memory.refused()) {
                    Err(fault) => fault,
                    Ok(()) => Fault::Exited(0),
                };
                *life = self.end(fault, culprit, Some(store));
                Driven::Over
            }
            Err(panic) => {
                *life = self.end(Fault::Host(panic_text(panic.as_ref())), None, None);
                Driven::Over
            }
        }
    }

    /// The thread's look after it: drives it, and ends what is overdue. One that has given way goes on only if it is its
    /// turn. `None`: nothing of it is left to look after.
    pub(super) fn tend(&self, now: Instant, is_its_turn: bool) -> Option<Tended> {
        let module = &*self.grants.name;
        if is_its_turn || !self.was_sliced.get() {
            self.drive(None);
        }
        if let Life::Over(end) = &*self.life.borrow() {
            if self.in_it() == 0 && !end.is_told.get() {
                tracing::error!(module, cause = end.fault.kind(), "an instance ended after its answers: {}", end.fault);
            }
            return None;
        }
        let sliced = self.pulse.alarm.is_due();
        let places: Vec<_> = self.places.borrow().iter().filter_map(Weak::upgrade).collect();
        let overdue = |place: &Rc<Place>| place.ends.get() <= now && !place.is_seated.get();
        if places.iter().any(overdue) {
            self.retired.set(true);
        }
        let is_busy = !self.inbox.is_idle.get();
        let seated = self.is_seated();
        if !is_busy && places.is_empty() {
            return (!self.retired.get()).then_some(Tended::Idle);
        }
        if seated {
            // Whoever waits looks after it. What nobody waits for is looked at when it should be over.
            let ends = places.iter().filter(|place| !place.is_seated.get()).map(|place| place.ends.get());
            return Some(Tended::Busy { sliced, until: ends.filter(|ends| *ends > now).min() });
        }
        let until = places.iter().map(|place| place.ends.get()).fold(self.ends.get(), Instant::max);
        if until > now {
            return Some(Tended::Busy { sliced, until: Some(until) });
        }
        if self.ends_late.get() {
            tracing::warn!(
                module,
                "ended an instance that was still busy when limits.wall was over for its last answer"
            );
        }
        None
    }

    /// It is ended to make room. To be called before it is dropped.
    pub(super) fn say_that_it_is_cut_short(&self) {
        if !self.inbox.is_idle.get() && !self.is_over() {
            let module = &*self.grants.name;
            tracing::warn!(module, "ended an instance that was still busy after its answers: too many of them are");
        }
    }

    /// Whether a call waits for something of it.
    pub(super) fn is_seated(&self) -> bool {
        self.places.borrow().iter().filter_map(Weak::upgrade).any(|place| place.is_seated.get())
    }

    /// Requests that are in it.
    fn in_it(&self) -> usize {
        self.places.borrow().iter().filter(|place| place.strong_count() > 0).count()
    }

    fn is_over(&self) -> bool {
        matches!(&*self.life.borrow(), Life::Over(_))
    }

    /// Says who has used time of which nothing is known: the driver, if nobody else is in it, or else all, alike.
    fn charge(&self, used: Duration, driver: Option<&Link>) {
        let places: Vec<_> = self.places.borrow().iter().filter_map(Weak::upgrade).collect();
        match driver {
            Some(link) if places.len() <= 1 => link.charge(used),
            _ => {
                let part = used / u32::try_from(places.len().max(1)).unwrap_or(u32::MAX);
                places.iter().for_each(|place| place.link.share(part));
            }
        }
    }

    /// Nothing of it runs any more: all that are in it are woken to see that.
    fn end(&self, fault: Fault, culprit: Option<Arc<Link>>, store: Option<Store<Sandbox>>) -> Life {
        let places: Vec<_> = self.places.borrow().iter().filter_map(Weak::upgrade).collect();
        places.iter().for_each(|place| place.link.alarm.wake());
        let sole = match &places[..] {
            [place] => Some(Arc::clone(&place.link)),
            _ => None,
        };
        Life::Over(Box::new(End { fault, culprit: culprit.or(sole), is_told: Cell::new(false), store }))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.siblings.set(self.siblings.get().saturating_sub(1));
    }
}

/// What the thread's look after an instance came to.
pub(super) enum Tended {
    /// It has nothing to do.
    Idle,
    Busy {
        /// It has used a time slice up and would go on.
        sliced: bool,
        /// When to look after it at the latest; `None`: others do.
        until: Option<Instant>,
    },
}

impl Seat {
    /// Which of the instance's requests this is, from 1.
    pub(super) fn ordinal(&self) -> u64 {
        self.ordinal
    }

    /// See [`Shared::drive`].
    pub(super) fn drive(&self, link: &Link) -> Driven {
        self.shared.drive(Some(link))
    }

    /// The answer has been passed on, whole.
    pub(super) fn passed_on(&mut self) {
        if let Some(sent) = self.sent.take() {
            // Most guests do not ask.
            let _ = sent.send(());
        }
    }

    /// The call's time is over. The task goes on, and so do those beside it, but no other request joins them.
    pub(super) fn time_out(&self) {
        self.shared.retired.set(true);
    }

    /// Why this call's instance is over.
    pub(super) fn fault(&self) -> Fault {
        let Life::Over(end) = &*self.shared.life.borrow() else {
            return Fault::Host("an instance that runs is over".into());
        };
        end.is_told.set(true);
        if end.culprit.as_ref().is_some_and(|culprit| Arc::ptr_eq(culprit, &self.place.link)) {
            end.fault.clone()
        } else {
            Fault::InstanceLost(end.fault.to_string().lines().next().unwrap_or_default().to_owned())
        }
    }

    /// Whether what is left of the answer can be told from an answer that is whole.
    pub(super) fn is_honest(&self) -> bool {
        match &*self.shared.life.borrow() {
            Life::Running(_) => true,
            Life::Over(end) => end.store.is_some(),
        }
    }

    /// Rings the thread, if there is something to do for the instance: the call that was polled may not be again soon.
    pub(super) fn pass_on(&self) {
        if self.shared.pulse.alarm.is_due() {
            self.shared.pulse.alarm.ring();
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Place { ends, is_seated, .. } = &*self.place;
        let Shared { pulse, inbox, retired, siblings, ends: all_end, ends_late, .. } = &*self.shared;
        is_seated.set(false);
        self.body.take_back();
        let was_answered = self.sent.take().is_none();
        if !was_answered {
            ends.set(ends.get().min(Instant::now() + ABANDONED_GRACE));
        }
        ends_late.set(was_answered);
        all_end.set(ends.get().max(all_end.get()));
        // Whoever drove it is gone; what goes on has a deadline that nobody else keeps; and there may be too many.
        let is_one_of_many = siblings.get() > 1 && !self.shared.is_seated();
        if pulse.alarm.is_due() || !inbox.is_idle.get() || retired.get() || is_one_of_many {
            pulse.alarm.ring();
        }
    }
}

impl Wake for Pulse {
    fn wake(self: Arc<Self>) {
        self.alarm.wake();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.alarm.wake();
    }
}

/// Instantiates, and runs until something ends the instance.
async fn run(
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
    poll_fn(|cx| {
        inbox.waker.borrow_mut().clone_from(cx.waker());
        loop {
            // Where one request is served at a time, what goes on after its answer is still part of it.
            while (reuse.at_once_max > 1 || (answers.is_empty() && accessor.poll_no_interesting_tasks(cx).is_ready()))
                && let Some(arrival) = inbox.next()
            {
                answers.push(begin(accessor, service, arrival)?);
            }
            match answers.poll_next_unpin(cx) {
                Poll::Ready(Some(answered)) => answered?,
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        inbox.is_ready.set(accessor.poll_ready_for_concurrent_call(handler, cx).is_ready());
        let is_idle = answers.is_empty() && accessor.poll_no_interesting_tasks(cx).is_ready();
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
    let Arrival { request, link, name, place, sent } = arrival;
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
