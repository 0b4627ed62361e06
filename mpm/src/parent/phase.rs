//! The life of one child as the parent sees it: all phases and all transitions between them. Pure.

use std::fmt;
use std::time::{Duration, Instant};

/// A child that is not ready so long after its fork will never be.
pub(super) const START_LIMIT: Duration = Duration::from_secs(60);
/// A child that lives so long after a TERM, which it does not catch, is beyond TERM. Apache waits for nine seconds,
/// but its children have cleaning up to do.
pub(super) const TERM_LIMIT: Duration = Duration::from_secs(2);
/// A death so soon after `Ready` counts towards a death loop.
const YOUNG: Duration = Duration::from_secs(1);

/// ```text
///  fork          ready              told to drain, or retiring
///   └─► Starting ─────► Serving ───────────────────────────────► Draining
///         │ told to drain                       ready              ▲ │
///         ├────────────► Unneeded ─────────────────────────────────┘ │
///         │ failed, TERM    │ TERM      from Serving, too: TERM      │ TERM
///         └─────────────────┴─────────────► Ending ◄─────────────────┘
///                                             │ still there
///                                             ▼
///                                           Killed
/// ```
/// From each of them a child may die; one that is not ready for too long is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Forked; not ready yet.
    Starting { since: Instant },
    /// Told to drain before it was ready. It may have become ready just now, so it is not ended at once.
    Unneeded { since: Instant },
    /// Accepts connections.
    Serving { since: Instant },
    /// Finishes what is open, for as long as that takes: what is open has deadlines of its own.
    Draining,
    /// Has reported a failure or was sent TERM.
    Ending { since: Instant },
    /// Was sent KILL.
    Killed,
}

/// What a death means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Death {
    /// It was to end.
    Expected,
    /// It never served.
    BeforeReady,
    /// It had hardly begun to serve.
    Young,
    /// It had served for a while.
    Aged,
}

impl Phase {
    /// The child has reported that it serves. One that is to end already still is.
    pub(super) fn ready(self, now: Instant) -> Self {
        match self {
            Phase::Starting { .. } => Phase::Serving { since: now },
            Phase::Unneeded { .. } => Phase::Draining,
            Phase::Serving { .. } | Phase::Draining | Phase::Ending { .. } | Phase::Killed => self,
        }
    }

    /// The child takes nothing new, because it was told so or by its own decision.
    pub(super) fn drain(self) -> Self {
        match self {
            Phase::Starting { since } => Phase::Unneeded { since },
            Phase::Serving { .. } => Phase::Draining,
            Phase::Unneeded { .. } | Phase::Draining | Phase::Ending { .. } | Phase::Killed => self,
        }
    }

    /// The child is to die at once.
    pub(super) fn end(self, now: Instant) -> Self {
        match self {
            Phase::Starting { .. } | Phase::Unneeded { .. } | Phase::Serving { .. } | Phase::Draining => {
                Phase::Ending { since: now }
            }
            Phase::Ending { .. } | Phase::Killed => self,
        }
    }

    /// Whether the child is one of those that carry the load, now or in a moment.
    pub(super) fn is_active(self) -> bool {
        matches!(self, Phase::Starting { .. } | Phase::Serving { .. })
    }

    /// Whether the child serves connections, now or in a moment.
    pub(super) fn serves(self) -> bool {
        matches!(self, Phase::Starting { .. } | Phase::Serving { .. } | Phase::Draining)
    }

    /// When the child has been in this phase for too long.
    pub(super) fn overdue_at(self) -> Option<Instant> {
        match self {
            Phase::Starting { since } | Phase::Unneeded { since } => Some(since + START_LIMIT),
            Phase::Ending { since } => Some(since + TERM_LIMIT),
            Phase::Serving { .. } | Phase::Draining | Phase::Killed => None,
        }
    }

    /// The child has died.
    pub(super) fn died(self, now: Instant) -> Death {
        match self {
            Phase::Starting { .. } => Death::BeforeReady,
            Phase::Serving { since } if now.saturating_duration_since(since) < YOUNG => Death::Young,
            Phase::Serving { .. } => Death::Aged,
            Phase::Unneeded { .. } | Phase::Draining | Phase::Ending { .. } | Phase::Killed => Death::Expected,
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Starting { .. } | Phase::Unneeded { .. } => "starting",
            Phase::Serving { .. } => "serving",
            Phase::Draining => "draining",
            Phase::Ending { .. } => "ending",
            Phase::Killed => "being killed",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_child_starts_serves_drains() {
        let start = Instant::now();
        let serving = Phase::Starting { since: start }.ready(start + SECOND);
        assert_eq!(serving, Phase::Serving { since: start + SECOND });
        assert_eq!(serving.drain(), Phase::Draining);
    }

    #[test]
    fn a_child_that_is_not_needed_before_it_is_ready_may_not_take_for_ever_either() {
        let start = Instant::now();
        let unneeded = Phase::Starting { since: start }.drain();
        assert!(!unneeded.is_active());
        assert_eq!(unneeded.overdue_at(), Some(start + START_LIMIT));
        assert_eq!(unneeded.died(start + SECOND), Death::Expected);
        assert_eq!(unneeded.drain(), unneeded);
        assert_eq!(unneeded.ready(start + SECOND), Phase::Draining);
    }

    #[test]
    fn ready_comes_too_late_for_a_child_that_is_to_end() {
        let now = Instant::now();
        for phase in [Phase::Draining, Phase::Ending { since: now }, Phase::Killed] {
            assert_eq!(phase.ready(now + SECOND), phase);
        }
    }

    #[test]
    fn nothing_leads_back_from_ending() {
        let now = Instant::now();
        let ending = Phase::Serving { since: now }.end(now);
        assert_eq!(ending.end(now + SECOND), Phase::Ending { since: now });
        assert_eq!(ending.drain(), ending);
    }

    #[test]
    fn a_death_is_judged_by_what_the_child_had_done() {
        let now = Instant::now();
        let serving = Phase::Serving { since: now };
        assert_eq!(Phase::Starting { since: now }.died(now + SECOND), Death::BeforeReady);
        assert_eq!(serving.died(now), Death::Young);
        assert_eq!(serving.died(now + SECOND), Death::Aged);
        assert_eq!(serving.drain().died(now), Death::Expected);
        assert_eq!(serving.end(now).died(now), Death::Expected);
        assert_eq!(Phase::Killed.died(now), Death::Expected);
    }

    #[test]
    fn only_a_start_and_an_end_may_take_too_long() {
        let now = Instant::now();
        assert_eq!(Phase::Starting { since: now }.overdue_at(), Some(now + START_LIMIT));
        assert_eq!(Phase::Ending { since: now }.overdue_at(), Some(now + TERM_LIMIT));
        assert_eq!(Phase::Serving { since: now }.overdue_at(), None);
        assert_eq!(Phase::Draining.overdue_at(), None);
        assert_eq!(Phase::Killed.overdue_at(), None);
    }
}
