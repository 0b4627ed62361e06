//! Event: a child has few threads that serve many connections each. A connection that waits is parked in the
//! thread's poller; the thread takes turns, and in each turn what is new goes before what has used up its time.
//! The child's main thread accepts nothing: it hears the parent and rings the threads. Here are the thread and its loop;
//! who comes in is in [`entrance`], and whose turn it is in [`turns`].

mod entrance;
mod turns;

use std::io;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use self::entrance::Entrance;
use super::connections::{Connections, Run};
use super::crew::{Crew, Orders, start, thread_slot};
use super::watch::{Watch, earliest};
use super::{ChildExit, Post, cannot_start, guard, oversee};
use crate::error::StartError;
use crate::listener::Listener;
use crate::poller::{Event, Poller, Token};
use crate::protocol::{Gate, Pass, Protocol, ThreadContext, Upkeep};
use crate::scoreboard::{Status, ThreadSlot};
use crate::stream::Stream;
use crate::waker::{Inbox, Wakes};

/// How long a whole answer waits for others to leave with it. Then it is written, though connections are ready; one that
/// is being advanced meanwhile has its turn first.
pub(super) const FLUSH_DELAY_MAX: Duration = Duration::from_micros(500);

/// The bounds of one thread.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) connections_max: usize,
    pub(super) requests_in_flight_max: usize,
}

/// Serves until told to end.
pub(super) fn run<P: Protocol>(
    crew: &Arc<Crew<P>>,
    post: Post,
    threads: usize,
    bounds: Bounds,
    mut watch: Watch,
) -> ChildExit {
    let inboxes = match start_threads(crew, post, threads, bounds) {
        Ok(inboxes) => inboxes,
        Err(error) => return cannot_start(&watch, &error),
    };
    watch.ready();
    crew.child.set_ready();
    crew.begin(true);
    oversee(crew, &mut watch, threads, &inboxes)
}

fn start_threads<P: Protocol>(
    crew: &Arc<Crew<P>>,
    post: Post,
    threads: usize,
    bounds: Bounds,
) -> Result<Vec<Arc<Inbox>>, StartError> {
    let unpollable = |error: io::Error| StartError(format!("cannot make a poller: {error}"));
    let mut seats = Vec::with_capacity(threads);
    for _ in 0..threads {
        let poller = Poller::new().map_err(unpollable)?;
        let inbox = Inbox::new(poller.doorbell().map_err(unpollable)?);
        seats.push((poller, inbox));
    }
    let inboxes = seats.iter().map(|(_, inbox)| Arc::clone(inbox)).collect();
    start(crew, seats, move |crew, index, (poller, inbox)| {
        let thread = EventThread::new(crew, &post, index, threads, bounds, poller, inbox)?;
        Ok(move || thread.serve())
    })?;
    Ok(inboxes)
}

/// One event thread: everything that it owns.
struct EventThread<P: Protocol> {
    crew: Arc<Crew<P>>,
    slot: ThreadSlot,
    thread: P::Thread,
    /// The orders that are being followed.
    orders: Orders,
    /// The publications that the thread has looked after its own work for.
    publications: u64,
    entrance: Entrance,
    /// As the crew was last told.
    is_taking: bool,
    connections: Connections<Open<P::Connection>>,
    gate: Gate,
    /// Upstreams on their way from one connection to another.
    handed: Vec<(Token, Box<Stream>)>,
    /// Since when a whole answer may have waited, at the longest.
    unflushed_since: Instant,
    /// What the thread's own work waits for.
    upkeep: Upkeep,
    poller: Poller,
    inbox: Arc<Inbox>,
}

/// A connection and what the thread keeps with it.
struct Open<C> {
    stream: Stream,
    upstream: Option<Box<Stream>>,
    connection: C,
    /// Only while one may be wanted.
    waker: Option<Waker>,
    pass: Pass,
}

impl<P: Protocol> EventThread<P> {
    fn new(
        crew: &Arc<Crew<P>>,
        post: &Post,
        index: usize,
        threads: usize,
        bounds: Bounds,
        poller: Poller,
        inbox: Arc<Inbox>,
    ) -> Result<Self, StartError> {
        let slot = thread_slot(&post.scoreboard, post.slot, index);
        let waker = inbox.waker(Wakes::Thread);
        let thread = crew.protocol.thread(ThreadContext { index, waker, slot: slot.clone() })?;
        for (index, listener) in post.listeners.iter().enumerate() {
            poller
                .watch_listener(listener, index)
                .map_err(|error| StartError(format!("cannot watch the listener on {}: {error}", listener.address())))?;
        }
        Ok(Self {
            crew: Arc::clone(crew),
            slot,
            thread,
            orders: Orders::Serve,
            publications: 0,
            entrance: Entrance::new(post, index, threads, bounds.connections_max),
            is_taking: false,
            connections: Connections::new(Instant::now()),
            gate: Gate::new(bounds.requests_in_flight_max),
            handed: Vec::new(),
            unflushed_since: Instant::now(),
            upkeep: Upkeep::Done,
            poller,
            inbox,
        })
    }

    fn serve(mut self) {
        let (mut events, mut woken) = (Vec::new(), Vec::new());
        self.publish();
        while !self.is_finished() {
            if let Err(error) = self.wait(&mut events) {
                tracing::error!("a thread ends, and so does this process, because its poller has failed: {error}");
                return;
            }
            let now = Instant::now();
            self.unflushed_since = now;
            self.obey(now);
            self.collect(&events, &mut woken, now);
            self.serve_all(Run::Ready, now);
            self.accept(now);
            self.serve_all(Run::Begin, now);
            self.flush(now);
            self.serve_yielded(now);
            self.flush(now);
            self.close_oldest_idle(now);
            self.end_turn();
        }
        self.slot.set_status(Status::Dead);
    }

    /// Whether nothing is open, nothing more will be, and no work of the thread's own is left.
    fn is_finished(&mut self) -> bool {
        if !self.entrance.intake.is_done() || self.connections.len() > 0 {
            return false;
        }
        if self.upkeep == Upkeep::Done {
            // The last connection may have left some in the turn that closed it.
            self.tend(Instant::now());
        }
        self.upkeep == Upkeep::Done
    }

    /// Looks for events; sleeps until there are some if there is nothing else to do.
    fn wait(&mut self, events: &mut Vec<Event>) -> io::Result<()> {
        let now = Instant::now();
        let until = earliest(self.connections.next_deadline(), self.entrance.accept_at(&self.connections, now));
        let until = earliest(until, self.upkeep.deadline());
        let timeout = until.map(|until| until.saturating_duration_since(now));
        let has_yielded = matches!(self.upkeep, Upkeep::Yield(_));
        let has_work = self.connections.has_runnable() || has_yielded || timeout == Some(Duration::ZERO);
        if has_work || !self.inbox.fall_asleep() {
            return self.poller.wait(Some(Duration::ZERO), events);
        }
        let serving = self.orders == Orders::Serve;
        self.slot.set_status(if serving { Status::Ready } else { Status::Graceful });
        let result = self.poller.wait(timeout, events);
        self.inbox.wake_up();
        self.slot.set_status(Status::BusyWrite);
        result
    }

    fn obey(&mut self, now: Instant) {
        let orders = self.crew.orders();
        if self.orders == Orders::Serve && orders != Orders::Serve {
            self.connections.schedule_all(|open| open.stream.probe());
        }
        self.orders = orders;
        if self.crew.has_published(&mut self.publications) {
            // `collect`, which is next, tends.
            self.upkeep = Upkeep::Wait(now);
        }
        let (poller, Entrance { intake, backlog, .. }) = (&self.poller, &mut self.entrance);
        intake.obey(orders, *backlog, |listeners| unwatch(poller, listeners));
        if intake.is_starved(now) && self.crew.open() == 0 {
            self.crew.order(Orders::Sick);
        }
    }

    /// Finds out who is to be advanced: who was woken, whose socket has changed, whose deadline has come.
    fn collect(&mut self, events: &[Event], woken: &mut Vec<Wakes>, now: Instant) {
        self.inbox.take(woken);
        for wakes in woken.iter() {
            match wakes {
                Wakes::Connection(token) => self.connections.schedule(*token),
                // At once, so that the connections which it wakes are served in this turn.
                Wakes::Thread => self.upkeep = Upkeep::Wait(now),
            }
        }
        if matches!(self.upkeep, Upkeep::Wait(at) if at <= now) {
            self.tend(now);
        }
        for event in events {
            match *event {
                // It has ended the wait, and that was all.
                Event::Doorbell => {}
                Event::Listener(index) => self.entrance.intake.note(index),
                Event::Connection(token, edge) => {
                    if self.connections.get_mut(token).is_some_and(|open| open.stream.note(edge)) {
                        self.connections.schedule(token);
                    }
                }
                // Never of one that is closed: that ends its registration, and nobody is advanced between the wait
                // that brought the event and this. So no upstream is told of the end of the one before it.
                Event::Upstream(token, edge) => {
                    let upstream = self.connections.get_mut(token).and_then(|open| open.upstream.as_deref_mut());
                    if upstream.is_some_and(|upstream| upstream.note(edge)) {
                        self.connections.schedule(token);
                    }
                }
            }
        }
        self.connections.schedule_expired(now, |open| open.stream.probe());
    }

    fn tend(&mut self, now: Instant) {
        self.upkeep = guard::tend(&self.crew.protocol, &mut self.thread, now);
    }

    fn end_turn(&mut self) {
        guard::turn_end(&self.crew.protocol, &mut self.thread);
        self.publish();
    }

    /// Brings the scoreboard up to date.
    fn publish(&mut self) {
        self.slot.set_connections(self.connections.tally());
        let is_taking = self.entrance.is_taking(&self.connections);
        if is_taking != self.is_taking {
            self.is_taking = is_taking;
            self.crew.count_taking(is_taking);
        }
    }
}

/// Other processes may have the listeners open as well, so closing them would not end the watch.
fn unwatch(poller: &Poller, listeners: &[Listener]) {
    for listener in listeners {
        if let Err(error) = poller.unwatch_listener(listener) {
            tracing::error!("cannot stop to watch the listener on {}: {error}", listener.address());
        }
    }
}

/// What an idle connection costs apart from the protocol's own state.
#[cfg(test)]
const _: () = assert!(Connections::<Open<()>>::BYTES_EACH <= 144);
