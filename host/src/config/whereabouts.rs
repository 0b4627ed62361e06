//! Where a server has its runtime directory and what else it writes, read from a configuration that may be wrong in all else:
//! whoever mends it must be able to reach the server meanwhile.

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

/// What a server of this configuration writes, or lets its guests write: relative to the configuration's folder, or
/// absolute. No mistake is reported here: what cannot be read is taken to be left out.
#[must_use]
pub fn written_by_server(configuration: &str) -> Vec<PathBuf> {
    let table: Table = configuration.parse().unwrap_or_default();
    let server = |key: &str| Some(PathBuf::from(table.get("server")?.get(key)?.as_str()?));
    let modules = table.get("module").and_then(toml::Value::as_array).into_iter().flatten();
    let folders = modules.filter_map(|module| module.get("dir")?.as_array()).flatten();
    let writable = folders.filter(|folder| folder.get("write").and_then(toml::Value::as_bool) == Some(true));
    let granted = writable.filter_map(|folder| Some(PathBuf::from(folder.get("host")?.as_str()?)));
    let own = [
        ("runtime_dir", Some(server::RUNTIME_DIR)),
        ("cache_dir", Some(server::CACHE_DIR)),
        ("modules_dir", None),
        ("error_log", None),
        ("access_log", Some(server::ACCESS_LOG)),
    ];
    let own = own.into_iter().filter_map(|(key, default)| server(key).or(default.map(PathBuf::from)));
    own.chain(granted).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_writes_is_known_from_its_configuration() {
        let written = |text: &str| -> Vec<String> {
            written_by_server(text).into_iter().map(|path| path.display().to_string()).collect()
        };
        assert_eq!(written(""), ["run", "cache", "logs/access.log"]);
        assert_eq!(written("not = [toml"), ["run", "cache", "logs/access.log"]);
        let all = "[server]\nruntime_dir = \"/run/shop\"\ncache_dir = \"native\"\nmodules_dir = \"m\"\nerror_log = \"-\"\n\
                   access_log = \"off\"\n\
                   [[module]]\n[[module.dir]]\nhost = \"data\"\nwrite = true\n[[module.dir]]\nhost = \"texts\"\n";
        assert_eq!(written(all), ["/run/shop", "native", "m", "-", "off", "data"]);
    }

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
