//! The configuration as checked: every value in its own type, every reference resolved, every path absolute.
//!
//! The preparation process (`guesthouse prepare`) reads what the operator wrote ([`read`]) and hands the result to
//! the parent as JSON, so that parent and children never see a configuration that was not checked. Nothing here
//! acts on a value.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One reading of the configuration file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    pub server: Server,
    pub mpm: guesthouse_mpm::Settings,
    pub modules: Vec<Module>,
    /// In the order of the file.
    pub routes: Vec<Route>,
}

/// `[server]`, apart from what `mpm` holds (`listen`, `mpm`, the pid file).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Pid file and sockets.
    pub runtime_dir: PathBuf,
    /// Native code; nobody else may write there.
    pub cache_dir: PathBuf,
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
    pub limits: Limits,
    pub env: BTreeMap<String, String>,
    pub dirs: Vec<Dir>,
    pub outbound: Vec<OutboundHost>,
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
    /// "example.com" itself. Only an address literal, "localhost", or a name with `private = true` written as
    /// `"name:port!private"` reaches loopback, private and link-local addresses.
    pub host: String,
    /// `None`: 80 for http, 443 for https.
    pub port: Option<u16>,
    /// Addresses that are not public are meant too.
    pub private: bool,
}

/// `[[route]]`: which requests go where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// `None`: any host.
    pub host: Option<HostPattern>,
    /// Starts with "/"; without a trailing slash unless it is "/" itself.
    pub path: String,
    pub target: Target,
}

/// Which hosts a route is for; lower case, without port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostPattern {
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
}
