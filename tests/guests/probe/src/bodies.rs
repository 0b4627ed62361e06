//! Paths that read and write bodies: fast, slow, large, endless, or not at all.

use std::io::{Read, Write};

use wasip2::http::types::{Fields, IncomingBody, Trailers};

use crate::exchange::{Exchange, sleep};

/// Bytes read or written at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// `/echo`: sends the body back while it arrives, with content type and trailers. A body that breaks is broken off
/// on the other side too.
pub fn echo(exchange: Exchange) {
    let headers = Fields::new();
    let content_type = exchange.request.headers().get("content-type");
    headers.set("content-type", &content_type).expect("what a client sent is well-formed");
    let body = exchange.body();
    let mut answer = exchange.answer_with(200, headers);
    let copied = copy(&body, &mut answer);
    if copied.is_ok() {
        answer.finish(trailers(body));
    }
}

/// `/big?n=`: n bytes, the letters a to z over and over.
pub fn big(exchange: Exchange) {
    let mut left = usize::try_from(exchange.number("n", 1 << 20)).expect("the tests ask for what a guest can count");
    let mut answer = exchange.answer(200, &[("content-type", "text/plain")]);
    let alphabet: Vec<u8> = (b'a'..=b'z').cycle().take(26 * 2048).collect();
    while left > 0 {
        let now = left.min(alphabet.len());
        if answer.write_all(&alphabet[..now]).is_err() {
            return;
        }
        left -= now;
    }
    answer.finish(None);
}

/// `/flood`: zeros without end.
pub fn flood(exchange: Exchange) {
    let mut answer = exchange.answer(200, &[]);
    while answer.write_all(&[0; CHUNK_BYTES]).is_ok() {}
}

/// `/ignore-body`: answers without having looked at the body.
pub fn ignore(exchange: Exchange) {
    exchange.text(200, "ignored\n");
}

/// `/slow-read?ms=`: reads the body with a pause before each read, then answers with its length.
pub fn slow_read(exchange: Exchange) {
    let pause = exchange.millis(10);
    let body = exchange.body();
    let mut stream = body.stream().expect("the stream is taken once");
    let mut chunk = [0; 4096];
    let mut length = 0;
    loop {
        sleep(pause);
        match Read::read(&mut stream, &mut chunk) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(_) => return,
        }
    }
    exchange.text(200, &format!("{length}\n"));
}

/// `/poll-read`: reads the body without ever waiting for it, then answers with its length.
pub fn poll_read(exchange: Exchange) {
    let body = exchange.body();
    let stream = body.stream().expect("the stream is taken once");
    let mut length = 0;
    while let Ok(chunk) = stream.read(4096) {
        length += chunk.len();
    }
    drop(stream);
    exchange.text(200, &format!("{length}\n"));
}

/// `/drip?n=&ms=`: n lines with a pause after each.
pub fn drip(exchange: Exchange) {
    let pause = exchange.millis(100);
    let lines = exchange.number("n", 10);
    let mut answer = exchange.answer(200, &[("content-type", "text/plain")]);
    for line in 0..lines {
        if writeln!(answer, "{line}").and_then(|()| answer.flush()).is_err() {
            return;
        }
        sleep(pause);
    }
    answer.finish(None);
}

fn copy(from: &IncomingBody, to: &mut impl Write) -> std::io::Result<()> {
    let mut stream = from.stream().expect("the stream is taken once");
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match Read::read(&mut stream, &mut chunk)? {
            0 => return Ok(()),
            read => to.write_all(&chunk[..read])?,
        }
    }
}

fn trailers(body: IncomingBody) -> Option<Trailers> {
    let arriving = IncomingBody::finish(body);
    arriving.subscribe().block();
    arriving.get()?.ok()?.ok()?
}
