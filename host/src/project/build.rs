//! Runs what a project says that its build is, and looks at what came of it. Knows no language.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use super::manifest::{FILE, Manifest, ManifestError, Required, Step, Tool};
use crate::module::WasmFile;
use crate::parent_death::end_with_this_process;

/// What a build made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    pub module: PathBuf,
    /// Bytes.
    pub size: u64,
}

/// Why a project was not built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// All of them, so that they can be installed at once.
    #[error("cannot build: {}", .0.join("\n"))]
    Missing(Vec<String>),
    #[error("cannot start `{command}`: {cause}")]
    CannotStart { command: String, cause: std::io::Error },
    #[error("`{command}` failed with {status}{hint}")]
    Failed { command: String, status: ExitStatus, hint: String },
    #[error("the steps of {FILE} succeeded, but left no module that can be used: {0}")]
    NoModule(String),
}

/// Builds the project in the folder. `tell` gets each command before it is run.
///
/// # Errors
/// Something is missing or fails; what the programs say of it stands on standard error.
pub fn build(folder: &Path, mut tell: impl FnMut(&str)) -> Result<Built, BuildError> {
    let manifest = Manifest::read(folder)?;
    let tools = find(folder, &manifest)?;
    for step in &manifest.steps {
        if step.unless.as_ref().is_none_or(|path| !folder.join(path).exists()) {
            run(folder, step, &tools, &mut tell)?;
        }
    }
    look_at(folder.join(&manifest.output))
}

/// Where the tools are, by the names that steps call them; or what is missing.
fn find(folder: &Path, manifest: &Manifest) -> Result<Vec<(String, PathBuf)>, BuildError> {
    let mut found = Vec::new();
    let mut missing = Vec::new();
    for Tool { program, or, install } in &manifest.tools {
        let mut places = [program].into_iter().chain(or).filter_map(|name| which::which(name).ok());
        match places.next() {
            Some(place) => found.push((program.clone(), place)),
            None => missing.push(format!("it needs {program}, which is not in PATH: {install}")),
        }
    }
    for Required { path, install } in &manifest.files {
        if !folder.join(path).exists() {
            missing.push(format!("it needs the file {}, which is not there: {install}", path.display()));
        }
    }
    if missing.is_empty() { Ok(found) } else { Err(BuildError::Missing(missing)) }
}

fn run(folder: &Path, step: &Step, tools: &[(String, PathBuf)], tell: &mut impl FnMut(&str)) -> Result<(), BuildError> {
    let (name, arguments) = step.command.split_first().expect("the manifest was checked");
    let command = step.command.join(" ");
    tell(&command);
    // A program of the project is found from its folder, wherever this one was started.
    let program = match tools.iter().find(|(tool, _)| tool == name) {
        Some((_, place)) => place.clone(),
        None if name.contains('/') => std::path::absolute(folder).unwrap_or_default().join(name),
        None => PathBuf::from(OsStr::new(name)),
    };
    let mut process = Command::new(program);
    process.args(arguments).envs(&step.env).current_dir(folder);
    // Whoever ends the build ends what it does; where the build is killed there is nobody else to do so.
    end_with_this_process(&mut process);
    match process.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => {
            let hint = step.failed.as_ref().map_or(String::new(), |hint| format!(": {hint}"));
            Err(BuildError::Failed { command, status, hint })
        }
        Err(cause) => Err(BuildError::CannotStart { command, cause }),
    }
}

/// Whether it is a module, and one that a server can run.
fn look_at(module: PathBuf) -> Result<Built, BuildError> {
    let file = WasmFile::read(&module).map_err(|error| BuildError::NoModule(error.to_string()))?;
    let inspection = file
        .inspect()
        .map_err(|error| BuildError::NoModule(format!("cannot inspect {}: {error}", module.display())))?;
    inspection
        .check_suitable()
        .map_err(|error| BuildError::NoModule(format!("cannot use {}: {error}", module.display())))?;
    Ok(Built { module, size: inspection.size })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(manifest: &str) -> (tempfile::TempDir, Result<Built, BuildError>, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), manifest).unwrap();
        let mut told = Vec::new();
        let built = build(folder.path(), |command| told.push(command.to_owned()));
        (folder, built, told)
    }

    fn refused(manifest: &str) -> String {
        built(manifest).1.unwrap_err().to_string()
    }

    #[test]
    fn the_steps_are_run_in_the_folder_and_leave_a_module() {
        let (folder, built, told) = built(
            "output = \"a.wasm\"\n\
             [[tool]]\nprogram = \"shell\"\nor = [\"sh\"]\ninstall = \"nothing\"\n\
             [[step]]\ncommand = [\"shell\", \"-c\", 'echo \"$MODULE\" > b.wasm']\n\
             env = { MODULE = '(module (func (export \"_start\")))' }\n\
             [[step]]\ncommand = [\"mv\", \"b.wasm\", \"a.wasm\"]\n\
             [[step]]\ncommand = [\"false\"]\nunless = \"a.wasm\"\n",
        );
        let built = built.unwrap();
        assert_eq!(built.module, folder.path().join("a.wasm"));
        assert_eq!(built.size, std::fs::metadata(&built.module).unwrap().len());
        assert_eq!(told.last().unwrap(), "mv b.wasm a.wasm");
    }

    #[test]
    fn all_that_is_missing_is_named_with_what_installs_it_before_anything_runs() {
        let error = refused(
            "output = \"a.wasm\"\n\
             [[tool]]\nprogram = \"no-such-compiler\"\ninstall = \"get one\"\n\
             [[file]]\npath = \"no.wasm\"\ninstall = \"build it\"\n\
             [[step]]\ncommand = [\"false\"]\n",
        );
        for word in ["no-such-compiler", "get one", "no.wasm", "build it"] {
            assert!(error.contains(word), "{word} is missing in {error}");
        }
    }

    #[test]
    fn a_step_that_fails_ends_the_build_and_says_what_to_think_of() {
        let error = refused(
            "output = \"a.wasm\"\n\
             [[step]]\ncommand = [\"false\"]\nfailed = \"try again\"\n\
             [[step]]\ncommand = [\"touch\", \"a.wasm\"]\n",
        );
        assert_eq!(error, "`false` failed with exit status: 1: try again");
    }

    #[test]
    fn what_is_no_handler_is_not_called_built() {
        assert!(refused("output = \"a.wasm\"").contains("a.wasm"));
        let error = refused("output = \"a.wasm\"\n[[step]]\ncommand = [\"touch\", \"a.wasm\"]\n");
        assert!(error.contains("left no module"), "{error}");
        let error =
            refused("output = \"a.wasm\"\n[[step]]\ncommand = [\"sh\", \"-c\", \"echo '(module)' > a.wasm\"]\n");
        assert!(error.contains("does not export the function _start"), "{error}");
    }
}
