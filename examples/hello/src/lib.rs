//! The smallest handler: answers every request with one line of plain text.
//!
//! Nothing here is particular to Guesthouse: it is a `wasi:http/incoming-handler@0.2` component, and any host of that
//! interface can run it.

use std::io::Write;

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};

struct Hello;

wasip2::http::proxy::export!(Hello);

impl Guest for Hello {
    fn handle(_request: IncomingRequest, answer_to: ResponseOutparam) {
        let headers = Fields::new();
        headers.set("content-type", &[b"text/plain".to_vec()]).expect("the name and the value are well-formed");

        let response = OutgoingResponse::new(headers);
        let body = response.body().expect("the body is taken once");
        ResponseOutparam::set(answer_to, Ok(response));

        let mut stream = body.write().expect("the stream is taken once");
        // The only way to fail is a client that has gone away, and then nobody is left to tell.
        let _ = stream.write_all(b"Hello, world!\n");
        // The body cannot be finished while its stream is open.
        drop(stream);
        let _ = OutgoingBody::finish(body, None);
    }
}
