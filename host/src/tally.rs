//! What is counted of each module's requests, and of the answers that the server gives by itself: in memory that all
//! children share and that outlives them. Only counting and reading; which row a module counts in is in [`rows`], and who shows
//! it is [`status`](crate::status).

use std::io;
use std::time::Duration;

use guesthouse_mpm::scoreboard::Tallies;
use serde::{Deserialize, Serialize};

use self::latency::{BUCKET_COUNT, bucket_of, nanoseconds};

pub mod latency;
pub mod rows;

/// Why requests fail, in one word each: those of [`Fault::kind`](crate::guest::Fault::kind), and the last three.
pub const CAUSES: [&str; 21] = [
    "trap",
    "exit",
    "no-answer",
    "error-code",
    "bad-answer",
    "broken-off",
    "memory-limit",
    "instance-lost",
    "wall-limit",
    "cpu-limit",
    "response-limit",
    "no-room",
    "host",
    "pool-full",
    "queue-timeout",
    "no-pool",
    "child-gone",
    "bad-hop",
    NO_PLACE,
    ANSWERED,
    OTHER,
];

/// The request found no place in time (`max_requests_in_flight`).
pub const NO_PLACE: &str = "no-place";

/// The guest itself answered with a status of 500 or more.
pub const ANSWERED: &str = "answered-5xx";

/// A cause that has no counter of its own.
const OTHER: &str = "other";

/// How a request for a module ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// As the client was told.
    pub status: u16,
    /// Why the guest's answer was not to be had, or was not whole: [`Fault::kind`](crate::guest::Fault::kind).
    pub fault: Option<&'static str>,
    /// From the whole head of the request to the end of the answer.
    pub took: Duration,
    pub guest_cpu: Duration,
    /// Of the answer's body.
    pub bytes: u64,
}

impl Outcome {
    /// Index into [`CAUSES`] if the request failed.
    fn cause(&self) -> Option<usize> {
        let word = match self.fault {
            Some(kind) => kind,
            None if self.status >= 500 => ANSWERED,
            None => return None,
        };
        let known = CAUSES.iter().position(|cause| *cause == word);
        Some(known.unwrap_or(CAUSES.len() - 1))
    }
}

// The columns of a module's counters. How many requests there were is the sum over the buckets.
const INSTANCES_MADE: usize = 0;
const INSTANCES_REUSED: usize = 1;
const GUEST_CPU_NS: usize = 2;
const BYTES: usize = 3;
const TOOK_NS: usize = 4;
const ERRORS: usize = 5;
const BUCKETS: usize = ERRORS + CAUSES.len();
const MODULE_COLUMNS: usize = BUCKETS + BUCKET_COUNT;

/// How many modules can be counted at a time. Memory is used for those that are there only.
pub const MODULES_MAX: usize = 4096;

/// The counters of all modules, a row for each: made before the first fork, so that every process of the server has those of
/// modules that come later, too. A handle, as the rows are.
#[derive(Debug, Clone)]
pub struct ModuleTallies(Tallies);

impl ModuleTallies {
    /// All at zero.
    ///
    /// # Errors
    /// The memory is not to be had.
    pub fn new() -> io::Result<Self> {
        Tallies::new(MODULES_MAX * MODULE_COLUMNS).map(Self)
    }

    /// The counters of one module. Any number is a row.
    #[must_use]
    pub fn row(&self, row: usize) -> ModuleTally {
        ModuleTally { tallies: self.0.clone(), first: first_column(row), of_version: None, shard: 0 }
    }

    /// The counters of one module, which count those of its version too.
    fn both(&self, Row { module, version }: Row) -> ModuleTally {
        ModuleTally { of_version: version.map(first_column), ..self.row(module) }
    }
}

fn first_column(row: usize) -> usize {
    row % MODULES_MAX * MODULE_COLUMNS
}

/// Where the requests of a module are counted: rows of the [`ModuleTallies`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    pub module: usize,
    /// Those to this version alone, if somebody wants to know: one before it may still have some under way.
    pub version: Option<usize>,
}

/// The counters of one module. A handle: all copies count in the same memory, also after `fork`.
#[derive(Debug, Clone)]
pub struct ModuleTally {
    tallies: Tallies,
    /// Column.
    first: usize,
    /// That of its version, where that is counted by itself.
    of_version: Option<usize>,
    shard: usize,
}

/// A module's counters at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleReading {
    /// Requests that have ended.
    pub requests: u64,
    /// How many of them failed, by cause, in the order of [`CAUSES`].
    pub errors: [u64; CAUSES.len()],
    pub instances_made: u64,
    /// Requests served by an instance that had served before.
    pub instances_reused: u64,
    pub guest_cpu: Duration,
    /// Of the answers' bodies.
    pub bytes: u64,
    /// Of all requests together.
    pub took: Duration,
    /// Requests by how long they took; see [`latency`].
    pub buckets: [u64; BUCKET_COUNT],
}

impl ModuleTally {
    /// The same counters, for a child to count with. Children of different slots do not slow each other down.
    #[must_use]
    pub fn of_slot(&self, slot: usize) -> Self {
        Self { shard: slot, ..self.clone() }
    }

    /// Counts a request that has ended.
    pub fn request(&self, outcome: &Outcome) {
        self.add(TOOK_NS, nanoseconds(outcome.took));
        self.add(GUEST_CPU_NS, nanoseconds(outcome.guest_cpu));
        self.add(BYTES, outcome.bytes);
        // Of a version, only how many there were and how many failed.
        for first in [Some(self.first), self.of_version].into_iter().flatten() {
            self.tallies.add(self.shard, first + BUCKETS + bucket_of(outcome.took), 1);
            if let Some(cause) = outcome.cause() {
                self.tallies.add(self.shard, first + ERRORS + cause, 1);
            }
        }
    }

    /// Counts a fresh instance.
    pub fn instance_made(&self) {
        self.add(INSTANCES_MADE, 1);
    }

    /// Counts a call of an instance that has served before.
    pub fn instance_reused(&self) {
        self.add(INSTANCES_REUSED, 1);
    }

    fn add(&self, column: usize, more: u64) {
        self.tallies.add(self.shard, self.first + column, more);
    }

    /// What all children have counted together. Requests that end meanwhile may be in some of the numbers only.
    #[must_use]
    pub fn read(&self) -> ModuleReading {
        let sum = |column| self.tallies.sum(self.first + column);
        let buckets = std::array::from_fn(|bucket| sum(BUCKETS + bucket));
        ModuleReading {
            requests: buckets.iter().fold(0, |sum: u64, count| sum.wrapping_add(*count)),
            errors: std::array::from_fn(|cause| sum(ERRORS + cause)),
            instances_made: sum(INSTANCES_MADE),
            instances_reused: sum(INSTANCES_REUSED),
            guest_cpu: Duration::from_nanos(sum(GUEST_CPU_NS)),
            bytes: sum(BYTES),
            took: Duration::from_nanos(sum(TOOK_NS)),
            buckets,
        }
    }

    /// Begins to count anew; what is counted of its version stays.
    pub fn reset(&self) {
        self.tallies.reset_columns(self.first..self.first + MODULE_COLUMNS);
    }
}

impl ModuleReading {
    /// Requests that failed. Counters that a hostile child wrote must not end one that only looks.
    #[must_use]
    pub fn errors_total(&self) -> u64 {
        self.errors.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// The time that half of the requests did not exceed; `None` without a request.
    #[must_use]
    pub fn p50(&self) -> Option<Duration> {
        latency::percentile(&self.buckets, 50)
    }

    /// The time that 99 of 100 requests did not exceed; `None` without a request.
    #[must_use]
    pub fn p99(&self) -> Option<Duration> {
        latency::percentile(&self.buckets, 99)
    }
}

/// Counters of the answers that no module gave: fixed texts, refusals, pages that nobody serves.
#[derive(Debug, Clone)]
pub struct OwnTally {
    tallies: Tallies,
    shard: usize,
}

/// The classes of statuses that are told apart: 2xx to 5xx.
pub const STATUS_CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

/// The server's own answers at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OwnReading {
    /// In the order of [`STATUS_CLASSES`].
    pub answers: [u64; STATUS_CLASSES.len()],
    /// Of the answers' bodies.
    pub bytes: u64,
    /// How long after the server's start all counters last began anew.
    pub counted_from: Duration,
}

// The columns of the server's own counters, behind one for each class.
const OWN_BYTES: usize = STATUS_CLASSES.len();
const COUNTED_FROM_NS: usize = OWN_BYTES + 1;
const OWN_COLUMNS: usize = COUNTED_FROM_NS + 1;

impl OwnTally {
    /// Counters at zero.
    ///
    /// # Errors
    /// The memory is not to be had.
    pub fn new() -> io::Result<Self> {
        Ok(Self { tallies: Tallies::new(OWN_COLUMNS)?, shard: 0 })
    }

    /// As [`ModuleTally::of_slot`].
    #[must_use]
    pub fn of_slot(&self, slot: usize) -> Self {
        Self { tallies: self.tallies.clone(), shard: slot }
    }

    /// Counts an answer.
    pub fn answer(&self, status: u16, bytes: u64) {
        let class = usize::from(status / 100).clamp(2, 5) - 2;
        self.tallies.add(self.shard, class, 1);
        self.tallies.add(self.shard, OWN_BYTES, bytes);
    }

    /// As [`ModuleTally::read`].
    #[must_use]
    pub fn read(&self) -> OwnReading {
        OwnReading {
            answers: std::array::from_fn(|class| self.tallies.sum(class)),
            bytes: self.tallies.sum(OWN_BYTES),
            counted_from: Duration::from_nanos(self.tallies.sum(COUNTED_FROM_NS)),
        }
    }

    /// Begins to count anew. `uptime`: of the server, which children that live already learn in this way only.
    pub fn reset(&self, uptime: Duration) {
        self.tallies.reset();
        self.tallies.add(self.shard, COUNTED_FROM_NS, nanoseconds(uptime));
    }
}

/// The counters of the whole server, whichever modules it has.
#[derive(Debug, Clone)]
pub struct Counting {
    pub own: OwnTally,
    pub modules: ModuleTallies,
}

impl Counting {
    /// All at zero.
    ///
    /// # Errors
    /// The memory is not to be had.
    pub fn new() -> io::Result<Self> {
        Ok(Self { own: OwnTally::new()?, modules: ModuleTallies::new()? })
    }

    /// Those of modules that count in these rows.
    pub fn of(&self, rows: impl Iterator<Item = Row>) -> Counters {
        Counters { own: self.own.clone(), modules: rows.map(|row| self.modules.both(row)).collect() }
    }
}

/// All that is counted for one reading of the configuration.
#[derive(Debug, Clone)]
pub struct Counters {
    pub own: OwnTally,
    /// In the order of the configuration's modules.
    pub modules: Vec<ModuleTally>,
}

impl Counters {
    /// As [`ModuleTally::of_slot`].
    #[must_use]
    pub fn of_slot(&self, slot: usize) -> Self {
        let modules = self.modules.iter().map(|module| module.of_slot(slot));
        Self { own: self.own.of_slot(slot), modules: modules.collect() }
    }

    /// As [`OwnTally::reset`].
    pub fn reset(&self, uptime: Duration) {
        self.own.reset(uptime);
        self.modules.iter().for_each(ModuleTally::reset);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(status: u16, fault: Option<&'static str>) -> Outcome {
        Outcome { status, fault, took: Duration::from_micros(400), guest_cpu: Duration::from_micros(30), bytes: 12 }
    }

    fn errors(reading: &ModuleReading) -> Vec<(&'static str, u64)> {
        CAUSES.into_iter().zip(reading.errors).filter(|(_, count)| *count > 0).collect()
    }

    #[test]
    fn requests_of_several_children_add_up() {
        let tally = ModuleTallies::new().unwrap().row(0);
        for slot in [0, 1, 16, 1_000_000] {
            let tally = tally.of_slot(slot);
            tally.instance_made();
            tally.request(&outcome(200, None));
        }
        tally.of_slot(1).instance_reused();
        let reading = tally.read();
        assert_eq!((reading.requests, reading.bytes), (4, 48));
        assert_eq!((reading.instances_made, reading.instances_reused), (4, 1));
        assert_eq!((reading.guest_cpu, reading.took), (Duration::from_micros(120), Duration::from_micros(1600)));
        assert_eq!(errors(&reading), []);
        let p50 = reading.p50().unwrap();
        assert!(Duration::from_micros(300) < p50 && p50 < Duration::from_micros(500), "{p50:?}");
        tally.reset();
        assert_eq!((tally.read().requests, tally.read().p99()), (0, None));
    }

    #[test]
    fn rows_do_not_touch_each_other() {
        let tallies = ModuleTallies::new().unwrap();
        let rows = [0, 1, 2, MODULES_MAX - 1].map(|row| tallies.row(row));
        rows[1].request(&outcome(500, Some("trap")));
        rows[3].of_slot(5).request(&outcome(200, None));
        assert_eq!(rows.each_ref().map(|row| row.read().requests), [0, 1, 0, 1]);
        rows[1].reset();
        assert_eq!(rows.each_ref().map(|row| row.read().requests), [0, 0, 0, 1]);
        assert_eq!(errors(&rows[2].read()), []);
    }

    #[test]
    fn a_version_is_counted_beside_its_module_and_by_itself() {
        let counting = Counting::new().unwrap();
        let counters = |version| counting.of([Row { module: 0, version: Some(version) }].into_iter()).of_slot(3);
        let (one, two) = (counters(1), counters(2));
        one.modules[0].request(&outcome(500, Some("trap")));
        two.modules[0].request(&outcome(200, None));
        // One that began before the next version came.
        one.modules[0].request(&outcome(504, Some("wall-limit")));
        let read = |row: usize| counting.modules.row(row).read();
        assert_eq!([0, 1, 2].map(|row| read(row).requests), [3, 2, 1]);
        assert_eq!(errors(&read(1)), [("trap", 1), ("wall-limit", 1)]);
        assert_eq!(errors(&read(2)), []);
        two.reset(Duration::ZERO);
        assert_eq!([0, 1, 2].map(|row| read(row).requests), [0, 2, 1]);
    }

    #[test]
    fn a_request_that_failed_has_one_cause() {
        let tally = ModuleTallies::new().unwrap().row(3);
        tally.request(&outcome(500, Some("trap")));
        tally.request(&outcome(504, Some("wall-limit")));
        // The answer had begun when the guest left it.
        tally.request(&outcome(200, Some("broken-off")));
        tally.request(&outcome(503, None));
        tally.request(&outcome(404, None));
        tally.request(&outcome(500, Some("a cause of tomorrow")));
        let reading = tally.read();
        assert_eq!(reading.requests, 6);
        assert_eq!(
            errors(&reading),
            [("trap", 1), ("broken-off", 1), ("wall-limit", 1), ("answered-5xx", 1), ("other", 1)]
        );
    }

    #[test]
    fn the_servers_own_answers_are_counted_by_class() {
        let tally = OwnTally::new().unwrap();
        for status in [200, 204, 404, 408, 503, 999, 0] {
            tally.of_slot(3).answer(status, 10);
        }
        assert_eq!(tally.read(), OwnReading { answers: [3, 0, 2, 2], bytes: 70, counted_from: Duration::ZERO });
        tally.reset(Duration::from_secs(9));
        tally.reset(Duration::from_secs(10));
        let anew = OwnReading { counted_from: Duration::from_secs(10), ..OwnReading::default() };
        assert_eq!(tally.read(), anew);
    }
}
