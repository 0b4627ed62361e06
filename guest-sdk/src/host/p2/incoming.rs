//! A body that comes in, as an `http_body::Body`.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use wasip2::http::types::{FutureTrailers, IncomingBody, IncomingRequest, IncomingResponse};
use wasip2::io::streams::{InputStream, StreamError};

use super::convert;
use super::executor::Readiness;
use crate::{Error, Result};

/// Bytes that are asked for at once.
const CHUNK_BYTES: u64 = 64 << 10;

/// A body, and how much of it is left if its head said so.
pub(super) struct Incoming {
    state: State,
    left: Option<u64>,
}

/// What a body belongs to.
pub(super) enum Message {
    Request(IncomingRequest),
    Response(IncomingResponse),
}

impl Message {
    fn consume(self) -> IncomingBody {
        let body = match self {
            Self::Request(request) => request.consume(),
            Self::Response(response) => response.consume(),
        };
        body.expect("the body is taken once")
    }
}

/// ```text
/// Unread ──► Data ──► Trailers ──► End
///              └────────────────────┘ broken off
/// ```
enum State {
    /// It is taken when it is first read: most handlers never do, and it is several calls into the host.
    Unread(Message),
    // In the order in which they must be dropped: children before what they belong to.
    Data {
        readiness: Option<Readiness>,
        stream: InputStream,
        body: IncomingBody,
    },
    Trailers {
        readiness: Option<Readiness>,
        trailers: FutureTrailers,
    },
    End,
}

impl Incoming {
    pub(super) fn of(message: Message, headers: &HeaderMap) -> Self {
        let length = headers.get(http::header::CONTENT_LENGTH);
        let left = length.and_then(|length| length.to_str().ok()).and_then(|length| length.parse().ok());
        Self { state: State::Unread(message), left }
    }

    fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let State::Data { readiness, stream, .. } = &mut self.state else { return Poll::Ready(None) };
        loop {
            match stream.read(CHUNK_BYTES) {
                Ok(chunk) if chunk.is_empty() => {
                    let readiness = readiness.get_or_insert_with(|| Readiness::of(stream.subscribe()));
                    ready!(readiness.poll(context));
                }
                Ok(chunk) => {
                    self.left = self.left.map(|left| left.saturating_sub(chunk.len() as u64));
                    return Poll::Ready(Some(Ok(chunk.into())));
                }
                Err(StreamError::Closed) => return Poll::Ready(None),
                Err(StreamError::LastOperationFailed(error)) => {
                    let error = anyhow!("{}", error.to_debug_string()).context("the body broke off");
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }

    fn poll_trailers(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<HeaderMap>>> {
        let State::Trailers { readiness, trailers } = &mut self.state else { return Poll::Ready(None) };
        let arrived = loop {
            if let Some(arrived) = trailers.get() {
                break arrived.expect("trailers are taken once");
            }
            let readiness = readiness.get_or_insert_with(|| Readiness::of(trailers.subscribe()));
            ready!(readiness.poll(context));
        };
        Poll::Ready(match arrived {
            Ok(None) => None,
            Ok(Some(fields)) => Some(convert::headers(&fields).context("the trailers cannot be read")),
            Err(code) => Some(Err(convert::told(code).context("the body broke off"))),
        })
    }
}

impl http_body::Body for Incoming {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        self.state = std::mem::replace(&mut self.state, State::End).begun();
        match ready!(self.poll_data(context)) {
            Some(Ok(chunk)) => return Poll::Ready(Some(Ok(Frame::data(chunk)))),
            Some(Err(error)) => {
                self.state = State::End;
                return Poll::Ready(Some(Err(error)));
            }
            None => self.state = std::mem::replace(&mut self.state, State::End).after_data(),
        }
        let trailers = ready!(self.poll_trailers(context));
        self.state = State::End;
        Poll::Ready(trailers.map(|trailers| trailers.map(Frame::trailers)))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.state, State::End)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl State {
    fn begun(self) -> Self {
        match self {
            State::Unread(message) => {
                let body = message.consume();
                let stream = body.stream().expect("the stream is taken once");
                State::Data { readiness: None, stream, body }
            }
            begun => begun,
        }
    }

    fn after_data(self) -> Self {
        match self {
            State::Data { readiness, stream, body } => {
                drop(readiness);
                drop(stream);
                State::Trailers { readiness: None, trailers: IncomingBody::finish(body) }
            }
            other => other,
        }
    }
}
