//! A guest's answer, held against what it announced and what it may be: head, body, and what a guest leaves behind.
//!
//! Nothing here runs a guest; `call` does.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use http_body::{Body, Frame};
use wasmtime_wasi_http::Error;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use super::fault::Fault;
use super::link::Answer;

/// What a guest left behind.
pub(super) struct Rest {
    pub(super) chunks: VecDeque<Bytes>,
    pub(super) end: Result<Option<HeaderMap>, Fault>,
    /// What is told after `End`.
    pub(super) afterwards: Option<Fault>,
}

/// An answer whose head can be told.
pub(super) struct Opened {
    pub(super) parts: http::response::Parts,
    pub(super) body: HyperOutgoingBody,
    pub(super) length: Length,
    /// As the head says, also where the body it speaks of is not sent.
    pub(super) announced: Option<u64>,
}

/// The body's length as it grows.
pub(super) struct Length {
    /// What the guest has written, the part that is not passed on included.
    written: u64,
    /// What it must come to.
    announced: Option<u64>,
    /// The client gets it, or would if there were any.
    has_place: bool,
    limit: u64,
}

impl Opened {
    /// Checks the head of an answer to a request with this method. `limit`: `limits.response_body`, bytes.
    pub(super) fn check(answer: Answer, method: &Method, limit: u64) -> Result<Opened, Fault> {
        let (parts, body) = answer?.into_parts();
        if !(200..=599).contains(&parts.status.as_u16()) {
            return Err(Fault::BadAnswer(format!("status {} is not a final one", parts.status.as_u16())));
        }
        let announced = content_length(&parts.headers)?;
        // What HEAD and 304 announce is the length of a body that another request would get, and 204 announces nothing.
        let has_place = has_place_for_body(method, parts.status);
        let binding = announced.filter(|_| has_place);
        if binding.is_some_and(|length| length > limit) {
            return Err(Fault::ResponseTooLong(limit));
        }
        let length = Length { written: 0, announced: binding, has_place, limit };
        Ok(Opened { parts, body, length, announced })
    }
}

/// Whether an answer has the body that its head announces (RFC 9110, 6.4.1 and 8.6).
pub(super) fn has_place_for_body(method: &Method, status: StatusCode) -> bool {
    let has_none = [StatusCode::NO_CONTENT, StatusCode::RESET_CONTENT, StatusCode::NOT_MODIFIED];
    method != Method::HEAD && !has_none.contains(&status)
}

impl Rest {
    /// Empties the channel between the guest and its answer while the store still lives: a body that is pending
    /// now was never finished.
    pub(super) fn collect(mut body: HyperOutgoingBody, mut length: Length, verdict: Result<(), Fault>) -> Rest {
        let mut chunks = VecDeque::new();
        loop {
            let frame = Pin::new(&mut body).poll_frame(&mut Context::from_waker(Waker::noop()));
            match said(frame, &mut length) {
                Said::Chunk(chunk) if chunk.is_empty() => {}
                Said::Chunk(chunk) => chunks.push_back(chunk),
                Said::End(trailers) => return Rest { chunks, end: Ok(trailers), afterwards: verdict.err() },
                Said::Fault(fault) => {
                    return Rest { chunks, end: Err(verdict.err().unwrap_or(fault)), afterwards: None };
                }
                Said::Nothing => {
                    let fault = verdict.err().unwrap_or(Fault::BrokenOff);
                    return Rest { chunks, end: Err(fault), afterwards: None };
                }
            }
        }
    }
}

/// What the guest has said with one frame of its body.
pub(super) enum Said {
    Nothing,
    Chunk(Bytes),
    End(Option<HeaderMap>),
    Fault(Fault),
}

/// What a frame of the answer's body means, held against what was announced and what is allowed.
pub(super) fn said(frame: Poll<Option<Result<Frame<Bytes>, Error>>>, length: &mut Length) -> Said {
    if length.is_exceeded() {
        return Said::Fault(length.too_long());
    }
    let trailers = match frame {
        Poll::Pending => return Said::Nothing,
        // Where the host counts as well, it says so before the chunk that is too long is handed over.
        Poll::Ready(Some(Err(Error::HttpResponseBodySize(Some(sent)))))
            if length.announced.is_some_and(|announced| sent > announced) =>
        {
            return Said::Fault(length.too_long());
        }
        // For want of what was announced, mostly: wasmtime-wasi-http does not know which answers have no body.
        Poll::Ready(Some(Err(_))) if !length.has_place => None,
        // The guest dropped its body without finishing it, or said that it is none.
        Poll::Ready(Some(Err(_))) => return Said::Fault(Fault::BrokenOff),
        Poll::Ready(None) => None,
        Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
            Ok(chunk) => return length.add(chunk),
            Err(frame) => frame.into_trailers().ok(),
        },
    };
    match length.announced {
        Some(announced) if announced != length.written => Said::Fault(Fault::BrokenOff),
        _ => Said::End(trailers),
    }
}

impl Length {
    /// Of a chunk that goes beyond what was announced, the part within it is passed on; what is said next is the fault.
    fn add(&mut self, mut chunk: Bytes) -> Said {
        self.written = self.written.saturating_add(chunk.len() as u64);
        if self.written > self.limit {
            return Said::Fault(Fault::ResponseTooLong(self.limit));
        }
        let beyond = self.announced.map_or(0, |announced| self.written.saturating_sub(announced));
        let within = (chunk.len() as u64).saturating_sub(beyond);
        chunk.truncate(usize::try_from(within).unwrap_or(chunk.len()));
        Said::Chunk(chunk)
    }

    fn is_exceeded(&self) -> bool {
        self.announced.is_some_and(|announced| self.written > announced)
    }

    fn too_long(&self) -> Fault {
        let announced = self.announced.unwrap_or(self.written);
        Fault::BadAnswer(format!("its body is longer than its content-length of {announced}"))
    }
}

/// The announced length: `1*DIGIT`, once (RFC 9110, 8.6).
fn content_length(headers: &HeaderMap) -> Result<Option<u64>, Fault> {
    let mut values = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let digits = value.to_str().ok().filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()));
    match digits.and_then(|digits| digits.parse().ok()) {
        Some(length) if values.next().is_none() => Ok(Some(length)),
        _ => Err(Fault::BadAnswer("its content-length is not one number".into())),
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Full};

    use super::*;

    const LIMIT: u64 = 10;

    fn check(method: &Method, status: u16, lengths: &[&str]) -> Result<Opened, Fault> {
        let body = Full::new(Bytes::from_static(b"hello")).map_err(|never| match never {}).boxed_unsync();
        let mut response = http::Response::builder().status(status);
        for length in lengths {
            response = response.header(header::CONTENT_LENGTH, *length);
        }
        Opened::check(Ok(response.body(body).unwrap()), method, LIMIT)
    }

    fn whole(lengths: &[&str]) -> Result<Rest, Fault> {
        let Opened { body, length, .. } = check(&Method::GET, 200, lengths)?;
        Ok(Rest::collect(body, length, Ok(())))
    }

    #[test]
    fn a_body_of_the_announced_length_is_complete() {
        let rest = whole(&["5"]).unwrap();
        assert!(rest.end.is_ok());
        assert_eq!(rest.chunks, ["hello"]);
    }

    #[test]
    fn a_body_shorter_than_announced_is_broken_off() {
        assert!(matches!(whole(&["6"]).unwrap().end, Err(Fault::BrokenOff)));
    }

    #[test]
    fn a_body_longer_than_announced_is_passed_on_as_far_as_it_was_announced() {
        for (announced, passed_on) in [("4", "hell"), ("0", "")] {
            let rest = whole(&[announced]).unwrap();
            assert_eq!(Vec::from(rest.chunks).concat(), passed_on.as_bytes());
            assert!(matches!(rest.end, Err(Fault::BadAnswer(_))));
        }
    }

    #[test]
    fn nothing_follows_what_goes_beyond_the_announced_length() {
        let mut length = Length { written: 0, announced: Some(3), has_place: true, limit: LIMIT };
        let mut write = |bytes| said(Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(bytes))))), &mut length);
        assert!(matches!(write(b"ab"), Said::Chunk(chunk) if chunk == "ab"));
        assert!(matches!(write(b"cd"), Said::Chunk(chunk) if chunk == "c"));
        assert!(matches!(write(b"ef"), Said::Fault(Fault::BadAnswer(_))));
        assert!(matches!(said(Poll::Ready(None), &mut length), Said::Fault(Fault::BadAnswer(_))));
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_anything_is_sent() {
        assert!(matches!(check(&Method::GET, 200, &["11"]), Err(Fault::ResponseTooLong(LIMIT))));
    }

    #[test]
    fn where_there_is_no_place_for_content_what_is_announced_need_not_come() {
        for (method, status) in [(&Method::HEAD, 200), (&Method::GET, 204), (&Method::GET, 205), (&Method::GET, 304)] {
            assert_eq!(
                check(method, status, &["1000"]).unwrap_or_else(|fault| panic!("{fault}")).announced,
                Some(1000)
            );
        }
    }

    #[test]
    fn a_length_that_is_not_one_number_is_refused() {
        for lengths in [&["5", "5"][..], &["+5"], &["5,5"], &[""], &["99999999999999999999"]] {
            assert!(matches!(check(&Method::GET, 200, lengths), Err(Fault::BadAnswer(_))), "{lengths:?}");
        }
    }

    #[test]
    fn an_interim_or_unknown_status_is_no_answer() {
        for status in [103, 199, 600, 999] {
            assert!(matches!(check(&Method::GET, status, &[]), Err(Fault::BadAnswer(_))), "{status}");
        }
    }
}
