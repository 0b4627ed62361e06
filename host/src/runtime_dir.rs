//! The runtime directory: who may write there, and where the sockets of confined modules are.
//!
//! Whoever may write to the directory of a socket can put a socket of their own in its place, and then speaks for the
//! module. So nobody but the server's user may. Nothing is bound here and nothing connected.

use std::fs::{self, DirBuilder, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

/// Of group and others, to write.
const OTHERS_WRITE: u32 = 0o022;
/// Whoever may write to such a directory may remove only what is their own.
const STICKY: u32 = 0o1000;
/// Bytes of a socket's path: what `sockaddr_un` holds, without the NUL at its end.
const SOCKET_PATH_MAX: usize = 107;

/// What is wrong with a directory of the server's that has this mode, and what to do; `None` if only its owner may
/// write to it.
#[must_use]
pub fn open_to_others(dir: &Path, mode: u32) -> Option<String> {
    let (dir, mode) = (dir.display(), mode & 0o7777);
    if mode & OTHERS_WRITE == 0 {
        None
    } else if mode & STICKY != 0 {
        Some(format!(
            "{dir} is for everybody (mode {mode:04o}): name a directory of the server's own as runtime_dir, such as \
             {dir}/guesthouse"
        ))
    } else {
        Some(format!(
            "others may write to {dir} (mode {mode:04o}): run `chmod go-w {dir}`, or name another runtime_dir"
        ))
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
    let dir = confined(runtime_dir);
    let path = dir.join(format!("{module}-{version:08x}.sock"));
    let length = path.as_os_str().len();
    if length <= SOCKET_PATH_MAX {
        return Ok(path);
    }
    Err(format!(
        "its socket in {} would have a path of {length} bytes, and no socket's path has more than {SOCKET_PATH_MAX}: \
         name a runtime_dir that is {} bytes shorter, such as \"/run/guesthouse\"",
        dir.display(),
        length - SOCKET_PATH_MAX
    ))
}

/// Makes the runtime directory if it is missing.
///
/// # Errors
/// It cannot be made, or others may write to it; what to do.
pub fn make(runtime_dir: &Path) -> Result<(), String> {
    create(runtime_dir)?;
    let facts = runtime_dir.metadata().map_err(|error| cannot("look at", runtime_dir, &error))?;
    open_to_others(runtime_dir, facts.mode()).map_or(Ok(()), Err)
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
        Ok(facts) => open_to_others(&dir, facts.mode()).map_or(Ok(()), Err),
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
