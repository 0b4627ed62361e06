//! What becomes of a handler's outcome before it is sent: an error becomes an answer, and what is known of the body is
//! said. What a handler itself uses to answer is in `respond`.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body::{Frame, SizeHint};

use crate::respond::Refusal;
use crate::{Body, Error, Response, Result, host, respond};

/// The answer to send.
pub(crate) fn of(outcome: Result<Response>) -> Response {
    let response = outcome.unwrap_or_else(failure);
    let (mut head, mut body) = response.into_parts();
    match http_body::Body::size_hint(&body).exact() {
        Some(length) if may_have_length(head.status, &head.headers) => {
            head.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        Some(_) => {}
        None => body = Body::new(Reported(body)),
    }
    Response::from_parts(head, body)
}

/// What the client is told of an error: everything if the client is to blame, else nothing.
fn failure(error: Error) -> Response {
    if let Some(refusal) = error.downcast_ref::<Refusal>() {
        let mut response = respond::text(format!("{refusal}\n"));
        *response.status_mut() = refusal.status;
        return response;
    }
    host::report(&format!("the handler failed: {}", chain(&error)));
    respond::status(StatusCode::INTERNAL_SERVER_ERROR)
}

/// An error with all of its causes, on one line of the log.
pub(crate) fn chain(error: &Error) -> String {
    format!("{error:#}").replace('\n', "; ")
}

/// RFC 9110, 8.6: these have none, or have one already.
fn may_have_length(status: StatusCode, headers: &HeaderMap) -> bool {
    let never = status.is_informational() || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
    !never && !headers.contains_key(CONTENT_LENGTH) && !headers.contains_key(TRANSFER_ENCODING)
}

/// A body whose error is told before it breaks off: what sends it can tell the client, but not the author.
pub(crate) struct Reported(pub(crate) Body);

impl http_body::Body for Reported {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        let frame = ready!(Pin::new(&mut self.0).poll_frame(context));
        if let Some(Err(error)) = &frame {
            host::report(&format!("the body breaks off: {}", chain(error)));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}
