//! The time of day, as answers and log lines write it, for one thread: read from the system at most once a second.
//!
//! Deadlines are not here: they live on the monotonic clock, which cannot jump.

use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;

/// 9999-12-30T22:00:00Z: the last time that both the crates for dates know, in whole hours.
const LAST_SECOND: Duration = Duration::from_secs(253_402_207_200);

/// Seconds since the Unix epoch; 0 for a clock that stands before it.
#[must_use]
pub fn epoch_secs() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// When something began, on both clocks: the one that cannot jump, and the one that people read.
#[derive(Debug, Clone, Copy)]
pub struct Began {
    pub at: Instant,
    /// Since the Unix epoch.
    pub epoch_secs: u64,
}

impl Began {
    #[must_use]
    pub fn now() -> Self {
        Self { at: Instant::now(), epoch_secs: epoch_secs() }
    }
}

/// The texts of the current second.
#[derive(Debug)]
pub struct Clock {
    /// When, on the monotonic clock, the second that the texts tell is over.
    until: Instant,
    http: String,
    common_log: String,
}

impl Clock {
    #[must_use]
    pub fn new(now: Instant) -> Self {
        let mut clock = Self { until: now, http: String::new(), common_log: String::new() };
        clock.refresh(now);
        clock
    }

    /// For the `Date` field: IMF-fixdate (RFC 9110 5.6.7).
    pub fn http_date(&mut self, now: Instant) -> &str {
        self.refresh(now);
        &self.http
    }

    /// For access logs: Apache's `%t` without the brackets, in UTC.
    pub fn common_log_date(&mut self, now: Instant) -> &str {
        self.refresh(now);
        &self.common_log
    }

    fn refresh(&mut self, now: Instant) {
        if now < self.until {
            return;
        }
        // What an IMF-fixdate can say; a clock beyond is shown as the nearest end.
        let system = SystemTime::now().clamp(SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + LAST_SECOND);
        self.http = httpdate::fmt_http_date(system);
        let time = Timestamp::try_from(system).expect("the year is between 1970 and 9999");
        self.common_log = time.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string();
        let into_second = system.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.subsec_nanos());
        self.until = now + Duration::from_secs(1).saturating_sub(Duration::from_nanos(into_second.into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_dates_tell_the_same_second() {
        let mut clock = Clock::new(Instant::now());
        let now = Instant::now();
        let http = clock.http_date(now).to_owned();
        let log = clock.common_log_date(now).to_owned();
        // "Sun, 06 Nov 1994 08:49:37 GMT" and "06/Nov/1994:08:49:37 +0000"
        assert_eq!(http[5..25].replace(' ', "/"), log[..20].replacen(':', "/", 1));
        assert!(httpdate::parse_http_date(&http).is_ok(), "{http}");
    }

    #[test]
    fn the_texts_change_with_the_second() {
        let start = Instant::now();
        let mut clock = Clock::new(start);
        let first = clock.http_date(start).to_owned();
        clock.http = "stale".to_owned();
        assert_eq!(clock.http_date(start), "stale", "within the second nothing is read");
        let later = clock.until;
        assert_ne!(clock.http_date(later), "stale");
        assert!(first.ends_with("GMT"));
    }
}
