//! One request that a guest answers: feeds the guest what the client sends, and the client what the guest says, each
//! only as fast as the other takes it.
//!
//! ```text
//! socket ─► input ─► http.receive ─► body sender ─► guest ─► call.poll ─► http.data ─► output ─► socket
//!           only while the guest wants more           only while the output is small
//! ```
//!
//! Framing is `host/http`'s, the sandbox `host/guest`'s; this file only decides whose turn it is.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use guesthouse_mpm::Next;
use http::Request;

use super::answerer::Answerer;
use super::forwarded;
use super::wire::{Flushed, Wire};
use super::{Afterwards, HALF_CLOSED_GRACE, Recipient, Scope, State, Step};
use crate::config::Timing;
use crate::guest::{BodySender, CallFacts, Fault, Progress, RequestBody, Scheme, body_channel};
use crate::http::timing::ReadDeadline;
use crate::http::{AnswerLength, BadAnswer, Received, Refusal, RequestHead};
use crate::record::Record;
use crate::request_id::RequestId;
use crate::respond::{self, Fixed};
use crate::site::TURN_TIME;
use crate::transfer::Filled;

/// A guest is not asked for more while so many bytes wait for the client.
const OUTPUT_BYTES_MAX: usize = 256 * 1024;

/// Bytes that one turn takes from the guest and from the client before others have theirs.
const TURN_BYTES_MAX: usize = 1 << 20;

/// What a piece of an answer counts at least: many small ones are work too.
const PIECE_BYTES_MIN: usize = 256;

/// The status that access logs tell when the client was gone before the answer began (as nginx has it).
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// A request in the hands of a guest, wherever that runs.
pub(super) struct Exchange {
    answerer: Answerer,
    upload: Upload,
    module: usize,
    id: RequestId,
    record: Box<Record>,
    /// When the client was first seen to have ended its sending side.
    client_ended: Option<Instant>,
    /// When the guest last got something of the body, or the request.
    fed: Instant,
    /// Close after the answer, whatever the client would like.
    close: bool,
}

/// The request's body on its way to the guest.
enum Upload {
    /// There is none, or the guest has got all of it, or does not want it.
    Done,
    /// The guest is busy with what it has: the client's clock stands still.
    Resting { body: BodySender, deadline: ReadDeadline, since: Instant },
    /// The guest waits for the client.
    Wanted { body: BodySender, deadline: ReadDeadline },
}

/// What one turn may still do: a body that flows as fast as it is taken would otherwise hold up all other connections
/// of the thread, and the request's own deadlines too.
struct Allowance {
    bytes: usize,
    /// CPU time of the guest at which the turn ends: after two slices, since one poll alone may take nearly two, and
    /// an answer that is complete after that should leave in one piece.
    cpu_until: Duration,
}

/// What feeding the guest came to.
enum Fed {
    /// The guest has got something new, so many bytes: ask it again.
    Something(usize),
    /// The guest does not want more at the moment, or the client has nothing at the moment.
    Nothing,
    /// The client is at fault.
    Refused(Refusal),
    /// The client is gone.
    Gone,
}

impl Exchange {
    /// Hands a request over to a guest.
    pub(super) fn begin(
        request: RequestHead,
        to: Recipient,
        record: Box<Record>,
        client: Option<IpAddr>,
        close: bool,
        scope: &mut Scope<'_, '_>,
    ) -> Self {
        let Recipient { module, cgi } = to;
        let id = scope.thread.request_ids.issue();
        let (upload, body) = if request.body == crate::http::RequestBody::None {
            (Upload::Done, RequestBody::empty())
        } else {
            let (sender, body) = body_channel();
            let Timing { body_timeout, min_rate, .. } = *scope.timing();
            let deadline = ReadDeadline::new(scope.turn.now, body_timeout, None, min_rate);
            (Upload::Resting { body: sender, deadline, since: scope.turn.now }, body)
        };
        let RequestHead { method, path_and_query, version, mut headers, authority, .. } = request;
        forwarded::say_who_asks(&mut headers, client, &authority);
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = path_and_query.into();
        *request.version_mut() = version;
        *request.headers_mut() = headers;
        let facts = CallFacts { scheme: Scheme::Http, authority, request_id: id, cgi };
        let answerer = Answerer::begin(module, request, facts, scope);
        Self { answerer, upload, module, id, record, client_ended: None, fed: scope.turn.now, close }
    }

    /// Lets guest and client go on as far as they can without waiting.
    pub(super) fn step(mut self: Box<Self>, wire: &mut Wire, scope: &mut Scope<'_, '_>) -> Step {
        if self.answerer.is_overdue(scope.turn.now) {
            let fault = self.answerer.time_out(scope);
            return self.fail(&fault, wire, scope);
        }
        if self.gone_at(scope).is_some_and(|at| scope.turn.now >= at) {
            return self.client_is_gone(wire, scope);
        }
        let mut allowance = Allowance::new(self.answerer.cpu());
        loop {
            if allowance.is_used_up(self.answerer.cpu()) {
                return self.flush_and_yield(wire, scope);
            }
            if wire.output.len() > OUTPUT_BYTES_MAX {
                match wire.flush(scope) {
                    Flushed::All => {}
                    Flushed::Blocked(at) => return self.wait_for_the_client(at, wire, scope),
                    Flushed::Broken => return self.client_is_gone(wire, scope),
                }
            }
            let said = match self.answerer.poll(scope) {
                Progress::Head(head, length) => {
                    match &self.upload {
                        // A guest that still holds the body may read it yet, and after the head it is too late to say so.
                        Upload::Resting { body, .. } if !body.is_abandoned() => wire.http.accept_body(&mut wire.output),
                        Upload::Resting { .. } | Upload::Done => wire.http.disregard_body(),
                        Upload::Wanted { .. } => {}
                    }
                    self.record.status = head.status.as_u16();
                    let length = length.map_or(AnswerLength::Unknown, AnswerLength::Known);
                    let close = self.close || scope.turn.draining;
                    wire.begin_answer(head.status, &head.headers, length, close, scope)
                }
                Progress::Data(data) => {
                    allowance.use_up(data.len().max(PIECE_BYTES_MIN));
                    wire.http.data(data, &mut wire.output)
                }
                Progress::End(trailers) => wire.http.end(trailers.as_ref(), &mut wire.output),
                Progress::Pending => match self.feed(wire, scope) {
                    Fed::Something(bytes) => {
                        allowance.use_up(bytes);
                        continue;
                    }
                    Fed::Nothing => return self.flush_and_wait(wire, scope),
                    Fed::Refused(refusal) => return self.refuse(&refusal, wire, scope),
                    Fed::Gone => return self.client_is_gone(wire, scope),
                },
                // A guest that always has something to do may wait for its body nevertheless.
                Progress::Sliced => match self.feed(wire, scope) {
                    Fed::Something(_) | Fed::Nothing => return self.flush_and_yield(wire, scope),
                    Fed::Refused(refusal) => return self.refuse(&refusal, wire, scope),
                    Fed::Gone => return self.client_is_gone(wire, scope),
                },
                Progress::Done => return self.finish(wire, scope),
                Progress::Failed(fault) => return self.fail(&fault, wire, scope),
            };
            if let Err(bad) = said {
                return self.bad_answer(&bad, wire, scope);
            }
        }
    }

    /// Passes on what the client has sent, if the guest waits for it.
    fn feed(&mut self, wire: &mut Wire, scope: &mut Scope<'_, '_>) -> Fed {
        let now = scope.turn.now;
        loop {
            match std::mem::replace(&mut self.upload, Upload::Done) {
                Upload::Done => return Fed::Nothing,
                Upload::Resting { body, .. } | Upload::Wanted { body, .. } if body.is_abandoned() => {
                    return Fed::Nothing;
                }
                Upload::Resting { body, mut deadline, since } => {
                    if !body.wanted() {
                        self.upload = Upload::Resting { body, deadline, since };
                        return Fed::Nothing;
                    }
                    wire.http.accept_body(&mut wire.output);
                    deadline.stood_still(now - since);
                    self.upload = Upload::Wanted { body, deadline };
                }
                Upload::Wanted { mut body, mut deadline } => {
                    match wire.http.receive(&mut wire.input, &scope.site.limits) {
                        Ok(Received::Data(data)) => {
                            let bytes = data.len();
                            self.fed = now;
                            self.answerer.rouse();
                            body.send(data);
                            self.upload = Upload::Resting { body, deadline, since: now };
                            return Fed::Something(bytes);
                        }
                        Ok(Received::End(trailers)) => {
                            self.fed = now;
                            self.answerer.rouse();
                            body.end(trailers);
                            return Fed::Something(0);
                        }
                        Ok(Received::Incomplete) => {}
                        Ok(Received::Head(_)) => unreachable!("a head is received only after the body before it"),
                        Err(refusal) => return Fed::Refused(refusal),
                    }
                    match wire.fill(scope) {
                        Filled::Bytes(count) => deadline.received(count),
                        Filled::Nothing if now < deadline.at() => {
                            self.upload = Upload::Wanted { body, deadline };
                            return Fed::Nothing;
                        }
                        Filled::Nothing => return Fed::Refused(Refusal::BodyTimeout),
                        Filled::End | Filled::Reset => return Fed::Gone,
                    }
                    self.upload = Upload::Wanted { body, deadline };
                }
            }
        }
    }

    fn flush_and_wait(mut self: Box<Self>, wire: &mut Wire, scope: &mut Scope<'_, '_>) -> Step {
        match wire.flush(scope) {
            Flushed::Broken => self.client_is_gone(wire, scope),
            Flushed::Blocked(at) => self.wait_for_the_client(at, wire, scope),
            Flushed::All => {
                let until = self.until(scope);
                let next = match self.upload {
                    Upload::Wanted { .. } => Next::Read(until),
                    Upload::Done | Upload::Resting { .. } => Next::Wait(until),
                };
                Step::Wait(State::Exchange(self), next)
            }
        }
    }

    fn flush_and_yield(mut self: Box<Self>, wire: &mut Wire, scope: &mut Scope<'_, '_>) -> Step {
        match wire.flush(scope) {
            Flushed::Broken => self.client_is_gone(wire, scope),
            Flushed::All | Flushed::Blocked(_) => {
                let until = self.until(scope);
                Step::Wait(State::Exchange(self), Next::Yield(until))
            }
        }
    }

    /// The output is blocked, and stays so `until` at most.
    fn wait_for_the_client(mut self: Box<Self>, until: Instant, wire: &Wire, scope: &mut Scope<'_, '_>) -> Step {
        if scope.turn.now >= until {
            tracing::info!(request = %self.id, "dropped a client that took nothing for the write timeout");
            return self.client_is_gone(wire, scope);
        }
        let until = until.min(self.until(scope));
        Step::Wait(State::Exchange(self), Next::Write(until))
    }

    /// When to look at this request again at the latest.
    fn until(&mut self, scope: &Scope<'_, '_>) -> Instant {
        let body = match &self.upload {
            Upload::Wanted { deadline, .. } => Some(deadline.at()),
            Upload::Done | Upload::Resting { .. } => None,
        };
        let ends = [body, self.gone_at(scope), self.answerer.deadline()];
        ends.into_iter().flatten().min().unwrap_or(scope.turn.now)
    }

    /// When a client that has ended its side counts as gone. What it sent before may still be unread, so its grace
    /// begins anew whenever the guest gets more of the body, and does not run while the guest waits for more: reading
    /// will show the end. A request that is pipelined behind this one has a grace of its own.
    fn gone_at(&mut self, scope: &Scope<'_, '_>) -> Option<Instant> {
        if !scope.turn.stream.peer_closed() {
            return None;
        }
        let ended = *self.client_ended.get_or_insert(scope.turn.now);
        match self.upload {
            Upload::Done | Upload::Resting { .. } => Some(ended.max(self.fed) + HALF_CLOSED_GRACE),
            Upload::Wanted { .. } => None,
        }
    }

    fn finish(mut self: Box<Self>, wire: &Wire, scope: &mut Scope<'_, '_>) -> Step {
        self.close_the_books(wire, scope);
        self.answerer.finish(scope);
        Step::answered(wire, scope)
    }

    /// The guest is at fault, or took too long.
    fn fail(mut self: Box<Self>, fault: &Fault, wire: &mut Wire, scope: &mut Scope<'_, '_>) -> Step {
        let module = &scope.site.config.modules[self.module].name;
        tracing::error!(module, request = %self.id, cause = fault.kind(), "{fault}");
        self.record.fault = Some(fault.kind());
        self.answer_instead(&respond::fault(fault), wire, scope)
    }

    /// The guest said what cannot be sent.
    fn bad_answer(mut self: Box<Self>, bad: &BadAnswer, wire: &mut Wire, scope: &mut Scope<'_, '_>) -> Step {
        let module = &scope.site.config.modules[self.module].name;
        tracing::error!(module, request = %self.id, cause = "bad-answer", "{bad}");
        self.record.fault = Some("bad-answer");
        self.answer_instead(&respond::server_error(), wire, scope)
    }

    /// The server answers in the guest's place; if the guest's answer has begun, the connection breaks off, so that
    /// the client can tell.
    fn answer_instead(mut self: Box<Self>, answer: &Fixed, wire: &mut Wire, scope: &mut Scope<'_, '_>) -> Step {
        // An answer that has begun stays unfinished, and the connection with it.
        if !wire.http.answer_begun() {
            self.record.status = answer.status.as_u16();
            wire.answer_fixed(answer, self.close || scope.turn.draining, scope);
        }
        self.finish(wire, scope)
    }

    /// The client's fault, found while its body arrived.
    fn refuse(mut self: Box<Self>, refusal: &Refusal, wire: &mut Wire, scope: &mut Scope<'_, '_>) -> Step {
        tracing::debug!(request = %self.id, "refused a request: {refusal}");
        if !wire.http.answer_begun() {
            self.record.status = refusal.status().as_u16();
        }
        wire.refuse(refusal, scope);
        self.close_the_books(wire, scope);
        match self.answerer.abandon(scope) {
            Some(finishing) => {
                // The client need not wait for it. What the socket does not take now comes afterwards.
                wire.flush(scope);
                Step::Go(State::Finishing(Box::new(finishing), Afterwards::Flush))
            }
            None => Step::Go(State::flush(scope)),
        }
    }

    fn client_is_gone(mut self: Box<Self>, wire: &Wire, scope: &mut Scope<'_, '_>) -> Step {
        tracing::debug!(request = %self.id, "the client is gone; its guest is ended");
        if self.record.status == 0 {
            self.record.status = CLIENT_CLOSED_REQUEST;
        }
        self.close_the_books(wire, scope);
        match self.answerer.abandon(scope) {
            Some(finishing) => Step::Go(State::Finishing(Box::new(finishing), Afterwards::Close)),
            None => Step::Go(State::Closed),
        }
    }

    /// All that the client will get of the answer is said: the request is logged.
    fn close_the_books(&mut self, wire: &Wire, scope: &mut Scope<'_, '_>) {
        self.record.guest_cpu = self.answerer.cpu();
        let tally = &scope.site.counters.modules[self.module];
        match self.answerer.is_reused() {
            Some(true) => tally.instance_reused(),
            Some(false) => tally.instance_made(),
            None => {}
        }
        scope.log(&self.record, wire);
    }
}

impl Allowance {
    /// For a turn that begins when the guest has used so much CPU time.
    fn new(cpu: Duration) -> Self {
        Self { bytes: TURN_BYTES_MAX, cpu_until: cpu + 2 * TURN_TIME }
    }

    fn use_up(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    fn is_used_up(&self, cpu: Duration) -> bool {
        self.bytes == 0 || cpu >= self.cpu_until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_ends_when_its_bytes_or_its_time_are_used_up() {
        let cpu = Duration::from_secs(3);
        let mut allowance = Allowance::new(cpu);
        assert!(!allowance.is_used_up(cpu + TURN_TIME));
        assert!(allowance.is_used_up(cpu + 2 * TURN_TIME));
        allowance.use_up(TURN_BYTES_MAX - 1);
        assert!(!allowance.is_used_up(cpu));
        allowance.use_up(64 * 1024);
        assert!(allowance.is_used_up(cpu));
    }
}
