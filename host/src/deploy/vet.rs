//! A process for one file that is new: it may take all the memory and the stack that it is given, and if that is its end, it
//! is nobody else's.

use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

use crate::guest::compile::{compile, limit_memory_of_this_process};
use crate::module::WasmFile;

/// Does the process's work: reads the file, checks it as far as it can be checked alone, and compiles it into the cache.
///
/// # Errors
/// Why it cannot be served, and what to do.
pub fn vet(wasm: &Path, cache_dir: &Path) -> Result<(), String> {
    // Whoever waits for this may be given up, and then nobody needs it.
    let _best_effort = set_pdeathsig(Signal::SIGKILL);
    limit_memory_of_this_process().map_err(|error| format!("cannot limit the compiler's memory: {error}"))?;
    let file = WasmFile::read(wasm).map_err(|error| error.to_string())?;
    let cannot_use = |error: &dyn std::fmt::Display| format!("cannot use {}: {error}", wasm.display());
    let inspection = file.inspect().map_err(|error| cannot_use(&error))?;
    inspection.check_suitable().map_err(|error| cannot_use(&error))?;
    compile(&file, inspection.kind, wasm, cache_dir).map(drop).map_err(|error| error.to_string())
}

/// Has it done by a process of its own.
///
/// # Errors
/// As [`vet`]; or the process has died, and how.
pub(super) fn in_its_own_process(wasm: &Path, cache_dir: &Path) -> Result<(), String> {
    let cannot = |error: std::io::Error| format!("cannot start a process to look at {}: {error}", wasm.display());
    let mut command = Command::new("/proc/self/exe");
    command.arg("vet").arg(wasm).arg(cache_dir).stdin(Stdio::null()).stdout(Stdio::piped());
    let output = command.stderr(Stdio::inherit()).output().map_err(cannot)?;
    match output.status {
        status if status.success() => Ok(()),
        // It has said why, in one text.
        status if status.code().is_some() && !output.stdout.is_empty() => {
            Err(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
        }
        status => Err(format!("cannot use {}: the process that compiles it has died: {status}", wasm.display())),
    }
}
