//! `control.sock` in `runtime_dir`: bound by the lookout, for the server's owner and the superuser and nobody else. What is said
//! over it is not known here.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::sys::socket::{Shutdown, getsockopt, shutdown, sockopt::PeerCredentials};
use nix::unistd::geteuid;

use crate::runtime_dir::check_socket;

const FILE: &str = "control.sock";

/// While the server finishes what is open: another one may have taken its place by then.
const FILE_OF_STOPPING: &str = "stopping.sock";

/// Where it is.
pub(super) fn path(runtime_dir: &Path) -> PathBuf {
    runtime_dir.join(FILE)
}

/// Where that of a server is that has been told to stop.
pub(super) fn path_of_stopping(runtime_dir: &Path) -> PathBuf {
    runtime_dir.join(FILE_OF_STOPPING)
}

/// Whether sockets can have these paths, of which that one is the longest.
///
/// # Errors
/// They are too long; what to do.
pub(super) fn check_length(runtime_dir: &Path) -> io::Result<()> {
    check_socket(&path_of_stopping(runtime_dir)).map_err(io::Error::other)
}

/// The socket of a server that serves.
#[derive(Debug)]
pub(super) struct Door {
    path: PathBuf,
    /// Device and inode: another server may put a socket of its own in the place of this one.
    identity: Option<(u64, u64)>,
    listener: UnixListener,
}

impl Door {
    /// Binds it. One that a server has left behind is replaced.
    ///
    /// # Errors
    /// Another server listens there, or it cannot be bound; what to do.
    pub(super) fn open(runtime_dir: &Path) -> Result<Self, String> {
        let path = path(runtime_dir);
        if UnixStream::connect(&path).is_ok() {
            return Err(format!(
                "another server listens at {}: guesthouse deploy and the like reach that one; stop it, or use another \
                 runtime_dir",
                path.display()
            ));
        }
        let cannot = |error: io::Error| {
            format!(
                "cannot listen at {}: {error}: guesthouse deploy and the like cannot reach the server",
                path.display()
            )
        };
        check_length(runtime_dir).map_err(cannot)?;
        // Nobody connects before the mode is right, and nothing is missing in between.
        let unfinished = runtime_dir.join(format!(".{FILE}"));
        let _ = fs::remove_file(&unfinished);
        let listener = UnixListener::bind(&unfinished).map_err(cannot)?;
        fs::set_permissions(&unfinished, Permissions::from_mode(0o600)).map_err(cannot)?;
        let identity = identity(&unfinished);
        fs::rename(&unfinished, &path).map_err(cannot)?;
        Ok(Self { path, identity, listener })
    }

    /// Waits for a connection.
    ///
    /// # Errors
    /// It was closed (`InvalidInput`), or what `accept(2)` says.
    pub(super) fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().map(|(stream, _)| stream)
    }

    /// Leaves its place to another server's, and can be reached beside it.
    pub(super) fn step_aside(&self) {
        let aside = self.path.with_file_name(FILE_OF_STOPPING);
        if self.is_at(&self.path)
            && let Err(error) = fs::rename(&self.path, aside)
        {
            tracing::warn!("cannot rename {}: {error}", self.path.display());
        }
    }

    fn is_at(&self, path: &Path) -> bool {
        self.identity.is_some() && identity(path) == self.identity
    }

    /// Takes it away. Connections that are open stay open.
    pub(super) fn close(&self) {
        for path in [&self.path, &self.path.with_file_name(FILE_OF_STOPPING)] {
            if self.is_at(path) {
                let _ = fs::remove_file(path);
            }
        }
        // Whoever waits for a connection hears of it.
        let _ = shutdown(self.listener.as_raw_fd(), Shutdown::Both);
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    path.symlink_metadata().ok().map(|facts| (facts.dev(), facts.ino()))
}

/// The user at the other end, if it may control the server.
///
/// # Errors
/// It may not, and who may; or it is gone.
pub(super) fn user_of(stream: &UnixStream) -> Result<u32, String> {
    let peer = getsockopt(stream, PeerCredentials).map_err(|error| format!("cannot tell who you are: {error}"))?.uid();
    let owner = geteuid().as_raw();
    if peer == owner || peer == 0 {
        return Ok(peer);
    }
    Err(format!("this server belongs to user {owner}, and you are user {peer}: only its owner and root may control it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_was_left_behind_is_replaced_and_one_that_is_in_use_is_not() {
        let folder = tempfile::tempdir().unwrap();
        drop(UnixListener::bind(path(folder.path())).unwrap());
        let door = Door::open(folder.path()).unwrap();
        assert_eq!(path(folder.path()).metadata().unwrap().mode() & 0o777, 0o600);
        assert!(Door::open(folder.path()).unwrap_err().starts_with("another server listens at "));
        let client = UnixStream::connect(path(folder.path())).unwrap();
        // That of the test above comes first.
        drop(door.accept().unwrap());
        let stream = door.accept().unwrap();
        assert_eq!(user_of(&stream), Ok(geteuid().as_raw()));
        drop(client);
        door.close();
        assert!(!path(folder.path()).exists());
        assert!(door.accept().is_err(), "nobody waits there for ever");
    }

    #[test]
    fn a_server_that_stops_can_be_reached_beside_the_one_that_takes_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let (place, aside) = (path(folder.path()), path_of_stopping(folder.path()));
        let first = Door::open(folder.path()).unwrap();
        first.step_aside();
        assert!(!place.exists() && UnixStream::connect(&aside).is_ok());
        let second = Door::open(folder.path()).unwrap();
        // It says so twice, and has no place there any more.
        first.step_aside();
        assert!(place.exists());
        first.close();
        assert!(place.exists() && !aside.exists());
        second.close();
        assert!(!place.exists());
    }

    #[test]
    fn a_path_that_no_socket_has_is_told_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let told = Door::open(&folder.path().join("d".repeat(100))).unwrap_err();
        assert!(told.starts_with("cannot listen at ") && told.contains("name a shorter runtime_dir"), "{told}");
    }

    #[test]
    fn another_servers_socket_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let first = Door::open(folder.path()).unwrap();
        fs::remove_file(path(folder.path())).unwrap();
        let _second = Door::open(folder.path()).unwrap();
        first.close();
        assert!(path(folder.path()).exists());
    }
}
