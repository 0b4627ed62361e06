//! The modules of a child: loaded once, instantiated by every thread.
//!
//! Nothing here compiles, and nothing here belongs to one call.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::{Request, header};
use wasmtime::Engine;
use wasmtime::component::{Component, Linker};
use wasmtime_wasi_http::p2::bindings::ProxyPre;

use super::body::RequestBody;
use super::cache::{CacheError, Footprint, footprint_of};
use super::call::{Call, CallFacts, Ordinal};
use super::capabilities::{DirError, open_dirs};
use super::clockwork::Clockwork;
use super::engine;
use super::http02::{self, Instance};
use super::limits::CallLimits;
use super::link::Link;
use super::outbound;
use super::sandbox::{CallName, Grants, Sandbox, Serving};
use super::shelf::Shelf;
use crate::config;

/// Bytes of the smallest memory that a slot is made for: one Wasm page.
const MEMORY_MIN: u64 = 64 << 10;

/// One module of a child.
#[derive(Debug, Clone, Copy)]
pub struct ModuleSource<'a> {
    /// As configured.
    pub settings: &'a config::Module,
    /// What [`super::compile::compile`] made of it.
    pub native: &'a Path,
    /// Requests that one instance serves, one after the other, before it is retired. 1: every request gets a fresh
    /// one. 0: it is never retired while it is well.
    pub max_requests_per_instance: u64,
}

impl ModuleSource<'_> {
    /// Whether instances of it are kept between requests.
    fn is_reused(&self) -> bool {
        self.max_requests_per_instance != 1
    }
}

/// How much a child does at once.
#[derive(Debug, Clone, Copy)]
pub struct Capacity {
    /// Calls at once in this child. With more there may be no room: [`super::Fault::NoRoom`].
    pub calls_max: usize,
    /// Threads that call, each with a [`Shelf`] of its own. What rests there takes nothing from `calls_max`.
    pub threads: usize,
    /// How long a guest runs before others have their turn; 1 ms is a good value.
    pub time_slice: Duration,
}

/// Why a child cannot run its modules. For the operator; nothing is served yet.
#[derive(Debug, thiserror::Error)]
pub enum GuestsError {
    /// Address space, mostly.
    #[error(
        "cannot set up the Wasm engine for {calls_max} calls at once and {kept_max} instances between calls: {cause}"
    )]
    Engine {
        /// As asked for.
        calls_max: usize,
        /// Threads times modules that are reused.
        kept_max: usize,
        /// Wasmtime's reason.
        cause: String,
    },
    /// No thread for the clock or the background runtime.
    #[error("cannot start the background threads of the guests: {0}")]
    Threads(#[source] io::Error),
    /// The TLS library refuses its own defaults.
    #[error("cannot set up TLS for outbound requests: {0}")]
    Tls(String),
    /// The cache changed after the module was compiled.
    #[error("cannot load module {module} from {}: {cause}", native.display())]
    Load {
        /// The module's name.
        module: String,
        /// Where its native code was expected.
        native: PathBuf,
        /// Wasmtime's reason.
        cause: String,
    },
    /// The cache changed after the module was compiled.
    #[error("cannot load module {module}: {cause}")]
    Footprint {
        /// The module's name.
        module: String,
        /// What is wrong with the cache.
        cause: CacheError,
    },
    /// The module needs more than it is given before it has done anything.
    #[error("module {module} starts with {needs} bytes of memory, but limits.memory is {limit}")]
    Memory {
        /// The module's name.
        module: String,
        /// Bytes.
        needs: u64,
        /// Bytes.
        limit: u64,
    },
    /// A directory that the module is granted.
    #[error("module {module}: {cause}")]
    Dir {
        /// The module's name.
        module: String,
        /// Which directory, and why.
        cause: DirError,
    },
}

/// The modules of a child, ready to be called. Shared by all its threads.
pub struct Guests {
    engine: Engine,
    modules: Vec<Module>,
    clockwork: Arc<Clockwork>,
}

struct Module {
    pre: Arc<ProxyPre<Sandbox>>,
    grants: Arc<Grants>,
    /// See [`ModuleSource`].
    requests_max: u64,
}

impl Guests {
    /// Starts the engine and loads the modules. To be called after the fork: it starts threads.
    ///
    /// # Errors
    ///
    /// If the machine is too small for `capacity`, or the cache or a module's directories are not as they were when
    /// the configuration was checked.
    pub fn start(modules: &[ModuleSource<'_>], capacity: Capacity) -> Result<Guests, GuestsError> {
        let needs = needs(modules)?;
        let memory_max = modules.iter().map(|module| module.settings.limits.memory).max().unwrap_or(0).max(MEMORY_MIN);
        let Capacity { calls_max, threads, time_slice } = capacity;
        let kept_max = modules.iter().filter(|module| module.is_reused()).count().saturating_mul(threads);
        let engine_error =
            |error: wasmtime::Error| GuestsError::Engine { calls_max, kept_max, cause: format!("{error:#}") };
        let engine = engine::for_child(calls_max.saturating_add(kept_max), &needs, memory_max).map_err(engine_error)?;
        let linker = engine::linker(&engine).map_err(engine_error)?;
        let tls = outbound::tls().map_err(|error| GuestsError::Tls(error.to_string()))?;
        let table_elements = engine::table_elements(&needs);
        let modules = modules
            .iter()
            .map(|source| {
                let settings = source.settings;
                let files = open_dirs(&settings.dirs)
                    .map_err(|cause| GuestsError::Dir { module: settings.name.clone(), cause })?;
                let grants = Grants {
                    name: settings.name.as_str().into(),
                    limits: CallLimits::new(&settings.limits, table_elements),
                    env: settings.env.clone().into_iter().collect(),
                    files,
                    outbound: settings.outbound.clone(),
                    tls: Arc::clone(&tls),
                };
                Ok(Module {
                    pre: Arc::new(load(&engine, &linker, source)?),
                    grants: Arc::new(grants),
                    requests_max: source.max_requests_per_instance,
                })
            })
            .collect::<Result<Vec<_>, GuestsError>>()?;
        let clockwork = Arc::new(Clockwork::start(&engine, time_slice).map_err(GuestsError::Threads)?);
        Ok(Guests { engine, modules, clockwork })
    }

    /// An empty shelf. Every thread that calls has one of its own.
    #[must_use]
    pub fn shelf(&self) -> Shelf {
        Shelf::new(self.modules.len())
    }

    /// Begins a call of a module (an index into what [`Guests::start`] was given), in the instance that rests on the
    /// thread's shelf or in a fresh one. Nothing runs before the first [`Call::poll`].
    ///
    /// The request's headers are those that the HTTP layer lets through, with `forwarded` and `x-forwarded-for` as
    /// the server sets them.
    ///
    /// # Panics
    ///
    /// If there is no such module, or the shelf is not from these guests.
    #[must_use]
    pub fn call(&self, shelf: &mut Shelf, module: usize, mut request: Request<RequestBody>, facts: CallFacts) -> Call {
        let Module { pre, grants, requests_max } = &self.modules[module];
        if request.uri().authority().is_none() {
            request.headers_mut().insert(header::HOST, facts.authority);
        }
        let link = Link::new(self.clockwork.slice(), grants.limits.cpu);
        let name = CallName { request: facts.request_id };
        let serving = Serving::new(grants, name, Arc::clone(&link), request.body().recall());
        let instance = match shelf.take(module) {
            Some(kept) => kept.again(serving),
            None => Instance::new(&self.engine, Arc::clone(grants), serving),
        };
        let ordinal = Ordinal { module, request: instance.requests(), requests_max: *requests_max };
        let method = request.method().clone();
        let guest = http02::begin(Arc::clone(pre), instance, facts.scheme, request);
        Call::new(guest, ordinal, method, link, Arc::clone(grants), Arc::clone(&self.clockwork))
    }
}

/// What the pool must offer, so that every module fits into every slot.
fn needs(modules: &[ModuleSource<'_>]) -> Result<Footprint, GuestsError> {
    modules.iter().try_fold(Footprint::default(), |needs, source| {
        let config::Module { name, limits, .. } = source.settings;
        let footprint =
            footprint_of(source.native).map_err(|cause| GuestsError::Footprint { module: name.clone(), cause })?;
        if footprint.memory_initial > limits.memory {
            return Err(GuestsError::Memory {
                module: name.clone(),
                needs: footprint.memory_initial,
                limit: limits.memory,
            });
        }
        Ok(needs.max(footprint))
    })
}

fn load(
    engine: &Engine,
    linker: &Linker<Sandbox>,
    source: &ModuleSource<'_>,
) -> Result<ProxyPre<Sandbox>, GuestsError> {
    let load_error = |error: wasmtime::Error| GuestsError::Load {
        module: source.settings.name.clone(),
        native: source.native.to_owned(),
        cause: format!("{error:#}"),
    };
    // SAFETY: the bytes must be what Wasmtime's serialisation wrote, unchanged. `cache` wrote this file from our own
    // compiler's output into a directory that nobody else may write to, and checked the checksum before its path
    // was handed out.
    let component = unsafe { Component::deserialize_file(engine, source.native) }.map_err(load_error)?;
    // Now, and not within the first request.
    component.initialize_copy_on_write_image().map_err(load_error)?;
    http02::prepare(linker, &component).map_err(load_error)
}
