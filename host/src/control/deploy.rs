//! Putting a file into `modules_dir` and taking one away, and what has become of that. Waiting for it, and asking for it to be
//! looked at, is not done here.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::desk::Published;
use super::protocol::FILE_TIME;
use super::rounds::Outcome;
use crate::config::{self, Module};
use crate::deploy::versions::{self, BroughtBack};
use crate::deploy::{Prepared, Snapshot};
use crate::unfinished;

/// A change of the files of one module, which is to be published.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) name: String,
    wasm: PathBuf,
    /// How the file looks now.
    seen: Snapshot,
    if_refused: IfRefused,
}

/// What becomes of a change where nothing is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum IfRefused {
    /// It is tried again when what is wrong has been mended.
    Stays,
    /// A module of the configuration: with it as it is now, none is accepted.
    IsTakenBack,
}

/// The files of a module, taken away.
#[derive(Debug)]
pub(super) struct Removed {
    pub(super) change: Change,
    /// What could not be removed, and why.
    pub(super) left: Option<String>,
}

/// What came of a file that was sent.
#[derive(Debug)]
pub(super) enum Put {
    /// It is there, and is to be published.
    There(Change),
    /// It is what is served already.
    Unchanged,
}

/// Where the file of a module that may be dropped in is.
///
/// # Errors
/// There is no such place, and what to do.
pub(super) fn place(prepared: &Prepared, name: &str) -> Result<PathBuf, String> {
    let Some(dir) = &prepared.config.server.modules_dir else {
        return Err(String::from(
            "this server has no folder for modules: write modules_dir = \"modules\" under [server] of its configuration, \
             and reload it (guesthouse reload)",
        ));
    };
    config::check_module_name(name)?;
    if let Some(module) = configured(prepared, name) {
        return Err(format!(
            "module {name:?} stands in the configuration: change its file, {}, or give this one another name",
            module.path.display()
        ));
    }
    Ok(dir.join(format!("{name}.wasm")))
}

/// A module that stands in the configuration, if one of this name does.
fn configured<'a>(prepared: &'a Prepared, name: &str) -> Option<&'a Module> {
    prepared.module(name).filter(|(_, module)| !module.was_dropped_in).map(|(settings, _)| settings)
}

/// A file that is on its way into the folder.
#[derive(Debug)]
pub(super) struct Incoming {
    name: String,
    wasm: PathBuf,
    file: NamedTempFile,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl Incoming {
    /// # Errors
    /// As [`place`], or no file can be made there.
    pub(super) fn begin(prepared: &Prepared, name: &str) -> Result<Self, String> {
        let wasm = place(prepared, name)?;
        sweep(prepared);
        let file = unfinished::begin(&wasm, versions::MODE).map_err(|error| versions::cannot_write(&wasm, &error))?;
        Ok(Self { name: name.to_owned(), wasm, file, hasher: blake3::Hasher::new(), bytes: 0 })
    }

    /// # Errors
    /// The disk is full, or the like.
    pub(super) fn write(&mut self, piece: &[u8]) -> Result<(), String> {
        self.hasher.update(piece);
        self.bytes += piece.len() as u64;
        self.file.write_all(piece).map_err(|error| format!("cannot write {}: {error}", self.wasm.display()))
    }

    /// Puts it in its place, at once and for good; unless it is there already and served.
    ///
    /// # Errors
    /// It cannot be put there.
    pub(super) fn finish(self, published: &Published) -> Result<Put, String> {
        if is_served(published, &self.name, &self.wasm) && self.is_in_place() {
            return Ok(Put::Unchanged);
        }
        let facts = unfinished::put_in_place(self.file, &self.wasm)
            .map_err(|error| versions::cannot_write(&self.wasm, &error))?;
        let seen = Snapshot::of_file(&self.wasm, &facts);
        Ok(Put::There(Change { name: self.name, wasm: self.wasm, seen, if_refused: IfRefused::Stays }))
    }

    fn is_in_place(&self) -> bool {
        let same_size = self.wasm.metadata().is_ok_and(|facts| facts.is_file() && facts.len() == self.bytes);
        let mut there = blake3::Hasher::new();
        same_size
            && File::open(&self.wasm).is_ok_and(|file| there.update_reader(file).is_ok())
            && there.finalize() == self.hasher.finalize()
    }
}

/// Removes what was left where files are put that serve or say what serves: by uploads, by versions that were brought back, and by
/// the parent, all cut off with their server.
pub(super) fn sweep(prepared: &Prepared) {
    let config::Server { modules_dir, runtime_dir, .. } = &prepared.config.server;
    let of_modules = prepared.config.modules.iter().filter_map(|module| module.path.parent());
    let folders: BTreeSet<&Path> = of_modules.chain(modules_dir.as_deref()).chain([runtime_dir.as_path()]).collect();
    // Where one cannot be read, that is told by whoever looks for modules there.
    let entries = folders.into_iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().filter_map(Result::ok);
    for entry in entries.filter(|entry| entry.file_name().to_str().is_some_and(unfinished::is_name)) {
        let age = entry.metadata().and_then(|facts| facts.modified()).map(|at| at.elapsed().unwrap_or_default());
        // It may be under way, in another server too.
        if age.is_ok_and(|age| age > FILE_TIME)
            && let Err(error) = fs::remove_file(entry.path())
        {
            tracing::warn!("cannot remove {}, which was never finished: {error}", entry.path().display());
        }
    }
}

/// Takes the files of a module away.
///
/// # Errors
/// There are none, or none can be removed.
pub(super) fn remove(prepared: &Prepared, name: &str) -> Result<Removed, String> {
    let wasm = place(prepared, name)?;
    let settings = wasm.with_extension("toml");
    // Without its settings it must not serve, so they go last; and those that were left before go too, since a module that came
    // by this name would have what they grant.
    let (removed, left) = (remove_file(&wasm)?, remove_file(&settings));
    match left {
        Ok(false) if !removed => return Err(format!("there is no {}", wasm.display())),
        Err(problem) if !removed => return Err(problem),
        Ok(_) | Err(_) => unfinished::flush_folder_of(&wasm),
    }
    // There is no file.
    let (name, seen, if_refused) = (name.to_owned(), Snapshot::default(), IfRefused::Stays);
    Ok(Removed { change: Change { name, wasm, seen, if_refused }, left: left.err() })
}

/// Whether there was one.
fn remove_file(path: &Path) -> Result<bool, String> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(format!("cannot remove {}: {error}", path.display())),
    }
}

/// Whether the file that stands there now, with its settings, is what is served under this name.
fn is_served(Published { prepared, is_written, .. }: &Published, name: &str, wasm: &Path) -> bool {
    let files = [wasm, &wasm.with_extension("toml")];
    *is_written
        && prepared.module(name).is_some()
        && !prepared.refused.contains_key(name)
        && files.iter().all(|path| prepared.seen.is_as_on_disk(path))
}

impl Change {
    /// Puts a version of a module that is kept in the place of its file: the one before, if none is wanted. Answers with its hash
    /// too.
    ///
    /// # Errors
    /// There is none, or it cannot be put there.
    pub(super) fn bring_back(prepared: &Prepared, name: &str, wanted: Option<&str>) -> Result<(String, Self), String> {
        let BroughtBack { hash, path: wasm, seen } = versions::bring_back(prepared, name, wanted)?;
        let if_refused = if configured(prepared, name).is_some() { IfRefused::IsTakenBack } else { IfRefused::Stays };
        Ok((hash, Self { name: name.to_owned(), wasm, seen, if_refused }))
    }

    /// To be called when a version that was brought back is refused: where it would hold up others, what is published takes its
    /// place again, unless somebody has put something else there.
    ///
    /// # Errors
    /// It cannot be put there, and what to do.
    pub(super) fn take_back(&self, prepared: &Prepared) -> Result<(), String> {
        let serves = prepared.versions.get(&self.name).and_then(|history| history.first());
        match (self.if_refused, serves) {
            (IfRefused::IsTakenBack, Some(serves)) if self.seen.is_as_on_disk(&self.wasm) => {
                let put = versions::bring_back(prepared, &self.name, Some(&serves.hash));
                put.map(drop).map_err(|problem| {
                    format!(
                        "{problem}\nnothing is deployed while {} is what was refused: replace it",
                        self.wasm.display()
                    )
                })
            }
            _ => Ok(()),
        }
    }

    /// What has become of it, by what is published and by the reload that was asked for; `None` if that is not known yet.
    pub(super) fn outcome(&self, published: &Published, reload: Option<Outcome>) -> Option<Result<(), String>> {
        let is_seen = published.is_written && published.prepared.seen.agrees_with(&self.seen, &self.wasm);
        // Where a file was taken away that had not been seen, what is published knows of none.
        if is_seen && (self.is_there() || reload == Some(Outcome::Serving)) {
            return Some(self.verdict(&published.prepared));
        }
        let reload = reload?;
        let waits_for = if reload == Outcome::Stopping { "its next start" } else { "that to be mended" };
        Some(Err(match reload.problem() {
            Some(problem) => format!("{problem}; {}", self.fate(waits_for)),
            None if !published.is_written => String::from(
                "the server cannot write into its runtime_dir what serves, so it cannot tell: its error log says more",
            ),
            None => format!("{} was changed by somebody else meanwhile", self.wasm.display()),
        }))
    }

    /// Of the file, where nothing is taken over.
    fn fate(&self, waits_for: &str) -> String {
        let wasm = self.wasm.display();
        match self.if_refused {
            _ if !self.is_there() => {
                format!("{wasm} is removed, and that its module is withdrawn waits for {waits_for}")
            }
            IfRefused::Stays => format!("{wasm} waits for {waits_for}"),
            IfRefused::IsTakenBack => format!("{wasm} is left as it was"),
        }
    }

    fn is_there(&self) -> bool {
        self.seen.has(&self.wasm)
    }

    fn verdict(&self, prepared: &Prepared) -> Result<(), String> {
        let Self { name, wasm, .. } = self;
        match (self.is_there(), prepared.refused.get(name), prepared.module(name).is_some()) {
            (true, None, true) | (false, _, false) => Ok(()),
            (true, Some(refusal), true) => Err(format!("{}\nthe version before goes on", refusal.problem())),
            (true, Some(refusal), false) => Err(refusal.problem().to_owned()),
            (true, None, false) => Err(format!("module {name:?} is not served: the error log says why")),
            (false, _, true) => {
                Err(format!("{} is removed, but its module goes on: the error log says why", wasm.display()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::deploy::testing::prepared;

    fn published(folder: &Path, modules: &[(&str, &str)]) -> Published {
        let mut prepared = prepared(modules);
        prepared.config.server.modules_dir = Some(folder.to_owned());
        Published { prepared, generation: 0, is_written: true }
    }

    fn put(published: &Published, name: &str, content: &str) -> Put {
        let mut incoming = Incoming::begin(&published.prepared, name).unwrap();
        incoming.write(content.as_bytes()).unwrap();
        incoming.finish(published).unwrap()
    }

    #[test]
    fn a_file_that_was_put_there_is_judged_by_what_is_published() {
        let folder = tempfile::tempdir().unwrap();
        let before = published(folder.path(), &[]);
        let Put::There(change) = put(&before, "a", "one") else { panic!("it is new") };
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left there");
        assert_eq!(change.outcome(&before, None), None);
        let failed = change.outcome(&before, Some(Outcome::Failed("why".into()))).unwrap().unwrap_err();
        assert!(failed.starts_with("why: ") && failed.contains("a.wasm waits"), "{failed}");

        let mut after = published(folder.path(), &[("a", "1")]);
        after.prepared.seen = change.seen.clone();
        assert_eq!(change.outcome(&after, None), Some(Ok(())));
        assert!(matches!(put(&after, "a", "one"), Put::Unchanged));
        assert!(matches!(put(&after, "a", "two"), Put::There(_)));
        let withdrawn = remove(&after.prepared, "a").unwrap().change;
        let failed = withdrawn.outcome(&after, Some(Outcome::Failed("why".into()))).unwrap().unwrap_err();
        assert!(failed.contains("a.wasm is removed, and that its module is withdrawn waits for that"), "{failed}");
        let stolen = change.outcome(&published(folder.path(), &[]), Some(Outcome::Serving)).unwrap().unwrap_err();
        assert!(stolen.ends_with("a.wasm was changed by somebody else meanwhile"), "{stolen}");
    }

    #[test]
    fn a_folder_that_nothing_can_be_put_into_is_told_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let nowhere = folder.path().join("nowhere");
        let told = Incoming::begin(&published(&nowhere, &[]).prepared, "a").unwrap_err();
        let end = format!("see to it that the server's user can write to {}", nowhere.display());
        assert!(told.starts_with("cannot write ") && told.contains("a.wasm") && told.ends_with(&end), "{told}");
    }

    #[test]
    fn a_file_that_is_taken_away_is_gone_when_its_module_is() {
        let folder = tempfile::tempdir().unwrap();
        let before = published(folder.path(), &[("a", "1")]);
        assert!(remove(&before.prepared, "a").unwrap_err().starts_with("there is no "));
        fs::write(folder.path().join("a.wasm"), "").unwrap();
        fs::write(folder.path().join("a.toml"), "").unwrap();
        let Removed { change, left } = remove(&before.prepared, "a").unwrap();
        assert_eq!((fs::read_dir(folder.path()).unwrap().count(), left), (0, None));
        let after = published(folder.path(), &[]);
        // What is published may know nothing yet of the file that was taken away.
        assert_eq!((change.outcome(&before, None), change.outcome(&after, None)), (None, None));
        assert_eq!(change.outcome(&after, Some(Outcome::Serving)), Some(Ok(())));
        let goes_on = change.outcome(&before, Some(Outcome::Serving)).unwrap().unwrap_err();
        assert!(goes_on.contains("its module goes on"), "{goes_on}");
    }

    #[test]
    fn settings_do_not_outlive_their_module_and_what_stays_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let here = published(folder.path(), &[]).prepared;
        let (wasm, settings) = (folder.path().join("a.wasm"), folder.path().join("a.toml"));
        fs::write(&settings, "").unwrap();
        assert_eq!(remove(&here, "a").unwrap().left, None);
        assert!(!settings.exists());
        fs::write(&wasm, "").unwrap();
        // Nobody can remove a folder as a file.
        fs::create_dir(&settings).unwrap();
        let left = remove(&here, "a").unwrap().left.unwrap();
        assert!(left.starts_with("cannot remove ") && left.contains("a.toml"), "{left}");
        assert!(!wasm.exists());
        assert_eq!(remove(&here, "a").unwrap_err(), left);
    }

    #[test]
    fn what_an_upload_has_left_is_removed_when_it_is_old() {
        let folder = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let mut here = published(folder.path(), &[("configured", "1")]).prepared;
        here.config.modules[0].path = elsewhere.path().join("configured.wasm");
        here.config.server.runtime_dir = folder.path().join("run");
        fs::create_dir(&here.config.server.runtime_dir).unwrap();
        let incoming = Incoming::begin(&here, "a.b").unwrap();
        let left = incoming.file.into_temp_path().keep().unwrap();
        let long_ago = SystemTime::now() - 2 * FILE_TIME;
        let make = |path: PathBuf| {
            File::create(&path).unwrap().set_modified(long_ago).unwrap();
            path
        };
        let others = [".a.backup.new", ".unfinished", "a.unfinished", ".a.AbCd12.unfinished"];
        let others = others.map(|name| make(folder.path().join(name)));
        let unfinished = ".AbCd12.unfinished";
        let beside = [elsewhere.path(), &here.config.server.runtime_dir].map(|folder| make(folder.join(unfinished)));
        sweep(&here);
        assert!(left.exists(), "it may be under way");
        assert!(!beside.iter().any(|path| path.exists()));
        File::options().append(true).open(&left).unwrap().set_modified(long_ago).unwrap();
        sweep(&here);
        assert!(!left.exists() && others.iter().all(|path| path.exists()));
    }

    #[test]
    fn a_file_with_other_settings_is_not_what_is_served() {
        let folder = tempfile::tempdir().unwrap();
        let before = published(folder.path(), &[]);
        let Put::There(change) = put(&before, "a", "one") else { panic!("it is new") };
        let mut after = published(folder.path(), &[("a", "1")]);
        after.prepared.seen = change.seen.clone();
        assert!(after.prepared.seen.is_as_on_disk(&change.wasm));
        fs::write(folder.path().join("a.toml"), "").unwrap();
        assert!(matches!(put(&after, "a", "one"), Put::There(_)));
        assert!(!after.prepared.seen.is_as_on_disk(&change.wasm), "it was put there anew");
    }

    #[test]
    fn no_name_leads_out_of_the_folder_or_to_a_module_of_the_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let mut here = published(folder.path(), &[("a", "1")]).prepared;
        for name in ["", "../a", "a/b", ".a", "a\n", &"a".repeat(65)] {
            assert!(place(&here, name).unwrap_err().contains("is no module name"), "{name:?}");
        }
        here.modules[0].was_dropped_in = false;
        assert!(place(&here, "a").unwrap_err().starts_with("module \"a\" stands in the configuration"));
        assert!(place(&here, "b").is_ok());
        here.config.server.modules_dir = None;
        assert!(place(&here, "b").unwrap_err().contains("write modules_dir = \"modules\" under [server]"));
    }
}
