//! Event: a child has few threads that serve many connections each. A connection that waits is parked in the
//! thread's poller; the thread takes turns, and in each turn what is new goes before what has used up its time.
//! The child's main thread accepts nothing: it hears the parent and rings the threads.

use std::io;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use super::connections::Connections;
use super::crew::{Crew, Orders, start, thread_slot};
use super::intake::Intake;
use super::share::Share;
use super::watch::{Watch, earliest};
use super::{ChildExit, Post, cannot_start, guard, oversee};
use crate::error::StartError;
use crate::listener::{Listener, Taken};
use crate::poller::{Event, Poller, Token};
use crate::protocol::{Accepted, Company, Gate, Next, Pass, Protocol, ThreadContext, Turn, Upkeep};
use crate::scoreboard::{Status, ThreadSlot};
use crate::stream::Stream;
use crate::waker::{Inbox, Wakes};

/// Connections that a thread accepts in one turn, before it looks after those that it has.
const ACCEPTS_PER_TURN: usize = 16;
/// How long a whole answer waits for others to leave with it. Then it is written, though connections are ready; one that
/// is being advanced meanwhile has its turn first.
const FLUSH_DELAY_MAX: Duration = Duration::from_micros(500);
/// How long a thread with more than its share leaves a connection to the others. Then it accepts nevertheless: the
/// others may be busy, and nothing may be stranded in the backlog.
const DEFERENCE: Duration = Duration::from_millis(2);

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
    backlog: u32,
    intake: Intake,
    share: Share,
    /// Until when a connection is left to threads that have fewer.
    deference_end: Option<Instant>,
    /// As the crew was last told.
    is_taking: bool,
    connections: Connections<Open<P::Connection>>,
    connections_max: usize,
    gate: Gate,
    /// Upstreams on their way from one connection to another.
    handed: Vec<(Token, Box<Stream>)>,
    /// When whole answers have last left.
    flushed: Instant,
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
    waker: Waker,
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
        let scoreboard = post.scoreboard.clone();
        let share = Share { scoreboard, slot: post.slot, thread: index, threads };
        Ok(Self {
            crew: Arc::clone(crew),
            slot,
            thread,
            orders: Orders::Serve,
            publications: 0,
            backlog: post.backlog,
            intake: Intake::new(Arc::clone(&post.listeners)),
            share,
            deference_end: None,
            is_taking: false,
            connections: Connections::new(),
            connections_max: bounds.connections_max,
            gate: Gate::new(bounds.requests_in_flight_max),
            handed: Vec::new(),
            flushed: Instant::now(),
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
            self.flushed = now;
            self.obey(now);
            self.collect(&events, &mut woken, now);
            self.serve_ready(now);
            self.accept(now);
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
        if !self.intake.is_done() || self.connections.len() > 0 {
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
        let until = earliest(self.connections.next_deadline(), self.accept_at(now));
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
            self.upkeep = Upkeep::Wait(now);
        }
        let poller = &self.poller;
        self.intake.obey(orders, self.backlog, |listeners| unwatch(poller, listeners));
        if self.intake.is_starved(now) && self.crew.open() == 0 {
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
                Event::Listener(index) => self.intake.note(index),
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

    fn serve_ready(&mut self, now: Instant) {
        for _ in 0..self.connections.ready_len() {
            if let Some(token) = self.connections.pop_ready() {
                self.serve_one(token, now);
            }
        }
    }

    /// Lets answers leave that are whole, and shares out what that gives back.
    fn flush(&mut self, now: Instant) {
        self.write_out(now);
        self.share_out(now);
    }

    /// Lets them leave if they have waited long enough for others.
    fn flush_overdue(&mut self, now: Instant) {
        if self.connections.flushing_len() > 0 && self.flushed.elapsed() >= FLUSH_DELAY_MAX {
            self.write_out(now);
            self.flushed = Instant::now();
        }
    }

    fn write_out(&mut self, now: Instant) {
        for _ in 0..self.connections.flushing_len() {
            if let Some(token) = self.connections.pop_flushing() {
                self.advance(token, now);
            }
        }
    }

    /// One only: what has become ready meanwhile goes before the next. The thread's own work has its turn with each.
    fn serve_yielded(&mut self, now: Instant) {
        if let Some(token) = self.connections.pop_yielded() {
            self.serve_one(token, now);
        }
        if let Upkeep::Yield(_) = self.upkeep {
            self.tend(now);
        }
    }

    fn tend(&mut self, now: Instant) {
        self.upkeep = guard::tend(&self.crew.protocol, &mut self.thread, now);
    }

    /// Advances a connection, and after it whoever may use what it has given back: its upstream, its place for a request.
    fn serve_one(&mut self, token: Token, now: Instant) {
        self.advance(token, now);
        self.flush_overdue(now);
        self.share_out(now);
    }

    fn share_out(&mut self, now: Instant) {
        self.admit(now);
        while let Some((heir, upstream)) = self.handed.pop() {
            self.bequeath(upstream, heir, now);
            self.admit(now);
        }
    }

    fn bequeath(&mut self, upstream: Box<Stream>, heir: Token, now: Instant) {
        let Some(open) = self.connections.get_mut(heir) else { return };
        match self.poller.rename_upstream(&upstream, heir) {
            Ok(()) => open.upstream = Some(upstream),
            Err(error) => tracing::error!("cannot watch a connection to a pool, which is closed: {error}"),
        }
        self.advance(heir, now);
    }

    fn admit(&mut self, now: Instant) {
        for _ in 0..self.connections.unadmitted() {
            if self.gate.is_full() {
                return;
            }
            let Some(admitted) = self.connections.pop_unadmitted() else { return };
            self.advance(admitted, now);
            self.flush_overdue(now);
        }
    }

    fn advance(&mut self, token: Token, now: Instant) {
        let Some(open) = self.connections.get_mut(token) else { return };
        let draining = self.orders != Orders::Serve;
        let turn = Turn {
            stream: &mut open.stream,
            waker: &open.waker,
            now,
            draining,
            upstream: &mut open.upstream,
            company: Some(Company { poller: &self.poller, token, handed: &mut self.handed }),
            gate: &mut self.gate,
            pass: &mut open.pass,
            slot: &self.slot,
        };
        let next = guard::advance(&self.crew.protocol, &mut self.thread, &mut open.connection, turn);
        let bytes = open.stream.take_bytes_written();
        if bytes > 0 {
            self.slot.add_bytes(bytes);
        }
        match next {
            Next::Close => self.close(token, now),
            next => self.connections.settle(token, next),
        }
    }

    fn close(&mut self, token: Token, now: Instant) {
        let Some(Open { stream, upstream, connection, waker, mut pass }) = self.connections.remove(token) else {
            return;
        };
        self.gate.leave(&mut pass);
        guard::close(connection);
        drop((stream, upstream, waker));
        self.crew.count_closed();
        self.intake.end_pause(now);
    }

    /// Accepts what is waiting, within bounds, and advances each connection at once.
    fn accept(&mut self, now: Instant) {
        for _ in 0..ACCEPTS_PER_TURN {
            if self.accept_at(now).is_none_or(|at| at > now) {
                return;
            }
            self.deference_end = None;
            let Some(taken) = self.intake.take(now) else { return };
            self.begin(taken, now);
        }
    }

    /// When to accept: a time that has passed or is yet to come; `None`: not before something changes.
    fn accept_at(&mut self, now: Instant) -> Option<Instant> {
        let at = if self.has_room() { self.intake.ready_at(now) } else { None };
        let defers =
            at.is_some_and(|at| at <= now) && self.intake.is_open() && self.share.is_exceeded(self.connections.len());
        if !defers {
            self.deference_end = None;
            return at;
        }
        Some(*self.deference_end.get_or_insert(now + DEFERENCE))
    }

    /// Whether a connection may be accepted. A full thread has room if one of its connections is idle and can be
    /// closed in exchange; it has one more than its maximum until then.
    fn has_room(&self) -> bool {
        let tally = self.connections.tally();
        let open = self.connections.len();
        let fits = open < self.connections_max || (open == self.connections_max && tally.idle > 0);
        fits && self.connections.unadmitted() == 0
    }

    fn begin(&mut self, (stream, peer, local): Taken, now: Instant) {
        self.slot.count_connection();
        self.crew.count_accepted();
        let accepted = Accepted { peer, local, at: now };
        let Some(connection) = guard::accept(&self.crew.protocol, &mut self.thread, &accepted) else {
            return self.crew.count_closed();
        };
        let inbox = &self.inbox;
        let token = self.connections.insert(now, |token| {
            let waker = inbox.waker(Wakes::Connection(token));
            Open { stream, upstream: None, connection, waker, pass: Pass::default() }
        });
        let open = self.connections.get_mut(token).expect("just inserted");
        if let Err(error) = self.poller.watch(&open.stream, token) {
            tracing::error!("cannot watch a new connection, which is closed: {error}");
            return self.close(token, now);
        }
        self.serve_one(token, now);
        if self.connections.len() > self.connections_max {
            self.close_oldest_idle(now);
        }
        self.publish();
    }

    /// Makes room as Apache does when it is busy: by closing the connection that has been idle longest, unless it
    /// turns out to have a request.
    fn close_oldest_idle(&mut self, now: Instant) {
        while self.connections.len() > self.connections_max {
            let Some(token) = self.connections.pop_oldest_idle() else { return };
            let Some(open) = self.connections.get_mut(token) else { continue };
            open.stream.probe();
            self.serve_one(token, now);
            if self.connections.is_idle(token) {
                self.close(token, now);
                self.share_out(now);
            }
        }
    }

    fn end_turn(&mut self) {
        guard::turn_end(&self.crew.protocol, &mut self.thread);
        self.publish();
    }

    /// Brings the scoreboard up to date.
    fn publish(&mut self) {
        self.slot.set_connections(self.connections.tally());
        let is_taking = self.intake.is_open() && self.has_room();
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

/// What a parked connection costs apart from the protocol's own state and its waker (another 48 bytes).
#[cfg(test)]
const _: () = assert!(Connections::<Open<()>>::BYTES_EACH <= 200);
