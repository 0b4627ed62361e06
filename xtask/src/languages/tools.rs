//! Tools and sources from the package registries, in the versions that `xtask/languages/` names. Each is fetched when it
//! is first asked for, and again when its version changes. Nothing here needs root, and nothing is installed outside of
//! `target/languages/`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run::{cargo, output, program, root, run};

/// Where they are kept.
pub struct Tools {
    folder: PathBuf,
}

impl Tools {
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A folder below, with nothing in it.
    pub fn empty_folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder.join(name);
        if folder.exists() {
            std::fs::remove_dir_all(&folder)
                .with_context(|| format!("cannot empty the folder {}", folder.display()))?;
        }
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        Ok(folder)
    }

    /// The folder with the programs of the packages in `package.json`.
    ///
    /// It overrides jco's preview2-shim: the newest one opens no directories unless it is told to, and jco's own tools
    /// then fail with "failed to get path metadata: No such file or directory (os error 44)".
    pub fn npm(&self) -> Result<PathBuf> {
        let folder = self.folder.join("javascript");
        install(&folder, "package.json", &pin("package.json")?, || {
            let mut npm = program("npm");
            run(npm.args(["install", "--no-audit", "--no-fund", "--no-package-lock", "--prefix"]).arg(&folder))
        })?;
        Ok(folder.join("node_modules/.bin"))
    }

    /// The folder with the programs of the Python packages in `NAME.txt`.
    pub fn pip(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder.join(name);
        install(&folder, "requirements.txt", &pin(&format!("{name}.txt"))?, || {
            run(program("python3").args(["-m", "venv", "--clear"]).arg(folder.join("venv")))?;
            let mut pip = program(folder.join("venv/bin/pip"));
            pip.args(["install", "--quiet", "--disable-pip-version-check", "-r"]);
            run(pip.arg(folder.join("requirements.txt")))
        })?;
        Ok(folder.join("venv/bin"))
    }

    /// A program of a crate in `tools.txt`: its name, its version, and the features that are used.
    pub fn cargo(&self, package: &str, name: &str) -> Result<Command> {
        let pins = pin("tools.txt")?;
        let line = line_of(&pins, package)?;
        let [_, version, features] = line.split_whitespace().collect::<Vec<_>>()[..] else {
            bail!("xtask/languages/tools.txt: {line:?} is not a name, a version and features");
        };
        let folder = self.folder.join("tools").join(package);
        install(&folder, "wanted", line, || {
            let mut install = cargo();
            install.args(["install", "--locked", "--no-default-features", "--features", features]);
            install.arg("--root").arg(&folder).arg("--target-dir").arg(self.folder.join("tools/target"));
            run(install.arg(format!("{package}@{version}")))
        })?;
        Ok(program(folder.join("bin").join(name)))
    }

    /// The sources of a crate in `crates.toml`.
    pub fn crate_sources(&self, name: &str) -> Result<PathBuf> {
        const KEY: &str = "\"manifest_path\":\"";
        let folder = self.folder.join("crates");
        install(&folder, "Cargo.toml", &pin("crates.toml")?, || {
            write(&folder.join("empty.rs"), "")?;
            run(cargo().args(["fetch", "--manifest-path"]).arg(folder.join("Cargo.toml")))
        })?;
        let mut metadata = cargo();
        metadata.args(["metadata", "--format-version", "1", "--manifest-path"]).arg(folder.join("Cargo.toml"));
        let metadata = output(&mut metadata)?;
        let manifests = metadata.split(KEY).skip(1).filter_map(|rest| rest.split('"').next());
        // A crate's folder is NAME-VERSION, and another crate's name may begin with the same word.
        let is_wanted = |folder: &&Path| {
            let file = folder.file_name().unwrap_or_default().to_string_lossy();
            let version = file.strip_prefix(name).and_then(|rest| rest.strip_prefix('-'));
            version.is_some_and(|version| version.starts_with(|first: char| first.is_ascii_digit()))
        };
        let mut folders = manifests.filter_map(|manifest| Path::new(manifest).parent());
        let folder = folders.find(is_wanted).with_context(|| format!("cannot find the sources of the crate {name}"))?;
        Ok(folder.to_owned())
    }

    /// The sources of a Debian package in `debian.txt`, as their authors released them, unpacked into an empty folder.
    ///
    /// apt verifies them. It gets lists of its own, because most machines have none of sources, and theirs need root.
    pub fn debian_sources(&self, name: &str) -> Result<PathBuf> {
        let pins = pin("debian.txt")?;
        let wanted = pins.lines().find(|line| line.split('/').next() == Some(name));
        let wanted = wanted.with_context(|| format!("xtask/languages/debian.txt does not name {name}"))?;
        let folder = self.folder.join("debian").join(name);
        install(&folder, "wanted", wanted, || {
            let apt = Apt::new(&self.folder.join("debian/apt"))?;
            run(apt.get("update").arg("--quiet"))?;
            let mut source = apt.get("source");
            run(source.args(["--quiet", "--download-only", "--only-source", "--tar-only", wanted]).current_dir(&folder))
        })?;
        let unpacked = self.empty_folder(&format!("debian/{name}/sources"))?;
        let entries = folder.read_dir().with_context(|| format!("cannot list the folder {}", folder.display()))?;
        let archives = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let archive = archives.into_iter().find(|path| path.to_string_lossy().contains(".orig.tar."));
        let archive = archive.with_context(|| format!("apt-get has brought no archive of {wanted}"))?;
        run(program("tar").arg("xf").arg(archive).args(["--strip-components", "1", "-C"]).arg(&unpacked))?;
        Ok(unpacked)
    }
}

/// apt with lists of sources, in a folder that needs no root.
struct Apt {
    options: Vec<String>,
}

impl Apt {
    /// The first in the old format, the second in the new one.
    const LISTS: [&str; 2] = ["/etc/apt/sources.list", "/etc/apt/sources.list.d/debian.sources"];

    fn new(folder: &Path) -> Result<Self> {
        for name in ["sources.d", "lists/partial", "cache/archives/partial"] {
            let folder = folder.join(name);
            std::fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        }
        let mut is_there = false;
        for list in Self::LISTS.map(Path::new).into_iter().filter(|list| list.exists()) {
            is_there = true;
            let sources = folder.join("sources.d").join(list.file_name().unwrap_or_default());
            write(&sources, &of_sources(&read(list)?))?;
        }
        if !is_there {
            bail!(
                "the C sources come from Debian 12, and this is no Debian: none of {} is there",
                Self::LISTS.join(", ")
            );
        }
        let folder = folder.display();
        Ok(Self {
            options: vec![
                "Dir::Etc::sourcelist=/dev/null".to_owned(),
                format!("Dir::Etc::sourceparts={folder}/sources.d"),
                format!("Dir::State::lists={folder}/lists"),
                format!("Dir::Cache={folder}/cache"),
            ],
        })
    }

    fn get(&self, command: &str) -> Command {
        let mut apt = program("apt-get");
        apt.args(self.options.iter().flat_map(|option| ["-o", option])).arg(command);
        apt
    }
}

/// A list of binary packages as one of source packages, in both of apt's formats.
fn of_sources(list: &str) -> String {
    let of_sources = |line: &str| match line.strip_prefix("deb ") {
        Some(rest) => format!("deb-src {rest}\n"),
        None if line.starts_with("Types:") => "Types: deb-src\n".to_owned(),
        None => format!("{line}\n"),
    };
    list.lines().map(of_sources).collect()
}

/// A file of versions.
fn pin(name: &str) -> Result<String> {
    read(&root().join("xtask/languages").join(name))
}

fn line_of<'a>(pins: &'a str, package: &str) -> Result<&'a str> {
    let mut lines = pins.lines();
    let line = lines.find(|line| line.split_whitespace().next() == Some(package));
    line.with_context(|| format!("xtask/languages/tools.txt does not name {package}"))
}

/// Puts what is wanted into the folder as a file of this name and installs it, unless the same was installed before.
fn install(folder: &Path, name: &str, wanted: &str, install: impl FnOnce() -> Result<()>) -> Result<()> {
    let installed = folder.join("installed");
    if std::fs::read_to_string(&installed).is_ok_and(|before| before == wanted) {
        return Ok(());
    }
    write(&folder.join(name), wanted)?;
    install()?;
    write(&installed, wanted)
}

pub fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Writes a file, and makes its folder.
pub fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_packages_becomes_one_of_sources_in_both_formats() {
        assert_eq!(of_sources("deb http://h/ bookworm main\n# deb x\n"), "deb-src http://h/ bookworm main\n# deb x\n");
        assert_eq!(of_sources("Types: deb\nURIs: http://h/\n"), "Types: deb-src\nURIs: http://h/\n");
    }
}
