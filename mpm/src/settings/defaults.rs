//! The defaults: Apache's (`mpm_default.h` of each MPM, `mpm_common.h`), except where [`Event`] has no counterpart.

use std::num::NonZeroUsize;
use std::thread::available_parallelism;
use std::time::Duration;

use super::{Common, Event, Prefork, Worker};

/// Apache's default for `ListenBacklog`.
pub(super) const LISTEN_BACKLOG: u32 = 511;

impl Default for Common {
    fn default() -> Self {
        Self { listen_backlog: LISTEN_BACKLOG, max_connections_per_child: 0, graceful_shutdown_timeout: Duration::ZERO }
    }
}

impl Default for Prefork {
    fn default() -> Self {
        Self {
            common: Common::default(),
            on_demand: false,
            start_servers: 5,
            min_spare_servers: 5,
            max_spare_servers: 10,
            server_limit: 256,
            max_request_workers: 256,
        }
    }
}

impl Default for Worker {
    fn default() -> Self {
        Self {
            common: Common::default(),
            start_servers: 3,
            min_spare_threads: 75,
            max_spare_threads: 250,
            server_limit: 16,
            thread_limit: 64,
            threads_per_child: 25,
            max_request_workers: 400,
        }
    }
}

impl Default for Event {
    /// An event thread for each core: it is busy or it sleeps, and more of them than cores only compete. Each in a
    /// child of its own, because threads of one process wait for each other whenever one of them changes the memory
    /// map, as a fresh instance does; beyond `server_limit` children have several. The limits are Apache's, but
    /// `max_connections`: a connection that is parked costs no thread.
    fn default() -> Self {
        let server_limit = 16;
        let start_servers = cores().min(server_limit);
        Self {
            common: Common::default(),
            start_servers,
            threads_per_child: Self::threads_per_child_for(start_servers),
            server_limit,
            thread_limit: THREAD_LIMIT,
            max_connections: 16_384,
            max_requests_in_flight: 400,
        }
    }
}

impl Event {
    /// Threads of each child so that so many children have one for each core together.
    #[must_use]
    pub fn threads_per_child_for(start_servers: usize) -> usize {
        cores().div_ceil(start_servers.max(1)).min(THREAD_LIMIT)
    }
}

/// ThreadLimit of event.
const THREAD_LIMIT: usize = 64;

fn cores() -> usize {
    available_parallelism().map_or(1, NonZeroUsize::get)
}
