//! Which reload answers which request. Pure: it is told what was asked and what the parent tells.

use std::collections::VecDeque;

use guesthouse_mpm::lookout::Ticket;

/// Rounds that have ended and are remembered. Whoever waits for one looks at each when it ends.
const REMEMBERED_MAX: usize = 32;

/// What has become of a reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// What was loaded serves.
    Serving,
    /// What served before goes on, for this reason.
    Failed(String),
    /// The server stops.
    Stopping,
}

impl Outcome {
    /// Why what was asked for is not done; `None` if it is.
    pub(super) fn problem(&self) -> Option<String> {
        match self {
            Outcome::Serving => None,
            Outcome::Failed(reason) => Some(format!(
                "{reason}: the error log says more, and `guesthouse check` tells what is wrong with a configuration"
            )),
            Outcome::Stopping => Some(String::from(STOPS)),
        }
    }
}

/// Why nothing is done any more.
pub(super) const STOPS: &str = "the server stops";

/// The reloads of a server, one after the other.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    phase: Phase,
    /// The greatest ticket that was given out.
    asked: Ticket,
    /// The greatest that the latest round has heard.
    heard: Ticket,
    /// With what each had heard, the latest last.
    ended: VecDeque<(Ticket, Outcome)>,
}

/// ```text
///         began                   stopping
///  Idle ─────────► UnderWay ────────────────► Over
///   ▲                 │                        ▲
///   └── serving, ─────┘                        │
///       failed                                 │
///   └────────────────── stopping ──────────────┘
/// ```
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Phase {
    #[default]
    Idle,
    UnderWay,
    /// There will be no other round.
    Over,
}

impl Rounds {
    /// Something was asked for.
    pub(super) fn asked(&mut self, ticket: Ticket) {
        self.asked = self.asked.max(ticket);
    }

    pub(super) fn began(&mut self, heard: Ticket) {
        match self.phase {
            Phase::Idle | Phase::UnderWay => self.phase = Phase::UnderWay,
            Phase::Over => return,
        }
        self.heard = heard;
    }

    /// The round that is under way has ended; or one that was when nobody listened yet, which answers nobody.
    pub(super) fn ended(&mut self, outcome: Outcome) {
        match self.phase {
            Phase::Idle | Phase::UnderWay => self.phase = Phase::Idle,
            Phase::Over => return,
        }
        self.ended.push_back((self.heard, outcome));
        if self.ended.len() > REMEMBERED_MAX {
            self.ended.pop_front();
        }
    }

    pub(super) fn stopping(&mut self) {
        self.phase = Phase::Over;
    }

    pub(super) fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Whether nothing is under way, nor about to be.
    pub(super) fn is_quiet(&self) -> bool {
        self.phase == Phase::Idle && self.heard >= self.asked
    }

    /// What has become of what was asked for with this ticket; `None` if that is not known yet.
    pub(super) fn outcome_of(&self, ticket: Ticket) -> Option<Outcome> {
        let answer = self.ended.iter().find(|(heard, _)| *heard >= ticket).map(|(_, outcome)| outcome.clone());
        answer.or_else(|| (self.phase == Phase::Over).then_some(Outcome::Stopping))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(why: &str) -> Outcome {
        Outcome::Failed(why.to_owned())
    }

    #[test]
    fn a_request_is_answered_by_the_first_round_that_began_after_it() {
        let [one, two] = [1, 2].map(Ticket::new);
        let mut rounds = Rounds::default();
        assert!(rounds.is_quiet());
        rounds.asked(one);
        assert!(!rounds.is_quiet(), "it is about to begin");
        rounds.began(one);
        rounds.asked(two);
        assert_eq!(rounds.outcome_of(one), None);
        rounds.ended(failed("why"));
        assert_eq!((rounds.outcome_of(one), rounds.outcome_of(two)), (Some(failed("why")), None));
        assert!(!rounds.is_quiet());
        rounds.began(two);
        assert!(!rounds.is_quiet());
        rounds.ended(Outcome::Serving);
        assert!(rounds.is_quiet());
        assert_eq!(rounds.outcome_of(one), Some(failed("why")), "a later one says nothing of it");
        assert_eq!(rounds.outcome_of(two), Some(Outcome::Serving));
    }

    #[test]
    fn a_round_that_nobody_here_saw_begin_answers_nobody() {
        let mut rounds = Rounds::default();
        rounds.asked(Ticket::new(1));
        rounds.ended(Outcome::Serving);
        assert_eq!(rounds.outcome_of(Ticket::new(1)), None);
    }

    #[test]
    fn who_waits_when_the_server_stops_is_told_so() {
        let mut rounds = Rounds::default();
        rounds.began(Ticket::new(1));
        rounds.stopping();
        assert_eq!(rounds.outcome_of(Ticket::new(1)), Some(Outcome::Stopping));
        rounds.began(Ticket::new(2));
        assert_eq!(rounds.outcome_of(Ticket::new(2)), Some(Outcome::Stopping), "nothing leads back");
        assert!(!rounds.is_quiet() && rounds.is_over());
    }

    #[test]
    fn what_is_remembered_has_an_end() {
        let mut rounds = Rounds::default();
        (1..1000).for_each(|number| {
            rounds.began(Ticket::new(number));
            rounds.ended(Outcome::Serving);
        });
        assert_eq!(rounds.ended.len(), REMEMBERED_MAX);
    }
}
