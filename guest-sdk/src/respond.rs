//! Answers that many handlers give. Whatever is not here is made with [`Response`] itself.

use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};

use crate::{Body, Error, Response};

/// 200 with plain text.
///
/// ```
/// let response = guesthouse_sdk::respond::text("Hello, world!\n");
/// assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
/// ```
pub fn text(text: impl Into<Body>) -> Response {
    with_type("text/plain; charset=utf-8", text)
}

/// 200 with a page.
///
/// ```
/// let response = guesthouse_sdk::respond::html("<!doctype html><title>Hello</title>");
/// assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
/// ```
pub fn html(page: impl Into<Body>) -> Response {
    with_type("text/html; charset=utf-8", page)
}

/// 200 with a value in JSON.
///
/// ```
/// let response = guesthouse_sdk::respond::json(&[1, 2, 3])?;
/// assert_eq!(response.headers()["content-type"], "application/json");
/// # anyhow::Ok(())
/// ```
///
/// # Errors
/// The value cannot be written as JSON, because it has a map whose keys are no texts.
#[cfg(feature = "json")]
pub fn json<T: serde::Serialize + ?Sized>(value: &T) -> crate::Result<Response> {
    use anyhow::Context as _;

    let text = serde_json::to_vec(value).context("cannot write the answer as JSON")?;
    Ok(with_type("application/json", text))
}

/// A status with its own name as the text, and without one if it has no body.
///
/// ```
/// use guesthouse_sdk::{StatusCode, respond};
///
/// let response = respond::status(StatusCode::NOT_FOUND);
/// assert_eq!(response.status(), 404);
/// ```
#[must_use]
pub fn status(status: StatusCode) -> Response {
    let has_body = !status.is_informational() && status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED;
    let mut response = match status.canonical_reason() {
        Some(reason) if has_body => text(format!("{reason}\n")),
        _ => Response::new(Body::empty()),
    };
    *response.status_mut() = status;
    response
}

/// An error that is the client's: it is answered with this status and text, and not logged. Every other error is
/// answered with 500, and its text is for the log alone.
///
/// ```
/// use guesthouse_sdk::{Request, Response, Result, StatusCode, handler, respond};
///
/// #[handler]
/// async fn withdraw(request: Request) -> Result<Response> {
///     let amount = request.into_body().text().await?;
///     let amount: u32 = amount
///         .trim()
///         .parse()
///         .map_err(|_| respond::refuse(StatusCode::BAD_REQUEST, "the amount is no whole number"))?;
///     Ok(respond::text(format!("here are {amount}\n")))
/// }
/// # let request = Request::post("/").body("much").unwrap();
/// # let answer = guesthouse_sdk::testing::Harness::new(withdraw).send(request);
/// # assert_eq!((answer.status(), answer.text()), (StatusCode::BAD_REQUEST, "the amount is no whole number\n"));
/// ```
pub fn refuse(status: StatusCode, text: impl Into<String>) -> Error {
    Refusal { status, text: text.into() }.into()
}

/// See [`refuse`].
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    text: String,
}

fn with_type(content_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
