//! Request bodies: bytes off the wire into content, for both framings.
//!
//! Which framing a request has is decided in `framing`; what an unread body means for the connection, in `state`.

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;

use super::chunk_extension::{Extension, Step};
use super::fields::{FieldScan, parse_trailers};
use super::framing::RequestBody;
use super::limits::{CHUNK_EXTENSIONS_BYTES_MAX, DISCARD_BYTES_MAX, Limits, TRAILERS_BYTES_MAX};
use super::refusal::Refusal;

/// What the decoder has found at the front of the input.
#[derive(Debug)]
pub(super) enum Decoded {
    Incomplete,
    Data(Bytes),
    End(Option<HeaderMap>),
}

/// The rest of a request's body.
#[derive(Debug)]
pub(super) enum Decoder {
    /// So many bytes are left.
    Length(u64),
    /// Boxed: what a connection takes while it is idle goes by the largest state, and this is a rare one.
    Chunked(Box<Chunked>),
}

impl Decoder {
    pub(super) fn new(body: RequestBody) -> Self {
        match body {
            RequestBody::None => Self::Length(0),
            RequestBody::Length(bytes) => Self::Length(bytes),
            RequestBody::Chunked => Self::Chunked(Box::new(Chunked::new())),
        }
    }

    /// Nothing of the body is outstanding, only the word that it is so.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Length(0))
    }

    /// Refuses a body of more than `bytes_max`, now or when a chunk passes it.
    pub(super) fn limit(&mut self, bytes_max: u64) -> Result<(), Refusal> {
        let bytes = match self {
            Self::Length(bytes) => *bytes,
            Self::Chunked(chunked) => {
                chunked.bytes_max = bytes_max;
                chunked.bytes
            }
        };
        if bytes > bytes_max { Err(Refusal::BodyTooLarge) } else { Ok(()) }
    }

    /// Prepares for a body that nobody wants: whether its rest is, or can be held to, what is worth reading.
    pub(super) fn discard(&mut self) -> bool {
        match self {
            Self::Length(left) => *left <= DISCARD_BYTES_MAX,
            Self::Chunked(chunked) => {
                chunked.bytes_max = chunked.bytes_max.min(chunked.bytes.saturating_add(DISCARD_BYTES_MAX));
                chunked.left_of_chunk() <= DISCARD_BYTES_MAX
            }
        }
    }

    /// Takes from the front of the input what can be taken.
    pub(super) fn advance(&mut self, input: &mut BytesMut, limits: &Limits) -> Result<Decoded, Refusal> {
        match self {
            Self::Length(0) => Ok(Decoded::End(None)),
            Self::Length(left) => Ok(take_data(left, input)),
            Self::Chunked(chunked) => chunked.advance(input, limits),
        }
    }
}

/// As much of `left` as there is; `Incomplete` if that is nothing.
fn take_data(left: &mut u64, input: &mut BytesMut) -> Decoded {
    let bytes = usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
    if bytes == 0 {
        return Decoded::Incomplete;
    }
    *left -= bytes as u64;
    Decoded::Data(input.split_to(bytes).freeze())
}

/// The rest of a chunked body (RFC 9112 section 7.1).
#[derive(Debug)]
pub(super) struct Chunked {
    phase: Phase,
    /// Content announced by the chunks so far.
    bytes: u64,
    /// More than this is refused.
    bytes_max: u64,
    /// Of all extensions so far.
    extension_bytes: usize,
}

/// What the next byte of a chunked body belongs to.
///
/// ```text
///  ┌──► Size ──────CR──────► SizeLineFeed ──not 0──► Data ──► DataReturn ──► DataLineFeed ──┐
///  │     └► Extension ──CR──►   │ 0                                                         │
///  │                            └──────────► Trailers ──empty line──► (end)                 │
///  └────────────────────────────────────────────────────────────────────────────────────────┘
/// ```
#[derive(Debug)]
enum Phase {
    /// The digits of a chunk's size.
    Size { digits: u8, size: u64 },
    /// What may follow the digits.
    Extension { size: u64, extension: Extension },
    /// After the CR of the size line.
    SizeLineFeed { size: u64 },
    /// So much of the chunk's content is left.
    Data { left: u64 },
    /// Before the CR after the content.
    DataReturn,
    /// Before the LF after the content.
    DataLineFeed,
    /// The section after the last chunk, which stays in the input until it is complete.
    Trailers(FieldScan),
}

impl Chunked {
    fn new() -> Self {
        Self { phase: Phase::Size { digits: 0, size: 0 }, bytes: 0, bytes_max: u64::MAX, extension_bytes: 0 }
    }

    fn left_of_chunk(&self) -> u64 {
        match self.phase {
            Phase::Data { left } => left,
            Phase::Size { .. }
            | Phase::Extension { .. }
            | Phase::SizeLineFeed { .. }
            | Phase::DataReturn
            | Phase::DataLineFeed
            | Phase::Trailers(_) => 0,
        }
    }

    fn advance(&mut self, input: &mut BytesMut, limits: &Limits) -> Result<Decoded, Refusal> {
        loop {
            match &mut self.phase {
                Phase::Trailers(scan) => {
                    let Some(end) = scan.advance(input, limits, TRAILERS_BYTES_MAX)? else {
                        return Ok(Decoded::Incomplete);
                    };
                    let section = input.split_to(end).freeze();
                    return parse_trailers(&section, scan.fields()).map(Decoded::End);
                }
                Phase::Data { left: 0 } => self.phase = Phase::DataReturn,
                Phase::Data { left } => return Ok(take_data(left, input)),
                Phase::Size { .. }
                | Phase::Extension { .. }
                | Phase::SizeLineFeed { .. }
                | Phase::DataReturn
                | Phase::DataLineFeed => {
                    let Some(&byte) = input.first() else { return Ok(Decoded::Incomplete) };
                    self.phase = self.take_framing(byte)?;
                    input.advance(1);
                }
            }
        }
    }

    /// One byte that is not content. Exactly the grammar: digits without sign or space, CRLF, nothing else.
    fn take_framing(&mut self, byte: u8) -> Result<Phase, Refusal> {
        /// So that a size fits into 64 bits, leading zeros included.
        const DIGITS_MAX: u8 = 16;
        match (&self.phase, byte) {
            (Phase::Size { digits, size }, _) if byte.is_ascii_hexdigit() && *digits < DIGITS_MAX => {
                Ok(Phase::Size { digits: digits + 1, size: size << 4 | hex_value(byte) })
            }
            (Phase::Size { digits: 1.., size }, b'\r') => Ok(Phase::SizeLineFeed { size: *size }),
            (Phase::Size { digits: 1.., size }, b' ' | b'\t' | b';') => {
                self.take_extension(*size, Extension::Before, byte)
            }
            (Phase::Extension { size, extension }, _) => self.take_extension(*size, *extension, byte),
            (Phase::SizeLineFeed { size }, b'\n') => self.begin_chunk(*size),
            (Phase::DataReturn, b'\r') => Ok(Phase::DataLineFeed),
            (Phase::DataLineFeed, b'\n') => Ok(Phase::Size { digits: 0, size: 0 }),
            (
                Phase::Size { .. }
                | Phase::SizeLineFeed { .. }
                | Phase::DataReturn
                | Phase::DataLineFeed
                | Phase::Data { .. }
                | Phase::Trailers(_),
                _,
            ) => Err(Refusal::ChunkMalformed),
        }
    }

    fn take_extension(&mut self, size: u64, extension: Extension, byte: u8) -> Result<Phase, Refusal> {
        match extension.take(byte) {
            None => Err(Refusal::ChunkMalformed),
            Some(Step::End) => Ok(Phase::SizeLineFeed { size }),
            Some(Step::On(_)) if self.extension_bytes == CHUNK_EXTENSIONS_BYTES_MAX => {
                Err(Refusal::ChunkExtensionsTooLarge)
            }
            Some(Step::On(extension)) => {
                self.extension_bytes += 1;
                Ok(Phase::Extension { size, extension })
            }
        }
    }

    fn begin_chunk(&mut self, size: u64) -> Result<Phase, Refusal> {
        if size == 0 {
            return Ok(Phase::Trailers(FieldScan::default()));
        }
        self.bytes = self.bytes.checked_add(size).ok_or(Refusal::BodyTooLarge)?;
        if self.bytes > self.bytes_max {
            return Err(Refusal::BodyTooLarge);
        }
        Ok(Phase::Data { left: size })
    }
}

/// Of a byte that is a hexadecimal digit.
fn hex_value(byte: u8) -> u64 {
    u64::from(match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        _ => byte.to_ascii_uppercase() - b'A' + 10,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Content, trailers, and what is left of the input.
    type Body = (Vec<u8>, Option<HeaderMap>, Vec<u8>);

    /// Decodes a complete body.
    fn decode(decoder: &mut Decoder, text: &[u8]) -> Result<Body, Refusal> {
        let mut input = BytesMut::from(text);
        let mut content = Vec::new();
        loop {
            match decoder.advance(&mut input, &Limits::default())? {
                Decoded::Data(data) => content.extend_from_slice(&data),
                Decoded::End(trailers) => return Ok((content, trailers, input.to_vec())),
                Decoded::Incomplete => panic!("the body of this test is complete: {text:?}"),
            }
        }
    }

    fn chunked() -> Decoder {
        Decoder::new(RequestBody::Chunked)
    }

    #[test]
    fn chunks_become_content_and_what_follows_is_left_alone() {
        for (text, content) in [
            (&b"0\r\n\r\nGET"[..], &b""[..]),
            (b"3\r\nabc\r\n0\r\n\r\nGET", b"abc"),
            (b"1\r\na\r\n2\r\nbc\r\n000\r\n\r\nGET", b"abc"),
            (b"0000000000000003\r\nabc\r\n0000000000000000\r\n\r\nGET", b"abc"),
            (b"A\r\n0123456789\r\n0\r\n\r\nGET", b"0123456789"),
            (b"a\r\n\r\n0\r\n\r\nabc\r\n0\r\n\r\nGET", b"\r\n0\r\n\r\nabc"),
            (b"3;a=b;c=\"d;\\\"\"\r\nabc\r\n0;e\r\n\r\nGET", b"abc"),
            (b"3 ;a\r\nabc\r\n0\r\n\r\nGET", b"abc"),
        ] {
            let expected = (content.to_vec(), None, b"GET".to_vec());
            assert_eq!(decode(&mut chunked(), text), Ok(expected), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn a_chunk_that_is_not_exactly_right_is_refused() {
        for text in [
            &b"\r\n"[..],
            b";a\r\n",
            b" 3\r\n",
            b"+3\r\n",
            b"-3\r\n",
            b"0x3\r\n",
            b"3h\r\n",
            b"3 \r\n",
            b"3\n",
            b"3\rabc",
            b"3\r\r\n",
            b"00000000000000003\r\n",
            b"10000000000000000\r\n",
            b"3;\r\nabc",
            b"3;a\nabc",
            b"3;a=\"\n\"\r\nabc",
            b"3;a\x00\r\nabc",
            b"3\r\nabcd\r\n0\r\n\r\n",
            b"3\r\nabc0\r\n\r\n",
            b"3\r\nabc\n0\r\n\r\n",
            b"3\r\nabcd\n0\r\n\r\n",
            b"3\r\nabc\r0\r\n\r\n",
            b"3\r\nabc\r\n\r\n",
            b"\xb3\r\nabc",
        ] {
            assert_eq!(decode(&mut chunked(), text), Err(Refusal::ChunkMalformed), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn a_size_beyond_64_bits_in_all_is_refused() {
        let mut decoder = chunked();
        let mut input = BytesMut::from(&b"ffffffffffffffff\r\n"[..]);
        assert!(matches!(decoder.advance(&mut input, &Limits::default()), Ok(Decoded::Incomplete)));
        let Decoder::Chunked(chunked) = &mut decoder else { panic!("it is chunked") };
        chunked.phase = Phase::DataReturn;
        assert_eq!(decode(&mut decoder, b"\r\n1\r\n"), Err(Refusal::BodyTooLarge));
    }

    #[test]
    fn extensions_are_limited_over_the_whole_body() {
        let chunk = |bytes: usize| [b"1;", "x".repeat(bytes - 1).as_bytes(), b"\r\na\r\n"].concat();
        let half = chunk(CHUNK_EXTENSIONS_BYTES_MAX / 2);
        let body = [&half[..], &half, b"0\r\n\r\n"].concat();
        assert!(decode(&mut chunked(), &body).is_ok());
        let body = [&half[..], &half, b"0;a\r\n\r\n"].concat();
        assert_eq!(decode(&mut chunked(), &body), Err(Refusal::ChunkExtensionsTooLarge));
    }

    #[test]
    fn trailers_come_with_the_end() {
        let (_, trailers, rest) = decode(&mut chunked(), b"1\r\na\r\n0\r\nDigest: x\r\nHost: y\r\n\r\nGET").unwrap();
        let trailers = trailers.unwrap();
        assert_eq!((trailers.len(), trailers["digest"].as_bytes()), (1, &b"x"[..]));
        assert_eq!(rest, b"GET");
    }

    #[test]
    fn trailers_are_fields_and_limited() {
        for (trailers, refusal) in [
            ("a: b\n\r\n", Refusal::LineEnding),
            ("a : b\r\n\r\n", Refusal::FieldMalformed),
            (" a: b\r\n\r\n", Refusal::FieldFolded),
            ("GET / HTTP/1.1\r\n\r\n", Refusal::FieldMalformed),
        ] {
            assert_eq!(decode(&mut chunked(), format!("0\r\n{trailers}").as_bytes()), Err(refusal), "{trailers:?}");
        }
        let many = format!("0\r\n{}", "a: b\r\n".repeat(101));
        assert_eq!(decode(&mut chunked(), many.as_bytes()), Err(Refusal::TooManyFields));
        let large = format!("0\r\n{}", format!("a: {}\r\n", "b".repeat(8000)).repeat(3));
        assert_eq!(decode(&mut chunked(), large.as_bytes()), Err(Refusal::TrailersTooLarge));
    }

    #[test]
    fn a_chunked_body_is_refused_as_soon_as_a_chunk_announces_too_much() {
        let mut decoder = chunked();
        decoder.limit(5).unwrap();
        assert_eq!(decode(&mut decoder, b"3\r\nabc\r\n3\r\n"), Err(Refusal::BodyTooLarge));
        let mut decoder = chunked();
        decoder.limit(5).unwrap();
        assert!(decode(&mut decoder, b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n").is_ok());
    }

    #[test]
    fn a_length_above_the_limit_is_refused_at_once() {
        assert_eq!(Decoder::new(RequestBody::Length(6)).limit(5), Err(Refusal::BodyTooLarge));
        assert_eq!(Decoder::new(RequestBody::Length(5)).limit(5), Ok(()));
        assert_eq!(Decoder::new(RequestBody::None).limit(0), Ok(()));
    }

    #[test]
    fn a_body_of_known_length_ends_by_itself() {
        let mut decoder = Decoder::new(RequestBody::Length(3));
        assert_eq!(decode(&mut decoder, b"abcGET"), Ok((b"abc".to_vec(), None, b"GET".to_vec())));
        assert!(decoder.is_empty());
    }
}
