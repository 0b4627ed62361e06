//! A guest's standard input: the request's body, as it arrives and no faster than it is read.
//!
//! A body that breaks off is an error, and not an end that a guest could take for the whole.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::Body as _;
use tokio::io::AsyncRead;
use wasmtime_wasi::cli::{IsTerminal, StdinStream};
use wasmtime_wasi::p2::{InputStream, Pollable, StreamError, StreamResult};

use super::super::body::RequestBody;

/// Every handle that the guest opens on it is a clone.
#[derive(Clone)]
pub(super) struct Stdin(Arc<Mutex<Input>>);

/// What of the body has come and was not read yet.
enum Input {
    Open {
        body: RequestBody,
        /// Empty: more must come.
        chunk: Bytes,
    },
    Ended,
    /// The client is gone, sent nonsense, or was too slow.
    BrokenOff,
}

impl Stdin {
    pub(super) fn new(body: RequestBody) -> Stdin {
        Stdin(Arc::new(Mutex::new(Input::Open { body, chunk: Bytes::new() })))
    }

    /// Ready when there is something to read, or nothing more will come.
    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut input = self.lock();
        loop {
            let Input::Open { body, chunk } = &mut *input else { return Poll::Ready(()) };
            if !chunk.is_empty() {
                return Poll::Ready(());
            }
            match Pin::new(body).poll_frame(cx) {
                Poll::Pending => return Poll::Pending,
                // Trailers have no place in CGI.
                Poll::Ready(Some(Ok(frame))) => *chunk = frame.into_data().unwrap_or_default(),
                Poll::Ready(Some(Err(_))) => *input = Input::BrokenOff,
                Poll::Ready(None) => *input = Input::Ended,
            }
        }
    }

    /// The input is replaced whole, so a poisoned lock holds a good one.
    fn lock(&self) -> MutexGuard<'_, Input> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InputStream for Stdin {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        // A guest may read without having waited. Whoever brings more lets the guest run anyway.
        let _ = self.poll_ready(&mut Context::from_waker(Waker::noop()));
        match &mut *self.lock() {
            Input::Open { chunk, .. } => Ok(chunk.split_to(size.min(chunk.len()))),
            Input::Ended => Err(StreamError::Closed),
            Input::BrokenOff => {
                let broken_off = io::Error::from(io::ErrorKind::ConnectionReset);
                Err(StreamError::LastOperationFailed(broken_off.into()))
            }
        }
    }
}

impl Pollable for Stdin {
    fn ready<'a, 'b>(&'a mut self) -> Pin<Box<dyn Future<Output = ()> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(std::future::poll_fn(|cx| self.poll_ready(cx)))
    }
}

impl IsTerminal for Stdin {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdinStream for Stdin {
    /// Only WASI 0.3 asks for this.
    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        Box::new(tokio::io::empty())
    }

    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::body::body_channel;
    use super::*;

    fn is_ready(stdin: &Stdin) -> bool {
        stdin.poll_ready(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn a_body_is_read_in_the_guests_own_pieces() {
        let (mut sender, body) = body_channel();
        let mut stdin = Stdin::new(body);
        assert!(!is_ready(&stdin));
        assert!(sender.wanted());
        sender.send(Bytes::from_static(b"hello"));
        assert!(is_ready(&stdin));
        assert_eq!(stdin.read(2).unwrap(), "he");
        assert_eq!(stdin.clone().read(100).unwrap(), "llo", "another handle reads on");
        assert_eq!(stdin.read(100).unwrap(), "");
        sender.end(None);
        assert!(is_ready(&stdin));
        assert!(matches!(stdin.read(1), Err(StreamError::Closed)));
    }

    #[test]
    fn no_more_is_asked_for_before_what_came_is_read() {
        let (mut sender, body) = body_channel();
        let mut stdin = Stdin::new(body);
        assert!(!is_ready(&stdin));
        sender.send(Bytes::from_static(b"ab"));
        assert_eq!(stdin.read(1).unwrap(), "a");
        assert!(!sender.wanted());
        assert_eq!(stdin.read(1).unwrap(), "b");
        assert_eq!(stdin.read(1).unwrap(), "");
        assert!(sender.wanted());
    }

    #[test]
    fn a_body_that_breaks_off_does_not_end() {
        let (mut sender, body) = body_channel();
        let mut stdin = Stdin::new(body);
        sender.send(Bytes::from_static(b"half"));
        assert_eq!(stdin.read(4).unwrap(), "half");
        sender.abort();
        assert!(matches!(stdin.read(1), Err(StreamError::LastOperationFailed(_))));
        assert!(matches!(stdin.read(1), Err(StreamError::LastOperationFailed(_))), "and stays so");
    }

    #[test]
    fn a_request_without_a_body_is_at_its_end() {
        let mut stdin = Stdin::new(RequestBody::empty());
        assert!(is_ready(&stdin));
        assert!(matches!(stdin.read(1), Err(StreamError::Closed)));
    }
}
