//! What a project says of how it is built: `guesthouse-project.toml`, as written. Runs nothing and looks at no other file.
//!
//! It is a file of its own, and no table of `guesthouse.toml`, because that one goes to where the server is, and must not
//! be able to start programs there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Its name, in the folder of the project.
pub const FILE: &str = "guesthouse-project.toml";

/// A project's file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Where the module is when all steps are done, relative to the project's folder.
    pub output: PathBuf,
    /// Programs that have to be installed.
    #[serde(default, rename = "tool")]
    pub tools: Vec<Tool>,
    /// Files that have to be there, and that no step makes.
    #[serde(default, rename = "file")]
    pub files: Vec<Required>,
    /// What is run, in this order.
    #[serde(default, rename = "step")]
    pub steps: Vec<Step>,
}

/// A program that has to be installed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// As steps call it.
    pub program: String,
    /// Other names under which it may be installed.
    #[serde(default)]
    pub or: Vec<String>,
    /// The command that installs it, for who has not got it.
    pub install: String,
}

/// A file that has to be there.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Required {
    /// Relative to the project's folder.
    pub path: PathBuf,
    /// How one comes by it.
    pub install: String,
}

/// A program to run, in the project's folder.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The program and its arguments; no shell reads them.
    pub command: Vec<String>,
    /// In addition to the environment of `guesthouse build`.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// The step is left out if this is there.
    pub unless: Option<PathBuf>,
    /// What to think of first if it fails.
    pub failed: Option<String>,
}

/// Why a project's file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error("cannot read {}: {cause}: is this the folder of a project? `guesthouse new` makes one", path.display())]
    Unreadable { path: PathBuf, cause: std::io::Error },
    #[error("{}: {cause}", path.display())]
    Wrong { path: PathBuf, cause: toml::de::Error },
    #[error("{}: a step has no command: write command = [\"PROGRAM\", ...]", path.display())]
    EmptyCommand { path: PathBuf },
}

impl Manifest {
    /// Of the project in the folder.
    ///
    /// # Errors
    /// It is not there, or is wrong.
    pub fn read(folder: &Path) -> Result<Self, ManifestError> {
        let path = folder.join(FILE);
        match std::fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text, path),
            Err(cause) => Err(ManifestError::Unreadable { path, cause }),
        }
    }

    fn parse(text: &str, path: PathBuf) -> Result<Self, ManifestError> {
        match toml::from_str::<Self>(text) {
            Ok(manifest) if manifest.steps.iter().any(|step| step.command.is_empty()) => {
                Err(ManifestError::EmptyCommand { path })
            }
            Ok(manifest) => Ok(manifest),
            Err(cause) => Err(ManifestError::Wrong { path, cause }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Manifest, String> {
        Manifest::parse(text, FILE.into()).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_not_written_is_not_needed() {
        let manifest = parsed("output = \"a.wasm\"").unwrap();
        assert_eq!((manifest.tools, manifest.files, manifest.steps), (vec![], vec![], vec![]));
    }

    #[test]
    fn an_unknown_key_is_a_mistake_with_its_line() {
        let error = parsed("output = \"a.wasm\"\n\n[[step]]\ncommands = [\"make\"]\n").unwrap_err();
        assert!(error.contains(FILE) && error.contains("line 4") && error.contains("commands"), "{error}");
    }

    #[test]
    fn a_step_without_a_program_is_a_mistake() {
        let error = parsed("output = \"a.wasm\"\n[[step]]\ncommand = []\n").unwrap_err();
        assert!(error.contains("a step has no command"), "{error}");
    }
}
