//! How the guests of a module are entered, by its kind: all that can be checked before a request comes has been. Runs
//! nothing; the kinds do.

use std::sync::Arc;

use wasmtime_wasi_http::p2::bindings::ProxyPre;

use super::cgi::{self, Program};
use super::code::Code;
use super::engine::Linkers;
use super::sandbox::Sandbox;
use super::{http02, http03};
use crate::module::Kind;

/// A module, ready to be instantiated.
#[derive(Clone)]
pub(super) enum Entry {
    Http02(Arc<ProxyPre<Sandbox>>),
    Http03(Arc<http03::Pre>),
    Cgi(Arc<Program>),
}

impl Entry {
    /// Checks every import, and the type of what the kind exports.
    pub(super) fn of(kind: Kind, linkers: &Linkers, code: &Code) -> wasmtime::Result<Entry> {
        match (kind, code) {
            (Kind::HttpIncomingHandler, Code::Component(component)) => {
                Ok(Entry::Http02(Arc::new(http02::prepare(&linkers.components, component)?)))
            }
            (Kind::HttpHandler, Code::Component(component)) => {
                Ok(Entry::Http03(Arc::new(http03::prepare(&linkers.components, component)?)))
            }
            (Kind::CliComponent, Code::Component(component)) => {
                Ok(Entry::Cgi(Arc::new(cgi::prepare_component(&linkers.components, component)?)))
            }
            (Kind::Command, Code::Module(module)) => {
                Ok(Entry::Cgi(Arc::new(cgi::prepare_command(&linkers.modules, module)?)))
            }
            (other, _) => wasmtime::bail!("a {other} answers no requests"),
        }
    }
}
