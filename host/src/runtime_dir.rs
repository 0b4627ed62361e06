//! The runtime directory: who may write there, and where the sockets of confined modules are.
//!
//! Whoever may write to the directory of a socket can put a socket of their own in its place, and then speaks for the
//! module. So nobody but the server's user may. Nothing is bound here and nothing connected.

use std::fs::{self, DirBuilder, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

/// What the configuration calls it.
pub const KEY: &str = "runtime_dir";
/// Of group and others, to write.
const OTHERS_WRITE: u32 = 0o022;
/// Whoever may write to such a directory may remove only what is their own.
const STICKY: u32 = 0o1000;
/// Bytes of a socket's path: what `sockaddr_un` holds, without the NUL at its end.
const SOCKET_PATH_MAX: usize = 107;

/// What is wrong with a directory of the server's that has this mode, and what to do; `None` if only its owner may
/// write to it. `key` is what the configuration calls it.
#[must_use]
pub fn open_to_others(key: &str, dir: &Path, mode: u32) -> Option<String> {
    let (dir, mode) = (dir.display(), mode & 0o7777);
    if mode & OTHERS_WRITE == 0 {
        None
    } else if mode & STICKY != 0 {
        Some(format!(
            "{dir} is for everybody (mode {mode:04o}): name a directory of the server's own as {key}, such as \
             {dir}/guesthouse"
        ))
    } else {
        Some(format!("others may write to {dir} (mode {mode:04o}): run `chmod go-w {dir}`, or name another {key}"))
    }
}

/// Where the sockets of confined modules are.
#[must_use]
pub fn confined(runtime_dir: &Path) -> PathBuf {
    runtime_dir.join("confined")
}

/// The socket of the pool that a module is confined to. Another `version` has another one, so that a request which
/// was meant for one version never reaches the other.
///
/// # Errors
/// No socket can have a path that long. All versions of a module have paths of the same length.
pub fn socket(runtime_dir: &Path, module: &str, version: u32) -> Result<PathBuf, String> {
    let path = confined(runtime_dir).join(format!("{module}-{version:08x}.sock"));
    check_socket(&path).map(|()| path)
}

/// Whether a socket in the runtime directory can have this path.
///
/// # Errors
/// It is too long; what to do.
pub fn check_socket(path: &Path) -> Result<(), String> {
    let length = path.as_os_str().len();
    if length <= SOCKET_PATH_MAX {
        return Ok(());
    }
    Err(format!(
        "the socket {} would have a path of {length} bytes, and no socket's path has more than {SOCKET_PATH_MAX}: name a \
         shorter runtime_dir, such as \"/run/guesthouse\"",
        path.display()
    ))
}

/// Makes the runtime directory if it is missing.
///
/// # Errors
/// It cannot be made, or others may write to it; what to do.
pub fn make(runtime_dir: &Path) -> Result<(), String> {
    create(runtime_dir)?;
    let facts = runtime_dir.metadata().map_err(|error| cannot("look at", runtime_dir, &error))?;
    open_to_others(KEY, runtime_dir, facts.mode()).map_or(Ok(()), Err)
}

/// Makes the directory of the sockets, in a runtime directory that was [made](make), and keeps everybody else out.
///
/// # Errors
/// It cannot be made, or somebody else could put a socket there; what to do.
pub fn make_confined(runtime_dir: &Path) -> Result<(), String> {
    let facts = runtime_dir.metadata().map_err(|error| cannot("look at", runtime_dir, &error))?;
    let us = geteuid().as_raw();
    // Its owner could put another `confined` in place of ours. The superuser could do worse anyway.
    if facts.uid() != 0 {
        check_owner(runtime_dir, &facts, us)?;
    }
    let dir = confined(runtime_dir);
    create(&dir)?;
    check_confined(runtime_dir)?;
    let facts = dir.symlink_metadata().map_err(|error| cannot("look at", &dir, &error))?;
    check_owner(&dir, &facts, us)?;
    fs::set_permissions(&dir, Permissions::from_mode(0o700)).map_err(|error| cannot("keep others out of", &dir, &error))
}

/// Looks at the directory of the sockets, if it is there already and may be looked at. Creates nothing.
///
/// # Errors
/// It is no directory, or others may write to it; what to do.
pub fn check_confined(runtime_dir: &Path) -> Result<(), String> {
    let dir = confined(runtime_dir);
    match dir.symlink_metadata() {
        // Whoever checks a configuration need not be who serves it.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => Ok(()),
        Err(error) => Err(cannot("look at", &dir, &error)),
        Ok(facts) if !facts.is_dir() => {
            Err(format!("{} is not a directory: remove it, or name another runtime_dir", dir.display()))
        }
        Ok(facts) => open_to_others(KEY, &dir, facts.mode()).map_or(Ok(()), Err),
    }
}

fn check_owner(dir: &Path, facts: &Metadata, us: u32) -> Result<(), String> {
    if facts.uid() == us {
        return Ok(());
    }
    Err(format!(
        "{} belongs to user {}, but this is user {us}: run `chown {us} {}`, or name another runtime_dir",
        dir.display(),
        facts.uid(),
        dir.display()
    ))
}

fn create(dir: &Path) -> Result<(), String> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|error| cannot("make the directory", dir, &error))
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> String {
    format!("cannot {what} {}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().mode() & 0o7777
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn missing_directories_are_made_for_their_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("a/run");
        make(&dir).unwrap();
        assert!(!confined(&dir).exists(), "it is made where a module needs it");
        make_confined(&dir).unwrap();
        assert_eq!((mode(&dir), mode(&confined(&dir))), (0o700, 0o700));
    }

    #[test]
    fn a_runtime_directory_that_others_may_read_stays_so_but_that_of_the_sockets_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        set_mode(dir, 0o755);
        fs::create_dir(confined(dir)).unwrap();
        set_mode(&confined(dir), 0o755);
        make(dir).unwrap();
        make_confined(dir).unwrap();
        assert_eq!((mode(dir), mode(&confined(dir))), (0o755, 0o700));
    }

    #[test]
    fn a_directory_that_others_may_write_to_is_refused_with_the_way_to_mend_it() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        make_confined(dir).unwrap();
        for mode in [0o720, 0o702, 0o777] {
            set_mode(&confined(dir), mode);
            let error = make_confined(dir).unwrap_err();
            assert_eq!(check_confined(dir).unwrap_err(), error);
            let mend = format!("(mode {mode:04o}): run `chmod go-w {}`", confined(dir).display());
            assert!(error.contains(&mend), "{error}");
            set_mode(&confined(dir), 0o700);
            set_mode(dir, mode);
            let error = make(dir).unwrap_err();
            assert!(error.contains(&format!("others may write to {} (mode", dir.display())), "{error}");
            set_mode(dir, 0o700);
        }
    }

    #[test]
    fn a_directory_where_everybody_may_put_files_is_never_the_servers_own() {
        let told = open_to_others("modules_dir", Path::new("/tmp"), 0o41777).unwrap();
        assert!(
            told.contains("(mode 1777)")
                && told.contains("as modules_dir,")
                && told.contains("such as /tmp/guesthouse"),
            "{told}"
        );
        assert_eq!(open_to_others(KEY, Path::new("/run"), 0o41755), None);
    }

    #[test]
    fn what_stands_in_the_place_of_the_directory_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        let elsewhere = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), confined(dir)).unwrap();
        assert!(make_confined(dir).unwrap_err().contains("is not a directory"));
        assert!(check_confined(dir).unwrap_err().contains("is not a directory"));
    }

    #[test]
    fn a_directory_of_somebody_else_is_refused() {
        // Only root can give a directory away; another user cannot make this mistake either.
        if !geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        make_confined(dir).unwrap();
        for path in [confined(dir), dir.to_owned()] {
            std::os::unix::fs::chown(&path, Some(1), None).unwrap();
            let error = make_confined(dir).unwrap_err();
            let shown = path.display();
            let expected = format!("{shown} belongs to user 1, but this is user 0: run `chown 0 {shown}`");
            assert!(error.starts_with(&expected), "{error}");
            std::os::unix::fs::chown(&path, Some(0), None).unwrap();
        }
    }

    #[test]
    fn a_socket_is_named_by_module_and_version() {
        let socket = |module: &str, version| socket(Path::new("/run"), module, version).unwrap();
        assert_eq!(socket("counter", 0x00ab_cdef), Path::new("/run/confined/counter-00abcdef.sock"));
        assert_ne!(socket("counter", 1), socket("counter", 2));
    }

    #[test]
    fn no_socket_has_a_path_that_the_kernel_would_not_take() {
        let dir = |length| PathBuf::from(format!("/{}", "d".repeat(length - 1)));
        // "/confined/" and "a-00000000.sock".
        let longest = SOCKET_PATH_MAX - 10 - 15;
        let path = socket(&dir(longest), "a", 0).unwrap();
        assert_eq!(path.as_os_str().len(), SOCKET_PATH_MAX);
        assert!(std::os::unix::net::SocketAddr::from_pathname(&path).is_ok());
        let error = socket(&dir(longest + 1), "a", 0).unwrap_err();
        assert!(error.contains("a path of 108 bytes") && error.contains("a shorter runtime_dir"), "{error}");
        assert!(std::os::unix::net::SocketAddr::from_pathname(dir(108)).is_err());
    }
}
