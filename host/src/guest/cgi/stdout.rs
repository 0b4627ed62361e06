//! A guest's standard output on its way to the client: the head until it is complete, then the content.
//!
//! ```text
//!  Head ──empty line──► Content ──the guest ends──► Ended
//!    │ nonsense            │ nobody reads any more
//!    └───────► Closed ◄────┘
//! ```
//! The content waits here until it is taken, and when there is enough of it, the guest waits too; one that does not, and
//! writes on, is ended. Reader and guest are polled by the same thread, the reader first, so who reads need not be woken.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};
use wasmtime_wasi_http::Error;

use super::super::limits::CHUNK_BYTES;
use super::super::link::Link;
use super::super::stdio::within_permit;
use super::head::{BadHead, Head, HeadScan};

/// Every handle that the guest opens on it is a clone.
#[derive(Clone)]
pub(super) struct Stdout(Arc<Mutex<Output>>);

enum Output {
    /// The head is not complete; when it is, the link gets the answer.
    Head { bytes: BytesMut, scan: HeadScan, link: Arc<Link> },
    /// What waits to be taken, and who waits for room, if anybody does.
    Content { waiting: BytesMut, writer: Option<Waker> },
    /// The guest is over; this is left.
    Ended { rest: Bytes },
    /// Nothing that is written gets anywhere.
    Closed,
}

/// The content of the answer, as who reads it sees it.
struct Content(Arc<Mutex<Output>>);

impl Stdout {
    pub(super) fn new(link: Arc<Link>) -> Stdout {
        Stdout(Arc::new(Mutex::new(Output::Head { bytes: BytesMut::new(), scan: HeadScan::default(), link })))
    }

    /// The guest is over, and meant it: what it has written is its answer.
    pub(super) fn end(&self) {
        let mut output = lock(&self.0);
        *output = match std::mem::replace(&mut *output, Output::Closed) {
            Output::Content { waiting, .. } => Output::Ended { rest: waiting.freeze() },
            // A head that is not complete is none.
            Output::Head { .. } | Output::Closed => Output::Closed,
            ended @ Output::Ended { .. } => ended,
        };
    }

    fn take(&self, written: &[u8]) -> Result<(), BadHead> {
        let mut output = lock(&self.0);
        *output = match std::mem::replace(&mut *output, Output::Closed) {
            Output::Head { mut bytes, mut scan, link } => {
                bytes.extend_from_slice(written);
                match scan.advance(&bytes)? {
                    None => Output::Head { bytes, scan, link },
                    Some(end) => {
                        let Head { status, headers } = Head::parse(&bytes.split_to(end))?;
                        let mut response = http::Response::new(Content(Arc::clone(&self.0)).boxed_unsync());
                        *response.status_mut() = status;
                        *response.headers_mut() = headers;
                        link.answer(Ok(response));
                        Output::Content { waiting: bytes, writer: None }
                    }
                }
            }
            Output::Content { mut waiting, writer } => {
                waiting.extend_from_slice(written);
                Output::Content { waiting, writer }
            }
            over @ (Output::Ended { .. } | Output::Closed) => over,
        };
        Ok(())
    }
}

impl OutputStream for Stdout {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        within_permit(self.check_write(), &bytes)?;
        // There is no way to go on from a head that cannot be sent: the guest ends here.
        self.take(&bytes).map_err(|bad| StreamError::Trap(bad.into()))
    }

    /// Nothing to do: what was written leaves as soon as the guest waits or has had its time slice.
    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        match &*lock(&self.0) {
            Output::Head { .. } => Ok(CHUNK_BYTES),
            Output::Content { waiting, .. } => Ok(CHUNK_BYTES.saturating_sub(waiting.len())),
            Output::Ended { .. } | Output::Closed => Err(StreamError::Closed),
        }
    }
}

impl Pollable for Stdout {
    fn ready<'a, 'b>(&'a mut self) -> Pin<Box<dyn Future<Output = ()> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(std::future::poll_fn(|cx| match &mut *lock(&self.0) {
            Output::Content { waiting, writer } if waiting.len() >= CHUNK_BYTES => {
                *writer = Some(cx.waker().clone());
                Poll::Pending
            }
            Output::Head { .. } | Output::Content { .. } | Output::Ended { .. } | Output::Closed => Poll::Ready(()),
        }))
    }
}

impl IsTerminal for Stdout {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stdout {
    /// Only WASI 0.3 asks for this.
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let chunk = match &mut *lock(&self.0) {
            Output::Content { waiting, writer } => {
                if let Some(writer) = writer.take() {
                    writer.wake();
                }
                // Its memory goes along; the next chunk has its own.
                std::mem::take(waiting).freeze()
            }
            Output::Ended { rest } if rest.is_empty() => return Poll::Ready(None),
            Output::Ended { rest } => std::mem::take(rest),
            Output::Head { .. } | Output::Closed => Bytes::new(),
        };
        if chunk.is_empty() { Poll::Pending } else { Poll::Ready(Some(Ok(Frame::data(chunk)))) }
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        let before = std::mem::replace(&mut *lock(&self.0), Output::Closed);
        if let Output::Content { writer: Some(writer), .. } = before {
            writer.wake();
        }
    }
}

/// A state is replaced whole, so a poisoned lock holds a good one.
fn lock(output: &Mutex<Output>) -> MutexGuard<'_, Output> {
    output.lock().unwrap_or_else(PoisonError::into_inner)
}
