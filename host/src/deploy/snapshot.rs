//! How the files that modules come from looked at one moment: enough to tell that one has changed, without reading any.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::folder;
use crate::config::Config;
use crate::identity::Identity;

/// Where modules come from: the files that the configuration names, and its `modules_dir`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sources {
    files: BTreeSet<PathBuf>,
    folder: Option<PathBuf>,
}

impl Sources {
    /// Of a configuration before what is in its `modules_dir` was added.
    #[must_use]
    pub fn of(config: &Config) -> Sources {
        Sources {
            files: config.modules.iter().map(|module| module.path.clone()).collect(),
            folder: config.server.modules_dir.clone(),
        }
    }

    /// How they look now. To be asked before they are read: what changes later differs from it then.
    #[must_use]
    pub fn look(&self) -> Snapshot {
        let mut snapshot = Snapshot::default();
        self.files.iter().for_each(|path| snapshot.look_at(path));
        if let Some(folder) = &self.folder
            && let Ok(candidates) = folder::candidates(folder)
        {
            snapshot.folder_is_there = true;
            for candidate in candidates {
                snapshot.look_at(&candidate.wasm);
                snapshot.look_at(&candidate.settings);
            }
        }
        snapshot
    }

    /// The folders in which something happens if one of them changes.
    pub(super) fn folders(&self) -> BTreeSet<&Path> {
        let of_files = self.files.iter().filter_map(|path| path.parent());
        let folder = self.folder.as_deref();
        // Its own folder too: it may vanish and come back.
        of_files.chain(folder).chain(folder.and_then(Path::parent)).collect()
    }

    /// Whether what happens at this path may be about one of them.
    pub(super) fn concern(&self, path: &Path) -> bool {
        let folder = self.folder.as_deref();
        self.files.contains(path) || folder == Some(path) || (folder.is_some() && folder == path.parent())
    }
}

/// Two that are equal mean that nothing has changed between them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Those that are there.
    files: BTreeMap<PathBuf, Identity>,
    /// Whether `modules_dir` could be read.
    folder_is_there: bool,
}

impl Snapshot {
    fn look_at(&mut self, path: &Path) {
        if let Ok(facts) = path.metadata() {
            self.files.insert(path.to_owned(), Identity::of(&facts));
        }
    }

    /// Of one file, which looks like this.
    #[must_use]
    pub fn of_file(path: &Path, facts: &Metadata) -> Self {
        Self { files: BTreeMap::from([(path.to_owned(), Identity::of(facts))]), folder_is_there: true }
    }

    /// Whether this file was there.
    #[must_use]
    pub fn has(&self, path: &Path) -> bool {
        self.files.contains_key(path)
    }

    /// Whether this file is now as it was, there or not.
    #[must_use]
    pub fn is_as_on_disk(&self, path: &Path) -> bool {
        self.files.get(path).copied() == path.metadata().ok().as_ref().map(Identity::of)
    }

    /// Whether this file was the same in both, there or not.
    #[must_use]
    pub fn agrees_with(&self, other: &Snapshot, path: &Path) -> bool {
        self.files.get(path) == other.files.get(path)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn sources(folder: &Path) -> Sources {
        let text = "[server]\naccess_log = \"off\"\nmodules_dir = \"m\"\n";
        Sources::of(&crate::config::read_text(text, &folder.join("guesthouse.toml")).unwrap().0)
    }

    #[test]
    fn whatever_is_done_to_a_module_changes_it_and_what_is_done_to_others_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let (sources, path) = (sources(folder.path()), |name: &str| folder.path().join("m").join(name));
        let mut before = sources.look();
        let mut differs = |what: &str| {
            let now = sources.look();
            assert_ne!(before, now, "{what}");
            before = now;
        };
        fs::create_dir(path("")).unwrap();
        differs("the folder came");
        fs::write(path("a.wasm"), "one").unwrap();
        differs("a file came");
        fs::write(path("a.toml"), "").unwrap();
        differs("settings came");
        fs::write(path(".a.wasm.tmp"), "two").unwrap();
        fs::rename(path(".a.wasm.tmp"), path("a.wasm")).unwrap();
        differs("it was replaced");
        fs::remove_file(path("a.wasm")).unwrap();
        differs("it was removed");
        fs::write(path("note.txt"), "").unwrap();
        assert_eq!(before, sources.look(), "a file that is no module");
    }

    #[test]
    fn what_happens_beside_the_files_does_not_concern_them() {
        let sources = Sources { files: [PathBuf::from("/a/x.wasm")].into(), folder: Some("/m".into()) };
        for path in ["/a/x.wasm", "/m", "/m/y.wasm", "/m/y.toml"] {
            assert!(sources.concern(Path::new(path)), "{path}");
        }
        for path in ["/a/access.log", "/a", "/", "/m/below/y.wasm"] {
            assert!(!sources.concern(Path::new(path)), "{path}");
        }
        let folders: Vec<_> = sources.folders().into_iter().collect();
        assert_eq!(folders, [Path::new("/"), Path::new("/a"), Path::new("/m")]);
    }

    #[test]
    fn a_file_agrees_with_itself() {
        let folder = tempfile::tempdir().unwrap();
        let (sources, wasm) = (sources(folder.path()), folder.path().join("m/a.wasm"));
        fs::create_dir(folder.path().join("m")).unwrap();
        fs::write(&wasm, "one").unwrap();
        let one = sources.look();
        assert!(one.agrees_with(&sources.look(), &wasm) && one.is_as_on_disk(&wasm));
        fs::write(&wasm, "other").unwrap();
        assert!(!one.agrees_with(&sources.look(), &wasm) && !one.is_as_on_disk(&wasm));
    }
}
