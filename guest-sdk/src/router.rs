//! Which function answers which method and path. The matching of paths is `matchit`'s.

use std::fmt;

use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use http::header::ALLOW;
use http::{HeaderValue, Method, StatusCode};
use percent_encoding::percent_decode_str;

use crate::request::Params;
use crate::{Request, Response, Result, respond};

type Handler = Box<dyn Fn(Request) -> LocalBoxFuture<'static, Result<Response>> + Send + Sync>;

/// Functions by method and path. A handler of its own, as it were: [`handle`](Self::handle) answers a request.
///
/// A path is literal but for `{name}`, which takes one segment, and `{*name}` at the end, which takes the rest;
/// [`RequestExt::param`](crate::RequestExt::param) tells what they took. What is literal goes before what is not. A path
/// that is not there is answered with 404, a method that is not there with 405; `HEAD` is answered as `GET`.
///
/// ```
/// use guesthouse_sdk::{Request, RequestExt, Response, Result, Router, handler, respond};
///
/// #[handler]
/// async fn handle(request: Request) -> Result<Response> {
///     Router::new().get("/", home).get("/greet/{name}", greet).handle(request).await
/// }
///
/// async fn home(_request: Request) -> Result<Response> {
///     Ok(respond::text("Try /greet/somebody\n"))
/// }
///
/// async fn greet(request: Request) -> Result<Response> {
///     let name: String = request.param("name")?;
///     Ok(respond::text(format!("Hello, {name}!\n")))
/// }
/// # let harness = guesthouse_sdk::testing::Harness::new(handle);
/// # assert_eq!(harness.get("/greet/K%C3%A4the").text(), "Hello, Käthe!\n");
/// ```
///
/// An instance that serves many requests may keep it in a `static` with `LazyLock`.
#[derive(Default)]
pub struct Router {
    /// Index of `paths`, by path.
    matcher: matchit::Router<usize>,
    paths: Vec<Path>,
}

struct Path {
    path: String,
    handlers: Vec<(Method, Handler)>,
}

impl Router {
    /// A router without a path.
    ///
    /// ```
    /// # use guesthouse_sdk::{Request, Router, testing::Harness};
    /// let harness = Harness::new(|request| async { Router::new().handle(request).await });
    /// assert_eq!(harness.get("/").status(), 404);
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers GET, and HEAD, on this path.
    ///
    /// ```
    /// # use guesthouse_sdk::{Router, respond, testing::Harness};
    /// # let harness = Harness::new(|request| async move {
    /// Router::new().get("/", |_| async { Ok(respond::text("hello")) })
    /// # .handle(request).await });
    /// # assert_eq!(harness.get("/").text(), "hello");
    /// ```
    ///
    /// # Panics
    /// As [`on`](Self::on).
    #[must_use]
    pub fn get<F>(self, path: &str, handler: impl Fn(Request) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Response>> + 'static,
    {
        self.on(Method::GET, path, handler)
    }

    /// Answers POST on this path; see [`get`](Self::get).
    ///
    /// # Panics
    /// As [`on`](Self::on).
    #[must_use]
    pub fn post<F>(self, path: &str, handler: impl Fn(Request) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Response>> + 'static,
    {
        self.on(Method::POST, path, handler)
    }

    /// Answers PUT on this path; see [`get`](Self::get).
    ///
    /// # Panics
    /// As [`on`](Self::on).
    #[must_use]
    pub fn put<F>(self, path: &str, handler: impl Fn(Request) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Response>> + 'static,
    {
        self.on(Method::PUT, path, handler)
    }

    /// Answers DELETE on this path; see [`get`](Self::get).
    ///
    /// # Panics
    /// As [`on`](Self::on).
    #[must_use]
    pub fn delete<F>(self, path: &str, handler: impl Fn(Request) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Response>> + 'static,
    {
        self.on(Method::DELETE, path, handler)
    }

    /// Answers a method on a path; of two handlers for the same, the last one counts.
    ///
    /// ```
    /// # use guesthouse_sdk::{Request, Router, respond, testing::Harness};
    /// use guesthouse_sdk::Method;
    /// # let harness = Harness::new(|request| async move {
    /// Router::new().on(Method::PATCH, "/", |_| async { Ok(respond::text("patched")) })
    /// # .handle(request).await });
    /// # assert_eq!(harness.send(Request::patch("/").body(()).unwrap()).text(), "patched");
    /// # assert_eq!(harness.get("/").status(), 405);
    /// ```
    ///
    /// # Panics
    /// The path is malformed, or takes the same as another one under another name.
    #[must_use]
    pub fn on<F>(mut self, method: Method, path: &str, handler: impl Fn(Request) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Response>> + 'static,
    {
        let handler: Handler = Box::new(move |request| handler(request).boxed_local());
        let index = self.paths.iter().position(|known| known.path == path).unwrap_or_else(|| {
            let inserted = self.matcher.insert(path, self.paths.len());
            inserted.unwrap_or_else(|error| panic!("cannot route {path:?}: {error}"));
            self.paths.push(Path { path: path.to_owned(), handlers: Vec::new() });
            self.paths.len() - 1
        });
        let handlers = &mut self.paths[index].handlers;
        handlers.retain(|(known, _)| *known != method);
        handlers.push((method, handler));
        self
    }

    /// Answers a request.
    ///
    /// # Errors
    /// The handler's own.
    pub async fn handle(&self, mut request: Request) -> Result<Response> {
        let Ok(matched) = self.matcher.at(request.uri().path()) else {
            return Ok(respond::status(StatusCode::NOT_FOUND));
        };
        let handlers = &self.paths[*matched.value].handlers;
        let decoded = matched.params.iter().map(|(name, value)| Ok((name.to_owned(), decoded(value)?)));
        let params = Params(decoded.collect::<Result<_>>()?);
        let Some(handler) = handler_for(request.method(), handlers) else {
            return Ok(not_allowed(handlers));
        };
        request.extensions_mut().insert(params);
        handler(request).await
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.paths.iter().map(|path| &path.path)).finish()
    }
}

fn handler_for<'a>(method: &Method, handlers: &'a [(Method, Handler)]) -> Option<&'a Handler> {
    let exact = |wanted: &Method| handlers.iter().find(|(method, _)| method == wanted).map(|(_, handler)| handler);
    exact(method).or_else(|| exact(&Method::GET).filter(|_| method == Method::HEAD))
}

fn not_allowed(handlers: &[(Method, Handler)]) -> Response {
    let mut allowed: Vec<&str> = handlers.iter().map(|(method, _)| method.as_str()).collect();
    if allowed.contains(&"GET") && !allowed.contains(&"HEAD") {
        allowed.push("HEAD");
    }
    let mut response = respond::status(StatusCode::METHOD_NOT_ALLOWED);
    let allowed = HeaderValue::try_from(allowed.join(", ")).expect("methods are tokens");
    response.headers_mut().insert(ALLOW, allowed);
    response
}

fn decoded(value: &str) -> Result<String> {
    let decoded = percent_decode_str(value).decode_utf8();
    let decoded = decoded.map_err(|_| respond::refuse(StatusCode::BAD_REQUEST, "the path is not UTF-8"))?;
    Ok(decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RequestExt;
    use crate::testing::Harness;

    async fn path(request: Request) -> Result<Response> {
        Ok(respond::text(format!("{} {}", request.method(), request.uri().path())))
    }

    async fn rest(request: Request) -> Result<Response> {
        Ok(respond::text(request.param::<String>("rest")?))
    }

    async fn mistaken(request: Request) -> Result<Response> {
        Ok(respond::text(request.param::<String>("nmae")?))
    }

    fn harness() -> Harness {
        let router = Router::new()
            .get("/", path)
            .get("/items/{id}", path)
            .delete("/items/{id}", path)
            .get("/items/new", |_| async { Ok(respond::text("literal")) })
            .get("/files/{*rest}", rest)
            .get("/mistaken/{name}", mistaken);
        let router = std::rc::Rc::new(router);
        Harness::new(move |request| {
            let router = std::rc::Rc::clone(&router);
            async move { router.handle(request).await }
        })
    }

    #[test]
    fn a_request_goes_to_the_handler_of_its_path_and_method() {
        assert_eq!(harness().get("/").text(), "GET /");
        assert_eq!(harness().get("/items/7").text(), "GET /items/7");
        let delete = Request::delete("/items/7").body(()).unwrap();
        assert_eq!(harness().send(delete).text(), "DELETE /items/7");
    }

    #[test]
    fn what_is_literal_goes_first() {
        assert_eq!(harness().get("/items/new").text(), "literal");
    }

    #[test]
    fn parameters_are_decoded_after_the_path_was_cut() {
        assert_eq!(harness().get("/files/a%20b/c%2Fd").text(), "a b/c/d");
        assert_eq!(harness().get("/files/%ff").status(), 400);
    }

    #[test]
    fn a_path_that_is_not_there_is_404() {
        assert_eq!(harness().get("/items").status(), 404);
        assert_eq!(harness().get("/items/1/2").status(), 404);
    }

    #[test]
    fn a_method_that_is_not_there_is_405_with_those_that_are() {
        let answer = harness().send(Request::post("/items/7").body(()).unwrap());
        assert_eq!((answer.status().as_u16(), answer.header("allow")), (405, Some("GET, DELETE, HEAD")));
    }

    #[test]
    fn head_is_answered_as_get() {
        let answer = harness().send(Request::head("/items/7").body(()).unwrap());
        assert_eq!(answer.text(), "HEAD /items/7");
    }

    #[test]
    fn a_parameter_that_the_route_does_not_have_is_the_authors_mistake() {
        let answer = harness().get("/mistaken/x");
        assert_eq!(answer.status(), 500);
        assert!(answer.log().contains("the route has no parameter {nmae}"), "{}", answer.log());
    }

    #[test]
    #[should_panic(expected = "cannot route \"/items/{\"")]
    fn a_malformed_path_is_told_at_once() {
        let _ = Router::new().get("/items/{", path);
    }
}
