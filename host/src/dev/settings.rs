//! How a server that `guesthouse dev` has started differs from one that `guesthouse serve` has, and what a server writes into
//! a project's folder. Writes no file.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::config::{Config, LogTarget};

/// The environment variable by which a server knows that it is one of a developer's: it has the path of the module that the
/// project builds.
pub const VARIABLE: &str = "GUESTHOUSE_DEV";

/// Changes what the project's configuration says so far as a developer's server differs: all that it tells goes to
/// whoever has started it, and in place of what the project builds, at `output`, it serves what was built last and is good,
/// and takes it over when that changes. Answers with how many modules come from there.
pub fn adapt(config: &mut Config, output: &Path) -> usize {
    config.server.error_log = LogTarget::StandardError;
    config.server.access_log = Some(LogTarget::StandardError);
    config.server.watch = true;
    let is_output = |path: &Path| match (path.canonicalize(), output.canonicalize()) {
        (Ok(path), Ok(output)) => path == output,
        _ => path == output,
    };
    let built = config.modules.iter_mut().filter(|module| is_output(&module.path));
    built.map(|module| module.path = served(output)).count()
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
    use super::*;
    use crate::config;

    #[test]
    fn a_developers_server_tells_all_in_one_place_and_takes_over_what_is_built() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["shop.wasm", "other.wasm"] {
            std::fs::write(path(name), "").unwrap();
        }
        let text = "[server]\nerror_log = \"error.log\"\naccess_log = \"off\"\nkeep_alive_timeout = \"7s\"\n\
                    [[module]]\nname = \"other\"\npath = \"other.wasm\"\n\
                    [[module]]\nname = \"shop\"\npath = \"../shop.wasm\"\n";
        let text = text.replace("..", &format!("../{}", folder.path().file_name().unwrap().display()));
        let (before, _) = config::read_text(&text, &path("guesthouse.toml")).unwrap();
        let mut config = before.clone();
        assert_eq!(adapt(&mut config, &path("shop.wasm")), 1);
        let paths: Vec<_> = config.modules.iter().map(|module| module.path.clone()).collect();
        assert_eq!(paths, [path("other.wasm"), path(".shop.serving.wasm")]);
        let server = config.server;
        assert_eq!(
            (&server.error_log, &server.access_log),
            (&LogTarget::StandardError, &Some(LogTarget::StandardError))
        );
        assert!(server.watch);
        assert_eq!(adapt(&mut before.clone(), &path("none.wasm")), 0);
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
