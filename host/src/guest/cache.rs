//! The cache of native code: a private directory with two or three files for every compiled module, beside what servers
//! [need](super::eviction) of them.
//!
//! `KEY.cwasm` is the code, `KEY.json` says what the code needs and its checksum. The key is made of the Wasm file's
//! content, Wasmtime's compatibility hash and our version, so an entry never has to be replaced by a different one;
//! one that does not match its checksum counts as missing. That is found out once, and noted in `KEY.seen`: until the machine
//! is started anew, or the file changes, it is not read again, since that would take the longer the larger a module is. The time
//! of the label is that of its last use. Native code is trusted by whoever maps it, so nobody else may write to the directory.
//! Nothing here compiles or runs anything.

use std::fs::{self, DirBuilder, File};
use std::hash::{Hash, Hasher};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;
use serde::{Deserialize, Serialize};
use wasmtime::Engine;

use super::code::Code;
use crate::clock::epoch_secs;
use crate::identity::Sighting;
use crate::unfinished;

/// Bytes of a page of linear memory.
const PAGE: u64 = 64 << 10;

/// Why the cache cannot be used. For the operator.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// Reading or writing failed.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// "create the cache directory", "write"...
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Native code from here could be anybody's.
    #[error("the cache directory {} {problem}; {mend}", path.display())]
    NotPrivate {
        /// The directory.
        path: PathBuf,
        /// What is wrong.
        problem: String,
        /// What to do.
        mend: String,
    },
    /// A file in JSON is not what we write.
    #[error("{} is not what this program writes there: {cause}: is it of another version?", path.display())]
    Entry {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: serde_json::Error,
    },
    /// What a server has written down of its needs says nothing.
    #[error(
        "cannot tell what a server needs: {} is not what this program writes there: {cause}: remove it if no server of another \
         version uses this cache",
        path.display()
    )]
    Needs {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: serde_json::Error,
    },
}

/// What an instance of a module takes of a child's pool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Footprint {
    pub(super) memories: u32,
    /// Bytes of the largest memory at the start.
    pub(super) memory_initial: u64,
    pub(super) tables: u32,
    /// Elements of the largest table at the start.
    pub(super) table_elements: u64,
    /// Of the engine's own, in a memory's slot each: 1 for a module that throws exceptions.
    pub(super) heaps: u32,
}

impl Footprint {
    /// Whether a slot that was made for `room` is large enough.
    pub(super) fn fits(&self, room: &Footprint) -> bool {
        self.max(*room) == *room
    }

    /// What code says of itself; `None` for a component that imports core modules, which no linker of ours offers.
    pub(super) fn of(code: &Code) -> Option<Footprint> {
        let resources = code.resources()?;
        Some(Footprint {
            memories: resources.num_memories,
            memory_initial: resources.max_initial_memory_size.unwrap_or(0).saturating_mul(PAGE),
            tables: resources.num_tables,
            table_elements: resources.max_initial_table_size.unwrap_or(0),
            heaps: 0,
        })
    }

    /// With a heap for exceptions, if the code has some: that is not among what it says.
    pub(super) fn with_heap(self, throws: bool) -> Footprint {
        Footprint { heaps: u32::from(throws), ..self }
    }

    /// What is enough for both.
    pub(super) fn max(self, other: Footprint) -> Footprint {
        Footprint {
            memories: self.memories.max(other.memories),
            memory_initial: self.memory_initial.max(other.memory_initial),
            tables: self.tables.max(other.tables),
            table_elements: self.table_elements.max(other.table_elements),
            heaps: self.heaps.max(other.heaps),
        }
    }
}

/// The second file of an entry.
#[derive(Debug, Serialize, Deserialize)]
struct Label {
    /// Of the native code.
    blake3: String,
    footprint: Footprint,
}

/// The third file of an entry: the code was as its label says. Disposable.
#[derive(Debug, Serialize, Deserialize)]
struct Seen {
    native: Sighting,
    /// As in the label.
    blake3: String,
}

impl Seen {
    fn read(native: &Path) -> Option<Seen> {
        let path = Some(native.with_extension(SEEN)).filter(|path| is_ours_alone(path))?;
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }

    /// Not flushed: one that is lost or damaged says nothing.
    fn write(&self, native: &Path) {
        let path = native.with_extension(SEEN);
        let content = serde_json::to_vec(self).expect("it is plain data");
        let _best_effort = unfinished::write(&path, &content, 0o600).map(|unfinished| unfinished.persist(&path));
    }
}

/// What its name ends in.
pub(super) const SEEN: &str = "seen";

/// Reads what the code at `native` needs.
pub(super) fn footprint_of(native: &Path) -> Result<Footprint, CacheError> {
    Ok(read_label(&native.with_extension("json"))?.footprint)
}

fn read_label(path: &Path) -> Result<Label, CacheError> {
    let text = fs::read(path).map_err(io_error("read", path))?;
    serde_json::from_slice(&text).map_err(|cause| CacheError::Entry { path: path.to_owned(), cause })
}

/// A directory that nobody else may write to.
#[derive(Debug)]
pub(super) struct Cache {
    dir: PathBuf,
}

impl Cache {
    /// Opens the directory, creating it if it is missing.
    pub(super) fn open(dir: &Path) -> Result<Cache, CacheError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(io_error("create the cache directory", dir))?;
        Self::existing(dir)
    }

    /// Opens the directory if it is there.
    pub(super) fn existing(dir: &Path) -> Result<Cache, CacheError> {
        let metadata = fs::metadata(dir).map_err(io_error("look at the cache directory", dir))?;
        let not_private =
            |problem: String, mend: String| Err(CacheError::NotPrivate { path: dir.to_owned(), problem, mend });
        let us = nix::unistd::geteuid().as_raw();
        if metadata.uid() != us {
            return not_private(
                format!("belongs to user {}, but this is user {us}", metadata.uid()),
                format!("run `chown {us} {}` or name another cache_dir", dir.display()),
            );
        }
        if metadata.mode() & 0o022 != 0 {
            return not_private(
                format!("may be written to by others (mode {:04o})", metadata.mode() & 0o7777),
                format!("run `chmod 700 {}`", dir.display()),
            );
        }
        Ok(Cache { dir: dir.to_owned() })
    }

    /// Where the native code of a Wasm file is, if it were there.
    pub(super) fn path(&self, wasm: &[u8], engine: &Engine) -> PathBuf {
        let mut hasher = Blake3(blake3::Hasher::new());
        engine.precompile_compatibility_hash().hash(&mut hasher);
        env!("CARGO_PKG_VERSION").hash(&mut hasher);
        hasher.0.update(wasm);
        self.dir.join(format!("{}.cwasm", hasher.0.finalize().to_hex()))
    }

    /// What an entry needs, if it is there, whole, and unchanged.
    pub(super) fn find(&self, native: &Path) -> Option<Footprint> {
        self.find_at(native, epoch_secs())
    }

    /// `now`: in seconds since the Unix epoch.
    fn find_at(&self, native: &Path, now: u64) -> Option<Footprint> {
        debug_assert_eq!(native.parent(), Some(&*self.dir));
        let label = native.with_extension("json");
        if !is_ours_alone(native) || !is_ours_alone(&label) {
            return None;
        }
        // First, so that it stays for as long as this takes.
        touch(&label);
        let Label { blake3, footprint } = read_label(&label).ok()?;
        if Seen::read(native).is_some_and(|seen| seen.blake3 == blake3 && seen.native.is_of(native)) {
            return Some(footprint);
        }
        let file = File::open(native).ok()?;
        let sighting = Sighting::of(&file.metadata().ok()?, now);
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(file).ok()?;
        if hasher.finalize().to_hex().as_str() != blake3 {
            return None;
        }
        if let Some(native_now) = sighting {
            Seen { native: native_now, blake3 }.write(native);
        }
        Some(footprint)
    }

    /// Writes an entry. Whoever looks meanwhile sees none or all of it: the label, which makes it count, comes last.
    pub(super) fn store(&self, native: &Path, code: &[u8], footprint: Footprint) -> Result<(), CacheError> {
        let label = Label { blake3: blake3::hash(code).to_hex().to_string(), footprint };
        let label = serde_json::to_vec(&label).expect("a label is plain data");
        write_whole(native, code)?;
        write_whole(&native.with_extension("json"), &label)?;
        File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(io_error("flush", &self.dir))
    }
}

/// Notes that an entry is used, on its label: who [evicts](super::eviction) looks there.
pub(super) fn touch(label: &Path) {
    let now = TimeSpec::UTIME_NOW;
    // One that cannot be touched looks older than it is, which costs time at most.
    let _ = utimensat(AT_FDCWD, label, &now, &now, UtimensatFlags::NoFollowSymlink);
}

/// Whether a file is one that nobody else could have written, or can: a directory that is private now may not always
/// have been.
fn is_ours_alone(path: &Path) -> bool {
    fs::symlink_metadata(path)
        .is_ok_and(|file| file.is_file() && file.mode() & 0o022 == 0 && file.uid() == nix::unistd::geteuid().as_raw())
}

/// Writes a file so that it appears whole or not at all. Two servers may share a cache: the last one to rename wins.
pub(super) fn write_whole(path: &Path, content: &[u8]) -> Result<(), CacheError> {
    let write = || -> io::Result<()> {
        let unfinished = unfinished::write(path, content, 0o600)?;
        unfinished.as_file().sync_all()?;
        unfinished.persist(path)?;
        Ok(())
    };
    write().map_err(io_error("write", path))
}

pub(super) fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CacheError + use<> {
    let path = path.to_owned();
    move |source| CacheError::Io { doing, path, source }
}

/// Lets what implements [`Hash`] go into a key. The result holds for one build of this program only, which is
/// enough: another build that hashes differently just misses.
struct Blake3(blake3::Hasher);

impl Hasher for Blake3 {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let hash = self.0.finalize();
        let first = hash.as_bytes().first_chunk().expect("a hash has 32 bytes");
        u64::from_le_bytes(*first)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    struct Stored {
        dir: tempfile::TempDir,
        native: PathBuf,
        footprint: Footprint,
    }

    fn stored() -> Stored {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        let native = dir.path().join("key.cwasm");
        let footprint = Footprint { memories: 1, memory_initial: PAGE, tables: 2, table_elements: 3, heaps: 1 };
        cache.store(&native, b"native code", footprint).unwrap();
        Stored { dir, native, footprint }
    }

    impl Stored {
        fn find(&self) -> Option<Footprint> {
            self.find_after(0)
        }

        /// As one that was stored long ago.
        fn find_later(&self) -> Option<Footprint> {
            self.find_after(3600)
        }

        fn find_after(&self, seconds: u64) -> Option<Footprint> {
            let stored = u64::try_from(self.native.metadata().unwrap().mtime()).unwrap();
            Cache::existing(self.dir.path()).unwrap().find_at(&self.native, stored + seconds)
        }

        /// Gives its label another checksum: only who does not read the code takes it for whole.
        fn spoil_label(&self) {
            let label = self.native.with_extension("json");
            let Label { footprint, .. } = read_label(&label).unwrap();
            let label = Label { blake3: String::from("0"), footprint };
            fs::write(self.native.with_extension("json"), serde_json::to_vec(&label).unwrap()).unwrap();
        }

        /// The same for the note, if there is one, which may also be made another.
        fn spoil_note(&self, change: impl FnOnce(Sighting) -> Sighting) {
            if let Some(Seen { native, .. }) = Seen::read(&self.native) {
                Seen { native: change(native), blake3: String::from("0") }.write(&self.native);
            }
        }
    }

    #[test]
    fn what_was_stored_is_found() {
        let stored = stored();
        assert_eq!(stored.find(), Some(stored.footprint));
        assert_eq!(footprint_of(&stored.native).unwrap(), stored.footprint);
    }

    #[test]
    fn entries_are_for_their_owner_alone() {
        let stored = stored();
        assert_eq!(fs::metadata(&stored.native).unwrap().mode() & 0o7777, 0o600);
        let left: Vec<_> = fs::read_dir(&stored.dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 2, "nothing unfinished is left: {left:?}");
    }

    #[test]
    fn an_entry_that_was_changed_counts_as_missing() {
        let stored = stored();
        assert!(stored.find().is_some());
        fs::write(&stored.native, b"native c0de").unwrap();
        assert_eq!(stored.find(), None);
    }

    #[test]
    fn code_that_was_seen_to_be_whole_is_not_read_again() {
        let stored = stored();
        stored.find_later().unwrap();
        stored.spoil_label();
        stored.spoil_note(|native| native);
        assert_eq!(stored.find(), Some(stored.footprint));
    }

    #[test]
    fn code_that_has_only_just_changed_is_read_again() {
        let stored = stored();
        stored.find().unwrap();
        stored.spoil_label();
        stored.spoil_note(|native| native);
        assert_eq!(stored.find(), None);
    }

    #[test]
    fn code_is_read_again_when_its_file_or_its_label_is_another() {
        let label_of_another = stored();
        label_of_another.find_later().unwrap();
        label_of_another.spoil_label();
        assert_eq!(label_of_another.find_later(), None);
        let stored = stored();
        stored.find_later().unwrap();
        let other = stored.dir.path().join("other");
        fs::write(&other, b"native c0de").unwrap();
        fs::set_permissions(&other, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(&other, &stored.native).unwrap();
        assert_eq!(stored.find_later(), None);
    }

    #[test]
    fn code_is_read_again_when_the_machine_was_started_anew() {
        let stored = stored();
        stored.find_later().unwrap();
        stored.spoil_label();
        stored.spoil_note(Sighting::of_another_boot);
        assert_eq!(stored.find_later(), None);
    }

    #[test]
    fn a_note_that_is_damaged_says_nothing() {
        let stored = stored();
        stored.find_later().unwrap();
        fs::write(stored.native.with_extension(SEEN), "{").unwrap();
        assert!(stored.find().is_some());
    }

    #[test]
    fn an_entry_without_its_label_counts_as_missing() {
        let stored = stored();
        stored.find_later().unwrap();
        fs::remove_file(stored.native.with_extension("json")).unwrap();
        assert_eq!(stored.find(), None);
        assert!(footprint_of(&stored.native).is_err());
    }

    #[test]
    fn an_entry_that_others_may_write_to_counts_as_missing() {
        let stored = stored();
        for file in [stored.native.clone(), stored.native.with_extension("json")] {
            fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
            assert_eq!(stored.find(), None);
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        }
        assert!(stored.find().is_some());
    }

    #[test]
    fn an_entry_of_somebody_else_counts_as_missing() {
        let stored = stored();
        // Only root can give a file away; another user cannot make this mistake either.
        if nix::unistd::geteuid().is_root() {
            std::os::unix::fs::chown(stored.native.with_extension("json"), Some(1), None).unwrap();
            assert_eq!(stored.find(), None);
        }
    }

    #[test]
    fn a_directory_that_others_may_write_to_is_refused_with_the_way_to_mend_it() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o770)).unwrap();
        let error = Cache::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("mode 0770") && error.contains("chmod 700"), "{error}");
    }

    #[test]
    fn a_missing_directory_is_made_private() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("a/b");
        Cache::open(&inner).unwrap();
        assert_eq!(fs::metadata(&inner).unwrap().mode() & 0o7777, 0o700);
    }
}
