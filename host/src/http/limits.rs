//! How much of a request is taken in at most: the settable limits and the fixed ones.
//!
//! Only figures live here. Where each is applied, and the refusal it leads to, is said at the place that counts.

/// What a request head may be at most. The whole head is bounded by these three together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// `LimitRequestLine`: bytes of the request line without its CRLF; more: 414.
    pub request_line: usize,
    /// `LimitRequestFields`: number of field lines in the head, and again in the trailers; more: 431.
    pub fields: usize,
    /// `LimitRequestFieldSize`: bytes of one field line (name, colon, value) without its CRLF; more: 431.
    pub field_size: usize,
}

impl Default for Limits {
    /// Apache's defaults.
    fn default() -> Self {
        Self { request_line: 8190, fields: 100, field_size: 8190 }
    }
}

/// Empty lines that may precede a request line. RFC 9112 section 2.2 asks for at least one; more than a few are no
/// slip of an old client but an attempt to keep the connection busy for nothing.
pub(super) const EMPTY_LINES_MAX: u8 = 4;

/// Bytes of chunk extensions in one request body (RFC 9112 section 7.1.1 asks for such a limit).
pub(super) const CHUNK_EXTENSIONS_BYTES_MAX: usize = 16 * 1024;

/// Bytes of the trailer section of one request.
pub(super) const TRAILERS_BYTES_MAX: usize = 16 * 1024;

/// Bytes of an unread request body that are worth reading to keep the connection.
pub(super) const DISCARD_BYTES_MAX: u64 = 64 * 1024;
