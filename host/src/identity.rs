//! How a file looked at one moment: enough to tell that it has changed since, without reading it. Reads no content.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
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

    /// Whether this file looks so now.
    pub(crate) fn is_of(&self, path: &Path) -> bool {
        path.metadata().is_ok_and(|facts| *self == Self::of(&facts))
    }

    /// Whether a change from `now` on, in seconds since the Unix epoch, cannot leave a file that looks the same.
    pub(crate) fn is_settled(&self, now: u64) -> bool {
        let (changed, _) = self.changed;
        // A time to come says nothing about what the next one will be.
        u64::try_from(changed).is_ok_and(|changed| now.saturating_sub(changed) > COARSEST_CLOCK)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_is_itself_until_it_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("a"), folder.path().join("b"));
        fs::write(&path, "one").unwrap();
        let identity = Identity::of(&path.metadata().unwrap());
        assert!(identity.is_of(&path));
        fs::write(&other, "two").unwrap();
        fs::rename(&other, &path).unwrap();
        assert!(!identity.is_of(&path));
        fs::remove_file(&path).unwrap();
        assert!(!identity.is_of(&path));
    }

    #[test]
    fn a_file_is_settled_when_it_has_not_changed_for_a_while() {
        let changed_at =
            |seconds| Identity { device: 1, inode: 1, size: 1, modified: (0, 0), changed: (seconds, 999_999_999) };
        assert!([0, 97].iter().all(|&seconds| changed_at(seconds).is_settled(100)));
        assert!([98, 99, 100, 200, -1, i64::MAX].iter().all(|&seconds| !changed_at(seconds).is_settled(100)));
    }
}
