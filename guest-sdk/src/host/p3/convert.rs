//! Requests that come in and answers that go out, between `wasi:http` 0.3 and the types of `http`: seven or eight calls into
//! the host for each, where the conversions of `wasip3` make twelve. What a handler asks of others is not converted here.

use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, Uri};
use http_body::{Frame, SizeHint};
use wasip3::http::types::{ErrorCode, Fields, Request as WasiRequest, Response as WasiResponse};
use wasip3::http_compat::{BodyWriter, IncomingRequestBody};

use super::super::fields::{entries_of, map_of};
use super::told;
use crate::{Body, Request, Result};

pub(super) fn incoming_request(from: WasiRequest) -> Result<Request> {
    let mut request = Request::new(Body::empty());
    *request.method_mut() = from.get_method().try_into().context("its method")?;
    *request.uri_mut() = uri(&from)?;
    *request.headers_mut() = map_of(from.get_headers().copy_all())?;
    let length = request.headers().get(http::header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()).and_then(|length| length.parse().ok());
    Ok(request.map(|_| Body::new(Incoming::Unread { from, length })))
}

fn uri(from: &WasiRequest) -> Result<Uri> {
    let mut uri = Uri::builder();
    if let Some(scheme) = from.get_scheme() {
        uri = uri.scheme(scheme);
    }
    if let Some(authority) = from.get_authority() {
        uri = uri.authority(authority);
    }
    if let Some(path) = from.get_path_with_query() {
        uri = uri.path_and_query(path);
    }
    uri.build().context("its URI")
}

/// Headers that go out.
pub(super) fn fields(from: &HeaderMap) -> Result<Fields> {
    Fields::from_list(&entries_of(from)).map_err(|refused| anyhow!("{refused:?}"))
}

/// An answer with these headers. Its body is sent by a task of its own.
pub(super) fn outgoing_response(status: StatusCode, headers: Fields, body: Body) -> WasiResponse {
    let (writer, contents, ended) = BodyWriter::new();
    let (response, _sent) = WasiResponse::new(headers, Some(contents), ended);
    // Which it is unless it is said.
    if status != StatusCode::OK {
        response.set_status_code(status.as_u16()).expect("a `StatusCode` is one");
    }
    wasip3::spawn_local(async move {
        // Who does not want the rest has its reasons.
        let _ = writer.send_http_body(&mut pin!(body)).await;
    });
    response
}

/// The body of a request. It is taken when it is first read: most handlers never do, and it is several calls into the host.
enum Incoming {
    Unread { from: WasiRequest, length: Option<u64> },
    Read(IncomingRequestBody),
    Lost,
}

impl Incoming {
    fn begin(&mut self) -> Result<&mut IncomingRequestBody, ErrorCode> {
        if let Self::Unread { .. } = self
            && let Self::Unread { from, .. } = std::mem::replace(self, Self::Lost)
        {
            *self = Self::Read(IncomingRequestBody::new(from)?);
        }
        match self {
            Self::Read(body) => Ok(body),
            Self::Unread { .. } | Self::Lost => Err(ErrorCode::InternalError(None)),
        }
    }
}

impl http_body::Body for Incoming {
    type Data = Bytes;
    type Error = crate::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        let body = self.begin().map_err(told)?;
        Pin::new(body).poll_frame(context).map_err(told)
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Read(body) => body.is_end_stream(),
            Self::Unread { .. } | Self::Lost => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Read(body) => body.size_hint(),
            Self::Unread { length, .. } => {
                let mut hint = SizeHint::new();
                length.inspect(|length| hint.set_upper(*length));
                hint
            }
            Self::Lost => SizeHint::new(),
        }
    }
}
