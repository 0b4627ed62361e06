//! One request and the ways to answer it: the few steps of `wasi:http` that every path of the probe needs.

use std::time::Duration;

use wasip3::clocks::monotonic_clock;
use wasip3::http::types::{ErrorCode, Fields, Request, Response, Trailers};
use wasip3::{wit_future, wit_stream};
use wit_bindgen::{FutureReader, StreamReader, StreamWriter, spawn_local};

use crate::target::Target;

/// How a handler ends.
pub type Outcome = Result<Response, ErrorCode>;

/// Where a body that is whole would have its trailers.
pub type TrailersReader = FutureReader<Result<Option<Trailers>, ErrorCode>>;

/// A request that was not answered yet.
pub struct Exchange {
    pub request: Request,
    pub target: Target,
}

impl Exchange {
    pub fn new(request: Request) -> Self {
        let target = Target::new(&request.get_path_with_query().unwrap_or_default());
        Self { request, target }
    }

    /// The request's body.
    pub fn into_body(self) -> (StreamReader<u8>, TrailersReader) {
        let (_processed, outcome) = wit_future::new(|| Ok(()));
        Request::consume_body(self.request, outcome)
    }
}

/// Answers with a whole text.
pub fn text(status: u16, text: &str) -> Outcome {
    let text = text.as_bytes().to_vec();
    answer(status, &[("content-type", "text/plain")], async move |mut body| {
        body.write_all(text).await;
        None
    })
}

/// Answers with a head; the body is what `write` writes, and ends with the trailers that it returns.
pub fn answer<W>(status: u16, headers: &[(&str, &str)], write: W) -> Outcome
where
    W: AsyncFnOnce(StreamWriter<u8>) -> Option<Trailers> + 'static,
{
    let fields: Vec<(String, Vec<u8>)> =
        headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
    answer_with(status, Fields::from_list(&fields).expect("the probe's own headers are well-formed"), write)
}

/// As [`answer`], with headers that were made elsewhere.
pub fn answer_with<W>(status: u16, headers: Fields, write: W) -> Outcome
where
    W: AsyncFnOnce(StreamWriter<u8>) -> Option<Trailers> + 'static,
{
    let (writer, contents) = wit_stream::new();
    let (trailers_writer, trailers) = wit_future::new(|| Ok(None));
    let (response, _sent) = Response::new(headers, Some(contents), trailers);
    response.set_status_code(status).expect("the tests ask for statuses that wasi:http can carry");
    spawn_local(async move {
        let trailers = write(writer).await;
        // A client that is gone takes none.
        let _ = trailers_writer.write(Ok(trailers)).await;
    });
    Ok(response)
}

/// Sleeps on the host's clock.
pub async fn sleep(duration: Duration) {
    let nanoseconds = u64::try_from(duration.as_nanos()).expect("the tests sleep for less than centuries");
    monotonic_clock::wait_for(nanoseconds).await;
}
