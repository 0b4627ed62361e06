//! Any answer from a handler: what leaves is one well-formed answer, whose content is the handler's up to the length
//! that its head announces.
//!
//! The answer is read back by the server's own parsers, its head with another first line: they are the strict ones.

#![no_main]

#[path = "../../../host/src/http/mod.rs"]
#[allow(dead_code, unused_imports)]
mod host_http;

use std::io::IoSlice;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use libfuzzer_sys::fuzz_target;

use host_http::{AnswerContext, AnswerLength, Http1, Limits, Output, Received, RequestBody};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n";
const LIMITS: Limits = Limits { request_line: 100, fields: 100_000, field_size: 1_000_000 };

/// What a handler says: status, fields, announced length, pieces of content. Trailers are the fields once more.
type Answer = (u16, Vec<(Vec<u8>, Vec<u8>)>, Option<u8>, Vec<Vec<u8>>);

fuzz_target!(|answer: Answer| {
    let (status, fields, length, pieces) = answer;
    let Ok(status) = StatusCode::from_u16(status) else { return };
    let headers = fields
        .iter()
        .filter_map(|(name, value)| Some((HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value).ok()?)))
        // Of these a request may have only certain ones, so the answer could not be read back as a request.
        .filter(|(name, _)| name != "host" && name != "expect")
        .collect();
    let length = length.map_or(AnswerLength::Unknown, |bytes| AnswerLength::Known(bytes.into()));
    if let Some((wire, complete)) = write(status, &headers, length, &pieces) {
        check(&wire, complete, &pieces.concat());
    }
});

/// The answer on the wire, and whether it could be completed.
fn write(status: StatusCode, headers: &HeaderMap, length: AnswerLength, pieces: &[Vec<u8>]) -> Option<(Vec<u8>, bool)> {
    let mut http = Http1::new();
    let mut output = Output::new();
    let received = http.receive(&mut BytesMut::from(REQUEST), &LIMITS);
    assert!(matches!(received, Ok(Received::Head(_))));
    let context = AnswerContext { date: "Sun, 06 Nov 1994 08:49:37 GMT", close: false };
    http.answer(status, headers, length, &context, &mut output).ok()?;
    let written = pieces.iter().try_for_each(|piece| http.data(Bytes::copy_from_slice(piece), &mut output));
    let complete = written.and_then(|()| http.end(Some(headers), &mut output)).is_ok();
    let mut wire = Vec::new();
    while !output.is_empty() {
        let mut slices = [IoSlice::new(&[]); 3];
        let filled = output.io_slices(&mut slices);
        let before = wire.len();
        slices[..filled].iter().for_each(|slice| wire.extend_from_slice(slice));
        output.advance(wire.len() - before);
    }
    Some((wire, complete))
}

fn check(wire: &[u8], complete: bool, content: &[u8]) {
    let line_end = wire.windows(2).position(|two| two == b"\r\n").expect("an answer has a status line");
    let mut input = BytesMut::from(&b"POST / HTTP/1.1\r\nhost: a"[..]);
    input.extend_from_slice(&wire[line_end..]);
    let mut http = Http1::new();
    let Ok(Received::Head(head)) = http.receive(&mut input, &LIMITS) else { panic!("the head is malformed") };
    let announced_nothing_to_come = input.is_empty() && matches!(head.body, RequestBody::Length(1..));
    let mut read = Vec::new();
    let ended = loop {
        match http.receive(&mut input, &LIMITS) {
            Ok(Received::Data(data)) => read.extend_from_slice(&data),
            Ok(Received::End(_)) => break true,
            Ok(Received::Incomplete) => break false,
            Ok(Received::Head(_)) => panic!("a second head"),
            // The server bounds what it takes in trailers, not what a handler may send.
            Err(host_http::Refusal::TrailersTooLarge) => return,
            Err(refusal) => panic!("the content is malformed: {refusal}"),
        }
    };
    assert!(content.starts_with(&read), "other content than the handler's");
    assert!(input.is_empty(), "bytes beyond the announced length");
    // 304 announces what there would be; else a complete answer has all that it announces.
    assert!(!complete || ended || announced_nothing_to_come, "an answer was completed too early");
}
