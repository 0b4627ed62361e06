//! The pid file (PidFile): tells operators whom to signal, and by its lock keeps a second server out.
//!
//! The lock, not the file, says that a server lives: the kernel lets go of it however the server ends, so that what
//! a killed server leaves behind stops nobody. Nothing in the file is believed, except to be shown to the operator.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::error::ServeError;

/// A pid file that is locked by this process.
///
/// Dropping it removes nothing (a forked child drops its copy, too) and, in the parent, lets go of the lock.
#[derive(Debug)]
pub(crate) struct PidFile {
    path: PathBuf,
    /// Holds the lock for as long as a process has it open: children close it at once.
    _locked: File,
}

impl PidFile {
    /// Writes this process's pid to `path` and holds the file until [`remove`](Self::remove).
    ///
    /// # Errors
    /// [`ServeError::AlreadyRunning`]: another process holds it; [`ServeError::PidFile`]: it cannot be written.
    pub(crate) fn write(path: &Path) -> Result<Self, ServeError> {
        let failed = |error| ServeError::PidFile { path: path.display().to_string(), error };
        loop {
            let mut file = open(path).map_err(failed)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(ServeError::AlreadyRunning {
                        path: path.display().to_string(),
                        pid: pid_in(&mut file),
                    });
                }
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
            // The server that held it may have removed it between our opening and our locking it.
            if is_at(&file, path).map_err(failed)? {
                write_pid(&mut file).map_err(failed)?;
                return Ok(Self { path: path.to_owned(), _locked: file });
            }
        }
    }

    /// Removes the file, then lets go of the lock. The parent's business alone.
    pub(crate) fn remove(self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!("cannot remove the pid file {}: {error}", self.path.display());
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    // Not truncated: until it is locked, it is somebody else's.
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o644).open(path)
}

fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match fs::metadata(path) {
        Ok(there) => Ok(there.dev() == ours.dev() && there.ino() == ours.ino()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.write_all(format!("{}\n", std::process::id()).as_bytes())
}

/// 0 if there is none to be read.
fn pid_in(file: &mut File) -> i32 {
    let mut text = String::new();
    let read = file.take(32).read_to_string(&mut text);
    read.ok().and_then(|_| text.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("mpm-pid-file-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn pid_file(&self) -> PathBuf {
            self.0.join("server.pid")
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_file_holds_the_pid_and_goes_away() {
        let folder = Folder::new("plain");
        let file = PidFile::write(&folder.pid_file()).unwrap();
        assert_eq!(fs::read_to_string(folder.pid_file()).unwrap(), format!("{}\n", std::process::id()));
        file.remove();
        assert!(!folder.pid_file().exists());
    }

    #[test]
    fn a_second_server_is_kept_out_and_told_by_whom() {
        let folder = Folder::new("second");
        let _first = PidFile::write(&folder.pid_file()).unwrap();
        let second = PidFile::write(&folder.pid_file()).unwrap_err();
        let own = std::process::id().cast_signed();
        assert!(matches!(second, ServeError::AlreadyRunning { pid, .. } if pid == own), "{second}");
    }

    #[test]
    fn what_a_killed_server_left_behind_is_no_obstacle() {
        let folder = Folder::new("stale");
        // Longer than any pid, and dropping closes the file as dying does.
        fs::write(folder.pid_file(), "99999999999999999999 left over\n").unwrap();
        drop(PidFile::write(&folder.pid_file()).unwrap());
        let _again = PidFile::write(&folder.pid_file()).unwrap();
        assert_eq!(fs::read_to_string(folder.pid_file()).unwrap(), format!("{}\n", std::process::id()));
    }

    #[test]
    fn a_path_that_cannot_be_written_is_named() {
        let error = PidFile::write(Path::new("/nonexistent/server.pid")).unwrap_err().to_string();
        assert!(error.starts_with("cannot write the pid file /nonexistent/server.pid: "), "{error}");
    }
}
