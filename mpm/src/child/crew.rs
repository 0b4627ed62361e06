//! What the threads of a child share, and how they start and end together: the protocol, the orders, the count of
//! connections accepted. Nothing here waits for a socket.

use std::io;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use std::thread;

use super::guard;
use crate::child::ChildExit;
use crate::control::{ControlChild, Handover};
use crate::error::StartError;
use crate::protocol::Protocol;
use crate::scoreboard::{ChildSlot, Scoreboard, ThreadSlot};
use crate::settings::Common;
use crate::waker::Bell;

/// What a child is to do. Orders only ever get stronger, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Orders {
    Serve,
    /// As many connections were accepted as one child may accept: as `Drain`.
    Retire,
    /// Nothing can be accepted for lack of descriptors or memory, or a thread is lost: as `Drain`.
    Sick,
    /// Accept no more, finish what is open, end.
    Drain,
    /// The same, and serve what waits in the backlog already.
    Stop,
    /// The parent has died: as `Drain`, but within a second.
    ParentGone,
}

impl Orders {
    const ALL: [Orders; 6] =
        [Orders::Serve, Orders::Retire, Orders::Sick, Orders::Drain, Orders::Stop, Orders::ParentGone];

    /// How a child ends that had these orders at last.
    pub(super) fn exit(self) -> ChildExit {
        match self {
            Orders::Serve | Orders::Drain | Orders::Stop => ChildExit::Drained,
            Orders::Retire => ChildExit::Retired,
            Orders::Sick => ChildExit::Sick,
            Orders::ParentGone => ChildExit::ParentGone,
        }
    }
}

/// What the threads of a child share.
pub(super) struct Crew<P> {
    pub(super) protocol: P,
    pub(super) child: ChildSlot,
    /// An [`Orders`].
    orders: AtomicU8,
    /// Readable from the first order that is not `Serve` on: ends the waits of threads that wait in `poll(2)`.
    pub(super) leave: Bell,
    /// Wakes the child's main thread: orders have changed, a thread is free or has ended, the protocol needs less.
    pub(super) news: Arc<Bell>,
    /// How often another generation has been published: each time every thread looks after its own work.
    publications: AtomicU64,
    accepted: AtomicU64,
    /// 0: no limit.
    accepted_max: u64,
    /// Connections open in the whole child.
    open: AtomicUsize,
    /// Threads that take connections at the moment, where the threads themselves accept.
    taking: Mutex<usize>,
    /// Threads that exist.
    running: AtomicUsize,
    /// What the threads wait for once they are ready: true, serve; false, end.
    begin: OnceLock<bool>,
}

impl<P> Crew<P> {
    /// # Errors
    /// No descriptor is to be had.
    pub(super) fn new(protocol: P, child: ChildSlot, common: &Common, news: Arc<Bell>) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            protocol,
            child,
            orders: AtomicU8::new(Orders::Serve as u8),
            leave: Bell::new()?,
            news,
            publications: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            accepted_max: common.max_connections_per_child,
            open: AtomicUsize::new(0),
            taking: Mutex::new(0),
            running: AtomicUsize::new(0),
            begin: OnceLock::new(),
        }))
    }

    pub(super) fn orders(&self) -> Orders {
        Orders::ALL[usize::from(self.orders.load(Ordering::Acquire))]
    }

    /// Gives an order to all threads; it takes effect unless a stronger one was given.
    pub(super) fn order(&self, orders: Orders) {
        if self.orders.fetch_max(orders as u8, Ordering::AcqRel) < orders as u8 {
            self.child.set_draining();
            self.leave.ring();
            self.news.ring();
        }
    }

    /// Another generation is published.
    pub(super) fn count_publication(&self) {
        self.publications.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether another generation has been published since whoever keeps `seen` last asked.
    pub(super) fn has_published(&self, seen: &mut u64) -> bool {
        let publications = self.publications.load(Ordering::Acquire);
        std::mem::replace(seen, publications) != publications
    }

    /// Counts a connection that was accepted. The last one that the child may accept makes it retire; other threads
    /// may accept one more each before they notice.
    pub(super) fn count_accepted(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
        let accepted = self.accepted.fetch_add(1, Ordering::Relaxed) + 1;
        if self.accepted_max != 0 && accepted >= self.accepted_max {
            self.order(Orders::Retire);
        }
    }

    pub(super) fn count_closed(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// Connections open in the whole child.
    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// One thread more, or less, takes connections: the child does as long as one of them does.
    pub(super) fn count_taking(&self, is_taking: bool) {
        // Told under the lock, so that of two threads the one that counts last also speaks last.
        let mut taking = self.taking.lock().unwrap_or_else(PoisonError::into_inner);
        *taking = if is_taking { *taking + 1 } else { taking.saturating_sub(1) };
        self.child.set_accepting(*taking > 0);
    }

    /// Threads that exist.
    pub(super) fn running(&self) -> usize {
        self.running.load(Ordering::Acquire)
    }

    /// Lets the threads that [`start`] has started serve, or end.
    pub(super) fn begin(&self, serve: bool) {
        // A second call would come from a second main thread.
        self.begin.set(serve).expect("the threads of a child begin once");
    }
}

/// Counts a thread, also if it panics.
struct Running<P>(Arc<Crew<P>>);

impl<P> Running<P> {
    fn new(crew: &Arc<Crew<P>>) -> Self {
        crew.running.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(crew))
    }
}

impl<P> Drop for Running<P> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::AcqRel);
        self.0.news.ring();
    }
}

/// Starts a thread for each of `seats`: `make` makes what the thread needs, on the thread itself, and gives back what
/// it does once all threads are there and [`Crew::begin`] was called.
///
/// # Errors
/// A thread could not start, or `make` failed on it; the others have been told to end.
pub(super) fn start<P, T, F, S>(crew: &Arc<Crew<P>>, seats: Vec<T>, make: F) -> Result<(), StartError>
where
    P: Send + Sync + 'static,
    T: Send + 'static,
    F: Fn(&Arc<Crew<P>>, usize, T) -> Result<S, StartError> + Send + Sync + 'static,
    S: FnOnce(),
{
    let threads = seats.len();
    let make = Arc::new(make);
    let (started, outcomes) = mpsc::channel();
    for (index, seat) in seats.into_iter().enumerate() {
        let (running, make, started) = (Running::new(crew), Arc::clone(&make), started.clone());
        let body = move || {
            let crew = &running.0;
            let made = make(crew, index, seat);
            // What it has captured (listeners) is not to live as long as the thread.
            drop(make);
            let serve = made.map_err(|error| started.send(Err(error)));
            if let Ok(serve) = serve {
                // The main thread waits for this, unless another thread has failed already.
                let _main_has_given_up = started.send(Ok(()));
                drop(started);
                if *crew.begin.wait() {
                    serve();
                }
            }
        };
        if let Err(error) = thread::Builder::new().name(format!("thread {index}")).spawn(body) {
            crew.begin(false);
            return Err(StartError(format!("cannot start thread {index}: {error}")));
        }
    }
    drop(started);
    let outcome = all_started(threads, &outcomes);
    if outcome.is_err() {
        crew.begin(false);
    }
    outcome
}

fn all_started(threads: usize, outcomes: &mpsc::Receiver<Result<(), StartError>>) -> Result<(), StartError> {
    for _ in 0..threads {
        // The channel ends early only if a thread dropped its sender without a word.
        outcomes.recv().unwrap_or_else(|_| Err(StartError("a thread panicked while it started".to_owned())))?;
    }
    Ok(())
}

/// Has the protocol take another generation over, on a thread of its own, since that may take a while and all others serve;
/// and tells the parent what came of it.
pub(super) fn adopt<P: Protocol>(
    crew: &Arc<Crew<P>>,
    control: &Arc<ControlChild>,
    generation: u32,
    handover: Option<Handover>,
) {
    let (theirs, line) = (Arc::clone(crew), Arc::clone(control));
    let body = move || {
        let lost = || StartError(String::from("what was handed over did not arrive: descriptors are out"));
        let outcome = handover
            .ok_or_else(lost)
            .and_then(|it| it.read().map_err(|error| StartError(format!("cannot read what was handed over: {error}"))))
            .and_then(|text| guard::adopt(&theirs.protocol, generation, &text));
        line.adopted(generation, &outcome);
    };
    if let Err(error) = thread::Builder::new().name(format!("generation {generation}")).spawn(body) {
        control.adopted(generation, &Err(StartError(format!("cannot start a thread: {error}"))));
    }
}

/// The line of one thread of the child in `slot`.
pub(super) fn thread_slot(scoreboard: &Scoreboard, slot: usize, index: usize) -> ThreadSlot {
    let line = scoreboard.thread(slot, index);
    line.set_status(crate::scoreboard::Status::Starting);
    line
}
