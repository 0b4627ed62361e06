//! A process for each file that is new: it may take all the memory and the stack that it is given, and if that is its end, it
//! is nobody else's.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::errand::{self, Failure};
use crate::guest::compile::{COMPILE_TIME_MAX, compile, limit_memory_of_this_process};
use crate::module::WasmFile;

/// Files that are looked at beside each other. Each compiler uses several cores by itself, and may take much memory.
const AT_ONCE: usize = 2;

/// How long a process may take beside the compiler: to read the file, and to look at what came of it.
const LOOK_TIME_MAX: Duration = Duration::from_secs(60);

/// What came of several files, by their paths.
pub(super) type Vetted = BTreeMap<PathBuf, Result<(), String>>;

/// Does the process's work: reads the file, checks it as far as it can be checked alone, and compiles it into the cache.
///
/// # Errors
/// Why it cannot be served, and what to do.
pub fn vet(wasm: &Path, cache_dir: &Path) -> Result<(), String> {
    errand::end_with_parent();
    limit_memory_of_this_process().map_err(|error| format!("cannot limit the compiler's memory: {error}"))?;
    let file = WasmFile::read(wasm).map_err(|error| error.to_string())?;
    let cannot_use = |error: &dyn std::fmt::Display| format!("cannot use {}: {error}", wasm.display());
    let inspection = file.inspect().map_err(|error| cannot_use(&error))?;
    inspection.check_suitable().map_err(|error| cannot_use(&error))?;
    compile(&file, inspection.kind, wasm, cache_dir).map(drop).map_err(|error| error.to_string())
}

/// Has it done for each of these files.
pub(super) fn all<'a>(files: impl IntoIterator<Item = &'a Path>, cache_dir: &Path) -> Vetted {
    each(files, |wasm| in_its_own_process(wasm, cache_dir))
}

fn each<'a>(files: impl IntoIterator<Item = &'a Path>, vet: impl Fn(&Path) -> Result<(), String> + Sync) -> Vetted {
    let files: Vec<&Path> = files.into_iter().collect();
    let threads = files.len().min(AT_ONCE);
    let waiting = Mutex::new(files.into_iter());
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || std::iter::from_fn(next).map(|wasm| (wasm.to_owned(), vet(wasm))).collect::<Vec<_>>();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("it only waits for processes")).collect()
    })
}

/// Has it done by a process of its own.
///
/// # Errors
/// As [`vet`]; or the process has died, and how, or has not ended in time.
pub(super) fn in_its_own_process(wasm: &Path, cache_dir: &Path) -> Result<(), String> {
    let arguments: [&OsStr; 3] = ["vet".as_ref(), wasm.as_ref(), cache_dir.as_ref()];
    let path = wasm.display();
    errand::run(arguments, &[], COMPILE_TIME_MAX + LOOK_TIME_MAX).map_err(|failure| match failure {
        Failure::Said(why) => why,
        Failure::NotStarted(error) => format!("cannot start a process to look at {path}: {error}"),
        Failure::Died(status) => format!("cannot use {path}: the process that compiles it has died: {status}"),
        Failure::TooLong(limit) => {
            format!("cannot use {path}: the process that compiles it has not ended within {} s", limit.as_secs())
        }
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn files_are_looked_at_beside_each_other() {
        let files: Vec<PathBuf> = (0..10).map(|number| PathBuf::from(format!("{number}.wasm"))).collect();
        // Whoever is alone would wait here for ever.
        let both = Barrier::new(AT_ONCE);
        let vetted = each(files.iter().map(PathBuf::as_path), |wasm| {
            both.wait();
            if wasm.starts_with("3.wasm") { Err(String::from("bad")) } else { Ok(()) }
        });
        assert_eq!(vetted.len(), 10);
        assert_eq!(vetted.values().filter(|result| result.is_err()).count(), 1);
        assert!(each([], |_| Ok(())).is_empty());
    }
}
