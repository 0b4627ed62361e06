//! Whose turn it is, and who has one after it. Accepts nothing, and waits for nothing.
//!
//! ```text
//! one turn of the thread:   ready, each ─► accepted, each ─► requests that begin, each ─► whole answers
//!                           ─► yielded, one ─► whole answers
//! after each connection:    whole answers, if they are overdue ─► who may use its place ─► who has its upstream
//! ```

use std::time::Instant;

use super::{EventThread, FLUSH_DELAY_MAX, Open};
use crate::child::connections::Run;
use crate::child::crew::Orders;
use crate::child::guard;
use crate::poller::Token;
use crate::protocol::{Company, Next, OwnWaker, Protocol, Turn, Upkeep};
use crate::stream::Stream;

impl<P: Protocol> EventThread<P> {
    /// Advances all that stand in a queue now.
    pub(super) fn serve_all(&mut self, run: Run, now: Instant) {
        for _ in 0..self.connections.run_len(run) {
            if let Some(token) = self.connections.pop(run) {
                self.serve_one(token, now);
            }
        }
    }

    /// The thread's own work, and one connection: what has become ready meanwhile goes before the next. The work goes first,
    /// because nothing waits to be written yet.
    pub(super) fn serve_yielded(&mut self, now: Instant) {
        if let Upkeep::Yield(_) = self.upkeep {
            self.tend(now);
        }
        if let Some(token) = self.connections.pop(Run::Yield) {
            self.serve_one(token, now);
        }
    }

    /// Advances a connection, and after it whoever may use what it has given back: its upstream, its place for a request.
    pub(super) fn serve_one(&mut self, token: Token, now: Instant) {
        self.advance(token, now);
        self.flush_overdue(now);
        self.share_out(now);
    }

    /// Lets answers leave that are whole, and shares out what that gives back.
    pub(super) fn flush(&mut self, now: Instant) {
        self.write_out(now);
        self.share_out(now);
    }

    /// Lets them leave if they have waited long enough for others.
    fn flush_overdue(&mut self, now: Instant) {
        if self.connections.run_len(Run::Flush) > 0 && self.unflushed_since.elapsed() >= FLUSH_DELAY_MAX {
            self.write_out(now);
            self.unflushed_since = Instant::now();
        }
    }

    fn write_out(&mut self, now: Instant) {
        for _ in 0..self.connections.run_len(Run::Flush) {
            if let Some(token) = self.connections.pop(Run::Flush) {
                self.advance(token, now);
            }
        }
    }

    pub(super) fn share_out(&mut self, now: Instant) {
        self.admit(now);
        while let Some((heir, upstream)) = self.handed.pop() {
            self.bequeath(upstream, heir, now);
            self.admit(now);
        }
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

    fn bequeath(&mut self, upstream: Box<Stream>, heir: Token, now: Instant) {
        let Some(open) = self.connections.get_mut(heir) else { return };
        match self.poller.rename_upstream(&upstream, heir) {
            Ok(()) => open.upstream = Some(upstream),
            Err(error) => tracing::error!("cannot watch a connection to a pool, which is closed: {error}"),
        }
        self.advance(heir, now);
    }

    fn advance(&mut self, token: Token, now: Instant) {
        let Some(open) = self.connections.get_mut(token) else { return };
        let draining = self.orders != Orders::Serve;
        let turn = Turn {
            stream: &mut open.stream,
            now,
            draining,
            upstream: &mut open.upstream,
            waker: OwnWaker::OnDemand { made: &mut open.waker, inbox: &self.inbox, token },
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
        if let Next::Idle(_) = next {
            // Nobody asks for it then. Whoever has a copy may go on using it.
            open.waker = None;
        }
        match next {
            Next::Close => self.close(token, now),
            next => self.connections.settle(token, next),
        }
    }

    pub(super) fn close(&mut self, token: Token, now: Instant) {
        let Some(Open { stream, upstream, connection, waker, mut pass }) = self.connections.remove(token) else {
            return;
        };
        self.gate.leave(&mut pass);
        guard::close(connection);
        drop((stream, upstream, waker));
        self.crew.count_closed();
        self.entrance.intake.end_pause(now);
    }
}
