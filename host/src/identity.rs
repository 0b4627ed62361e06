//! How a file looked at one moment: enough to tell that it has changed since, without reading it. Reads no content.

use std::fs::{self, Metadata, OpenOptions};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

/// What changes when a file does: a rename brings another inode, a write another time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    /// Of the inode; nobody can set it back.
    changed: (i64, i64),
}

/// Seconds. Two changes may bear the same time if they are closer to each other than this: clocks of file systems are coarse.
const COARSEST_CLOCK: u64 = 2;

impl Identity {
    pub(crate) fn of(facts: &Metadata) -> Self {
        Self {
            device: facts.dev(),
            inode: facts.ino(),
            size: facts.size(),
            modified: (facts.mtime(), facts.mtime_nsec()),
            changed: (facts.ctime(), facts.ctime_nsec()),
        }
    }

    /// Whether a change from `now` on, in seconds since the Unix epoch, cannot leave a file that looks the same.
    fn is_settled(&self, now: u64) -> bool {
        let (changed, _) = self.changed;
        // A time to come says nothing about what the next one will be.
        u64::try_from(changed).is_ok_and(|changed| now.saturating_sub(changed) > COARSEST_CLOCK)
    }
}

/// How a file looked when its content was looked at. One that looks so later has this content still.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sighting {
    /// In which run of the machine. A power failure changes what is in a file and not how it looks; and an image that takes the
    /// place of another may give its files the same numbers and times.
    boot: String,
    file: Identity,
}

impl Sighting {
    /// Of a file that looks like this, before its content is looked at; `now` is in seconds since the Unix epoch. `None`: it could
    /// change from now on and look no different, or the machine does not tell one run from another.
    pub(crate) fn of(facts: &Metadata, now: u64) -> Option<Self> {
        let file = Some(Identity::of(facts)).filter(|file| file.is_settled(now))?;
        Some(Self { boot: boot()?, file })
    }

    /// Whether this file looks so now, in the same run of the machine.
    pub(crate) fn is_of(&self, path: &Path) -> bool {
        // Opened: what a network's file system tells of a name may be a minute old. A pipe is not waited for.
        let file = OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path);
        let facts = file.and_then(|file| file.metadata());
        facts.is_ok_and(|facts| self.file == Identity::of(&facts)) && boot().as_ref() == Some(&self.boot)
    }
}

fn boot() -> Option<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    impl Sighting {
        /// As if the file had not changed for long.
        pub(crate) fn settled(path: &Path) -> Self {
            Self::of(&path.metadata().unwrap(), u64::MAX).unwrap()
        }

        /// As if it was in another run of the machine.
        pub(crate) fn of_another_boot(self) -> Self {
            Self { boot: String::from("another"), ..self }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_itself_until_it_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("a"), folder.path().join("b"));
        fs::write(&path, "one").unwrap();
        let sighting = Sighting::settled(&path);
        assert!(sighting.is_of(&path));
        assert!(!sighting.clone().of_another_boot().is_of(&path));
        fs::write(&other, "two").unwrap();
        fs::rename(&other, &path).unwrap();
        assert!(!sighting.is_of(&path));
        fs::remove_file(&path).unwrap();
        assert!(!sighting.is_of(&path));
    }

    #[test]
    fn a_file_that_has_only_just_changed_is_not_remembered() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let facts = file.as_file().metadata().unwrap();
        let changed = u64::try_from(facts.ctime()).unwrap();
        assert_eq!([0, 1, 2].map(|age| Sighting::of(&facts, changed + age)), [None, None, None]);
        assert!(Sighting::of(&facts, changed + 3).is_some());
        // The clock was put back.
        assert_eq!(Sighting::of(&facts, changed - 100), None);
    }
}
