//! `[prefork]`, `[worker]`, `[event]`: Apache's MPM directives in snake_case. All three are checked; the one that
//! `[server] mpm` names is used. Defaults and fix-ups are those of `guesthouse_mpm::settings`.
//!
//! `[module.pool]` too: prefork once more, with defaults of its own.

use std::ops::RangeInclusive;
use std::time::Duration;

use guesthouse_mpm::settings::{Common, Event, Mpm, Prefork, Worker};

use super::ModulePool;
use super::server::{MpmName, TIMEOUTS};
use super::table::Table;

/// Any number of processes, threads, connections: what is too small or too large for Apache is corrected as Apache
/// does it, and a sum or product of two stays clear of overflow.
const COUNT: RangeInclusive<u64> = 0..=1_000_000_000;
/// Each request may hold a guest, each guest reserves 4 GiB of address space and its guard, and a process has 128 TiB:
/// 20 000 leave room for all else, and more could not start.
const IN_FLIGHT: RangeInclusive<u64> = 0..=20_000;
/// What listen(2) takes; the kernel lowers it to net.core.somaxconn.
const BACKLOG: RangeInclusive<u64> = 0..=0x7fff_ffff;
const SHUTDOWN: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(24 * 60 * 60);
/// Below, the clock that counts slices would take more time than the guests; above, one guest would hold up the others
/// of its thread for longer than anybody waits.
const TIME_SLICES: RangeInclusive<Duration> = Duration::from_micros(100)..=Duration::from_secs(1);
const TIME_SLICE: Duration = Duration::from_millis(1);
/// Each child of a pool holds an instance, and the scoreboard has two lines for each.
const POOL_WORKERS: RangeInclusive<u64> = 0..=10_000;
/// A queue of none cannot be had: even an empty backlog holds one.
const POOL_BACKLOG: RangeInclusive<u64> = 1..=*BACKLOG.end();

/// Reads and corrects all three tables; answers with the one that is chosen, and with the guests' time slice. That
/// stands in `[event]`, where it decides how fair the server is, and goes for all three.
pub(super) fn read_all(document: &mut Table<'_>, chosen: MpmName) -> (Mpm, Duration) {
    let mut time_slice = TIME_SLICE;
    let prefork = read_one(document.table("prefork", "[prefork]"), |table| Mpm::Prefork(read_prefork(table)));
    let worker = read_one(document.table("worker", "[worker]"), |table| Mpm::Worker(read_worker(table)));
    let event = read_one(document.table("event", "[event]"), |table| {
        let event = read_event(table);
        time_slice = table.duration("time_slice", &TIME_SLICES, TIME_SLICE).value;
        Mpm::Event(event)
    });
    let mpm = match chosen {
        MpmName::Prefork => prefork,
        MpmName::Worker => worker,
        MpmName::Event => event,
    };
    (mpm, time_slice)
}

/// Reads and corrects `[module.pool]`.
pub(super) fn read_pool(table: Table<'_>) -> ModulePool {
    let mut queue_timeout = ModulePool::default().queue_timeout;
    let mpm = read_one(table, |table| {
        let prefork = read_pool_prefork(table);
        queue_timeout = table.duration("queue_timeout", &TIMEOUTS, queue_timeout).value;
        Mpm::Prefork(prefork)
    });
    let Mpm::Prefork(prefork) = mpm else { unreachable!("what is corrected stays prefork") };
    ModulePool { prefork, queue_timeout }
}

impl Default for ModulePool {
    fn default() -> Self {
        let max_request_workers = 16;
        let prefork = Prefork {
            common: Common { listen_backlog: 64, ..Common::default() },
            on_demand: false,
            start_servers: 1,
            min_spare_servers: 1,
            max_spare_servers: 4,
            server_limit: max_request_workers,
            max_request_workers,
        };
        Self { prefork, queue_timeout: Duration::from_secs(5) }
    }
}

fn read_one<'d>(mut table: Table<'d>, read: impl FnOnce(&mut Table<'d>) -> Mpm) -> Mpm {
    let report = table.report();
    let before = report.mistakes();
    let mpm = read(&mut table);
    // Where a number is wrong its default stands in; fitting the others to that would only mislead.
    let corrected = if report.mistakes() == before { corrected(&table, mpm) } else { mpm };
    table.finish();
    corrected
}

/// Applies Apache's fix-ups, and tells the operator of each on the line of the directive that it names first.
fn corrected(table: &Table<'_>, mpm: Mpm) -> Mpm {
    let (mpm, corrections) = mpm.corrected();
    for correction in corrections {
        let mut words = correction.0.split(|letter: char| !letter.is_ascii_lowercase() && letter != '_');
        let line = words.find_map(|word| table.line_of(word)).or(table.line());
        table.report().warning(line, correction.0.as_str());
    }
    mpm
}

fn read_common(table: &mut Table<'_>, default: Common) -> Common {
    Common {
        listen_backlog: table.number("listen_backlog", &BACKLOG, default.listen_backlog),
        max_connections_per_child: read_max_connections(table, &default),
        graceful_shutdown_timeout: table
            .duration("graceful_shutdown_timeout", &SHUTDOWN, default.graceful_shutdown_timeout)
            .value,
    }
}

fn read_max_connections(table: &mut Table<'_>, default: &Common) -> u64 {
    table.number("max_connections_per_child", &(0..=u64::MAX), default.max_connections_per_child)
}

fn read_prefork(table: &mut Table<'_>) -> Prefork {
    let default = Prefork::default();
    let common = read_common(table, default.common.clone());
    Prefork {
        common,
        server_limit: table.number("server_limit", &COUNT, default.server_limit),
        max_request_workers: table.number("max_request_workers", &COUNT, default.max_request_workers),
        ..read_spares(table, default)
    }
}

/// The server's own pool says how long a graceful stop takes, and `server_limit` would have no task here: it bounds
/// what a reload may change, and a reload may change everything in this table.
fn read_pool_prefork(table: &mut Table<'_>) -> Prefork {
    let default = ModulePool::default().prefork;
    let common = Common {
        listen_backlog: table.number("listen_backlog", &POOL_BACKLOG, default.common.listen_backlog),
        max_connections_per_child: read_max_connections(table, &default.common),
        ..default.common
    };
    let max_request_workers = table.number("max_request_workers", &POOL_WORKERS, default.max_request_workers);
    let spares = read_spares(table, default);
    Prefork { common, on_demand: true, server_limit: max_request_workers.max(1), max_request_workers, ..spares }
}

fn read_spares(table: &mut Table<'_>, default: Prefork) -> Prefork {
    Prefork {
        start_servers: table.number("start_servers", &COUNT, default.start_servers),
        min_spare_servers: table.number("min_spare_servers", &COUNT, default.min_spare_servers),
        max_spare_servers: table.number("max_spare_servers", &COUNT, default.max_spare_servers),
        ..default
    }
}

fn read_worker(table: &mut Table<'_>) -> Worker {
    let default = Worker::default();
    Worker {
        common: read_common(table, default.common),
        start_servers: table.number("start_servers", &COUNT, default.start_servers),
        min_spare_threads: table.number("min_spare_threads", &COUNT, default.min_spare_threads),
        max_spare_threads: table.number("max_spare_threads", &COUNT, default.max_spare_threads),
        server_limit: table.number("server_limit", &COUNT, default.server_limit),
        thread_limit: table.number("thread_limit", &COUNT, default.thread_limit),
        threads_per_child: table.number("threads_per_child", &COUNT, default.threads_per_child),
        max_request_workers: table.number("max_request_workers", &COUNT, default.max_request_workers),
    }
}

fn read_event(table: &mut Table<'_>) -> Event {
    let default = Event::default();
    let common = read_common(table, default.common);
    let start_servers = table.number("start_servers", &COUNT, default.start_servers);
    Event {
        common,
        start_servers,
        threads_per_child: table.number("threads_per_child", &COUNT, Event::threads_per_child_for(start_servers)),
        server_limit: table.number("server_limit", &COUNT, default.server_limit),
        thread_limit: table.number("thread_limit", &COUNT, default.thread_limit),
        max_connections: table.number("max_connections", &COUNT, default.max_connections),
        max_requests_in_flight: table.number("max_requests_in_flight", &IN_FLIGHT, default.max_requests_in_flight),
    }
}
