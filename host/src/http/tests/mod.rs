//! The connection as its users see it: bytes in, events out, answers in, bytes out.
//!
//! Rules that need one parser only are tested beside that parser.

mod answer;
mod body;
mod persistence;
mod refusal;
mod request;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};

use super::*;

const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const CONTEXT: AnswerContext<'static> = AnswerContext { date: DATE, close: false };

/// A connection with its buffers.
struct Client {
    http: Http1,
    input: BytesMut,
    output: Output,
    limits: Limits,
}

impl Client {
    fn new() -> Self {
        Self { http: Http1::new(), input: BytesMut::new(), output: Output::new(), limits: Limits::default() }
    }

    fn with(bytes: &[u8]) -> Self {
        let mut client = Self::new();
        client.send(bytes);
        client
    }

    fn send(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    fn receive(&mut self) -> Result<Received, Refusal> {
        self.http.receive(&mut self.input, &self.limits)
    }

    fn head(&mut self) -> Box<RequestHead> {
        match self.receive() {
            Ok(Received::Head(head)) => head,
            other => panic!("a head was expected: {other:?}"),
        }
    }

    fn is_incomplete(&mut self) -> bool {
        matches!(self.receive(), Ok(Received::Incomplete))
    }

    /// The body to its end.
    fn body(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            match self.receive() {
                Ok(Received::Data(data)) => body.extend_from_slice(&data),
                Ok(Received::End(_)) => return body,
                other => panic!("the body was expected to go on: {other:?}"),
            }
        }
    }

    fn answer(&mut self, headers: &HeaderMap, length: AnswerLength) -> Result<(), BadAnswer> {
        self.http.answer(StatusCode::OK, headers, length, &CONTEXT, &mut self.output)
    }

    fn data(&mut self, data: &'static str) -> Result<(), BadAnswer> {
        self.http.data(Bytes::from_static(data.as_bytes()), &mut self.output)
    }

    fn end(&mut self) -> Result<(), BadAnswer> {
        self.http.end(None, &mut self.output)
    }

    fn answer_empty(&mut self) {
        self.answer(&HeaderMap::new(), AnswerLength::Known(0)).unwrap();
        self.end().unwrap();
    }

    /// What the client gets, all of it.
    fn sent(&mut self) -> String {
        let mut slices = [std::io::IoSlice::new(&[]); 64];
        let filled = self.output.io_slices(&mut slices);
        let sent = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
        self.output.advance(self.output.len());
        String::from_utf8(sent).unwrap()
    }
}

fn fields(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    map
}

/// The refusal of a request that consists of this head.
fn refused(head: &str) -> Refusal {
    Client::with(head.as_bytes()).receive().expect_err(head)
}

fn get(more: &str) -> Client {
    Client::with(format!("GET / HTTP/1.1\r\nHost: a\r\n{more}\r\n").as_bytes())
}
