//! The request head: found in the input, checked, and handed over as [`RequestHead`].
//!
//! Targets are taken apart in `target`, fields in `fields`, and the body's framing is decided in `framing`. What
//! the head means for the connection is for `state` to say.

use bytes::{Buf, Bytes, BytesMut};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header};

use super::fields::{self, FieldScan};
use super::framing::{Framing, RequestBody};
use super::grammar::{is_token, is_token_byte, members};
use super::limits::{EMPTY_LINES_MAX, Limits};
use super::lines::{LineFault, Lines};
use super::refusal::Refusal;
use super::target::{self, ParsedTarget, Target, is_authority};

/// A request without its body.
#[derive(Debug)]
pub struct RequestHead {
    /// Any token (RFC 9110 section 9.1), never CONNECT.
    pub method: Method,
    /// The form of the request target.
    pub target: Target,
    /// `host[:port]` that this request is for, as the client wrote it and checked: of an absolute-form target, else
    /// of Host (RFC 9112 section 3.3). ASCII; empty if an HTTP/1.0 request has none.
    pub authority: HeaderValue,
    /// As received, neither decoded nor normalised; "*" for [`Target::Asterisk`].
    pub path_and_query: PathAndQuery,
    /// [`Version::HTTP_10`], or [`Version::HTTP_11`] for this and any later minor version (RFC 9110 section 2.5).
    pub version: Version,
    /// Without the fields that concern the connection only (RFC 9110 section 7.6.1) and those that Connection names.
    /// Host is the authority's text; Content-Length stands if it is the framing. The values share one allocation.
    pub headers: HeaderMap,
    /// How the body is delimited.
    pub body: RequestBody,
    /// The client waits for "100 Continue" before it sends the body (RFC 9110 section 10.1.1).
    pub expects_continue: bool,
    /// The client takes trailers (`TE: trailers`, RFC 9110 section 10.1.4).
    pub accepts_trailers: bool,
    /// As far as the client is concerned, the connection outlives this exchange (RFC 9112 section 9.3).
    pub persistent: bool,
}

/// How far a head was found in the input.
///
/// ```text
///  RequestLine ──request line──► Fields ──empty line──► (head)
///     ▲    │
///     └────┘ an empty line
/// ```
#[derive(Debug)]
pub(super) enum HeadScan {
    /// Before the end of the request line, which begins at the front of the input.
    RequestLine { lines: Lines, empty_lines: u8 },
    /// The request line is valid; everything is still in the input.
    Fields { line: RequestLine, scan: FieldScan },
}

impl HeadScan {
    /// Nothing was seen of the head.
    pub(super) fn new() -> Self {
        Self::RequestLine { lines: Lines::default(), empty_lines: 0 }
    }

    /// Whether no byte of a request was seen; empty lines before one are nothing.
    pub(super) fn is_fresh(&self) -> bool {
        match self {
            Self::RequestLine { lines, .. } => lines.is_fresh(),
            Self::Fields { .. } => false,
        }
    }

    /// Takes a complete head from the front of the input, or leaves it there until there is more. One that is refused
    /// stays there too, for the log.
    pub(super) fn advance(
        &mut self,
        input: &mut BytesMut,
        limits: &Limits,
    ) -> Result<Option<Box<RequestHead>>, Refusal> {
        loop {
            match self {
                Self::RequestLine { lines, empty_lines } => match find_request_line(lines, empty_lines, input, limits)?
                {
                    Some(line) => *self = Self::Fields { line, scan: FieldScan::after(*lines) },
                    None => return Ok(None),
                },
                Self::Fields { line, scan } => {
                    let Some(end) = scan.advance(input, limits, usize::MAX)? else { return Ok(None) };
                    let head = input.split_to(end).freeze();
                    return match parse(&head, line, scan.fields()) {
                        Ok(parsed) => Ok(Some(parsed)),
                        Err(refusal) => {
                            *input = BytesMut::from(head);
                            Err(refusal)
                        }
                    };
                }
            }
        }
    }
}

fn find_request_line(
    lines: &mut Lines,
    empty_lines: &mut u8,
    input: &mut BytesMut,
    limits: &Limits,
) -> Result<Option<RequestLine>, Refusal> {
    loop {
        // A TLS handshake or other noise may never have a line end: no need to wait for one.
        if input.first().is_some_and(|&byte| !is_token_byte(byte) && byte != b'\r' && byte != b'\n') {
            return Err(Refusal::RequestLineMalformed);
        }
        let line = lines.next(input, limits.request_line).map_err(|fault| match fault {
            LineFault::TooLong => Refusal::RequestLineTooLong,
            LineFault::BareLineFeed => Refusal::LineEnding,
        })?;
        match line {
            None => return Ok(None),
            Some(line) if !line.is_empty() => return RequestLine::parse(&input[line]).map(Some),
            Some(_) if *empty_lines == EMPTY_LINES_MAX => return Err(Refusal::EmptyLines),
            Some(_) => {
                *empty_lines += 1;
                input.advance(lines.start());
                *lines = Lines::default();
            }
        }
    }
}

/// Where the parts of a valid request line are.
#[derive(Debug, Clone, Copy)]
pub(super) struct RequestLine {
    method_end: usize,
    target_end: usize,
    version: Version,
}

impl RequestLine {
    /// RFC 9112 section 3: `method SP request-target SP HTTP-version`. The more lenient readings that the section
    /// allows (other whitespace, several spaces) are not made use of.
    fn parse(line: &[u8]) -> Result<Self, Refusal> {
        let mut parts = line.split(|&byte| byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Refusal::RequestLineMalformed);
        };
        if !is_token(method) || target.is_empty() {
            return Err(Refusal::RequestLineMalformed);
        }
        let version = match version {
            b"HTTP/1.1" => Version::HTTP_11,
            b"HTTP/1.0" => Version::HTTP_10,
            [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => {
                if *major == b'1' {
                    Version::HTTP_11
                } else {
                    return Err(Refusal::VersionUnsupported);
                }
            }
            _ => return Err(Refusal::RequestLineMalformed),
        };
        Ok(Self { method_end: method.len(), target_end: method.len() + 1 + target.len(), version })
    }
}

/// `head` is what the scan has found: a valid request line and `fields` field lines, all with their line ends.
fn parse(head: &Bytes, line: &RequestLine, fields: usize) -> Result<Box<RequestHead>, Refusal> {
    const VERSION_AND_CRLF: usize = " HTTP/1.1\r\n".len();
    let method = Method::from_bytes(&head[..line.method_end]).map_err(|_| Refusal::RequestLineMalformed)?;
    let target = target::parse(&method, head.slice(line.method_end + 1..line.target_end))?;
    let section = head.slice(line.target_end + VERSION_AND_CRLF..);

    let mut facts = FieldFacts::new(fields)?;
    fields::parse(&section, fields, |name, value| facts.take(name, value))?;
    let FieldFacts { mut headers, framing, connection, accepts_trailers, expectation, .. } = facts;
    if connection.names_fields {
        remove_named_fields(&mut headers);
    }
    headers.remove(header::CONNECTION);
    let body = framing.decide(line.version)?;
    let ParsedTarget { form: target, authority, path_and_query } = target;
    let authority = settle_authority(authority, &mut headers, line.version)?;

    Ok(Box::new(RequestHead {
        method,
        target,
        authority,
        path_and_query,
        version: line.version,
        headers,
        body,
        // RFC 9110 section 10.1.1: without a body there is nothing to wait for, and HTTP/1.0 has no 100.
        expects_continue: expectation == Expectation::Continue
            && line.version == Version::HTTP_11
            && matches!(body, RequestBody::Chunked | RequestBody::Length(1..)),
        accepts_trailers,
        persistent: !connection.close && (line.version == Version::HTTP_11 || connection.keep_alive),
    }))
}

/// RFC 9112 sections 3.2 and 3.3: whom the request is for. A Host that the target overrides is replaced, so that
/// nobody behind this point can hold to the wrong one.
fn settle_authority(target: Option<Bytes>, headers: &mut HeaderMap, version: Version) -> Result<HeaderValue, Refusal> {
    let host = headers.get(header::HOST);
    if host.is_none() && version == Version::HTTP_11 {
        return Err(Refusal::HostMissing);
    }
    let Some(target) = target else { return Ok(host.cloned().unwrap_or(HeaderValue::from_static(""))) };
    let authority = HeaderValue::from_maybe_shared(target).map_err(|_| Refusal::HostInvalid)?;
    headers.insert(header::HOST, authority.clone());
    Ok(authority)
}

/// RFC 9110 section 7.6.1: the fields that Connection names end here. Not those that this server has already acted
/// upon for everybody behind it: nobody may take Host or the body's length away from a handler.
fn remove_named_fields(headers: &mut HeaderMap) {
    let options: Vec<HeaderValue> = headers.get_all(header::CONNECTION).iter().cloned().collect();
    for option in options.iter().flat_map(|value| members(value.as_bytes())) {
        match HeaderName::from_bytes(option) {
            Ok(header::HOST | header::CONTENT_LENGTH) | Err(_) => {}
            Ok(name) => {
                headers.remove(name);
            }
        }
    }
}

/// What the fields say, gathered one by one.
struct FieldFacts {
    /// All that the handler may see, and Connection until it was acted upon.
    headers: HeaderMap,
    framing: Framing,
    connection: ConnectionOptions,
    accepts_trailers: bool,
    expectation: Expectation,
}

/// RFC 9110 section 7.6.1.
#[derive(Default)]
struct ConnectionOptions {
    close: bool,
    keep_alive: bool,
    names_fields: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Expectation {
    None,
    Continue,
}

/// Fields that others may add for the handler: room for them is made at once, because growing costs more.
const TOLD_BESIDE: usize = 3;

impl FieldFacts {
    fn new(fields: usize) -> Result<Self, Refusal> {
        Ok(Self {
            headers: fields::map_for(fields + TOLD_BESIDE)?,
            framing: Framing::default(),
            connection: ConnectionOptions::default(),
            accepts_trailers: false,
            expectation: Expectation::None,
        })
    }

    fn take(&mut self, name: HeaderName, value: HeaderValue) -> Result<(), Refusal> {
        match name {
            header::HOST if self.headers.contains_key(header::HOST) => return Err(Refusal::HostRepeated),
            header::HOST if !is_authority(value.as_bytes()) => return Err(Refusal::HostInvalid),
            header::CONTENT_LENGTH => self.framing.content_length(value.as_bytes())?,
            header::TRANSFER_ENCODING => self.framing.transfer_encoding(value.as_bytes()),
            header::CONNECTION => {
                self.connection.take(value.as_bytes());
                return fields::add(&mut self.headers, name, value);
            }
            header::TE => self.accepts_trailers |= lists(&value, b"trailers"),
            header::EXPECT => {
                if !members(value.as_bytes()).all(|member| member.eq_ignore_ascii_case(b"100-continue")) {
                    return Err(Refusal::ExpectationUnknown);
                }
                self.expectation = Expectation::Continue;
            }
            _ => {}
        }
        if fields::is_hop_by_hop(&name) { Ok(()) } else { fields::add(&mut self.headers, name, value) }
    }
}

impl ConnectionOptions {
    fn take(&mut self, value: &[u8]) {
        for option in members(value) {
            if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else {
                self.names_fields = true;
            }
        }
    }
}

fn lists(value: &HeaderValue, wanted: &[u8]) -> bool {
    members(value.as_bytes()).any(|member| member.eq_ignore_ascii_case(wanted))
}
