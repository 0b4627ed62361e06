//! How fast children may be started in place of those that died. Pure: the time is handed in.
//!
//! A death costs its own requests only, so its replacement must not wait; a death *loop* must not eat the machine.
//! What tells them apart is how long the child had served:
//! - it had served for a second or more: replaced at once, always;
//! - it died younger: replaced at once while there are no more than [`RATE`] of these a second, with
//!   [`BURST`] to spare (a tester or an out-of-memory killer that shoots a child every 100 ms meets no delay);
//! - it died before it was ready, again and again: from the third on, one attempt at a time, after a delay that
//!   doubles from 100 ms to 5 s.

use std::time::{Duration, Instant};

/// Deaths of young children a second that are made up for.
pub(super) const RATE: u32 = 10;
/// Young deaths at once that are made up for without a delay.
pub(super) const BURST: u32 = 5;
/// Failed starts in a row after which the next one is not likely to go better.
pub(super) const HOPELESS: u32 = 3;

const INTERVAL: Duration = Duration::from_millis(1000 / RATE as u64);
const DELAY_MIN: Duration = Duration::from_millis(100);
const DELAY_MAX: Duration = Duration::from_secs(5);
/// The machine is short of processes, memory or descriptors: look again after this. Apache sleeps for ten seconds,
/// but it must sleep to wait.
const SHORTAGE_DELAY: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Default)]
pub(super) struct Pace {
    /// In a row; a child that becomes ready ends it.
    failed_starts: u32,
    /// When all young deaths so far have been made up for at [`RATE`].
    made_up_at: Option<Instant>,
    paused_until: Option<Instant>,
}

impl Pace {
    pub(super) fn ready(&mut self) {
        self.failed_starts = 0;
    }

    /// A child died soon after it had become ready.
    pub(super) fn young_death(&mut self, now: Instant) {
        let made_up_at = self.made_up_at.map_or(now, |at| at.max(now)) + INTERVAL;
        self.made_up_at = Some(made_up_at);
        self.pause_until(made_up_at.checked_sub(INTERVAL * BURST).unwrap_or(now));
    }

    /// A child could not start, or died before it was ready.
    pub(super) fn failed_start(&mut self, now: Instant) {
        self.young_death(now);
        self.failed_starts = self.failed_starts.saturating_add(1);
        if self.failed_starts >= HOPELESS {
            let doublings = (self.failed_starts - HOPELESS).min(16);
            self.pause_until(now + (DELAY_MIN * (1 << doublings)).min(DELAY_MAX));
        }
    }

    /// The machine has not enough of something for another child.
    pub(super) fn shortage(&mut self, now: Instant) {
        self.pause_until(now + SHORTAGE_DELAY);
    }

    pub(super) fn failed_starts(&self) -> u32 {
        self.failed_starts
    }

    /// How many children may be forked now, when `starting` of them are not ready yet.
    pub(super) fn allowed(&self, starting: usize, now: Instant) -> usize {
        if self.paused(now).is_some() {
            0
        } else if self.failed_starts >= HOPELESS {
            1_usize.saturating_sub(starting)
        } else {
            usize::MAX
        }
    }

    /// Until when none may be.
    pub(super) fn paused(&self, now: Instant) -> Option<Instant> {
        self.paused_until.filter(|&until| until > now)
    }

    fn pause_until(&mut self, until: Instant) {
        self.paused_until = Some(self.paused_until.map_or(until, |before| before.max(until)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Replaces children that die `lifetime` after their fork as fast as is allowed, for ten seconds.
    fn forks_in_ten_seconds(died: impl Fn(&mut Pace, Instant), lifetime: Duration) -> usize {
        let start = Instant::now();
        let (mut pace, mut now, mut forks) = (Pace::default(), start, 0);
        while now < start + Duration::from_secs(10) {
            if pace.allowed(0, now) > 0 {
                forks += 1;
                now += lifetime;
                died(&mut pace, now);
            } else {
                now = pace.paused(now).expect("nothing is allowed and nothing to wait for");
            }
        }
        forks
    }

    #[test]
    fn nothing_is_held_back_at_first() {
        assert_eq!(Pace::default().allowed(7, Instant::now()), usize::MAX);
    }

    #[test]
    fn children_that_die_young_are_replaced_ten_times_a_second() {
        let forks = forks_in_ten_seconds(Pace::young_death, MS);
        assert!((95..=106).contains(&forks), "{forks}");
    }

    #[test]
    fn a_death_every_hundred_milliseconds_is_made_up_for_at_once() {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        for _ in 0..1000 {
            now += 100 * MS;
            pace.young_death(now);
            assert_eq!(pace.allowed(0, now), usize::MAX);
        }
    }

    #[test]
    fn children_that_cannot_start_are_tried_ever_more_rarely() {
        let forks = forks_in_ten_seconds(Pace::failed_start, MS);
        assert!((7..=12).contains(&forks), "{forks}");
    }

    #[test]
    fn the_delay_grows_to_five_seconds_and_no_further() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        for _ in 0..1000 {
            pace = Pace { failed_starts: pace.failed_starts, ..Pace::default() };
            pace.failed_start(now);
        }
        assert_eq!(pace.paused(now), Some(now + DELAY_MAX));
    }

    #[test]
    fn after_failed_starts_children_are_tried_one_at_a_time() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        for _ in 0..HOPELESS {
            pace.failed_start(now);
        }
        let later = now + 10 * DELAY_MAX;
        assert_eq!(pace.allowed(0, later), 1);
        assert_eq!(pace.allowed(1, later), 0);
        pace.ready();
        assert_eq!(pace.allowed(1, later), usize::MAX);
    }

    #[test]
    fn a_shortage_pauses_for_a_second() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        pace.shortage(now);
        assert_eq!(pace.allowed(0, now), 0);
        assert_eq!(pace.allowed(0, now + SHORTAGE_DELAY), usize::MAX);
    }
}
