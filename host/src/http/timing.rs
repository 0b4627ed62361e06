//! How long a client may take to send: `mod_reqtimeout`'s rule as arithmetic on points in time that are handed in.
//!
//! No clock is read here and nobody waits here.

use std::time::{Duration, Instant};

/// A deadline that moves as bytes come in (`RequestReadTimeout`'s `first-max,MinRate=rate`).
///
/// Whoever sends at `min_rate` or faster is never cut off before `max`; whoever is silent is cut off after `first`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadDeadline {
    at: Instant,
    /// Never later than this; `None`: no end.
    last: Option<Instant>,
    /// Nanoseconds that one byte is worth, a second at most; 0: the deadline never moves.
    per_byte: u32,
}

impl ReadDeadline {
    /// A deadline `first` after `started`. Every `min_rate` bytes extend it by one second (each byte by its share,
    /// rounded down to a nanosecond), up to `max` after `started`, or without end if `max` is `None`. A `min_rate`
    /// of 0 never extends it. A `max` below `first` counts as `first`.
    #[must_use]
    pub fn new(started: Instant, first: Duration, max: Option<Duration>, min_rate: u32) -> Self {
        Self {
            at: started + first,
            last: max.map(|max| started + max.max(first)),
            per_byte: 1_000_000_000_u32.checked_div(min_rate).unwrap_or_default(),
        }
    }

    /// So many bytes came in.
    pub fn received(&mut self, bytes: usize) {
        let worth = Duration::from_nanos(u64::from(self.per_byte).saturating_mul(bytes as u64));
        // A sum beyond what the clock can express is no deadline that could ever pass: staying put is safe.
        let extended = self.at.checked_add(worth).unwrap_or(self.at);
        self.at = self.last.map_or(extended, |last| extended.min(last));
    }

    /// Nothing was asked of the client for so long: that does not count.
    pub fn stood_still(&mut self, for_so_long: Duration) {
        self.at += for_so_long;
        self.last = self.last.map(|last| last + for_so_long);
    }

    /// When the client's time is up.
    #[must_use]
    pub fn at(&self) -> Instant {
        self.at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_secs(20);
    const MAX: Duration = Duration::from_secs(40);

    fn seconds_after(deadline: &ReadDeadline, started: Instant) -> f64 {
        (deadline.at() - started).as_secs_f64()
    }

    #[test]
    fn a_silent_client_has_the_first_timeout() {
        let started = Instant::now();
        assert_eq!(ReadDeadline::new(started, FIRST, Some(MAX), 500).at(), started + FIRST);
    }

    #[test]
    fn every_min_rate_bytes_extend_the_deadline_by_a_second() {
        let started = Instant::now();
        let mut deadline = ReadDeadline::new(started, FIRST, Some(MAX), 500);
        deadline.received(500);
        assert!((seconds_after(&deadline, started) - 21.0).abs() < 1e-6);
        for _ in 0..500 {
            deadline.received(1);
        }
        assert!((seconds_after(&deadline, started) - 22.0).abs() < 1e-6);
    }

    #[test]
    fn the_deadline_never_passes_its_maximum() {
        let started = Instant::now();
        let mut deadline = ReadDeadline::new(started, FIRST, Some(MAX), 500);
        deadline.received(1_000_000);
        assert_eq!(deadline.at(), started + MAX);
        deadline.received(1);
        assert_eq!(deadline.at(), started + MAX);
    }

    #[test]
    fn without_a_maximum_the_deadline_moves_on_for_ever() {
        let started = Instant::now();
        let mut deadline = ReadDeadline::new(started, FIRST, None, 1);
        deadline.received(100_000);
        assert_eq!(deadline.at(), started + FIRST + Duration::from_secs(100_000));
    }

    #[test]
    fn time_in_which_nothing_was_asked_does_not_count() {
        let started = Instant::now();
        let mut deadline = ReadDeadline::new(started, FIRST, Some(MAX), 500);
        deadline.stood_still(Duration::from_secs(7));
        assert_eq!(deadline.at(), started + FIRST + Duration::from_secs(7));
        deadline.received(1_000_000);
        assert_eq!(deadline.at(), started + MAX + Duration::from_secs(7));
    }

    #[test]
    fn a_rate_of_zero_never_extends_the_deadline() {
        let started = Instant::now();
        let mut deadline = ReadDeadline::new(started, FIRST, None, 0);
        deadline.received(1_000_000);
        assert_eq!(deadline.at(), started + FIRST);
    }

    #[test]
    fn a_maximum_below_the_first_timeout_does_not_shorten_it() {
        let started = Instant::now();
        let mut deadline = ReadDeadline::new(started, FIRST, Some(Duration::from_secs(1)), 500);
        deadline.received(1);
        assert_eq!(deadline.at(), started + FIRST);
    }
}
