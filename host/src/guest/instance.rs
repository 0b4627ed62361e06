//! An instance that serves one request at a time: in a life of one request, or of several. How a request is served in it is
//! its kind's; whether it may serve another, `call`'s.

use std::pin::Pin;
use std::sync::Arc;

use wasmtime::{Engine, Store};
use wasmtime_wasi_http::p2::bindings::Proxy;

use super::grants::Grants;
use super::sandbox::{Request, Sandbox};

/// An instance with everything that it holds of the host.
pub(super) struct Instance {
    pub(super) store: Store<Sandbox>,
    /// Of a guest of `wasi:http` 0.2: what it exports. `None` until its first request runs, so that a guest's start
    /// counts as its own time; a program has nothing that would be used twice.
    pub(super) proxy: Option<Proxy>,
    /// How many requests it has begun.
    requests: u64,
}

/// A guest that runs. Its instance comes back when it has ended: the end of the answer's body can be told from a body
/// that was left unfinished only as long as the instance lives, and another request may be served by it.
pub(super) type Running = Pin<Box<dyn Future<Output = (Instance, wasmtime::Result<()>)> + Send>>;

impl Instance {
    /// One that serves its first request.
    pub(super) fn new(engine: &Engine, grants: Arc<Grants>, request: Request) -> Instance {
        Instance { store: Sandbox::serving_one(engine, grants, request), proxy: None, requests: 1 }
    }

    /// Serves one more.
    pub(super) fn again(mut self, request: Request) -> Instance {
        Sandbox::begin(&mut self.store, request);
        self.requests = self.requests.saturating_add(1);
        self
    }

    /// How many requests it has begun.
    pub(super) fn requests(&self) -> u64 {
        self.requests
    }

    pub(super) fn sandbox(&mut self) -> &mut Sandbox {
        self.store.data_mut()
    }
}
