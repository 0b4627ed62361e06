//! One client's connection, from `accept` to its end: joins the socket, HTTP/1.1 and the guests.
//!
//! ```text
//!            first byte              whole head            a place is free
//!   ┌─ Idle ───────────► Head ─────────────────► Admission ───────────────► Exchange
//!   │   ▲                 ▲ │ │                                                │
//!   │   │ nothing more is │ │ │ refused, or a fixed answer                     │ answered
//!   │   │ here yet        │ │ ▼                                                ▼
//!   │   └─────────────────┴─┼── Flush ◄────────────────────────────────────────┘
//!   │ timeout, drained      │    │ must close
//!   ▼                       ▼    ▼
//! Closed ◄────────────────────  Linger
//! ```
//!
//! Every state owns what it needs; a step consumes the state and gives the next. The bytes themselves and the
//! socket's calls are in [`wire`], a request that a guest answers is in [`exchange`]. Nothing here knows a pid, a
//! poller, or Wasmtime.

mod answerer;
mod exchange;
mod forwarded;
mod gathering;
mod wire;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use guesthouse_mpm::{Next, Stream, Turn};
use ipnet::IpNet;

use self::exchange::Exchange;
use self::gathering::Gathering;
use self::wire::{Flushed, Wire};
use crate::config::Timing;
use crate::finishing::Finishing;
use crate::guest::{CgiFacts, Ends};
use crate::http::timing::ReadDeadline;
use crate::http::{After, CloseReason, Received, Refusal, RequestHead, Scheme, Target};
use crate::record::Record;
use crate::respond;
use crate::route::Responder;
use crate::site::{Place, Site, TURN_TIME, Thread};
use crate::sites::Sites;
use crate::status::{self, View};
use crate::tally::NO_PLACE;
use crate::transfer::Filled;

/// A connection between two requests is closed so soon when the child drains: time enough for a request that is
/// already on its way, which is then answered with `Connection: close`.
const DRAIN_GRACE: Duration = Duration::from_millis(500);

/// A client that has ended its sending side may still read, but more often it is gone: its request gets so long.
const HALF_CLOSED_GRACE: Duration = Duration::from_secs(1);

/// Reads of 64 KiB that one turn of a lingering close takes: a client that never stops sending must not hold up others.
const LINGER_READS_MAX: usize = 16;

/// Apache's MAX_SECS_TO_LINGER: a lingering close ends after so long whatever the client sends.
const LINGER_MAX: Duration = Duration::from_secs(30);

/// One connection, apart from its socket.
pub struct Connection {
    wire: Wire,
    state: State,
    facts: Facts,
    /// What the request that is under way began with.
    site: Option<Arc<Site>>,
}

// Thousands of connections are idle at a time: what one takes here is most of what it takes at all.
const _: () = assert!(size_of::<Connection>() <= 240, "an idle connection has become larger");

/// What stays the same, and what is counted, over a connection's requests.
struct Facts {
    /// Address and port, which take less than a `SocketAddr`. `None` on a Unix socket.
    client: Option<(IpAddr, u16)>,
    /// Requests whose head was received.
    requests: u32,
}

impl Facts {
    /// The client's address; `None` on a Unix socket.
    fn client(&self) -> Option<IpAddr> {
        self.client.map(|(address, _)| address)
    }

    /// Both ends of the connection, which this is the socket of; `None` on a Unix socket.
    fn ends(&self, stream: &Stream) -> Option<Ends> {
        let (client, server) = self.client.zip(stream.local_address())?;
        Some(Ends { client: client.into(), server: server.ip() })
    }
}

enum State {
    /// Between two requests.
    Idle {
        until: Instant,
    },
    /// A request's head is awaited (since `began`) or arriving (its first byte came then). Awaited only on a connection
    /// that is new, or behind a request that came together with more.
    Head {
        began: Instant,
        deadline: ReadDeadline,
    },
    /// A request waits for those of other connections to be read, or for a place among those in flight.
    Admission {
        request: Box<RequestHead>,
        to: Recipient,
        record: Box<Record>,
        until: Instant,
    },
    /// A guest answers.
    Exchange(Box<Exchange>),
    /// Nobody waits for the guest any more, and it goes on for nobody.
    Finishing(Box<Finishing>, Afterwards),
    /// The answer is whole; what of it the socket did not take yet is written, and what is left of the request's
    /// body is read.
    Flush {
        deadline: ReadDeadline,
    },
    /// The answer is written and the sending side shut down; what the client still sends is thrown away, so that
    /// no reset overtakes the answer (RFC 9112 9.6).
    Linger {
        until: Instant,
        at_the_latest: Instant,
    },
    Closed,
}

/// Whose guest answers, and what it is told of the path if it speaks CGI.
struct Recipient {
    /// Index into the configuration's modules.
    module: usize,
    cgi: Option<Box<CgiFacts>>,
}

/// What becomes of a connection whose guest has gone on for nobody.
#[derive(Debug, Clone, Copy)]
enum Afterwards {
    /// The client is gone.
    Close,
    /// The client is at fault, and is told so.
    Flush,
}

/// What a step came to.
enum Step {
    /// Go on with this state at once.
    Go(State),
    /// Nothing more to do in this state until what `Next` says.
    Wait(State, Next),
}

impl Step {
    /// The answer is whole. It leaves with those of other connections, if there are any; but a client that sends requests
    /// without waiting for answers is served as long as its turn lasts.
    fn answered(wire: &Wire, scope: &Scope<'_, '_>) -> Self {
        let flush = State::flush(scope);
        if wire.input.is_empty() { Step::Wait(flush, Next::Flush) } else { Step::Go(flush) }
    }
}

/// The circumstances of a turn.
struct Scope<'a, 't> {
    site: &'a Site,
    thread: &'a mut Thread,
    turn: &'a mut Turn<'t>,
}

impl Scope<'_, '_> {
    fn timing(&self) -> &Timing {
        &self.site.config.server.timing
    }

    /// The longest body that a module takes.
    fn body_bytes_max(&self, module: usize) -> u64 {
        let config = &self.site.config;
        config.modules[module].limits.request_body.min(config.server.request_limits.limit_request_body)
    }

    /// Logs and counts an answered request; the answer is what `wire` has said so far.
    fn log(&mut self, record: &Record, wire: &Wire) {
        // A guest that answered at once did so within this turn: its time is not told by the turn's.
        let (now, bytes) = (Instant::now(), wire.http.content_bytes());
        match record.module {
            Some(module) => self.site.counters.modules[module].request(&record.outcome(bytes, now)),
            None => self.site.counters.own.answer(record.status, bytes),
        }
        let Thread { access_log, clock, .. } = self.thread;
        if let Some(log) = access_log {
            let module = record.module.map(|module| self.site.config.modules[module].name.as_str());
            let entry = record.entry(module, bytes, now);
            log.add(&entry, clock.common_log_date(self.turn.now));
        }
    }
}

impl Connection {
    /// A connection accepted at `at`; its first request has until the header timeout.
    pub(crate) fn new(client: Option<SocketAddr>, at: Instant, timing: &Timing) -> Self {
        let client = client.map(|client| (client.ip(), client.port()));
        Self { wire: Wire::new(), state: State::head(at, timing), facts: Facts { client, requests: 0 }, site: None }
    }

    /// Does what can be done without waiting.
    pub(crate) fn advance(&mut self, sites: &Sites, thread: &mut Thread, turn: &mut Turn<'_>) -> Next {
        let mut site = self.site.take().unwrap_or_else(|| sites.current());
        loop {
            let state = std::mem::replace(&mut self.state, State::Closed);
            if let State::Idle { .. } | State::Head { .. } = state {
                // A request is answered by the generation that is published when its head is read.
                sites.refresh(&mut site);
                thread.keep_guests_of(&site);
            }
            let mut scope = Scope { site: &site, thread: &mut *thread, turn: &mut *turn };
            match state.step(&mut self.wire, &mut self.facts, &mut scope) {
                Step::Go(State::Closed) => return Next::Close,
                Step::Go(next) => self.state = next,
                Step::Wait(state, next) => {
                    // One that flushes is advanced again at once.
                    self.site = (state.is_request() || next == Next::Flush).then_some(site);
                    self.state = state;
                    return next;
                }
            }
        }
    }
}

impl State {
    fn head(now: Instant, timing: &Timing) -> Self {
        let Timing { header_timeout, header_timeout_max, min_rate, .. } = *timing;
        Self::Head { began: now, deadline: ReadDeadline::new(now, header_timeout, Some(header_timeout_max), min_rate) }
    }

    /// Whether a request is under way, from its whole head on until all that a guest has to do with it is over.
    fn is_request(&self) -> bool {
        match self {
            State::Admission { .. } | State::Exchange(_) | State::Finishing(..) => true,
            State::Idle { .. } | State::Head { .. } | State::Flush { .. } | State::Linger { .. } | State::Closed => {
                false
            }
        }
    }

    fn flush(scope: &Scope<'_, '_>) -> Self {
        let Timing { body_timeout, min_rate, .. } = *scope.timing();
        Self::Flush { deadline: ReadDeadline::new(scope.turn.now, body_timeout, None, min_rate) }
    }

    fn step(self, wire: &mut Wire, facts: &mut Facts, scope: &mut Scope<'_, '_>) -> Step {
        match self {
            State::Idle { until } => idle(until, wire, scope),
            State::Head { began, deadline } => head(began, deadline, wire, facts, scope),
            State::Admission { request, to, record, until } => {
                admission(request, to, record, until, wire, facts, scope)
            }
            State::Exchange(exchange) => exchange.step(wire, scope),
            State::Finishing(finishing, afterwards) => {
                match (finishing.advance(&mut scope.thread.shelf, scope.turn), afterwards) {
                    (Some((finishing, next)), _) => Step::Wait(State::Finishing(Box::new(finishing), afterwards), next),
                    (None, Afterwards::Close) => Step::Go(State::Closed),
                    (None, Afterwards::Flush) => Step::Go(State::flush(scope)),
                }
            }
            State::Flush { deadline } => flush(deadline, wire, scope),
            State::Linger { until, at_the_latest } => linger(until, at_the_latest, scope),
            State::Closed => Step::Go(State::Closed),
        }
    }
}

fn idle(until: Instant, wire: &mut Wire, scope: &mut Scope<'_, '_>) -> Step {
    let now = scope.turn.now;
    match wire.fill(scope) {
        Filled::Bytes(_) => Step::Go(State::head(now, scope.timing())),
        Filled::End | Filled::Reset => Step::Go(State::Closed),
        Filled::Nothing if now >= until => Step::Go(State::Closed),
        Filled::Nothing => {
            let until = if scope.turn.draining { until.min(now + DRAIN_GRACE) } else { until };
            Step::Wait(State::Idle { until }, Next::Idle(until))
        }
    }
}

fn head(
    began: Instant,
    mut deadline: ReadDeadline,
    wire: &mut Wire,
    facts: &mut Facts,
    scope: &mut Scope<'_, '_>,
) -> Step {
    match wire.http.receive(&mut wire.input, &scope.site.limits) {
        Ok(Received::Head(request)) => return begin(request, began, wire, facts, scope),
        Ok(Received::Incomplete) => {}
        Ok(Received::Data(_) | Received::End(_)) => unreachable!("a body is received only after its head"),
        Err(refusal) => return refuse_head(&refusal, began, wire, facts, scope),
    }
    let now = scope.turn.now;
    let nothing_yet = wire.http.is_idle() && wire.input.is_empty();
    match wire.fill(scope) {
        Filled::Bytes(count) => {
            deadline.received(count);
            Step::Go(State::Head { began: if nothing_yet { now } else { began }, deadline })
        }
        Filled::End | Filled::Reset => Step::Go(State::Closed),
        Filled::Nothing if nothing_yet && (scope.turn.draining || now >= deadline.at()) => {
            Step::Go(State::Idle { until: deadline.at() })
        }
        Filled::Nothing if now < deadline.at() => {
            let at = deadline.at();
            Step::Wait(State::Head { began, deadline }, Next::Read(at))
        }
        Filled::Nothing => refuse_head(&Refusal::HeadTimeout, began, wire, facts, scope),
    }
}

/// A whole head is here: who answers it?
fn begin(
    request: Box<RequestHead>,
    began: Instant,
    wire: &mut Wire,
    facts: &mut Facts,
    scope: &mut Scope<'_, '_>,
) -> Step {
    facts.requests += 1;
    let mut record = Box::new(Record::new(&request, facts.client(), began, scope.turn.now));
    match request.target {
        Target::Asterisk => return answer_fixed(&respond::server_options(), record, wire, facts, scope),
        Target::Absolute(Scheme::Https) => return answer_fixed(&respond::misdirected(), record, wire, facts, scope),
        Target::Absolute(Scheme::Http) | Target::Origin => {}
    }
    let authority = request.authority.to_str().expect("it was checked");
    let found = match scope.site.router.find(authority, request.path_and_query.path()) {
        Ok(Some(found)) => found,
        Ok(None) => return answer_fixed(&respond::not_found(), record, wire, facts, scope),
        Err(bad) => {
            tracing::debug!("cannot route a request: {bad}");
            return answer_fixed(&respond::bad_request(), record, wire, facts, scope);
        }
    };
    match found.responder {
        &Responder::Module(module) => {
            record.module = Some(module);
            // Before it waits for a place: what is announced already is reason enough.
            if let Err(refusal) = wire.http.limit_body(scope.body_bytes_max(module)) {
                return refuse(&refusal, record, wire, scope);
            }
            let ends = || facts.ends(scope.turn.stream);
            let cgi = match scope.site.cgi_facts(module, &found, ends, request.path_and_query.query()) {
                Ok(cgi) => cgi,
                Err(answer) => return answer_fixed(&answer, record, wire, facts, scope),
            };
            let until = scope.turn.now + scope.site.config.modules[module].limits.wall;
            let gathering = Gathering::of(&request, module, wire, scope);
            let admission = State::Admission { request, to: Recipient { module, cgi }, record, until };
            match gathering {
                Gathering::Read => Step::Wait(admission, Next::Begin),
                Gathering::Begun | Gathering::None => Step::Go(admission),
            }
        }
        Responder::Fixed(answer) => answer_fixed(answer, record, wire, facts, scope),
        Responder::ServerStatus { allow } => {
            let answer = show(View::Status, allow, &request, facts, scope);
            answer_fixed(&answer, record, wire, facts, scope)
        }
        Responder::Metrics { allow } => {
            let answer = show(View::Metrics, allow, &request, facts, scope);
            answer_fixed(&answer, record, wire, facts, scope)
        }
    }
}

/// What the server tells of itself, if it tells this client.
fn show(view: View, allow: &[IpNet], request: &RequestHead, facts: &Facts, scope: &Scope<'_, '_>) -> respond::Fixed {
    status::answer(view, allow, request, facts.client(), || scope.site.snapshot(scope.turn.now))
}

/// Answers by itself; what the request's body is left is read or the connection closed, as HTTP decides.
fn answer_fixed(
    answer: &respond::Fixed,
    mut record: Box<Record>,
    wire: &mut Wire,
    facts: &Facts,
    scope: &mut Scope<'_, '_>,
) -> Step {
    record.status = answer.status.as_u16();
    wire.answer_fixed(answer, must_close(facts, scope), scope);
    scope.log(&record, wire);
    Step::answered(wire, scope)
}

/// Whether the connection may carry no further request.
fn must_close(facts: &Facts, scope: &Scope<'_, '_>) -> bool {
    let requests_max = scope.timing().max_keep_alive_requests;
    scope.turn.draining || (requests_max > 0 && facts.requests >= requests_max)
}

fn admission(
    request: Box<RequestHead>,
    to: Recipient,
    mut record: Box<Record>,
    until: Instant,
    wire: &mut Wire,
    facts: &Facts,
    scope: &mut Scope<'_, '_>,
) -> Step {
    let is_confined = matches!(scope.site.places[to.module], Place::Confined(_));
    if is_confined || scope.turn.begin_request() {
        let close = must_close(facts, scope);
        let gathering = Gathering::of(&request, to.module, wire, scope);
        let exchange = State::Exchange(Box::new(Exchange::begin(*request, to, record, facts.client(), close, scope)));
        return match gathering {
            Gathering::Begun => Step::Wait(exchange, Next::Begin),
            Gathering::Read | Gathering::None => Step::Go(exchange),
        };
    }
    let now = scope.turn.now;
    let is_half_closed = scope.turn.stream.peer_closed();
    let until = if is_half_closed { until.min(now + HALF_CLOSED_GRACE) } else { until };
    if now >= until {
        if !is_half_closed {
            tracing::warn!("a request found no place in time: raise max_requests_in_flight, or add children");
        }
        record.fault = Some(NO_PLACE);
        return answer_fixed(&respond::unavailable(), record, wire, facts, scope);
    }
    Step::Wait(State::Admission { request, to, record, until }, Next::Admit(until))
}

/// Answers what is no request, or came too late to be one, and closes.
fn refuse_head(refusal: &Refusal, began: Instant, wire: &mut Wire, facts: &Facts, scope: &mut Scope<'_, '_>) -> Step {
    let record = Record::refused(refusal, wire.refused_line(), facts.client(), began);
    refuse(refusal, Box::new(record), wire, scope)
}

/// Answers a request that is not to be answered otherwise, and closes.
fn refuse(refusal: &Refusal, mut record: Box<Record>, wire: &mut Wire, scope: &mut Scope<'_, '_>) -> Step {
    tracing::debug!("refused a request: {refusal}");
    record.status = refusal.status().as_u16();
    wire.refuse(refusal, scope);
    scope.log(&record, wire);
    Step::Go(State::flush(scope))
}

fn flush(mut deadline: ReadDeadline, wire: &mut Wire, scope: &mut Scope<'_, '_>) -> Step {
    let now = scope.turn.now;
    match wire.flush(scope) {
        Flushed::All => {}
        Flushed::Blocked(at) if now < at => return Step::Wait(State::Flush { deadline }, Next::Write(at)),
        Flushed::Blocked(_) => {
            tracing::info!("dropped a client that took nothing for the write timeout");
            return Step::Go(State::Closed);
        }
        Flushed::Broken => return Step::Go(State::Closed),
    }
    match wire.http.after() {
        After::Reuse if wire.input.is_empty() => {
            wire.rest();
            Step::Go(State::Idle { until: now + scope.timing().keep_alive_timeout })
        }
        After::Reuse => {
            let head = State::head(now, scope.timing());
            // A client that sends requests without waiting for answers must not hold up others.
            if now.elapsed() < TURN_TIME {
                return Step::Go(head);
            }
            Step::Wait(head, Next::Yield(now + scope.timing().header_timeout))
        }
        After::Discard => match wire.http.receive(&mut wire.input, &scope.site.limits) {
            Ok(Received::Data(_) | Received::End(_)) => Step::Go(State::Flush { deadline }),
            Ok(Received::Head(_)) => unreachable!("a head is received only after the body before it"),
            Ok(Received::Incomplete) => match wire.fill(scope) {
                Filled::Bytes(count) => {
                    deadline.received(count);
                    Step::Go(State::Flush { deadline })
                }
                Filled::Nothing if now < deadline.at() => {
                    let at = deadline.at();
                    Step::Wait(State::Flush { deadline }, Next::Read(at))
                }
                Filled::Nothing | Filled::End | Filled::Reset => shut_down(CloseReason::BodyUnread, wire, scope),
            },
            Err(_) => shut_down(CloseReason::BodyUnread, wire, scope),
        },
        After::Close(reason) => shut_down(reason, wire, scope),
    }
}

/// The lingering close begins, if there is anything to wait for.
fn shut_down(reason: CloseReason, wire: &mut Wire, scope: &mut Scope<'_, '_>) -> Step {
    tracing::trace!("closing the connection: {reason}");
    if !wire.shut_down(reason, scope) {
        return Step::Go(State::Closed);
    }
    let now = scope.turn.now;
    Step::Go(State::Linger { until: now + scope.timing().linger_timeout, at_the_latest: now + LINGER_MAX })
}

fn linger(mut until: Instant, at_the_latest: Instant, scope: &mut Scope<'_, '_>) -> Step {
    let now = scope.turn.now;
    for _ in 0..LINGER_READS_MAX {
        match Wire::discard(scope) {
            Filled::Bytes(_) => until = now + scope.timing().linger_timeout,
            Filled::End | Filled::Reset => return Step::Go(State::Closed),
            Filled::Nothing => {
                let at = until.min(at_the_latest);
                if now >= at {
                    return Step::Go(State::Closed);
                }
                return Step::Wait(State::Linger { until, at_the_latest }, Next::Linger(at));
            }
        }
    }
    if now >= at_the_latest {
        return Step::Go(State::Closed);
    }
    Step::Wait(State::Linger { until, at_the_latest }, Next::Yield(at_the_latest))
}
