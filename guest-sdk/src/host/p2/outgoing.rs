//! A body that goes out.

use http_body::Frame;
use wasip2::http::types::OutgoingBody;
use wasip2::io::streams::{OutputStream, StreamError};

use super::convert::fields;
use super::executor::Readiness;
use crate::Body;
use crate::host;

/// Sends a body to its end, as fast as it is taken. One that breaks off is dropped unfinished: that tells the host,
/// and the host tells the other side. If that is gone already, nobody is left to tell.
pub(super) async fn send(mut body: Body, to: OutgoingBody) {
    let mut trailers = None;
    if !body.is_empty() {
        let mut stream = Output { readiness: None, stream: to.write().expect("the stream is taken once") };
        loop {
            match body.frame().await.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(chunk))) => {
                    if stream.write(&chunk).await.is_err() {
                        return;
                    }
                }
                Some(Ok(Err(frame))) => trailers = frame.into_trailers().ok(),
                Some(Err(_)) => return,
                None => break,
            }
        }
    }
    let trailers = match trailers.as_ref().map(fields).transpose() {
        Ok(trailers) => trailers,
        Err(error) => {
            host::report(&format!("the host refuses the trailers: {error:#}"));
            return;
        }
    };
    // Fails if the length is not the one that was announced; then the host has said so.
    let _ = OutgoingBody::finish(to, trailers);
}

struct Output {
    // Before the stream that it belongs to.
    readiness: Option<Readiness>,
    stream: OutputStream,
}

impl Output {
    /// Writes as much at once as the host has room for, and waits for room in between.
    async fn write(&mut self, mut bytes: &[u8]) -> Result<(), StreamError> {
        while !bytes.is_empty() {
            match self.stream.check_write()? {
                0 => self.readiness.get_or_insert_with(|| Readiness::of(self.stream.subscribe())).wait().await,
                room => {
                    let (now, later) = bytes.split_at(bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX)));
                    self.stream.write(now)?;
                    bytes = later;
                }
            }
        }
        Ok(())
    }
}
