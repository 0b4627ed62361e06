//! How a server that `guesthouse dev` has started differs from one that `guesthouse serve` has. Writes no file.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::config::{self, Config, Errors, LogTarget, Warning};

/// The environment variable by which a server knows that it is one of a developer's: it has the path of the module that the
/// project builds.
pub const VARIABLE: &str = "GUESTHOUSE_DEV";

/// Reads the project's configuration as a developer's server has it: all that the server tells goes to whoever has started it,
/// and in place of what the project builds, at `output`, it serves what was built last and is good, and takes it over when that
/// changes. Whether there is anything at `output` just now does not matter.
///
/// # Errors
/// As [`config::read`].
pub fn read(path: &Path, output: &Path) -> Result<(Config, Vec<Warning>), Errors> {
    let served = served(output);
    let built = identity(output);
    let placed = |path: PathBuf| if identity(&path) == built { served.clone() } else { path };
    let (mut config, warnings) = config::read_placed(path, &placed)?;
    if config.modules.iter().all(|module| module.path != served) {
        tracing::warn!(
            "{}: no [[module]] has the path {}, which is what the project builds: name it there, or what is built is not \
             served",
            path.display(),
            output.display()
        );
    }
    config.server.error_log = LogTarget::StandardError;
    config.server.access_log = Some(LogTarget::StandardError);
    config.server.watch = true;
    Ok((config, warnings))
}

/// One path for all that lead to the same place, whether anything is there or not.
fn identity(path: &Path) -> PathBuf {
    let by_folder = || Some(path.parent()?.canonicalize().ok()?.join(path.file_name()?));
    path.canonicalize().ok().or_else(by_folder).unwrap_or_else(|| path.to_owned())
}

/// Where the last good version of what is built at `output` lies. A build may write its output in place, leave it half
/// done, or remove it before it fails: none of that is to be served.
pub(super) fn served(output: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(output.file_stem().unwrap_or_default());
    // Git ignores it where it ignores the output.
    name.push(".serving.wasm");
    output.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_developers_server_tells_all_in_one_place_and_takes_over_what_is_built() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["shop.wasm", "other.wasm", ".shop.serving.wasm"] {
            fs::write(path(name), "").unwrap();
        }
        let text = "[server]\nerror_log = \"error.log\"\naccess_log = \"off\"\nkeep_alive_timeout = \"7s\"\n\
                    [[module]]\nname = \"other\"\npath = \"other.wasm\"\n\
                    [[module]]\nname = \"shop\"\npath = \"../shop.wasm\"\n";
        let text = text.replace("..", &format!("../{}", folder.path().file_name().unwrap().display()));
        let file = path("guesthouse.toml");
        fs::write(&file, text).unwrap();
        let (before, _) = config::read(&file).unwrap();
        let paths = |output: &str| -> Vec<PathBuf> {
            read(&file, &path(output)).unwrap().0.modules.into_iter().map(|module| module.path).collect()
        };
        let of_before: Vec<_> = before.modules.iter().map(|module| module.path.clone()).collect();
        assert_eq!(paths("none.wasm"), of_before);
        assert_eq!(paths("shop.wasm"), [path("other.wasm"), path(".shop.serving.wasm")]);
        // A build has removed it.
        fs::remove_file(path("shop.wasm")).unwrap();
        assert_eq!(paths("shop.wasm"), [path("other.wasm"), path(".shop.serving.wasm")]);
        let server = read(&file, &path("shop.wasm")).unwrap().0.server;
        assert_eq!(
            (&server.error_log, &server.access_log),
            (&LogTarget::StandardError, &Some(LogTarget::StandardError))
        );
        assert!(server.watch);
        assert_eq!((server.timing, server.runtime_dir), (before.server.timing, before.server.runtime_dir));
    }
}
