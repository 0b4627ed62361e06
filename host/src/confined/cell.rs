//! A child of a module's pool: takes requests from server children, one at a time, and answers them with the module's
//! resident instance. Driven by prefork, like any child with one thread.
//!
//! ```text
//!    ▼───────────────── others wait ────────────────────┐
//! Hearing ──request──► Answering ──done or failed──► Telling ──► Closed
//!                          │ the other end is gone                  ▲
//!                          └────────────► Finishing ────────────────┘
//! ```

use std::task::Context;
use std::time::{Duration, Instant};

use guesthouse_mpm::{ChildContext, Next, StartError, ThreadContext, Turn, Upkeep};
use http::Request;

use super::frame::{Ask, Asked, BadFrame, Told, ask_bytes_max};
use super::lane::Lane;
use crate::finishing::Finishing;
use crate::guest::{
    BodySender, Call, Capacity, Fault, Guests, ModuleSource, Progress, RequestBody, Shelf, body_channel,
};
use crate::http::Limits;
use crate::request_id::RequestId;
use crate::transfer::{Filled, Sent};

/// The only module of a cell, as an index into its [`Guests`].
const MODULE: usize = 0;

/// A server child sends a request together with its connection, so one that has not come by then never will.
const HEARING_MAX: Duration = Duration::from_secs(10);

/// How long the requests of one thread may follow each other while those of others may wait.
const FOLLOWING_MAX: Duration = Duration::from_millis(2);

/// By then the next request has followed, or the connection has ended, or there is something wrong with the server child.
const NEXT_MAX: Duration = Duration::from_secs(1);

/// Bytes of an answer after which another request may follow: fewer than a server child holds for a client that is slow, so
/// that it gets to know of the answer's end whatever its client does.
const FOLLOWED_BYTES_MAX: usize = 64 << 10;

/// How long a server child may take for the last words after a fault.
const LAST_WORDS_MAX: Duration = Duration::from_secs(1);

/// A guest is not asked for more while so many bytes wait for the server child.
const UNSENT_BYTES_MAX: usize = 128 << 10;

/// Bytes that one read takes at most.
const READ_BYTES_MAX: usize = 64 << 10;

/// A confined child's view of its module.
pub struct Cell {
    guests: Guests,
    /// Bytes of a frame from a server child.
    ask_bytes_max: usize,
    /// A connection carries one request, because the connections of this child are counted.
    is_counted: bool,
}

/// What the child's only thread owns.
pub struct Desk {
    /// Where the resident instance is between two requests.
    shelf: Shelf,
    scratch: Box<[u8]>,
}

/// One connection from a server child: one request after the other.
pub struct Conversation {
    /// When the connection was accepted.
    since: Instant,
    lane: Lane,
    state: State,
}

enum State {
    Hearing {
        until: Instant,
    },
    Answering(Answering),
    /// All is said, and not all of it is sent.
    Telling {
        until: Instant,
        afterwards: Afterwards,
    },
    Finishing(Finishing),
    Closed,
}

/// What follows the last words of an answer.
enum Afterwards {
    /// Another request.
    Hear,
    Close,
    /// The log must be told this here, if the server child does not take it.
    Complain(Box<LastWords>),
}

/// How a call has failed.
struct LastWords {
    request: RequestId,
    kind: &'static str,
    text: String,
}

struct Answering {
    request: RequestId,
    call: Call,
    body: Body,
    /// All that the server child says of this request has been heard.
    is_heard: bool,
    others_wait: bool,
    /// Bytes of the answer's body.
    told: usize,
    /// The guest must have finished by then.
    until: Instant,
}

/// The request's body on its way to the guest.
enum Body {
    /// There is none, or the guest has got all of it, or does not want it.
    Done,
    /// The guest is busy with what it has.
    Resting(BodySender),
    /// The next piece is on its way.
    Wanted(BodySender),
}

/// What a step came to.
enum Step {
    Go(State),
    Wait(State, Next),
}

/// What waiting for the server child came to.
enum Fed {
    /// The guest has got something new: ask it again.
    Something,
    Nothing,
    Gone,
    Bad(BadFrame),
}

impl Cell {
    /// Loads the module. `is_counted`: the child ends after a number of connections. Threads are started here: to be called
    /// in a child only.
    ///
    /// # Errors
    /// The engine or the module cannot be used, and why.
    pub fn start(
        module: ModuleSource<'_>,
        time_slice: Duration,
        limits: &Limits,
        is_counted: bool,
        child: &ChildContext,
    ) -> Result<Cell, StartError> {
        let capacity =
            Capacity { calls_max: child.requests_in_flight_max, threads: child.threads, spare: 0, time_slice };
        let guests = Guests::start(&[module], capacity).map_err(|error| StartError(error.to_string()))?;
        Ok(Cell { guests, ask_bytes_max: ask_bytes_max(limits), is_counted })
    }
}

impl Desk {
    pub(crate) fn new(cell: &Cell, context: &ThreadContext) -> Desk {
        Desk { shelf: cell.guests.shelf(context.waker.clone()), scratch: vec![0; READ_BYTES_MAX].into_boxed_slice() }
    }
}

impl Desk {
    /// Looks after a guest that goes on without a conversation.
    pub(crate) fn tend(&mut self, now: Instant) -> Upkeep {
        self.shelf.tend(now)
    }
}

impl Conversation {
    /// A connection accepted at `at`.
    pub(crate) fn new(at: Instant) -> Conversation {
        Conversation { since: at, lane: Lane::default(), state: State::Hearing { until: at + HEARING_MAX } }
    }

    /// Does what can be done without waiting.
    pub(crate) fn advance(&mut self, cell: &Cell, desk: &mut Desk, turn: &mut Turn<'_>) -> Next {
        let Conversation { since, lane, state } = self;
        // How long nobody else had the child; it may end for others.
        let may_follow = !cell.is_counted && !turn.draining && turn.now < *since + FOLLOWING_MAX;
        loop {
            let step = match std::mem::replace(state, State::Closed) {
                State::Hearing { until } => cell.hear(until, lane, desk, turn),
                State::Answering(answering) => answering.step(cell, may_follow, lane, desk, turn),
                State::Telling { until, afterwards } => tell(until, afterwards, lane, turn),
                State::Finishing(finishing) => match finishing.advance(&mut desk.shelf, turn) {
                    Some((finishing, next)) => Step::Wait(State::Finishing(finishing), next),
                    None => Step::Go(State::Closed),
                },
                State::Closed => return Next::Close,
            };
            match step {
                Step::Go(next) => *state = next,
                Step::Wait(waiting, next) => {
                    *state = waiting;
                    return next;
                }
            }
        }
    }
}

impl Cell {
    fn hear(&self, until: Instant, lane: &mut Lane, desk: &mut Desk, turn: &mut Turn<'_>) -> Step {
        loop {
            match lane.hear(self.ask_bytes_max) {
                // Given up while it waited in the queue: it must not be run.
                Ok(Some(Ask::Request(_))) if turn.stream.at_end() => return Step::Go(State::Closed),
                Ok(Some(Ask::Request(asked))) => return Step::Go(self.begin(*asked, lane, desk, turn)),
                Ok(None) => {}
                Ok(Some(Ask::Data(_) | Ask::End(_))) => return nonsense("a body before its request"),
                Err(bad) => return nonsense(&bad.to_string()),
            }
            match lane.fill(turn.stream, &mut desk.scratch) {
                Filled::Bytes(_) => {}
                Filled::Nothing if turn.now < until => return Step::Wait(State::Hearing { until }, Next::Read(until)),
                Filled::Nothing | Filled::End | Filled::Reset => return Step::Go(State::Closed),
            }
        }
    }

    fn begin(&self, asked: Asked, lane: &mut Lane, desk: &mut Desk, turn: &mut Turn<'_>) -> State {
        let Asked { request, has_body, others_wait, facts } = asked;
        let id = facts.request_id;
        // A child serves one connection at a time: there is always a place.
        turn.begin_request();
        let (body, guests_end) = if has_body {
            let (sender, body) = body_channel();
            (Body::Resting(sender), body)
        } else {
            (Body::Done, RequestBody::empty())
        };
        let (parts, ()) = request.into_parts();
        let call = self.guests.call(&mut desk.shelf, MODULE, Request::from_parts(parts, guests_end), facts);
        lane.say(Told::Begun { reused: call.is_reused() });
        let until = turn.now + call.wall();
        State::Answering(Answering { request: id, call, body, is_heard: !has_body, others_wait, told: 0, until })
    }
}

impl Answering {
    /// `may_follow`: another request may come after this one.
    fn step(mut self, cell: &Cell, may_follow: bool, lane: &mut Lane, desk: &mut Desk, turn: &mut Turn<'_>) -> Step {
        if turn.now >= self.until {
            let fault = self.call.time_out();
            return self.fail(fault, lane, turn);
        }
        if turn.stream.peer_closed() {
            return self.left_alone(turn);
        }
        loop {
            if lane.unsent() > UNSENT_BYTES_MAX {
                match lane.flush(turn.stream) {
                    Sent::All => {}
                    Sent::Blocked { .. } => {
                        let until = self.until;
                        return Step::Wait(State::Answering(self), Next::Write(until));
                    }
                    Sent::Broken => return self.left_alone(turn),
                }
            }
            match self.call.poll(&mut Context::from_waker(turn.waker())) {
                Progress::Head(parts, length) => {
                    if matches!(&self.body, Body::Resting(body) | Body::Wanted(body) if body.is_abandoned()) {
                        self.body = Body::Done;
                        lane.say(Told::Unwanted);
                    }
                    lane.say(Told::Head(parts, length));
                }
                Progress::Data(data) => {
                    self.told = self.told.saturating_add(data.len());
                    lane.say(Told::Data(data));
                }
                Progress::End(trailers) => lane.say(Told::End(trailers)),
                // One that was sliced may wait for its body nevertheless: in another task, or by looking again and again.
                progress @ (Progress::Pending | Progress::Sliced) => {
                    match (self.feed(cell, lane, desk, turn), progress) {
                        (Fed::Something, Progress::Pending) => {}
                        (Fed::Nothing, Progress::Pending) => return self.wait(Next::Wait, lane, turn),
                        (Fed::Something | Fed::Nothing, _) => return self.wait(Next::Yield, lane, turn),
                        (Fed::Gone, _) => return self.left_alone(turn),
                        (Fed::Bad(bad), _) => {
                            complain(&bad.to_string());
                            return self.left_alone(turn);
                        }
                    }
                }
                Progress::Done => {
                    let is_small = self.told <= FOLLOWED_BYTES_MAX;
                    let goes_on = may_follow && self.others_wait && self.is_heard && is_small;
                    lane.say(Told::Done { cpu: self.call.cpu(), goes_on });
                    self.call.finish(&mut desk.shelf);
                    turn.end_request();
                    let afterwards = if goes_on { Afterwards::Hear } else { Afterwards::Close };
                    return Step::Go(State::Telling { until: self.until, afterwards });
                }
                Progress::Failed(fault) => return self.fail(fault, lane, turn),
            }
        }
    }

    /// Passes on what has come of the body, if the guest waits for it.
    fn feed(&mut self, cell: &Cell, lane: &mut Lane, desk: &mut Desk, turn: &mut Turn<'_>) -> Fed {
        loop {
            match std::mem::replace(&mut self.body, Body::Done) {
                Body::Done => return Fed::Nothing,
                Body::Resting(body) | Body::Wanted(body) if body.is_abandoned() => {
                    lane.say(Told::Unwanted);
                    return Fed::Nothing;
                }
                Body::Resting(body) => {
                    if !body.wanted() {
                        self.body = Body::Resting(body);
                        return Fed::Nothing;
                    }
                    lane.say(Told::Wanted);
                    self.body = Body::Wanted(body);
                }
                Body::Wanted(mut body) => match lane.hear(cell.ask_bytes_max) {
                    Ok(Some(Ask::Data(data))) => {
                        self.call.rouse();
                        body.send(data);
                        self.body = Body::Resting(body);
                        return Fed::Something;
                    }
                    Ok(Some(Ask::End(trailers))) => {
                        self.is_heard = true;
                        self.call.rouse();
                        body.end(trailers);
                        return Fed::Something;
                    }
                    Ok(Some(Ask::Request(_))) => return Fed::Bad(BadFrame::OutOfPlace),
                    Err(bad) => return Fed::Bad(bad),
                    Ok(None) => {
                        // The word that more is wanted must be out before anything can come.
                        if lane.flush(turn.stream) == Sent::Broken {
                            return Fed::Gone;
                        }
                        let filled = lane.fill(turn.stream, &mut desk.scratch);
                        self.body = Body::Wanted(body);
                        match filled {
                            Filled::Bytes(_) => {}
                            Filled::Nothing => return Fed::Nothing,
                            Filled::End | Filled::Reset => return Fed::Gone,
                        }
                    }
                },
            }
        }
    }

    /// Sends what was said so far, and waits until the wall limit at the latest.
    fn wait(self, next: fn(Instant) -> Next, lane: &mut Lane, turn: &mut Turn<'_>) -> Step {
        match lane.flush(turn.stream) {
            Sent::All | Sent::Blocked { .. } => {
                let until = self.until;
                Step::Wait(State::Answering(self), next(until))
            }
            Sent::Broken => self.left_alone(turn),
        }
    }

    fn fail(self, fault: Fault, lane: &mut Lane, turn: &mut Turn<'_>) -> Step {
        let last_words = LastWords { request: self.request, kind: fault.kind(), text: fault.to_string() };
        lane.say(Told::Failed { fault, cpu: self.call.cpu() });
        turn.end_request();
        let afterwards = Afterwards::Complain(Box::new(last_words));
        Step::Go(State::Telling { until: turn.now + LAST_WORDS_MAX, afterwards })
    }

    /// Nobody waits for the answer any more.
    fn left_alone(self, turn: &Turn<'_>) -> Step {
        let Answering { call, body, .. } = self;
        drop(body);
        match Finishing::of(call, turn.now) {
            Some(finishing) => Step::Go(State::Finishing(finishing)),
            None => Step::Go(State::Closed),
        }
    }
}

fn tell(until: Instant, afterwards: Afterwards, lane: &mut Lane, turn: &mut Turn<'_>) -> Step {
    match (lane.flush(turn.stream), afterwards) {
        (Sent::Blocked { .. }, afterwards) if turn.now < until => {
            Step::Wait(State::Telling { until, afterwards }, Next::Write(until))
        }
        (Sent::All, Afterwards::Hear) => Step::Go(State::Hearing { until: turn.now + NEXT_MAX }),
        // The client takes the answer too slowly, or not at all: the server child will only see that this one is gone.
        (Sent::Blocked { .. } | Sent::Broken, Afterwards::Complain(last_words)) => {
            let LastWords { request, kind, text } = *last_words;
            tracing::error!(%request, cause = kind, "{text}");
            Step::Go(State::Closed)
        }
        (Sent::Blocked { .. } | Sent::Broken, Afterwards::Hear | Afterwards::Close)
        | (Sent::All, Afterwards::Close | Afterwards::Complain(_)) => Step::Go(State::Closed),
    }
}

/// A server child never says such things; whoever does is not listened to.
fn nonsense(what: &str) -> Step {
    complain(what);
    Step::Go(State::Closed)
}

fn complain(what: &str) {
    tracing::error!("closed a connection to a confined child that broke the rules: {what}");
}
