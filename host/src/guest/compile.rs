//! From a Wasm file to native code in the cache. Runs in a short-lived process of its own: compiling takes long,
//! takes memory, and reads a file that nobody has checked.
//!
//! What passes here loads in a child: all that a child would check is checked here, where an operator sees it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use wasmtime::Engine;
use wasmtime::component::Component;

use super::cache::{Cache, CacheError, Footprint};
use super::engine;
use super::http02;

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
pub fn compile(wasm_path: &Path, cache_dir: &Path) -> Result<Compiled, CompileError> {
    let wasm = fs::read(wasm_path).map_err(|source| CompileError::Read { path: wasm_path.to_owned(), source })?;
    let engine = engine::for_compiler().map_err(|error| CompileError::Engine(format!("{error:#}")))?;
    let cache = Cache::open(cache_dir)?;
    let native = cache.path(&wasm, &engine);
    if let Some(Footprint { memory_initial, .. }) = Cache::find(&native) {
        return Ok(Compiled { native, was_cached: true, memory_initial });
    }
    recognise(&wasm, wasm_path)?;
    let code = engine
        .precompile_component(&wasm)
        .map_err(|error| CompileError::Compile { path: wasm_path.to_owned(), cause: format!("{error:#}") })?;
    let footprint = verify(&engine, &code, wasm_path)?;
    cache.store(&native, &code, footprint)?;
    Ok(Compiled { native, was_cached: false, memory_initial: footprint.memory_initial })
}

/// Tells by the first bytes what a file is: "\0asm", then 16 bits of version and 16 bits of layer.
fn recognise(wasm: &[u8], path: &Path) -> Result<(), CompileError> {
    const CORE_LAYER: [u8; 2] = [0, 0];
    match wasm {
        [0, b'a', b's', b'm', _, _, layer @ ..] if layer.starts_with(&CORE_LAYER) => {
            Err(CompileError::CoreModule(path.to_owned()))
        }
        [0, b'a', b's', b'm', ..] => Ok(()),
        text if is_wat(text) => Ok(()),
        _ => Err(CompileError::NotWasm(path.to_owned())),
    }
}

/// Text that begins, after white space and comments, with a parenthesis.
fn is_wat(bytes: &[u8]) -> bool {
    let Ok(mut text) = std::str::from_utf8(bytes) else { return false };
    loop {
        text = text.trim_start();
        text = match text.strip_prefix(";;") {
            Some(comment) => comment.split_once('\n').map_or("", |(_, rest)| rest),
            None => return text.starts_with('('),
        };
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
