//! What the operator decides about processes, threads and sockets: Apache's MPM directives, their defaults and
//! their fix-ups (Apache 2.4, `check_config` of prefork.c, worker.c and event.c). Pure: nothing is opened here.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Everything that an MPM needs to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    pub listen: Vec<ListenAddress>,
    pub mpm: Mpm,
    /// Where the parent's pid is written while the server runs (PidFile).
    pub pid_file: Option<PathBuf>,
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ListenAddress {
    /// Port 0: the kernel chooses one; the log tells which.
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAddress::Tcp(address) => address.fmt(f),
            ListenAddress::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// One way to use processes and threads, with its directives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mpm {
    Prefork(Prefork),
    Worker(Worker),
    Event(Event),
}

/// Directives that all three MPMs have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Common {
    /// ListenBacklog: connections that the kernel holds until they are accepted.
    pub listen_backlog: u32,
    /// MaxConnectionsPerChild: a child that has accepted so many drains and is replaced; 0: never.
    pub max_connections_per_child: u64,
    /// GracefulShutdownTimeout: how long a graceful stop waits for what is open; zero: for ever.
    pub graceful_shutdown_timeout: Duration,
}

/// One process for each connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prefork {
    pub common: Common,
    /// StartServers.
    pub start_servers: usize,
    /// MinSpareServers.
    pub min_spare_servers: usize,
    /// MaxSpareServers.
    pub max_spare_servers: usize,
    /// ServerLimit: bounds `max_request_workers`; sizes the scoreboard.
    pub server_limit: usize,
    /// MaxRequestWorkers: processes, and so connections, at once.
    pub max_request_workers: usize,
}

/// Several processes, a thread for each connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worker {
    pub common: Common,
    /// StartServers.
    pub start_servers: usize,
    /// MinSpareThreads, over all children.
    pub min_spare_threads: usize,
    /// MaxSpareThreads, over all children.
    pub max_spare_threads: usize,
    /// ServerLimit: children at once; sizes the scoreboard.
    pub server_limit: usize,
    /// ThreadLimit: bounds `threads_per_child`; sizes the scoreboard.
    pub thread_limit: usize,
    /// ThreadsPerChild, the thread that accepts not counted.
    pub threads_per_child: usize,
    /// MaxRequestWorkers: threads, and so connections, at once, over all children.
    pub max_request_workers: usize,
}

/// Few processes and threads; connections wait in a poller.
///
/// The number of children and threads is fixed (`start_servers` × `threads_per_child`): a thread serves many
/// connections at once, so there is nothing that spares could add. Apache's MaxRequestWorkers becomes two bounds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub common: Common,
    /// StartServers: the number of children.
    pub start_servers: usize,
    /// ThreadsPerChild: event threads of each child.
    pub threads_per_child: usize,
    /// ServerLimit: bounds `start_servers`; sizes the scoreboard.
    pub server_limit: usize,
    /// ThreadLimit: bounds `threads_per_child`; sizes the scoreboard.
    pub thread_limit: usize,
    /// Connections open at once, over all children; more wait in the backlog.
    pub max_connections: usize,
    /// Requests begun and not ended at once, over all children; more wait, unread or in the backlog.
    pub max_requests_in_flight: usize,
}

/// A value that was changed to make the directives fit each other, in the operator's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Correction(pub String);
