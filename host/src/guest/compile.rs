//! From a Wasm file to native code in the cache. Runs in a short-lived process of its own: compiling takes long,
//! takes memory, and reads a file that nobody has checked. So it has limits of its own, which have nothing to do with
//! those of guests.
//!
//! What passes here loads in a child: all that a child would check is checked here, where an operator sees it.

use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use wasmtime::Engine;
use wasmtime::component::Component;

use super::cache::{Cache, CacheError, Footprint};
use super::engine;
use super::http02;
use crate::module::is_text;

/// Bytes of a Wasm file: ten times what the largest interpreters take.
const WASM_BYTES_MAX: u64 = 512 << 20;

/// How long one file may take to compile. Ordinary ones take seconds.
const COMPILE_TIME_MAX: Duration = Duration::from_secs(300);

/// Bytes of memory that the compiling process may have (RLIMIT_DATA). Measured: 390 MiB for a Python interpreter.
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

/// Why a Wasm file cannot be served. For the operator, or for whom the file is from.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The file itself.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something else was named.
    #[error("{} is not a Wasm file", .0.display())]
    NotWasm(PathBuf),
    /// A module without interfaces.
    #[error(
        "{} is a core Wasm module, which is not supported yet: build a component that exports \
         {}@0.2 instead (in Rust: a cdylib for the target wasm32-wasip2)",
        .0.display(), http02::INTERFACE
    )]
    CoreModule(PathBuf),
    /// Invalid Wasm, or Wasm that uses what is switched off.
    #[error("cannot compile {}: {cause}", path.display())]
    Compile {
        /// The file.
        path: PathBuf,
        /// Wasmtime's reason.
        cause: String,
    },
    /// A component, but no handler of requests.
    #[error("{} does not export {}@0.2, so it cannot answer requests; it exports {exports}", path.display(), http02::INTERFACE)]
    NoHandler {
        /// The file.
        path: PathBuf,
        /// What it exports, as a list.
        exports: String,
    },
    /// The component needs what the server does not offer.
    #[error("{} imports what this server does not offer: {imports}", path.display())]
    Imports {
        /// The file.
        path: PathBuf,
        /// All of it, as a list.
        imports: String,
    },
    /// The component's types do not fit.
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

/// Finds the native code of a Wasm file in the cache, or compiles it into the cache.
///
/// Text (`.wat`) is accepted as well.
///
/// # Errors
///
/// If the file cannot be served, or the cache cannot be used; every variant's text says what to do.
pub fn compile(wasm_path: &Path, cache_dir: &Path) -> Result<Compiled, CompileError> {
    let wasm = read(wasm_path).map_err(|source| CompileError::Read { path: wasm_path.to_owned(), source })?;
    let engine = engine::for_compiler().map_err(|error| CompileError::Engine(format!("{error:#}")))?;
    let cache = Cache::open(cache_dir)?;
    let native = cache.path(&wasm, &engine);
    if let Some(Footprint { memory_initial, .. }) = Cache::find(&native) {
        return Ok(Compiled { native, was_cached: true, memory_initial });
    }
    recognise(&wasm, wasm_path)?;
    // If the compiler takes too much memory, this is the last that is heard of it, apart from the allocator's word.
    tracing::info!(
        "compiling {}, in at most {} s and {} MiB of memory",
        wasm_path.display(),
        COMPILE_TIME_MAX.as_secs(),
        COMPILER_MEMORY_MAX >> 20
    );
    let code = translate(&engine, wasm, wasm_path, COMPILE_TIME_MAX)?;
    let footprint = verify(&engine, &code, wasm_path)?;
    cache.store(&native, &code, footprint)?;
    Ok(Compiled { native, was_cached: false, memory_initial: footprint.memory_initial })
}

/// Keeps a Wasm file that is made to be costly from taking all memory of the machine: an allocation beyond the limit
/// ends this process. To be called in a process that does nothing else.
///
/// The limit is on data, not on address space, of which threads and their allocators reserve far more than they use.
///
/// # Errors
/// What `setrlimit(2)` says.
pub fn limit_memory_of_this_process() -> io::Result<()> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (soft, hard) = getrlimit(Resource::RLIMIT_DATA)?;
    Ok(setrlimit(Resource::RLIMIT_DATA, soft.min(COMPILER_MEMORY_MAX), hard)?)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    // A pipe without a writer is not waited for.
    let file = OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut content = Vec::new();
    if file.take(WASM_BYTES_MAX + 1).read_to_end(&mut content)? as u64 > WASM_BYTES_MAX {
        return Err(io::Error::other(format!("it has more than {} MiB", WASM_BYTES_MAX >> 20)));
    }
    Ok(content)
}

/// Compiles on a thread of its own, which is left behind if it does not end in time: the process soon does.
fn translate(engine: &Engine, wasm: Vec<u8>, path: &Path, limit: Duration) -> Result<Vec<u8>, CompileError> {
    let failed = |cause: String| CompileError::Compile { path: path.to_owned(), cause };
    let (sender, receiver) = sync_channel(1);
    let engine = engine.clone();
    let compiler = thread::Builder::new().name("compiler".into()).stack_size(COMPILER_STACK_BYTES);
    compiler
        .spawn(move || {
            // Nobody listens any more if it took too long.
            let _ = sender.send(engine.precompile_component(&wasm));
        })
        .map_err(|error| CompileError::Engine(format!("no thread: {error}")))?;
    match receiver.recv_timeout(limit) {
        Ok(code) => code.map_err(|error| failed(format!("{error:#}"))),
        Err(RecvTimeoutError::Timeout) => Err(CompileError::TooLong { path: path.to_owned(), limit }),
        Err(RecvTimeoutError::Disconnected) => Err(failed("the compiler panicked".into())),
    }
}

/// Tells by the first bytes what a file is: "\0asm", then 16 bits of version and 16 bits of layer.
fn recognise(wasm: &[u8], path: &Path) -> Result<(), CompileError> {
    const CORE_LAYER: [u8; 2] = [0, 0];
    match wasm {
        [0, b'a', b's', b'm', _, _, layer @ ..] if layer.starts_with(&CORE_LAYER) => {
            Err(CompileError::CoreModule(path.to_owned()))
        }
        [0, b'a', b's', b'm', ..] => Ok(()),
        text if is_text(text) => Ok(()),
        _ => Err(CompileError::NotWasm(path.to_owned())),
    }
}

/// Loads the code as a child would.
fn verify(engine: &Engine, code: &[u8], path: &Path) -> Result<Footprint, CompileError> {
    let link_error = |cause: String| CompileError::Link { path: path.to_owned(), cause };
    // SAFETY: these are the bytes that `precompile_component` of this engine has just returned.
    let component =
        unsafe { Component::deserialize(engine, code) }.map_err(|error| link_error(format!("{error:#}")))?;
    let ty = component.component_type();
    if !ty.exports(engine).any(|(name, _)| is_version_0_2(name, http02::INTERFACE)) {
        let exports = list(ty.exports(engine).map(|(name, _)| name));
        return Err(CompileError::NoHandler { path: path.to_owned(), exports });
    }
    let linker = engine::linker(engine).map_err(|error| link_error(format!("{error:#}")))?;
    if let Err(error) = http02::prepare(&linker, &component) {
        let unknown = || ty.imports(engine).map(|(name, _)| name).filter(|name| !is_offered(name));
        return Err(if unknown().next().is_some() {
            CompileError::Imports { path: path.to_owned(), imports: list(unknown()) }
        } else {
            link_error(format!("{error:#}"))
        });
    }
    Footprint::of(&component).ok_or_else(|| link_error("it imports core modules".into()))
}

/// Interfaces of WASI 0.2 that the linker offers, for naming all that is missing at once: Wasmtime names only the
/// first. Whether a component links is never decided by this list.
const OFFERED: [&str; 30] = [
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:http/outgoing-handler",
    "wasi:http/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
    "wasi:sockets/instance-network",
    "wasi:sockets/ip-name-lookup",
    "wasi:sockets/network",
    "wasi:sockets/tcp",
    "wasi:sockets/tcp-create-socket",
    "wasi:sockets/udp",
    "wasi:sockets/udp-create-socket",
    "wasi:clocks/timezone",
];

fn is_offered(import: &str) -> bool {
    OFFERED.iter().any(|interface| is_version_0_2(import, interface))
}

fn is_version_0_2(name: &str, interface: &str) -> bool {
    name.strip_prefix(interface).and_then(|rest| rest.strip_prefix("@0.2.")).is_some()
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.collect();
    if names.is_empty() { "nothing".into() } else { names.join(", ") }
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
        compile(&wasm, &dir.join("cache"))
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
    fn what_is_no_wasm_is_refused() {
        for content in [&b""[..], b"\x7fELF", b"#!/bin/sh", b"\0asm", b";; only a comment"] {
            assert!(!matches!(error_of(content), CompileError::Cache(_)), "{content:?}");
        }
        assert!(matches!(error_of(b"\x7fELF"), CompileError::NotWasm(_)));
    }

    #[test]
    fn a_core_module_is_told_apart_with_advice() {
        let error = error_of(b"\0asm\x01\0\0\0");
        assert!(matches!(error, CompileError::CoreModule(_)));
        assert!(error.to_string().contains("wasm32-wasip2"), "{error}");
    }

    #[test]
    fn a_component_without_a_handler_is_told_what_it_exports() {
        let error = error_of(b"(component (instance $i) (export \"acme:greet/hello@1.0.0\" (instance $i)))");
        let CompileError::NoHandler { exports, .. } = &error else { panic!("{error}") };
        assert_eq!(exports, "acme:greet/hello@1.0.0");
    }

    #[test]
    fn every_import_that_is_not_offered_is_named() {
        let wat = guest("nop").replacen(
            "(component",
            "(component (import \"acme:a/b@1.0.0\" (instance (export \"f\" (func)))) (import \"c\" (func))",
            1,
        );
        let error = error_of(wat.as_bytes());
        let CompileError::Imports { imports, .. } = &error else { panic!("{error}") };
        assert_eq!(imports, "acme:a/b@1.0.0, c");
    }

    #[test]
    fn a_compiler_that_does_not_end_in_time_is_given_up() {
        let engine = engine::for_compiler().unwrap();
        let wasm = guest("nop").into_bytes();
        let error = translate(&engine, wasm, Path::new("a.wasm"), Duration::ZERO).unwrap_err();
        assert_eq!(error.to_string(), "cannot compile a.wasm within 0 s");
    }

    #[test]
    fn what_might_never_end_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for path in [&pipe, dir.path(), Path::new("/dev/zero")] {
            let error = compile(path, &dir.path().join("cache")).unwrap_err();
            assert!(error.to_string().ends_with("it is not a regular file"), "{error}");
        }
        let huge = dir.path().join("huge");
        fs::File::create(&huge).unwrap().set_len(WASM_BYTES_MAX + 1).unwrap();
        let error = compile(&huge, &dir.path().join("cache")).unwrap_err();
        assert!(error.to_string().ends_with("it has more than 512 MiB"), "{error}");
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = compile(Path::new("/nonexistent/a.wasm"), Path::new("/nonexistent/cache")).unwrap_err();
        assert!(error.to_string().starts_with("cannot read /nonexistent/a.wasm: "), "{error}");
    }
}
