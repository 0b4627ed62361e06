//! `rollback_on_errors`: whether a version that was just deployed fails so often that the one before is to come back. Decides
//! by two readings of its module's counters, and does nothing.

use crate::tally::{CAUSES, ModuleReading, NO_PLACE};

/// With fewer requests nothing is decided: one bad one would be a large share.
const REQUESTS_MIN: u64 = 10;

/// With so many it is over.
const REQUESTS_MAX: u64 = 100;

/// Causes that say nothing of a version: the server is overloaded, or has failed itself.
const NOT_ITS_OWN: [&str; 7] = ["no-room", "host", "pool-full", "queue-timeout", "no-pool", "bad-hop", NO_PLACE];

/// The first requests of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probation {
    /// Per cent of the requests that may fail.
    share_max: u8,
    /// What the counters had when it began to serve: they go on over versions.
    before: Count,
}

/// What is to become of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// There were too few requests: ask again.
    Undecided,
    /// It has passed.
    Passed,
    /// More than may have failed.
    RollBack {
        /// Of the requests since it began.
        failed: u64,
        requests: u64,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Count {
    requests: u64,
    failed: u64,
}

impl Count {
    fn of(reading: &ModuleReading) -> Count {
        let causes = CAUSES.iter().zip(reading.errors).filter(|(cause, _)| !NOT_ITS_OWN.contains(cause));
        Count { requests: reading.requests, failed: causes.map(|(_, count)| count).sum() }
    }

    fn since(self, before: Count) -> Count {
        if self.requests < before.requests {
            // All counters have begun anew meanwhile.
            return self;
        }
        Count { requests: self.requests - before.requests, failed: self.failed.saturating_sub(before.failed) }
    }
}

impl Probation {
    /// Of a version that begins to serve now, whose module may fail in so many per cent of its requests.
    #[must_use]
    pub fn begin(share_max: u8, reading: &ModuleReading) -> Probation {
        Probation { share_max, before: Count::of(reading) }
    }

    /// To be asked again and again, until it is decided.
    #[must_use]
    pub fn judge(&self, reading: &ModuleReading) -> Verdict {
        let Count { requests, failed } = Count::of(reading).since(self.before);
        if requests < REQUESTS_MIN {
            Verdict::Undecided
        } else if u128::from(failed) * 100 > u128::from(self.share_max) * u128::from(requests) {
            Verdict::RollBack { failed, requests }
        } else if requests < REQUESTS_MAX {
            Verdict::Undecided
        } else {
            Verdict::Passed
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::tally::{ModuleTallies, ModuleTally, Outcome};

    /// So many requests, of which so many fail for this reason.
    fn count(tally: &ModuleTally, requests: u64, failed: u64, fault: &'static str) {
        for number in 0..requests {
            let (status, fault) = if number < failed { (500, Some(fault)) } else { (200, None) };
            let took = Duration::from_micros(1);
            tally.request(&Outcome { status, fault, took, guest_cpu: took, bytes: 1 });
        }
    }

    /// After so many requests more, on a module that has had some before.
    fn verdict(share_max: u8, requests: u64, failed: u64) -> Verdict {
        let tally = ModuleTallies::new().unwrap().row(0);
        count(&tally, 50, 50, "trap");
        let probation = Probation::begin(share_max, &tally.read());
        count(&tally, requests, failed, "trap");
        probation.judge(&tally.read())
    }

    #[test]
    fn a_version_is_judged_from_its_tenth_request_to_its_hundredth() {
        assert_eq!(verdict(20, 9, 9), Verdict::Undecided);
        assert_eq!(verdict(20, 10, 3), Verdict::RollBack { failed: 3, requests: 10 });
        assert_eq!(verdict(20, 10, 2), Verdict::Undecided, "it is more than the share that counts");
        assert_eq!(verdict(20, 99, 19), Verdict::Undecided);
        assert_eq!(verdict(20, 100, 20), Verdict::Passed);
        assert_eq!(verdict(20, 100, 21), Verdict::RollBack { failed: 21, requests: 100 });
        // There may be many between two readings.
        assert_eq!(verdict(20, 5000, 2000), Verdict::RollBack { failed: 2000, requests: 5000 });
        assert_eq!(
            (verdict(0, 10, 0), verdict(0, 10, 1)),
            (Verdict::Undecided, Verdict::RollBack { failed: 1, requests: 10 })
        );
    }

    #[test]
    fn what_a_version_cannot_help_is_not_held_against_it() {
        for fault in NOT_ITS_OWN {
            assert!(CAUSES.contains(&fault), "{fault}");
            let tally = ModuleTallies::new().unwrap().row(0);
            let probation = Probation::begin(0, &tally.read());
            count(&tally, 100, 100, fault);
            assert_eq!(probation.judge(&tally.read()), Verdict::Passed, "{fault}");
        }
    }

    #[test]
    fn counters_that_begin_anew_are_counted_from_there() {
        let tally = ModuleTallies::new().unwrap().row(0);
        count(&tally, 50, 0, "trap");
        let probation = Probation::begin(20, &tally.read());
        tally.reset();
        count(&tally, 10, 5, "trap");
        assert_eq!(probation.judge(&tally.read()), Verdict::RollBack { failed: 5, requests: 10 });
    }
}
