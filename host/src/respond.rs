//! What the server answers by itself: fixed texts of routes, and the pages that stand in for a guest that failed.
//!
//! A page tells the client what it can do about it and nothing of the inside: causes are in the error log.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::guest::Fault;

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fixed {
    pub status: StatusCode,
    pub body: Bytes,
    retry_after: bool,
}

impl Fixed {
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(2);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        if self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        headers
    }
}

/// The answer of a route with a fixed text.
#[must_use]
pub fn text(status: u16, text: &str) -> Fixed {
    let status = StatusCode::from_u16(status).expect("the configuration was checked");
    Fixed { status, body: Bytes::copy_from_slice(text.as_bytes()), retry_after: false }
}

fn page(status: StatusCode, sentence: &'static str) -> Fixed {
    Fixed { status, body: Bytes::from_static(sentence.as_bytes()), retry_after: false }
}

#[must_use]
pub fn not_found() -> Fixed {
    page(StatusCode::NOT_FOUND, "Nothing is here.\n")
}

#[must_use]
pub fn bad_request() -> Fixed {
    page(StatusCode::BAD_REQUEST, "The path of the request means nothing.\n")
}

#[must_use]
pub fn server_error() -> Fixed {
    page(StatusCode::INTERNAL_SERVER_ERROR, "The handler of this request failed.\n")
}

#[must_use]
pub fn unavailable() -> Fixed {
    let busy = page(StatusCode::SERVICE_UNAVAILABLE, "The server is busy. Please try again.\n");
    Fixed { retry_after: true, ..busy }
}

/// What a client is told when its request's guest failed.
#[must_use]
pub fn fault(fault: &Fault) -> Fixed {
    match fault.status() {
        status @ StatusCode::GATEWAY_TIMEOUT => page(status, "The handler of this request took too long.\n"),
        StatusCode::SERVICE_UNAVAILABLE => unavailable(),
        _ => server_error(),
    }
}
