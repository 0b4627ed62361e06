//! What a project is built from: which files of its folder count, how they looked at one moment, and what is different at
//! another. Reads the files, and writes none.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use ignore::WalkBuilder;

use super::plan::Change;
use crate::config::written_by_server;
use crate::identity::Identity;
use crate::project::Manifest;

/// The server's configuration, in the project's folder.
pub(super) const CONFIGURATION: &str = "guesthouse.toml";

/// A larger file is known by its size and time alone: it is not worth reading whenever it is touched.
const READ_BYTES_MAX: u64 = 1 << 20;

/// Where a project's sources are. Not among them are hidden files, what git ignores, what toolchains, editors and the server write,
/// and the module itself.
#[derive(Debug)]
pub(super) struct Sources {
    /// Absolute.
    folder: PathBuf,
    /// What the project builds, as its file said when it could last be read.
    output: Option<PathBuf>,
    /// What this program writes: it is no source, wherever it was redirected to.
    own: Vec<FileId>,
}

/// A file, whatever it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

/// How they looked. Paths are absolute.
#[derive(Debug, Default)]
pub(super) struct Look {
    files: BTreeMap<PathBuf, Source>,
    /// Those in which something happens when a source changes.
    pub(super) folders: BTreeSet<Folder>,
}

/// One that was removed and made again is another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    inode: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Source {
    identity: Identity,
    /// `None`: it is large, or cannot be read.
    content: Option<blake3::Hash>,
}

/// What counts as different.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Difference {
    /// That it was saved.
    Saved,
    /// That something else stands in it. A build may write files again that are as they were, and must not be a reason for
    /// the next.
    Content,
}

impl Sources {
    /// `folder` is absolute.
    pub(super) fn of(folder: PathBuf, own: Vec<FileId>) -> Self {
        Self { folder, output: None, own }
    }

    /// `known`: an earlier look. What has not been touched since is not read again.
    pub(super) fn look(&mut self, known: &Look) -> Look {
        if let Ok(manifest) = Manifest::read(&self.folder) {
            self.output = Some(self.folder.join(manifest.output));
        }
        let configuration = fs::read_to_string(self.folder.join(CONFIGURATION)).unwrap_or_default();
        let written = written_by_server(&configuration).into_iter().map(|path| self.folder.join(path));
        let not: BTreeSet<PathBuf> = written.chain(self.output.clone()).collect();
        let mut walk = WalkBuilder::new(&self.folder);
        walk.ignore(false).require_git(false);
        walk.filter_entry(move |entry| !not.contains(entry.path()) && !is_of_a_tool(entry.path()));
        let mut look = Look::default();
        // What cannot be looked at is as good as not there.
        for entry in walk.build().filter_map(Result::ok) {
            let path = entry.into_path();
            match fs::metadata(&path) {
                Ok(facts) if facts.is_dir() => drop(look.folders.insert(Folder { path, inode: facts.ino() })),
                Ok(facts) if facts.is_file() && !self.own.contains(&FileId::of(&facts)) => {
                    let source = Source::look_at(&path, &facts, known.files.get(&path));
                    look.files.insert(path, source);
                }
                Ok(_) | Err(_) => {}
            }
        }
        look
    }

    /// What is different now, sorted by what is to be done about it, and the paths, relative to the folder.
    pub(super) fn differences(&self, before: &Look, now: &Look, counts: Difference) -> (Change, Vec<PathBuf>) {
        let differs = |path: &&PathBuf| match (before.files.get(*path), now.files.get(*path)) {
            (Some(before), Some(now)) => before.differs_from(now, counts),
            (before, now) => before.is_some() != now.is_some(),
        };
        let all: BTreeSet<&PathBuf> = before.files.keys().chain(now.files.keys()).collect();
        let relative = |path: &PathBuf| path.strip_prefix(&self.folder).unwrap_or(path).to_owned();
        let paths: Vec<PathBuf> = all.into_iter().filter(differs).map(relative).collect();
        let is_configuration = |path: &PathBuf| path == Path::new(CONFIGURATION);
        let configuration = paths.iter().any(is_configuration);
        (Change { configuration, sources: !paths.iter().all(is_configuration) }, paths)
    }
}

/// Where standard output and standard error of this process go.
pub(super) fn own_output() -> Vec<FileId> {
    let facts = |to: BorrowedFd<'_>| fs::File::from(to.try_clone_to_owned()?).metadata();
    let both = [facts(io::stdout().as_fd()), facts(io::stderr().as_fd())];
    both.iter().flatten().map(FileId::of).collect()
}

impl FileId {
    fn of(facts: &fs::Metadata) -> Self {
        Self { device: facts.dev(), inode: facts.ino() }
    }
}

impl Look {
    /// How many sources there are.
    pub(super) fn count(&self) -> usize {
        self.files.len()
    }
}

impl Source {
    fn look_at(path: &Path, facts: &fs::Metadata, known: Option<&Source>) -> Self {
        let identity = Identity::of(facts);
        match known {
            Some(known) if known.identity == identity => known.clone(),
            Some(_) | None => {
                let text = (facts.size() <= READ_BYTES_MAX).then(|| fs::read(path).ok()).flatten();
                Self { identity, content: text.map(|text| blake3::hash(&text)) }
            }
        }
    }

    fn differs_from(&self, other: &Source, counts: Difference) -> bool {
        match (counts, &self.content, &other.content) {
            (Difference::Content, Some(this), Some(other)) => this != other,
            (Difference::Content | Difference::Saved, _, _) => self.identity != other.identity,
        }
    }
}

/// What toolchains and editors keep, whether git is told to ignore it or not.
fn is_of_a_tool(path: &Path) -> bool {
    let Some(name) = path.file_name().and_then(OsStr::to_str) else { return false };
    let is_of_cargo = || path.parent().is_some_and(|folder| folder.join("Cargo.toml").exists());
    let is_of_an_editor = name.ends_with('~') || name.starts_with('#');
    is_of_an_editor || name == "node_modules" || (name == "target" && is_of_cargo())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::FILE;

    struct Project {
        folder: tempfile::TempDir,
        sources: Sources,
        known: Look,
    }

    impl Project {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join(FILE), "output = \"shop.wasm\"\n").unwrap();
            let own = folder.path().join("dev.log");
            fs::write(&own, "").unwrap();
            let own = FileId::of(&own.metadata().unwrap());
            let mut sources = Sources::of(folder.path().to_owned(), vec![own]);
            let known = sources.look(&Look::default());
            Self { folder, sources, known }
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        /// What is different since the last time.
        fn differences(&mut self, counts: Difference) -> (Change, Vec<String>) {
            let now = self.sources.look(&self.known);
            let (change, paths) = self.sources.differences(&self.known, &now, counts);
            self.known = now;
            (change, paths.into_iter().map(|path| path.display().to_string()).collect())
        }

        fn saved(&mut self) -> Vec<String> {
            self.differences(Difference::Saved).1
        }
    }

    #[test]
    fn sources_that_come_change_and_go_are_different() {
        let mut project = Project::new();
        project.write("src/a.c", "one");
        assert_eq!(project.saved(), ["src/a.c"]);
        assert!(project.known.folders.iter().any(|folder| folder.path.ends_with("src")));
        project.write("src/a.c", "other");
        project.write("b.c", "");
        assert_eq!(project.saved(), ["b.c", "src/a.c"]);
        fs::remove_file(project.folder.path().join("b.c")).unwrap();
        assert_eq!(project.saved(), ["b.c"]);
        assert!(project.saved().is_empty());
    }

    #[test]
    fn what_is_built_cached_hidden_or_ignored_is_no_source() {
        let mut project = Project::new();
        project.write(".gitignore", "/build\n*.o\n__pycache__/\n");
        project.write("Cargo.toml", "");
        project.write("guesthouse.toml", "[server]\ncache_dir = \"native\"\n");
        project.saved();
        for path in [
            "shop.wasm",
            "target/release/shop.wasm",
            "node_modules/a/index.js",
            "packages/a/node_modules/index.js",
            ".git/index",
            ".cargo/config.toml",
            ".main.c.swp",
            "main.c~",
            "#main.c#",
            "build/handler.js",
            "main.o",
            "lib/__pycache__/a.pyc",
            "run/guesthouse.pid",
            "native/1.cwasm",
            "logs/access.log",
            "dev.log",
        ] {
            project.write(path, "text");
            assert!(project.saved().is_empty(), "{path}");
        }
        // A folder of that name that is none of cargo's or the server's.
        for path in ["src/target/a.c", "cache/a.c", "logs/logs.go"] {
            project.write(path, "text");
            assert_eq!(project.saved(), [path]);
        }
    }

    #[test]
    fn the_module_is_no_source_while_the_projects_file_is_broken() {
        let mut project = Project::new();
        project.write(FILE, "output = ");
        project.write("shop.wasm", "one");
        assert_eq!(project.saved(), [FILE]);
    }

    #[test]
    fn the_configuration_is_told_apart() {
        let mut project = Project::new();
        project.write(CONFIGURATION, "");
        assert_eq!(project.differences(Difference::Saved).0, Change { configuration: true, sources: false });
        project.write(CONFIGURATION, "# one");
        project.write("main.c", "");
        assert_eq!(project.differences(Difference::Saved).0, Change { configuration: true, sources: true });
        assert_eq!(project.differences(Difference::Saved).0, Change::default());
    }

    #[test]
    fn a_file_that_is_written_as_it_was_was_saved_but_says_nothing_else() {
        let mut project = Project::new();
        project.write("go.sum", "text");
        project.saved();
        let write_again = |project: &Project| {
            // Another inode, whatever the clock says.
            project.write(".new", "text");
            fs::rename(project.folder.path().join(".new"), project.folder.path().join("go.sum")).unwrap();
        };
        write_again(&project);
        assert_eq!(project.saved(), ["go.sum"]);
        write_again(&project);
        assert!(project.differences(Difference::Content).1.is_empty());
        project.write("go.sum", "another");
        assert_eq!(project.differences(Difference::Content).1, ["go.sum"]);
    }
}
