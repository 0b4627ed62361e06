//! What is remembered of a request until it is logged and counted.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{REFERER, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Version};

use crate::access_log::{Entry, RequestLine};
use crate::http::{Refusal, RequestHead};
use crate::tally::Outcome;

/// One request's line of the access log in the making.
#[derive(Debug)]
pub(crate) struct Record {
    client: Option<IpAddr>,
    request: Line,
    referer: Option<HeaderValue>,
    user_agent: Option<HeaderValue>,
    began: Instant,
    /// 0: nothing was answered yet.
    pub(crate) status: u16,
    /// Index into the configuration's modules.
    pub(crate) module: Option<usize>,
    pub(crate) guest_cpu: Duration,
    /// Why the module's own answer was not to be had; see [`Outcome`].
    pub(crate) fault: Option<&'static str>,
    /// When the whole head was there.
    read: Instant,
}

#[derive(Debug)]
enum Line {
    Read { method: Method, target: PathAndQuery, version: Version },
    Refused(Bytes),
}

impl Record {
    /// `began`: when the request's first byte was awaited. `read`: when its whole head was there.
    pub(crate) fn new(request: &RequestHead, client: Option<IpAddr>, began: Instant, read: Instant) -> Self {
        let (method, target) = (request.method.clone(), request.path_and_query.clone());
        Self {
            client,
            request: Line::Read { method, target, version: request.version },
            referer: request.headers.get(REFERER).cloned(),
            user_agent: request.headers.get(USER_AGENT).cloned(),
            began,
            status: 0,
            module: None,
            guest_cpu: Duration::ZERO,
            fault: None,
            read,
        }
    }

    /// Of a request whose head was refused. `line`: what came of its first line.
    pub(crate) fn refused(refusal: &Refusal, line: Bytes, client: Option<IpAddr>, began: Instant) -> Self {
        Self {
            client,
            request: Line::Refused(line),
            referer: None,
            user_agent: None,
            began,
            status: refusal.status().as_u16(),
            module: None,
            guest_cpu: Duration::ZERO,
            fault: None,
            read: began,
        }
    }

    /// For the counters of its module. `bytes`: of the answer's content.
    pub(crate) fn outcome(&self, bytes: u64, now: Instant) -> Outcome {
        Outcome {
            status: self.status,
            fault: self.fault,
            took: now.saturating_duration_since(self.read),
            guest_cpu: self.guest_cpu,
            bytes,
        }
    }

    /// `body_bytes`: of the answer's content.
    pub(crate) fn entry<'a>(&'a self, module: Option<&'a str>, body_bytes: u64, now: Instant) -> Entry<'a> {
        Entry {
            client: self.client,
            request: match &self.request {
                Line::Read { method, target, version } => {
                    RequestLine::Read { method, target: target.as_str(), version: *version }
                }
                Line::Refused(line) => RequestLine::Refused(line),
            },
            referer: self.referer.as_ref(),
            user_agent: self.user_agent.as_ref(),
            status: self.status,
            body_bytes,
            module,
            took: now.saturating_duration_since(self.began),
            guest_cpu: self.guest_cpu,
        }
    }
}
