//! The request's body on its way from the connection into the guest.
//!
//! A channel of one chunk between two owners on one thread: the connection puts in what it read when the guest has
//! asked for it, and stops reading the client until then. It never holds more than the connection put in.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame};
use wasmtime_wasi_http::Error;

/// The guest's end: an [`http_body::Body`].
#[derive(Debug)]
pub struct RequestBody(Source);

#[derive(Debug)]
enum Source {
    Empty,
    Channel(Arc<Mutex<Feed>>),
}

/// The connection's end. Dropping it without [`BodySender::end`] cuts the body off.
#[derive(Debug)]
pub struct BodySender(Arc<Mutex<Feed>>);

/// Where a body stands.
#[derive(Debug)]
enum Feed {
    /// Nothing is there. `reader` is who asked for more, if anybody did.
    Empty { reader: Option<Waker> },
    /// The guest has not taken this yet.
    Chunk(Bytes),
    /// The last chunk, not taken yet, and what comes after it.
    LastChunk(Bytes, Option<HeaderMap>),
    /// All data is taken; trailers may be left.
    Ended(Option<HeaderMap>),
    /// The client is gone, sent nonsense, or was too slow.
    CutOff,
    /// The guest has dropped its end, or it was taken from it.
    Abandoned,
}

/// A body that the connection feeds as it arrives.
#[must_use]
pub fn body_channel() -> (BodySender, RequestBody) {
    let feed = Arc::new(Mutex::new(Feed::Empty { reader: None }));
    (BodySender(Arc::clone(&feed)), RequestBody(Source::Channel(feed)))
}

impl RequestBody {
    /// The body of a request that has none.
    #[must_use]
    pub fn empty() -> RequestBody {
        RequestBody(Source::Empty)
    }

    /// Whether somebody waits for more of it.
    pub(super) fn is_awaited(&self) -> bool {
        match &self.0 {
            Source::Empty => false,
            Source::Channel(feed) => matches!(&*lock(feed), Feed::Empty { reader: Some(_) }),
        }
    }

    /// A way to take the body back from a guest that goes on living after its request.
    pub(super) fn recall(&self) -> Recall {
        Recall(match &self.0 {
            Source::Empty => None,
            Source::Channel(feed) => Some(Arc::clone(feed)),
        })
    }
}

/// Takes a body back from whoever holds it by then.
pub(super) struct Recall(Option<Arc<Mutex<Feed>>>);

impl Recall {
    /// What is unread is gone, and every further read fails; so does one that waits.
    pub(super) fn take_back(&self) {
        let Some(feed) = &self.0 else { return };
        let before = std::mem::replace(&mut *lock(feed), Feed::Abandoned);
        if let Feed::Empty { reader: Some(reader) } = before {
            reader.wake();
        }
    }
}

impl BodySender {
    /// Whether the guest has asked for data and nothing is there for it. Before the guest asks for the first time,
    /// a client that expects `100 (Continue)` need not be told to go on.
    #[must_use]
    pub fn wanted(&self) -> bool {
        matches!(&*lock(&self.0), Feed::Empty { reader: Some(_) })
    }

    /// Whether the guest has dropped the body: nobody will take what is sent from now on.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        matches!(&*lock(&self.0), Feed::Abandoned)
    }

    /// Hands over a chunk, 64 KiB at most; to be called when the body is [`BodySender::wanted`]. A chunk that comes
    /// earlier is joined to the one that waits, which costs a copy.
    pub fn send(&mut self, chunk: Bytes) {
        if chunk.is_empty() {
            return;
        }
        self.change(|feed| match feed {
            Feed::Empty { .. } => Feed::Chunk(chunk),
            Feed::Chunk(waiting) => {
                let mut joined = BytesMut::from(waiting);
                joined.extend_from_slice(&chunk);
                Feed::Chunk(joined.freeze())
            }
            over @ (Feed::LastChunk(..) | Feed::Ended(_) | Feed::CutOff | Feed::Abandoned) => over,
        });
    }

    /// The body is complete.
    pub fn end(mut self, trailers: Option<HeaderMap>) {
        self.change(|feed| match feed {
            Feed::Empty { .. } => Feed::Ended(trailers),
            Feed::Chunk(chunk) => Feed::LastChunk(chunk, trailers),
            over @ (Feed::LastChunk(..) | Feed::Ended(_) | Feed::CutOff | Feed::Abandoned) => over,
        });
    }

    /// The rest of the body will never come: the guest's next read fails.
    pub fn abort(self) {
        drop(self);
    }

    /// Changes the state and wakes whoever waits for that.
    fn change(&mut self, with: impl FnOnce(Feed) -> Feed) {
        let mut feed = lock(&self.0);
        let reader = match &mut *feed {
            Feed::Empty { reader } => reader.take(),
            _ => None,
        };
        *feed = with(std::mem::replace(&mut *feed, Feed::CutOff));
        drop(feed);
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

impl Drop for BodySender {
    fn drop(&mut self) {
        self.change(|feed| match feed {
            Feed::Empty { .. } | Feed::Chunk(_) => Feed::CutOff,
            over @ (Feed::LastChunk(..) | Feed::Ended(_) | Feed::CutOff | Feed::Abandoned) => over,
        });
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Source::Channel(feed) = &self.0 else { return Poll::Ready(None) };
        let mut feed = lock(feed);
        let (next, frame) = match std::mem::replace(&mut *feed, Feed::CutOff) {
            Feed::Empty { .. } => (Feed::Empty { reader: Some(cx.waker().clone()) }, Poll::Pending),
            Feed::Chunk(chunk) => (Feed::Empty { reader: None }, Poll::Ready(Some(Ok(Frame::data(chunk))))),
            Feed::LastChunk(chunk, trailers) => (Feed::Ended(trailers), Poll::Ready(Some(Ok(Frame::data(chunk))))),
            Feed::Ended(Some(trailers)) => (Feed::Ended(None), Poll::Ready(Some(Ok(Frame::trailers(trailers))))),
            Feed::Ended(None) => (Feed::Ended(None), Poll::Ready(None)),
            Feed::CutOff => (Feed::CutOff, Poll::Ready(Some(Err(Error::ConnectionTerminated)))),
            Feed::Abandoned => (Feed::Abandoned, Poll::Ready(Some(Err(Error::ConnectionTerminated)))),
        };
        *feed = next;
        frame
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Source::Empty => true,
            Source::Channel(feed) => matches!(&*lock(feed), Feed::Ended(None)),
        }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let Source::Channel(feed) = &self.0 {
            *lock(feed) = Feed::Abandoned;
        }
    }
}

/// A state is replaced whole, so a poisoned lock holds a good one.
fn lock(feed: &Mutex<Feed>) -> MutexGuard<'_, Feed> {
    feed.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::Wake;

    use super::*;

    fn poll(body: &mut RequestBody) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop()))
    }

    fn data(body: &mut RequestBody) -> Bytes {
        match poll(body) {
            Poll::Ready(Some(Ok(frame))) => frame.into_data().unwrap(),
            other => panic!("expected data, got {other:?}"),
        }
    }

    #[test]
    fn a_body_is_wanted_only_after_the_guest_has_asked() {
        let (sender, mut body) = body_channel();
        assert!(!sender.wanted());
        assert!(poll(&mut body).is_pending());
        assert!(sender.wanted());
    }

    #[test]
    fn a_chunk_that_waits_is_not_wanted_twice() {
        let (mut sender, mut body) = body_channel();
        assert!(poll(&mut body).is_pending());
        sender.send(Bytes::from_static(b"one"));
        assert!(!sender.wanted());
        assert_eq!(data(&mut body), "one");
        assert!(!sender.wanted(), "taken, but not asked for more");
    }

    #[test]
    fn chunks_sent_without_being_asked_for_are_joined_and_not_lost() {
        let (mut sender, mut body) = body_channel();
        sender.send(Bytes::from_static(b"one"));
        sender.send(Bytes::from_static(b"two"));
        assert_eq!(data(&mut body), "onetwo");
    }

    #[test]
    fn trailers_come_after_the_last_chunk_and_then_the_end() {
        let (mut sender, mut body) = body_channel();
        sender.send(Bytes::from_static(b"x"));
        let mut trailers = HeaderMap::new();
        trailers.insert("checksum", "1".parse().unwrap());
        sender.end(Some(trailers));
        assert_eq!(data(&mut body), "x");
        let Poll::Ready(Some(Ok(frame))) = poll(&mut body) else { panic!("trailers expected") };
        assert_eq!(frame.into_trailers().unwrap()["checksum"], "1");
        assert!(matches!(poll(&mut body), Poll::Ready(None)));
    }

    #[test]
    fn a_body_that_is_cut_off_fails_and_does_not_end() {
        let (mut sender, mut body) = body_channel();
        sender.send(Bytes::from_static(b"half"));
        sender.abort();
        assert!(matches!(poll(&mut body), Poll::Ready(Some(Err(Error::ConnectionTerminated)))));
    }

    #[test]
    fn a_body_that_is_taken_back_fails_whatever_was_sent_of_it() {
        let (mut sender, mut body) = body_channel();
        let recall = body.recall();
        sender.send(Bytes::from_static(b"late"));
        recall.take_back();
        assert!(sender.is_abandoned());
        assert!(matches!(poll(&mut body), Poll::Ready(Some(Err(Error::ConnectionTerminated)))));
        sender.end(None);
        assert!(matches!(poll(&mut body), Poll::Ready(Some(Err(Error::ConnectionTerminated)))), "also its end");
    }

    #[test]
    fn who_waits_for_a_body_that_is_taken_back_is_woken() {
        struct Woken(AtomicBool);
        impl Wake for Woken {
            fn wake(self: Arc<Self>) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let (_sender, mut body) = body_channel();
        let woken = Arc::new(Woken(AtomicBool::new(false)));
        let waker = Waker::from(Arc::clone(&woken));
        assert!(Pin::new(&mut body).poll_frame(&mut Context::from_waker(&waker)).is_pending());
        body.recall().take_back();
        assert!(woken.0.load(Ordering::Relaxed));
    }

    #[test]
    fn a_guest_that_drops_the_body_is_noticed() {
        let (sender, body) = body_channel();
        drop(body);
        assert!(sender.is_abandoned());
        assert!(!sender.wanted());
    }
}
