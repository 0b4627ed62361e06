//! What the host holds for one running guest: the data of its store.
//!
//! Everything here dies with the call. What it is made from ([`Grants`]) is the module's and lives as long as the
//! child.

use std::sync::Arc;

use tokio_rustls::rustls::ClientConfig;
use wasmtime::component::ResourceTable;
use wasmtime::{Engine, Store};
use wasmtime_wasi::filesystem::WasiFilesystemCtx;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::capabilities;
use super::limits::{CallLimits, FIELDS_BYTES, HOSTCALL_BYTES, MemoryMeter, RESOURCES};
use super::link::Link;
use super::outbound::Outbound;
use crate::config::OutboundHost;
use crate::request_id::RequestId;

/// What a module may do, ready to be handed to a guest.
pub(super) struct Grants {
    /// The module's name, which is also the guest's only argument.
    pub(super) name: Arc<str>,
    pub(super) limits: CallLimits,
    pub(super) env: Vec<(String, String)>,
    /// The directories, opened once: a guest gets another reference to the same handles.
    pub(super) files: WasiFilesystemCtx,
    pub(super) outbound: Vec<OutboundHost>,
    pub(super) tls: Arc<ClientConfig>,
}

/// What a log line calls a call by, together with the module's name.
#[derive(Debug, Clone, Copy)]
pub(super) struct CallName {
    pub(super) request: RequestId,
}

/// See the file's head.
pub(super) struct Sandbox {
    pub(super) link: Arc<Link>,
    pub(super) memory: MemoryMeter,
    grants: Arc<Grants>,
    call: CallName,
    table: ResourceTable,
    http: WasiHttpCtx,
    outbound: Outbound,
    /// Made when the guest first asks for anything of WASI; many a handler never does.
    wasi: Option<Box<WasiCtx>>,
}

impl Sandbox {
    /// A store for one call, with every limit in place.
    pub(super) fn store(engine: &Engine, grants: Arc<Grants>, call: CallName, link: Arc<Link>) -> Store<Sandbox> {
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(FIELDS_BYTES);
        let mut table = ResourceTable::new();
        table.set_max_capacity(RESOURCES);
        let sandbox = Sandbox {
            link,
            memory: MemoryMeter::new(&grants.limits),
            outbound: Outbound::new(Arc::clone(&grants), call),
            grants,
            call,
            table,
            http,
            wasi: None,
        };
        let mut store = Store::new(engine, sandbox);
        store.limiter(|sandbox| &mut sandbox.memory);
        store.set_hostcall_fuel(HOSTCALL_BYTES);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|store| store.data().link.tick());
        store
    }

    /// The limits of the module.
    pub(super) fn limits(&self) -> &CallLimits {
        &self.grants.limits
    }
}

impl WasiView for Sandbox {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let ctx = self.wasi.get_or_insert_with(|| Box::new(capabilities::wasi(&self.grants, self.call)));
        WasiCtxView { ctx, table: &mut self.table }
    }
}

impl WasiHttpView for Sandbox {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.outbound, table: &mut self.table, ctx: &mut self.http }
    }
}
