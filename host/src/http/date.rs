//! The text of the Date field (RFC 9110 section 5.6.7), formatted once a second at most.
//!
//! No clock is read here: the time is handed in.

use std::time::{Duration, SystemTime};

/// The last formatted IMF-fixdate, for one thread's answers.
#[derive(Debug, Clone, Default)]
pub struct DateText {
    text: String,
    /// Since the epoch; what `text` says.
    second: Option<u64>,
}

impl DateText {
    /// Nothing formatted yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// `now` as an IMF-fixdate ("Sun, 06 Nov 1994 08:49:37 GMT"). A clock outside of 1970 to 9999 is shown as the
    /// nearest end of that range, because a fixdate cannot say more and an answer needs some date.
    pub fn at(&mut self, now: SystemTime) -> &str {
        /// 9999-12-31T23:59:59Z.
        const LAST: u64 = 253_402_300_799;
        let second = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs()).min(LAST);
        if self.second != Some(second) {
            self.text = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(second));
            self.second = Some(second);
        }
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_is_an_imf_fixdate() {
        let mut date = DateText::new();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        assert_eq!(date.at(now), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(date.at(now + Duration::from_millis(999)), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(date.at(now + Duration::from_secs(1)), "Sun, 06 Nov 1994 08:49:38 GMT");
    }

    #[test]
    fn a_clock_that_went_back_is_followed() {
        let mut date = DateText::new();
        date.at(SystemTime::UNIX_EPOCH + Duration::from_secs(10));
        assert_eq!(date.at(SystemTime::UNIX_EPOCH), "Thu, 01 Jan 1970 00:00:00 GMT");
    }

    #[test]
    fn a_clock_out_of_range_does_not_stop_the_server() {
        let mut date = DateText::new();
        assert_eq!(date.at(SystemTime::UNIX_EPOCH - Duration::from_secs(1)), "Thu, 01 Jan 1970 00:00:00 GMT");
        let far = SystemTime::UNIX_EPOCH + Duration::from_secs(300_000_000_000);
        assert_eq!(date.at(far), "Fri, 31 Dec 9999 23:59:59 GMT");
    }
}
