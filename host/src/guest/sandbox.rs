//! What the host holds for one instance: the data of its store.
//!
//! Three lives meet here. What an instance is made from ([`Grants`]) is the module's and lives as long as the child;
//! the [`Sandbox`] lives as long as the instance; what belongs to one request ([`Serving`]) is renewed for each.

use std::sync::Arc;

use tokio_rustls::rustls::ClientConfig;
use wasmtime::component::ResourceTable;
use wasmtime::{Engine, Store};
use wasmtime_wasi::filesystem::WasiFilesystemCtx;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::body::Recall;
use super::capabilities;
use super::limits::{CallLimits, FIELDS_BYTES, HOSTCALL_BYTES, MemoryMeter, RESOURCES};
use super::link::Link;
use super::outbound::Outbound;
use super::stdio::Console;
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
    pub(super) memory: MemoryMeter,
    serving: Serving,
    grants: Arc<Grants>,
    table: ResourceTable,
    http: WasiHttpCtx,
    /// Made when the guest first asks for anything of WASI; many a handler never does.
    wasi: Option<Box<Wasi>>,
}

/// What belongs to the request that is being served, and to no other.
pub(super) struct Serving {
    link: Arc<Link>,
    call: CallName,
    outbound: Outbound,
    /// The request's body, wherever the guest has put it.
    body: Recall,
}

struct Wasi {
    ctx: WasiCtx,
    console: Console,
}

impl Serving {
    pub(super) fn new(grants: &Arc<Grants>, call: CallName, link: Arc<Link>, body: Recall) -> Serving {
        Serving { link, call, outbound: Outbound::new(Arc::clone(grants), call), body }
    }
}

impl Sandbox {
    /// A store for a new instance, with every limit in place, in which it serves its first request.
    pub(super) fn store(engine: &Engine, grants: Arc<Grants>, serving: Serving) -> Store<Sandbox> {
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(FIELDS_BYTES);
        let mut table = ResourceTable::new();
        table.set_max_capacity(RESOURCES);
        let memory = MemoryMeter::new(&grants.limits);
        let mut store = Store::new(engine, Sandbox { memory, serving, grants, table, http, wasi: None });
        store.limiter(|sandbox| &mut sandbox.memory);
        // For every single call into the host, so there is nothing of it to renew.
        store.set_hostcall_fuel(HOSTCALL_BYTES);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|store| store.data().serving.link.tick());
        store
    }

    /// An instance that has served before begins another request: all that belongs to one request is renewed here,
    /// and what belongs to the instance stays.
    pub(super) fn begin(store: &mut Store<Sandbox>, serving: Serving) {
        let sandbox = store.data_mut();
        sandbox.memory.begin_request();
        if let Some(wasi) = &sandbox.wasi {
            wasi.console.begin_request(serving.call);
        }
        sandbox.serving = serving;
        store.set_epoch_deadline(1);
    }

    /// The guest has returned and will serve again: nothing of the request goes on.
    ///
    /// What the guest still holds of it, it may hold: the entries of the table stay, because a guest that drops its
    /// handles late (when its garbage is collected, say) must not hit those of another request. But behind them is
    /// nothing any more.
    pub(super) fn end(&mut self) {
        self.serving.outbound.end_all();
        self.serving.body.take_back();
        if let Some(wasi) = &self.wasi {
            wasi.console.end_request();
        }
    }

    /// What the call that is being served shares with its guest.
    pub(super) fn link(&self) -> &Arc<Link> {
        &self.serving.link
    }

    /// The limits of the module.
    pub(super) fn limits(&self) -> &CallLimits {
        &self.grants.limits
    }
}

impl WasiView for Sandbox {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let wasi = self.wasi.get_or_insert_with(|| {
            let (ctx, console) = capabilities::wasi(&self.grants, self.serving.call);
            Box::new(Wasi { ctx, console })
        });
        WasiCtxView { ctx: &mut wasi.ctx, table: &mut self.table }
    }
}

impl WasiHttpView for Sandbox {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.serving.outbound, table: &mut self.table, ctx: &mut self.http }
    }
}
