//! What handlers ask a request for that `http::Request` does not tell.

use std::borrow::Cow;
use std::fmt::Display;
use std::str::FromStr;

use anyhow::Context as _;
use http::StatusCode;

use crate::{Request, Result, respond};

/// Questions to a [`Request`].
pub trait RequestExt {
    /// A parameter of the path, such as `id` where [`Router`](crate::Router) has `/items/{id}`; percent-decoded.
    ///
    /// ```
    /// use guesthouse_sdk::{Request, RequestExt, Response, Result, Router, respond};
    ///
    /// async fn item(request: Request) -> Result<Response> {
    ///     let id: u32 = request.param("id")?;
    ///     Ok(respond::text(format!("item {id}\n")))
    /// }
    ///
    /// # #[guesthouse_sdk::handler]
    /// async fn handle(request: Request) -> Result<Response> {
    ///     Router::new().get("/items/{id}", item).handle(request).await
    /// }
    /// # let harness = guesthouse_sdk::testing::Harness::new(handle);
    /// # assert_eq!(harness.get("/items/7").text(), "item 7\n");
    /// # assert_eq!(harness.get("/items/seven").status(), 400);
    /// ```
    ///
    /// # Errors
    /// It cannot be read as a `T`: the client is told so with 400. Or the route has no such parameter, which is the
    /// author's mistake.
    fn param<T: FromStr>(&self, name: &str) -> Result<T>
    where
        T::Err: Display;

    /// A parameter of the query, percent-decoded; the first of that name.
    ///
    /// ```
    /// use guesthouse_sdk::{Request, RequestExt, Response, Result, handler, respond};
    ///
    /// #[handler]
    /// async fn page(request: Request) -> Result<Response> {
    ///     let page = request.query("page")?.unwrap_or(1);
    ///     Ok(respond::text(format!("page {page}\n")))
    /// }
    /// # let harness = guesthouse_sdk::testing::Harness::new(page);
    /// # assert_eq!(harness.get("/?page=2").text(), "page 2\n");
    /// # assert_eq!(harness.get("/").text(), "page 1\n");
    /// # assert_eq!(harness.get("/?page=last").status(), 400);
    /// ```
    ///
    /// # Errors
    /// It cannot be read as a `T`: the client is told so with 400.
    fn query<T: FromStr>(&self, name: &str) -> Result<Option<T>>
    where
        T::Err: Display;

    /// A value from the body.
    ///
    /// ```
    /// use guesthouse_sdk::{Request, RequestExt, Response, Result, handler, respond};
    ///
    /// #[handler]
    /// async fn sum(request: Request) -> Result<Response> {
    ///     let numbers: Vec<i64> = request.into_json().await?;
    ///     respond::json(&numbers.iter().sum::<i64>())
    /// }
    /// # let harness = guesthouse_sdk::testing::Harness::new(sum);
    /// # assert_eq!(harness.send(Request::post("/").body("[1, 2]").unwrap()).text(), "3");
    /// # assert_eq!(harness.send(Request::post("/").body("[1, ").unwrap()).status(), 400);
    /// ```
    ///
    /// # Errors
    /// The body is not such a value in JSON: the client is told so with 400. Or it broke off.
    #[cfg(feature = "json")]
    fn into_json<T: serde::de::DeserializeOwned>(self) -> impl Future<Output = Result<T>>;
}

impl RequestExt for Request {
    fn param<T: FromStr>(&self, name: &str) -> Result<T>
    where
        T::Err: Display,
    {
        let params = self.extensions().get::<Params>();
        let value = params.and_then(|params| params.0.iter().find(|(key, _)| key == name)).map(|(_, value)| value);
        let value = value.with_context(|| format!("the route has no parameter {{{name}}}"))?;
        read(name, value)
    }

    fn query<T: FromStr>(&self, name: &str) -> Result<Option<T>>
    where
        T::Err: Display,
    {
        let query = self.uri().query().unwrap_or_default();
        let value: Option<Cow<str>> =
            form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value);
        value.map(|value| read(name, &value)).transpose()
    }

    #[cfg(feature = "json")]
    async fn into_json<T: serde::de::DeserializeOwned>(self) -> Result<T> {
        let bytes = self.into_body().bytes().await?;
        serde_json::from_slice(&bytes).map_err(|error| {
            respond::refuse(StatusCode::BAD_REQUEST, format!("the body is not what is expected in JSON: {error}"))
        })
    }
}

/// The parameters of the path, decoded. The router leaves them in the request.
#[derive(Debug, Clone)]
pub(crate) struct Params(pub(crate) Vec<(String, String)>);

fn read<T: FromStr>(name: &str, value: &str) -> Result<T>
where
    T::Err: Display,
{
    value.parse().map_err(|error| {
        respond::refuse(StatusCode::BAD_REQUEST, format!("cannot read {name} from {value:?}: {error}"))
    })
}
