//! How long a guest runs: within one poll, which a time slice bounds. Whose time that is, and how much of it anybody may
//! have, is decided by who asks.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Read inside the guest, at the ticks of the clock, and outside, by who polls it.
pub(super) struct Stopwatch {
    start: Instant,
    slice: Duration,
    /// Nanoseconds from `start` to the beginning of the present slice.
    entered: AtomicU64,
    /// Nanoseconds from `start` up to which the time is accounted for.
    accounted: AtomicU64,
    /// The present poll ended because the slice was used up.
    sliced: AtomicBool,
}

impl Stopwatch {
    pub(super) fn new(slice: Duration) -> Stopwatch {
        Stopwatch {
            start: Instant::now(),
            slice,
            entered: AtomicU64::new(0),
            accounted: AtomicU64::new(0),
            sliced: AtomicBool::new(false),
        }
    }

    /// The guest is about to run.
    pub(super) fn enter(&self, now: Instant) {
        let now = self.since_start(now);
        self.sliced.store(false, Ordering::Relaxed);
        self.entered.store(now, Ordering::Relaxed);
        self.accounted.store(now, Ordering::Relaxed);
    }

    /// Another request begins in the same poll: it has a slice of its own.
    pub(super) fn begin_slice(&self, now: Instant) {
        self.entered.store(self.since_start(now), Ordering::Relaxed);
    }

    /// What the guest has used that was not told before: since it was entered, or since this was last asked.
    pub(super) fn lap(&self, now: Instant) -> Duration {
        let now = self.since_start(now);
        Duration::from_nanos(now.saturating_sub(self.accounted.swap(now, Ordering::Relaxed)))
    }

    /// Asked inside the guest at a tick of the clock: has it had its slice? If so, it is to yield.
    ///
    /// A guest whose poll began between two ticks has not had its slice at the first of them, so the elapsed time
    /// decides, and not the number of ticks: what ends within a slice never yields.
    pub(super) fn slice_is_over(&self, now: Instant) -> bool {
        let over = !self.has_time(now);
        if over {
            self.sliced.store(true, Ordering::Relaxed);
        }
        over
    }

    /// Asked outside of the guest: whether anything of the slice is left.
    pub(super) fn has_time(&self, now: Instant) -> bool {
        let entered = self.entered.load(Ordering::Relaxed);
        !self.was_sliced() && self.since_start(now).saturating_sub(entered) < nanoseconds(self.slice)
    }

    /// Whether the guest stopped because its slice was used up and not because it waits for something.
    pub(super) fn was_sliced(&self) -> bool {
        self.sliced.load(Ordering::Relaxed)
    }

    fn since_start(&self, now: Instant) -> u64 {
        nanoseconds(now.saturating_duration_since(self.start))
    }
}

pub(super) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLICE: Duration = Duration::from_millis(1);

    #[test]
    fn a_tick_within_the_slice_lets_the_guest_go_on_and_one_after_it_does_not() {
        let watch = Stopwatch::new(SLICE);
        let now = watch.start + Duration::from_secs(7);
        watch.enter(now);
        assert!(!watch.slice_is_over(now + SLICE / 2) && !watch.was_sliced());
        assert!(watch.slice_is_over(now + SLICE) && watch.was_sliced());
        watch.enter(now + SLICE * 2);
        assert!(!watch.was_sliced() && !watch.slice_is_over(now + SLICE * 2), "the next poll has a slice of its own");
    }

    #[test]
    fn a_request_that_begins_in_a_poll_has_a_slice_of_its_own_and_no_time_is_lost() {
        let watch = Stopwatch::new(SLICE);
        watch.enter(watch.start);
        watch.begin_slice(watch.start + SLICE / 2);
        assert!(!watch.slice_is_over(watch.start + SLICE));
        assert!(watch.slice_is_over(watch.start + SLICE + SLICE / 2));
        assert_eq!(watch.lap(watch.start + SLICE * 2), SLICE * 2);
    }

    #[test]
    fn time_between_polls_is_nobodys() {
        let watch = Stopwatch::new(SLICE);
        watch.enter(watch.start);
        assert_eq!(watch.lap(watch.start + SLICE * 3), SLICE * 3);
        let later = watch.start + Duration::from_secs(50);
        watch.enter(later);
        assert_eq!(watch.lap(later + SLICE * 4), SLICE * 4);
    }

    #[test]
    fn no_time_is_told_twice() {
        let watch = Stopwatch::new(SLICE);
        watch.enter(watch.start);
        assert_eq!(watch.lap(watch.start + SLICE), SLICE);
        assert_eq!(watch.lap(watch.start + SLICE * 3), SLICE * 2);
        assert_eq!(watch.lap(watch.start + SLICE * 3), Duration::ZERO);
    }
}
