//! Field sections, of a head or of trailers: where one ends, its limits, and its fields. The door to httparse.
//!
//! What a particular field means to a request lives in `head`, to an answer in `answer`.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::limits::Limits;
use super::lines::{LineFault, Lines};
use super::refusal::Refusal;

/// Where the search for the end of a field section stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct FieldScan {
    lines: Lines,
    fields: usize,
}

impl FieldScan {
    /// A section whose first line is the next one of `lines`.
    pub(super) fn after(lines: Lines) -> Self {
        Self { lines, fields: 0 }
    }

    /// Number of field lines seen.
    pub(super) fn fields(&self) -> usize {
        self.fields
    }

    /// Where the section ends, its empty line included, or `None` until there is more input. `section_bytes_max`
    /// counts from the front of the input and is refused as [`Refusal::TrailersTooLarge`].
    pub(super) fn advance(
        &mut self,
        input: &[u8],
        limits: &Limits,
        section_bytes_max: usize,
    ) -> Result<Option<usize>, Refusal> {
        loop {
            // Whichever limit is nearer: so the refusal does not depend on how the bytes were cut into pieces.
            let left = section_bytes_max.saturating_sub(self.lines.start());
            let line = self.lines.next(input, limits.field_size.min(left)).map_err(|fault| match fault {
                LineFault::TooLong if limits.field_size < left => Refusal::FieldTooLarge,
                LineFault::TooLong => Refusal::TrailersTooLarge,
                LineFault::BareLineFeed => Refusal::LineEnding,
            })?;
            let Some(line) = line else { return Ok(None) };
            match input[line].first() {
                None => return Ok(Some(self.lines.start())),
                // Also before the first field, where RFC 9112 section 2.2 knows no fold but forbids it as well.
                Some(b' ' | b'\t') => return Err(Refusal::FieldFolded),
                Some(_) if self.fields == limits.fields => return Err(Refusal::TooManyFields),
                Some(_) => self.fields += 1,
            }
        }
    }
}

/// Hands over each field of a complete section that [`FieldScan`] has seen, empty line included. The values share
/// the memory of `section`.
pub(super) fn parse(
    section: &Bytes,
    count: usize,
    mut take: impl FnMut(HeaderName, HeaderValue) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    /// What nearly every request fits into; more fields go to the heap.
    const ON_STACK: usize = 32;
    let mut on_stack = [httparse::EMPTY_HEADER; ON_STACK];
    let mut on_heap = Vec::new();
    let room = if count <= ON_STACK {
        &mut on_stack[..count]
    } else {
        on_heap.resize(count, httparse::EMPTY_HEADER);
        &mut on_heap[..]
    };
    let fields = match httparse::parse_headers(section, room) {
        Ok(httparse::Status::Complete((end, fields))) if end == section.len() => fields,
        // Partial, or an end elsewhere than where the scan has seen it: the two disagree about what a line is.
        Ok(_) | Err(_) => return Err(Refusal::FieldMalformed),
    };
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Refusal::FieldMalformed)?;
        let value = section.slice_ref(field.value);
        take(name, HeaderValue::from_maybe_shared(value).map_err(|_| Refusal::FieldMalformed)?)?;
    }
    Ok(())
}

/// An empty map with room for so many fields.
pub(super) fn map_for(count: usize) -> Result<HeaderMap, Refusal> {
    HeaderMap::try_with_capacity(count).map_err(|_| Refusal::TooManyFields)
}

/// Adds a line to a map of fields, beside the lines of the same name.
pub(super) fn add(map: &mut HeaderMap, name: HeaderName, value: HeaderValue) -> Result<(), Refusal> {
    map.try_append(name, value).map(drop).map_err(|_| Refusal::TooManyFields)
}

/// The trailers of a complete section, `None` if nothing is left of them.
pub(super) fn parse_trailers(section: &Bytes, count: usize) -> Result<Option<HeaderMap>, Refusal> {
    let mut trailers = map_for(count)?;
    parse(section, count, |name, value| if may_be_trailer(&name) { add(&mut trailers, name, value) } else { Ok(()) })?;
    Ok(if trailers.is_empty() { None } else { Some(trailers) })
}

/// Whether a field concerns the connection only, or may only be made by the server (RFC 9110 section 7.6.1).
/// Content-Length, Trailer and what Connection names are not decided here.
pub(super) fn is_hop_by_hop(name: &HeaderName) -> bool {
    match *name {
        header::CONNECTION | header::TE | header::TRANSFER_ENCODING | header::UPGRADE => true,
        _ => matches!(name.as_str(), "keep-alive" | "proxy-connection"),
    }
}

/// RFC 9110 section 6.5.1: no field in a trailer that is needed for framing, routing, authentication, request
/// modifiers, response control or the reading of the content.
pub(super) fn may_be_trailer(name: &HeaderName) -> bool {
    if is_hop_by_hop(name) {
        return false;
    }
    match *name {
        header::CONTENT_LENGTH | header::TRAILER | header::HOST | header::FORWARDED | header::VIA => false,
        header::AUTHORIZATION | header::PROXY_AUTHORIZATION | header::COOKIE | header::SET_COOKIE => false,
        header::WWW_AUTHENTICATE | header::PROXY_AUTHENTICATE => false,
        header::CACHE_CONTROL | header::EXPECT | header::MAX_FORWARDS | header::PRAGMA | header::RANGE => false,
        header::IF_MATCH | header::IF_NONE_MATCH | header::IF_MODIFIED_SINCE | header::IF_UNMODIFIED_SINCE => false,
        header::IF_RANGE | header::ORIGIN | header::AGE | header::EXPIRES | header::DATE | header::LOCATION => false,
        header::RETRY_AFTER | header::VARY | header::WARNING => false,
        header::CONTENT_ENCODING | header::CONTENT_TYPE | header::CONTENT_RANGE => false,
        _ => !name.as_str().starts_with("x-forwarded-"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { request_line: 20, fields: 3, field_size: 20 };

    fn read(section: &str) -> Result<Vec<(String, Vec<u8>)>, Refusal> {
        let mut scan = FieldScan::default();
        let end = scan.advance(section.as_bytes(), &LIMITS, 50)?.expect("the section of this test is complete");
        let mut fields = Vec::new();
        parse(&Bytes::copy_from_slice(&section.as_bytes()[..end]), scan.fields(), |name, value| {
            fields.push((name.as_str().to_owned(), value.as_bytes().to_vec()));
            Ok(())
        })?;
        Ok(fields)
    }

    #[test]
    fn a_value_comes_without_the_whitespace_around_it() {
        let fields = read("A: \t b c\t \r\nD:\r\nE:\u{e9}\r\n\r\n").unwrap();
        let expected = [("a", &b"b c"[..]), ("d", b""), ("e", "\u{e9}".as_bytes())];
        assert_eq!(fields, expected.map(|(name, value)| (name.to_owned(), value.to_vec())));
    }

    #[test]
    fn a_malformed_field_is_refused() {
        for section in [
            "a : b\r\n\r\n",
            "a\t: b\r\n\r\n",
            ": b\r\n\r\n",
            "a\r\n\r\n",
            "a b: c\r\n\r\n",
            "a\0: b\r\n\r\n",
            "a: b\0\r\n\r\n",
            "a: b\x01\r\n\r\n",
            "a: b\x7f\r\n\r\n",
            "a: b\rc\r\n\r\n",
            "a: b\r\r\n\r\n",
            "\"a\": b\r\n\r\n",
            "a(b: c\r\n\r\n",
            "\u{e9}: c\r\n\r\n",
            "a: b\x0bc\r\n\r\n",
        ] {
            assert_eq!(read(section), Err(Refusal::FieldMalformed), "{section:?}");
        }
    }

    #[test]
    fn a_folded_field_is_refused() {
        for section in ["a: b\r\n c\r\n\r\n", "a: b\r\n\tc\r\n\r\n", " a: b\r\n\r\n", "a: b\r\n \r\n\r\n"] {
            assert_eq!(read(section), Err(Refusal::FieldFolded), "{section:?}");
        }
    }

    #[test]
    fn a_line_feed_without_cr_is_refused() {
        for section in ["a: b\n\r\n", "a: b\r\n\n", "\n", "a: b\r\nc: d\n\n"] {
            assert_eq!(read(section), Err(Refusal::LineEnding), "{section:?}");
        }
    }

    #[test]
    fn each_limit_holds_exactly() {
        assert!(read("a: 45678901234567890\r\n\r\n").is_ok());
        assert_eq!(read("a: 456789012345678901\r\n\r\n"), Err(Refusal::FieldTooLarge));
        assert!(read("a: 1\r\nb: 2\r\nc: 3\r\n\r\n").is_ok());
        assert_eq!(read("a: 1\r\nb: 2\r\nc: 3\r\nd: 4\r\n\r\n"), Err(Refusal::TooManyFields));
        let line = "a: 456789012345678\r\n";
        assert_eq!(read(&line.repeat(3)), Err(Refusal::TrailersTooLarge));
    }

    #[test]
    fn more_fields_than_fit_on_the_stack_are_read_all_the_same() {
        let limits = Limits { fields: 500, ..LIMITS };
        let section = Bytes::from("a: b\r\n".repeat(500) + "\r\n");
        let mut scan = FieldScan::default();
        assert_eq!(scan.advance(&section, &limits, usize::MAX), Ok(Some(section.len())));
        let mut count = 0;
        parse(&section, scan.fields(), |_, _| {
            count += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!(count, 500);
    }

    #[test]
    fn trailers_lose_what_must_stand_in_the_head() {
        let section = Bytes::from(
            "digest: x\r\nContent-Length: 5\r\ntransfer-encoding: chunked\r\nHost: a\r\nauthorization: b\r\n\
             X-Forwarded-For: c\r\ncookie: d\r\n\r\n",
        );
        let trailers = parse_trailers(&section, 7).unwrap().unwrap();
        assert_eq!(trailers.len(), 1);
        assert_eq!(trailers["digest"], "x");
        assert_eq!(parse_trailers(&Bytes::from("host: a\r\n\r\n"), 1), Ok(None));
    }
}
