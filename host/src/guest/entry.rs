//! How the guests of a module are entered, by its kind: all that can be checked before a request comes has been. Runs
//! nothing; the kinds do.

use std::sync::Arc;

use wasmtime::component::{Component, Linker};
use wasmtime_wasi_http::p2::bindings::ProxyPre;

use super::sandbox::Sandbox;
use super::{http02, http03};
use crate::module::Kind;

/// A module, ready to be instantiated.
#[derive(Clone)]
pub(super) enum Entry {
    Http02(Arc<ProxyPre<Sandbox>>),
    Http03(Arc<http03::Pre>),
}

impl Entry {
    /// Checks every import, and the type of what the kind exports.
    pub(super) fn of(kind: Kind, linker: &Linker<Sandbox>, component: &Component) -> wasmtime::Result<Entry> {
        match kind {
            Kind::HttpIncomingHandler => Ok(Entry::Http02(Arc::new(http02::prepare(linker, component)?))),
            Kind::HttpHandler => Ok(Entry::Http03(Arc::new(http03::prepare(linker, component)?))),
            other => wasmtime::bail!("a {other} answers no requests"),
        }
    }
}
