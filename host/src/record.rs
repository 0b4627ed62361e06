//! What is remembered of a request until it is logged.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use http::header::{REFERER, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Version};

use crate::access_log::Entry;
use crate::http::RequestHead;

/// One request's line of the access log in the making.
#[derive(Debug)]
pub(crate) struct Record {
    client: Option<SocketAddr>,
    method: Method,
    target: PathAndQuery,
    version: Version,
    referer: Option<HeaderValue>,
    user_agent: Option<HeaderValue>,
    began: Instant,
    pub(crate) status: u16,
    pub(crate) body_bytes: u64,
    /// Index into the configuration's modules.
    pub(crate) module: Option<usize>,
    pub(crate) guest_cpu: Duration,
}

impl Record {
    /// `began`: when the request's first byte was awaited.
    pub(crate) fn new(request: &RequestHead, client: Option<SocketAddr>, began: Instant) -> Self {
        Self {
            client,
            method: request.method.clone(),
            target: request.path_and_query.clone(),
            version: request.version,
            referer: request.headers.get(REFERER).cloned(),
            user_agent: request.headers.get(USER_AGENT).cloned(),
            began,
            status: 0,
            body_bytes: 0,
            module: None,
            guest_cpu: Duration::ZERO,
        }
    }

    pub(crate) fn entry<'a>(&'a self, module: Option<&'a str>, now: Instant) -> Entry<'a> {
        Entry {
            client: self.client.map(|client| client.ip()),
            method: &self.method,
            target: self.target.as_str(),
            version: self.version,
            referer: self.referer.as_ref(),
            user_agent: self.user_agent.as_ref(),
            status: self.status,
            body_bytes: self.body_bytes,
            module,
            took: now.saturating_duration_since(self.began),
            guest_cpu: self.guest_cpu,
        }
    }
}
