//! The last versions of each module, and how one of them is brought back. A version is a Wasm file and nothing else: settings
//! are no part of it. Decides what is kept, keeps the files in `versions` in `runtime_dir`, and puts one back where its
//! module's file lies. Compiles nothing, and serves nothing: what is put back is deployed like any other file.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::prepared::{Histories, Prepared, PreparedModule, Version};
use super::snapshot::Snapshot;
use crate::module::Facts;
use crate::unfinished;

/// The folder in `runtime_dir`. Nobody else writes to that, and no other server has it.
const FOLDER: &str = "versions";

/// Hexadecimal digits of a hash that name a version at least.
const DIGITS_MIN: usize = 4;

/// Hexadecimal digits of a hash that people are shown.
const DIGITS_SHOWN: usize = 12;

/// Of a module's file that is made where none was.
pub(crate) const MODE: u32 = 0o644;

/// What was put back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BroughtBack {
    /// Of the version.
    pub hash: String,
    /// The module's file, which is that version now.
    pub path: PathBuf,
    /// How it looks.
    pub seen: Snapshot,
}

/// Names a version of a module, by its Wasm in the binary format.
#[must_use]
pub fn hash(wasm: &[u8]) -> String {
    blake3::hash(wasm).to_hex().to_string()
}

/// A hash as people read it.
#[must_use]
pub fn short(hash: &str) -> &str {
    hash.get(..DIGITS_SHOWN).unwrap_or(hash)
}

/// What is kept once this serves. A module whose file is gone keeps its versions until the next change after that, since some
/// programs remove a file before they write it again.
#[must_use]
pub fn next(prepared: &Prepared, published: Option<&Prepared>, now: u64) -> Histories {
    let known = published.map(|published| &published.versions);
    let known = |name: &str| known.and_then(|known| known.get(name)).cloned().unwrap_or_default();
    let kept_max = prepared.config.server.keep_versions;
    let served = prepared.config.modules.iter().zip(&prepared.modules);
    let mut histories: Histories = served
        .map(|(module, served)| (module.name.clone(), with_first(known(&module.name), served, now, kept_max)))
        .collect();
    for name in published.into_iter().flat_map(names) {
        if !histories.contains_key(name) {
            let history = known(name);
            if !history.is_empty() {
                histories.insert(name.to_owned(), history);
            }
        }
    }
    histories
}

/// Of the modules that are there, whether they serve or not.
fn names(prepared: &Prepared) -> impl Iterator<Item = &str> {
    let served = prepared.config.modules.iter().map(|module| module.name.as_str());
    served.chain(prepared.refused.keys().map(String::as_str))
}

/// A history in which this version is the first.
fn with_first(mut history: Vec<Version>, served: &PreparedModule, now: u64, kept_max: usize) -> Vec<Version> {
    let known = history.iter().position(|version| version.hash == served.hash).map(|index| history.remove(index));
    let published = known.map_or(now, |known| known.published);
    let PreparedModule { hash, facts: Facts { version, .. }, native, .. } = served.clone();
    history.insert(0, Version { hash, published, version, native });
    history.truncate(kept_max);
    history
}

/// The versions of a module that were not known `before` and have one to go back to: none that was brought back, or whose settings
/// alone are new. Several, if more than one was published meanwhile.
pub fn newly_published<'a>(name: &str, now: &'a Prepared, before: &Prepared) -> impl Iterator<Item = &'a Version> {
    let history = |of: &'a Prepared| of.versions.get(name).map_or(&[][..], Vec::as_slice);
    let known: Vec<_> = before.versions.get(name).into_iter().flatten().map(|version| version.hash.clone()).collect();
    let oldest = history(now).len().saturating_sub(1);
    history(now)[..oldest].iter().filter(move |version| !known.contains(&version.hash))
}

/// Keeps a version's Wasm, if it is not kept already.
///
/// # Errors
/// The folder cannot be written to.
pub fn keep(runtime_dir: &Path, hash: &str, wasm: &[u8]) -> Result<(), String> {
    let (folder, path) = (runtime_dir.join(FOLDER), kept(runtime_dir, hash));
    if File::open(&path).is_ok_and(|there| is_same(there, wasm).is_ok_and(|same| same)) {
        return Ok(());
    }
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
    // Not flushed to the disk: who brings it back compares its hash.
    let written = made.and_then(|()| {
        unfinished::write(&path, wasm, 0o600)?.persist(&path)?;
        Ok(())
    });
    written.map_err(|error| format!("cannot keep its file in {}: {error}", folder.display()))
}

/// Whether a file has this content. In pieces, because modules are large and this is part of every start.
fn is_same(mut file: File, content: &[u8]) -> io::Result<bool> {
    let mut piece = [0; 64 << 10];
    let mut rest = content;
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(rest.is_empty()),
            count => match rest.strip_prefix(&piece[..count]) {
                Some(behind) => rest = behind,
                None => return Ok(false),
            },
        }
    }
}

/// Whether a version's Wasm is kept. What is in it shows when it is brought back.
pub(crate) fn is_kept(runtime_dir: &Path, hash: &str) -> bool {
    kept(runtime_dir, hash).is_file()
}

fn kept(runtime_dir: &Path, hash: &str) -> PathBuf {
    runtime_dir.join(FOLDER).join(format!("{hash}.wasm"))
}

/// Removes what no history names of what `may_serve`.
pub fn sweep<'a>(runtime_dir: &Path, may_serve: impl Iterator<Item = &'a Prepared>) {
    let versions = may_serve.flat_map(|prepared| prepared.versions.values()).flatten();
    let needed: BTreeSet<PathBuf> = versions.map(|version| kept(runtime_dir, &version.hash)).collect();
    // There is none before the first module is kept.
    let Ok(entries) = fs::read_dir(runtime_dir.join(FOLDER)) else { return };
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        if !needed.contains(&path)
            && let Err(error) = fs::remove_file(&path)
        {
            tracing::warn!("cannot remove {}, a version that is kept no more: {error}", path.display());
        }
    }
}

/// Puts a version of a module back where its file lies; without `wanted` the one before that which serves. `wanted` is the
/// beginning of its hash, or what it calls itself.
///
/// # Errors
/// There is no such module or version, its file is not as it was, or cannot be written; what to do.
pub fn bring_back(published: &Prepared, name: &str, wanted: Option<&str>) -> Result<BroughtBack, String> {
    let Some((module, _)) = published.module(name) else {
        let names: Vec<&str> = published.config.modules.iter().map(|module| module.name.as_str()).collect();
        let there =
            if names.is_empty() { String::from("none serves") } else { format!("there are {}", names.join(", ")) };
        return Err(format!("no module {name:?} serves: {there}"));
    };
    let history = published.versions.get(name).map_or(&[][..], Vec::as_slice);
    let Version { hash, .. } = find(history, wanted).map_err(|problem| format!("module {name:?}: {problem}"))?;
    let wasm =
        read(&published.config.server.runtime_dir, hash).map_err(|problem| format!("module {name:?}: {problem}"))?;
    let path = &module.path;
    let put = unfinished::write(path, &wasm, MODE).and_then(|unfinished| unfinished::put_in_place(unfinished, path));
    let facts = put.map_err(|error| cannot_write(path, &error))?;
    Ok(BroughtBack { hash: hash.clone(), path: path.clone(), seen: Snapshot::of_file(path, &facts) })
}

/// That nothing can be put where a module's file lies, and what to do.
pub(crate) fn cannot_write(path: &Path, error: &io::Error) -> String {
    let folder = path.parent().unwrap_or(path).display();
    format!("cannot write {}: {error}: see to it that the server's user can write to {folder}", path.display())
}

fn find<'a>(history: &'a [Version], wanted: Option<&str>) -> Result<&'a Version, String> {
    let Some(wanted) = wanted else {
        return history.get(1).ok_or_else(|| {
            format!("no version before the one that serves is kept: all there is is {}", list(history.iter()))
        });
    };
    let digits = wanted.to_ascii_lowercase();
    let is_hash = digits.len() >= DIGITS_MIN && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_meant = |version: &&Version| {
        (is_hash && version.hash.starts_with(&digits)) || version.version.as_deref() == Some(wanted)
    };
    let meant: Vec<&Version> = history.iter().filter(is_meant).collect();
    match meant[..] {
        [version] => Ok(version),
        [] => Err(format!(
            "no version {wanted:?} is kept: write the first digits of a hash, {DIGITS_MIN} or more, or what the version calls \
             itself, of {}",
            list(history.iter())
        )),
        _ => Err(format!(
            "{wanted:?} may be several versions: write more of the hash of one of {}",
            list(meant.into_iter())
        )),
    }
}

/// For people to choose from.
fn list<'a>(versions: impl Iterator<Item = &'a Version>) -> String {
    let described = versions.map(|Version { hash, version, .. }| {
        let digits = short(hash);
        version.as_ref().map_or_else(|| digits.to_owned(), |version| format!("{digits} ({version})"))
    });
    described.collect::<Vec<_>>().join(", ")
}

fn read(runtime_dir: &Path, wanted: &str) -> Result<Vec<u8>, String> {
    let path = kept(runtime_dir, wanted);
    let wasm = fs::read(&path).map_err(|error| {
        format!("cannot read {}, which this version is kept in: {error}: deploy its file", path.display())
    })?;
    if hash(&wasm) == wanted {
        return Ok(wasm);
    }
    Err(format!("{} is damaged: deploy the version's own file", path.display()))
}

#[cfg(test)]
mod tests {
    use super::super::testing::prepared;
    use super::*;

    /// What serves after each of these was published, one after the other, at the times 1, 2, 3...; and its folder.
    fn published_in_turn(turns: &[&[(&str, &str)]]) -> (tempfile::TempDir, Prepared) {
        let folder = tempfile::tempdir().unwrap();
        let mut last: Option<Prepared> = None;
        for (modules, now) in turns.iter().zip(1..) {
            let mut prepared = prepared(modules);
            prepared.config.server.runtime_dir = folder.path().join("run");
            for (module, (name, native)) in prepared.config.modules.iter_mut().zip(*modules) {
                module.path = folder.path().join(format!("{name}.wasm"));
                keep(&prepared.config.server.runtime_dir, &hash(native.as_bytes()), native.as_bytes()).unwrap();
            }
            prepared.versions = next(&prepared, last.as_ref(), now);
            sweep(&prepared.config.server.runtime_dir, [Some(&prepared), last.as_ref()].into_iter().flatten());
            last = Some(prepared);
        }
        (folder, last.unwrap())
    }

    /// Native code and time of each version that is kept.
    fn history(prepared: &Prepared, name: &str) -> Vec<(String, u64)> {
        let native = |version: &Version| version.native.display().to_string();
        prepared.versions.get(name).into_iter().flatten().map(|version| (native(version), version.published)).collect()
    }

    fn is_kept(prepared: &Prepared, wasm: &str) -> bool {
        kept(&prepared.config.server.runtime_dir, &hash(wasm.as_bytes())).exists()
    }

    fn error(prepared: &Prepared, name: &str, wanted: Option<&str>) -> String {
        bring_back(prepared, name, wanted).unwrap_err()
    }

    #[test]
    fn the_last_versions_are_kept_newest_first() {
        let (_folder, now) =
            published_in_turn(&[&[("a", "1")], &[("a", "2")], &[("a", "2")], &[("a", "3")], &[("a", "4")]]);
        assert_eq!(history(&now, "a"), [("4".into(), 5), ("3".into(), 4), ("2".into(), 2)]);
        assert!(["2", "3", "4"].iter().all(|wasm| is_kept(&now, wasm)));
    }

    #[test]
    fn a_version_that_serves_again_moves_to_the_front() {
        let (_folder, now) = published_in_turn(&[&[("a", "1")], &[("a", "2")], &[("a", "1")]]);
        assert_eq!(history(&now, "a"), [("1".into(), 1), ("2".into(), 2)]);
    }

    #[test]
    fn only_what_was_not_there_before_is_new() {
        let turns: [&[_]; 4] = [&[("a", "1")], &[("a", "1")], &[("a", "2")], &[("a", "1")]];
        let after: Vec<Prepared> = (1..=4).map(|turn| published_in_turn(&turns[..turn]).1).collect();
        let new = |name, now: usize, before: usize| newly_published(name, &after[now], &after[before]).count();
        assert_eq!([new("a", 1, 0), new("a", 2, 1), new("a", 3, 2), new("b", 1, 0)], [0, 1, 0, 0]);
        let twice: [&[_]; 3] = [&[("a", "1")], &[("a", "2")], &[("a", "3")]];
        let last = published_in_turn(&twice).1;
        assert_eq!(newly_published("a", &last, &after[0]).count(), 2, "both that came meanwhile");
    }

    #[test]
    fn a_file_goes_when_neither_what_serves_nor_what_is_to_names_it() {
        let turns: [&[_]; 6] =
            [&[("a", "1")], &[("a", "2")], &[("a", "3")], &[("a", "4")], &[("a", "5")], &[("a", "6")]];
        let (_folder, now) = published_in_turn(&turns[..4]);
        assert!(is_kept(&now, "1"), "what was published before named it");
        let (_folder, now) = published_in_turn(&turns[..5]);
        assert!(!is_kept(&now, "1") && is_kept(&now, "2"));
    }

    #[test]
    fn fewer_are_kept_where_the_operator_wants_fewer() {
        let (_folder, before) = published_in_turn(&[&[("a", "1")], &[("a", "2")]]);
        let mut now = prepared(&[("a", "3")]);
        now.config.server.keep_versions = 1;
        now.versions = next(&now, Some(&before), 9);
        assert_eq!(history(&now, "a"), [("3".into(), 9)]);
    }

    #[test]
    fn a_module_that_is_withdrawn_keeps_its_versions_until_the_next_change() {
        let (_folder, now) = published_in_turn(&[&[("a", "1"), ("b", "1")], &[("b", "1")]]);
        assert_eq!(history(&now, "a"), [("1".into(), 1)]);
        let (_folder, back) = published_in_turn(&[&[("a", "1")], &[], &[("a", "2")]]);
        assert_eq!(history(&back, "a"), [("2".into(), 3), ("1".into(), 1)]);
        let (_folder, gone) = published_in_turn(&[&[("a", "1")], &[("b", "1")], &[("b", "2")]]);
        assert_eq!(history(&gone, "a"), []);
    }

    #[test]
    fn the_version_before_is_put_back_where_the_file_lies() {
        let (folder, now) = published_in_turn(&[&[("a", "1")], &[("a", "2")]]);
        let path = folder.path().join("a.wasm");
        fs::write(&path, "2").unwrap();
        let brought_back = bring_back(&now, "a", None).unwrap();
        assert_eq!((&brought_back.hash, &brought_back.path), (&hash(b"1"), &path));
        assert!(brought_back.seen.is_as_on_disk(&path));
        assert_eq!(fs::read_to_string(&path).unwrap(), "1");
        let names: BTreeSet<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["a.wasm".into(), "run".into()].into(), "nothing unfinished is left");
    }

    #[test]
    fn a_link_is_replaced_and_not_what_it_leads_to() {
        let (folder, now) = published_in_turn(&[&[("a", "1")], &[("a", "2")]]);
        let (path, release) = (folder.path().join("a.wasm"), folder.path().join("release"));
        fs::write(&release, "2").unwrap();
        std::os::unix::fs::symlink(&release, &path).unwrap();
        bring_back(&now, "a", None).unwrap();
        assert_eq!(
            (fs::read_to_string(&path).unwrap(), fs::read_to_string(&release).unwrap()),
            ("1".into(), "2".into())
        );
    }

    #[test]
    fn a_version_is_named_by_its_hash_or_by_what_it_calls_itself() {
        let (_folder, mut now) = published_in_turn(&[&[("a", "1")], &[("a", "2")], &[("a", "3")]]);
        now.versions.get_mut("a").unwrap()[2].version = Some("1.2.0".into());
        for wanted in [&hash(b"1"), &hash(b"1")[..4], &hash(b"1").to_uppercase(), "1.2.0"] {
            assert_eq!(bring_back(&now, "a", Some(wanted)).unwrap().hash, hash(b"1"), "{wanted}");
        }
        // The one that serves may lie there no more.
        assert_eq!(bring_back(&now, "a", Some(&hash(b"3"))).unwrap().hash, hash(b"3"));
    }

    #[test]
    fn what_cannot_be_brought_back_is_told_with_what_could() {
        let (_folder, mut now) = published_in_turn(&[&[("a", "1"), ("b", "1")], &[("a", "2"), ("b", "1")]]);
        let [one, two] = ["1", "2"].map(|wasm| short(&hash(wasm.as_bytes())).to_owned());
        assert_eq!(error(&now, "c", None), "no module \"c\" serves: there are a, b");
        assert_eq!(
            error(&now, "b", None),
            format!("module \"b\": no version before the one that serves is kept: all there is is {one}")
        );
        for wanted in ["2.0", &hash(b"1")[..3], &hash(b"3")] {
            assert_eq!(
                error(&now, "a", Some(wanted)),
                format!(
                    "module \"a\": no version {wanted:?} is kept: write the first digits of a hash, 4 or more, or what the \
                     version calls itself, of {two}, {one}"
                )
            );
        }
        now.versions.get_mut("a").unwrap().iter_mut().for_each(|version| version.version = Some("1.0".into()));
        assert_eq!(
            error(&now, "a", Some("1.0")),
            format!(
                "module \"a\": \"1.0\" may be several versions: write more of the hash of one of {two} (1.0), {one} (1.0)"
            )
        );
    }

    #[test]
    fn a_file_that_is_not_as_it_was_is_not_put_back() {
        let (folder, now) = published_in_turn(&[&[("a", "1")], &[("a", "2")]]);
        let file = kept(&now.config.server.runtime_dir, &hash(b"1"));
        fs::write(&file, "x").unwrap();
        assert!(error(&now, "a", None).contains(&format!("{} is damaged", file.display())));
        fs::remove_file(&file).unwrap();
        assert!(error(&now, "a", None).contains(&format!("cannot read {}", file.display())));
        assert!(!folder.path().join("a.wasm").exists());
        // It is kept anew by who serves it again, also where only its length is as it was.
        fs::write(&file, "x").unwrap();
        keep(&now.config.server.runtime_dir, &hash(b"1"), b"1").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"1");
        fs::remove_dir_all(folder.path().join("run")).unwrap();
        keep(&now.config.server.runtime_dir, &hash(b"1"), b"1").unwrap();
        bring_back(&now, "a", None).unwrap();
    }

    #[test]
    fn a_folder_that_cannot_be_written_to_is_named() {
        let (folder, mut now) = published_in_turn(&[&[("a", "1")], &[("a", "2")]]);
        let nowhere = folder.path().join("nowhere");
        now.config.modules[0].path = nowhere.join("a.wasm");
        let told = error(&now, "a", None);
        let end = format!("see to it that the server's user can write to {}", nowhere.display());
        assert!(told.starts_with(&format!("cannot write {}", nowhere.display())) && told.ends_with(&end), "{told}");
    }
}
