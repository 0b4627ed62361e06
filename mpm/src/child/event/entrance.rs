//! Who comes in: when a thread accepts, when it leaves that to others, and who goes when it is full. What becomes of a
//! connection after its first turn is not known here.

use std::time::{Duration, Instant};

use super::{EventThread, Open};
use crate::child::Post;
use crate::child::connections::Connections;
use crate::child::guard;
use crate::child::intake::Intake;
use crate::child::share::Share;
use crate::listener::Taken;
use crate::protocol::{Accepted, Pass, Protocol};

/// Connections that a thread accepts in one turn, before it looks after those that it has.
const ACCEPTS_PER_TURN: usize = 16;
/// How long a thread with more than its share leaves a connection to the others. Then it accepts nevertheless: the
/// others may be busy, and nothing may be stranded in the backlog.
const DEFERENCE: Duration = Duration::from_millis(2);

/// The way in to one thread.
pub(super) struct Entrance {
    pub(super) intake: Intake,
    /// Connections that the listeners hold.
    pub(super) backlog: u32,
    connections_max: usize,
    share: Share,
    /// Until when a connection is left to threads that have fewer.
    deference_end: Option<Instant>,
}

impl Entrance {
    /// Of the child's thread of this index, one of so many.
    pub(super) fn new(post: &Post, index: usize, threads: usize, connections_max: usize) -> Self {
        Self {
            intake: Intake::new(post.listeners.clone()),
            backlog: post.backlog,
            connections_max,
            share: Share { scoreboard: post.scoreboard.clone(), slot: post.slot, thread: index, threads },
            deference_end: None,
        }
    }

    /// Whether new clients may count on the thread.
    pub(super) fn is_taking<C>(&self, connections: &Connections<C>) -> bool {
        self.intake.is_open() && self.has_room(connections)
    }

    /// When to accept: a time that has passed or is yet to come; `None`: not before something changes.
    pub(super) fn accept_at<C>(&mut self, connections: &Connections<C>, now: Instant) -> Option<Instant> {
        let at = if self.has_room(connections) { self.intake.ready_at(now) } else { None };
        let defers =
            at.is_some_and(|at| at <= now) && self.intake.is_open() && self.share.is_exceeded(connections.len());
        if !defers {
            self.deference_end = None;
            return at;
        }
        Some(*self.deference_end.get_or_insert(now + DEFERENCE))
    }

    /// Takes one, if it is time for that.
    fn take<C>(&mut self, connections: &Connections<C>, now: Instant) -> Option<Taken> {
        self.accept_at(connections, now).filter(|at| *at <= now)?;
        self.deference_end = None;
        self.intake.take(now)
    }

    fn is_full<C>(&self, connections: &Connections<C>) -> bool {
        connections.len() >= self.connections_max
    }

    /// Whether a connection may be accepted. A full thread has room if one of its connections is idle and can be
    /// closed in exchange; it has one more than its maximum until then.
    fn has_room<C>(&self, connections: &Connections<C>) -> bool {
        let can_exchange = connections.len() == self.connections_max && connections.tally().idle > 0;
        (!self.is_full(connections) || can_exchange) && connections.unadmitted() == 0
    }
}

impl<P: Protocol> EventThread<P> {
    /// Accepts what is waiting, within bounds, and advances each connection at once.
    pub(super) fn accept(&mut self, now: Instant) {
        if self.entrance.is_full(&self.connections) {
            // Those that have been answered are idle then.
            self.flush(now);
        }
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(taken) = self.entrance.take(&self.connections, now) else { return };
            self.begin(taken, now);
        }
    }

    fn begin(&mut self, (stream, peer, local): Taken, now: Instant) {
        self.slot.count_connection();
        self.crew.count_accepted();
        let accepted = Accepted { peer, local, at: now };
        let Some(connection) = guard::accept(&self.crew.protocol, &mut self.thread, &accepted) else {
            return self.crew.count_closed();
        };
        let open = Open { stream, upstream: None, connection, waker: None, pass: Pass::default() };
        let token = self.connections.insert(now, open);
        let open = self.connections.get_mut(token).expect("just inserted");
        if let Err(error) = self.poller.watch(&open.stream, token) {
            tracing::error!("cannot watch a new connection, which is closed: {error}");
            return self.close(token, now);
        }
        self.serve_one(token, now);
        self.close_oldest_idle(now);
        self.publish();
    }

    /// Makes room for one that was accepted beyond the maximum, as Apache does when it is busy: by closing the connection
    /// that has been idle longest, unless it turns out to have a request. Then there may be none until that is answered, so
    /// this is looked after at the end of each turn too: with one too many the thread would never accept again.
    pub(super) fn close_oldest_idle(&mut self, now: Instant) {
        while self.connections.len() > self.entrance.connections_max {
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
}
