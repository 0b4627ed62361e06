//! One HTTP/1.1 connection as seen by its server: bytes in, events out; answers in, bytes out.
//!
//! Every transition of a connection is in this file. Nothing is read, sent or timed here, and no byte is looked at:
//! the halves do that (`head` and `decode` for what comes in, `answer` and `encode` for what goes out).

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};

use super::answer::{self, AnswerBody, AnswerContext, AnswerLength, BadAnswer, Question, TrailersTaken, Wants};
use super::close::{After, CloseReason};
use super::decode::{Decoded, Decoder};
use super::encode::{self, ConnectionField};
use super::head::{HeadScan, RequestHead};
use super::limits::Limits;
use super::output::Output;
use super::refusal::Refusal;

/// What was found at the front of the input.
#[derive(Debug)]
pub enum Received {
    /// Nothing more can be said until there is more input; or the request is complete, and its answer is not.
    Incomplete,
    /// A request begins.
    Head(Box<RequestHead>),
    /// The next piece of its body; never empty.
    Data(Bytes),
    /// The request is complete, with its trailers if it had some. Every request has this event, with a body or not.
    End(Option<HeaderMap>),
}

/// The state of one connection. Requests are taken one after the other: the bytes of a pipelined request stay in
/// the input until the answer before it is complete and [`after`](Self::after) said [`After::Reuse`].
#[derive(Debug)]
pub struct Http1 {
    reading: Reading,
    writing: Writing,
    question: Question,
    persistence: Persistence,
    /// Of the current answer's content, as written so far.
    content_bytes: u64,
}

/// The incoming half.
///
/// ```text
///   after() says Reuse: nothing is left of the body, and the answer is complete
///   ┌────────────────────┬──────────┐
///   ▼                    │          │
///  Head ──head──► Body ──┤          │
///   │              │     └──end──► Complete
///   └──refusal──┬──┘
///               ▼
///            Refused
/// ```
#[derive(Debug)]
enum Reading {
    /// Waiting for a request, or in the middle of its head.
    Head(HeadScan),
    /// The head was handed over; this is left of the body.
    Body { decoder: Decoder, expectation: Expectation },
    /// The request was read to its end.
    Complete,
    /// What comes has no meaning any more.
    Refused(Refusal),
}

/// RFC 9110 section 10.1.1: 100-continue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expectation {
    /// The client waits for "100 Continue", and no byte of the body has come.
    Waiting,
    /// There was none, or it was met, or the client did not wait.
    None,
}

/// The outgoing half.
///
/// ```text
///       after() says Reuse
///   ┌────────────────────────────────────────────────┐
///   ▼                                                │
///  Nothing ──answer()──► Content ──end()──► Complete ┘
///     │                     │                  ▲
///     └──────refuse()───────│──────────────────┘
///                           └──too long, too short, never ended──► Broken
/// ```
#[derive(Debug)]
enum Writing {
    /// No answer has begun.
    Nothing,
    /// The head is written; this is how content goes on.
    Content(Content),
    /// The answer is written to its end.
    Complete,
    /// The answer is not what its head promised, and cannot become so.
    Broken,
}

#[derive(Debug)]
enum Content {
    /// Content is dropped: HEAD, 204, 205, 304.
    Dropped,
    /// Content-Length announced so many bytes, of which so many are left.
    Sized { announced: u64, left: u64 },
    /// Every piece becomes a chunk.
    Chunked,
    /// Pieces as they are, for HTTP/1.0.
    UntilClose,
}

/// Whether another request may follow, as far as is known yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Persistence {
    /// It may.
    Keep,
    /// It may not. The first reason stays, unless the request is refused or the answer breaks off.
    Close(CloseReason),
}

impl Default for Http1 {
    fn default() -> Self {
        Self::new()
    }
}

impl Http1 {
    /// A connection on which nothing has happened.
    #[must_use]
    pub fn new() -> Self {
        Self {
            reading: Reading::Head(HeadScan::new()),
            writing: Writing::Nothing,
            // Until a head says otherwise: what a refusal before that goes by.
            question: Question { version: Version::HTTP_11, wants: Wants::Everything, trailers: TrailersTaken::No },
            persistence: Persistence::Keep,
            content_bytes: 0,
        }
    }

    /// Takes from the front of `input` what can be understood. To be called again until it answers
    /// [`Received::Incomplete`]; in between, `input` may only grow at its end.
    ///
    /// # Errors
    /// The request is refused: [`refuse`](Self::refuse) it if no answer has begun, then close. From then on every
    /// call fails with the same refusal.
    pub fn receive(&mut self, input: &mut BytesMut, limits: &Limits) -> Result<Received, Refusal> {
        let received = match &mut self.reading {
            Reading::Head(scan) => match scan.advance(input, limits) {
                Ok(None) => Ok(Received::Incomplete),
                Ok(Some(head)) => {
                    self.begin(&head);
                    Ok(Received::Head(head))
                }
                Err(refusal) => Err(refusal),
            },
            Reading::Body { decoder, expectation } => {
                if !input.is_empty() && !decoder.is_empty() {
                    *expectation = Expectation::None;
                }
                match decoder.advance(input, limits) {
                    Ok(Decoded::Incomplete) => Ok(Received::Incomplete),
                    Ok(Decoded::Data(data)) => Ok(Received::Data(data)),
                    Ok(Decoded::End(trailers)) => {
                        self.reading = Reading::Complete;
                        Ok(Received::End(trailers))
                    }
                    Err(refusal) => Err(refusal),
                }
            }
            Reading::Complete => Ok(Received::Incomplete),
            Reading::Refused(refusal) => Err(*refusal),
        };
        received.inspect_err(|refusal| self.stop(*refusal))
    }

    fn begin(&mut self, head: &RequestHead) {
        let expectation = if head.expects_continue { Expectation::Waiting } else { Expectation::None };
        self.reading = Reading::Body { decoder: Decoder::new(head.body), expectation };
        self.question = Question {
            version: head.version,
            wants: if head.method == Method::HEAD { Wants::HeadOnly } else { Wants::Everything },
            trailers: if head.accepts_trailers { TrailersTaken::Yes } else { TrailersTaken::No },
        };
        if !head.persistent {
            self.persistence = Persistence::Close(CloseReason::ClientAsked);
        }
    }

    fn stop(&mut self, refusal: Refusal) {
        self.reading = Reading::Refused(refusal);
        self.persistence = Persistence::Close(CloseReason::Refused);
    }

    /// Whether the connection is between two requests: nothing has begun. Empty lines are nothing.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        match &self.reading {
            Reading::Head(scan) => scan.is_fresh(),
            Reading::Body { .. } | Reading::Complete | Reading::Refused(_) => false,
        }
    }

    /// Whether a byte of an answer to the current request has been written ("100 Continue" is none).
    #[must_use]
    pub fn answer_begun(&self) -> bool {
        match self.writing {
            Writing::Nothing => false,
            Writing::Content(_) | Writing::Complete | Writing::Broken => true,
        }
    }

    /// Whether an answer has begun whose end is the connection's end: a client cannot tell it from one that breaks off,
    /// unless the connection is then reset.
    #[must_use]
    pub fn ends_by_closing(&self) -> bool {
        matches!(self.writing, Writing::Content(Content::UntilClose))
    }

    /// Bytes of content that the current answer has had so far, framing not counted.
    #[must_use]
    pub fn content_bytes(&self) -> u64 {
        self.content_bytes
    }

    /// Takes at most so many bytes of body from the current request. To be called after its head; without it a body
    /// has no limit.
    ///
    /// # Errors
    /// The request has announced more already. Otherwise [`receive`](Self::receive) fails when a chunk announces more.
    pub fn limit_body(&mut self, bytes_max: u64) -> Result<(), Refusal> {
        match &mut self.reading {
            Reading::Body { decoder, .. } => decoder.limit(bytes_max).inspect_err(|refusal| self.stop(*refusal)),
            Reading::Refused(refusal) => Err(*refusal),
            Reading::Head(_) | Reading::Complete => Ok(()),
        }
    }

    /// The handler wants the body: if the client waits for that with all of it, it is told "100 Continue"
    /// (RFC 9110 section 10.1.1). Saying it twice does nothing.
    pub fn accept_body(&mut self, output: &mut Output) {
        if let (Reading::Body { expectation: expectation @ Expectation::Waiting, .. }, Writing::Nothing) =
            (&mut self.reading, &self.writing)
        {
            *expectation = Expectation::None;
            encode::write_continue(output);
        }
    }

    /// Nobody wants what is left of the body. Said before the answer begins, it lets the answer announce that the
    /// connection closes, if more is left than is worth reading.
    pub fn disregard_body(&mut self) {
        if let Reading::Body { decoder, .. } = &mut self.reading
            && !decoder.discard()
        {
            self.close_because(CloseReason::BodyUnread);
        }
    }

    /// Begins the answer. The server's own fields (Date, Connection, framing) are added; the handler's are dropped,
    /// except that its Content-Length is held to.
    ///
    /// # Errors
    /// The answer must not be sent; nothing was written, and another answer may begin.
    pub fn answer(
        &mut self,
        status: StatusCode,
        headers: &HeaderMap,
        length: AnswerLength,
        context: &AnswerContext<'_>,
        output: &mut Output,
    ) -> Result<(), BadAnswer> {
        match self.writing {
            Writing::Nothing => {}
            Writing::Content(_) | Writing::Complete | Writing::Broken => return Err(BadAnswer::OutOfOrder),
        }
        let body = answer::check(status, headers, length, self.question)?;
        self.settle_persistence(body, context.close);
        let connection = self.connection_field();
        encode::write_head(status, headers, body, self.question.trailers, connection, context.date, output);
        self.writing = Writing::Content(match body {
            AnswerBody::None { .. } => Content::Dropped,
            AnswerBody::Sized(bytes) => Content::Sized { announced: bytes, left: bytes },
            AnswerBody::Chunked => Content::Chunked,
            AnswerBody::UntilClose => Content::UntilClose,
        });
        Ok(())
    }

    /// The first reason to close stays. What is found only after the head is written, [`after`](Self::after) says.
    fn settle_persistence(&mut self, body: AnswerBody, close: bool) {
        let reason = if close {
            CloseReason::ServerAsked
        } else if body == AnswerBody::UntilClose {
            CloseReason::AnswerUntilClose
        } else if matches!(self.reading, Reading::Body { expectation: Expectation::Waiting, .. }) {
            CloseReason::BodyNotAskedFor
        } else {
            return;
        };
        self.close_because(reason);
    }

    fn close_because(&mut self, reason: CloseReason) {
        if self.persistence == Persistence::Keep {
            self.persistence = Persistence::Close(reason);
        }
    }

    fn connection_field(&self) -> ConnectionField {
        encode::connection_field(self.question.version, self.persistence == Persistence::Keep)
    }

    /// Writes the next piece of the answer's content.
    ///
    /// # Errors
    /// [`BadAnswer::TooLong`]: there is more than the head announced. What was announced is written, and nothing
    /// beyond it.
    pub fn data(&mut self, mut data: Bytes, output: &mut Output) -> Result<(), BadAnswer> {
        let Writing::Content(content) = &mut self.writing else { return Err(BadAnswer::OutOfOrder) };
        match content {
            // An empty chunk would end the body.
            _ if data.is_empty() => {}
            Content::Dropped => {}
            Content::Chunked => {
                self.content_bytes += data.len() as u64;
                encode::write_chunk(data, output);
            }
            Content::UntilClose => {
                self.content_bytes += data.len() as u64;
                output.push(data);
            }
            Content::Sized { announced, left } => {
                let announced = *announced;
                let excess = usize::try_from(*left).ok().filter(|&left| left < data.len());
                data.truncate(excess.unwrap_or(data.len()));
                *left -= data.len() as u64;
                self.content_bytes += data.len() as u64;
                output.push(data);
                if excess.is_some() {
                    self.break_off();
                    return Err(BadAnswer::TooLong { announced });
                }
            }
        }
        Ok(())
    }

    /// Completes the answer. Trailers are sent if the answer is chunked and the client takes some (RFC 9110 section
    /// 6.5.1); else they are dropped.
    ///
    /// # Errors
    /// [`BadAnswer::TooShort`]: there was less than the head announced. The connection must be closed, so that the
    /// client can tell.
    pub fn end(&mut self, trailers: Option<&HeaderMap>, output: &mut Output) -> Result<(), BadAnswer> {
        match &self.writing {
            Writing::Content(Content::Sized { announced, left: missing @ 1.. }) => {
                let (announced, missing) = (*announced, *missing);
                self.break_off();
                return Err(BadAnswer::TooShort { announced, missing });
            }
            Writing::Content(Content::Chunked) => {
                encode::write_last_chunk(trailers, self.question.trailers, output);
            }
            Writing::Content(Content::Dropped | Content::Sized { .. } | Content::UntilClose) => {}
            Writing::Nothing | Writing::Complete | Writing::Broken => return Err(BadAnswer::OutOfOrder),
        }
        self.writing = Writing::Complete;
        Ok(())
    }

    fn break_off(&mut self) {
        self.writing = Writing::Broken;
        self.persistence = Persistence::Close(CloseReason::AnswerBroken);
    }

    /// Writes a complete answer that refuses the request and closes the connection. If an answer has begun already,
    /// nothing is written: the client learns by the connection's end. `date` is as in [`AnswerContext`].
    pub fn refuse(&mut self, refusal: &Refusal, date: &str, output: &mut Output) {
        self.stop(*refusal);
        if self.answer_begun() {
            return;
        }
        let status = refusal.status();
        let text =
            format!("{} {}\n{}\n", status.as_str(), status.canonical_reason().unwrap_or_default(), refusal.message());
        let headers =
            HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"))]);
        let length = text.len() as u64;
        let (body, text) = match self.question.wants {
            Wants::Everything => (AnswerBody::Sized(length), Bytes::from(text)),
            Wants::HeadOnly => (AnswerBody::None { length: Some(length) }, Bytes::new()),
        };
        encode::write_head(status, &headers, body, TrailersTaken::No, ConnectionField::Close, date, output);
        self.content_bytes += text.len() as u64;
        output.push(text);
        self.writing = Writing::Complete;
    }

    /// What becomes of the connection, to be asked when the answer is complete, and again after
    /// [`After::Discard`]. An answer that is not complete can only be followed by the connection's end.
    pub fn after(&mut self) -> After {
        match self.writing {
            Writing::Complete => {}
            Writing::Nothing | Writing::Content(_) | Writing::Broken => self.break_off(),
        }
        if let Persistence::Close(reason) = self.persistence {
            return After::Close(reason);
        }
        match &mut self.reading {
            Reading::Complete => self.reuse(),
            Reading::Body { decoder, .. } if decoder.is_empty() => self.reuse(),
            Reading::Body { decoder, .. } => {
                if decoder.discard() {
                    return After::Discard;
                }
                self.close_because(CloseReason::BodyUnread);
                After::Close(CloseReason::BodyUnread)
            }
            Reading::Head(_) | Reading::Refused(_) => {
                self.close_because(CloseReason::Refused);
                After::Close(CloseReason::Refused)
            }
        }
    }

    fn reuse(&mut self) -> After {
        *self = Self::new();
        After::Reuse
    }
}
