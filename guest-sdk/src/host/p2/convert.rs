//! Heads of requests and answers, between `wasi:http` 0.2 and the types of `http`. Bodies are handled elsewhere.

use anyhow::{Context as _, anyhow};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, Method, Uri};
use wasip2::http::types::{
    ErrorCode, Fields, IncomingRequest, IncomingResponse, Method as WasiMethod, OutgoingBody, OutgoingRequest, Scheme,
};

use super::super::fields::{entries_of, map_of};
use super::incoming::{Incoming, Message};
use crate::{Body, Request, Response, Result};

pub(super) fn incoming_request(from: IncomingRequest) -> Result<Request> {
    let mut request = Request::new(Body::empty());
    *request.method_mut() = method(from.method())?;
    *request.uri_mut() = uri(&from)?;
    *request.headers_mut() = headers(&from.headers())?;
    let body = Body::new(Incoming::of(Message::Request(from), request.headers()));
    Ok(request.map(|_| body))
}

pub(super) fn incoming_response(from: IncomingResponse) -> Result<Response> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = from.status().try_into()?;
    *response.headers_mut() = headers(&from.headers())?;
    let body = Body::new(Incoming::of(Message::Response(from), response.headers()));
    Ok(response.map(|_| body))
}

pub(super) fn outgoing_request(head: &Parts) -> Result<(OutgoingRequest, OutgoingBody)> {
    let refused = |what: &'static str| move |()| anyhow!("the host refuses the {what}");
    let request = OutgoingRequest::new(fields(&head.headers)?);
    request.set_method(&wasi_method(&head.method)).map_err(refused("method"))?;
    request.set_scheme(head.uri.scheme_str().map(wasi_scheme).as_ref()).map_err(refused("scheme"))?;
    let authority = head.uri.authority().map(Authority::as_str);
    request.set_authority(authority).map_err(refused("authority"))?;
    let path = head.uri.path_and_query().map(PathAndQuery::as_str);
    request.set_path_with_query(path).map_err(refused("path"))?;
    let body = request.body().expect("the body is taken once");
    Ok((request, body))
}

/// Headers or trailers that come in.
pub(super) fn headers(from: &Fields) -> Result<HeaderMap> {
    map_of(from.entries())
}

/// Headers or trailers that go out.
pub(super) fn fields(from: &HeaderMap) -> Result<Fields> {
    let entries = entries_of(from);
    Fields::from_list(&entries).or_else(|refused| {
        // Which of them it was, the host does not say of a list.
        let fields = Fields::new();
        for (name, value) in &entries {
            fields.append(name, value).map_err(|refused| anyhow!("the header {name}: {refused:?}"))?;
        }
        Err(anyhow!("{refused:?}"))
    })
}

pub(super) fn told(code: ErrorCode) -> anyhow::Error {
    anyhow!("{code:?}")
}

fn uri(from: &IncomingRequest) -> Result<Uri> {
    let path = from.path_with_query().unwrap_or_else(|| "/".to_owned());
    let path = PathAndQuery::from_maybe_shared(bytes::Bytes::from(path)).context("its path")?;
    let mut uri = Uri::builder().path_and_query(path);
    // `http` has both or neither.
    if let (Some(scheme), Some(authority)) = (from.scheme(), from.authority()) {
        uri = uri.scheme(scheme_str(&scheme)).authority(authority);
    }
    uri.build().context("its URI")
}

fn scheme_str(scheme: &Scheme) -> &str {
    match scheme {
        Scheme::Http => "http",
        Scheme::Https => "https",
        Scheme::Other(other) => other,
    }
}

fn wasi_scheme(scheme: &str) -> Scheme {
    match scheme {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => Scheme::Other(other.to_owned()),
    }
}

fn method(from: WasiMethod) -> Result<Method> {
    Ok(match from {
        WasiMethod::Get => Method::GET,
        WasiMethod::Head => Method::HEAD,
        WasiMethod::Post => Method::POST,
        WasiMethod::Put => Method::PUT,
        WasiMethod::Delete => Method::DELETE,
        WasiMethod::Connect => Method::CONNECT,
        WasiMethod::Options => Method::OPTIONS,
        WasiMethod::Trace => Method::TRACE,
        WasiMethod::Patch => Method::PATCH,
        WasiMethod::Other(other) => Method::from_bytes(other.as_bytes()).context("its method")?,
    })
}

fn wasi_method(method: &Method) -> WasiMethod {
    match *method {
        Method::GET => WasiMethod::Get,
        Method::HEAD => WasiMethod::Head,
        Method::POST => WasiMethod::Post,
        Method::PUT => WasiMethod::Put,
        Method::DELETE => WasiMethod::Delete,
        Method::CONNECT => WasiMethod::Connect,
        Method::OPTIONS => WasiMethod::Options,
        Method::TRACE => WasiMethod::Trace,
        Method::PATCH => WasiMethod::Patch,
        ref other => WasiMethod::Other(other.to_string()),
    }
}
