//! Where a server that may run has its runtime directory, read from a configuration that may be wrong in all else: whoever mends it
//! must be able to reach the server meanwhile.

use std::path::{Path, PathBuf};

use toml::Table;

use super::report::{Errors, cause};
use super::{read_file, server};

/// The `runtime_dir` of the configuration in this file.
///
/// # Errors
/// The file cannot be read, or is so wrong that it does not show.
pub fn runtime_dir_of(path: &Path) -> Result<PathBuf, Errors> {
    let text = read_file(path).map_err(|error| Errors::Unreadable { path: path.to_owned(), cause: cause(&error) })?;
    let absolute = std::path::absolute(path)
        .map_err(|error| Errors::Unreadable { path: path.to_owned(), cause: cause(&error) })?;
    let folder = absolute.parent().unwrap_or(&absolute);
    written(&text)
        .map(|written| folder.join(written))
        .map_err(|cause| Errors::Unreadable { path: path.to_owned(), cause })
}

fn written(text: &str) -> Result<String, String> {
    let document: Table = text.parse().map_err(|error: toml::de::Error| error.message().to_owned())?;
    match document.get("server").and_then(|server| server.get("runtime_dir")) {
        None => Ok(server::RUNTIME_DIR.to_owned()),
        Some(toml::Value::String(written)) => Ok(written.clone()),
        Some(_) => Err(String::from("runtime_dir is no path")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_found_whatever_else_is_wrong() {
        assert_eq!(written("server.runtime_dir = \"here\"\nwrong = 5"), Ok(String::from("here")));
        assert_eq!(written("[server]\nmpm = \"none\"\n"), Ok(String::from("run")));
        assert_eq!(written(""), Ok(String::from("run")));
        assert!(written("server.runtime_dir = 5").is_err());
        assert!(written("[server").is_err());
    }

    #[test]
    fn it_is_beside_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("guesthouse.toml");
        assert!(runtime_dir_of(&file).unwrap_err().to_string().contains("cannot read"));
        std::fs::write(&file, "server.runtime_dir = \"r\"").unwrap();
        assert_eq!(runtime_dir_of(&file).unwrap(), folder.path().join("r"));
    }
}
