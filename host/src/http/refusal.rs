//! Why a request is refused, with the status for the client and a sentence for its reader.
//!
//! Every refusal ends the connection: after one, nobody can say where the next request would begin. What a
//! handler does wrong lives in `answer`, never here.

use http::StatusCode;
use thiserror::Error;

/// A reason not to take a request. Its `Display` is for the log, [`message`](Self::message) for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refusal {
    /// RFC 9112 section 3: not `method SP request-target SP HTTP-version`. 400.
    #[error("cannot read the request line: not method, target and version with one space between")]
    RequestLineMalformed,
    /// RFC 9112 section 3, RFC 9110 section 15.5.15: longer than `limit_request_line`. 414.
    #[error("cannot read the request line: longer than limit_request_line")]
    RequestLineTooLong,
    /// RFC 9112 section 2.2: only a few empty lines may precede a request line. 400.
    #[error("cannot read the request line: too many empty lines before it")]
    EmptyLines,
    /// RFC 9112 section 3.2, RFC 3986: not a target of the form that the method asks for. 400.
    #[error("cannot read the request target: not a valid URI reference for this method")]
    TargetMalformed,
    /// RFC 9110 section 2.5: a major version other than 1. 505.
    #[error("cannot take the request: its major version of HTTP is not 1")]
    VersionUnsupported,
    /// RFC 9110 section 9.3.6: this server is no tunnel. 501.
    #[error("cannot take the request: CONNECT is not supported")]
    ConnectUnsupported,

    /// RFC 9112 section 2.2: a line that ends in LF without CR. 400.
    #[error("cannot read the request head: a line ends in a bare line feed")]
    LineEnding,
    /// RFC 9112 section 5.2: a field value that goes on in the next line (obs-fold). 400.
    #[error("cannot read a field: its value is folded over several lines")]
    FieldFolded,
    /// RFC 9112 section 5: no token as name, space before the colon, or a control byte in the value. 400.
    #[error("cannot read a field: malformed name or value")]
    FieldMalformed,
    /// RFC 9110 section 5.4: longer than `limit_request_field_size`. 431.
    #[error("cannot read a field: longer than limit_request_field_size")]
    FieldTooLarge,
    /// RFC 9110 section 5.4: more fields than `limit_request_fields`. 431.
    #[error("cannot read the fields: more than limit_request_fields")]
    TooManyFields,

    /// RFC 9112 section 3.2: an HTTP/1.1 request without Host. 400.
    #[error("cannot tell the host: no Host field")]
    HostMissing,
    /// RFC 9112 section 3.2: more than one Host line. 400.
    #[error("cannot tell the host: more than one Host field")]
    HostRepeated,
    /// RFC 9112 section 3.2, RFC 9110 section 4.2: not `host [":" port]`, or an empty host. 400.
    #[error("cannot tell the host: invalid authority")]
    HostInvalid,

    /// RFC 9112 section 6.3, item 5: not one decimal number below 2^64. 400.
    #[error("cannot tell the body's length: invalid Content-Length")]
    LengthInvalid,
    /// RFC 9110 section 8.6: several Content-Length lines. Equal ones may be taken as one, but a sender that
    /// repeats the field is broken or probing, and the next recipient may read it otherwise. 400.
    #[error("cannot tell the body's length: more than one Content-Length field")]
    LengthRepeated,
    /// RFC 9112 section 6.3, item 3: Content-Length beside Transfer-Encoding. 400.
    #[error("cannot tell the body's length: both Content-Length and Transfer-Encoding")]
    LengthAndCoding,
    /// RFC 9112 section 6.3, item 4: chunked is not the final coding, or the list is malformed. 400.
    #[error("cannot tell the body's length: Transfer-Encoding does not end in one chunked")]
    CodingMalformed,
    /// RFC 9112 section 6.1: a coding other than chunked. 501.
    #[error("cannot decode the body: unknown transfer coding")]
    CodingUnknown,
    /// RFC 9112 section 6.1: Transfer-Encoding in an HTTP/1.0 request is a sign of faulty framing. 400.
    #[error("cannot tell the body's length: Transfer-Encoding in an HTTP/1.0 request")]
    CodingInHttp10,

    /// RFC 9110 section 10.1.1: an expectation other than 100-continue. 417.
    #[error("cannot meet the expectation: not 100-continue")]
    ExpectationUnknown,
    /// RFC 9110 section 15.5.14: a body beyond the limit of the server or the module. 413.
    #[error("cannot take the body: longer than its limit")]
    BodyTooLarge,
    /// RFC 9112 section 7.1: a chunk that is not exactly as the grammar says. 400.
    #[error("cannot decode the body: malformed chunk")]
    ChunkMalformed,
    /// RFC 9112 section 7.1.1: chunk extensions of more than 16 KiB in all. 400.
    #[error("cannot decode the body: too many bytes of chunk extensions")]
    ChunkExtensionsTooLarge,
    /// RFC 9112 section 7.1.2: a trailer section of more than 16 KiB. 431.
    #[error("cannot read the trailers: too large")]
    TrailersTooLarge,

    /// RFC 9110 section 15.5.9: the head did not come within `header_timeout`. 408.
    #[error("cannot wait longer: the request head did not come in time")]
    HeadTimeout,
    /// RFC 9110 section 15.5.9: the body did not come within `body_timeout`. 408.
    #[error("cannot wait longer: the request body did not come in time")]
    BodyTimeout,
}

impl Refusal {
    /// The status that the client gets.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.answer().0
    }

    /// What the client reads: one sentence that says nothing about the inside.
    #[must_use]
    pub fn message(&self) -> &'static str {
        self.answer().1
    }

    fn answer(self) -> (StatusCode, &'static str) {
        use Refusal as R;
        match self {
            R::RequestLineMalformed => (StatusCode::BAD_REQUEST, "The request line is malformed."),
            R::RequestLineTooLong => (StatusCode::URI_TOO_LONG, "The request line is too long."),
            R::EmptyLines => (StatusCode::BAD_REQUEST, "Too many empty lines precede the request."),
            R::TargetMalformed => (StatusCode::BAD_REQUEST, "The request target is malformed."),
            R::VersionUnsupported => {
                (StatusCode::HTTP_VERSION_NOT_SUPPORTED, "This server speaks HTTP/1.1 and HTTP/1.0.")
            }
            R::ConnectUnsupported => (StatusCode::NOT_IMPLEMENTED, "This server does not support CONNECT."),
            R::LineEnding => (StatusCode::BAD_REQUEST, "Lines of a request must end in CR and LF."),
            R::FieldFolded => (StatusCode::BAD_REQUEST, "A header field is folded over several lines."),
            R::FieldMalformed => (StatusCode::BAD_REQUEST, "A header field is malformed."),
            R::FieldTooLarge => (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "A header field is too large."),
            R::TooManyFields => {
                (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "The request has too many header fields.")
            }
            R::HostMissing => (StatusCode::BAD_REQUEST, "The request has no Host field."),
            R::HostRepeated => (StatusCode::BAD_REQUEST, "The request has more than one Host field."),
            R::HostInvalid => (StatusCode::BAD_REQUEST, "The request names an invalid host."),
            R::LengthInvalid => (StatusCode::BAD_REQUEST, "The Content-Length field is invalid."),
            R::LengthRepeated => (StatusCode::BAD_REQUEST, "The request has more than one Content-Length field."),
            R::LengthAndCoding => {
                (StatusCode::BAD_REQUEST, "The request has both Content-Length and Transfer-Encoding.")
            }
            R::CodingMalformed => (StatusCode::BAD_REQUEST, "The Transfer-Encoding field is invalid."),
            R::CodingUnknown => (StatusCode::NOT_IMPLEMENTED, "This server knows no transfer coding but chunked."),
            R::CodingInHttp10 => (StatusCode::BAD_REQUEST, "HTTP/1.0 has no Transfer-Encoding."),
            R::ExpectationUnknown => {
                (StatusCode::EXPECTATION_FAILED, "This server knows no expectation but 100-continue.")
            }
            R::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "The request body is too large."),
            R::ChunkMalformed => (StatusCode::BAD_REQUEST, "The chunked request body is malformed."),
            R::ChunkExtensionsTooLarge => {
                (StatusCode::BAD_REQUEST, "The chunked request body has too many extensions.")
            }
            R::TrailersTooLarge => {
                (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "The trailers of the request are too large.")
            }
            R::HeadTimeout => (StatusCode::REQUEST_TIMEOUT, "The request did not arrive in time."),
            R::BodyTimeout => (StatusCode::REQUEST_TIMEOUT, "The request body did not arrive in time."),
        }
    }
}
