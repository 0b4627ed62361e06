//! Requests to other servers. How they travel is the host's affair; to which servers, the operator's.

use anyhow::{Context as _, bail};
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderValue, Method, Uri};

use crate::answer::Reported;
use crate::{Body, Request, Response, Result, host};

/// Sends a request to another server. It ends when the head of the answer is there; the body of the request may still
/// be on its way then, and that of the answer comes as it is read.
///
/// The operator says which servers a module may reach. Redirects are answers like any other. To wait only for so long,
/// see [`timeout`](crate::timeout).
///
/// ```
/// use guesthouse_sdk::{Body, Request, Response, Result, fetch, handler};
///
/// /// Hands on what another server says, as it comes.
/// #[handler]
/// async fn relay(_request: Request) -> Result<Response> {
///     let answer = fetch(Request::get("http://news.example/today").body(Body::empty())?).await?;
///     Ok(Response::new(answer.into_body()))
/// }
/// # let harness = guesthouse_sdk::testing::Harness::new(relay)
/// #     .outbound(|_| async { Ok(guesthouse_sdk::respond::text("nothing new\n")) });
/// # assert_eq!(harness.get("/").text(), "nothing new\n");
/// ```
///
/// # Errors
/// The URI is not whole; or the server cannot be reached, may not be reached, or gives no answer.
pub async fn fetch<B: Into<Body>>(request: Request<B>) -> Result<Response> {
    let mut request = request.map(Into::into);
    let what = format!("cannot send {} {}", request.method(), request.uri());
    check(request.uri()).context(what.clone())?;
    complete(&mut request);
    host::send(request).await.context(what)
}

fn check(uri: &Uri) -> Result<()> {
    if uri.scheme().is_none() || uri.authority().is_none() {
        bail!("the URI does not say where to: write it whole, as in http://localhost:8080/path");
    }
    Ok(())
}

/// Says what is known of the body, and leaves to the URI what `Host` would say: a request that is handed on has the
/// one of the server it came to.
fn complete(request: &mut Request) {
    let length = http_body::Body::size_hint(request.body()).exact();
    let has_none = length == Some(0) && (request.method() == Method::GET || request.method() == Method::HEAD);
    let headers = request.headers_mut();
    headers.remove(HOST);
    match length {
        Some(length) if !has_none && !headers.contains_key(TRANSFER_ENCODING) => {
            headers.entry(CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(length));
        }
        Some(_) => {}
        None => {
            let body = std::mem::take(request.body_mut());
            *request.body_mut() = Body::new(Reported(body));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;
    use crate::respond;
    use crate::testing::Harness;

    /// Fetches what it is asked for, and keeps the heads of what is sent.
    fn relay() -> (Harness, Rc<RefCell<Vec<Request<()>>>>) {
        let sent = Rc::new(RefCell::new(Vec::new()));
        let keep = Rc::clone(&sent);
        let harness = Harness::new(|request: Request| async move {
            let (mut head, body) = request.into_parts();
            head.uri = head.headers["x-to"].to_str()?.parse()?;
            fetch(Request::from_parts(head, body)).await
        });
        let harness = harness.outbound(move |request: Request| {
            let (head, body) = request.into_parts();
            keep.borrow_mut().push(Request::from_parts(head, ()));
            async move { Ok(respond::text(body.bytes().await?)) }
        });
        (harness, sent)
    }

    #[test]
    fn a_request_is_sent_with_its_body_and_its_length() {
        let (harness, sent) = relay();
        let request = Request::post("/").header("x-to", "http://upstream/path?q").header("host", "here");
        assert_eq!(harness.send(request.body("body").unwrap()).text(), "body");
        let sent = &sent.borrow()[0];
        assert_eq!(sent.uri(), "http://upstream/path?q");
        assert_eq!(sent.headers()["content-length"], "4");
        assert!(!sent.headers().contains_key("host"), "the URI says it");
    }

    #[test]
    fn a_request_without_a_body_has_no_length() {
        let (harness, sent) = relay();
        let request = Request::get("/").header("x-to", "http://upstream/");
        assert_eq!(harness.send(request.body(()).unwrap()).status(), 200);
        assert!(!sent.borrow()[0].headers().contains_key("content-length"));
    }

    #[test]
    fn a_uri_that_is_not_whole_is_told_with_what_to_do() {
        let (harness, sent) = relay();
        let answer = harness.send(Request::get("/").header("x-to", "/path").body(()).unwrap());
        assert_eq!(answer.status(), 500);
        assert!(answer.log().contains("cannot send GET /path: the URI does not say where to"), "{}", answer.log());
        assert!(sent.borrow().is_empty());
    }
}
