//! `rollback_on_errors`: whether a version that was just deployed fails so often that the one before is to come back. Decides
//! by what was counted of its requests alone, and does nothing.

use crate::tally::{CAUSES, ModuleReading, NO_PLACE};

/// With fewer requests nothing is decided: one bad one would be a large share.
const REQUESTS_MIN: u64 = 10;

/// With so many it is over.
const REQUESTS_MAX: u64 = 100;

/// Causes that say nothing of a version: the server is overloaded, or has failed itself.
const NOT_ITS_OWN: [&str; 7] = ["no-room", "host", "pool-full", "queue-timeout", "no-pool", "bad-hop", NO_PLACE];

/// What is to become of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// There were too few requests: ask again.
    Undecided,
    /// It has passed.
    Passed,
    /// More than may have failed.
    RollBack {
        /// Of so many requests.
        failed: u64,
        requests: u64,
    },
}

/// To be asked again and again, until it is decided. `share_max`: per cent of the requests that may fail. `reading`: what was
/// counted of the version, and of no other.
#[must_use]
pub fn judge(share_max: u8, reading: &ModuleReading) -> Verdict {
    let causes = CAUSES.iter().zip(reading.errors).filter(|(cause, _)| !NOT_ITS_OWN.contains(cause));
    let (requests, failed) = (reading.requests, causes.map(|(_, count)| count).sum());
    if requests < REQUESTS_MIN {
        Verdict::Undecided
    } else if u128::from(failed) * 100 > u128::from(share_max) * u128::from(requests) {
        Verdict::RollBack { failed, requests }
    } else if is_over(reading) {
        Verdict::Passed
    } else {
        Verdict::Undecided
    }
}

/// Whether a version has had so many requests that what comes now says nothing of whether it was good when it came.
#[must_use]
pub fn is_over(reading: &ModuleReading) -> bool {
    reading.requests >= REQUESTS_MAX
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

    fn verdict(share_max: u8, requests: u64, failed: u64) -> Verdict {
        let tally = ModuleTallies::new().unwrap().row(0);
        count(&tally, requests, failed, "trap");
        judge(share_max, &tally.read())
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
            count(&tally, 100, 100, fault);
            assert_eq!(judge(0, &tally.read()), Verdict::Passed, "{fault}");
        }
    }
}
