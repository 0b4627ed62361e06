//! The server at one moment, as plain data. Its JSON is what `?json` answers and what `guesthouse status` reads; the
//! other renderings show the same.
//!
//! Times are in seconds, sizes in bytes. Nothing here looks at anything: gathering is [`gather`](super::gather)'s.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::deploy::PreparedModule;

/// See the file's head.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    pub server: Server,
    /// Of the generation that answers; the server's own pool first.
    pub pools: Vec<Pool>,
    /// Every child that lives, those of earlier generations included, in the order of the scoreboard.
    pub children: Vec<Child>,
    /// In the order of the configuration.
    pub modules: Vec<Module>,
}

/// The server as a whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Server {
    /// Of Guesthouse.
    pub version: String,
    /// Of the server's own pool.
    pub mpm: String,
    /// How often the configuration was taken over anew; 0 at first.
    pub generation: u32,
    /// Since the Unix epoch.
    pub taken_at_secs: u64,
    /// Since the Unix epoch.
    pub started_at_secs: u64,
    pub uptime_secs: f64,
    /// How long has been counted: since the start, or since the last restart (HUP).
    pub counted_secs: f64,
    /// The machine's load averages over 1, 5 and 15 minutes; `None` if it does not tell.
    pub load: Option<[f64; 3]>,
    /// Answered by modules and by the server itself.
    pub requests: u64,
    /// Of the answers' bodies.
    pub bytes: u64,
    /// Answers that the server gave by itself, by class of the status ("2xx").
    pub own_answers: BTreeMap<String, u64>,
    /// Of the server's own pool, as are the next.
    pub threads_busy: u64,
    pub threads_idle: u64,
    /// Of children that drain.
    pub threads_draining: u64,
    /// Of clients, open now.
    pub connections: Connections,
}

/// Connections that are open now, by what they wait for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    /// For more of a request.
    pub reading: u64,
    /// For the client to take more of an answer.
    pub writing: u64,
    /// For the next request.
    pub keep_alive: u64,
    /// For a guest, or for a place to run one.
    pub waiting: u64,
    /// For the client to close.
    pub lingering: u64,
}

impl Connections {
    /// All together.
    #[must_use]
    pub fn total(&self) -> u64 {
        let Self { reading, writing, keep_alive, waiting, lingering } = *self;
        reading + writing + keep_alive + waiting + lingering
    }

    /// In the order in which they are shown everywhere.
    #[must_use]
    pub fn by_state(&self) -> [(&'static str, u64); 5] {
        [
            ("reading", self.reading),
            ("writing", self.writing),
            ("keep-alive", self.keep_alive),
            ("waiting", self.waiting),
            ("lingering", self.lingering),
        ]
    }
}

/// A pool of children.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// "server" is the server's own; any other is named as the module that is confined in it.
    pub name: String,
    pub mpm: String,
    pub children: ChildCounts,
    /// How many children there can be at once, those that drain not counted.
    pub children_max: usize,
    pub threads_per_child: usize,
}

/// Children of one generation by what they do; each is counted once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildCounts {
    pub starting: usize,
    /// With a thread at least that is busy.
    pub busy: usize,
    pub idle: usize,
    pub draining: usize,
}

impl ChildCounts {
    /// Those that take something new, or will.
    #[must_use]
    pub fn serving(&self) -> usize {
        self.starting + self.busy + self.idle
    }

    /// In the order in which they are shown everywhere.
    #[must_use]
    pub fn by_state(&self) -> [(&'static str, usize); 4] {
        [("starting", self.starting), ("busy", self.busy), ("idle", self.idle), ("draining", self.draining)]
    }
}

/// A child process, by its own word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Child {
    /// Line of the scoreboard.
    pub slot: usize,
    pub pid: i32,
    /// `None`: of an earlier generation, whose pools are not known any more.
    pub pool: Option<String>,
    /// `None`: likewise.
    pub mpm: Option<String>,
    /// Belongs to the server's own pool.
    pub serves_clients: bool,
    pub generation: u32,
    pub age_secs: u64,
    pub status: ChildStatus,
    /// Takes new connections at the moment.
    pub accepting: bool,
    pub connections: Connections,
    /// A letter for each thread, as in Apache's mod_status.
    pub threads: String,
    /// That guests of this slot answered, under earlier children too.
    pub requests: u64,
    /// Sent by this slot, likewise.
    pub bytes: u64,
    /// `None`: the process is gone by now.
    pub memory: Option<Memory>,
}

/// What a child is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChildStatus {
    Starting,
    Ready,
    /// Finishes what is open.
    Draining,
}

impl ChildStatus {
    /// As the JSON has it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            ChildStatus::Starting => "starting",
            ChildStatus::Ready => "ready",
            ChildStatus::Draining => "draining",
        }
    }
}

/// Memory of a process, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Resident and not of a file: what would be free without it, apart from what it still shares with its parent.
    pub private: u64,
    /// All that is resident, shared code included.
    pub resident: u64,
}

/// A module. What is counted is counted since the start, or since the last restart (HUP).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Module {
    pub name: String,
    /// What it exports: "http-incoming-handler", "http-handler"...
    pub kind: String,
    /// By its own word, as is the next.
    pub version: Option<String>,
    pub description: Option<String>,
    pub runs: Runs,
    /// 1: a fresh one for each; 0: never retired.
    pub max_requests_per_instance: u64,
    /// More than 1 only where a module's kind serves many at once.
    pub max_concurrent_requests_per_instance: usize,
    /// Name of the pool that it is confined in.
    pub pool: Option<String>,
    pub requests: u64,
    /// Requests that failed, by cause; causes that never occurred are left out.
    pub errors: BTreeMap<String, u64>,
    pub instances_made: u64,
    /// Requests served by an instance that had served before.
    pub instances_reused: u64,
    pub guest_cpu_secs: f64,
    /// Of the answers' bodies.
    pub bytes: u64,
    pub latency: Latency,
}

impl Module {
    /// Requests that failed.
    #[must_use]
    pub fn errors_total(&self) -> u64 {
        self.errors.values().fold(0, |sum, count| sum.saturating_add(*count))
    }
}

/// How a module's requests share processes and threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Runs {
    /// It is thread-safe: on the server's own threads.
    Shared,
    /// It is not: in a pool of its own, one request at a time in each process.
    Confined,
    /// It is not, and need not be: under prefork it lives in each of the server's children.
    Resident,
}

impl Runs {
    /// How those of this module do.
    #[must_use]
    pub fn of(module: &PreparedModule) -> Self {
        match (module.thread_safe, &module.pool) {
            (true, _) => Runs::Shared,
            (false, Some(_)) => Runs::Confined,
            (false, None) => Runs::Resident,
        }
    }

    /// As the JSON has it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Runs::Shared => "shared",
            Runs::Confined => "confined",
            Runs::Resident => "resident",
        }
    }
}

/// How long requests took, from the whole head to the end of the answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Half of the requests took no longer; within 25 %. `None`: there was no request.
    pub p50_secs: Option<f64>,
    /// 99 of 100 took no longer, likewise.
    pub p99_secs: Option<f64>,
    /// Of all requests together.
    pub total_secs: f64,
    /// Requests by how long they took, ascending; those in which there was none are left out.
    pub buckets: Vec<Bucket>,
}

/// Requests that took longer than the bucket before reaches, and no longer than this one does.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bucket {
    /// `None`: however long.
    pub up_to_secs: Option<f64>,
    pub requests: u64,
}

impl Snapshot {
    /// The pool that a module is confined in.
    #[must_use]
    pub fn pool_of(&self, module: &Module) -> Option<&Pool> {
        let name = module.pool.as_ref()?;
        // The first one is the server's own, whatever a module is called.
        self.pools.iter().skip(1).find(|pool| pool.name == *name)
    }

    /// The children of the server's own pool, whatever their generation.
    pub fn own_children(&self) -> impl Iterator<Item = &Child> {
        self.children.iter().filter(|child| child.serves_clients)
    }
}
