//! What the modules of a child are loaded from, for how much at once, and why they may not be to be had. Loads nothing.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::cache::CacheError;
use super::capabilities::DirError;
use crate::config;
use crate::module::Kind;

/// Instances of one module that a thread keeps although no call waits for them, where many share one: one that has nothing to do,
/// and some that are used up and go on for a while after their answers.
pub(super) const UNSEATED_MAX: usize = 4;

/// How many tasks a guest has at once. Native code made for one of these does not run in an engine of the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Concurrency {
    /// One at a time.
    One,
    /// Any number, as WASI 0.3 has it: every store carries the book-keeping for that.
    Many,
}

impl Concurrency {
    /// What guests of this kind have.
    pub(super) fn of(kind: Kind) -> Concurrency {
        match kind {
            Kind::HttpHandler => Concurrency::Many,
            Kind::HttpIncomingHandler
            | Kind::CliComponent
            | Kind::OtherComponent
            | Kind::Command
            | Kind::OtherCoreModule => Concurrency::One,
        }
    }
}

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
    pub(super) fn kept_max(&self) -> usize {
        match Concurrency::of(self.kind) {
            Concurrency::One => usize::from(self.max_requests_per_instance != 1),
            Concurrency::Many => UNSEATED_MAX,
        }
    }
}

/// How much a child does at once.
#[derive(Debug, Clone, Copy)]
pub struct Capacity {
    /// Calls at once in this child. With more there may be no room: [`super::Fault::NoRoom`].
    pub calls_max: usize,
    /// Threads that call, each with a [`Shelf`](super::Shelf) of its own. What rests there takes nothing from `calls_max`.
    pub threads: usize,
    /// Instances for which each of them has room beyond those of the modules that there are: of such as come later, and of
    /// such as are on their way out. 0: there will be no other modules.
    pub spare: usize,
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
