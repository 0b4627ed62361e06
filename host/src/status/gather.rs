//! Takes the [`Snapshot`]: from the scoreboard, the tallies and the configuration that serves, as whoever looks knows it, a child
//! or the lookout, and from what `/proc` tells. Renders nothing, and changes nothing.
//!
//! What stands on the scoreboard is what children claim, one that was taken over included: it is shown, and apart from
//! a look-up that may find nothing it is never used to find anything.

use std::fs;
use std::time::{Duration, Instant};

use guesthouse_mpm::Scoreboard;
use guesthouse_mpm::scoreboard::{self, ChildReading, Status, ThreadReading};
use guesthouse_mpm::settings::Pool as PoolSettings;
use nix::unistd::{SysconfVar, sysconf};

use super::snapshot::{
    Bucket, Child, ChildCounts, ChildStatus, Connections, Latency, Memory, Module, Pool, Runs, Server, Snapshot,
};
use crate::clock::{self, Began};
use crate::config::Config;
use crate::deploy::PreparedModule;
use crate::tally::{CAUSES, Counters, ModuleReading, STATUS_CLASSES, latency};

/// How one of its processes sees the whole server.
#[derive(Debug)]
pub struct Observer {
    scoreboard: Scoreboard,
    generation: u32,
    /// When the parent did.
    began: Began,
    modules: Vec<PreparedModule>,
}

impl Observer {
    /// `generation`: the one that whoever looks knows to serve. `modules`: in the order of its configuration.
    #[must_use]
    pub fn new(scoreboard: Scoreboard, generation: u32, began: Began, modules: Vec<PreparedModule>) -> Self {
        Self { scoreboard, generation, began, modules }
    }

    /// The server now. `config` and `counters` are those of that generation.
    #[must_use]
    pub fn snapshot(&self, config: &Config, counters: &Counters, now: Instant) -> Snapshot {
        let pools = &config.mpm.pools;
        let (page_bytes, taken_at_secs) = (page_bytes(), clock::epoch_secs());
        let lines: Vec<Line> = (0..self.scoreboard.slots()).filter_map(|slot| self.line(slot, pools)).collect();
        let children = lines.iter().map(|line| line.told(pools, taken_at_secs, page_bytes)).collect();
        let modules: Vec<Module> = (config.modules.iter().zip(&self.modules).zip(&counters.modules))
            .map(|((settings, prepared), tally)| module(&settings.name, prepared, pools, &tally.read()))
            .collect();
        let uptime = now.saturating_duration_since(self.began.at);
        Snapshot {
            server: self.server(config, counters, &lines, &modules, uptime, taken_at_secs),
            pools: pools.iter().enumerate().map(|(index, pool)| pool_of(index, pool, &lines)).collect(),
            children,
            modules,
        }
    }

    fn server(
        &self,
        config: &Config,
        counters: &Counters,
        lines: &[Line],
        modules: &[Module],
        uptime: Duration,
        taken_at_secs: u64,
    ) -> Server {
        let own = counters.own.read();
        let own_lines = || lines.iter().filter(|line| line.serves_clients());
        let threads = |wanted: ThreadUse| {
            let uses = own_lines().flat_map(|line| line.threads.iter().map(|thread| line.use_of(thread)));
            uses.filter(|used| *used == wanted).count() as u64
        };
        Server {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            mpm: config.server_pool().mpm.name().to_owned(),
            generation: self.generation,
            taken_at_secs,
            started_at_secs: self.began.epoch_secs,
            uptime_secs: uptime.as_secs_f64(),
            counted_secs: uptime.saturating_sub(own.counted_from).as_secs_f64(),
            load: load(),
            requests: own.answers.iter().chain(modules.iter().map(|module| &module.requests)).fold(0, sum),
            bytes: modules.iter().map(|module| &module.bytes).fold(own.bytes, sum),
            own_answers: STATUS_CLASSES.iter().map(|class| (*class).to_owned()).zip(own.answers).collect(),
            threads_busy: threads(ThreadUse::Busy),
            threads_idle: threads(ThreadUse::Idle),
            threads_draining: threads(ThreadUse::Draining),
            connections: own_lines().map(Line::connections).fold(Connections::default(), together),
        }
    }

    /// A child that lives, if there is one in the slot.
    fn line(&self, slot: usize, pools: &[PoolSettings]) -> Option<Line> {
        let child = self.scoreboard.child(slot).read();
        let status = match child.status {
            scoreboard::ChildStatus::Dead => return None,
            scoreboard::ChildStatus::Starting => ChildStatus::Starting,
            scoreboard::ChildStatus::Ready => ChildStatus::Ready,
            scoreboard::ChildStatus::Draining => ChildStatus::Draining,
        };
        // One of the server's own that has not taken this generation over belongs to an earlier one.
        let is_current = child.generation == self.generation || status != ChildStatus::Draining;
        let pool = match child.pool {
            PoolSettings::OWN_KEY => is_current.then_some(0),
            key => pools.iter().skip(1).position(|pool| pool.key() == key).map(|behind| behind + 1),
        };
        let lines = self.scoreboard.threads_per_child();
        let mut threads: Vec<ThreadReading> =
            (0..lines).map(|thread| self.scoreboard.thread(slot, thread).read()).collect();
        // A child may have fewer threads than the board has lines for them.
        let known = pool.map_or(0, |index| pools[index].mpm.threads_per_child().min(lines));
        let alive = threads.iter().rposition(|thread| thread.status != Status::Dead).map_or(0, |last| last + 1);
        threads.truncate(known.max(alive));
        if status == ChildStatus::Starting {
            // Those that are not there yet are about to be.
            let missing = threads.iter_mut().filter(|thread| thread.status == Status::Dead);
            missing.for_each(|thread| thread.status = Status::Starting);
        }
        Some(Line { slot, child, status, pool, threads })
    }
}

/// A living child's line of the scoreboard, with those of its threads.
struct Line {
    slot: usize,
    child: ChildReading,
    status: ChildStatus,
    /// Index into the pools of the configuration; `None`: it belongs to another generation.
    pool: Option<usize>,
    threads: Vec<ThreadReading>,
}

/// What a thread is to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ThreadUse {
    Nobody,
    Idle,
    Busy,
    Draining,
}

impl Line {
    /// Whether it is of the server's own pool, which is the first in every configuration.
    fn serves_clients(&self) -> bool {
        self.child.pool == PoolSettings::OWN_KEY
    }

    fn use_of(&self, thread: &ThreadReading) -> ThreadUse {
        match (thread.status, self.status) {
            (Status::Dead, _) => ThreadUse::Nobody,
            (Status::Graceful, _) | (_, ChildStatus::Draining) => ThreadUse::Draining,
            (status, _) if status.is_idle() => ThreadUse::Idle,
            _ => ThreadUse::Busy,
        }
    }

    fn connections(&self) -> Connections {
        self.threads.iter().map(open).fold(Connections::default(), together)
    }

    fn told(&self, pools: &[PoolSettings], now_secs: u64, page_bytes: u64) -> Child {
        let pool = self.pool.map(|index| &pools[index]);
        Child {
            slot: self.slot,
            pid: self.child.pid,
            pool: pool.map(|pool| pool.name.clone()),
            mpm: pool.map(|pool| pool.mpm.name().to_owned()),
            serves_clients: self.serves_clients(),
            generation: self.child.generation,
            age_secs: now_secs.saturating_sub(self.child.started_at_secs),
            status: self.status,
            accepting: self.child.accepting,
            connections: self.connections(),
            threads: self.threads.iter().map(|thread| thread.status.letter()).collect(),
            requests: self.threads.iter().map(|thread| &thread.requests).fold(0, sum),
            bytes: self.threads.iter().map(|thread| &thread.bytes).fold(0, sum),
            memory: memory(self.child.pid, page_bytes),
        }
    }
}

/// A thread's connections. One that has a single connection at a time, under prefork and worker, does not count it: what
/// it does tells.
fn open(thread: &ThreadReading) -> Connections {
    let none = Connections::default();
    if thread.open != scoreboard::Connections::default() {
        return Connections {
            reading: thread.open.reading.into(),
            writing: thread.open.writing.into(),
            keep_alive: thread.open.idle.into(),
            waiting: thread.open.waiting.into(),
            lingering: thread.open.lingering.into(),
        };
    }
    match thread.status {
        Status::BusyRead => Connections { reading: 1, ..none },
        Status::BusyWrite => Connections { writing: 1, ..none },
        Status::BusyKeepAlive => Connections { keep_alive: 1, ..none },
        Status::Closing => Connections { lingering: 1, ..none },
        Status::BusyLog | Status::BusyDns => Connections { waiting: 1, ..none },
        Status::Dead | Status::Starting | Status::Ready | Status::Graceful | Status::IdleKill => none,
    }
}

fn pool_of(index: usize, pool: &PoolSettings, lines: &[Line]) -> Pool {
    let mut children = ChildCounts::default();
    for line in lines.iter().filter(|line| line.pool == Some(index)) {
        let is_busy = line.threads.iter().any(|thread| line.use_of(thread) == ThreadUse::Busy);
        *match line.status {
            ChildStatus::Starting => &mut children.starting,
            ChildStatus::Ready if is_busy => &mut children.busy,
            ChildStatus::Ready => &mut children.idle,
            ChildStatus::Draining => &mut children.draining,
        } += 1;
    }
    Pool {
        name: pool.name.clone(),
        mpm: pool.mpm.name().to_owned(),
        children,
        children_max: pool.mpm.children_max(),
        threads_per_child: pool.mpm.threads_per_child(),
    }
}

fn module(name: &str, prepared: &PreparedModule, pools: &[PoolSettings], reading: &ModuleReading) -> Module {
    let pool = prepared.pool.as_ref().and_then(|pool| pools.get(pool.index));
    let errors = CAUSES.iter().map(|cause| (*cause).to_owned()).zip(reading.errors).filter(|(_, count)| *count > 0);
    Module {
        name: name.to_owned(),
        kind: prepared.kind.name().to_owned(),
        version: prepared.facts.version.clone(),
        description: prepared.facts.description.clone(),
        runs: Runs::of(prepared),
        max_requests_per_instance: prepared.max_requests_per_instance,
        max_concurrent_requests_per_instance: prepared.max_concurrent_requests_per_instance,
        pool: pool.map(|pool| pool.name.clone()),
        requests: reading.requests,
        errors: errors.collect(),
        instances_made: reading.instances_made,
        instances_reused: reading.instances_reused,
        guest_cpu_secs: reading.guest_cpu.as_secs_f64(),
        bytes: reading.bytes,
        latency: Latency {
            p50_secs: reading.p50().map(|time| time.as_secs_f64()),
            p99_secs: reading.p99().map(|time| time.as_secs_f64()),
            total_secs: reading.took.as_secs_f64(),
            buckets: buckets(reading),
        },
    }
}

fn buckets(reading: &ModuleReading) -> Vec<Bucket> {
    let bucket = |(index, requests): (usize, u64)| Bucket {
        up_to_secs: latency::bound(index).map(|bound| bound.as_secs_f64()),
        requests,
    };
    reading.buckets.into_iter().enumerate().filter(|(_, requests)| *requests > 0).map(bucket).collect()
}

/// Counters that a hostile child wrote must not end one that only looks.
fn sum(all: u64, one: &u64) -> u64 {
    all.saturating_add(*one)
}

fn together(all: Connections, more: Connections) -> Connections {
    Connections {
        reading: all.reading + more.reading,
        writing: all.writing + more.writing,
        keep_alive: all.keep_alive + more.keep_alive,
        waiting: all.waiting + more.waiting,
        lingering: all.lingering + more.lingering,
    }
}

fn page_bytes() -> u64 {
    let size = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    size.and_then(|size| u64::try_from(size).ok()).unwrap_or(4096)
}

/// A pid that is not there, or is no pid, has no memory. One that is somebody else's shows no more than anybody can see.
fn memory(pid: i32, page_bytes: u64) -> Option<Memory> {
    if pid <= 0 {
        return None;
    }
    statm(&fs::read_to_string(format!("/proc/{pid}/statm")).ok()?, page_bytes)
}

/// `/proc/PID/statm`: size, resident, shared and more, in pages.
fn statm(text: &str, page_bytes: u64) -> Option<Memory> {
    let mut pages = text.split_whitespace().skip(1).map(str::parse::<u64>);
    let (resident, shared) = (pages.next()?.ok()?, pages.next()?.ok()?);
    // Without a page it is a process that has ended and was not reaped yet.
    (resident > 0).then(|| Memory {
        private: resident.saturating_sub(shared).saturating_mul(page_bytes),
        resident: resident.saturating_mul(page_bytes),
    })
}

fn load() -> Option<[f64; 3]> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    let mut numbers = text.split(' ').map_while(|word| word.parse::<f64>().ok());
    Some([numbers.next()?, numbers.next()?, numbers.next()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thread(status: Status) -> ThreadReading {
        ThreadReading { status, requests: u64::MAX, connections: 0, bytes: 1, open: scoreboard::Connections::default() }
    }

    fn line(status: ChildStatus, threads: &[Status]) -> Line {
        let child = ChildReading {
            status: scoreboard::ChildStatus::Ready,
            pid: -1,
            generation: 7,
            pool: u64::MAX,
            started_at_secs: u64::MAX,
            accepting: true,
        };
        Line { slot: 3, child, status, pool: None, threads: threads.iter().copied().map(thread).collect() }
    }

    #[test]
    fn what_a_hostile_child_claims_is_shown_and_does_no_harm() {
        let line = line(ChildStatus::Ready, &[Status::BusyRead, Status::Dead, Status::Ready]);
        let child = line.told(&[], 100, 4096);
        assert_eq!((child.pid, child.age_secs, child.requests), (-1, 0, u64::MAX));
        assert_eq!((child.threads.as_str(), child.pool, child.memory), ("R._", None, None));
    }

    #[test]
    fn a_thread_is_counted_once() {
        let ready = line(ChildStatus::Ready, &[]);
        let draining = line(ChildStatus::Draining, &[]);
        for (line, status, expected) in [
            (&ready, Status::Dead, ThreadUse::Nobody),
            (&ready, Status::Ready, ThreadUse::Idle),
            (&ready, Status::Starting, ThreadUse::Idle),
            (&ready, Status::BusyKeepAlive, ThreadUse::Busy),
            (&ready, Status::Graceful, ThreadUse::Draining),
            (&draining, Status::BusyWrite, ThreadUse::Draining),
            (&draining, Status::Dead, ThreadUse::Nobody),
        ] {
            assert_eq!(line.use_of(&thread(status)), expected, "{status:?}");
        }
    }

    #[test]
    fn a_thread_that_counts_no_connections_has_the_one_that_it_is_busy_with() {
        let mut busy = thread(Status::BusyKeepAlive);
        assert_eq!(open(&busy), Connections { keep_alive: 1, ..Connections::default() });
        busy.open.reading = 7;
        assert_eq!(open(&busy), Connections { reading: 7, ..Connections::default() });
        assert_eq!(open(&thread(Status::Ready)).total(), 0);
    }

    #[test]
    fn a_childs_memory_is_read_in_pages() {
        let memory = statm("4000 1000 600 300 0 500 0\n", 4096).unwrap();
        assert_eq!((memory.private, memory.resident), (400 * 4096, 1000 * 4096));
        assert_eq!(statm("0 0 0 0 0 0 0\n", 4096), None);
        assert_eq!(statm("", 4096), None);
        assert!(super::memory(std::process::id().cast_signed(), page_bytes()).is_some());
    }

    #[test]
    fn the_machines_load_is_read() {
        assert!(load().unwrap().iter().all(|load| *load >= 0.0));
    }
}
