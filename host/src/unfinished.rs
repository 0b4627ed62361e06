//! Files that appear whole or not at all: each is written under a name of its own first. Decides nothing about what stands in them,
//! nor what becomes of one that its writer has left behind.

use std::fs::{File, Metadata, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tempfile::NamedTempFile;

/// The name of one begins with a dot, so that it is none that a module has. So many random letters and digits follow, which are
/// nobody else's, whatever machine or container they are in, and then the suffix.
const RANDOM: usize = 6;
const SUFFIX: &str = ".unfinished";

/// What the owner may do, of a file's mode.
const OWNER: u32 = 0o700;

/// Begins a file beside `path`, which is to be its name: who makes it appear calls [`NamedTempFile::persist`], or [`put_in_place`].
/// Otherwise it goes. It has this mode, but for what the process's umask takes away, and what others may not do with the file that
/// is there now.
pub(crate) fn begin(path: &Path, mode: u32) -> io::Result<NamedTempFile> {
    // Nobody reads it on its way who may not read what is there.
    let mode = path.metadata().map_or(mode, |there| mode & (there.permissions().mode() | OWNER));
    let mut named = tempfile::Builder::new();
    named.prefix(".").rand_bytes(RANDOM).suffix(SUFFIX).permissions(Permissions::from_mode(mode));
    named.tempfile_in(folder_of(path))
}

/// Writes a file as one that was [begun](begin). Flushes nothing.
pub(crate) fn write(path: &Path, content: &[u8], mode: u32) -> io::Result<NamedTempFile> {
    let mut unfinished = begin(path, mode)?;
    unfinished.write_all(content)?;
    Ok(unfinished)
}

/// Puts a file that is written into the place of another, whose permissions it gets, or where none is. It outlives the machine's
/// fall, where the file system can do that. A link is replaced, not what it leads to. Answers with what was put there, whatever
/// stands there by now.
pub(crate) fn put_in_place(unfinished: NamedTempFile, path: &Path) -> io::Result<Metadata> {
    if let Ok(there) = path.metadata() {
        unfinished.as_file().set_permissions(Permissions::from_mode(there.permissions().mode() & 0o777))?;
    }
    unfinished.as_file().sync_all()?;
    let file = unfinished.persist(path)?;
    flush_folder_of(path);
    file.metadata()
}

/// That a file has appeared in its folder, or has gone, outlives the machine's fall, where the file system can do that.
pub(crate) fn flush_folder_of(path: &Path) {
    let _best_effort = File::open(folder_of(path)).and_then(|folder| folder.sync_all());
}

/// Of a bare name the current one.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether a file of this name is unfinished, or was left so.
pub(crate) fn is_name(name: &str) -> bool {
    let random = name.strip_prefix('.').and_then(|rest| rest.strip_suffix(SUFFIX));
    random.is_some_and(|random| random.len() == RANDOM && random.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn names_are_known_again() {
        let folder = tempfile::tempdir().unwrap();
        let unfinished = begin(&folder.path().join("a.wasm"), 0o600).unwrap();
        assert!(is_name(unfinished.path().file_name().unwrap().to_str().unwrap()));
        for name in
            ["AbCd12.unfinished", ".AbCd1.unfinished", ".AbCd1-.unfinished", ".a.AbCd12.unfinished", ".unfinished"]
        {
            assert!(!is_name(name), "{name}");
        }
    }

    #[test]
    fn what_is_private_is_private_on_its_way() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let mode = || begin(&path, 0o644).unwrap().as_file().metadata().unwrap().permissions().mode() & 0o777;
        fs::write(&path, "").unwrap();
        for (there, others) in [(0o640, 0o007), (0o600, 0o077), (0o000, 0o077)] {
            fs::set_permissions(&path, Permissions::from_mode(there)).unwrap();
            assert_eq!(mode() & (others | 0o600), 0o600, "beside one of {there:03o}");
        }
    }

    #[test]
    fn a_bare_name_lies_in_the_current_folder() {
        assert_eq!(["a", "b/a", "/a"].map(|path| folder_of(Path::new(path)).to_str()), [".", "b", "/"].map(Some));
    }

    #[test]
    fn what_is_put_in_place_is_what_was_written_with_the_permissions_of_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let put = |content: &[u8]| put_in_place(write(&path, content, 0o600).unwrap(), &path).unwrap();
        assert_eq!((put(b"one").permissions().mode() & 0o777, fs::read(&path).unwrap()), (0o600, b"one".to_vec()));
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        assert_eq!((put(b"two").permissions().mode() & 0o777, fs::read(&path).unwrap()), (0o640, b"two".to_vec()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing unfinished is left");
    }
}
