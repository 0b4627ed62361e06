//! What a handler may answer, and how the answer is delimited: checks before the first byte is written.
//!
//! A handler is not trusted: framing and connection fields are the server's alone. Writing lives in `encode`.

use http::{HeaderMap, HeaderName, StatusCode, Version, header};
use thiserror::Error;

use super::fields::is_hop_by_hop;
use super::grammar::{decimal, members};

/// How much content an answer will have, as far as its maker knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerLength {
    /// Exactly so many bytes.
    Known(u64),
    /// What the handler's Content-Length says; without one: chunked, or until the connection closes for HTTP/1.0.
    Unknown,
}

/// What the server adds to an answer.
#[derive(Debug, Clone, Copy)]
pub struct AnswerContext<'a> {
    /// The Date field's value: an IMF-fixdate (RFC 9110 section 5.6.7).
    pub date: &'a str,
    /// No further request is wanted on this connection: the answer says `Connection: close`.
    pub close: bool,
}

/// What is wrong with an answer. Nobody but the handler's author can do something about it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BadAnswer {
    /// RFC 9110 section 15: an answer has a status between 200 and 599; 1xx is not final, and switching protocols is
    /// not supported.
    #[error("cannot send the answer: {0} is not a final status between 200 and 599")]
    Status(u16),
    /// RFC 9110 section 8.6.
    #[error("cannot send the answer: its Content-Length is not one decimal number")]
    LengthInvalid,
    /// RFC 9110 section 8.6.
    #[error("cannot send the answer: its Content-Length is {declared} but its content has {actual} bytes")]
    LengthConflict {
        /// What the handler said, bytes.
        declared: u64,
        /// What there is, bytes.
        actual: u64,
    },
    /// RFC 9112 section 6.1: the server itself applies chunked, and no other coding.
    #[error("cannot send the answer: it has a transfer coding other than chunked")]
    TransferEncoding,
    /// RFC 9110 section 5.5: a control byte that could end the field and begin another one.
    #[error("cannot send the answer: control byte in the value of {0}")]
    FieldValue(HeaderName),
    /// More content than announced. What was announced has been sent, and nothing beyond.
    #[error("cannot send all of the answer: more content than the {announced} bytes announced")]
    TooLong {
        /// By the head, bytes.
        announced: u64,
    },
    /// Less content than announced. The client sees a broken answer when the connection closes.
    #[error("cannot complete the answer: {missing} bytes missing of the {announced} announced")]
    TooShort {
        /// By the head, bytes.
        announced: u64,
        /// Of these, bytes.
        missing: u64,
    },
    /// A second head, or content before a head or after the end.
    #[error("cannot send the answer: head, content and end in the wrong order")]
    OutOfOrder,
}

/// How the content of an answer is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AnswerBody {
    /// None is sent, whatever the handler says. `length` is what the head claims that there would be.
    None { length: Option<u64> },
    /// Content-Length.
    Sized(u64),
    /// Transfer-Encoding: chunked.
    Chunked,
    /// By the end of the connection, for HTTP/1.0.
    UntilClose,
}

/// Which request is being answered, as far as the form of the answer depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) version: Version,
    pub(super) wants: Wants,
    pub(super) trailers: TrailersTaken,
}

/// What of the answer the client wants to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wants {
    Everything,
    /// HEAD.
    HeadOnly,
}

/// Whether the client said `TE: trailers`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TrailersTaken {
    Yes,
    No,
}

/// Checks an answer's head and decides how its content is delimited (RFC 9112 section 6.3).
pub(super) fn check(
    status: StatusCode,
    headers: &HeaderMap,
    length: AnswerLength,
    question: Question,
) -> Result<AnswerBody, BadAnswer> {
    if !(200..600).contains(&status.as_u16()) {
        return Err(BadAnswer::Status(status.as_u16()));
    }
    if let Some((name, _)) = headers.iter().find(|(_, value)| value.as_bytes().iter().any(|&byte| splits(byte))) {
        return Err(BadAnswer::FieldValue(name.clone()));
    }
    for value in headers.get_all(header::TRANSFER_ENCODING) {
        if !members(value.as_bytes()).all(|coding| coding.eq_ignore_ascii_case(b"chunked")) {
            return Err(BadAnswer::TransferEncoding);
        }
    }
    let declared = declared_length(headers)?;
    let known = match length {
        AnswerLength::Known(bytes) => Some(bytes),
        AnswerLength::Unknown => None,
    };
    match (status, question.wants) {
        // RFC 9110 section 8.6: no Content-Length with 204; section 15.3.6: 205 has none but says so.
        (StatusCode::NO_CONTENT, _) => Ok(AnswerBody::None { length: None }),
        (StatusCode::RESET_CONTENT, _) => Ok(AnswerBody::None { length: Some(0) }),
        (StatusCode::NOT_MODIFIED, _) => Ok(AnswerBody::None { length: declared }),
        // An empty answer to HEAD says nothing about what GET would bring.
        (_, Wants::HeadOnly) => Ok(AnswerBody::None { length: declared.or(known.filter(|&bytes| bytes > 0)) }),
        (_, Wants::Everything) => delimit(declared, known, question.version),
    }
}

fn delimit(declared: Option<u64>, known: Option<u64>, version: Version) -> Result<AnswerBody, BadAnswer> {
    match (declared, known) {
        (Some(declared), Some(actual)) if declared != actual => Err(BadAnswer::LengthConflict { declared, actual }),
        (Some(bytes), _) | (None, Some(bytes)) => Ok(AnswerBody::Sized(bytes)),
        (None, None) if version == Version::HTTP_10 => Ok(AnswerBody::UntilClose),
        (None, None) => Ok(AnswerBody::Chunked),
    }
}

/// The handler's Content-Length. Lines that agree are one; anything else is a contradiction.
fn declared_length(headers: &HeaderMap) -> Result<Option<u64>, BadAnswer> {
    let mut declared = None;
    for value in headers.get_all(header::CONTENT_LENGTH) {
        let bytes = decimal(value.as_bytes()).ok_or(BadAnswer::LengthInvalid)?;
        if declared.replace(bytes).is_some_and(|before| before != bytes) {
            return Err(BadAnswer::LengthInvalid);
        }
    }
    Ok(declared)
}

/// Whether a byte may not stand in a field's value. The type of the value promises as much; but a split answer is
/// another client's answer, so the promise is checked where it counts.
fn splits(byte: u8) -> bool {
    byte.is_ascii_control() && byte != b'\t'
}

/// Whether a field of an answer is made by the server alone.
pub(super) fn is_servers_own(name: &HeaderName) -> bool {
    matches!(*name, header::CONTENT_LENGTH | header::DATE) || is_hop_by_hop(name)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const GET: Question = Question { version: Version::HTTP_11, wants: Wants::Everything, trailers: TrailersTaken::No };
    const GET_1_0: Question = Question { version: Version::HTTP_10, ..GET };
    const HEAD: Question = Question { wants: Wants::HeadOnly, ..GET };

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let line = |&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
        let mut map = HeaderMap::new();
        for (name, value) in fields.iter().map(line) {
            map.append(name, value);
        }
        map
    }

    fn status(code: u16) -> StatusCode {
        StatusCode::from_u16(code).unwrap()
    }

    #[test]
    fn only_a_final_status_is_an_answer() {
        for code in [100, 101, 103, 199, 600, 999] {
            let checked = check(status(code), &HeaderMap::new(), AnswerLength::Unknown, GET);
            assert_eq!(checked, Err(BadAnswer::Status(code)));
        }
        for code in [200, 299, 404, 599] {
            assert!(check(status(code), &HeaderMap::new(), AnswerLength::Unknown, GET).is_ok());
        }
    }

    #[test]
    fn content_is_delimited_by_what_is_known_of_it() {
        use AnswerBody as B;
        use AnswerLength::{Known, Unknown};
        let none = headers(&[]);
        let five = headers(&[("content-length", "5")]);
        for (code, headers, length, question, body) in [
            (200, &none, Known(3), GET, B::Sized(3)),
            (200, &none, Known(0), GET, B::Sized(0)),
            (200, &five, Known(5), GET, B::Sized(5)),
            (200, &five, Unknown, GET, B::Sized(5)),
            (200, &none, Unknown, GET, B::Chunked),
            (200, &none, Unknown, GET_1_0, B::UntilClose),
            (200, &five, Unknown, GET_1_0, B::Sized(5)),
            (200, &five, Known(0), HEAD, B::None { length: Some(5) }),
            (200, &none, Known(7), HEAD, B::None { length: Some(7) }),
            (200, &none, Known(0), HEAD, B::None { length: None }),
            (200, &none, Unknown, HEAD, B::None { length: None }),
            (204, &five, Known(5), GET, B::None { length: None }),
            (205, &five, Known(5), GET, B::None { length: Some(0) }),
            (304, &five, Known(0), GET, B::None { length: Some(5) }),
            (304, &none, Known(3), GET, B::None { length: None }),
        ] {
            assert_eq!(check(status(code), headers, length, question), Ok(body), "{code} {length:?} {question:?}");
        }
    }

    #[test]
    fn a_content_length_that_contradicts_is_a_bad_answer() {
        let check = |fields: &[_], length| check(StatusCode::OK, &headers(fields), length, GET);
        let five = ("content-length", "5");
        let conflict = BadAnswer::LengthConflict { declared: 5, actual: 6 };
        assert_eq!(check(&[five], AnswerLength::Known(6)), Err(conflict));
        assert_eq!(check(&[five, five], AnswerLength::Unknown), Ok(AnswerBody::Sized(5)));
        for fields in [&[five, ("content-length", "6")][..], &[("content-length", "5, 5")], &[("content-length", "-1")]]
        {
            assert_eq!(check(fields, AnswerLength::Unknown), Err(BadAnswer::LengthInvalid));
        }
    }

    #[test]
    fn a_transfer_coding_of_the_handler_is_a_bad_answer() {
        let check =
            |coding| check(StatusCode::OK, &headers(&[("transfer-encoding", coding)]), AnswerLength::Unknown, GET);
        assert_eq!(check("gzip"), Err(BadAnswer::TransferEncoding));
        assert_eq!(check("gzip, chunked"), Err(BadAnswer::TransferEncoding));
        assert_eq!(check("chunked"), Ok(AnswerBody::Chunked));
    }

    #[test]
    fn no_byte_that_splits_an_answer_passes_the_check_of_values() {
        for byte in 0..=255_u8 {
            // Neither the type nor the check alone is relied upon; both agree on every byte.
            assert_eq!(HeaderValue::from_bytes(&[b'a', byte, b'b']).is_err(), splits(byte), "{byte:#04x}");
        }
    }
}
