//! Request handlers in Rust, for Guesthouse and every other host of `wasi:http`.
//!
//! A handler is one function. It becomes a WebAssembly component, which a server runs in a sandbox:
//!
//! ```
//! use guesthouse_sdk::{Request, Response, Result, handler, respond};
//!
//! #[handler]
//! async fn hello(request: Request) -> Result<Response> {
//!     Ok(respond::text(format!("You asked for {}\n", request.uri().path())))
//! }
//! # assert_eq!(guesthouse_sdk::testing::Harness::new(hello).get("/there").text(), "You asked for /there\n");
//! ```
//!
//! ```toml
//! [lib]
//! crate-type = ["cdylib"]
//!
//! [dependencies]
//! guesthouse-sdk = "0.1"
//! ```
//!
//! ```console
//! $ rustup target add wasm32-wasip2
//! $ cargo build --release --target wasm32-wasip2
//! ```
//!
//! The types of requests and answers are those of the crate [`http`], with a [`Body`] that is whole or a stream. Beside
//! them there is what handlers need and `std` does not have on a server: a [`Router`], requests to other servers with
//! [`fetch`], [`sleep`], [`spawn`], the operator's [`config`], and [`testing`]. What `std` has (files, clocks, random
//! numbers for `HashMap`) works as everywhere, as far as the operator allows it.
//!
//! # Errors and panics
//!
//! An `Err` is answered with 500. What the client reads says nothing of the inside; the error with all of its causes is
//! on standard error, and so in the server's log. What is the client's fault is answered as such with
//! [`respond::refuse`], and so by all of [`RequestExt`].
//!
//! A panic ends the request and its instance. Its message and its place are in the log, also with `panic = "abort"`.
//!
//! # State, and who shares it
//!
//! By default a request has an instance of its own, so a `static` is as new as the request. A module that keeps state
//! says so:
//!
//! ```
//! use std::sync::atomic::{AtomicU64, Ordering};
//!
//! use guesthouse_sdk::{Request, Response, Result, handler, respond};
//!
//! static VISITS: AtomicU64 = AtomicU64::new(0);
//!
//! #[handler(thread_safe = false)]
//! async fn count(_request: Request) -> Result<Response> {
//!     let visits = VISITS.fetch_add(1, Ordering::Relaxed) + 1;
//!     Ok(respond::text(format!("{visits}\n")))
//! }
//! # assert_eq!(guesthouse_sdk::testing::Harness::new(count).get("/").text(), "1\n");
//! ```
//!
//! Guesthouse then confines it: an instance stays in a process of its own and serves one request after the other. Where
//! the pool of the module has several processes, each has its own state. Other hosts do not know the mark.
//!
//! # 0.2 and 0.3
//!
//! `#[handler]` makes a component of `wasi:http` 0.2, which every host serves. With the feature `p3`, `#[handler(p3)]`
//! makes one of 0.3 of the same function: there one instance serves many requests *at once*, as tasks of one thread. Its
//! `static` variables are shared by all of them, so what holds across an `await` must hold for all; a lock of `std` must
//! not be held there. This crate itself keeps nothing between requests.
//!
//! # What it is built on
//!
//! On the bindings `wasip2` and `wasip3` and nothing above them. `wstd`, the async standard library for WASI 0.2, was
//! the alternative; it has no 0.3, traps (and so loses a resident instance) when a client hangs up, and its client
//! begins to read an answer only when the request was sent whole, so that two streams deadlock. For 0.2 this crate adds
//! an executor, which is that of `futures` and a list of pollables; for 0.3 the conversions of `wasip3` are used, but for
//! the request that comes in and its answer, which take fewer calls into the host here. Both stand behind one
//! trait, beside a third, which is [`testing`].

#![warn(missing_docs)]

mod answer;
mod body;
pub mod config;
mod fetch;
mod host;
mod request;
pub mod respond;
mod router;
mod task;
#[cfg(not(target_os = "wasi"))]
pub mod testing;
mod time;

pub use anyhow::{Context, Error};
pub use bytes::Bytes;
pub use http::{self, HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};

pub use body::{Body, Sender};
pub use fetch::fetch;
pub use request::RequestExt;
pub use router::Router;
pub use task::spawn;
pub use time::{sleep, timeout};

/// Makes a function what the module answers requests with.
///
/// The function is an `async fn(`[`Request`]`) -> `[`Result`]`<`[`Response`]`>`, and stays callable as it is. A module
/// has one handler; a [`Router`] makes several functions of it.
///
/// ```
/// use guesthouse_sdk::{Request, Response, Result, handler, respond};
///
/// #[handler]
/// async fn hello(_request: Request) -> Result<Response> {
///     Ok(respond::text("Hello, world!\n"))
/// }
/// ```
///
/// - `#[handler(thread_safe = false)]`: the module keeps state between requests; see [the overview](crate#state-and-who-shares-it).
/// - `#[handler(p3)]`: a component of `wasi:http` 0.3 in place of 0.2. Needs the feature `p3`.
///
/// The attribute also writes what Guesthouse tells of a module: whether it is thread-safe, and the version and the
/// description in the author's `Cargo.toml`.
///
/// What cannot be a handler is an error, on this machine as for Wasm:
///
/// ```compile_fail
/// #[guesthouse_sdk::handler]
/// async fn hello() {}
/// ```
///
/// ```compile_fail
/// #[guesthouse_sdk::handler(threadsafe = false)]
/// async fn hello(_: guesthouse_sdk::Request) -> guesthouse_sdk::Result<guesthouse_sdk::Response> {
///     Ok(guesthouse_sdk::respond::text("Hello"))
/// }
/// ```
pub use guesthouse_sdk_macros::handler;

/// What handlers come back with; its error holds any other, with [`Context`].
///
/// ```
/// use guesthouse_sdk::{Context, Result};
///
/// fn number(text: &str) -> Result<u32> {
///     text.parse().with_context(|| format!("cannot count to {text:?}"))
/// }
/// # assert!(number("x").is_err());
/// ```
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A request: `http::Request` with a [`Body`]. The URI has the scheme and the authority that the client used, if the
/// host tells them.
///
/// ```
/// use guesthouse_sdk::{Body, Request};
///
/// let request: Request = Request::post("http://localhost/path").body(Body::from("text"))?;
/// # guesthouse_sdk::Result::<()>::Ok(())
/// ```
pub type Request<B = Body> = http::Request<B>;

/// An answer: `http::Response` with a [`Body`]. [`respond`] has those that are given most often.
///
/// ```
/// use guesthouse_sdk::{Response, Result};
///
/// fn moved() -> Result<Response> {
///     Ok(Response::builder().status(308).header("location", "/new").body(().into())?)
/// }
/// # assert_eq!(moved().unwrap().status(), 308);
/// ```
pub type Response<B = Body> = http::Response<B>;

/// For what `handler` writes, and for nobody else.
#[doc(hidden)]
pub mod __private {
    #[cfg(target_os = "wasi")]
    pub use wasip2;
    #[cfg(all(target_os = "wasi", feature = "p3"))]
    pub use wasip3;

    #[cfg(target_os = "wasi")]
    pub use crate::host::p2;
    #[cfg(all(target_os = "wasi", feature = "p3"))]
    pub use crate::host::p3;

    /// Compiles with handlers only.
    pub fn is_handler<F>(_handler: impl Fn(crate::Request) -> F + 'static)
    where
        F: Future<Output = crate::Result<crate::Response>> + 'static,
    {
    }
}

#[cfg(not(feature = "p3"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __export_p3 {
    ($handler:path) => {
        ::core::compile_error!(
            "#[handler(p3)] needs the feature p3 of guesthouse-sdk: write features = [\"p3\"] in Cargo.toml"
        );
    };
}

/// The examples of the texts beside the sources compile too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
#[doc = include_str!("../../docs/handlers-in-rust.md")]
struct Texts;
