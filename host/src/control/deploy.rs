//! Putting a file into `modules_dir` and taking one away, and what has become of that. Waiting for it, and asking for it to be
//! looked at, is not done here.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::desk::Published;
use super::rounds::Outcome;
use crate::config;
use crate::deploy::Snapshot;
use crate::preparation::Prepared;

/// A change of the files of one module, which is to be published.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) name: String,
    wasm: PathBuf,
    /// How the file looks now.
    seen: Snapshot,
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
pub(super) fn place(published: &Prepared, name: &str) -> Result<PathBuf, String> {
    let Some(dir) = &published.config.server.modules_dir else {
        return Err(String::from(
            "this server has no folder for modules: write modules_dir = \"modules\" under [server] of its configuration, \
             and reload it (guesthouse reload)",
        ));
    };
    config::check_module_name(name)?;
    let modules = published.config.modules.iter().zip(&published.modules);
    let configured = modules.filter(|(_, prepared)| !prepared.was_dropped_in).map(|(module, _)| module);
    if let Some(module) = configured.into_iter().find(|module| module.name == name) {
        return Err(format!(
            "module {name:?} stands in the configuration: change its file, {}, or give this one another name",
            module.path.display()
        ));
    }
    Ok(dir.join(format!("{name}.wasm")))
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
    pub(super) fn begin(published: &Prepared, name: &str) -> Result<Self, String> {
        let wasm = place(published, name)?;
        let dir = wasm.parent().unwrap_or(&wasm);
        // Names that begin with a dot are no modules.
        let file = tempfile::Builder::new()
            .prefix(&format!(".{name}."))
            .suffix(".new")
            .permissions(Permissions::from_mode(0o644))
            .tempfile_in(dir)
            .map_err(|error| format!("cannot make a file in {}: {error}", dir.display()))?;
        Ok(Self { name: name.to_owned(), wasm, file, hasher: blake3::Hasher::new(), bytes: 0 })
    }

    /// # Errors
    /// The disk is full, or the like.
    pub(super) fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        self.hasher.update(piece);
        self.bytes += piece.len() as u64;
        self.file.write_all(piece)
    }

    /// Of what was written.
    pub(super) fn hash(&self) -> String {
        self.hasher.finalize().to_hex().to_string()
    }

    /// Puts it in its place, at once and for good; unless it is there already and served.
    ///
    /// # Errors
    /// It cannot be put there.
    pub(super) fn finish(self, published: &Published) -> Result<Put, String> {
        let cannot = |error: io::Error| format!("cannot write {}: {error}", self.wasm.display());
        if is_served(published, &self.name, &self.wasm) && self.is_in_place() {
            return Ok(Put::Unchanged);
        }
        self.file.as_file().sync_all().map_err(cannot)?;
        let file = self.file.persist(&self.wasm).map_err(|error| cannot(error.error))?;
        sync_folder(&self.wasm);
        // Of what was put there, whatever stands there by now.
        let seen = Snapshot::of_file(&self.wasm, &file.metadata().map_err(cannot)?);
        Ok(Put::There(Change { name: self.name, wasm: self.wasm, seen }))
    }

    fn is_in_place(&self) -> bool {
        let same_size = self.wasm.metadata().is_ok_and(|facts| facts.is_file() && facts.len() == self.bytes);
        same_size && hash_of(&self.wasm).is_ok_and(|hash| hash == self.hash())
    }
}

/// Takes the files of a module away.
///
/// # Errors
/// There are none, or they cannot be removed.
pub(super) fn remove(published: &Prepared, name: &str) -> Result<Change, String> {
    let wasm = place(published, name)?;
    let cannot = |path: &Path, error: &io::Error| format!("cannot remove {}: {error}", path.display());
    match fs::remove_file(&wasm) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(format!("there is no {}", wasm.display())),
        Err(error) => return Err(cannot(&wasm, &error)),
    }
    let settings = wasm.with_extension("toml");
    match fs::remove_file(&settings) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(cannot(&settings, &error)),
        Ok(()) | Err(_) => {}
    }
    sync_folder(&wasm);
    Ok(Change { name: name.to_owned(), wasm, seen: Snapshot::default() })
}

/// What is in a folder outlives the machine's fall, where the file system can do that.
fn sync_folder(file: &Path) {
    let folder = file.parent().map(File::open);
    let _best_effort = folder.map(|folder| folder.and_then(|folder| folder.sync_all()));
}

/// The BLAKE3 hash of a file.
///
/// # Errors
/// It cannot be read.
pub(super) fn hash_of(path: &Path) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    let (mut file, mut piece) = (File::open(path)?, vec![0; 64 << 10]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hasher.finalize().to_hex().to_string()),
            read => hasher.update(&piece[..read]),
        };
    }
}

/// Whether the file that stands there now is what is served under this name.
pub(super) fn is_served(published: &Published, name: &str, wasm: &Path) -> bool {
    let Published { prepared, is_written, .. } = published;
    let is_module = prepared.config.modules.iter().any(|module| module.name == name);
    let now = wasm.metadata().map(|facts| Snapshot::of_file(wasm, &facts)).unwrap_or_default();
    *is_written && is_module && !prepared.refused.contains_key(name) && prepared.seen.agrees_with(&now, wasm)
}

impl Change {
    /// Of a file that was put in its place just now.
    ///
    /// # Errors
    /// It is gone already.
    pub(super) fn of(name: &str, wasm: PathBuf) -> Result<Self, String> {
        let facts = wasm.metadata().map_err(|error| format!("cannot look at {}: {error}", wasm.display()))?;
        Ok(Self { name: name.to_owned(), seen: Snapshot::of_file(&wasm, &facts), wasm })
    }

    /// What has become of it, by what is published and by the reload that was asked for; `None` if that is not known yet.
    pub(super) fn outcome(&self, published: &Published, reload: Option<Outcome>) -> Option<Result<(), String>> {
        if published.is_written && published.prepared.seen.agrees_with(&self.seen, &self.wasm) {
            return Some(self.verdict(&published.prepared));
        }
        let reason = match reload? {
            Outcome::Serving if !published.is_written => String::from(
                "the server cannot write into its runtime_dir what serves, so it cannot tell: its error log says more",
            ),
            Outcome::Serving => format!("{} was changed by somebody else meanwhile", self.wasm.display()),
            Outcome::Failed(reason) => format!(
                "{reason}: the error log says more, and so does `guesthouse check`; {} waits for that to be mended",
                self.wasm.display()
            ),
            Outcome::Stopping => format!("the server stops; {} waits for its next start", self.wasm.display()),
        };
        Some(Err(reason))
    }

    fn verdict(&self, published: &Prepared) -> Result<(), String> {
        let Self { name, seen, wasm } = self;
        let is_there = *seen != Snapshot::default();
        let serves = published.config.modules.iter().any(|module| module.name == *name);
        match (is_there, published.refused.get(name), serves) {
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
    use super::super::since::Since;
    use super::*;
    use crate::deploy::testing::prepared;

    fn published(folder: &Path, modules: &[(&str, &str)]) -> Published {
        let mut prepared = prepared(modules);
        prepared.config.server.modules_dir = Some(folder.to_owned());
        Published { prepared, generation: 0, since: Since::default(), is_written: true }
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
        let stolen = change.outcome(&published(folder.path(), &[]), Some(Outcome::Serving)).unwrap().unwrap_err();
        assert!(stolen.ends_with("a.wasm was changed by somebody else meanwhile"), "{stolen}");
    }

    #[test]
    fn a_file_that_is_taken_away_is_gone_when_its_module_is() {
        let folder = tempfile::tempdir().unwrap();
        let before = published(folder.path(), &[("a", "1")]);
        fs::write(folder.path().join("a.toml"), "").unwrap();
        assert!(remove(&before.prepared, "a").unwrap_err().starts_with("there is no "));
        fs::write(folder.path().join("a.wasm"), "").unwrap();
        let change = remove(&before.prepared, "a").unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert_eq!(change.outcome(&published(folder.path(), &[]), None), Some(Ok(())));
        assert!(change.outcome(&before, None).unwrap().unwrap_err().contains("its module goes on"));
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
