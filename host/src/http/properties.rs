//! What holds for any bytes and any way they are cut into pieces.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use proptest::prelude::*;

use super::limits::{EMPTY_LINES_MAX, TRAILERS_BYTES_MAX};
use super::*;

const LIMITS: Limits = Limits { request_line: 60, fields: 6, field_size: 60 };

/// What a connection has made of its input, adjacent pieces of a body joined.
#[derive(Debug, PartialEq)]
enum Event {
    Head(String),
    Data(Vec<u8>),
    End(Option<HeaderMap>),
    Answered(After),
    Refused(Refusal),
}

/// Answers every request of a connection that gets its bytes in these pieces.
fn serve<'a>(segments: impl IntoIterator<Item = &'a [u8]>) -> Vec<Event> {
    let mut http = Http1::new();
    let mut input = BytesMut::new();
    let mut events = Vec::new();
    for segment in segments {
        input.extend_from_slice(segment);
        serve_available(&mut http, &mut input, &mut events);
        assert!(http.answer_begun() || input.len() <= waiting_bytes_max(), "{} bytes wait", input.len());
        if matches!(events.last(), Some(Event::Refused(_) | Event::Answered(After::Close(_)))) {
            break;
        }
    }
    events
}

/// What can be waiting at most for the rest of a head or a trailer section.
fn waiting_bytes_max() -> usize {
    let head = 2 * usize::from(EMPTY_LINES_MAX) + LIMITS.request_line + LIMITS.fields * LIMITS.field_size;
    let line_ends = 2 * (LIMITS.fields + 2);
    (head + line_ends).max(TRAILERS_BYTES_MAX)
}

fn serve_available(http: &mut Http1, input: &mut BytesMut, events: &mut Vec<Event>) {
    loop {
        match http.receive(input, &LIMITS) {
            Ok(Received::Incomplete) => return,
            Ok(Received::Head(head)) => events.push(Event::Head(format!("{head:?}"))),
            Ok(Received::Data(data)) => match events.last_mut() {
                Some(Event::Data(before)) => before.extend_from_slice(&data),
                _ => events.push(Event::Data(data.to_vec())),
            },
            Ok(Received::End(trailers)) => {
                events.push(Event::End(trailers));
                let after = answer(http);
                events.push(Event::Answered(after));
                if after != After::Reuse {
                    return;
                }
            }
            Err(refusal) => {
                http.refuse(&refusal, "", &mut Output::new());
                assert_eq!(http.after(), After::Close(CloseReason::Refused));
                events.push(Event::Refused(refusal));
                return;
            }
        }
    }
}

fn answer(http: &mut Http1) -> After {
    let mut output = Output::new();
    let context = AnswerContext { date: "", close: false };
    http.answer(StatusCode::OK, &HeaderMap::new(), AnswerLength::Known(0), &context, &mut output).unwrap();
    http.end(None, &mut output).unwrap();
    http.after()
}

/// Valid requests, and what smugglers send, in pieces that fit together in many ways.
fn request() -> impl Strategy<Value = Vec<u8>> {
    let line = prop::sample::select(vec![
        "GET / HTTP/1.1",
        "POST /a?b HTTP/1.1",
        "HEAD http://b/c HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "PUT / HTTP/1.0",
        "GET /\" HTTP/1.1",
        "GET /0123456789012345678901234567890123456789012345678901234567890 HTTP/1.1",
        "PRI * HTTP/2.0",
        "GET /",
    ]);
    let field = prop::sample::select(vec![
        "Connection: close",
        "Connection: keep-alive, x",
        "X: y",
        "Expect: 100-continue",
        "A: b\rc",
        " folded",
        "Host: twice",
        "B : c",
        "C: 0123456789012345678901234567890123456789012345678901234567890",
        "TE: trailers",
        "D: \u{e9}",
    ]);
    let fields = prop::collection::vec(prop::option::weighted(0.2, field), 0..8);
    let end = prop::sample::select(vec!["\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\n"]);
    (prop::option::weighted(0.2, Just("\r\n")), line, fields, body(), end).prop_map(
        |(before, line, fields, body, end)| {
            let fields: String = fields.into_iter().flatten().map(|field| format!("{field}{end}")).collect();
            let head = format!("{}{line}{end}Host: a{end}{fields}", before.unwrap_or_default());
            [head.into_bytes(), body].concat()
        },
    )
}

/// The framing fields, the end of the head, and the body.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let content = prop::collection::vec(any::<u8>(), 0..40);
    let chunks = prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 0..4);
    let extension = prop::sample::select(vec!["", "", "", ";a", ";a=b", " ;a=\"\\\"\"", ";", ";a\n", ";\u{e9}"]);
    let end = prop::sample::select(vec![
        "0\r\n\r\n",
        "0\r\nDigest: x\r\n\r\n",
        "00;x\r\n\r\n",
        "0\n\r\n",
        "0\r\nX\r\n\r\n",
        "0\r\n",
    ]);
    prop_oneof![
        Just(b"\r\n".to_vec()),
        content
            .prop_map(|content| [format!("Content-Length: {}\r\n\r\n", content.len()).into_bytes(), content].concat()),
        (chunks, extension, end).prop_map(|(chunks, extension, end)| {
            let mut body = b"Transfer-Encoding: chunked\r\n\r\n".to_vec();
            for chunk in chunks {
                body.extend_from_slice(format!("{:x}{extension}\r\n", chunk.len()).as_bytes());
                body.extend_from_slice(&chunk);
                body.extend_from_slice(b"\r\n");
            }
            [body, end.as_bytes().to_vec()].concat()
        }),
    ]
}

/// Requests one after the other, some of their bytes changed.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let requests = prop::collection::vec(request(), 1..5);
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
    (requests, changes).prop_map(|(requests, changes)| {
        let mut stream = requests.concat();
        for (index, byte) in changes {
            let at = index.index(stream.len());
            stream[at] = byte;
        }
        stream
    })
}

/// `stream` cut where the indexes say.
fn cut<'a>(stream: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
    ends.push(stream.len());
    ends.sort_unstable();
    let starts = std::iter::once(0).chain(ends.clone());
    starts.zip(ends).map(|(start, end)| &stream[start..end]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_segmentation_of_the_same_bytes_gives_the_same_events(
        stream in stream(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let whole = serve([&stream[..]]);
        prop_assert_eq!(&whole, &serve(cut(&stream, &cuts)));
        prop_assert_eq!(&whole, &serve(stream.chunks(1)));
    }

    #[test]
    fn any_bytes_are_taken_within_limits_and_without_a_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..2000),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        prop_assert_eq!(serve([&bytes[..]]), serve(cut(&bytes, &cuts)));
    }

    #[test]
    fn a_valid_request_is_taken_back_to_back_with_another(
        content in prop::collection::vec(any::<u8>(), 1..200),
        pieces in prop::collection::vec(1..50_usize, 1..6),
    ) {
        let length = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", content.len());
        let mut stream = [length.as_bytes(), &content].concat();
        stream.extend_from_slice(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        stream.extend_from_slice(&encoded(&content, &pieces));
        let events = serve(stream.chunks(7));
        let body = || Event::Data(content.clone());
        prop_assert_eq!(events.len(), 8, "{:?}", &events);
        prop_assert_eq!((&events[1], &events[5]), (&body(), &body()));
        prop_assert_eq!((&events[3], &events[7]), (&Event::Answered(After::Reuse), &Event::Answered(After::Reuse)));
    }
}

/// `content` as the chunked body of an answer, in pieces of these sizes over and over.
fn encoded(content: &[u8], pieces: &[usize]) -> Vec<u8> {
    let mut http = Http1::new();
    let mut output = Output::new();
    let mut input = BytesMut::from(&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..]);
    assert!(matches!(http.receive(&mut input, &LIMITS), Ok(Received::Head(_))));
    let context = AnswerContext { date: "", close: false };
    http.answer(StatusCode::OK, &HeaderMap::new(), AnswerLength::Unknown, &context, &mut output).unwrap();
    let head_bytes = output.len();
    let mut rest = Bytes::copy_from_slice(content);
    for piece in pieces.iter().cycle() {
        http.data(rest.split_to(rest.len().min(*piece)), &mut output).unwrap();
        if rest.is_empty() {
            break;
        }
    }
    http.end(None, &mut output).unwrap();
    let mut slices = [std::io::IoSlice::new(&[]); 4];
    let filled = output.io_slices(&mut slices);
    slices[..filled].iter().flat_map(|slice| slice.to_vec()).skip(head_bytes).collect()
}
