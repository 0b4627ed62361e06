//! The modules of a child: loaded once, instantiated by every thread.
//!
//! Nothing here compiles, and nothing here belongs to one call.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use http::{Request, header};
use tokio_rustls::rustls::ClientConfig;
use wasmtime::Engine;

use super::body::RequestBody;
use super::cache::{CacheError, Footprint, footprint_of};
use super::call::{Call, CallFacts, Guest, Ordinal};
use super::capabilities::{DirError, open_dirs};
use super::cgi;
use super::clockwork::Clockwork;
use super::code::Code;
use super::engine::{self, Linkers, Tasks};
use super::entry::Entry;
use super::http02;
use super::http03::{self, Reuse, Shared};
use super::instance::Instance;
use super::limits::CallLimits;
use super::link::Link;
use super::outbound;
use super::resolver::LookUps;
use super::sandbox::{self, CallName, Grants};
use super::shelf::{Shelf, UNSEATED_MAX};
use crate::config;
use crate::module::Kind;

/// Bytes of the smallest memory that a slot is made for: one Wasm page.
const MEMORY_MIN: u64 = 64 << 10;

/// One module of a child.
#[derive(Debug, Clone, Copy)]
pub struct ModuleSource<'a> {
    /// As configured.
    pub settings: &'a config::Module,
    /// What its file was recognised as.
    pub kind: Kind,
    /// What [`super::compile::compile`] made of it.
    pub native: &'a Path,
    /// Requests that one instance serves before it is retired. 1: every request gets a fresh one. 0: it is never retired
    /// while it is well.
    pub max_requests_per_instance: u64,
    /// Requests that one instance serves at once, if its kind can.
    pub max_concurrent_requests_per_instance: usize,
}

impl ModuleSource<'_> {
    /// Instances of it that a thread may keep between requests.
    fn kept_max(&self) -> usize {
        match Tasks::of(self.kind) {
            Tasks::One => usize::from(self.max_requests_per_instance != 1),
            Tasks::Many => UNSEATED_MAX,
        }
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
    modules: Vec<Module>,
    clockwork: Arc<Clockwork>,
}

struct Module {
    engine: Engine,
    entry: Entry,
    grants: Arc<Grants>,
    reuse: Reuse,
}

/// What those modules of a child run in that have as many tasks at once.
struct Housing {
    engine: Engine,
    linkers: Linkers,
    /// See [`CallLimits`].
    table_elements: usize,
}

/// What all modules of a child have in common when they call others.
struct Common {
    tls: Arc<ClientConfig>,
    look_ups: LookUps,
}

impl Housing {
    /// With a slot for every call, and for every instance that rests between two.
    fn build(tasks: Tasks, modules: &[ModuleSource<'_>], capacity: Capacity) -> Result<Housing, GuestsError> {
        let modules: Vec<_> = modules.iter().filter(|module| Tasks::of(module.kind) == tasks).copied().collect();
        let needs = needs(&modules)?;
        let memory_max = modules.iter().map(|module| module.settings.limits.memory).max().unwrap_or(0).max(MEMORY_MIN);
        let Capacity { calls_max, threads, .. } = capacity;
        let kept_max = modules.iter().map(ModuleSource::kept_max).sum::<usize>().saturating_mul(threads);
        let engine_error =
            |error: wasmtime::Error| GuestsError::Engine { calls_max, kept_max, cause: format!("{error:#}") };
        let instances_max = calls_max.saturating_add(kept_max);
        let engine = engine::for_child(tasks, instances_max, &needs, memory_max).map_err(engine_error)?;
        let linkers = engine::linkers(&engine, tasks).map_err(engine_error)?;
        Ok(Housing { engine, linkers, table_elements: engine::table_elements(&needs) })
    }

    fn load(&self, source: &ModuleSource<'_>, common: &Common) -> Result<Module, GuestsError> {
        let settings = source.settings;
        let dir_error = |cause| GuestsError::Dir { module: settings.name.clone(), cause };
        let files = open_dirs(&settings.dirs).map_err(dir_error)?;
        let roots = settings.roots.iter().map(|root| open_dirs(&cgi::with_root(&settings.dirs, root)));
        let grants = Grants {
            name: settings.name.as_str().into(),
            limits: CallLimits::new(&settings.limits, self.table_elements),
            env: settings.env.clone().into_iter().collect(),
            files,
            roots: roots.collect::<Result<_, _>>().map_err(dir_error)?,
            outbound: settings.outbound.clone(),
            tls: Arc::clone(&common.tls),
            resolver: common.look_ups.of_a_module(),
        };
        Ok(Module {
            engine: self.engine.clone(),
            entry: self.enter(source)?,
            grants: Arc::new(grants),
            reuse: Reuse {
                requests_max: source.max_requests_per_instance,
                at_once_max: source.max_concurrent_requests_per_instance,
            },
        })
    }

    fn enter(&self, source: &ModuleSource<'_>) -> Result<Entry, GuestsError> {
        let load_error = |error: wasmtime::Error| GuestsError::Load {
            module: source.settings.name.clone(),
            native: source.native.to_owned(),
            cause: format!("{error:#}"),
        };
        // SAFETY: the bytes must be what Wasmtime's serialisation wrote, unchanged. `cache` wrote this file from our
        // own compiler's output into a directory that nobody else may write to, and checked the checksum before its
        // path was handed out.
        let code = unsafe { Code::map(&self.engine, source.kind, source.native) }.map_err(load_error)?;
        // Now, and not within the first request.
        code.make_image().map_err(load_error)?;
        Entry::of(source.kind, &self.linkers, &code).map_err(load_error)
    }
}

impl Guests {
    /// Starts the engines and loads the modules. To be called after the fork: it starts threads.
    ///
    /// # Errors
    ///
    /// If the machine is too small for `capacity`, or the cache or a module's directories are not as they were when
    /// the configuration was checked.
    pub fn start(modules: &[ModuleSource<'_>], capacity: Capacity) -> Result<Guests, GuestsError> {
        let tls = outbound::tls().map_err(|error| GuestsError::Tls(error.to_string()))?;
        let common = Common { tls, look_ups: LookUps::new() };
        // An engine has a pool of address space and a clock to follow: there is none that nobody needs.
        let mut housings: [(Tasks, Option<Housing>); 2] = [(Tasks::One, None), (Tasks::Many, None)];
        let mut loaded = Vec::with_capacity(modules.len());
        for source in modules {
            let tasks = Tasks::of(source.kind);
            for (_, housing) in housings.iter_mut().filter(|(of, _)| *of == tasks) {
                let housing = match housing {
                    Some(housing) => housing,
                    none => none.insert(Housing::build(tasks, modules, capacity)?),
                };
                loaded.push(housing.load(source, &common)?);
            }
        }
        let engines = housings.iter().filter_map(|(_, housing)| housing.as_ref()).map(|housing| housing.engine.weak());
        let clockwork = Clockwork::start(engines.collect(), capacity.time_slice).map_err(GuestsError::Threads)?;
        Ok(Guests { modules: loaded, clockwork: Arc::new(clockwork) })
    }

    /// An empty shelf. Every thread that calls has one of its own, and tends it when `thread` is woken.
    #[must_use]
    pub fn shelf(&self, thread: Waker) -> Shelf {
        Shelf::new(self.modules.len(), thread)
    }

    /// Begins a call of a module (an index into what [`Guests::start`] was given): in an instance that the thread's
    /// shelf has for it, or in a fresh one. Nothing runs before the first [`Call::poll`].
    ///
    /// The request's headers are those that the HTTP layer lets through, with `forwarded` and `x-forwarded-for` as
    /// the server sets them.
    ///
    /// # Panics
    ///
    /// If there is no such module, or the shelf is not from these guests.
    #[must_use]
    pub fn call(&self, shelf: &mut Shelf, module: usize, mut request: Request<RequestBody>, facts: CallFacts) -> Call {
        let Module { engine, entry, grants, reuse } = &self.modules[module];
        let clockwork = &self.clockwork;
        let link = Link::new(clockwork.slice(), grants.limits.cpu);
        let name = CallName { request: Some(facts.request_id) };
        let method = request.method().clone();
        if names_its_host(entry, &facts) && request.uri().authority().is_none() {
            request.headers_mut().insert(header::HOST, facts.authority.clone());
        }
        let serving = || sandbox::Request { link: Arc::clone(&link), name, body: request.body().recall() };
        let (guest, number) = match entry {
            Entry::Http02(pre) => {
                let instance = match shelf.take(module) {
                    Some(kept) => kept.again(serving()),
                    None => Instance::new(engine, Arc::clone(grants), serving()),
                };
                let number = instance.requests();
                let guest = http02::begin(Arc::clone(pre), instance, Arc::clone(&link), facts.scheme, request);
                (Guest::Running(guest), number)
            }
            Entry::Cgi(program) => {
                let instance = Instance::new(engine, Arc::clone(grants), serving());
                let number = instance.requests();
                (Guest::Running(cgi::begin(program, instance, grants, &link, facts, request)), number)
            }
            Entry::Http03(pre) => {
                let shared = shelf.shared(module, |siblings, thread| {
                    Shared::new(pre, engine, grants, clockwork, *reuse, siblings, thread)
                });
                let request = http03::addressed(request, facts.scheme, &facts.authority);
                let seat = shared.begin(request, &link, name, Instant::now());
                let number = seat.ordinal();
                (Guest::Seated(seat), number)
            }
        };
        let ordinal = Ordinal { module, request: number, requests_max: reuse.requests_max };
        Call::new(guest, ordinal, method, link, Arc::clone(grants), Arc::clone(clockwork))
    }
}

/// Whether a guest is told in a field whom the request is for. One of 0.2 must be, even if the client has named nobody
/// (HTTP/1.0): Wasmtime has an authority for every request, and an empty one says that there is none (RFC 9112, 3.2). A
/// program has a variable or none.
fn names_its_host(entry: &Entry, facts: &CallFacts) -> bool {
    match entry {
        Entry::Http02(_) => true,
        Entry::Cgi(_) => !facts.authority.is_empty(),
        Entry::Http03(_) => false,
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
