//! The configuration as checked: every value in its own type, every reference resolved, every path absolute.
//!
//! The preparation process (`guesthouse prepare`) reads what the operator wrote ([`read`]) and hands the result to
//! the parent as JSON, so that parent and children never see a configuration that was not checked. Nothing here
//! acts on a value.

mod drop_in;
mod module;
mod mpm;
mod names;
mod outbound;
mod report;
mod route;
mod server;
mod surroundings;
mod table;
#[cfg(test)]
mod tests;
mod value;
mod whereabouts;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use guesthouse_mpm::Settings;
use guesthouse_mpm::settings::{Pool, Prefork};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use toml::de::DeTable;

pub use self::drop_in::{DropIn, read_text as read_drop_in};
use self::module::Modules;
pub use self::names::module as check_module_name;
use self::report::Report;
pub use self::report::{Errors, Finding, Warning};
use self::surroundings::{Surroundings, ThisMachine};
use self::table::Table;
pub use self::whereabouts::{runtime_dir_of, written_by_server};

/// Name of the pool whose children serve the clients. Confined modules give theirs to their pools: none has this one.
const SERVER_POOL: &str = "server";
/// Where a guest sees the folder of its scripts (`root` of a route).
pub const SCRIPTS_GUEST_PATH: &str = "/www";
/// Name of the parent's pid file in `runtime_dir`.
const PID_FILE: &str = "guesthouse.pid";
/// Bytes of a configuration file: far above any real one, and a bound where the path names a device.
const FILE_SIZE_MAX: u64 = 16 << 20;

/// Where a file lies that the configuration names at this path.
pub type Placed<'a> = &'a dyn Fn(PathBuf) -> PathBuf;
const AS_WRITTEN: Placed<'static> = &|path| path;

/// Reads and checks the configuration file at `path`.
///
/// Relative paths in the file are relative to its folder. Nothing is created and nothing is compiled; of the files
/// that the configuration names, it is only looked whether they exist.
///
/// # Errors
/// The file cannot be read, or it is wrong; then with every mistake that it has.
pub fn read(path: &Path) -> Result<(Config, Vec<Warning>), Errors> {
    read_placed(path, AS_WRITTEN)
}

/// Likewise, with the file of each `[[module]]` taken from where `placed` says that it lies, told the path that is written.
///
/// # Errors
/// As [`read`].
pub fn read_placed(path: &Path, placed: Placed<'_>) -> Result<(Config, Vec<Warning>), Errors> {
    let text = read_file(path).map_err(|error| Errors::unreadable(path, &error))?;
    check_text(&text, path, placed)
}

/// Checks `text` as if it stood in the file at `path`, which need not exist.
///
/// # Errors
/// As [`read`].
pub fn read_text(text: &str, path: &Path) -> Result<(Config, Vec<Warning>), Errors> {
    check_text(text, path, AS_WRITTEN)
}

fn check_text(text: &str, path: &Path, placed: Placed<'_>) -> Result<(Config, Vec<Warning>), Errors> {
    check(text, path, Surroundings { folder: &folder_of(path)?, machine: &ThisMachine }, placed)
}

/// Where the file at `path` lies.
fn folder_of(path: &Path) -> Result<PathBuf, Errors> {
    let unreadable = |cause: &str| Errors::Unreadable { path: path.to_owned(), cause: cause.to_owned() };
    let absolute = std::path::absolute(path).map_err(|error| Errors::unreadable(path, &error))?;
    // The configuration travels as JSON, which has no other text.
    if absolute.to_str().is_none() {
        return Err(unreadable("its path is not UTF-8: move it"));
    }
    absolute.parent().map(Path::to_owned).ok_or_else(|| unreadable("it is a directory"))
}

/// Reads a file that somebody has written by hand.
///
/// # Errors
/// It cannot be read, is no text, or is far larger than any such file.
pub(crate) fn read_file(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let read = File::open(path)?.take(FILE_SIZE_MAX + 1).read_to_string(&mut text)?;
    if read as u64 > FILE_SIZE_MAX {
        return Err(io::Error::other("it has more than 16 MiB"));
    }
    Ok(text)
}

fn check(
    text: &str,
    path: &Path,
    surroundings: Surroundings<'_>,
    placed: Placed<'_>,
) -> Result<(Config, Vec<Warning>), Errors> {
    let (document, syntax_errors) = DeTable::parse_recoverable(text);
    let report = Report::new(path, text);
    if !syntax_errors.is_empty() {
        return Err(report.conclude_syntax(&syntax_errors));
    }
    let mut table = Table::document(document.get_ref(), &report);
    let (server, for_mpm) = server::read(table.table("server", "[server]"), surroundings);
    let (mpm, time_slice) = mpm::read_all(&mut table, for_mpm.mpm);
    let mut modules = module::read_all(table.tables("module", "[[module]]"), surroundings, placed);
    let routes = route::read_all(table.tables("route", "[[route]]"), surroundings, &mut modules);
    table.finish();
    warn_of_what_is_never_used(&modules, &routes, server.modules_dir.is_some(), &report);
    let pid_file = Some(server.runtime_dir.join(PID_FILE));
    let server_pool = Pool { name: SERVER_POOL.to_owned(), listen: for_mpm.listen, mpm };
    let mpm = Settings { pools: vec![server_pool], pid_file };
    report.conclude(Config { server, mpm, time_slice, modules: modules.read, routes })
}

fn warn_of_what_is_never_used(modules: &Modules, routes: &[Route], others: bool, report: &Report<'_>) {
    if routes.is_empty() && !others {
        report.warning(None, "there is no [[route]]: every request is answered with 404");
        return;
    }
    for (index, name, line) in modules.names() {
        if !routes.iter().any(|route| matches!(route.target, Target::Module(used) if used == index)) {
            report.warning(line, format_args!("module {name:?} stands in no [[route]]: no request reaches it"));
        }
    }
}

/// One reading of the configuration file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    pub server: Server,
    /// As read, the server's own pool alone: which modules need one of their own shows when the modules are read.
    pub mpm: guesthouse_mpm::Settings,
    /// How long a guest computes before others have their turn, whatever the MPM.
    pub time_slice: Duration,
    pub modules: Vec<Module>,
    /// In the order of the file.
    pub routes: Vec<Route>,
}

impl Config {
    /// The children that serve the clients: the pool that stands first in every configuration.
    #[must_use]
    pub fn server_pool(&self) -> &Pool {
        &self.mpm.pools[0]
    }

    /// Those that lead to this module.
    pub fn routes_of<'a>(&'a self, module: &'a Module) -> impl Iterator<Item = &'a Route> {
        self.routes
            .iter()
            .filter(|route| matches!(route.target, Target::Module(index) if self.modules[index].name == module.name))
    }
}

/// `[server]`, apart from what `mpm` holds (`listen`, `mpm`, the pid file).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Pid file and the sockets of confined modules; nobody else may write there.
    pub runtime_dir: PathBuf,
    /// Native code; nobody else may write there.
    pub cache_dir: PathBuf,
    /// Each `NAME.wasm` in it is a module. `None`: there is none but what the configuration names.
    pub modules_dir: Option<PathBuf>,
    /// Whether files that change are taken over without an order.
    pub watch: bool,
    /// How many versions of each module are kept, with the one that serves.
    pub keep_versions: usize,
    /// Bytes of native code that `cache_dir` holds, unless more is needed.
    pub cache_limit: u64,
    pub error_log: LogTarget,
    /// `None`: "off".
    pub access_log: Option<LogTarget>,
    pub timing: Timing,
    pub request_limits: RequestLimits,
}

/// Where log lines go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogTarget {
    StandardError,
    File(PathBuf),
}

/// How long a client may take, and how often it may ask on one connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// KeepAliveTimeout: from an answer to the first byte of the next request.
    pub keep_alive_timeout: Duration,
    /// MaxKeepAliveRequests: requests on one connection; 0: no limit.
    pub max_keep_alive_requests: u32,
    /// RequestReadTimeout header=20-40,MinRate=500: for the whole request head, extended by `min_rate`...
    pub header_timeout: Duration,
    /// ...up to this.
    pub header_timeout_max: Duration,
    /// RequestReadTimeout body=20,MinRate=500: for the whole request body, extended by `min_rate` without an end.
    pub body_timeout: Duration,
    /// Bytes per second; every so many bytes extend a read deadline by one second; 0: never.
    pub min_rate: u32,
    /// A client that takes nothing for so long is dropped.
    pub write_timeout: Duration,
    /// After an answer that closes: how long to wait for the client's next sign of life.
    pub linger_timeout: Duration,
}

/// What a request may be at most, whichever module it is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestLimits {
    /// LimitRequestLine, bytes; more: 414.
    pub limit_request_line: usize,
    /// LimitRequestFields, number; more: 431.
    pub limit_request_fields: usize,
    /// LimitRequestFieldSize, bytes of one name and value; more: 431.
    pub limit_request_field_size: usize,
    /// LimitRequestBody, bytes; more: 413. A module's own limit may be lower.
    pub limit_request_body: u64,
}

/// `[[module]]`: a Wasm file as deployed, with its settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    pub name: String,
    pub path: PathBuf,
    pub lines: ModuleLines,
    /// In place of what the module says of itself.
    pub thread_safe: Option<bool>,
    /// 0: an instance is never retired. `None`: what suits the module.
    pub max_requests_per_instance: Option<u64>,
    /// `None`: what suits the module.
    pub max_concurrent_requests_per_instance: Option<usize>,
    /// `None`: the operator wrote none.
    pub pool: Option<ModulePool>,
    pub limits: Limits,
    pub env: BTreeMap<String, String>,
    pub dirs: Vec<Dir>,
    /// Folders with scripts for an interpreter: `root` of its routes, each once. The guest of a request sees the one that
    /// its route has, read-only.
    pub roots: Vec<PathBuf>,
    pub outbound: Vec<OutboundHost>,
    /// What a new version is asked, as a client would ask it, before it serves: a path, perhaps with a query.
    pub health: Option<String>,
    /// Per cent of a new version's first requests; with more that fail it is rolled back. `None`: never.
    pub rollback_on_errors: Option<u8>,
}

/// Where the file speaks of a module, for mistakes that show only when the module is compiled; counted from 1.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleLines {
    pub path: usize,
    /// `None`: the operator wrote none.
    pub thread_safe: Option<usize>,
    /// Of `max_concurrent_requests_per_instance`; `None`: the operator wrote none.
    pub concurrent: Option<usize>,
    /// Of `[module.pool]`; `None`: the operator wrote none.
    pub pool: Option<usize>,
    /// Of `memory`; `None`: the operator wrote none.
    pub memory: Option<usize>,
    /// Likewise.
    pub max_requests_per_instance: Option<usize>,
    /// Likewise.
    pub health: Option<usize>,
}

/// `[module.pool]`: the children that a module which is not thread-safe is confined to, where it needs them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModulePool {
    /// Each connection carries one request.
    pub prefork: Prefork,
    /// How long a request waits for a child.
    pub queue_timeout: Duration,
}

/// `[module.limits]`: what one request may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of linear memory.
    pub memory: u64,
    pub wall: Duration,
    pub cpu: Duration,
    /// Bytes.
    pub request_body: u64,
    /// Bytes.
    pub response_body: u64,
}

/// `[[module.dir]]`: a directory that the guest sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dir {
    pub host: PathBuf,
    pub guest: String,
    pub write: bool,
}

/// One entry of `outbound`: whom the guest may call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboundHost {
    /// Lower-case name, or an address literal without brackets; "*.example.com" matches every name below, not
    /// "example.com" itself.
    pub host: String,
    /// `None`: 80 for http, 443 for https.
    pub port: Option<u16>,
    /// Loopback, private and link-local addresses are meant too. So they are for an address literal and for
    /// "localhost", which name them; any other name is written as `{ host = "name:port", private = true }`.
    pub private: bool,
}

/// `[[route]]`: which requests go where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// `None`: any host.
    pub host: Option<HostPattern>,
    /// Starts with "/"; without a trailing slash unless it is "/" itself; not percent-encoded.
    pub path: String,
    pub target: Target,
    /// For a module that is an interpreter.
    pub scripts: Option<Scripts>,
}

/// `root`, `index` and `script_suffixes` of a `[[route]]`: which files the paths below it are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scripts {
    /// Index into [`Module::roots`] of the route's module.
    pub root: usize,
    /// The folder itself.
    pub folder: PathBuf,
    /// DirectoryIndex: the names to look for where a path is that of a folder, in this order.
    pub index: Vec<String>,
    /// How the names of scripts end; a file of another name is none.
    pub suffixes: Vec<String>,
    /// Where `root` stands in the configuration, counted from 1.
    pub line: usize,
}

/// Which hosts a route is for; lower case, without port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostPattern {
    /// A name, an IPv4 address, or an IPv6 address in brackets, as it stands in a Host field.
    Exact(String),
    /// Written "*.example.org": holds "example.org", and means every name below it.
    Below(String),
}

/// Who answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// Index into [`Config::modules`].
    Module(usize),
    /// A fixed answer.
    Text { status: u16, text: String },
    /// What the server does, as Apache's mod_status tells it; to clients in these networks.
    ServerStatus { allow: Vec<IpNet> },
    /// The same for Prometheus.
    Metrics { allow: Vec<IpNet> },
}
