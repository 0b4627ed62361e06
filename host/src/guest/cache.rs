//! The cache of native code: a private directory with two files for every compiled module, beside what servers
//! [need](super::eviction) of them.
//!
//! `KEY.cwasm` is the code, `KEY.json` says what the code needs and its checksum. The key is made of the Wasm file's
//! content, Wasmtime's compatibility hash and our version, so an entry never has to be replaced by a different one;
//! one that does not match its checksum counts as missing. The time of the label is that of its last use. Native code is
//! trusted by whoever maps it, so nobody else may write to the directory. Nothing here compiles or runs anything.

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
    pub(super) fn find(native: &Path) -> Option<Footprint> {
        let label = native.with_extension("json");
        if !is_ours_alone(native) || !is_ours_alone(&label) {
            return None;
        }
        // First, so that it stays for as long as this takes.
        touch(&label);
        let label = read_label(&label).ok()?;
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(File::open(native).ok()?).ok()?;
        let is_whole = hasher.finalize().to_hex().as_str() == label.blake3;
        is_whole.then_some(label.footprint)
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

    fn stored() -> (tempfile::TempDir, PathBuf, Footprint) {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        let native = dir.path().join("key.cwasm");
        let footprint = Footprint { memories: 1, memory_initial: PAGE, tables: 2, table_elements: 3, heaps: 1 };
        cache.store(&native, b"native code", footprint).unwrap();
        (dir, native, footprint)
    }

    #[test]
    fn what_was_stored_is_found() {
        let (_dir, native, footprint) = stored();
        assert_eq!(Cache::find(&native), Some(footprint));
        assert_eq!(footprint_of(&native).unwrap(), footprint);
    }

    #[test]
    fn entries_are_for_their_owner_alone() {
        let (dir, native, _) = stored();
        assert_eq!(fs::metadata(&native).unwrap().mode() & 0o7777, 0o600);
        let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 2, "nothing unfinished is left: {left:?}");
    }

    #[test]
    fn an_entry_that_was_changed_counts_as_missing() {
        let (_dir, native, _) = stored();
        fs::write(&native, b"native c0de").unwrap();
        assert_eq!(Cache::find(&native), None);
    }

    #[test]
    fn an_entry_without_its_label_counts_as_missing() {
        let (_dir, native, _) = stored();
        fs::remove_file(native.with_extension("json")).unwrap();
        assert_eq!(Cache::find(&native), None);
        assert!(footprint_of(&native).is_err());
    }

    #[test]
    fn an_entry_that_others_may_write_to_counts_as_missing() {
        let (_dir, native, _) = stored();
        for file in [native.clone(), native.with_extension("json")] {
            fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
            assert_eq!(Cache::find(&native), None);
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        }
        assert!(Cache::find(&native).is_some());
    }

    #[test]
    fn an_entry_of_somebody_else_counts_as_missing() {
        let (_dir, native, _) = stored();
        // Only root can give a file away; another user cannot make this mistake either.
        if nix::unistd::geteuid().is_root() {
            std::os::unix::fs::chown(native.with_extension("json"), Some(1), None).unwrap();
            assert_eq!(Cache::find(&native), None);
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
