//! The kind of guest that exports `wasi:http/incoming-handler@0.2`: one request at a time, in a fresh instance or in one
//! that has served before.
//!
//! How such a guest is begun, and what it hands back when it has ended. What its answer means, and whether it may serve
//! again, is `call`'s.

use std::pin::Pin;
use std::sync::Arc;

use http::Request;
use wasmtime::component::{Component, Linker};
use wasmtime::{Engine, Store};
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme as WasiScheme;
use wasmtime_wasi_http::p2::bindings::{Proxy, ProxyPre};

use super::body::RequestBody;
use super::call::Scheme;
use super::fault::Fault;
use super::link::Link;
use super::sandbox::{self, Grants, Sandbox};

/// An instance with everything that it holds of the host.
pub(super) struct Instance {
    store: Store<Sandbox>,
    /// Its exports; `None` until its first request runs, so that a guest's start counts as its own time.
    proxy: Option<Proxy>,
    /// How many requests it has begun.
    requests: u64,
}

/// A guest that runs. Its instance comes back when it has ended: the end of the answer's body can be told from a body
/// that was left unfinished only as long as the instance lives, and another request may be served by it.
pub(super) type Running = Pin<Box<dyn Future<Output = (Instance, wasmtime::Result<()>)> + Send>>;

impl Instance {
    /// One that serves its first request.
    pub(super) fn new(engine: &Engine, grants: Arc<Grants>, request: sandbox::Request) -> Instance {
        Instance { store: Sandbox::serving_one(engine, grants, request), proxy: None, requests: 1 }
    }

    /// Serves one more.
    pub(super) fn again(mut self, request: sandbox::Request) -> Instance {
        Sandbox::begin(&mut self.store, request);
        self.requests = self.requests.saturating_add(1);
        self
    }

    /// How many requests it has begun.
    pub(super) fn requests(&self) -> u64 {
        self.requests
    }

    /// What a kind of guest runs in that has no exports to keep.
    pub(super) fn store(&mut self) -> &mut Store<Sandbox> {
        &mut self.store
    }

    pub(super) fn sandbox(&mut self) -> &mut Sandbox {
        self.store.data_mut()
    }

    async fn handle(
        &mut self,
        pre: &ProxyPre<Sandbox>,
        link: Arc<Link>,
        scheme: Scheme,
        request: Request<RequestBody>,
    ) -> wasmtime::Result<()> {
        let scheme = match scheme {
            Scheme::Http => WasiScheme::Http,
            Scheme::Https => WasiScheme::Https,
        };
        let sandbox = self.store.data_mut();
        let mut http = sandbox.http();
        let request = http.new_incoming_request(scheme, request)?;
        let answer = http.new_response_outparam_from_callback(move |answer| {
            link.answer(answer.map_err(|code| Fault::from_error_code(&code)));
        })?;
        let proxy = match &mut self.proxy {
            Some(proxy) => proxy,
            none => none.insert(pre.instantiate_async(&mut self.store).await?),
        };
        proxy.wasi_http_incoming_handler().call_handle(&mut self.store, request, answer).await
    }
}

/// Checks all that can be checked before a request comes: every import and the handler's type.
pub(super) fn prepare(linker: &Linker<Sandbox>, component: &Component) -> wasmtime::Result<ProxyPre<Sandbox>> {
    ProxyPre::new(linker.instantiate_pre(component)?)
}

/// Begins a call. Nothing happens before the future is polled.
pub(super) fn begin(
    pre: Arc<ProxyPre<Sandbox>>,
    mut instance: Instance,
    link: Arc<Link>,
    scheme: Scheme,
    request: Request<RequestBody>,
) -> Running {
    Box::pin(async move {
        let result = instance.handle(&pre, link, scheme, request).await;
        (instance, result)
    })
}
