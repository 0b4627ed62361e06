//! From a Wasm file to native code in the cache. Runs in a short-lived process of its own: compiling takes long,
//! takes memory, and reads a file that nobody has checked. So it has limits of its own, which have nothing to do with
//! those of guests.
//!
//! What passes here loads in a child: all that a child would check is checked here, where an operator sees it.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use nix::unistd::{SysconfVar, sysconf};
use wasmtime::Engine;

use super::cache::{Cache, CacheError, Footprint};
use super::code::Code;
use super::engine;
use super::entry::Entry;
use super::source::Concurrency;
use crate::module::{Kind, WasmFile};

/// How long one file may take to compile. Ordinary ones take seconds.
pub const COMPILE_TIME_MAX: Duration = Duration::from_secs(300);

/// Bytes of memory that the compiling process may have beyond what it begins with (RLIMIT_DATA). Measured: 390 MiB for a Python
/// interpreter.
const COMPILER_MEMORY_MAX: u64 = 4 << 30;

/// Stack of the thread that compiles, as the main thread of a process has it.
const COMPILER_STACK_BYTES: usize = 8 << 20;

/// Native code, ready to be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiled {
    /// Where it is.
    pub native: PathBuf,
    /// It was there before.
    pub was_cached: bool,
    /// Bytes of linear memory that an instance has at the start; `limits.memory` must not be lower.
    pub memory_initial: u64,
}

impl Compiled {
    fn cached(native: PathBuf, Footprint { memory_initial, .. }: Footprint) -> Self {
        Self { native, was_cached: true, memory_initial }
    }
}

/// Why a Wasm file cannot be served. For the operator, or for whom the file is from.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// Invalid Wasm, or Wasm that uses what is switched off.
    #[error("cannot compile {}: {cause}", path.display())]
    Compile {
        /// The file.
        path: PathBuf,
        /// Wasmtime's reason.
        cause: String,
    },
    /// What it exports or imports is not of the type that it should be.
    #[error("cannot link {}: {cause}", path.display())]
    Link {
        /// The file.
        path: PathBuf,
        /// Wasmtime's reason.
        cause: String,
    },
    /// It might never end.
    #[error("cannot compile {} within {} s", path.display(), limit.as_secs())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// How long it was waited for.
        limit: Duration,
    },
    /// No engine on this machine.
    #[error("cannot set up the compiler: {0}")]
    Engine(String),
    /// The cache directory.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

/// Finds the native code of a Wasm file in the cache, or compiles it into the cache. `kind` is what the file was
/// recognised as; `path` is where it is from, for what is told of it.
///
/// # Errors
///
/// If the file cannot be served, or the cache cannot be used; every variant's text says what to do.
pub fn compile(file: &WasmFile, kind: Kind, path: &Path, cache_dir: &Path) -> Result<Compiled, CompileError> {
    let tasks = Concurrency::of(kind);
    let engine = engine::for_compiler(tasks).map_err(|error| CompileError::Engine(format!("{error:#}")))?;
    let cache = Cache::open(cache_dir)?;
    let native = cache.path(file.binary(), &engine);
    if let Some(found) = cache.find(&native) {
        return Ok(Compiled::cached(native, found));
    }
    // If the compiler takes too much memory, this is the last that is heard of it, apart from the allocator's word.
    tracing::info!(
        "compiling {}, in at most {} s and {} MiB of memory",
        path.display(),
        COMPILE_TIME_MAX.as_secs(),
        COMPILER_MEMORY_MAX >> 20
    );
    let code = translate(&engine, kind, file.binary().to_owned(), path, COMPILE_TIME_MAX)?;
    let throws = file.inspect().is_ok_and(|inspection| inspection.throws);
    let footprint = verify(&engine, kind, &code, path)?.with_heap(throws);
    cache.store(&native, &code, footprint)?;
    Ok(Compiled { native, was_cached: false, memory_initial: footprint.memory_initial })
}

/// Native code that was compiled before, if it is still in its cache, whole and unchanged.
#[must_use]
pub fn find_compiled(native: &Path) -> Option<Compiled> {
    let cache = Cache::existing(native.parent()?).ok()?;
    cache.find(native).map(|found| Compiled::cached(native.to_owned(), found))
}

/// A text that is the same for two programs if each can run what the other has compiled.
///
/// # Panics
/// If there is no compiler for this machine: then nothing can be compiled either.
#[must_use]
pub fn compatibility() -> String {
    let of = |tasks| {
        let engine = engine::for_compiler(tasks).expect("this program compiles for the machine that it runs on");
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        hasher.finish()
    };
    format!("{} {:016x} {:016x}", env!("CARGO_PKG_VERSION"), of(Concurrency::One), of(Concurrency::Many))
}

/// Keeps a Wasm file that is made to be costly from taking all memory of the machine: an allocation beyond the limit
/// ends this process. To be called in a process that does nothing else.
///
/// The limit is on data, not on address space, of which threads reserve far more than they use. What there is already does not
/// count: the allocator has a gigabyte of it from the beginning, which is as good as empty.
///
/// # Errors
/// What `setrlimit(2)` says.
pub fn limit_memory_of_this_process() -> io::Result<()> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (soft, hard) = getrlimit(Resource::RLIMIT_DATA)?;
    Ok(setrlimit(Resource::RLIMIT_DATA, soft.min(data()? + COMPILER_MEMORY_MAX), hard)?)
}

/// Bytes of what counts for that limit, stacks included (proc_pid_statm(5)).
fn data() -> io::Result<u64> {
    let pages = fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = pages.split(' ').nth(5).and_then(|pages| pages.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
    let page = sysconf(SysconfVar::PAGE_SIZE)?.and_then(|bytes| u64::try_from(bytes).ok());
    Ok(pages * page.ok_or(io::ErrorKind::Unsupported)?)
}

/// Compiles on a thread of its own, which is left behind if it does not end in time: the process soon does.
fn translate(
    engine: &Engine,
    kind: Kind,
    wasm: Vec<u8>,
    path: &Path,
    limit: Duration,
) -> Result<Vec<u8>, CompileError> {
    let failed = |cause: String| CompileError::Compile { path: path.to_owned(), cause };
    let (sender, receiver) = sync_channel(1);
    let engine = engine.clone();
    let compiler = thread::Builder::new().name("compiler".into()).stack_size(COMPILER_STACK_BYTES);
    compiler
        .spawn(move || {
            // Nobody listens any more if it took too long.
            let _ = sender.send(Code::compile(&engine, kind, &wasm));
        })
        .map_err(|error| CompileError::Engine(format!("no thread: {error}")))?;
    match receiver.recv_timeout(limit) {
        Ok(code) => code.map_err(|error| failed(format!("{error:#}"))),
        Err(RecvTimeoutError::Timeout) => Err(CompileError::TooLong { path: path.to_owned(), limit }),
        Err(RecvTimeoutError::Disconnected) => Err(failed("the compiler panicked".into())),
    }
}

/// Loads the code as a child would.
fn verify(engine: &Engine, kind: Kind, code: &[u8], path: &Path) -> Result<Footprint, CompileError> {
    let link_error = |error: wasmtime::Error| CompileError::Link { path: path.to_owned(), cause: format!("{error:#}") };
    // SAFETY: these are the bytes that this engine's compiler has just returned.
    let code = unsafe { Code::load(engine, kind, code) }.map_err(link_error)?;
    let linkers = engine::linkers(engine, Concurrency::of(kind)).map_err(link_error)?;
    Entry::of(kind, &linkers, &code).map_err(link_error)?;
    let imports_code = || CompileError::Link { path: path.to_owned(), cause: "it imports core modules".into() };
    Footprint::of(&code).ok_or_else(imports_code)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::testing::guest;
    use super::*;

    /// Compiles `content` as a file, with a cache beside it.
    fn compile_content(dir: &Path, content: &[u8]) -> Result<Compiled, CompileError> {
        let wasm = dir.join("module");
        fs::write(&wasm, content).unwrap();
        compile(&WasmFile::read(&wasm).unwrap(), Kind::HttpIncomingHandler, &wasm, &dir.join("cache"))
    }

    fn error_of(content: &[u8]) -> CompileError {
        compile_content(tempfile::tempdir().unwrap().path(), content).expect_err("cannot be served")
    }

    #[test]
    fn a_module_is_compiled_once() {
        let dir = tempfile::tempdir().unwrap();
        let first = compile_content(dir.path(), guest("nop").as_bytes()).unwrap();
        let second = compile_content(dir.path(), guest("nop").as_bytes()).unwrap();
        assert_eq!((first.was_cached, second.was_cached), (false, true));
        assert_eq!(first.native, second.native);
        assert_eq!(first.memory_initial, 64 << 10);
        let other = compile_content(dir.path(), guest("nop nop").as_bytes()).unwrap();
        assert_ne!(other.native, first.native);
    }

    #[test]
    fn a_damaged_entry_is_compiled_again() {
        let dir = tempfile::tempdir().unwrap();
        let Compiled { native, .. } = compile_content(dir.path(), guest("nop").as_bytes()).unwrap();
        let good = fs::read(&native).unwrap();
        fs::write(&native, b"poison").unwrap();
        assert!(!compile_content(dir.path(), guest("nop").as_bytes()).unwrap().was_cached);
        assert_eq!(fs::read(&native).unwrap(), good);
    }

    #[test]
    fn what_is_no_valid_wasm_is_refused() {
        for content in [&b"\0asm"[..], b"(module (func (export \"_start\")))"] {
            assert!(matches!(error_of(content), CompileError::Compile { .. }), "{content:?}");
        }
    }

    #[test]
    fn a_component_of_another_type_does_not_link() {
        let mistyped = b"(component (instance $i) (export \"wasi:http/incoming-handler@0.2.0\" (instance $i)))";
        let error = error_of(mistyped);
        assert!(matches!(error, CompileError::Link { .. }), "{error}");
    }

    #[test]
    fn a_compiler_that_does_not_end_in_time_is_given_up() {
        let engine = engine::for_compiler(Concurrency::One).unwrap();
        let wasm = guest("nop").into_bytes();
        let error =
            translate(&engine, Kind::HttpIncomingHandler, wasm, Path::new("a.wasm"), Duration::ZERO).unwrap_err();
        assert_eq!(error.to_string(), "cannot compile a.wasm within 0 s");
    }
}
