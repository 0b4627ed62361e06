//! `published.json` in `runtime_dir`: what serves, as the preparation has told it. It outlives the server, so that a module
//! whose file has gone bad serves on in its last good version, also after a restart.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::{Prepared, PreparedModule};
use crate::config::{Module, ModuleLines};
use crate::unfinished;

const FILE: &str = "published.json";

/// Where it is.
#[must_use]
pub fn path(runtime_dir: &Path) -> PathBuf {
    runtime_dir.join(FILE)
}

/// Reads it. What is not there, or was written by another version of this program, says nothing.
#[must_use]
pub fn read(path: &Path) -> Option<Prepared> {
    let owner = path.symlink_metadata().ok().filter(fs::Metadata::is_file)?.uid();
    let is_ours = owner == 0 || owner == nix::unistd::geteuid().as_raw();
    let prepared: Prepared = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    (is_ours && prepared.made_by == made_by()).then_some(prepared)
}

/// Which program can use what is written: native code runs in the very version that has compiled it.
#[must_use]
pub fn made_by() -> String {
    crate::guest::compile::compatibility()
}

/// Writes it, whole or not at all.
///
/// # Errors
/// The runtime directory cannot be written to.
pub fn write(runtime_dir: &Path, prepared: &[u8]) -> io::Result<()> {
    let path = path(runtime_dir);
    // Not flushed here: the parent waits for no disk; the lookout does it in a moment. Until then a power failure may cost the last
    // good versions and all that is kept to go back to.
    unfinished::write(&path, prepared, 0o600)?.persist(&path)?;
    Ok(())
}

/// What is written outlives the machine's fall from now on, where the file system can do that. May wait for a disk.
pub fn flush(path: &Path) {
    let _best_effort = fs::File::open(path).and_then(|file| file.sync_all());
    unfinished::flush_folder_of(path);
}

/// What is different for clients since `before`, a line for each module.
#[must_use]
pub fn changes(before: &Prepared, now: &Prepared) -> Vec<String> {
    let withdrawn = before.config.modules.iter().filter(|module| now.module(&module.name).is_none());
    let withdrawn = withdrawn.map(|module| format!("module {:?} is withdrawn", module.name));
    let deployed = now.config.modules.iter().zip(&now.modules).filter_map(|(module, prepared)| {
        if before.module(&module.name).is_none() {
            return Some(format!("module {:?} is deployed", module.name));
        }
        (!serves(before, module, prepared)).then(|| format!("module {:?} is deployed in its next version", module.name))
    });
    deployed.chain(withdrawn).collect()
}

/// Whether a module is served with this native code and these settings already.
#[must_use]
pub fn serves(published: &Prepared, module: &Module, prepared: &PreparedModule) -> bool {
    served(published, module, prepared).is_some()
}

/// How a module is served `by` what was prepared, if it is with this native code and these settings, wherever these stand.
#[must_use]
pub fn served<'a>(by: &'a Prepared, module: &Module, prepared: &PreparedModule) -> Option<&'a PreparedModule> {
    let plain = |module: &Module| Module { lines: ModuleLines::default(), ..module.clone() };
    let (settings, there) = by.module(&module.name)?;
    (there.native == prepared.native && plain(settings) == plain(module)).then_some(there)
}

#[cfg(test)]
mod tests {
    use super::super::testing::prepared;
    use super::*;

    #[test]
    fn what_comes_changes_and_goes_is_told_and_what_moves_is_not() {
        let before = prepared(&[("a", "1"), ("b", "2"), ("c", "3")]);
        let now = prepared(&[("c", "3"), ("d", "4"), ("a", "9")]);
        assert_eq!(
            changes(&before, &now),
            ["module \"d\" is deployed", "module \"a\" is deployed in its next version", "module \"b\" is withdrawn"]
        );
        assert!(changes(&now, &now).is_empty());
    }

    #[test]
    fn what_was_written_is_read_by_the_same_program_alone() {
        let folder = tempfile::tempdir().unwrap();
        let here = prepared(&[("a", "1")]);
        write(folder.path(), &serde_json::to_vec(&here).unwrap()).unwrap();
        assert_eq!(read(&path(folder.path())).unwrap().config, here.config);
        let other = Prepared { made_by: String::from("another"), ..here };
        write(folder.path(), &serde_json::to_vec(&other).unwrap()).unwrap();
        assert!(read(&path(folder.path())).is_none());
        write(folder.path(), b"{").unwrap();
        assert!(read(&path(folder.path())).is_none());
    }
}
