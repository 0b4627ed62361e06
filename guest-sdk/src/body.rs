//! The body of a request or an answer: whole in memory, or coming piece by piece. How the pieces travel is the host's
//! affair and not here.

mod sender;

use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use anyhow::Context as _;
use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use futures_util::TryStreamExt as _;
use http_body::{Frame, SizeHint};

pub use sender::Sender;

use crate::{Error, Result};

/// The body of a [`Request`](crate::Request) or a [`Response`](crate::Response).
///
/// One that is whole is made from text or bytes with `From`; one that comes piece by piece with
/// [`from_sender`](Self::from_sender), [`from_stream`](Self::from_stream) or [`new`](Self::new). Neither the server nor
/// this crate keeps more of it in memory than a few pieces: the next one is asked for when the other side has taken the
/// last.
///
/// It is an [`http_body::Body`], so that whatever works with those (`http-body-util`, compression, ...) works with it.
///
/// ```
/// use guesthouse_sdk::Body;
///
/// let text = Body::from("Hello, world!\n");
/// let bytes = Body::from(vec![0_u8; 100]);
/// let nothing = Body::empty();
/// # assert!(nothing.is_empty() && !bytes.is_empty() && !text.is_empty());
/// ```
pub struct Body(Inner);

enum Inner {
    /// What is left of it.
    Whole(Bytes),
    Streamed(Pin<Box<dyn http_body::Body<Data = Bytes, Error = Error>>>),
}

impl Body {
    /// A body without a byte.
    ///
    /// ```
    /// assert!(guesthouse_sdk::Body::empty().is_empty());
    /// ```
    #[must_use]
    pub fn empty() -> Self {
        Self(Inner::Whole(Bytes::new()))
    }

    /// A body of another kind.
    ///
    /// ```
    /// use guesthouse_sdk::Body;
    /// use http_body_util::{BodyExt, Full};
    ///
    /// let full = Full::new(bytes::Bytes::from("Hello"));
    /// let body = Body::new(full.map_err(|never| match never {}));
    /// # let _ = body;
    /// ```
    pub fn new<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes> + 'static,
        B::Error: Into<Error>,
    {
        Self(Inner::Streamed(Box::pin(WithOurError(Box::pin(body)))))
    }

    /// A body that somebody sends piece by piece, trailers at the end if wished. It ends when the future ends; if that
    /// fails the answer breaks off, which the client can tell from an end, and the error is in the log.
    ///
    /// ```
    /// use guesthouse_sdk::{Body, Request, Response, Result, handler};
    ///
    /// #[handler]
    /// async fn countdown(_request: Request) -> Result<Response> {
    ///     let body = Body::from_sender(|mut sender| async move {
    ///         for number in (0..10).rev() {
    ///             sender.send(format!("{number}\n")).await;
    ///         }
    ///         Ok(())
    ///     });
    ///     Ok(Response::new(body))
    /// }
    /// # let answer = guesthouse_sdk::testing::Harness::new(countdown).get("/");
    /// # assert_eq!(answer.text(), "9\n8\n7\n6\n5\n4\n3\n2\n1\n0\n");
    /// ```
    pub fn from_sender<F>(send: impl FnOnce(Sender) -> F) -> Self
    where
        F: Future<Output = Result<()>> + 'static,
    {
        Self::new(sender::Sent::by(send))
    }

    /// A body of what a stream yields; an error breaks it off, as in [`from_sender`](Self::from_sender).
    ///
    /// ```
    /// use futures_util::stream;
    /// use guesthouse_sdk::{Body, Error};
    ///
    /// let pieces = ["one ", "two ", "three"];
    /// let body = Body::from_stream(stream::iter(pieces.map(Ok::<_, Error>)));
    /// # let text = guesthouse_sdk::testing::block_on(body.text()).unwrap();
    /// # assert_eq!(text, "one two three");
    /// ```
    pub fn from_stream<T, E>(stream: impl Stream<Item = Result<T, E>> + 'static) -> Self
    where
        T: Into<Bytes> + 'static,
        E: Into<Error> + 'static,
    {
        Self::new(Pieces(Box::pin(stream.map_ok(Into::into).map_err(Into::into))))
    }

    /// Whether it is known that nothing is left.
    ///
    /// ```
    /// assert!(!guesthouse_sdk::Body::from("a").is_empty());
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        http_body::Body::is_end_stream(self)
    }

    /// The next piece, of whatever size the other side sent; `None` at the end. Trailers are skipped.
    ///
    /// ```
    /// use guesthouse_sdk::{Request, Response, Result, handler};
    ///
    /// #[handler]
    /// async fn count(request: Request) -> Result<Response> {
    ///     let mut body = request.into_body();
    ///     let mut bytes = 0;
    ///     while let Some(chunk) = body.chunk().await? {
    ///         bytes += chunk.len();
    ///     }
    ///     Ok(Response::new(format!("{bytes}\n").into()))
    /// }
    /// # let request = Request::post("/").body("12345").unwrap();
    /// # assert_eq!(guesthouse_sdk::testing::Harness::new(count).send(request).text(), "5\n");
    /// ```
    ///
    /// # Errors
    /// The body broke off.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>> {
        while let Some(frame) = self.frame().await {
            if let Ok(chunk) = frame?.into_data() {
                return Ok(Some(chunk));
            }
        }
        Ok(None)
    }

    /// All of it. How much that may be, the limits of the module say.
    ///
    /// ```
    /// # guesthouse_sdk::testing::block_on(async {
    /// let bytes = guesthouse_sdk::Body::from("abc").bytes().await?;
    /// assert_eq!(&bytes[..], b"abc");
    /// # anyhow::Ok(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// The body broke off.
    pub async fn bytes(mut self) -> Result<Bytes> {
        if let Inner::Whole(bytes) = self.0 {
            return Ok(bytes);
        }
        let first = self.chunk().await?.unwrap_or_default();
        let Some(second) = self.chunk().await? else { return Ok(first) };
        let mut all = BytesMut::from(first);
        all.extend_from_slice(&second);
        while let Some(chunk) = self.chunk().await? {
            all.extend_from_slice(&chunk);
        }
        Ok(all.freeze())
    }

    /// All of it, as text.
    ///
    /// ```
    /// # guesthouse_sdk::testing::block_on(async {
    /// let text = guesthouse_sdk::Body::from("abc").text().await?;
    /// assert_eq!(text, "abc");
    /// # anyhow::Ok(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// The body broke off, or is not UTF-8.
    pub async fn text(self) -> Result<String> {
        let bytes = self.bytes().await?;
        String::from_utf8(bytes.into()).context("the body is not UTF-8")
    }

    /// A value from all of it. For the body of a request [`RequestExt::into_json`](crate::RequestExt::into_json) is
    /// better: it blames the client for a mistake.
    ///
    /// ```
    /// # guesthouse_sdk::testing::block_on(async {
    /// let numbers: Vec<u32> = guesthouse_sdk::Body::from("[1, 2]").json().await?;
    /// assert_eq!(numbers, [1, 2]);
    /// # anyhow::Ok(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// The body broke off, or is not such a value in JSON.
    #[cfg(feature = "json")]
    pub async fn json<T: serde::de::DeserializeOwned>(self) -> Result<T> {
        serde_json::from_slice(&self.bytes().await?).context("the body is not what is expected in JSON")
    }

    pub(crate) async fn frame(&mut self) -> Option<Result<Frame<Bytes>>> {
        let mut body = pin!(self);
        poll_fn(|context| http_body::Body::poll_frame(body.as_mut(), context)).await
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        match &mut self.0 {
            Inner::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Inner::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Inner::Streamed(body) => body.as_mut().poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Whole(bytes) => bytes.is_empty(),
            Inner::Streamed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Inner::Streamed(body) => body.size_hint(),
        }
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Inner::Whole(bytes) => write!(f, "Body({} bytes)", bytes.len()),
            Inner::Streamed(_) => f.write_str("Body(a stream)"),
        }
    }
}

impl From<()> for Body {
    fn from((): ()) -> Self {
        Self::empty()
    }
}

macro_rules! from_what_is_whole {
    ($($type:ty),*) => {
        $(impl From<$type> for Body {
            fn from(whole: $type) -> Self {
                Self(Inner::Whole(whole.into()))
            }
        })*
    };
}

from_what_is_whole!(Bytes, Vec<u8>, String, &'static str, &'static [u8]);

/// Another body with the error that ours has.
struct WithOurError<B>(Pin<Box<B>>);

impl<B> http_body::Body for WithOurError<B>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<Error>,
{
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        let frame = ready!(self.0.as_mut().poll_frame(context));
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

struct Pieces<S>(Pin<Box<S>>);

impl<S: Stream<Item = Result<Bytes>>> http_body::Body for Pieces<S> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        let piece = ready!(self.0.as_mut().poll_next(context));
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use anyhow::anyhow;
    use futures_util::stream;
    use http::{HeaderMap, HeaderValue};

    use super::*;
    use crate::testing::block_on;

    fn sent() -> Body {
        Body::from_sender(|mut sender| async move {
            sender.send("one ").await;
            sender.send("").await;
            sender.send("two").await;
            sender.send_trailers(HeaderMap::from_iter([(http::header::ETAG, HeaderValue::from_static("1"))])).await;
            Ok(())
        })
    }

    #[test]
    fn all_pieces_of_a_body_arrive_in_order() {
        assert_eq!(block_on(sent().text()).unwrap(), "one two");
        let stream = stream::iter(["a", "b", "c"].map(Ok::<_, Error>));
        assert_eq!(block_on(Body::from_stream(stream).text()).unwrap(), "abc");
        assert_eq!(block_on(Body::from("whole").text()).unwrap(), "whole");
        assert_eq!(block_on(Body::new(Body::empty()).text()).unwrap(), "");
    }

    #[test]
    fn trailers_come_after_the_last_piece() {
        block_on(async {
            let mut body = sent();
            let mut frames = Vec::new();
            while let Some(frame) = body.frame().await {
                frames.push(frame.unwrap());
            }
            assert_eq!(frames.len(), 3, "an empty piece is none");
            let trailers = frames.pop().unwrap().into_trailers().unwrap();
            assert_eq!(trailers["etag"], "1");
        });
    }

    #[test]
    fn a_piece_is_made_when_the_one_before_was_taken() {
        let made = Rc::new(Cell::new(0));
        let counter = Rc::clone(&made);
        let mut body = Body::from_sender(|mut sender| async move {
            loop {
                counter.set(counter.get() + 1);
                sender.send("piece").await;
            }
        });
        assert_eq!(made.get(), 0);
        block_on(async move {
            for taken in 1..=3 {
                body.chunk().await.unwrap();
                assert_eq!(made.get(), taken);
            }
        });
    }

    #[test]
    fn an_error_breaks_a_body_off() {
        let body = Body::from_sender(|mut sender| async move {
            sender.send("half").await;
            Err(anyhow!("no more"))
        });
        assert_eq!(block_on(body.bytes()).unwrap_err().to_string(), "no more");
        let body = Body::from_stream(stream::iter([Ok("half"), Err(anyhow!("no more"))]));
        assert_eq!(block_on(body.bytes()).unwrap_err().to_string(), "no more");
    }

    #[test]
    fn the_length_of_what_is_whole_is_known() {
        assert_eq!(http_body::Body::size_hint(&Body::from("four")).exact(), Some(4));
        assert_eq!(http_body::Body::size_hint(&sent()).exact(), None);
        assert_eq!(http_body::Body::size_hint(&Body::new(Body::from("four"))).exact(), Some(4));
    }

    #[test]
    fn a_body_that_is_not_text_says_so() {
        let error = block_on(Body::from(vec![0xff]).text()).unwrap_err();
        assert!(error.to_string().contains("not UTF-8"), "{error}");
    }
}
