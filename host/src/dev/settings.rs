//! How a server that `guesthouse dev` has started differs from one that `guesthouse serve` has, and what a server writes into
//! a project's folder. Reads and writes no file.

use std::path::PathBuf;

use crate::config::{self, LogTarget};

/// The environment variable by which a server knows that it is one of a developer's. Who sets it elsewhere gets the
/// settings below and nothing else.
pub const VARIABLE: &str = "GUESTHOUSE_DEV";

/// Changes what the project's configuration says so far as a developer's server differs: all that it tells goes to
/// whoever has started it, and a module that was built anew is taken over.
pub fn adapt(server: &mut config::Server) {
    server.error_log = LogTarget::StandardError;
    server.access_log = Some(LogTarget::StandardError);
    server.watch = true;
}

/// What a server of this configuration writes, or lets its guests write: relative to the configuration's folder, or
/// absolute. No mistake is reported here: what cannot be read is taken to be left out.
pub(super) fn written_by_server(configuration: &str) -> Vec<PathBuf> {
    let table: toml::Table = configuration.parse().unwrap_or_default();
    let server = |key: &str| Some(PathBuf::from(table.get("server")?.get(key)?.as_str()?));
    let modules = table.get("module").and_then(toml::Value::as_array).into_iter().flatten();
    let folders = modules.filter_map(|module| module.get("dir")?.as_array()).flatten();
    let writable = folders.filter(|folder| folder.get("write").and_then(toml::Value::as_bool) == Some(true));
    let granted = writable.filter_map(|folder| Some(PathBuf::from(folder.get("host")?.as_str()?)));
    let own = [("runtime_dir", Some("run")), ("cache_dir", Some("cache")), ("modules_dir", None)];
    let logs = [("error_log", None), ("access_log", Some("logs/access.log"))];
    let own = own.into_iter().chain(logs).filter_map(|(key, default)| server(key).or(default.map(PathBuf::from)));
    own.chain(granted).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_developers_server_tells_all_in_one_place_and_takes_over_what_is_built() {
        let text = "[server]\nerror_log = \"error.log\"\naccess_log = \"off\"\nkeep_alive_timeout = \"7s\"\n";
        let (before, _) = config::read_text(text, Path::new("/tmp/guesthouse.toml")).unwrap();
        let mut server = before.server.clone();
        adapt(&mut server);
        assert_eq!(
            (&server.error_log, &server.access_log),
            (&LogTarget::StandardError, &Some(LogTarget::StandardError))
        );
        assert!(server.watch);
        assert_eq!((server.timing, server.runtime_dir), (before.server.timing, before.server.runtime_dir));
    }

    fn written(configuration: &str) -> Vec<String> {
        written_by_server(configuration).into_iter().map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn what_a_server_writes_is_known_from_its_configuration() {
        assert_eq!(written(""), ["run", "cache", "logs/access.log"]);
        assert_eq!(written("not = [toml"), ["run", "cache", "logs/access.log"]);
        let all = "[server]\nruntime_dir = \"/run/shop\"\ncache_dir = \"native\"\nmodules_dir = \"m\"\nerror_log = \"-\"\n\
                   access_log = \"off\"\n\
                   [[module]]\n[[module.dir]]\nhost = \"data\"\nwrite = true\n[[module.dir]]\nhost = \"texts\"\n";
        assert_eq!(written(all), ["/run/shop", "native", "m", "-", "off", "data"]);
    }
}
