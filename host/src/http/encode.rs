//! Answers onto the wire: status line, fields, chunks and trailers.
//!
//! What may be written is decided in `answer`, when in `state`.

use bytes::Bytes;
use http::{HeaderMap, StatusCode, Version, header};

use super::answer::{AnswerBody, TrailersTaken, is_servers_own};
use super::fields::may_be_trailer;
use super::output::Output;

/// What the Connection field of an answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConnectionField {
    /// Nothing: HTTP/1.1 keeps the connection by default.
    Absent,
    Close,
    /// To an HTTP/1.0 client that asked for it (RFC 9112 section 9.3).
    KeepAlive,
}

/// RFC 9110 section 15.2.1.
pub(super) fn write_continue(output: &mut Output) {
    output.copy(b"HTTP/1.1 100 Continue\r\n\r\n");
}

/// Writes the head of an answer that was checked.
pub(super) fn write_head(
    status: StatusCode,
    headers: &HeaderMap,
    body: AnswerBody,
    trailers: TrailersTaken,
    connection: ConnectionField,
    date: &str,
    output: &mut Output,
) {
    output.reserve(256);
    write_status_line(status, output);
    write_field(b"date", date.as_bytes(), output);
    if !headers.contains_key(header::SERVER) {
        write_field(b"server", b"guesthouse", output);
    }
    let sends_trailers = body == AnswerBody::Chunked && trailers == TrailersTaken::Yes;
    for (name, value) in headers {
        if !is_servers_own(name) && (*name != header::TRAILER || sends_trailers) {
            write_field(name.as_str().as_bytes(), value.as_bytes(), output);
        }
    }
    match body {
        AnswerBody::Sized(bytes) | AnswerBody::None { length: Some(bytes) } => {
            write_field(b"content-length", Digits::decimal(bytes).as_bytes(), output);
        }
        AnswerBody::Chunked => write_field(b"transfer-encoding", b"chunked", output),
        AnswerBody::None { length: None } | AnswerBody::UntilClose => {}
    }
    match connection {
        ConnectionField::Absent => {}
        ConnectionField::Close => write_field(b"connection", b"close", output),
        ConnectionField::KeepAlive => write_field(b"connection", b"keep-alive", output),
    }
    output.copy(b"\r\n");
}

/// What the Connection field must say to a client of this version.
pub(super) fn connection_field(version: Version, persistent: bool) -> ConnectionField {
    match (persistent, version) {
        (false, _) => ConnectionField::Close,
        (true, Version::HTTP_10) => ConnectionField::KeepAlive,
        (true, _) => ConnectionField::Absent,
    }
}

/// RFC 9112 section 4: the space stands even if no reason follows.
fn write_status_line(status: StatusCode, output: &mut Output) {
    if status == StatusCode::OK {
        return output.copy(b"HTTP/1.1 200 OK\r\n");
    }
    output.copy(b"HTTP/1.1 ");
    output.copy(status.as_str().as_bytes());
    output.copy(b" ");
    output.copy(status.canonical_reason().unwrap_or_default().as_bytes());
    output.copy(b"\r\n");
}

fn write_field(name: &[u8], value: &[u8], output: &mut Output) {
    output.copy(name);
    output.copy(b": ");
    output.copy(value);
    output.copy(b"\r\n");
}

/// Writes a chunk. `data` is not empty, for an empty chunk would be the last one.
pub(super) fn write_chunk(data: Bytes, output: &mut Output) {
    debug_assert!(!data.is_empty(), "an empty chunk ends the body");
    output.copy(Digits::hexadecimal(data.len() as u64).as_bytes());
    output.copy(b"\r\n");
    output.push(data);
    output.copy(b"\r\n");
}

/// Writes the last chunk and those trailers that the client takes and that may be some.
pub(super) fn write_last_chunk(trailers: Option<&HeaderMap>, taken: TrailersTaken, output: &mut Output) {
    output.copy(b"0\r\n");
    if let (Some(trailers), TrailersTaken::Yes) = (trailers, taken) {
        for (name, value) in trailers {
            if may_be_trailer(name) {
                write_field(name.as_str().as_bytes(), value.as_bytes(), output);
            }
        }
    }
    output.copy(b"\r\n");
}

/// A number as text, without an allocation.
struct Digits {
    text: [u8; Self::MAX],
    start: usize,
}

impl Digits {
    /// Of 2^64 - 1 in decimal.
    const MAX: usize = 20;

    fn decimal(number: u64) -> Self {
        Self::to_base::<10>(number)
    }

    fn hexadecimal(number: u64) -> Self {
        Self::to_base::<16>(number)
    }

    fn to_base<const BASE: u64>(mut number: u64) -> Self {
        let mut digits = Self { text: [b'0'; Self::MAX], start: Self::MAX };
        loop {
            digits.start -= 1;
            digits.text[digits.start] = b"0123456789abcdef"[usize::try_from(number % BASE).expect("a digit is small")];
            number /= BASE;
            if number == 0 {
                return digits;
            }
        }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.text[self.start..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_without_leading_zeros() {
        for number in [0, 1, 9, 10, 15, 16, 255, 1_000_000, u64::MAX] {
            assert_eq!(Digits::decimal(number).as_bytes(), number.to_string().as_bytes());
            assert_eq!(Digits::hexadecimal(number).as_bytes(), format!("{number:x}").as_bytes());
        }
    }
}
