//! What a server child and a confined child say to each other: frames of bounded size, as bytes and back. No I/O.
//!
//! ```text
//! server child ──── Request, (Data* End)? ────────────────────────────────────────────────► confined child
//!              ◄─── Begun, Wanted*, Unwanted?, Head, Data*, End, Done, or Failed at any time ───
//! ```
//!
//! After a `Done` that goes on, the next request may follow on the same connection.
//!
//! A frame is its kind (one byte), the length of what follows (four bytes, little-endian), and that. Heads are postcard,
//! a compact form of what serde describes; bodies are themselves. A server child believes nothing: a confined child may
//! be in the hands of its guest.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::header::{HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, StatusCode, Version};
use serde::{Deserialize, Serialize};
use serde_bytes::Bytes as Octets;

use crate::guest::{CallFacts, CgiFacts, Fault, Scheme};
use crate::http::{Limits, Output};
use crate::request_id::RequestId;

/// Bytes before a frame's content.
const PREFIX_BYTES: usize = 5;

/// Bytes of a frame's content that a confined child may send: above the largest head that a guest may have (128 KiB of
/// fields) and the largest chunk (64 KiB).
pub(super) const ANSWER_BYTES_MAX: usize = 256 << 10;

/// Bytes of a piece of a body in one frame.
const CHUNK_BYTES_MAX: usize = 64 << 10;

/// Bytes of a fault's texts; of longer ones the beginning is told.
const FAULT_BYTES_MAX: usize = 64 << 10;

/// Bytes that a field takes in a frame beside its name and value, at most.
const FIELD_OVERHEAD: usize = 16;

/// Bytes of a request's head beside its fields and its line: numbers, the client's address, and the authority, which the
/// line or a field has too.
const HEAD_OVERHEAD: usize = 512;

/// What came is no frame, or one that has no place here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadFrame {
    #[error("a frame of {length} bytes, where {max} are allowed")]
    TooLong { length: usize, max: usize },
    #[error("a frame of the unknown kind {0}")]
    Unknown(u8),
    #[error("a frame of kind {0} that cannot be read")]
    Malformed(u8),
    #[error("a frame that has no place here")]
    OutOfPlace,
}

/// One direction's frames.
pub(super) trait Frame: Sized {
    fn put(self, output: &mut Output);
    fn read(kind: u8, content: Bytes) -> Result<Self, BadFrame>;
}

/// From a server child to a confined child.
#[derive(Debug)]
pub(super) enum Ask {
    /// The first frame of a request. It may follow a `Done` that goes on.
    Request(Box<Asked>),
    /// A piece of the request's body; never empty; only when it is wanted.
    Data(Bytes),
    /// The body is complete.
    End(Option<HeaderMap>),
}

/// A request without its body.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) request: Request<()>,
    /// Whether data and an end will follow, when they are wanted.
    pub(super) has_body: bool,
    /// Another request may follow this one: others wait already.
    pub(super) others_wait: bool,
    pub(super) facts: CallFacts,
}

/// From a confined child to a server child.
#[derive(Debug)]
pub(super) enum Told {
    /// A child has taken the request.
    Begun {
        /// Its instance has served before.
        reused: bool,
    },
    /// The guest waits for the next piece of the request's body.
    Wanted,
    /// The guest has dropped the request's body.
    Unwanted,
    /// The answer's head, and the length of its body if that is known.
    Head(http::response::Parts, Option<u64>),
    /// A piece of the answer's body; never empty.
    Data(Bytes),
    /// The answer's body is complete.
    End(Option<HeaderMap>),
    /// The guest has ended and all is said.
    Done {
        cpu: Duration,
        /// The child waits for another request on this connection, or for its end.
        goes_on: bool,
    },
    /// The call is over.
    Failed { fault: Fault, cpu: Duration },
}

impl Told {
    /// For the log.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Told::Begun { .. } => "Begun",
            Told::Wanted => "Wanted",
            Told::Unwanted => "Unwanted",
            Told::Head(..) => "Head",
            Told::Data(_) => "Data",
            Told::End(_) => "End",
            Told::Done { .. } => "Done",
            Told::Failed { .. } => "Failed",
        }
    }
}

/// Bytes of a frame's content that a server child may send, as its own limits of requests come to.
pub(super) fn ask_bytes_max(limits: &Limits) -> usize {
    let fields = limits.fields.saturating_mul(limits.field_size.saturating_add(FIELD_OVERHEAD));
    // The path may be told twice more, decoded and in parts: a byte that is no UTF-8 is then three.
    let lines = limits.request_line.saturating_mul(8);
    let head = fields.saturating_add(lines).saturating_add(HEAD_OVERHEAD);
    head.max(CHUNK_BYTES_MAX)
}

/// Takes the next frame's kind and content off the front of `from`; `None`: it is not whole yet.
pub(super) fn take(from: &mut BytesMut, max: usize) -> Result<Option<(u8, Bytes)>, BadFrame> {
    let Some(prefix) = from.first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
    let [kind, length @ ..] = *prefix;
    let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if length > max {
        return Err(BadFrame::TooLong { length, max });
    }
    if from.len() - PREFIX_BYTES < length {
        // The rest comes in one piece more often than not.
        from.reserve(PREFIX_BYTES + length - from.len());
        return Ok(None);
    }
    from.advance(PREFIX_BYTES);
    Ok(Some((kind, from.split_to(length).freeze())))
}

mod kind {
    pub(super) const REQUEST: u8 = 1;
    pub(super) const DATA: u8 = 2;
    pub(super) const END: u8 = 3;
    pub(super) const BEGUN: u8 = 4;
    pub(super) const WANTED: u8 = 5;
    pub(super) const UNWANTED: u8 = 6;
    pub(super) const HEAD: u8 = 7;
    pub(super) const DONE: u8 = 8;
    pub(super) const FAILED: u8 = 9;
}

/// Fields as they travel: in their order, sensitive or not.
type Fields<'a> = Vec<(&'a str, &'a Octets)>;

#[derive(Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
struct RequestFrame<'a> {
    id: RequestId,
    is_https: bool,
    #[serde(borrow)]
    authority: &'a Octets,
    method: &'a str,
    target: &'a str,
    is_http_10: bool,
    has_body: bool,
    others_wait: bool,
    fields: Fields<'a>,
    cgi: Option<Box<CgiFacts>>,
}

#[derive(Serialize, Deserialize)]
struct HeadFrame<'a> {
    status: u16,
    length: Option<u64>,
    #[serde(borrow)]
    fields: Fields<'a>,
}

#[derive(Serialize, Deserialize)]
struct EndFrame<'a> {
    #[serde(borrow)]
    trailers: Option<Fields<'a>>,
}

#[derive(Serialize, Deserialize)]
struct DoneFrame {
    cpu: Duration,
    goes_on: bool,
}

#[derive(Serialize, Deserialize)]
struct FailedFrame {
    fault: Fault,
    cpu: Duration,
}

impl Frame for Ask {
    fn put(self, output: &mut Output) {
        match self {
            Ask::Request(asked) => {
                let Asked { request, has_body, others_wait, facts } = &*asked;
                let content = RequestFrame {
                    id: facts.request_id,
                    is_https: facts.scheme == Scheme::Https,
                    authority: Octets::new(facts.authority.as_bytes()),
                    method: request.method().as_str(),
                    target: request.uri().path_and_query().map_or("/", PathAndQuery::as_str),
                    is_http_10: request.version() == Version::HTTP_10,
                    has_body: *has_body,
                    others_wait: *others_wait,
                    fields: fields(request.headers()),
                    cgi: facts.cgi.clone(),
                };
                put(output, kind::REQUEST, &content);
            }
            Ask::Data(data) => put_data(output, data),
            Ask::End(trailers) => put_end(output, trailers.as_ref()),
        }
    }

    fn read(kind: u8, content: Bytes) -> Result<Self, BadFrame> {
        match kind {
            kind::REQUEST => read_request(&content).ok_or(BadFrame::Malformed(kind)),
            kind::DATA if !content.is_empty() => Ok(Ask::Data(content)),
            kind::END => read_end(&content).map(Ask::End),
            kind::DATA => Err(BadFrame::Malformed(kind)),
            unknown => Err(BadFrame::Unknown(unknown)),
        }
    }
}

impl Frame for Told {
    fn put(self, output: &mut Output) {
        match self {
            Told::Begun { reused } => put(output, kind::BEGUN, &reused),
            Told::Wanted => put(output, kind::WANTED, &()),
            Told::Unwanted => put(output, kind::UNWANTED, &()),
            Told::Head(parts, length) => {
                let content = HeadFrame { status: parts.status.as_u16(), length, fields: fields(&parts.headers) };
                put(output, kind::HEAD, &content);
            }
            Told::Data(data) => put_data(output, data),
            Told::End(trailers) => put_end(output, trailers.as_ref()),
            Told::Done { cpu, goes_on } => put(output, kind::DONE, &DoneFrame { cpu, goes_on }),
            Told::Failed { fault, cpu } => {
                put(output, kind::FAILED, &FailedFrame { fault: fault.shortened(FAULT_BYTES_MAX), cpu });
            }
        }
    }

    fn read(kind: u8, content: Bytes) -> Result<Self, BadFrame> {
        let told = match kind {
            kind::BEGUN => value(&content).map(|reused| Told::Begun { reused }),
            kind::WANTED => value(&content).map(|()| Told::Wanted),
            kind::UNWANTED => value(&content).map(|()| Told::Unwanted),
            kind::HEAD => read_head(&content),
            kind::DATA => (!content.is_empty()).then_some(Told::Data(content)),
            kind::END => return read_end(&content).map(Told::End),
            kind::DONE => value(&content).map(|DoneFrame { cpu, goes_on }| Told::Done { cpu, goes_on }),
            kind::FAILED => value(&content).and_then(|FailedFrame { fault, cpu }| {
                let fault = fault.as_told()?;
                Some(Told::Failed { fault, cpu })
            }),
            unknown => return Err(BadFrame::Unknown(unknown)),
        };
        told.ok_or(BadFrame::Malformed(kind))
    }
}

fn put(output: &mut Output, kind: u8, content: &impl Serialize) {
    let content = postcard::to_stdvec(content).expect("numbers and bytes can be written to memory");
    prefix(output, kind, content.len());
    output.push(content.into());
}

fn prefix(output: &mut Output, kind: u8, length: usize) {
    let length = u32::try_from(length).expect("no frame of ours has 4 GiB");
    output.copy(&[kind]);
    output.copy(&length.to_le_bytes());
}

fn put_data(output: &mut Output, mut data: Bytes) {
    while !data.is_empty() {
        let chunk = data.split_to(data.len().min(CHUNK_BYTES_MAX));
        prefix(output, kind::DATA, chunk.len());
        output.push(chunk);
    }
}

fn put_end(output: &mut Output, trailers: Option<&HeaderMap>) {
    put(output, kind::END, &EndFrame { trailers: trailers.map(fields) });
}

fn fields(map: &HeaderMap) -> Fields<'_> {
    map.iter().map(|(name, value)| (name.as_str(), Octets::new(value.as_bytes()))).collect()
}

/// `None` if that is not what it says, or if something is behind it.
fn value<'a, T: Deserialize<'a>>(content: &'a [u8]) -> Option<T> {
    let (value, rest) = postcard::take_from_bytes(content).ok()?;
    rest.is_empty().then_some(value)
}

fn map(fields: &Fields<'_>) -> Option<HeaderMap> {
    let mut map = HeaderMap::try_with_capacity(fields.len()).ok()?;
    for (name, value) in fields {
        let (name, value) = (HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_bytes(value).ok()?);
        map.try_append(name, value).ok()?;
    }
    Some(map)
}

fn read_request(content: &[u8]) -> Option<Ask> {
    let frame: RequestFrame<'_> = value(content)?;
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(frame.method.as_bytes()).ok()?;
    *request.uri_mut() = frame.target.parse::<PathAndQuery>().ok()?.into();
    *request.version_mut() = if frame.is_http_10 { Version::HTTP_10 } else { Version::HTTP_11 };
    *request.headers_mut() = map(&frame.fields)?;
    let facts = CallFacts {
        scheme: if frame.is_https { Scheme::Https } else { Scheme::Http },
        authority: HeaderValue::from_bytes(frame.authority).ok()?,
        request_id: frame.id,
        cgi: frame.cgi,
    };
    Some(Ask::Request(Box::new(Asked { request, has_body: frame.has_body, others_wait: frame.others_wait, facts })))
}

fn read_head(content: &[u8]) -> Option<Told> {
    let frame: HeadFrame<'_> = value(content)?;
    let (mut parts, ()) = http::Response::new(()).into_parts();
    parts.status = StatusCode::from_u16(frame.status).ok().filter(|status| !status.is_informational())?;
    parts.headers = map(&frame.fields)?;
    Some(Told::Head(parts, frame.length))
}

fn read_end(content: &[u8]) -> Result<Option<HeaderMap>, BadFrame> {
    let malformed = BadFrame::Malformed(kind::END);
    let EndFrame { trailers } = value(content).ok_or(malformed.clone())?;
    trailers.map(|fields| map(&fields).ok_or(malformed)).transpose()
}

#[cfg(test)]
mod tests;
