//! One request and the way to answer it. What the paths do is not here.

use std::io::{self, Write};

use percent_encoding::percent_decode_str;
use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};
use wasip2::io::streams::OutputStream;

use crate::page::Asset;

/// A request that was not answered yet.
pub struct Exchange {
    answer_to: ResponseOutparam,
    path: String,
    query: String,
}

impl Exchange {
    pub fn new(request: &IncomingRequest, answer_to: ResponseOutparam) -> Self {
        let target = request.path_with_query().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        Self { answer_to, path: path.to_owned(), query: query.to_owned() }
    }

    /// The last segment of the path, since the same guest is mounted in several places; empty for a folder.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// The value of a parameter of the query, percent-decoded.
    pub fn parameter(&self, name: &str) -> Option<String> {
        let mut pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| percent_decode_str(value).decode_utf8_lossy().into_owned())
    }

    pub fn json(self, status: u16, value: &serde_json::Value) {
        // Each answer tells of one moment: none may come from a cache.
        let mut answer = self.answer(status, &[("content-type", "application/json"), ("cache-control", "no-store")]);
        let _ = writeln!(answer, "{value}");
        answer.finish();
    }

    pub fn asset(self, asset: Asset) {
        let mut answer = self.answer(
            200,
            &[
                ("content-type", asset.content_type),
                ("cache-control", "no-cache"),
                ("content-security-policy", "default-src 'self'; img-src data:"),
            ],
        );
        let _ = answer.write_all(asset.text.as_bytes());
        answer.finish();
    }

    /// Answers with a head; the body follows.
    pub fn answer(self, status: u16, headers: &[(&str, &str)]) -> Answer {
        let fields = Fields::new();
        for (name, value) in headers {
            fields.append(name, value.as_bytes()).expect("the lab's own headers are well-formed");
        }
        let response = OutgoingResponse::new(fields);
        response.set_status_code(status).expect("the lab's own statuses can be sent");
        let body = response.body().expect("the body is taken once");
        let stream = body.write().expect("the stream is taken once");
        ResponseOutparam::set(self.answer_to, Ok(response));
        Answer { stream, body }
    }
}

/// An answer whose head is out. What fails from here on fails because the client has gone away, and then nobody is
/// left to tell.
pub struct Answer {
    // Before the body: a body cannot be dropped or finished while its stream is open.
    stream: OutputStream,
    body: OutgoingBody,
}

impl Answer {
    pub fn finish(self) {
        drop(self.stream);
        let _ = OutgoingBody::finish(self.body, None);
    }
}

impl Write for Answer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Write::write(&mut self.stream, bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Write::flush(&mut self.stream)
    }
}
