//! Where a server has its runtime directory and what else it writes, read from a configuration that may be wrong in all else:
//! whoever mends it must be able to reach the server meanwhile.

use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::report::{Errors, Report};
use super::surroundings::{Surroundings, ThisMachine};
use super::table::Table;
use super::{folder_of, read_file, server};
use crate::runtime_dir;

/// The `runtime_dir` of the configuration in this file.
///
/// # Errors
/// The file cannot be read, or is so wrong that it does not show.
pub fn runtime_dir_of(path: &Path) -> Result<PathBuf, Errors> {
    let text = read_file(path).map_err(|error| Errors::unreadable(path, &error))?;
    find(&text, path)
}

fn find(text: &str, path: &Path) -> Result<PathBuf, Errors> {
    let folder = folder_of(path)?;
    let surroundings = Surroundings { folder: &folder, machine: &ThisMachine };
    let (document, syntax_errors) = DeTable::parse_recoverable(text);
    let report = Report::new(path, text);
    if !syntax_errors.is_empty() {
        return Err(report.conclude_syntax(&syntax_errors));
    }
    let mut table = Table::document(document.get_ref(), &report).table("server", "[server]");
    let default = surroundings.absolute(server::RUNTIME_DIR);
    let runtime_dir = table.field(runtime_dir::KEY, default, |value| surroundings.path(value)).value;
    report.conclude(runtime_dir).map(|(runtime_dir, _)| runtime_dir)
}

/// What a server of this configuration writes, or lets its guests write: relative to the configuration's folder, or
/// absolute. No mistake is reported here: what cannot be read is taken to be left out.
#[must_use]
pub fn written_by_server(configuration: &str) -> Vec<PathBuf> {
    let table: toml::Table = configuration.parse().unwrap_or_default();
    let server = |key: &str| Some(PathBuf::from(table.get("server")?.get(key)?.as_str()?));
    let modules = table.get("module").and_then(toml::Value::as_array).into_iter().flatten();
    let folders = modules.filter_map(|module| module.get("dir")?.as_array()).flatten();
    let writable = folders.filter(|folder| folder.get("write").and_then(toml::Value::as_bool) == Some(true));
    let granted = writable.filter_map(|folder| Some(PathBuf::from(folder.get("host")?.as_str()?)));
    let own = [
        (runtime_dir::KEY, Some(server::RUNTIME_DIR)),
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

    fn found(text: &str) -> Result<PathBuf, String> {
        find(text, Path::new("/etc/guesthouse.toml")).map_err(|errors| errors.to_string())
    }

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
        assert_eq!(found("server.runtime_dir = \"here\"\nwrong = 5"), Ok(PathBuf::from("/etc/here")));
        assert_eq!(found("[server]\nmpm = \"none\"\n"), Ok(PathBuf::from("/etc/run")));
        assert_eq!(found(""), Ok(PathBuf::from("/etc/run")));
    }

    #[test]
    fn what_hides_it_is_told_with_its_line() {
        let told = found("wrong = 5\nserver.runtime_dir = 5").unwrap_err();
        assert_eq!(told, "/etc/guesthouse.toml:2: runtime_dir: expected a path, found the number 5");
        let told = found("\n[server").unwrap_err();
        assert!(told.starts_with("/etc/guesthouse.toml:2: "), "{told}");
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
