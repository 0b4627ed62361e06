//! What the configuration says to its operator: each mistake with its whole text, on a machine made up for the tests.
//! Here is what all tests use; the tests stand in the files below, by what they are about.

mod module;
mod random;
mod route;
mod server;
mod value;
mod whole;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use guesthouse_mpm::settings::{Event, ListenAddress, Mpm, Pool, Prefork, Worker};

use super::surroundings::{Kind, Machine, Surroundings};
use super::*;

/// The file is `/etc/guesthouse.toml`. Directories are named "data", "logs" or "run"; into "tmp" and "shared" others
/// may write. Files end in ".wasm" or ".log", pipes in ".pipe", nobody may look at "secret", and nothing else exists.
struct MadeUp;

impl Machine for MadeUp {
    fn kind(&self, path: &Path) -> io::Result<Kind> {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let missing = path.components().any(|part| part.as_os_str() == "missing");
        match name.rsplit_once('.').map_or(name, |(_, ending)| ending) {
            "secret" => Err(io::Error::from_raw_os_error(13)),
            _ if missing => Ok(Kind::Nothing),
            "etc" | "data" | "logs" | "run" | "tmp" | "shared" => Ok(Kind::Directory),
            "wasm" | "log" => Ok(Kind::File),
            "pipe" => Ok(Kind::Other),
            _ => Ok(Kind::Nothing),
        }
    }

    fn mode(&self, path: &Path) -> io::Result<u32> {
        Ok(match path.file_name().and_then(|name| name.to_str()) {
            Some("tmp") => 0o1777,
            Some("shared") => 0o775,
            _ => 0o755,
        })
    }
}

fn checked(text: &str) -> Result<(Config, Vec<Warning>), Errors> {
    let surroundings = Surroundings { folder: Path::new("/etc"), machine: &MadeUp };
    check(text, Path::new("guesthouse.toml"), surroundings, AS_WRITTEN)
}

fn config(text: &str) -> Config {
    checked(text).unwrap_or_else(|errors| panic!("{errors}")).0
}

fn warnings(text: &str) -> Vec<String> {
    checked(text).unwrap_or_else(|errors| panic!("{errors}")).1.iter().map(ToString::to_string).collect()
}

#[track_caller]
fn assert_mistakes(text: &str, expected: &[&str]) {
    let mistakes = match checked(text) {
        Ok(_) => String::new(),
        Err(errors) => errors.to_string(),
    };
    assert_eq!(mistakes.lines().collect::<Vec<_>>(), expected, "in:\n{text}");
}

/// Checks one line of one table at a time: `(line, mistake without "guesthouse.toml:2: ")`.
#[track_caller]
fn assert_each(header: &str, cases: &[(&str, &str)]) {
    for (line, mistake) in cases {
        assert_mistakes(&format!("{header}\n{line}\n"), &[&format!("guesthouse.toml:2: {mistake}")]);
    }
}

/// The same below a module that is right but for that line.
#[track_caller]
fn assert_each_in_module(header: &str, cases: &[(&str, &str)]) {
    for (line, mistake) in cases {
        let text = format!("[[module]]\nname = \"hello\"\npath = \"hello.wasm\"\n{header}\n{line}\n");
        assert_mistakes(&text, &[&format!("guesthouse.toml:5: {mistake}")]);
    }
}

/// The same in a route.
#[track_caller]
fn assert_each_in_route(cases: &[(&str, &str)]) {
    assert_each("[[route]]", cases);
}

const EXAMPLE: &str = r#"
[server]
listen = ["127.0.0.1:8080"]     # one or more
mpm = "event"                   # prefork | worker | event
runtime_dir = "run"             # pid file, sockets; relative paths are relative to this file
cache_dir = "cache"
keep_versions = 3               # of each module, with the one that serves
cache_limit = "1GiB"            # of native code; what is needed stays
error_log = "-"                 # file or "-" for standard error
access_log = "logs/access.log"  # combined format plus module, microseconds, guest CPU microseconds; "off"
keep_alive_timeout = "5s"       # also max_keep_alive_requests = 100 (0: no limit)
header_timeout = "20s"          # extended by min_rate up to header_timeout_max = "40s"
body_timeout = "20s"            # likewise for the body, extended by min_rate without an upper end
min_rate = 500                  # bytes per second that extend these deadlines (0: they are never extended)
write_timeout = "60s"           # a client that takes nothing for so long is dropped
linger_timeout = "2s"

[event]                         # also [prefork], [worker], each with Apache's directives
start_servers = 1
threads_per_child = 2
time_slice = "1ms"

[[module]]
name = "hello"
path = "hello.wasm"
outbound = ["api.example.com:443"]
[module.limits]
memory = "64MiB"
wall = "30s"
cpu = "5s"
request_body = "16MiB"
response_body = "64MiB"
[module.env]
GREETING = "hi"
[[module.dir]]
host = "data"
guest = "/data"
write = false

[[route]]
host = "example.org"            # optional; "*.example.org" too
path = "/hello"                 # prefix on segment boundaries; the longest match wins
module = "hello"

[[route]]
path = "/health"
text = "ok\n"
status = 200
"#;
