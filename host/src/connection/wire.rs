//! The two ends of a connection's bytes: the socket on one side, HTTP/1.1 on the other, and what is between them.
//!
//! Whatever is read and written goes by here. What a request is for, and when to stop waiting, is decided elsewhere.

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};

use super::Scope;
use crate::http::{AnswerContext, AnswerLength, BadAnswer, CloseReason, Http1, Output, Refusal};
use crate::respond::Fixed;
use crate::transfer::{self, Filled, Sent};

/// Bytes of a refused request's first line that are logged.
const LOGGED_LINE_BYTES_MAX: usize = 1024;

/// A connection's buffers and its HTTP/1.1 state. Both buffers hold no memory while the connection is idle.
pub(super) struct Wire {
    pub(super) http: Http1,
    pub(super) input: BytesMut,
    pub(super) output: Output,
    /// Since when the socket has taken nothing although there was something.
    blocked_since: Option<Instant>,
    closing: Closing,
}

/// What the client sees when the socket is closed, by whatever it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closing {
    /// End-of-file.
    End,
    /// A reset: an answer has begun whose end is the connection's end, and no end-of-file may pass for it too early.
    Reset,
}

/// What a write came to.
pub(super) enum Flushed {
    All,
    /// The socket takes no more; by then it must have taken something.
    Blocked(Instant),
    Broken,
}

impl Wire {
    pub(super) fn new() -> Self {
        Self {
            http: Http1::new(),
            input: BytesMut::new(),
            output: Output::new(),
            blocked_since: None,
            closing: Closing::End,
        }
    }

    /// Reads once and appends what came to the input.
    pub(super) fn fill(&mut self, scope: &mut Scope<'_, '_>) -> Filled {
        let filled = Self::discard(scope);
        if let Filled::Bytes(count) = filled {
            self.input.extend_from_slice(&scope.thread.scratch[..count]);
        }
        filled
    }

    /// Reads once and leaves what came in the thread's scratch space.
    pub(super) fn discard(scope: &mut Scope<'_, '_>) -> Filled {
        transfer::read(scope.turn.stream, &mut scope.thread.scratch)
    }

    /// Writes as much of the output as the socket takes.
    pub(super) fn flush(&mut self, scope: &mut Scope<'_, '_>) -> Flushed {
        match transfer::write(scope.turn.stream, &mut self.output) {
            Sent::All => {
                self.blocked_since = None;
                Flushed::All
            }
            Sent::Blocked { progress } => {
                if progress {
                    self.blocked_since = None;
                }
                let since = *self.blocked_since.get_or_insert(scope.turn.now);
                Flushed::Blocked(since + scope.timing().write_timeout)
            }
            Sent::Broken => Flushed::Broken,
        }
    }

    /// Puts the head of an answer into the output.
    pub(super) fn begin_answer(
        &mut self,
        status: StatusCode,
        headers: &HeaderMap,
        length: AnswerLength,
        close: bool,
        scope: &mut Scope<'_, '_>,
    ) -> Result<(), BadAnswer> {
        let context = AnswerContext { date: scope.thread.clock.http_date(scope.turn.now), close };
        self.http.answer(status, headers, length, &context, &mut self.output)?;
        if self.http.ends_by_closing() {
            self.close_with(Closing::Reset, scope);
        }
        Ok(())
    }

    fn close_with(&mut self, closing: Closing, scope: &Scope<'_, '_>) {
        if self.closing == closing {
            return;
        }
        self.closing = closing;
        if let Err(error) = scope.turn.stream.reset_on_close(closing == Closing::Reset) {
            tracing::debug!("cannot choose how a connection closes: {error}");
        }
    }

    /// Puts a whole answer of the server's own into the output. Nobody wants what is left of the request's body.
    pub(super) fn answer_fixed(&mut self, answer: &Fixed, close: bool, scope: &mut Scope<'_, '_>) {
        self.http.disregard_body();
        let length = AnswerLength::Known(answer.body.len() as u64);
        let said = self
            .begin_answer(answer.status, &answer.headers, length, close, scope)
            .and_then(|()| self.http.data(Bytes::clone(&answer.body), &mut self.output))
            .and_then(|()| self.http.end(None, &mut self.output));
        debug_assert!(said.is_ok(), "the server's own answers are well-formed: {said:?}");
    }

    /// Puts the answer to a request that is refused into the output; the connection closes after it.
    pub(super) fn refuse(&mut self, refusal: &Refusal, scope: &mut Scope<'_, '_>) {
        let date = scope.thread.clock.http_date(scope.turn.now);
        self.http.refuse(refusal, date, &mut self.output);
    }

    /// What came of the first line of a request whose head was refused, for the log.
    pub(super) fn refused_line(&self) -> Bytes {
        let came = &self.input[..];
        let mut lines = came.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let line = lines.find(|line| !line.is_empty()).unwrap_or_default();
        Bytes::copy_from_slice(&line[..line.len().min(LOGGED_LINE_BYTES_MAX)])
    }

    /// Ends the sending side: the answer is whole, or breaks off in a way that the client can tell. Says whether the
    /// client's own end is worth waiting for.
    pub(super) fn shut_down(&mut self, reason: CloseReason, scope: &mut Scope<'_, '_>) -> bool {
        self.rest();
        match (self.closing, reason) {
            (Closing::Reset, CloseReason::AnswerBroken) => return false,
            _ => self.close_with(Closing::End, scope),
        }
        scope.turn.stream.shutdown_write().is_ok()
    }

    /// Gives the memory back that empty buffers still hold.
    pub(super) fn rest(&mut self) {
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
        self.output = Output::new();
    }
}
