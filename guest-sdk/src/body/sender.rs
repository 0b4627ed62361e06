//! The body that a future sends. The future runs as a part of the body, when the next piece is asked for: so it is as
//! fast as the reader, and ends with it.

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use http::HeaderMap;
use http_body::Frame;

use crate::{Error, Result};

/// What is on its way from the sender to the reader: one piece at most.
type Slot = Rc<RefCell<Option<Frame<Bytes>>>>;

/// Sends the pieces of a body; see [`Body::from_sender`](super::Body::from_sender).
///
/// ```
/// use guesthouse_sdk::Body;
///
/// let body = Body::from_sender(|mut sender| async move {
///     sender.send("a piece").await;
///     Ok(())
/// });
/// # assert_eq!(guesthouse_sdk::testing::block_on(body.text()).unwrap(), "a piece");
/// ```
pub struct Sender(Slot);

impl Sender {
    /// Sends a piece, and waits until the other side has taken it. If the client has gone away it never comes back: the
    /// future that sends is dropped there.
    ///
    /// ```
    /// # let body = guesthouse_sdk::Body::from_sender(|mut sender| async move {
    /// sender.send("text").await;
    /// sender.send(vec![1, 2, 3]).await;
    /// # Ok(())
    /// # });
    /// # assert_eq!(guesthouse_sdk::testing::block_on(body.bytes()).unwrap().len(), 7);
    /// ```
    pub async fn send(&mut self, piece: impl Into<Bytes>) {
        let piece = piece.into();
        // Chunked, an empty piece would be the end.
        if !piece.is_empty() {
            self.send_frame(Frame::data(piece)).await;
        }
    }

    /// Sends the fields after the body, as the last thing.
    ///
    /// ```
    /// # use guesthouse_sdk::http::{HeaderMap, HeaderValue};
    /// # let body = guesthouse_sdk::Body::from_sender(|mut sender| async move {
    /// sender.send("text").await;
    /// let mut trailers = HeaderMap::new();
    /// trailers.insert("server-timing", HeaderValue::from_static("total;dur=1"));
    /// sender.send_trailers(trailers).await;
    /// # Ok(())
    /// # });
    /// # assert_eq!(guesthouse_sdk::testing::block_on(body.bytes()).unwrap().len(), 4);
    /// ```
    pub async fn send_trailers(&mut self, trailers: HeaderMap) {
        self.send_frame(Frame::trailers(trailers)).await;
    }

    async fn send_frame(&mut self, frame: Frame<Bytes>) {
        *self.0.borrow_mut() = Some(frame);
        // The reader polls the future that this is a part of, so that nobody needs to be woken.
        poll_fn(|_| if self.0.borrow().is_none() { Poll::Ready(()) } else { Poll::Pending }).await;
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender")
    }
}

/// The reader's end, with the future that sends.
pub(super) struct Sent {
    slot: Slot,
    state: State,
}

enum State {
    Sending(LocalBoxFuture<'static, Result<()>>),
    /// The future has ended; the slot may still be full.
    Ending(Result<()>),
}

impl Sent {
    pub(super) fn by<F>(send: impl FnOnce(Sender) -> F) -> Self
    where
        F: Future<Output = Result<()>> + 'static,
    {
        let slot = Slot::default();
        let future = Box::pin(send(Sender(Rc::clone(&slot))));
        Self { slot, state: State::Sending(future) }
    }
}

impl http_body::Body for Sent {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        if let State::Sending(future) = &mut self.state
            && let Poll::Ready(outcome) = future.as_mut().poll(context)
        {
            self.state = State::Ending(outcome);
        }
        if let Some(frame) = self.slot.take() {
            return Poll::Ready(Some(Ok(frame)));
        }
        match &mut self.state {
            State::Sending(_) => Poll::Pending,
            State::Ending(outcome) => Poll::Ready(std::mem::replace(outcome, Ok(())).err().map(Err)),
        }
    }
}
