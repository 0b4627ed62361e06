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
//! The calls that begin in one turn of a thread wait in the inbox together, and the first of them that is polled drives them
//! all. Each begins when those before it wait; one that has not begun when the instance computes, or is over, is given back
//! when its call is polled, and goes to another instance.
//!
//! Time is kept outside of the loop, because a guest that does not return keeps it from running: each call's by its
//! connection, each instance's by its thread. A task cannot be ended from outside, so one that is overdue retires its
//! instance: it takes nothing new, and goes when the others have ended, or are overdue as well. A trap, a limit that is
//! passed and an exit end the instance, and with it all that are in it.

mod event_loop;
mod seat;

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use http::uri::{self, Authority};
use http::{HeaderValue, Request, Uri};
use tokio::sync::oneshot;
use wasmtime::component::{Component, Linker};
use wasmtime::{Engine, Store};
use wasmtime_wasi_http::p3::bindings::ServicePre;

use self::event_loop::{Arrival, Inbox, run};
use self::seat::Place;
pub(super) use self::seat::Seat;
use super::alarm::Alarm;
use super::body::RequestBody;
use super::clockwork::Clockwork;
use super::facts::Scheme;
use super::fault::{Fault, judge};
use super::grants::{CallName, Grants};
use super::link::Link;
use super::sandbox::Sandbox;
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
    /// Requests that it was given, those included that went to another before they began.
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
            is_idle: Cell::new(true),
            is_ready: Cell::new(true),
            begun: RefCell::default(),
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
        let body = request.body().recall();
        let (sent, told) = oneshot::channel();
        let arrival = Arrival { request, place: Rc::clone(&place), name, is_alone: false, sent: told };
        let ordinal = self.take_in(arrival, now);
        Seat { shared: Rc::clone(self), place, body, sent: Some(sent), ordinal }
    }

    /// Which of its requests this is.
    fn take_in(&self, mut arrival: Arrival, now: Instant) -> u64 {
        let mut places = self.places.borrow_mut();
        places.retain(|place| place.strong_count() > 0);
        places.push(Rc::downgrade(&arrival.place));
        arrival.is_alone = places.len() == 1 && self.inbox.is_idle.get();
        let ordinal = self.begun.get() + 1;
        self.begun.set(ordinal);
        let busy_since = self.busy_since.get().unwrap_or(now);
        self.busy_since.set(Some(busy_since));
        // Otherwise what goes on after an answer would have no end while others come and go.
        let is_worn_out = now.saturating_duration_since(busy_since) >= self.grants.limits.wall;
        if ordinal == self.reuse.requests_max || is_worn_out {
            self.retired.set(true);
        }
        self.inbox.arrived.borrow_mut().push_back(arrival);
        self.inbox.is_idle.set(false);
        // Nobody is rung: the call is about to be polled.
        self.pulse.alarm.stay_awake();
        ordinal
    }

    /// Gives a request back that has not begun, if it would have to wait for what the instance does, or the instance is over.
    /// One that serves one request at a time was chosen for what it is, and is waited for.
    fn give_back(&self, place: &Rc<Place>) -> Option<Arrival> {
        let mut arrived = self.inbox.arrived.borrow_mut();
        let holds_up = self.is_computing.get() || !self.inbox.is_ready.get() || self.is_over();
        if arrived.is_empty() || !holds_up || self.reuse.at_once_max == 1 {
            return None;
        }
        let at = arrived.iter().position(|arrival| Rc::ptr_eq(&arrival.place, place))?;
        self.places.borrow_mut().retain(|other| !std::ptr::eq(other.as_ptr(), Rc::as_ptr(place)));
        arrived.remove(at)
    }

    /// A call has left it. Whoever drove it may be gone; what goes on has a deadline that nobody else keeps; and there may be
    /// too many.
    fn was_left(&self) {
        let is_one_of_many = self.siblings.get() > 1 && !self.is_seated();
        if self.pulse.alarm.is_due() || !self.inbox.is_idle.get() || self.retired.get() || is_one_of_many {
            self.pulse.alarm.ring();
        }
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
        let stopwatch = &self.pulse.stopwatch;
        stopwatch.enter(Instant::now());
        let (polled, stopped) = loop {
            let polled = catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(&mut Context::from_waker(&waker))));
            let stopped = Instant::now();
            let begun = self.inbox.begun.take();
            self.charge(stopwatch.lap(stopped), begun.as_deref(), driver);
            if !matches!(polled, Ok(Poll::Pending)) || !stopwatch.has_time(stopped) {
                break (polled, stopped);
            }
            if begun.is_some() && !self.inbox.arrived.borrow().is_empty() {
                // It waits now, so that the next may begin. Before that, that one still had the choice of another instance,
                // should this one compute.
                stopwatch.begin_slice(stopped);
            } else if !alarm.woken() {
                // Otherwise it gave way between its tasks to whoever polls it, who has nobody else to poll.
                break (polled, stopped);
            }
        };
        self.driven.set(stopped);
        drop(entered);
        // It may be inside of a call of WASI 0.2, for which all of its tasks wait: what has arrived is still there then.
        self.is_computing.set(stopwatch.was_sliced() || !self.inbox.arrived.borrow().is_empty());
        if self.inbox.is_idle.get() {
            self.busy_since.set(None);
        }
        match polled {
            Ok(Poll::Pending) if stopwatch.was_sliced() => {
                alarm.stay_awake();
                Driven::Sliced
            }
            Ok(Poll::Pending) => {
                // If it was woken meanwhile, it stays so.
                if !alarm.fall_asleep() && !stopwatch.has_time(stopped) {
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
                *life = self.end(Fault::of_panic(panic.as_ref()), None, None);
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

    /// Says who has used time of which nothing is certain: the driver, if nobody else is in it; or else the one that has
    /// begun, since most of it was that one's; or else all, alike.
    fn charge(&self, used: Duration, begun: Option<&Link>, driver: Option<&Link>) {
        let in_it = self.in_it();
        match (begun, driver) {
            (_, Some(link)) if in_it <= 1 => link.charge(used),
            (Some(link), _) => link.share(used),
            _ => {
                let part = used / u32::try_from(in_it.max(1)).unwrap_or(u32::MAX);
                self.places.borrow().iter().filter_map(Weak::upgrade).for_each(|place| place.link.share(part));
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

impl Wake for Pulse {
    fn wake(self: Arc<Self>) {
        self.alarm.wake();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.alarm.wake();
    }
}
