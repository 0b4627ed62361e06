//! Handlers under `cargo test`: natively, in milliseconds, with no server and no Wasm.
//!
//! ```
//! use guesthouse_sdk::testing::Harness;
//! use guesthouse_sdk::{Request, Response, Result, StatusCode, handler, respond};
//!
//! #[handler]
//! async fn shout(request: Request) -> Result<Response> {
//!     Ok(respond::text(request.into_body().text().await?.to_uppercase()))
//! }
//!
//! // #[test]
//! fn a_text_comes_back_in_capitals() {
//!     let answer = Harness::new(shout).send(Request::post("/").body("hello").unwrap());
//!     assert_eq!(answer.status(), StatusCode::OK);
//!     assert_eq!(answer.text(), "HELLO");
//! }
//! # a_text_comes_back_in_capitals();
//! ```
//!
//! A panic of the handler fails the test. `static` variables are those of the test's process: tests that use them run at
//! the same time, as requests do.

mod fake;

pub(crate) use self::fake::current;

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{LocalBoxFuture, join_all};
use http::{HeaderMap, StatusCode};

use self::fake::Fake;
use crate::{Body, Request, Response, Result, answer};

type Function = Rc<dyn Fn(Request) -> LocalBoxFuture<'static, Result<Response>>>;

/// A handler, and a world to run it in: variables, other servers, and a clock that goes by itself when everybody waits.
///
/// ```
/// use std::time::Duration;
///
/// use guesthouse_sdk::testing::Harness;
/// use guesthouse_sdk::{Request, fetch, respond, sleep};
///
/// let harness = Harness::new(|_request| async { fetch(Request::get("http://slow.example/").body(())?).await });
/// let harness = harness.outbound(|_request| async {
///     sleep(Duration::from_secs(3600)).await;
///     Ok(respond::text("an hour later"))
/// });
/// let answer = harness.get("/");
/// assert_eq!((answer.text(), answer.took()), ("an hour later", Duration::from_secs(3600)));
/// ```
pub struct Harness {
    handler: Function,
    outbound: Option<Function>,
    variables: Vec<(String, String)>,
}

impl Harness {
    /// A world of nothing but this handler.
    ///
    /// ```
    /// # use guesthouse_sdk::{respond, testing::Harness};
    /// let harness = Harness::new(|_request| async { Ok(respond::text("hello")) });
    /// assert_eq!(harness.get("/").text(), "hello");
    /// ```
    pub fn new<F>(handler: impl Fn(Request) -> F + 'static) -> Self
    where
        F: Future<Output = Result<Response>> + 'static,
    {
        Self { handler: Rc::new(move |request| handler(request).boxed_local()), outbound: None, variables: Vec::new() }
    }

    /// Sets a variable of the environment, for [`config`](crate::config).
    ///
    /// ```
    /// # use guesthouse_sdk::{config, respond, testing::Harness};
    /// let harness = Harness::new(|_| async { Ok(respond::text(config::required::<String>("NAME")?)) });
    /// assert_eq!(harness.variable("NAME", "Ada").get("/").text(), "Ada");
    /// ```
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Answers in place of every other server; an error is one that cannot be reached. Without it none can be.
    ///
    /// ```
    /// # use guesthouse_sdk::{Request, fetch, respond, testing::Harness};
    /// let harness = Harness::new(|_| async { fetch(Request::get("http://other/").body(())?).await })
    ///     .outbound(|request| async move { Ok(respond::text(request.uri().to_string())) });
    /// assert_eq!(harness.get("/").text(), "http://other/");
    /// ```
    #[must_use]
    pub fn outbound<F>(mut self, answer: impl Fn(Request) -> F + 'static) -> Self
    where
        F: Future<Output = Result<Response>> + 'static,
    {
        self.outbound = Some(Rc::new(move |request| answer(request).boxed_local()));
        self
    }

    /// Asks for a path, with its query.
    ///
    /// ```
    /// # use guesthouse_sdk::{respond, testing::Harness};
    /// # let harness = Harness::new(|_request| async { Ok(respond::text("hello")) });
    /// let answer = harness.get("/path?query");
    /// assert_eq!(answer.status(), 200);
    /// ```
    ///
    /// # Panics
    /// It is no path; or as [`send`](Self::send).
    #[must_use]
    pub fn get(&self, path: &str) -> Answer {
        let request = Request::get(path).body(());
        self.send(request.unwrap_or_else(|error| panic!("cannot ask for {path:?}: {error}")))
    }

    /// Sends a request, and waits until the answer is whole and what the handler has spawned has ended.
    ///
    /// ```
    /// # use guesthouse_sdk::{Request, Response, testing::Harness};
    /// let echo = Harness::new(|request: Request| async { Ok(Response::new(request.into_body())) });
    /// let request = Request::post("/").header("content-type", "text/plain").body("hello").unwrap();
    /// assert_eq!(echo.send(request).text(), "hello");
    /// ```
    ///
    /// # Panics
    /// The handler panics, or waits for what will never happen.
    #[must_use]
    pub fn send(&self, request: Request<impl Into<Body>>) -> Answer {
        self.send_all([request]).pop().expect("there is one answer to one request")
    }

    /// Sends requests at once, as they reach an instance that serves many; the answers are in the same order.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use guesthouse_sdk::{Request, respond, sleep, testing::Harness};
    /// let slow = Harness::new(|_| async {
    ///     sleep(Duration::from_secs(1)).await;
    ///     Ok(respond::text("done"))
    /// });
    /// let answers = slow.send_all(["/a", "/b"].map(|path| Request::get(path).body(()).unwrap()));
    /// assert!(answers.iter().all(|answer| answer.took() == Duration::from_secs(1)));
    /// ```
    ///
    /// # Panics
    /// As [`send`](Self::send).
    #[must_use]
    pub fn send_all<B: Into<Body>>(&self, requests: impl IntoIterator<Item = Request<B>>) -> Vec<Answer> {
        let fake = Fake::new(self.outbound.clone(), self.variables.clone());
        let calls: Vec<_> = requests.into_iter().map(|request| self.call(&fake, request.map(Into::into))).collect();
        let mut answers = fake::run(&fake, join_all(calls));
        let log = fake.log();
        answers.iter_mut().for_each(|answer| answer.log.clone_from(&log));
        answers
    }

    fn call(&self, fake: &Rc<Fake>, request: Request) -> impl Future<Output = Answer> + 'static {
        let (handler, fake) = (Rc::clone(&self.handler), Rc::clone(fake));
        async move {
            let response = answer::of(handler(request).await);
            Answer::read(response, &fake).await
        }
    }
}

/// An answer that has arrived.
///
/// ```
/// # use guesthouse_sdk::{respond, testing::Harness};
/// let answer = Harness::new(|_request| async { respond::json(&["a", "b"]) }).get("/");
/// assert_eq!(answer.status(), 200);
/// assert_eq!(answer.header("content-type"), Some("application/json"));
/// assert_eq!(answer.text(), r#"["a","b"]"#);
/// assert_eq!(answer.json::<Vec<String>>(), ["a", "b"]);
/// assert!(answer.is_whole() && answer.took().is_zero() && answer.log().is_empty());
/// ```
#[derive(Debug, Clone)]
pub struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    trailers: HeaderMap,
    is_whole: bool,
    took: Duration,
    log: String,
}

impl Answer {
    async fn read(response: Response, fake: &Fake) -> Self {
        let (head, mut body) = response.into_parts();
        let mut answer = Self {
            status: head.status,
            headers: head.headers,
            body: Bytes::new(),
            trailers: HeaderMap::new(),
            is_whole: true,
            took: Duration::ZERO,
            log: String::new(),
        };
        let mut all = Vec::new();
        while let Some(frame) = body.frame().await {
            match frame.map(http_body::Frame::into_data) {
                Ok(Ok(chunk)) => all.extend_from_slice(&chunk),
                Ok(Err(frame)) => answer.trailers = frame.into_trailers().unwrap_or_default(),
                // What is wrong is in the log already.
                Err(_) => {
                    answer.is_whole = false;
                    break;
                }
            }
        }
        answer.body = all.into();
        answer.took = fake.now();
        answer
    }

    /// The status; it can be compared with a number.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The headers.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The text of a header, the first of that name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The body, as far as it came.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The body as text.
    ///
    /// # Panics
    /// It is none.
    #[must_use]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is UTF-8")
    }

    /// The body as a value.
    ///
    /// # Panics
    /// It is not such a value in JSON.
    #[cfg(feature = "json")]
    #[must_use]
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("the body is not what is expected in JSON: {error}: {:?}", self.body))
    }

    /// The fields after the body.
    #[must_use]
    pub fn trailers(&self) -> &HeaderMap {
        &self.trailers
    }

    /// Whether the body came to its end. `false`: it broke off, and the client would have noticed.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// How long it took on the harness's clock, which goes only while everybody waits.
    #[must_use]
    pub fn took(&self) -> Duration {
        self.took
    }

    /// What this crate has written to the log meanwhile: the errors of handlers and bodies. What the handler prints
    /// itself goes where tests print.
    #[must_use]
    pub fn log(&self) -> &str {
        &self.log
    }
}

/// Runs a future that needs a handler's world, but no handler.
///
/// ```
/// let text = guesthouse_sdk::testing::block_on(guesthouse_sdk::Body::from("hello").text());
/// assert_eq!(text.unwrap(), "hello");
/// ```
///
/// # Panics
/// The future panics, or waits for what will never happen.
pub fn block_on<T: 'static>(future: impl Future<Output = T> + 'static) -> T {
    fake::run(&Fake::new(None, Vec::new()), future)
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use anyhow::{Context as _, anyhow};

    use super::*;
    use crate::{fetch, respond, sleep, spawn};

    #[test]
    fn an_error_is_500_and_its_causes_are_in_the_log_only() {
        let harness = Harness::new(|_| async { Err(anyhow!("the disk\nis full")).context("cannot save the order") });
        let answer = harness.get("/");
        assert_eq!((answer.status().as_u16(), answer.text()), (500, "Internal Server Error\n"));
        assert_eq!(answer.log(), "the handler failed: cannot save the order: the disk; is full\n");
    }

    #[test]
    fn a_refusal_is_the_clients_even_with_more_context() {
        let refuse = || Err(respond::refuse(StatusCode::CONFLICT, "somebody was faster")).context("cannot save");
        let answer = Harness::new(move |_| async move { refuse() }).get("/");
        assert_eq!((answer.status().as_u16(), answer.text()), (409, "somebody was faster\n"));
        assert_eq!(answer.log(), "");
    }

    #[test]
    fn the_length_of_an_answer_is_said_where_it_may_be() {
        let length = |status: u16| {
            let harness = Harness::new(move |_| async move {
                let mut response = Response::new("text".into());
                *response.status_mut() = status.try_into()?;
                Ok(response)
            });
            harness.get("/").header("content-length").map(str::to_owned)
        };
        assert_eq!(length(200).as_deref(), Some("4"));
        assert_eq!(length(404).as_deref(), Some("4"));
        assert_eq!((length(204), length(304)), (None, None));
        let own =
            Harness::new(|_| async { Ok(Response::builder().header("content-length", "100").body(Body::empty())?) });
        assert_eq!(own.get("/").header("content-length"), Some("100"), "an answer to HEAD says what GET would");
    }

    #[test]
    fn a_body_that_breaks_off_is_told() {
        let answer = Harness::new(|_| async {
            let body = Body::from_sender(|mut sender| async move {
                sender.send("half").await;
                Err(anyhow!("the other half is lost"))
            });
            Ok(Response::new(body))
        });
        let answer = answer.get("/");
        assert_eq!((answer.text(), answer.is_whole()), ("half", false));
        assert_eq!(answer.log(), "the body breaks off: the other half is lost\n");
    }

    #[test]
    fn other_servers_are_there_only_if_the_test_says_so() {
        let harness = Harness::new(|_| async { fetch(Request::get("http://other/").body(())?).await });
        let answer = harness.get("/");
        assert_eq!(answer.status(), 500);
        assert!(answer.log().contains("cannot send GET http://other/: "), "{}", answer.log());
    }

    #[test]
    fn what_is_spawned_goes_on_after_the_answer() {
        let is_done = Rc::new(Cell::new(false));
        let done = Rc::clone(&is_done);
        let harness = Harness::new(move |_| {
            let done = Rc::clone(&done);
            async move {
                spawn(async move {
                    sleep(Duration::from_secs(60)).await;
                    done.set(true);
                });
                Ok(respond::text("answered"))
            }
        });
        assert_eq!(harness.get("/").took(), Duration::ZERO);
        assert!(is_done.get());
    }

    #[test]
    fn sleepers_wake_in_the_order_of_their_time() {
        let order = Rc::new(RefCell::new(Vec::new()));
        let sleepers = [3, 1, 2].map(|seconds| {
            let order = Rc::clone(&order);
            async move {
                sleep(Duration::from_secs(seconds)).await;
                order.borrow_mut().push(seconds);
            }
        });
        block_on(join_all(sleepers));
        assert_eq!(*order.borrow(), [1, 2, 3]);
    }

    #[test]
    #[should_panic(expected = "waits for what will never happen")]
    fn a_handler_that_waits_for_ever_fails_the_test() {
        let _ = Harness::new(|_| std::future::pending()).get("/");
    }
}
