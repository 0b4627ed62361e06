//! How a request's body is delimited: the one place that decides (RFC 9112 section 6).
//!
//! Everything that request smuggling lives on meets here. In doubt the request is refused. Decoding lives in
//! `decode`.

use http::Version;

use super::grammar::{decimal, is_token, members};
use super::refusal::Refusal;

/// How the body of a request is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestBody {
    /// The head announces none.
    None,
    /// Content-Length.
    Length(u64),
    /// Transfer-Encoding: chunked.
    Chunked,
}

/// What the head says about its body, field by field.
#[derive(Debug, Default)]
pub(super) struct Framing {
    length: Option<u64>,
    codings: Codings,
}

/// The list of transfer codings, over all Transfer-Encoding lines.
///
/// ```text
///            chunked                anything
///  Absent ───────────► Chunked ──────────────────► Malformed
///    │ other                                           ▲
///    ▼         chunked                    anything     │
///  Unknown ──────────► UnknownThenChunked ─────────────┘
/// ```
#[derive(Debug, Default)]
enum Codings {
    /// No such field.
    #[default]
    Absent,
    /// Exactly one coding: chunked.
    Chunked,
    /// Only codings that this server does not know, so far.
    Unknown,
    /// Unknown codings, and chunked as the last one.
    UnknownThenChunked,
    /// A member that is no token, or anything after chunked.
    Malformed,
}

impl Codings {
    fn then(self, coding: &[u8]) -> Self {
        let chunked = coding.eq_ignore_ascii_case(b"chunked");
        match self {
            _ if !is_token(coding) => Self::Malformed,
            Self::Absent if chunked => Self::Chunked,
            Self::Unknown if chunked => Self::UnknownThenChunked,
            Self::Absent | Self::Unknown => Self::Unknown,
            Self::Chunked | Self::UnknownThenChunked | Self::Malformed => Self::Malformed,
        }
    }
}

impl Framing {
    /// A Content-Length line. RFC 9110 section 8.6 lets several equal values pass as one; they are refused here.
    pub(super) fn content_length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        let length = decimal(value).ok_or(Refusal::LengthInvalid)?;
        match self.length.replace(length) {
            None => Ok(()),
            Some(_) => Err(Refusal::LengthRepeated),
        }
    }

    /// A Transfer-Encoding line.
    pub(super) fn transfer_encoding(&mut self, value: &[u8]) {
        self.codings = members(value).fold(std::mem::take(&mut self.codings), Codings::then);
    }

    /// The decision, once every field was seen.
    pub(super) fn decide(self, version: Version) -> Result<RequestBody, Refusal> {
        match (self.codings, self.length) {
            (Codings::Absent, None) => Ok(RequestBody::None),
            (Codings::Absent, Some(length)) => Ok(RequestBody::Length(length)),
            (_, _) if version == Version::HTTP_10 => Err(Refusal::CodingInHttp10),
            (_, Some(_)) => Err(Refusal::LengthAndCoding),
            (Codings::Chunked, None) => Ok(RequestBody::Chunked),
            (Codings::UnknownThenChunked, None) => Err(Refusal::CodingUnknown),
            (Codings::Unknown | Codings::Malformed, None) => Err(Refusal::CodingMalformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(version: Version, lengths: &[&str], codings: &[&str]) -> Result<RequestBody, Refusal> {
        let mut framing = Framing::default();
        for length in lengths {
            framing.content_length(length.as_bytes())?;
        }
        for coding in codings {
            framing.transfer_encoding(coding.as_bytes());
        }
        framing.decide(version)
    }

    #[test]
    fn a_body_is_as_its_one_field_says() {
        let cases: [(&[&str], &[&str], RequestBody); 6] = [
            (&[], &[], RequestBody::None),
            (&["0"], &[], RequestBody::Length(0)),
            (&["42"], &[], RequestBody::Length(42)),
            (&["18446744073709551615"], &[], RequestBody::Length(u64::MAX)),
            (&[], &["chunked"], RequestBody::Chunked),
            (&[], &["CHUNked"], RequestBody::Chunked),
        ];
        for (lengths, codings, body) in cases {
            assert_eq!(decide(Version::HTTP_11, lengths, codings), Ok(body));
        }
    }

    #[test]
    fn a_content_length_that_is_no_number_is_refused() {
        for length in ["", "+1", "-1", "1 1", "1,1", "1, 2", "0x10", "1e3", "18446744073709551616", "१"] {
            assert_eq!(decide(Version::HTTP_11, &[length], &[]), Err(Refusal::LengthInvalid), "{length}");
        }
    }

    #[test]
    fn a_second_content_length_is_refused() {
        for lengths in [["5", "5"], ["5", "6"]] {
            assert_eq!(decide(Version::HTTP_11, &lengths, &[]), Err(Refusal::LengthRepeated));
        }
    }

    #[test]
    fn content_length_beside_transfer_encoding_is_refused() {
        for coding in ["chunked", "gzip", "gzip, chunked", ""] {
            assert_eq!(decide(Version::HTTP_11, &["5"], &[coding]), Err(Refusal::LengthAndCoding), "{coding}");
        }
    }

    #[test]
    fn an_unknown_coding_before_chunked_is_not_implemented() {
        let cases: [&[&str]; 3] = [&["gzip, chunked"], &["gzip", "chunked"], &["gzip, br", "identity,chunked"]];
        for codings in cases {
            assert_eq!(decide(Version::HTTP_11, &[], codings), Err(Refusal::CodingUnknown), "{codings:?}");
        }
    }

    #[test]
    fn codings_that_do_not_end_in_one_chunked_are_refused() {
        let cases: [&[&str]; 13] = [
            &["gzip"],
            &["identity"],
            &["chunked, gzip"],
            &["chunked", "gzip"],
            &["chunked, chunked"],
            &["chunked", "chunked"],
            &["chunked,"],
            &[",chunked"],
            &[""],
            &["chunked;q=1"],
            &["\"chunked\""],
            &["chun ked"],
            &["xchunked"],
        ];
        for codings in cases {
            assert_eq!(decide(Version::HTTP_11, &[], codings), Err(Refusal::CodingMalformed), "{codings:?}");
        }
    }

    #[test]
    fn http_1_0_has_no_transfer_encoding() {
        assert_eq!(decide(Version::HTTP_10, &[], &["chunked"]), Err(Refusal::CodingInHttp10));
        assert_eq!(decide(Version::HTTP_10, &["5"], &["chunked"]), Err(Refusal::CodingInHttp10));
        assert_eq!(decide(Version::HTTP_10, &["5"], &[]), Ok(RequestBody::Length(5)));
    }
}
