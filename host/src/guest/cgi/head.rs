//! The head of an answer as CGI has it (RFC 3875 section 6): bytes in, status and fields out, or what is wrong with them.
//!
//! A program's output is nobody's to trust: a head has limits, and what could be read in two ways is refused. Which
//! fields are the server's own, and how content is delimited, is not decided here.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

/// Bytes of a head, its empty line included.
pub const BYTES_MAX: usize = 64 << 10;
/// Fields of a head.
pub const FIELDS_MAX: usize = 256;
/// Bytes of a wrong line that the log shows.
const SHOWN_BYTES: usize = 80;

/// What is wrong with a head. For the guest's author; nothing of it is sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadHead {
    #[error("its head has more than {BYTES_MAX} bytes: write an empty line after the last field")]
    TooLong,
    #[error("its head has more than {FIELDS_MAX} fields")]
    TooManyFields,
    #[error("line {line} of its head is no field: write NAME: VALUE in place of {shown}")]
    NoField { line: usize, shown: Shown },
    #[error("line {line} of its head has a control character in its value: {shown}")]
    Value { line: usize, shown: Shown },
    #[error("line {line} of its head is a second {name} field: write one")]
    Twice { line: usize, name: &'static str },
    #[error("its Status is {0}: write a number from 200 to 599, alone or with a reason after it")]
    Status(Shown),
    #[error("its Location is empty: write a path or a URL")]
    Location,
    #[error("its head has neither Content-Type nor Location nor Status: write one of them before the empty line")]
    Nothing,
}

/// Bytes that a guest wrote, as a log may show them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown(String);

impl Shown {
    fn new(bytes: &[u8]) -> Shown {
        let some = &bytes[..bytes.len().min(SHOWN_BYTES)];
        let more = if some.len() < bytes.len() { "..." } else { "" };
        Shown(format!("\"{}\"{more}", some.escape_ascii()))
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How far the end of a head was looked for, however it was cut into pieces.
#[derive(Debug, Clone, Copy, Default)]
pub struct HeadScan {
    /// Where the line begins that is not complete.
    line: usize,
    /// No line end stands before this, in that line.
    searched: usize,
}

impl HeadScan {
    /// Where the head ends, its empty line included; `None` until more has been written. `bytes` is all that has been.
    ///
    /// # Errors
    /// It is too long, complete or not.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<Option<usize>, BadHead> {
        while let Some(length) = bytes[self.searched..].iter().position(|&byte| byte == b'\n') {
            let (line, end) = (self.line, self.searched + length);
            if end >= BYTES_MAX {
                return Err(BadHead::TooLong);
            }
            (self.line, self.searched) = (end + 1, end + 1);
            if matches!(bytes[line..end], [] | [b'\r']) {
                return Ok(Some(end + 1));
            }
        }
        self.searched = bytes.len();
        if bytes.len() >= BYTES_MAX { Err(BadHead::TooLong) } else { Ok(None) }
    }
}

/// A head that says something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    pub status: StatusCode,
    /// All fields but Status, in their order.
    pub headers: HeaderMap,
}

impl Head {
    /// Reads what [`HeadScan`] has found, empty line included. Lines end with LF, or with CR and LF.
    ///
    /// # Errors
    /// What cannot be sent, or could be read in two ways.
    pub fn parse(head: &[u8]) -> Result<Head, BadHead> {
        let mut status = None;
        let mut headers = HeaderMap::new();
        for (number, line) in (1..).zip(head.split(|&byte| byte == b'\n')) {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                break;
            }
            if number > FIELDS_MAX {
                return Err(BadHead::TooManyFields);
            }
            let (name, value) = read_field(line, number)?;
            if name == "status" {
                if status.replace(read_status(value)?).is_some() {
                    return Err(BadHead::Twice { line: number, name: "Status" });
                }
                continue;
            }
            // RFC 3875 section 6.3: one of each of those that are CGI's own.
            for own in [header::CONTENT_TYPE, header::LOCATION] {
                if name == own && headers.contains_key(&own) {
                    let name = if own == header::LOCATION { "Location" } else { "Content-Type" };
                    return Err(BadHead::Twice { line: number, name });
                }
            }
            if name == header::LOCATION && value.is_empty() {
                return Err(BadHead::Location);
            }
            let shown = || BadHead::Value { line: number, shown: Shown::new(value) };
            headers.append(name, HeaderValue::from_bytes(value).map_err(|_| shown())?);
        }
        let redirects = headers.contains_key(header::LOCATION);
        let status = match status {
            Some(status) => status,
            // RFC 3875 sections 6.2.2 to 6.2.4.
            None if redirects => StatusCode::FOUND,
            None if headers.contains_key(header::CONTENT_TYPE) => StatusCode::OK,
            None => return Err(BadHead::Nothing),
        };
        Ok(Head { status, headers })
    }
}

fn read_field(line: &[u8], number: usize) -> Result<(HeaderName, &[u8]), BadHead> {
    let no_field = || BadHead::NoField { line: number, shown: Shown::new(line) };
    let colon = line.iter().position(|&byte| byte == b':').ok_or_else(no_field)?;
    // No space before the colon, and none at the front: neither is part of a name.
    let name = HeaderName::from_bytes(&line[..colon]).map_err(|_| no_field())?;
    Ok((name, trimmed(&line[colon + 1..])))
}

/// Without the white space around a value (RFC 9110 section 5.5).
fn trimmed(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// RFC 3875 section 6.3.3: three digits, and a reason after a space, which nobody is told.
fn read_status(value: &[u8]) -> Result<StatusCode, BadHead> {
    let code = match value {
        [code @ .., b' '] => code,
        [a, b, c, b' ', ..] => &[*a, *b, *c],
        code => code,
    };
    let status = StatusCode::from_bytes(code).ok().filter(|status| (200..600).contains(&status.as_u16()));
    status.ok_or_else(|| BadHead::Status(Shown::new(value)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(head: &str) -> Result<Head, BadHead> {
        Head::parse(head.as_bytes())
    }

    fn told(head: &str) -> (u16, Vec<(String, String)>) {
        let Head { status, headers } = read(head).unwrap();
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        (status.as_u16(), headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect())
    }

    /// As written in pieces of so many bytes.
    fn found(bytes: &[u8], piece: usize) -> Result<Option<usize>, BadHead> {
        let mut scan = HeadScan::default();
        let mut end = 0;
        loop {
            end = bytes.len().min(end + piece);
            match scan.advance(&bytes[..end])? {
                None if end < bytes.len() => {}
                found => return Ok(found),
            }
        }
    }

    #[test]
    fn a_head_ends_at_its_first_empty_line_however_it_is_written() {
        for (bytes, end) in [
            (&b"a: b\n\nc"[..], Some(6)),
            (b"a: b\r\n\r\nc", Some(8)),
            (b"a: b\n\r\n", Some(7)),
            (b"\nrest", Some(1)),
            (b"\r\n", Some(2)),
            (b"a: b\nc: d\n\n\n", Some(11)),
            (b"a: b\n", None),
            (b"a: b\n\r", None),
            (b"a: b\n\rx\n", None),
            (b"", None),
        ] {
            for piece in 1..=bytes.len().max(1) {
                assert_eq!(found(bytes, piece), Ok(end), "{}", bytes.escape_ascii());
            }
        }
    }

    #[test]
    fn a_head_that_never_ends_is_given_up() {
        for byte in [b'x', b'\r'] {
            let endless = vec![byte; BYTES_MAX + 1];
            for piece in [1, 1000, endless.len()] {
                assert_eq!(found(&endless, piece), Err(BadHead::TooLong));
            }
        }
        let fields = b"a: b\n".repeat(BYTES_MAX / 5 + 1);
        assert_eq!(found(&fields, 4096), Err(BadHead::TooLong));
    }

    #[test]
    fn the_longest_head_and_no_longer_is_taken() {
        let head = |bytes: usize| [&b"a: "[..], &vec![b'x'; bytes - 5], b"\n\n"].concat();
        assert_eq!(found(&head(BYTES_MAX), 4096), Ok(Some(BYTES_MAX)));
        assert_eq!(found(&head(BYTES_MAX + 1), 4096), Err(BadHead::TooLong));
    }

    #[test]
    fn the_status_is_said_or_follows_from_what_is() {
        for (head, status) in [
            ("Content-Type: a/b\n\n", 200),
            ("Status: 404 Not Found\nContent-Type: a/b\n\n", 404),
            ("status:404\n\n", 404),
            ("Status: 200 \n\n", 200),
            ("STATUS:\t599 x y z\r\n\r\n", 599),
            ("Location: /elsewhere\n\n", 302),
            ("Location: https://example.org/\n\n", 302),
            ("Location: /a\nStatus: 301 Moved\n\n", 301),
            ("Location: /a\nContent-Type: text/html\n\n", 302),
        ] {
            assert_eq!(told(head).0, status, "{head:?}");
        }
    }

    #[test]
    fn fields_keep_their_order_and_lose_the_space_around_them() {
        let head = "Content-Type:text/plain\r\nSet-Cookie: a=1 \nSet-Cookie:\tb=2\nX-Empty:\nX-\u{e9}: no"
            .split_once("\nX-\u{e9}");
        let (_, fields) = told(&format!("{}\n\n", head.unwrap().0));
        let pairs: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let cookies = [("set-cookie", "a=1"), ("set-cookie", "b=2")];
        assert_eq!(pairs, [&[("content-type", "text/plain")][..], &cookies, &[("x-empty", "")]].concat());
    }

    #[test]
    fn a_line_that_is_no_field_is_named() {
        for line in
            ["hello", "HTTP/1.1 200 OK", ": x", "a b: c", "a : b", " folded: x", "\tx: y", "\u{e9}: x", "a\0: b"]
        {
            let error = read(&format!("Content-Type: a/b\n{line}\n\n")).unwrap_err();
            assert!(matches!(&error, BadHead::NoField { line: 2, .. }), "{error}");
            assert!(!error.to_string().contains(char::is_control), "{error}");
        }
    }

    #[test]
    fn no_value_can_split_an_answer() {
        for value in ["a\rb", "a\0b", "a\x01", "\x7f", "a\rSet-Cookie: x"] {
            let error = read(&format!("Content-Type: {value}\n\n")).unwrap_err();
            assert!(matches!(error, BadHead::Value { line: 1, .. }), "{error}");
        }
        assert_eq!(told("Content-Type: caf\u{e9}\n\n").1[0].1, "caf\u{e9}");
    }

    #[test]
    fn what_must_stand_once_is_refused_twice() {
        for name in ["Status", "Location", "Content-Type"] {
            let value = if name == "Status" { "200" } else { "/a" };
            let error = read(&format!("{name}: {value}\nX: y\n{}: {value}\n\n", name.to_lowercase())).unwrap_err();
            assert_eq!(error, BadHead::Twice { line: 3, name });
        }
    }

    #[test]
    fn a_status_that_is_none_is_refused() {
        for status in ["", "2000", "20", "abc", "100 Continue", "199", "600", "-200", "200OK", "+200", "2 00"] {
            assert!(matches!(read(&format!("Status: {status}\n\n")), Err(BadHead::Status(_))), "{status:?}");
        }
    }

    #[test]
    fn a_head_that_says_nothing_is_refused() {
        assert_eq!(read("\n"), Err(BadHead::Nothing));
        assert_eq!(read("X: y\n\n"), Err(BadHead::Nothing));
        assert_eq!(read("Location:\n\n"), Err(BadHead::Location));
    }

    #[test]
    fn fields_are_counted() {
        let head = |fields: usize| format!("Content-Type: a/b\n{}\n", "a: b\n".repeat(fields - 1));
        assert!(read(&head(FIELDS_MAX)).is_ok());
        assert_eq!(read(&head(FIELDS_MAX + 1)), Err(BadHead::TooManyFields));
    }

    proptest! {
        #[test]
        fn however_a_head_is_cut_it_is_found_at_the_same_place(
            bytes in prop::collection::vec(prop::sample::select(b"a: \r\n".to_vec()), 0..60),
            piece in 1_usize..60,
        ) {
            prop_assert_eq!(found(&bytes, piece), found(&bytes, bytes.len().max(1)));
        }

        #[test]
        fn what_is_read_has_nothing_that_could_split_it(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let bytes = [b"Content-Type: a/b\nX: ".as_slice(), &bytes, b"\n\n"].concat();
            let end = found(&bytes, bytes.len()).unwrap().unwrap();
            match Head::parse(&bytes[..end]) {
                Ok(Head { headers, .. }) => {
                    for value in headers.values() {
                        prop_assert!(!value.as_bytes().iter().any(|byte| byte.is_ascii_control() && *byte != b'\t'));
                    }
                }
                Err(bad) => prop_assert!(!bad.to_string().contains(char::is_control)),
            }
        }

        #[test]
        fn a_good_head_is_read_as_it_was_written(
            status in 200_u16..600,
            fields in prop::collection::vec(("[A-Za-z][A-Za-z0-9-]{0,20}", "[!-~]([ -~]{0,30}[!-~])?"), 0..20),
            crlf in any::<bool>(),
        ) {
            let own = |name: &str| ["status", "location", "content-type"].contains(&name.to_lowercase().as_str());
            let fields: Vec<_> = fields.into_iter().filter(|(name, _)| !own(name)).collect();
            let line_end = if crlf { "\r\n" } else { "\n" };
            let lines: String = fields.iter().map(|(name, value)| format!("{name}: {value}{line_end}")).collect();
            let text = format!("Status: {status} Reason{line_end}{lines}{line_end}");
            prop_assert_eq!(found(text.as_bytes(), 7), Ok(Some(text.len())));
            let head = read(&text).unwrap();
            prop_assert_eq!(head.status.as_u16(), status);
            for (name, value) in &fields {
                let name = name.to_lowercase();
                prop_assert!(head.headers.get_all(&name).iter().any(|read| read == value.as_str()));
            }
            prop_assert_eq!(head.headers.len(), fields.len());
        }
    }
}
