//! What the host holds for one instance: the data of its store.
//!
//! Three lives meet here. What an instance is made from ([`Grants`]) is the module's and lives as long as the child;
//! the [`Sandbox`] lives as long as the instance; what belongs to one request ([`Request`]) is renewed for each, where an
//! instance serves one at a time.

use std::sync::Arc;

use wasmtime::component::ResourceTable;
use wasmtime::{Engine, Store, UpdateDeadline};
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::p2::bindings::filesystem::types::Descriptor;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::body::Recall;
use super::capabilities;
use super::grants::{CallName, Grants};
use super::limits::{CallLimits, FIELDS_BYTES, HOSTCALL_BYTES, MemoryMeter, OPEN_FILES, resources};
use super::link::Link;
use super::outbound::Outbound;
use super::stdio::Console;
use super::tasks::Tasks;

/// See the file's head.
pub(super) struct Sandbox {
    pub(super) memory: MemoryMeter,
    serving: Serving,
    outbound: Outbound,
    /// As the log calls what is served.
    call: CallName,
    grants: Arc<Grants>,
    table: ResourceTable,
    /// One clone goes with every file that is being opened, so that counting the clones counts those.
    opening: Arc<()>,
    http: WasiHttpCtx,
    /// Made when the guest first asks for anything of WASI; many a handler never does.
    wasi: Option<Box<Wasi>>,
    /// What a command of preview 1 has in place of that.
    preview_1: Option<Box<WasiP1Ctx>>,
}

/// What is served.
enum Serving {
    /// One request at a time.
    One(Request),
    /// Any number of them.
    Many(Tasks),
}

/// What belongs to the request that is being served, and to no other.
pub(super) struct Request {
    pub(super) link: Arc<Link>,
    pub(super) name: CallName,
    /// Wherever the guest has put it.
    pub(super) body: Recall,
}

struct Wasi {
    ctx: WasiCtx,
    console: Console,
}

impl Sandbox {
    /// A store for a new instance that serves one request at a time, with every limit in place, and its first request.
    pub(super) fn serving_one(engine: &Engine, grants: Arc<Grants>, request: Request) -> Store<Sandbox> {
        let name = request.name;
        let mut store = Sandbox::store(engine, grants, Serving::One(request), name, 1);
        store.epoch_deadline_callback(|store| match &store.data().serving {
            Serving::One(request) => request.link.tick(),
            Serving::Many(_) => Ok(UpdateDeadline::Continue(1)),
        });
        store
    }

    /// A store for a new instance that serves so many requests at once, with every limit in place.
    pub(super) fn serving_many(engine: &Engine, grants: Arc<Grants>, tasks: Tasks, at_once: usize) -> Store<Sandbox> {
        let mut store = Sandbox::store(engine, grants, Serving::Many(tasks), CallName { request: None }, at_once);
        store.epoch_deadline_callback(Tasks::tick);
        store
    }

    fn store(engine: &Engine, grants: Arc<Grants>, serving: Serving, call: CallName, at_once: usize) -> Store<Sandbox> {
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(FIELDS_BYTES);
        let mut table = ResourceTable::new();
        table.set_max_capacity(resources(at_once));
        let memory = MemoryMeter::new(&grants.limits);
        let outbound = Outbound::new(Arc::clone(&grants), call, at_once);
        let sandbox = Sandbox {
            memory,
            serving,
            outbound,
            call,
            grants,
            table,
            opening: Arc::default(),
            http,
            wasi: None,
            preview_1: None,
        };
        let mut store = Store::new(engine, sandbox);
        store.limiter(|sandbox| &mut sandbox.memory);
        // For every single call into the host, so there is nothing of it to renew.
        store.set_hostcall_fuel(HOSTCALL_BYTES);
        store.set_epoch_deadline(1);
        store
    }

    /// An instance that has served before begins another request: all that belongs to one request is renewed here,
    /// and what belongs to the instance stays.
    pub(super) fn begin(store: &mut Store<Sandbox>, request: Request) {
        let sandbox = store.data_mut();
        sandbox.name_requests(request.name);
        sandbox.outbound = Outbound::new(Arc::clone(&sandbox.grants), request.name, 1);
        sandbox.serving = Serving::One(request);
        store.set_epoch_deadline(1);
    }

    /// A request begins; `name` is its name, unless there are others.
    pub(super) fn name_requests(&mut self, name: CallName) {
        if name.request.is_some() {
            // Beside others, what was refused may yet be why one of them traps.
            self.memory.begin_request();
        }
        self.call = name;
        self.outbound.begin_request(name);
        if let Some(wasi) = &self.wasi {
            wasi.console.begin_request(name);
        }
    }

    /// The guest has returned and will serve again: nothing of the request goes on.
    ///
    /// What the guest still holds of it, it may hold: the entries of the table stay, because a guest that drops its
    /// handles late (when its garbage is collected, say) must not hit those of another request. But behind them is
    /// nothing any more.
    pub(super) fn end(&mut self) {
        self.outbound.end_all();
        if let Serving::One(request) = &self.serving {
            request.body.take_back();
        }
        if let Some(wasi) = &self.wasi {
            wasi.console.end_request();
        }
    }

    /// Its tasks, if it serves many requests at once.
    pub(super) fn tasks(&mut self) -> Option<&mut Tasks> {
        match &mut self.serving {
            Serving::One(_) => None,
            Serving::Many(tasks) => Some(tasks),
        }
    }

    /// Gives a program what it is run with, before it asks.
    pub(super) fn give_wasi(&mut self, ctx: WasiCtx, console: Console) {
        self.wasi = Some(Box::new(Wasi { ctx, console }));
    }

    /// The same for a command of preview 1.
    pub(super) fn give_preview_1(&mut self, ctx: WasiP1Ctx) {
        self.preview_1 = Some(Box::new(ctx));
    }

    /// What a command of preview 1 was given.
    pub(super) fn preview_1(&mut self) -> &mut WasiP1Ctx {
        self.preview_1.as_deref_mut().expect("a command is given its surroundings before it is instantiated")
    }

    /// A place for one more file, to be kept until that is open; `None` if the instance has as many as it may.
    pub(super) fn place_for_a_file(&mut self) -> Option<Arc<()>> {
        let open = self.table.iter_mut().filter(|entry| entry.is::<Descriptor>()).count();
        let opening = Arc::strong_count(&self.opening) - 1;
        (open + opening < OPEN_FILES).then(|| Arc::clone(&self.opening))
    }

    /// The limits of the module.
    pub(super) fn limits(&self) -> &CallLimits {
        &self.grants.limits
    }
}

impl WasiView for Sandbox {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let wasi = self.wasi.get_or_insert_with(|| {
            let (ctx, console) = capabilities::wasi(&self.grants, self.call);
            Box::new(Wasi { ctx, console })
        });
        WasiCtxView { ctx: &mut wasi.ctx, table: &mut self.table }
    }
}

impl WasiHttpView for Sandbox {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.outbound, table: &mut self.table, ctx: &mut self.http }
    }
}
