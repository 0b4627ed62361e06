//! What reading the configuration needs to know of the machine: whether files exist, and who may write to them. Behind a
//! trait, so that the readers are pure and tests need no files. Opens and creates nothing.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::Placed;
use super::report::{Wrong, cause};
use super::value::Value;

/// What stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Directory,
    /// A device, a pipe, a socket.
    Other,
    Nothing,
}

/// The machine, as far as the configuration depends on it.
pub(super) trait Machine {
    /// What stands at `path`; symbolic links are followed.
    ///
    /// # Errors
    /// It cannot be found out: no permission to look, a loop of links.
    fn kind(&self, path: &Path) -> io::Result<Kind>;

    /// Who may do what with what stands at `path`: the permission bits.
    ///
    /// # Errors
    /// As [`kind`](Self::kind), and if nothing is there.
    fn mode(&self, path: &Path) -> io::Result<u32>;
}

/// The machine that runs us.
pub(super) struct ThisMachine;

impl Machine for ThisMachine {
    fn kind(&self, path: &Path) -> io::Result<Kind> {
        match path.metadata() {
            Ok(facts) if facts.is_file() => Ok(Kind::File),
            Ok(facts) if facts.is_dir() => Ok(Kind::Directory),
            Ok(_) => Ok(Kind::Other),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Ok(Kind::Nothing)
            }
            Err(error) => Err(error),
        }
    }

    fn mode(&self, path: &Path) -> io::Result<u32> {
        Ok(path.metadata()?.mode() & 0o7777)
    }
}

/// Where the file stands, and on which machine.
#[derive(Clone, Copy)]
pub(super) struct Surroundings<'a> {
    /// Absolute; relative paths start here.
    pub(super) folder: &'a Path,
    pub(super) machine: &'a dyn Machine,
}

impl Surroundings<'_> {
    pub(super) fn absolute(&self, written: &str) -> PathBuf {
        self.folder.join(written)
    }

    /// A regular file that must exist, where it is placed: a pipe or a device may never end.
    pub(super) fn file(&self, value: Value<'_>, placed: Placed<'_>) -> Result<PathBuf, Wrong> {
        let path = placed(self.path(value)?);
        match self.kind(value, &path)? {
            Kind::File => Ok(path),
            Kind::Other => Err(value.wrong(format_args!("{} is a pipe or a device: name a file", path.display()))),
            Kind::Nothing => Err(value.wrong(format_args!("{} does not exist", path.display()))),
            Kind::Directory => Err(value.wrong(format_args!("{} is a directory: name a file", path.display()))),
        }
    }

    /// A directory that must exist.
    pub(super) fn directory(&self, value: Value<'_>) -> Result<PathBuf, Wrong> {
        let path = self.path(value)?;
        match self.kind(value, &path)? {
            Kind::Directory => Ok(path),
            Kind::Nothing => Err(value.wrong(format_args!("{} does not exist: create it", path.display()))),
            Kind::File | Kind::Other => Err(no_directory(value, &path)),
        }
    }

    /// A directory that the server creates where it is missing.
    pub(super) fn directory_to_be(&self, value: Value<'_>) -> Result<PathBuf, Wrong> {
        let path = self.path(value)?;
        match self.kind(value, &path)? {
            Kind::Directory | Kind::Nothing => Ok(path),
            Kind::File | Kind::Other => Err(no_directory(value, &path)),
        }
    }

    /// Whatever stands there.
    pub(super) fn path(&self, value: Value<'_>) -> Result<PathBuf, Wrong> {
        match value.text("a path")? {
            "" => Err(value.wrong("the path is empty")),
            written => Ok(self.absolute(written)),
        }
    }

    fn kind(&self, value: Value<'_>, path: &Path) -> Result<Kind, Wrong> {
        let unknown = |error| value.wrong(format_args!("cannot look at {}: {}", path.display(), cause(&error)));
        self.machine.kind(path).map_err(unknown)
    }
}

fn no_directory(value: Value<'_>, path: &Path) -> Wrong {
    value.wrong(format_args!("{} is not a directory", path.display()))
}
