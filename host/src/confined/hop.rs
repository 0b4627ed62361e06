//! A request of a confined module, as the server child sees it: what a [`Call`](crate::guest::Call) is for a module that
//! runs here, with the same [`Progress`].
//!
//! ```text
//! stage    Waiting ──called──► Queued ──Begun──► Begun ──Done or Failed──► Over
//! answer   Awaited ──Head──► Open ──End──► Complete
//! ```
//!
//! The confined child is not believed: whatever it sends or leaves unsaid, the request has a deadline here, a frame has
//! a size, and a frame that has no place ends the request.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use guesthouse_mpm::settings::ListenAddress;
use guesthouse_mpm::{ConnectionId, Turn};
use http::Request;
use http_body::Body;

use super::frame::{ANSWER_BYTES_MAX, Ask, Asked, Told};
use super::lane::Lane;
use super::queue::{Queues, Ticket};
use crate::guest::{CallFacts, Fault, Progress, RequestBody};
use crate::transfer::{Filled, Sent};

/// The request's body is not taken while so many bytes wait to be sent.
const UNSENT_BYTES_MAX: usize = 64 << 10;

/// Reads that one turn takes: a child that never stops sending must not hold up others, nor its own deadline.
const READS_MAX: usize = 16;

/// What a confined child has beyond `limits.wall` to say by itself that the time is over.
const GRACE: Duration = Duration::from_secs(1);

/// What a request may take.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Until a child has taken the request: `queue_timeout`.
    pub queue: Duration,
    /// Requests of the thread that wait for that.
    pub queue_length: usize,
    /// From then on: `limits.wall`.
    pub wall: Duration,
    /// Bytes of the answer's body: `limits.response_body`.
    pub response_body: u64,
}

/// See the file's head.
pub struct Hop {
    /// The pool's.
    address: ListenAddress,
    /// Until all is said.
    ticket: Option<Ticket<ConnectionId>>,
    lane: Lane,
    /// What says the request once more, until a child has begun it or it was said once more.
    again: Option<Lane>,
    /// The request could not be sent whole.
    is_cut: bool,
    /// The pool did not take the request.
    refused: Option<Fault>,
    stage: Stage,
    answer: Answer,
    /// What is left of the request's body; `None`: nothing, or nobody wants it.
    body: Option<RequestBody>,
    /// The guest waits for the next piece of it.
    is_wanted: bool,
    /// The guest has said that it waits for no more.
    is_unwanted: bool,
    bounds: Bounds,
    /// Bytes of the answer's body so far.
    received: u64,
    is_reused: Option<bool>,
    cpu: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The request waits for its place in the pool's queue.
    Waiting { until: Instant },
    /// No child has taken the request yet.
    Queued { until: Instant },
    /// A child has.
    Begun { until: Instant },
    /// Nothing more will be said.
    Over,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Awaited,
    Open,
    Complete,
}

impl Hop {
    /// Takes a place in the queue for the pool at `address`. If the queue is full or the pool cannot be reached, the first
    /// [`Hop::poll`] tells.
    pub fn begin(
        turn: &mut Turn<'_>,
        queues: &mut Queues,
        address: &ListenAddress,
        request: Request<RequestBody>,
        facts: CallFacts,
        bounds: Bounds,
    ) -> Hop {
        let (parts, body) = request.into_parts();
        let body = (!body.is_end_stream()).then_some(body);
        let mut lane = Lane::default();
        let ticket = queues.of(address, bounds.queue_length).enter(turn.id(), turn.waker()).ok();
        if let Some(ticket) = &ticket {
            let (request, has_body) = (Request::from_parts(parts, ()), body.is_some());
            lane.say(Ask::Request(Box::new(Asked { request, has_body, others_wait: ticket.others_wait(), facts })));
        }
        let mut hop = Hop {
            address: address.clone(),
            refused: ticket.is_none().then_some(Fault::PoolFull),
            ticket,
            again: Some(lane.clone()),
            is_cut: false,
            lane,
            stage: Stage::Waiting { until: turn.now + bounds.queue },
            answer: Answer::Awaited,
            body,
            is_wanted: false,
            is_unwanted: false,
            bounds,
            received: 0,
            is_reused: None,
            cpu: Duration::ZERO,
        };
        hop.refused = hop.refused.take().or_else(|| hop.join_the_queue(turn).err());
        hop
    }

    /// Goes to the pool's own queue if the request may.
    fn join_the_queue(&mut self, turn: &mut Turn<'_>) -> Result<(), Fault> {
        let Stage::Waiting { until } = self.stage else { return Ok(()) };
        if !self.ticket.as_mut().is_some_and(Ticket::is_called) {
            return Ok(());
        }
        if turn.upstream().is_none()
            && let Err(error) = turn.connect(&self.address)
        {
            let (id, waker) = (turn.id(), turn.waker());
            return match error.kind() {
                // It was called too early: others were faster.
                io::ErrorKind::WouldBlock if self.ticket.as_mut().is_some_and(|ticket| ticket.step_back(id, waker)) => {
                    Ok(())
                }
                io::ErrorKind::WouldBlock => Err(Fault::PoolFull),
                _ => Err(Fault::NoPool(format!("{}: {error}", self.address))),
            };
        }
        self.stage = Stage::Queued { until };
        if let Some(stream) = turn.upstream() {
            // At once: a child that is woken by the connection finds the request there. What fails shows at the next flush.
            self.lane.flush(stream);
        }
        Ok(())
    }

    /// Goes to another child with a request that this one was gone before it had read, as it may have been after the request
    /// before it. Once: a child may do so on purpose.
    fn begin_again(&mut self, turn: &mut Turn<'_>) -> bool {
        let Stage::Queued { until } = self.stage else { return false };
        let Some(lane) = self.again.take() else { return false };
        turn.disconnect();
        self.lane = lane;
        self.stage = Stage::Waiting { until };
        true
    }

    /// Takes what the confined child has said, and sends it what it waits for. `scratch` is where a read puts its bytes
    /// first. [`Progress::Sliced`]: the child has said much that means nothing to the client.
    pub fn poll(&mut self, turn: &mut Turn<'_>, scratch: &mut [u8]) -> Progress {
        if let Some(fault) = self.refused.take() {
            return self.fail(fault, turn);
        }
        let now = turn.now;
        let mut reads = 0;
        loop {
            if let Err(fault) = self.join_the_queue(turn) {
                return self.fail(fault, turn);
            }
            match self.stage {
                Stage::Waiting { until } if now < until => return Progress::Pending,
                Stage::Waiting { .. } => return Progress::Failed(self.time_out(turn)),
                Stage::Queued { .. } | Stage::Begun { .. } | Stage::Over => {}
            }
            match self.lane.hear(ANSWER_BYTES_MAX) {
                Ok(Some(told)) => {
                    if let Some(progress) = self.heard(told, now, turn) {
                        return progress;
                    }
                    continue;
                }
                Ok(None) => {}
                Err(bad) => return self.fail(Fault::BadHop(bad.to_string()), turn),
            }
            if self.stage == Stage::Over {
                return Progress::Done;
            }
            self.pass_on_the_body();
            let Some(stream) = turn.upstream() else { return self.fail(Fault::ChildGone, turn) };
            match self.lane.flush(stream) {
                Sent::All | Sent::Blocked { .. } => {}
                // What it said before it closed is still to be read, and the end of that tells the rest.
                Sent::Broken => {
                    self.lane.fall_silent();
                    self.is_cut = true;
                }
            }
            match self.lane.fill(stream, scratch) {
                Filled::Bytes(_) if reads < READS_MAX => reads += 1,
                Filled::Bytes(_) => return Progress::Sliced,
                // A child that has begun in time was heard above.
                Filled::Nothing if matches!(self.stage, Stage::Queued { until } if now >= until) => {
                    return Progress::Failed(self.time_out(turn));
                }
                Filled::Nothing => return Progress::Pending,
                Filled::Reset if self.begin_again(turn) => {}
                Filled::End if self.is_cut && self.begin_again(turn) => {}
                Filled::End | Filled::Reset => return self.fail(Fault::ChildGone, turn),
            }
        }
    }

    /// CPU time that the guest has used, as far as it is known.
    #[must_use]
    pub fn cpu(&self) -> Duration {
        self.cpu
    }

    /// Whether an instance serves that had served before; `None`: none has been found yet.
    #[must_use]
    pub fn is_reused(&self) -> Option<bool> {
        self.is_reused
    }

    /// Whether [`Hop::time_out`] is to be called. A request that is still in the queue is not asked for: what a child may
    /// have said by now is heard first, by [`Hop::poll`].
    #[must_use]
    pub fn is_overdue(&self, now: Instant) -> bool {
        matches!(self.stage, Stage::Begun { until } if now >= until)
    }

    /// When to poll at the latest; `None`: all is said.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match self.stage {
            Stage::Waiting { until } | Stage::Queued { until } | Stage::Begun { until } => Some(until),
            Stage::Over => None,
        }
    }

    /// Ends a request whose deadline has passed.
    pub fn time_out(&mut self, turn: &mut Turn<'_>) -> Fault {
        let fault = match self.stage {
            Stage::Waiting { .. } | Stage::Queued { .. } => Fault::QueueTimeout(self.bounds.queue),
            Stage::Begun { .. } | Stage::Over => Fault::WallLimit(self.bounds.wall),
        };
        self.end(turn);
        fault
    }

    /// Leaves the pool: the child that is busy with the request notices.
    pub fn end(&mut self, turn: &mut Turn<'_>) {
        self.stage = Stage::Over;
        self.body = None;
        self.ticket = None;
        turn.disconnect();
    }

    /// All is said, and the child waits for more: the next request has the connection, if there is one.
    fn hand_over(&mut self, turn: &mut Turn<'_>) {
        let is_good = self.lane.is_still() && turn.upstream().is_some_and(|upstream| !upstream.peer_closed());
        if is_good && let Some(heir) = self.ticket.take().and_then(Ticket::hand_over) {
            turn.hand_upstream_to(heir);
        }
    }

    /// What a frame means, if it has a place here.
    fn heard(&mut self, told: Told, now: Instant, turn: &mut Turn<'_>) -> Option<Progress> {
        match (told, self.stage, self.answer) {
            (Told::Begun { reused }, Stage::Queued { .. }, Answer::Awaited) => {
                self.is_reused = Some(reused);
                self.ticket.as_mut().expect("until all is said").begin();
                self.again = None;
                self.stage = Stage::Begun { until: now + self.bounds.wall + GRACE };
                None
            }
            (Told::Wanted, Stage::Begun { .. }, _) if self.body.is_some() && !self.is_wanted => {
                self.is_wanted = true;
                None
            }
            // Also when the end of the body has crossed it.
            (Told::Unwanted, Stage::Begun { .. }, _) if !self.is_unwanted => {
                self.is_unwanted = true;
                self.body = None;
                None
            }
            (Told::Head(parts, length), Stage::Begun { .. }, Answer::Awaited) => {
                self.answer = Answer::Open;
                Some(Progress::Head(parts, length))
            }
            (Told::Data(data), Stage::Begun { .. }, Answer::Open) => {
                self.received = self.received.saturating_add(data.len() as u64);
                if self.received > self.bounds.response_body {
                    return Some(self.fail(Fault::BadHop("it sent more than limits.response_body".to_owned()), turn));
                }
                Some(Progress::Data(data))
            }
            (Told::End(trailers), Stage::Begun { .. }, Answer::Open) => {
                self.answer = Answer::Complete;
                Some(Progress::End(trailers))
            }
            (Told::Done { cpu, goes_on }, Stage::Begun { .. }, Answer::Complete) => {
                self.cpu = cpu;
                if goes_on {
                    self.hand_over(turn);
                }
                self.end(turn);
                Some(Progress::Done)
            }
            (Told::Failed { fault, cpu }, Stage::Begun { .. }, _) => {
                self.cpu = cpu;
                Some(self.fail(fault, turn))
            }
            (unexpected, stage, answer) => {
                let what = format!("{} while {stage:?}, {answer:?}", unexpected.name());
                Some(self.fail(Fault::BadHop(what), turn))
            }
        }
    }

    /// Sends what there is of the body, if the guest waits for it.
    fn pass_on_the_body(&mut self) {
        if !self.is_wanted || self.lane.unsent() > UNSENT_BYTES_MAX {
            return;
        }
        let Some(body) = &mut self.body else { return };
        // Who feeds the body polls this hop next anyway, so nobody needs to be woken.
        match Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => return,
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => self.lane.say(Ask::Data(data)),
                Err(frame) => {
                    self.lane.say(Ask::End(frame.into_trailers().ok()));
                    self.body = None;
                }
            },
            Poll::Ready(None) => {
                self.lane.say(Ask::End(None));
                self.body = None;
            }
            // The client's fault; who feeds the body ends this hop.
            Poll::Ready(Some(Err(_))) => self.body = None,
        }
        self.is_wanted = false;
    }

    fn fail(&mut self, fault: Fault, turn: &mut Turn<'_>) -> Progress {
        self.end(turn);
        Progress::Failed(fault)
    }
}
