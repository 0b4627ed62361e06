//! Any bytes from a client: no panic, bounded waiting, and the same events however the bytes are cut into pieces.
//!
//! Answers are as short as can be here; what handlers may answer is fuzzed in `answers`.

#![no_main]

#[path = "../../../host/src/http/mod.rs"]
#[allow(dead_code, unused_imports)]
mod host_http;

use bytes::BytesMut;
use http::{HeaderMap, StatusCode};
use libfuzzer_sys::fuzz_target;

use host_http::{After, AnswerContext, AnswerLength, Http1, Limits, Output, Received, Refusal};

const LIMITS: Limits = Limits { request_line: 200, fields: 10, field_size: 200 };

/// More than this never waits for the rest of a head or of a trailer section.
const WAITING_BYTES_MAX: usize = 17 * 1024;

#[derive(Debug, PartialEq)]
enum Event {
    Head(String),
    Data(Vec<u8>),
    End(Option<HeaderMap>),
    Answered(After),
    Refused(Refusal),
}

fuzz_target!(|bytes: &[u8]| {
    let whole = serve(std::iter::once(bytes));
    assert_eq!(whole, serve(bytes.chunks(1)));
    assert_eq!(whole, serve(bytes.chunks(13)));
});

fn serve<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Event> {
    let mut http = Http1::new();
    let mut input = BytesMut::new();
    let mut events = Vec::new();
    for piece in pieces {
        input.extend_from_slice(piece);
        while advance(&mut http, &mut input, &mut events) {}
        if matches!(events.last(), Some(Event::Refused(_) | Event::Answered(After::Close(_)))) {
            break;
        }
        assert!(input.len() <= WAITING_BYTES_MAX, "{} bytes wait", input.len());
    }
    events
}

/// Whether there may be more to take.
fn advance(http: &mut Http1, input: &mut BytesMut, events: &mut Vec<Event>) -> bool {
    let before = input.len();
    let received = http.receive(input, &LIMITS);
    assert!(input.len() <= before);
    match received {
        Ok(Received::Incomplete) => return false,
        Ok(Received::Head(head)) => events.push(Event::Head(format!("{head:?}"))),
        Ok(Received::Data(data)) => {
            assert!(!data.is_empty());
            match events.last_mut() {
                Some(Event::Data(before)) => before.extend_from_slice(&data),
                _ => events.push(Event::Data(data.to_vec())),
            }
        }
        Ok(Received::End(trailers)) => {
            events.push(Event::End(trailers));
            let after = answer(http);
            events.push(Event::Answered(after));
            return after == After::Reuse;
        }
        Err(refusal) => {
            http.refuse(&refusal, "", &mut Output::new());
            assert!(matches!(http.after(), After::Close(_)));
            events.push(Event::Refused(refusal));
            return false;
        }
    }
    true
}

fn answer(http: &mut Http1) -> After {
    let context = AnswerContext { date: "", close: false };
    let mut output = Output::new();
    http.answer(StatusCode::OK, &HeaderMap::new(), AnswerLength::Known(0), &context, &mut output)
        .expect("an empty answer is always in order");
    http.end(None, &mut output).expect("an empty answer is complete");
    http.after()
}
