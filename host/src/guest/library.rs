//! The modules of a child: loaded once, instantiated by every thread, and handed on from one generation to the next while they
//! are the same.
//!
//! Nothing here compiles, and nothing here belongs to one call.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::Waker;
use std::time::Instant;

use http::{Request, header};
use tokio_rustls::rustls::ClientConfig;

use super::body::RequestBody;
use super::call::{Call, Guest, Ordinal};
use super::capabilities::open_dirs;
use super::cgi;
use super::clockwork::Clockwork;
use super::code::Code;
use super::entry::Entry;
use super::facts::CallFacts;
use super::grants::{CallName, Grants};
use super::housing::{Demand, Housing};
use super::http02;
use super::http03::{self, Reuse, Shared};
use super::instance::Instance;
use super::limits::CallLimits;
use super::link::Link;
use super::outbound;
use super::resolver::LookUps;
use super::sandbox;
use super::shelf::{ModuleId, Shelf};
use super::source::{Capacity, Concurrency, GuestsError, ModuleSource};
use crate::config;
use crate::module::Kind;

/// The modules of a child, ready to be called. Shared by all its threads.
pub struct Guests {
    modules: Vec<Arc<Module>>,
    common: Arc<Common>,
}

struct Module {
    id: ModuleId,
    origin: Origin,
    housing: Arc<Housing>,
    entry: Entry,
    grants: Arc<Grants>,
    reuse: Reuse,
}

/// All that a module was made from. Nothing but another of these makes it another module.
#[derive(PartialEq)]
struct Origin {
    settings: config::Module,
    kind: Kind,
    native: PathBuf,
    max_requests_per_instance: u64,
    max_concurrent_requests_per_instance: usize,
    /// Device and inode of each folder that it is granted: another one in its place is to be opened.
    folders: Vec<Option<(u64, u64)>>,
}

impl Origin {
    fn of(source: &ModuleSource<'_>) -> Origin {
        let &ModuleSource { settings, kind, native, max_requests_per_instance, max_concurrent_requests_per_instance } =
            source;
        Origin {
            // Where they stand in the configuration is nothing to the module.
            settings: config::Module { lines: config::ModuleLines::default(), ..settings.clone() },
            kind,
            native: native.to_owned(),
            max_requests_per_instance,
            max_concurrent_requests_per_instance,
            folders: settings
                .dirs
                .iter()
                .map(|dir| &dir.host)
                .chain(&settings.roots)
                .map(|dir| identity(dir))
                .collect(),
        }
    }

    fn source(&self) -> ModuleSource<'_> {
        ModuleSource {
            settings: &self.settings,
            kind: self.kind,
            native: &self.native,
            max_requests_per_instance: self.max_requests_per_instance,
            max_concurrent_requests_per_instance: self.max_concurrent_requests_per_instance,
        }
    }
}

fn identity(folder: &Path) -> Option<(u64, u64)> {
    folder.metadata().ok().map(|facts| (facts.dev(), facts.ino()))
}

/// What all modules of a child have in common, in all of its generations.
struct Common {
    tls: Arc<ClientConfig>,
    look_ups: LookUps,
    clockwork: Arc<Clockwork>,
    modules_so_far: AtomicU64,
}

impl Common {
    fn load(&self, housing: &Arc<Housing>, source: &ModuleSource<'_>) -> Result<Arc<Module>, GuestsError> {
        let settings = source.settings;
        let dir_error = |cause| GuestsError::Dir { module: settings.name.clone(), cause };
        let files = open_dirs(&settings.dirs).map_err(dir_error)?;
        let roots = settings.roots.iter().map(|root| open_dirs(&cgi::with_root(&settings.dirs, root)));
        let grants = Grants {
            name: settings.name.as_str().into(),
            limits: CallLimits::new(&settings.limits, housing.table_elements()),
            env: settings.env.clone().into_iter().collect(),
            files,
            roots: roots.collect::<Result<_, _>>().map_err(dir_error)?,
            outbound: settings.outbound.clone(),
            tls: Arc::clone(&self.tls),
            resolver: self.look_ups.of_a_module(),
        };
        Ok(Arc::new(Module {
            id: ModuleId::new(self.modules_so_far.fetch_add(1, Relaxed)),
            origin: Origin::of(source),
            housing: Arc::clone(housing),
            entry: enter(housing, source)?,
            grants: Arc::new(grants),
            reuse: Reuse {
                requests_max: source.max_requests_per_instance,
                at_once_max: source.max_concurrent_requests_per_instance,
            },
        }))
    }
}

fn enter(housing: &Housing, source: &ModuleSource<'_>) -> Result<Entry, GuestsError> {
    let load_error = |error: wasmtime::Error| GuestsError::Load {
        module: source.settings.name.clone(),
        native: source.native.to_owned(),
        cause: format!("{error:#}"),
    };
    // SAFETY: the bytes must be what Wasmtime's serialisation wrote, unchanged. `cache` wrote this file from our
    // own compiler's output into a directory that nobody else may write to, and checked the checksum before its
    // path was handed out.
    let code = unsafe { Code::map(&housing.engine, source.kind, source.native) }.map_err(load_error)?;
    // Now, and not within the first request.
    code.make_image().map_err(load_error)?;
    Entry::of(source.kind, &housing.linkers, &code).map_err(load_error)
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
        let clockwork = Arc::new(Clockwork::start(capacity.time_slice).map_err(GuestsError::Threads)?);
        let common = Common { tls, look_ups: LookUps::new(), clockwork, modules_so_far: AtomicU64::new(0) };
        Guests { modules: Vec::new(), common: Arc::new(common) }.followed_by(modules, capacity)
    }

    /// The guests of the next generation: modules that have not changed are these, with all that threads keep of them; only the
    /// others are loaded. Both can be called while both are there, in `capacity` together.
    ///
    /// # Errors
    ///
    /// As [`Guests::start`].
    pub fn followed_by(&self, sources: &[ModuleSource<'_>], capacity: Capacity) -> Result<Guests, GuestsError> {
        let is_same = |source: &ModuleSource<'_>| {
            let origin = Origin::of(source);
            self.modules.iter().find(|module| module.origin == origin)
        };
        let mut modules: Vec<_> = sources.iter().map(|source| is_same(source).cloned()).collect();
        for tasks in [Concurrency::One, Concurrency::Many] {
            let is_new = |(source, module): &(&ModuleSource<'_>, &mut Option<_>)| {
                module.is_none() && Concurrency::of(source.kind) == tasks
            };
            let new: Vec<_> = sources.iter().zip(&mut modules).filter(is_new).collect();
            // An engine has a pool of address space and a clock to follow: there is none that nobody needs.
            if new.is_empty() {
                continue;
            }
            let demand = Demand::of(&new.iter().map(|(source, _)| *source).collect::<Vec<_>>(), capacity.threads)?;
            let housing = match self.housing_for(tasks, demand, capacity.threads) {
                Some(housing) => housing,
                None => self.build(tasks, demand, capacity)?,
            };
            for (source, module) in new {
                *module = Some(self.common.load(&housing, source)?);
            }
        }
        Ok(Guests { modules: modules.into_iter().flatten().collect(), common: Arc::clone(&self.common) })
    }

    /// One that these guests live in and that has room for more. Those that leave it are still there meanwhile.
    fn housing_for(&self, tasks: Concurrency, demand: Demand, threads: usize) -> Option<Arc<Housing>> {
        let taken = |housing: &Arc<Housing>| {
            let here = self.modules.iter().filter(|module| Arc::ptr_eq(&module.housing, housing));
            here.map(|module| module.origin.source().kept_max()).sum::<usize>().saturating_mul(threads)
        };
        let mut housings = self.modules.iter().map(|module| &module.housing);
        housings.find(|housing| housing.has_room(tasks, demand, taken(housing))).cloned()
    }

    fn build(&self, tasks: Concurrency, demand: Demand, capacity: Capacity) -> Result<Arc<Housing>, GuestsError> {
        let housing = Housing::build(tasks, demand, capacity)?;
        self.common.clockwork.drive(housing.engine.weak());
        Ok(housing)
    }

    /// An empty shelf. Every thread that calls has one of its own, and tends it when `thread` is woken.
    #[must_use]
    pub fn shelf(&self, thread: Waker) -> Shelf {
        let mut shelf = Shelf::new(thread);
        self.stock(&mut shelf);
        shelf
    }

    /// Has a shelf keep instances of these guests and of no others. Those of others that still serve may finish.
    pub fn stock(&self, shelf: &mut Shelf) {
        shelf.keep_only(self.modules.iter().map(|module| module.id));
    }

    /// Begins a call of a module (an index into what [`Guests::start`] was given): in an instance that the thread's
    /// shelf has for it, or in a fresh one. Nothing runs before the first [`Call::poll`].
    ///
    /// The request's headers are those that the HTTP layer lets through, with `forwarded` and `x-forwarded-for` as
    /// the server sets them.
    ///
    /// # Panics
    ///
    /// If there is no such module.
    #[must_use]
    pub fn call(&self, shelf: &mut Shelf, module: usize, mut request: Request<RequestBody>, facts: CallFacts) -> Call {
        let Module { id, housing, entry, grants, reuse, .. } = &*self.modules[module];
        let (engine, clockwork) = (&housing.engine, &self.common.clockwork);
        let link = Link::new(clockwork.slice(), grants.limits.cpu);
        let name = CallName { request: Some(facts.request_id) };
        let method = request.method().clone();
        if names_its_host(entry, &facts) && request.uri().authority().is_none() {
            request.headers_mut().insert(header::HOST, facts.authority.clone());
        }
        let serving = || sandbox::Request { link: Arc::clone(&link), name, body: request.body().recall() };
        let (guest, number) = match entry {
            Entry::Http02(pre) => {
                let instance = match shelf.take(*id) {
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
                let shared = self.shared(shelf, &self.modules[module], pre);
                let request = http03::addressed(request, facts.scheme, &facts.authority);
                let seat = shared.begin(request, &link, name, Instant::now());
                let number = seat.ordinal();
                (Guest::Seated(seat), number)
            }
        };
        let ordinal = Ordinal { module: *id, request: number, requests_max: reuse.requests_max };
        Call::new(guest, ordinal, method, link, Arc::clone(grants), Arc::clone(clockwork))
    }

    /// Whether requests of a module are best begun together, before the first [`Call::poll`]: then one instance has them all.
    /// Each is to [`move_on`](Self::move_on) before it is polled.
    #[must_use]
    pub fn gathers(&self, module: usize) -> bool {
        let Module { entry, reuse, .. } = &*self.modules[module];
        matches!(entry, Entry::Http03(_)) && reuse.at_once_max > 1
    }

    /// Has a request of a module look for another instance, if the one that it was begun in keeps it waiting.
    pub fn move_on(&self, shelf: &mut Shelf, module: usize, call: &mut Call) {
        let module = &self.modules[module];
        if let Entry::Http03(pre) = &module.entry {
            call.move_on(|| self.shared(shelf, module, pre));
        }
    }

    /// An instance that takes another request.
    fn shared(&self, shelf: &mut Shelf, module: &Module, pre: &Arc<http03::Pre>) -> Rc<Shared> {
        let Module { id, housing, grants, reuse, .. } = module;
        shelf.shared(*id, |siblings, thread| {
            Shared::new(pre, &housing.engine, grants, &self.common.clockwork, *reuse, siblings, thread)
        })
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
