//! What of the native code in a cache may go, so that it stays within its limit: what no server needs, the longest unused
//! first. Compiles nothing, and never looks into what it removes.
//!
//! Several servers may share a cache. Each says in a file of its own there, `HASH.needs`, what it needs; and what was used a
//! moment ago may be what another one is just about to need.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::cache::{CacheError, SEEN, io_error, write_whole};
use crate::unfinished;

/// Seconds for which what was used, or is being written, stays. A preparation takes minutes at most.
const RECENT: u64 = 60 * 60;

/// What a server needs of its cache.
#[derive(Debug)]
pub struct Needs<'a> {
    /// Tells servers apart, and outlives them: no two that share a cache have the same.
    pub runtime_dir: &'a Path,
    pub natives: BTreeSet<&'a Path>,
    /// Otherwise what it needed before it still needs.
    pub are_all: bool,
}

/// The same as a file in the cache.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Needed {
    runtime_dir: PathBuf,
    /// Names of files.
    natives: BTreeSet<PathBuf>,
}

/// Native code and its label.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    native: PathBuf,
    bytes: u64,
    /// Seconds since the Unix epoch.
    used: u64,
    is_needed: bool,
}

/// Removes native code until there are no more than `limit` bytes, or nothing that may go. Answers with the bytes that are
/// needed, if these alone are more. `now` is in seconds since the Unix epoch.
///
/// # Errors
/// The directory cannot be read or written to; or it does not show what another server needs, and then no native code goes.
pub fn evict(cache_dir: &Path, needs: &Needs<'_>, limit: u64, now: u64) -> Result<Option<u64>, CacheError> {
    write_down(cache_dir, needs)?;
    let mut needed = BTreeSet::new();
    let mut natives = Vec::new();
    for entry in fs::read_dir(cache_dir).map_err(io_error("read", cache_dir))? {
        let path = entry.map_err(io_error("read", cache_dir))?.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("cwasm") => natives.push(path),
            Some(SEEN) if !path.with_extension("cwasm").exists() => remove(&path)?,
            Some("needs") => match read_needs(&path)? {
                Some(Needed { runtime_dir, .. }) if is_gone(&runtime_dir) => remove(&path)?,
                Some(Needed { natives, .. }) => needed.extend(natives),
                None => {}
            },
            _ if is_left_unfinished(&path, now) => remove(&path)?,
            _ => {}
        }
    }
    let entries: Vec<Entry> = natives.into_iter().filter_map(|native| look_at(native, &needed)).collect();
    let needed: u64 = entries.iter().filter(|entry| entry.is_needed).map(|entry| entry.bytes).sum();
    for Entry { native, .. } in superfluous(entries, limit, now) {
        // Another server may have come to need it since.
        if used(&native.with_extension("json")).is_some_and(|used| is_recent(used, now)) {
            continue;
        }
        // The label first: without it an entry does not count, whoever looks meanwhile.
        remove(&native.with_extension("json"))?;
        remove(&native)?;
        remove(&native.with_extension(SEEN))?;
    }
    Ok((needed > limit).then_some(needed))
}

/// Those to be removed, the longest unused first.
fn superfluous(entries: Vec<Entry>, limit: u64, now: u64) -> Vec<Entry> {
    let mut bytes: u64 = entries.iter().map(|entry| entry.bytes).sum();
    let mut unneeded: Vec<Entry> =
        entries.into_iter().filter(|entry| !entry.is_needed && !is_recent(entry.used, now)).collect();
    unneeded.sort_by_key(|entry| entry.used);
    let is_too_much = |entry: &Entry| {
        let before = bytes;
        bytes -= entry.bytes;
        before > limit
    };
    unneeded.into_iter().take_while(is_too_much).collect()
}

/// Also if the clock was put back since.
fn is_recent(used: u64, now: u64) -> bool {
    now.saturating_sub(used) < RECENT
}

fn write_down(cache_dir: &Path, needs: &Needs<'_>) -> Result<(), CacheError> {
    let name = blake3::hash(needs.runtime_dir.as_os_str().as_encoded_bytes()).to_hex();
    let path = cache_dir.join(format!("{name}.needs"));
    let mut natives: BTreeSet<_> =
        needs.natives.iter().filter_map(|native| native.file_name()).map(PathBuf::from).collect();
    if !needs.are_all {
        natives.extend(read_needs(&path)?.into_iter().flat_map(|before| before.natives));
    }
    let needed = Needed { runtime_dir: needs.runtime_dir.to_owned(), natives };
    let text = serde_json::to_vec(&needed).expect("paths of the configuration are text");
    if fs::read(&path).is_ok_and(|there| there == text) {
        return Ok(());
    }
    write_whole(&path, &text)
}

/// `None`: there is none, or another server has removed it. One that cannot be read may name anything.
fn read_needs(path: &Path) -> Result<Option<Needed>, CacheError> {
    let text = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text.map_err(io_error("read", path))?,
    };
    serde_json::from_slice(&text).map(Some).map_err(|cause| CacheError::Needs { path: path.to_owned(), cause })
}

/// What a server has needed that is gone nobody needs. One that is still there need not run.
fn is_gone(runtime_dir: &Path) -> bool {
    runtime_dir.try_exists().is_ok_and(|is_there| !is_there)
}

/// Whether whoever wrote a file has left it long ago.
fn is_left_unfinished(path: &Path, now: u64) -> bool {
    let is_unfinished = path.file_name().and_then(|name| name.to_str()).is_some_and(unfinished::is_name);
    is_unfinished && used(path).is_some_and(|used| !is_recent(used, now))
}

/// `None`: it is gone.
fn look_at(native: PathBuf, needed: &BTreeSet<PathBuf>) -> Option<Entry> {
    let code = native.metadata().ok()?;
    let label = native.with_extension("json");
    // Without a label it is being written, or will be written anew.
    let used = used(&label).or_else(|| used(&native))?;
    let bytes = code.len() + label.metadata().map_or(0, |label| label.len());
    let is_needed = native.file_name().is_some_and(|name| needed.contains(Path::new(name)));
    Some(Entry { native, bytes, used, is_needed })
}

/// When a file was last written or [touched](super::cache::touch).
fn used(path: &Path) -> Option<u64> {
    path.metadata().ok().map(|facts| u64::try_from(facts.mtime()).unwrap_or(0))
}

fn remove(path: &Path) -> Result<(), CacheError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("remove", path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    const NOW: u64 = 1_000_000;
    const LONG_AGO: u64 = NOW - RECENT;

    fn entry(name: &str, bytes: u64, used: u64, is_needed: bool) -> Entry {
        Entry { native: name.into(), bytes, used, is_needed }
    }

    fn removed(entries: &[Entry], limit: u64) -> Vec<String> {
        superfluous(entries.to_vec(), limit, NOW).into_iter().map(|entry| entry.native.display().to_string()).collect()
    }

    #[test]
    fn the_longest_unused_goes_first_and_no_more_than_must() {
        let entries =
            [entry("c", 10, LONG_AGO, false), entry("a", 10, LONG_AGO - 2, false), entry("b", 10, LONG_AGO - 1, false)];
        assert!(removed(&entries, 30).is_empty());
        assert_eq!(removed(&entries, 29), ["a"]);
        assert_eq!(removed(&entries, 19), ["a", "b"]);
        assert_eq!(removed(&entries, 0), ["a", "b", "c"]);
    }

    #[test]
    fn what_is_needed_or_was_just_used_stays_whatever_the_limit() {
        let entries = [
            entry("needed", 10, 0, true),
            entry("used", 10, LONG_AGO + 1, false),
            entry("tomorrow", 10, NOW + 86_400, false),
            entry("old", 10, LONG_AGO, false),
        ];
        assert_eq!(removed(&entries, 0), ["old"]);
    }

    /// A cache with these entries of 8 bytes, which were used long ago.
    fn cache(names: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for name in names {
            for file in [format!("{name}.cwasm"), format!("{name}.json")] {
                fs::write(dir.path().join(&file), "four").unwrap();
                let file = fs::File::options().write(true).open(dir.path().join(file)).unwrap();
                file.set_modified(UNIX_EPOCH + Duration::from_secs(LONG_AGO)).unwrap();
            }
        }
        dir
    }

    fn natives(dir: &Path) -> Vec<String> {
        let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        let entries = paths.filter(|path| path.extension().is_some_and(|extension| extension != "needs"));
        let mut names: Vec<String> =
            entries.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn what_another_server_needs_stays_until_that_is_gone() {
        let (dir, here, there) = (cache(&["a", "b", "c"]), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let native = |name: &str| dir.path().join(name);
        let (a, b) = (native("a.cwasm"), native("b.cwasm"));
        let evict = |natives: &[&Path]| {
            let needs = Needs { runtime_dir: here.path(), natives: natives.iter().copied().collect(), are_all: true };
            super::evict(dir.path(), &needs, 1, NOW).unwrap()
        };
        let of_other = Needs { runtime_dir: there.path(), natives: [a.as_path()].into(), are_all: true };
        write_down(dir.path(), &of_other).unwrap();
        assert_eq!(evict(&[&b]), Some(16), "both are needed");
        assert_eq!(natives(dir.path()), ["a.cwasm", "a.json", "b.cwasm", "b.json"]);
        drop(there);
        assert_eq!(evict(&[&b]), Some(8));
        assert_eq!(natives(dir.path()), ["b.cwasm", "b.json"]);
        assert_eq!(evict(&[]), None);
        assert!(natives(dir.path()).is_empty());
    }

    #[test]
    fn what_a_server_needed_before_stays_until_it_is_known_what_it_needs() {
        let (dir, here) = (cache(&["a", "b", "c"]), tempfile::tempdir().unwrap());
        write_down(
            dir.path(),
            &Needs { runtime_dir: here.path(), natives: [Path::new("b.cwasm")].into(), are_all: true },
        )
        .unwrap();
        let evict = |name: &str, are_all| {
            let native = dir.path().join(name);
            let needs = Needs { runtime_dir: here.path(), natives: [native.as_path()].into(), are_all };
            super::evict(dir.path(), &needs, 1, NOW).unwrap();
            natives(dir.path())
        };
        assert_eq!(evict("a.cwasm", false), ["a.cwasm", "a.json", "b.cwasm", "b.json"]);
        assert_eq!(evict("a.cwasm", true), ["a.cwasm", "a.json"]);
    }

    #[test]
    fn while_it_is_not_known_what_another_server_needs_nothing_goes() {
        let (dir, here) = (cache(&["a"]), tempfile::tempdir().unwrap());
        let of_other = dir.path().join("other.needs");
        fs::write(&of_other, "{}").unwrap();
        let needs = Needs { runtime_dir: here.path(), natives: BTreeSet::new(), are_all: true };
        let told = evict(dir.path(), &needs, 0, NOW).unwrap_err().to_string();
        assert!(told.contains("other.needs is not what this program writes there: "), "{told}");
        assert!(told.ends_with(": remove it if no server of another version uses this cache"), "{told}");
        assert!(of_other.exists() && natives(dir.path()) == ["a.cwasm", "a.json"]);
    }

    #[test]
    fn what_was_left_half_written_goes() {
        let dir = cache(&[]);
        for (name, used) in [(".AbCd12.unfinished", LONG_AGO), (".XyZ345.unfinished", NOW)] {
            let file = fs::File::create(dir.path().join(name)).unwrap();
            file.set_modified(UNIX_EPOCH + Duration::from_secs(used)).unwrap();
        }
        let needs = Needs { runtime_dir: dir.path(), natives: BTreeSet::new(), are_all: true };
        evict(dir.path(), &needs, 1 << 30, NOW).unwrap();
        assert_eq!(natives(dir.path()), [".XyZ345.unfinished"]);
    }

    #[test]
    fn an_entry_is_as_young_as_its_last_use() {
        let dir = cache(&["a"]);
        super::super::cache::touch(&dir.path().join("a.json"));
        let now = crate::clock::epoch_secs();
        assert!(is_recent(look_at(dir.path().join("a.cwasm"), &BTreeSet::new()).unwrap().used, now));
    }
}
