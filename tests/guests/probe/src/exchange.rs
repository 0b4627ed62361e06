//! One request and the way to answer it: the few steps of `wasi:http` that every path of the probe needs.

use std::io::{self, Write};
use std::ops::Deref;
use std::time::Duration;

use wasip2::clocks::monotonic_clock;
use wasip2::http::types::{
    Fields, IncomingBody, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam, Trailers,
};
use wasip2::io::streams::OutputStream;

use crate::target::Target;

/// A request that was not answered yet.
pub struct Exchange {
    pub request: IncomingRequest,
    answer_to: ResponseOutparam,
    target: Target,
}

impl Deref for Exchange {
    type Target = Target;

    fn deref(&self) -> &Target {
        &self.target
    }
}

impl Exchange {
    pub fn new(request: IncomingRequest, answer_to: ResponseOutparam) -> Self {
        let target = Target::new(&request.path_with_query().unwrap_or_default());
        Self { request, answer_to, target }
    }

    /// Takes the request's body; once.
    pub fn body(&self) -> IncomingBody {
        self.request.consume().expect("the body is taken once")
    }

    /// Answers with a whole text.
    pub fn text(self, status: u16, text: &str) {
        let mut answer = self.answer(status, &[("content-type", "text/plain")]);
        let _ = answer.write_all(text.as_bytes());
        answer.finish(None);
    }

    /// Answers with a head; the body follows.
    pub fn answer(self, status: u16, headers: &[(&str, &str)]) -> Answer {
        let fields = Fields::new();
        for (name, value) in headers {
            fields.append(name, value.as_bytes()).expect("the probe's own headers are well-formed");
        }
        self.answer_with(status, fields)
    }

    /// As [`answer`](Self::answer), with headers that were made elsewhere.
    pub fn answer_with(self, status: u16, headers: Fields) -> Answer {
        let response = OutgoingResponse::new(headers);
        response.set_status_code(status).expect("the tests ask for statuses that wasi:http can carry");
        let body = response.body().expect("the body is taken once");
        let stream = body.write().expect("the stream is taken once");
        ResponseOutparam::set(self.answer_to, Ok(response));
        Answer { stream, body }
    }

    /// Gives the way to answer away, for what is no answer.
    pub fn into_answer_to(self) -> ResponseOutparam {
        self.answer_to
    }
}

/// An answer whose head is out.
pub struct Answer {
    // Before the body: a body cannot be dropped or finished while its stream is open.
    stream: OutputStream,
    body: OutgoingBody,
}

impl Answer {
    /// Ends the body; says whether the host took it as whole.
    pub fn finish(self, trailers: Option<Trailers>) -> bool {
        drop(self.stream);
        OutgoingBody::finish(self.body, trailers).is_ok()
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

/// Sleeps on the host's clock.
pub fn sleep(duration: Duration) {
    let nanoseconds = u64::try_from(duration.as_nanos()).expect("the tests sleep for less than centuries");
    monotonic_clock::subscribe_duration(nanoseconds).block();
}
