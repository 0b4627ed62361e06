//! The kind of guest that exports `wasi:http/incoming-handler@0.2`: a fresh instance for every request.
//!
//! How such a guest is begun, and what it hands back when it has ended. What its answer means is `call`'s.

use std::pin::Pin;
use std::sync::Arc;

use http::Request;
use wasmtime::Store;
use wasmtime::component::{Component, Linker};
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme as WasiScheme;

use super::body::RequestBody;
use super::call::Scheme;
use super::sandbox::Sandbox;

/// The interface that makes a component this kind, without its version.
pub(super) const INTERFACE: &str = "wasi:http/incoming-handler";

/// A guest that runs. Its store comes back when it has ended, because the end of the answer's body can be told from
/// a body that was left unfinished only as long as the store lives.
pub(super) type Running = Pin<Box<dyn Future<Output = (Store<Sandbox>, wasmtime::Result<()>)> + Send>>;

/// Checks all that can be checked before a request comes: every import and the handler's type.
pub(super) fn prepare(linker: &Linker<Sandbox>, component: &Component) -> wasmtime::Result<ProxyPre<Sandbox>> {
    ProxyPre::new(linker.instantiate_pre(component)?)
}

/// Begins a call. Nothing happens before the future is polled.
pub(super) fn begin(
    pre: ProxyPre<Sandbox>,
    mut store: Store<Sandbox>,
    scheme: Scheme,
    request: Request<RequestBody>,
) -> Running {
    Box::pin(async move {
        let result = handle(&pre, &mut store, scheme, request).await;
        (store, result)
    })
}

async fn handle(
    pre: &ProxyPre<Sandbox>,
    store: &mut Store<Sandbox>,
    scheme: Scheme,
    request: Request<RequestBody>,
) -> wasmtime::Result<()> {
    let scheme = match scheme {
        Scheme::Http => WasiScheme::Http,
        Scheme::Https => WasiScheme::Https,
    };
    let link = Arc::clone(&store.data().link);
    let mut http = store.data_mut().http();
    let request = http.new_incoming_request(scheme, request)?;
    let answer = http.new_response_outparam_from_callback(move |answer| link.answer(answer))?;
    let proxy = pre.instantiate_async(&mut *store).await?;
    proxy.wasi_http_incoming_handler().call_handle(&mut *store, request, answer).await
}
