//! One build, and the way of what it has made to where it is served: whole and at once, and only if it is good. When to build
//! is decided elsewhere.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::screen;
use super::settings::served;
use crate::project::{self, BuildError, Built};
use crate::unfinished;

/// What a build has come to.
#[derive(Debug)]
pub(super) enum Made {
    New(Built),
    /// Byte for byte what was made before.
    Same(Built),
}

/// Why nothing new is served.
#[derive(Debug, thiserror::Error)]
pub(super) enum MakeError {
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error("cannot copy {} to where it is served: {cause}", module.display())]
    Copy { module: PathBuf, cause: io::Error },
}

/// Builds the project in the folder, and puts a good result where it is served.
pub(super) fn make(folder: &Path) -> Result<Made, MakeError> {
    let built = project::build(folder, screen::tell_command)?;
    match publish(&built.module) {
        Ok(true) => Ok(Made::New(built)),
        Ok(false) => Ok(Made::Same(built)),
        Err(cause) => Err(MakeError::Copy { module: built.module, cause }),
    }
}

/// Whether it is new.
fn publish(output: &Path) -> io::Result<bool> {
    let (module, to) = (fs::read(output)?, served(output));
    if fs::read(&to).is_ok_and(|before| before == module) {
        return Ok(false);
    }
    unfinished::write(&to, &module, fs::metadata(output)?.mode() & 0o777)?.persist(to)?;
    Ok(true)
}

/// Takes away what was put there. Nothing is served any more.
pub(super) fn clear(output: &Path) {
    // It may never have come to be there.
    let _ = fs::remove_file(served(output));
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "(module (func (export \"_start\")))";

    #[test]
    fn only_what_is_good_comes_to_be_served() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let step = "output = \"a.wasm\"\n[[step]]\ncommand = [\"cp\", \"source\", \"a.wasm\"]\n";
        fs::write(path(project::FILE), step).unwrap();
        let make = |source: &str| {
            fs::write(path("source"), source).unwrap();
            make(folder.path())
        };
        let serves = || fs::read_to_string(path(".a.serving.wasm")).unwrap();
        assert!(matches!(make(GOOD), Ok(Made::New(_))));
        assert!(matches!(make(GOOD), Ok(Made::Same(_))));
        assert!(matches!(make("(module)"), Err(MakeError::Build(BuildError::NoModule(_)))));
        assert_eq!(serves(), GOOD);
        let better = format!("{GOOD} ;; better");
        assert!(matches!(make(&better), Ok(Made::New(_))));
        assert_eq!(serves(), better);
        clear(&path("a.wasm"));
        let names = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(names.filter(|name| name.display().to_string().starts_with('.')).count(), 0);
    }
}
