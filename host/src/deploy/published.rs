//! `published.json` in `runtime_dir`: what serves, as the preparation has told it. It outlives the server, so that a module
//! whose file has gone bad serves on in its last good version, also after a restart.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::config::{Module, ModuleLines};
use crate::preparation::{Prepared, PreparedModule};

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
    let (path, unfinished) = (path(runtime_dir), runtime_dir.join(format!(".{FILE}.unfinished")));
    // What a server left behind that was killed here.
    let _ = fs::remove_file(&unfinished);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    file.write_all(prepared)?;
    fs::rename(unfinished, path)
}

/// What is different for clients since `before`, a line for each module.
#[must_use]
pub fn changes(before: &Prepared, now: &Prepared) -> Vec<String> {
    let find = |of: &Prepared, name: &str| of.config.modules.iter().position(|module| module.name == name);
    let withdrawn = before.config.modules.iter().filter(|module| find(now, &module.name).is_none());
    let withdrawn = withdrawn.map(|module| format!("module {:?} is withdrawn", module.name));
    let deployed = now.config.modules.iter().zip(&now.modules).filter_map(|(module, prepared)| {
        match version_since(before, module, prepared) {
            VersionSince::New => Some(format!("module {:?} is deployed", module.name)),
            VersionSince::Next => Some(format!("module {:?} is deployed in its next version", module.name)),
            VersionSince::Same => None,
        }
    });
    deployed.chain(withdrawn).collect()
}

/// What a module is, compared to what was published before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionSince {
    /// There was none of its name.
    New,
    /// It has another file or other settings.
    Next,
    Same,
}

/// See [`VersionSince`].
#[must_use]
pub fn version_since(before: &Prepared, module: &Module, prepared: &PreparedModule) -> VersionSince {
    let Some(index) = before.config.modules.iter().position(|other| other.name == module.name) else {
        return VersionSince::New;
    };
    let same = before.modules[index].native == prepared.native && is_same(&before.config.modules[index], module);
    if same { VersionSince::Same } else { VersionSince::Next }
}

/// Whether the settings are, wherever they stand.
fn is_same(one: &Module, other: &Module) -> bool {
    let plain = |module: &Module| Module { lines: ModuleLines::default(), ..module.clone() };
    plain(one) == plain(other)
}

/// What was never published, for tests.
#[cfg(test)]
pub(crate) mod testing {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config;
    use crate::deploy::{Snapshot, Sources};
    use crate::module::Kind;

    /// With modules of these names, each from native code of that name.
    pub(crate) fn prepared(modules: &[(&str, &str)]) -> Prepared {
        let folder = tempfile::tempdir().unwrap();
        let table = |(name, _): &(&str, &str)| format!("[[module]]\nname = \"{name}\"\npath = \"guesthouse.toml\"\n");
        let text = format!("server.access_log = \"off\"\n{}", modules.iter().map(table).collect::<String>());
        let file = folder.path().join("guesthouse.toml");
        std::fs::write(&file, &text).unwrap();
        let (mut config, _) = config::read_text(&text, &file).unwrap();
        config.modules.iter_mut().for_each(|module| module.path = "a.wasm".into());
        let module = |(_, native): &(&str, &str)| PreparedModule {
            kind: Kind::Command,
            native: native.into(),
            thread_safe: true,
            version: None,
            description: None,
            max_requests_per_instance: 1,
            max_concurrent_requests_per_instance: 1,
            pool: None,
            was_dropped_in: true,
        };
        let modules = modules.iter().map(module).collect();
        let (sources, seen) = (Sources::default(), Snapshot::default());
        Prepared { config, modules, sources, seen, refused: BTreeMap::new(), made_by: made_by() }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::prepared;
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
