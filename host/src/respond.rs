//! What the server answers by itself: fixed texts of routes, and the pages that stand in for a guest that failed.
//!
//! A page tells the client what it can do about it and nothing of the inside: causes are in the error log.

use bytes::Bytes;
use http::header::{ALLOW as ALLOW_FIELD, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::guest::Fault;

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fixed {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Methods that RFC 9110 and RFC 5789 define and that handlers may answer; CONNECT and TRACE are not among them.
const ALLOW: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");

fn page(status: StatusCode, body: impl Into<Bytes>) -> Fixed {
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    Fixed { status, headers: HeaderMap::from_iter([(CONTENT_TYPE, plain)]), body: body.into() }
}

/// The answer of a route with a fixed text.
///
/// # Panics
/// If the status is none: the configuration was checked.
#[must_use]
pub fn text(status: u16, text: &str) -> Fixed {
    page(StatusCode::from_u16(status).expect("the configuration was checked"), text.to_owned())
}

/// To `OPTIONS *`: what the server as a whole can do (RFC 9110 section 9.3.7).
#[must_use]
pub fn server_options() -> Fixed {
    Fixed { status: StatusCode::NO_CONTENT, headers: HeaderMap::from_iter([(ALLOW_FIELD, ALLOW)]), body: Bytes::new() }
}

#[must_use]
pub fn not_found() -> Fixed {
    page(StatusCode::NOT_FOUND, "Nothing is here.\n")
}

/// To a folder's path without the slash at its end (RFC 9110 section 15.4.2). `location` is a path, escaped.
#[must_use]
pub fn moved(location: &str) -> Fixed {
    let Ok(location) = HeaderValue::try_from(location) else { return not_found() };
    let mut moved = page(StatusCode::MOVED_PERMANENTLY, "This folder's path ends with a slash.\n");
    moved.headers.insert(LOCATION, location);
    moved
}

#[must_use]
pub fn bad_request() -> Fixed {
    page(StatusCode::BAD_REQUEST, "The path of the request means nothing.\n")
}

/// To a target with a scheme that this connection does not have (RFC 9110 section 7.4).
#[must_use]
pub fn misdirected() -> Fixed {
    page(StatusCode::MISDIRECTED_REQUEST, "This connection is not for https.\n")
}

#[must_use]
pub fn server_error() -> Fixed {
    page(StatusCode::INTERNAL_SERVER_ERROR, "The handler of this request failed.\n")
}

#[must_use]
pub fn unavailable() -> Fixed {
    let mut busy = page(StatusCode::SERVICE_UNAVAILABLE, "The server is busy. Please try again.\n");
    busy.headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    busy
}

/// What a client is told when its request's guest failed.
#[must_use]
pub fn fault(fault: &Fault) -> Fixed {
    match fault.status() {
        status @ StatusCode::GATEWAY_TIMEOUT => page(status, "The handler of this request took too long.\n"),
        StatusCode::SERVICE_UNAVAILABLE => unavailable(),
        status @ StatusCode::BAD_GATEWAY => page(status, "The handler of this request is gone. Please try again.\n"),
        _ => server_error(),
    }
}
