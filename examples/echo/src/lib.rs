//! Sends the body of a request back while it arrives, with its content type and its trailers.
//!
//! It holds one chunk at a time, however long the body is: a chunk is read only when the one before it was taken.

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{
    Fields, IncomingBody, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam, Trailers,
};
use wasip2::io::streams::{InputStream, OutputStream, StreamError};

/// Bytes asked for at once; the host may hand over fewer.
const CHUNK_BYTES: u64 = 64 * 1024;

struct Echo;

wasip2::http::proxy::export!(Echo);

impl Guest for Echo {
    fn handle(request: IncomingRequest, answer_to: ResponseOutparam) {
        let content_type = request.headers().get("content-type");
        let headers = Fields::new();
        headers.set("content-type", &content_type).expect("what a client sent is well-formed");

        let received = request.consume().expect("the body is taken once");
        let response = OutgoingResponse::new(headers);
        let sent = response.body().expect("the body is taken once");
        ResponseOutparam::set(answer_to, Ok(response));

        let copied = copy(
            &received.stream().expect("the stream is taken once"),
            &sent.write().expect("the stream is taken once"),
        );
        // A body that is dropped unfinished tells the host that it was broken off, and the host tells the client.
        if copied.is_ok() {
            let _ = OutgoingBody::finish(sent, trailers(received));
        }
    }
}

/// Hands on chunk after chunk until the client's side ends; an error is a side that broke.
fn copy(from: &InputStream, to: &OutputStream) -> Result<(), StreamError> {
    loop {
        match from.blocking_read(CHUNK_BYTES) {
            Ok(chunk) => write_all(to, &chunk)?,
            Err(StreamError::Closed) => return Ok(()),
            Err(broken) => return Err(broken),
        }
    }
}

/// Writes as much at once as the host has room for, and waits for room in between.
fn write_all(to: &OutputStream, mut bytes: &[u8]) -> Result<(), StreamError> {
    while !bytes.is_empty() {
        match to.check_write()? {
            0 => to.subscribe().block(),
            room => {
                let (now, later) = bytes.split_at(bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX)));
                to.write(now)?;
                bytes = later;
            }
        }
    }
    Ok(())
}

/// The fields after a chunked body, if the client sent any.
fn trailers(body: IncomingBody) -> Option<Trailers> {
    let arriving = IncomingBody::finish(body);
    arriving.subscribe().block();
    arriving.get()?.ok()?.ok()?
}
