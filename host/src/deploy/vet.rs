//! A process for each file that is new: it may take all the memory and the stack that it is given, and if that is its end, it
//! is nobody else's.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::Refusal;
use super::errand::{self, Failure};
use super::versions::hash;
use crate::guest::compile::{COMPILE_TIME_MAX, compile, limit_memory_of_this_process};
use crate::module::{FileError, WasmFile};

/// Files that are looked at beside each other. Each compiler uses several cores by itself, and may take much memory.
const AT_ONCE: usize = 2;

/// How long a process may take beside the compiler: to read the file, and to look at what came of it.
const LOOK_TIME_MAX: Duration = Duration::from_secs(60);

/// How often a file is looked at that is another one whenever it is read again.
const LOOKS_MAX: usize = 3;

/// What came of one file: the hash of its Wasm, which is compiled, or why it cannot be served.
pub(crate) type Verdict = Result<String, Refusal>;

/// What came of several, by their paths.
pub(crate) type Vetted = BTreeMap<PathBuf, Verdict>;

/// Does the process's work: reads the file, checks it as far as it can be checked alone, and compiles it into the cache. Answers
/// with the hash of its Wasm.
///
/// # Errors
/// Why it cannot be served, and what to do.
pub fn vet(wasm: &Path, cache_dir: &Path) -> Result<String, Refusal> {
    errand::end_with_parent();
    limit_memory_of_this_process()
        .map_err(|error| Refusal::for_now(format!("cannot limit the compiler's memory: {error}")))?;
    look(wasm, cache_dir)
}

fn look(wasm: &Path, cache_dir: &Path) -> Verdict {
    let file = WasmFile::read(wasm).map_err(|error| match error {
        FileError::Read { .. } => Refusal::for_now(error.to_string()),
        FileError::TooLarge { .. } | FileError::NotWasm(_) | FileError::Text { .. } => {
            Refusal::lasting(error.to_string())
        }
    })?;
    let cannot_use =
        |error: &dyn std::fmt::Display| Refusal::lasting(format!("cannot use {}: {error}", wasm.display()));
    let inspection = file.inspect().map_err(|error| cannot_use(&error))?;
    inspection.check_suitable().map_err(|error| cannot_use(&error))?;
    compile(&file, inspection.kind, wasm, cache_dir).map_err(|error| Refusal::of_compiler(&error))?;
    Ok(hash(file.binary()))
}

/// Reads a file that was looked at, and looks at it again if it is another one by now: what is compiled is what was looked at.
/// `read` answers also with the hash.
///
/// # Errors
/// It was refused, cannot be read, or is another one whenever it is read.
pub(crate) fn read_as_vetted<T>(
    mut verdict: Verdict,
    mut look: impl FnMut() -> Verdict,
    mut read: impl FnMut() -> Result<(T, String), Refusal>,
) -> Result<T, Refusal> {
    for _ in 0..LOOKS_MAX {
        let vetted = verdict?;
        let (file, hash) = read()?;
        if hash == vetted {
            return Ok(file);
        }
        verdict = look();
    }
    Err(Refusal::for_now("its file never stops changing: rename it into its place when it is complete"))
}

/// Has it done for each of these files.
pub(crate) fn all<'a>(files: impl IntoIterator<Item = &'a Path>, cache_dir: &Path) -> Vetted {
    each(files, |wasm| in_its_own_process(wasm, cache_dir))
}

fn each<'a>(files: impl IntoIterator<Item = &'a Path>, vet: impl Fn(&Path) -> Verdict + Sync) -> Vetted {
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
pub(crate) fn in_its_own_process(wasm: &Path, cache_dir: &Path) -> Verdict {
    let arguments: [&OsStr; 3] = ["vet".as_ref(), wasm.as_ref(), cache_dir.as_ref()];
    let path = wasm.display();
    errand::run(arguments, &[], COMPILE_TIME_MAX + LOOK_TIME_MAX).map_err(|failure| {
        failure.refusal(|failure| match failure {
            Failure::Said(why) | Failure::Hindered(why) => why,
            Failure::NotStarted(error) => format!("cannot start a process to look at {path}: {error}"),
            Failure::Died(status) => format!("cannot use {path}: the process that compiles it has died: {status}"),
            Failure::TooLong(limit) => {
                format!("cannot use {path}: the process that compiles it has not ended within {} s", limit.as_secs())
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Condvar;

    use super::*;

    #[test]
    fn files_are_looked_at_beside_each_other() {
        let files: Vec<PathBuf> = (0..2 * AT_ONCE).map(|number| PathBuf::from(format!("{number}.wasm"))).collect();
        let (begun, another_has) = (Mutex::new(0_usize), Condvar::new());
        let vetted = each(files.iter().map(PathBuf::as_path), |wasm| {
            let mut begun = begun.lock().unwrap();
            *begun += 1;
            another_has.notify_all();
            // None ends before so many have begun.
            let together = begun.next_multiple_of(AT_ONCE);
            let waited = another_has.wait_timeout_while(begun, LOOK_TIME_MAX, |begun| *begun < together).unwrap();
            assert!(!waited.1.timed_out(), "nobody is beside {}", wasm.display());
            if wasm.starts_with("3.wasm") { Err(Refusal::lasting("bad")) } else { Ok(String::new()) }
        });
        assert_eq!(vetted.len(), files.len());
        assert_eq!(vetted.values().filter(|result| result.is_err()).count(), 1);
        assert!(each([], |_| Ok(String::new())).is_empty());
    }

    #[test]
    fn only_what_is_wrong_with_the_file_itself_is_held_against_it() {
        let folder = tempfile::tempdir().unwrap();
        let (wasm, cache) = (folder.path().join("a.wasm"), folder.path().join("cache"));
        let refused = |cache: &Path| look(&wasm, cache).unwrap_err().is_lasting();
        assert!(!refused(&cache), "it is not there");
        fs::write(&wasm, "no wasm").unwrap();
        assert!(refused(&cache));
        let guest = "(module (memory (export \"memory\") 1) (func (export \"_start\")))";
        fs::write(&wasm, guest.replace("(func", "(func (result i32)")).unwrap();
        assert!(refused(&cache));
        fs::write(&wasm, guest).unwrap();
        let no_folder = folder.path().join("guest.txt");
        fs::write(&no_folder, "").unwrap();
        assert!(!refused(&no_folder), "its native code cannot be written");
        assert_eq!(look(&wasm, &cache).unwrap(), hash(WasmFile::read(&wasm).unwrap().binary()));
    }

    #[test]
    fn what_is_read_is_what_was_looked_at() {
        let read = |files: &[&'static str]| {
            let (mut looked, mut files) = (0, files.iter().copied());
            let look = || {
                looked += 1;
                Ok(String::from("two"))
            };
            let read = || Ok(files.next().map(|file| (file, file.to_owned())).unwrap());
            let read = read_as_vetted(Ok(String::from("one")), look, read).map_err(|refusal| refusal.is_lasting());
            (read, looked)
        };
        assert_eq!(read(&["one"]), (Ok("one"), 0));
        assert_eq!(read(&["two", "two"]), (Ok("two"), 1));
        assert_eq!(read(&["two", "three", "two"]), (Ok("two"), 2));
        assert_eq!(read(&["two", "three", "four"]), (Err(false), 3), "it is not waited for for ever");
        let bad =
            read_as_vetted(Err(Refusal::lasting("bad")), || panic!("it was looked at"), || Ok(((), String::new())));
        assert_eq!(bad, Err(Refusal::lasting("bad")));
    }
}
