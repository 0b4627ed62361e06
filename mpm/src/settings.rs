//! What the operator decides about processes, threads and sockets: Apache's MPM directives, their defaults and
//! their fix-ups (Apache 2.4, `check_config` of prefork.c, worker.c and event.c). Pure: nothing is opened here.

use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

mod defaults;
mod fix_up;

/// Everything that the parent needs to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// The first one is the server's own; it has children from the start to the end. The children of the others are
    /// spoken to by those of the first one only: they end after them.
    pub pools: Vec<Pool>,
    /// Where the parent's pid is written while the server runs (PidFile).
    pub pid_file: Option<PathBuf>,
}

/// Children of one kind, on addresses of their own. No two pools share an address, a place on the scoreboard, or the
/// consequences of a child that dies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// The same at every reload: what follows a pool with this name in the next generation takes over from it.
    pub name: String,
    pub listen: Vec<ListenAddress>,
    pub mpm: Mpm,
}

impl Pool {
    /// The key of the server's own pool.
    pub const OWN_KEY: u64 = 0;

    /// Tells pools apart on the scoreboard, in whichever generation they stand and wherever: by name and addresses. For
    /// pools other than the server's own, within one run of the server.
    #[must_use]
    pub fn key(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.name, &self.listen).hash(&mut hasher);
        hasher.finish() | 1
    }
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
    /// GracefulShutdownTimeout: how long a graceful stop waits for what is open; zero: for ever. That of the server's
    /// own pool is for all.
    pub graceful_shutdown_timeout: Duration,
}

/// One process for each connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prefork {
    pub common: Common,
    /// Not Apache's. Whether the pool may be without a child: `start_servers`, `min_spare_servers` and, where there is
    /// no minimum, `max_spare_servers` may be 0, and a connection that finds no idle child makes one start. Not for
    /// the server's own pool.
    pub on_demand: bool,
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

impl fmt::Display for Correction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Mpm {
    /// As the operator names it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Mpm::Prefork(_) => "prefork",
            Mpm::Worker(_) => "worker",
            Mpm::Event(_) => "event",
        }
    }

    #[must_use]
    pub fn common(&self) -> &Common {
        match self {
            Mpm::Prefork(prefork) => &prefork.common,
            Mpm::Worker(worker) => &worker.common,
            Mpm::Event(event) => &event.common,
        }
    }

    /// Children at the start.
    #[must_use]
    pub fn start_servers(&self) -> usize {
        match self {
            Mpm::Prefork(prefork) => prefork.start_servers,
            Mpm::Worker(worker) => worker.start_servers,
            Mpm::Event(event) => event.start_servers,
        }
    }

    /// Threads of each child that serve connections.
    #[must_use]
    pub fn threads_per_child(&self) -> usize {
        match self {
            Mpm::Prefork(_) => 1,
            Mpm::Worker(worker) => worker.threads_per_child,
            Mpm::Event(event) => event.threads_per_child,
        }
    }

    /// Children of one generation at once, those that drain not counted.
    #[must_use]
    pub fn children_max(&self) -> usize {
        match self {
            Mpm::Prefork(prefork) => prefork.max_request_workers,
            Mpm::Worker(worker) => worker.max_request_workers / worker.threads_per_child.max(1),
            Mpm::Event(event) => event.start_servers,
        }
    }

    /// Whether there may be no child until a connection waits for one.
    #[must_use]
    pub fn on_demand(&self) -> bool {
        match self {
            Mpm::Prefork(prefork) => prefork.on_demand,
            Mpm::Worker(_) | Mpm::Event(_) => false,
        }
    }

    /// ServerLimit: what `children_max` can ever be. In the server's own pool it is fixed until the server stops.
    #[must_use]
    pub fn server_limit(&self) -> usize {
        match self {
            Mpm::Prefork(prefork) => prefork.server_limit,
            Mpm::Worker(worker) => worker.server_limit,
            Mpm::Event(event) => event.server_limit,
        }
    }

    /// ThreadLimit: what `threads_per_child` can ever be, in any pool that of the server's own. Fixed until the server
    /// stops.
    #[must_use]
    pub fn thread_limit(&self) -> usize {
        match self {
            Mpm::Prefork(_) => 1,
            Mpm::Worker(worker) => worker.thread_limit,
            Mpm::Event(event) => event.thread_limit,
        }
    }
}

impl fmt::Display for Mpm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} MPM: ", self.name())?;
        match self {
            Mpm::Prefork(prefork) => {
                let Prefork { start_servers, min_spare_servers, max_spare_servers, max_request_workers, .. } = prefork;
                write!(f, "start_servers {start_servers}, min_spare_servers {min_spare_servers}, ")?;
                write!(f, "max_spare_servers {max_spare_servers}, max_request_workers {max_request_workers}")
            }
            Mpm::Worker(worker) => {
                let Worker { start_servers, threads_per_child, max_request_workers, .. } = worker;
                write!(f, "start_servers {start_servers}, threads_per_child {threads_per_child}, ")?;
                write!(f, "max_request_workers {max_request_workers}")
            }
            Mpm::Event(event) => {
                let Event { start_servers, threads_per_child, max_connections, max_requests_in_flight, .. } = event;
                write!(f, "start_servers {start_servers}, threads_per_child {threads_per_child}, ")?;
                write!(f, "max_connections {max_connections}, max_requests_in_flight {max_requests_in_flight}")
            }
        }
    }
}
