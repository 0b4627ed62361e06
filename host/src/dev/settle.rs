//! When to look at the sources: when nothing has happened to them for a moment, or something does not stop happening.
//! Reads no clock.

use std::time::{Duration, Instant};

/// An editor that saves, and what it has tidy up behind it, is done when it has paused for so long.
const SETTLED: Duration = Duration::from_millis(50);

/// Where something never pauses it is looked after this.
const UNSETTLED_MAX: Duration = Duration::from_secs(2);

/// It is looked without a reason so often: some file systems tell nothing.
pub(super) const RESCAN: Duration = Duration::from_secs(2);

/// What is known of changes that nobody has looked at.
///
/// ```text
///           touched
///  Quiet ───────────► Restless ──┐ touched
///    ▲                   │  ▲────┘
///    └────── looked ─────┘
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Settle {
    /// It was looked then, and nothing has happened since.
    Quiet { looked: Instant },
    /// Something has happened, for the first and for the last time then.
    Restless { first: Instant, last: Instant },
}

impl Settle {
    pub(super) fn touched(&mut self, at: Instant) {
        *self = match *self {
            Settle::Quiet { .. } => Settle::Restless { first: at, last: at },
            Settle::Restless { first, .. } => Settle::Restless { first, last: at },
        }
    }

    pub(super) fn looked(&mut self, now: Instant) {
        *self = Settle::Quiet { looked: now };
    }

    /// When to look.
    pub(super) fn due_at(self) -> Instant {
        match self {
            Settle::Quiet { looked } => looked + RESCAN,
            Settle::Restless { first, last } => (last + SETTLED).min(first + UNSETTLED_MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_looked_when_a_change_has_settled() {
        let start = Instant::now();
        let mut settle = Settle::Quiet { looked: start };
        assert_eq!(settle.due_at(), start + RESCAN);
        let (first, second) = (start + Duration::from_millis(100), start + Duration::from_millis(130));
        settle.touched(first);
        assert_eq!(settle.due_at(), first + SETTLED);
        settle.touched(second);
        assert_eq!(settle.due_at(), second + SETTLED);
        settle.looked(second + SETTLED);
        assert_eq!(settle.due_at(), second + SETTLED + RESCAN);
    }

    #[test]
    fn what_never_settles_is_looked_at_too() {
        let start = Instant::now();
        let mut settle = Settle::Quiet { looked: start };
        for tenths in 0..100 {
            settle.touched(start + Duration::from_millis(tenths * 40));
        }
        assert_eq!(settle.due_at(), start + UNSETTLED_MAX);
    }
}
