//! The two ends of a connection's bytes: the socket on one side, HTTP/1.1 on the other, and what is between them.
//!
//! Every call of the socket is here. What a request is for, and when to stop waiting, is decided elsewhere.

use std::io::{self, IoSlice, Read, Write};
use std::time::Instant;

use bytes::{Bytes, BytesMut};

use super::Scope;
use crate::http::{AnswerContext, AnswerLength, Http1, Output, Refusal};
use crate::respond::Fixed;

/// Slices that one write hands to the kernel.
const SLICES_MAX: usize = 16;

/// A connection's buffers and its HTTP/1.1 state. Both buffers hold no memory while the connection is idle.
pub(super) struct Wire {
    pub(super) http: Http1,
    pub(super) input: BytesMut,
    pub(super) output: Output,
    /// Since when the socket has taken nothing although there was something.
    blocked_since: Option<Instant>,
}

/// What a read came to.
pub(super) enum Filled {
    /// So many bytes were appended to the input.
    Bytes(usize),
    /// Nothing is there at the moment.
    Nothing,
    /// Nothing will come any more: the client has closed, or the connection is broken.
    End,
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
        Self { http: Http1::new(), input: BytesMut::new(), output: Output::new(), blocked_since: None }
    }

    /// Reads once and appends what came to the input.
    pub(super) fn fill(&mut self, scope: &mut Scope<'_, '_>) -> Filled {
        let filled = self.discard(scope);
        if let Filled::Bytes(count) = filled {
            self.input.extend_from_slice(&scope.thread.scratch[..count]);
        }
        filled
    }

    /// Reads once and leaves what came in the thread's scratch space.
    pub(super) fn discard(&mut self, scope: &mut Scope<'_, '_>) -> Filled {
        loop {
            match scope.turn.stream.read(&mut scope.thread.scratch) {
                Ok(0) => return Filled::End,
                Ok(count) => return Filled::Bytes(count),
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock => return Filled::Nothing,
                    _ => return Filled::End,
                },
            }
        }
    }

    /// Writes as much of the output as the socket takes.
    pub(super) fn flush(&mut self, scope: &mut Scope<'_, '_>) -> Flushed {
        while !self.output.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let count = self.output.io_slices(&mut slices);
            match scope.turn.stream.write_vectored(&slices[..count]) {
                Ok(0) => return Flushed::Broken,
                Ok(written) => {
                    self.output.advance(written);
                    self.blocked_since = None;
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock => {
                        let since = *self.blocked_since.get_or_insert(scope.turn.now);
                        return Flushed::Blocked(since + scope.timing().write_timeout);
                    }
                    _ => return Flushed::Broken,
                },
            }
        }
        Flushed::All
    }

    /// Puts a whole answer of the server's own into the output.
    pub(super) fn answer_fixed(&mut self, answer: &Fixed, close: bool, scope: &mut Scope<'_, '_>) {
        let context = AnswerContext { date: scope.thread.clock.http_date(scope.turn.now), close };
        let length = AnswerLength::Known(answer.body.len() as u64);
        let said = self
            .http
            .answer(answer.status, &answer.headers, length, &context, &mut self.output)
            .and_then(|()| self.http.data(Bytes::clone(&answer.body), &mut self.output))
            .and_then(|()| self.http.end(None, &mut self.output));
        debug_assert!(said.is_ok(), "the server's own answers are well-formed: {said:?}");
    }

    /// Puts the answer to a request that is refused into the output; the connection closes after it.
    pub(super) fn refuse(&mut self, refusal: &Refusal, scope: &mut Scope<'_, '_>) {
        let date = scope.thread.clock.http_date(scope.turn.now);
        self.http.refuse(refusal, date, &mut self.output);
    }

    /// Gives the memory back that empty buffers still hold.
    pub(super) fn rest(&mut self) {
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
        self.output = Output::new();
    }
}
