//! What to do when something has changed, was built or has ended. Decides and does nothing; knows no file, process or clock.

/// Builds that follow each other without a pause, each because of what has changed during the one before. More are no
/// developer who saves often, but a build that changes its own sources.
const FOLLOWING_MAX: u32 = 5;

/// What is different since the last look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// What the module is built from.
    pub(super) sources: bool,
    /// The server's configuration.
    pub(super) configuration: bool,
}

/// How a build has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Good,
    /// And it lies in another place than what was built before.
    GoodElsewhere,
    Failed,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Build,
    /// The server.
    Start,
    /// The server, so that another one can start.
    End,
    /// The server's configuration.
    Reload,
    /// Not to build what has changed during the build, and to say so.
    RefuseToFollow,
}

/// See the file's head.
#[derive(Debug)]
pub(super) struct Plan {
    build: Build,
    server: Server,
}

/// ```text
///         a source has changed
///   Idle ──────────────────────► Running ──┐ done, and a source
///    ▲                              │  ▲───┘ has changed meanwhile
///    └───────────── done ───────────┘
/// ```
#[derive(Debug)]
enum Build {
    Idle,
    Running {
        /// How many ran before it without a pause.
        following: u32,
    },
}

/// ```text
///           a good build             it has ended
///   Waiting ────────────► Running ─────────────────► Ended
///                          ▲ │ ▲                       │
///             it has ended │ │ └── a good build, or ───┘
///                          │ ▼     another configuration
///                       Renewing
/// ```
#[derive(Debug)]
enum Server {
    /// There is nothing to serve yet.
    Waiting,
    Running,
    /// It was told to end, and another one is to start.
    Renewing,
    Ended,
}

impl Plan {
    /// The first build is under way.
    pub(super) fn begun() -> Self {
        Self { build: Build::Running { following: 0 }, server: Server::Waiting }
    }

    /// Whether a build runs: what changes meanwhile is looked at when it is done.
    pub(super) fn is_building(&self) -> bool {
        match self.build {
            Build::Running { .. } => true,
            Build::Idle => false,
        }
    }

    /// To be asked while nothing is built.
    pub(super) fn changed(&mut self, change: Change) -> Vec<Action> {
        let mut actions = Vec::new();
        if change.configuration {
            actions.extend(self.reconfigure());
        }
        if change.sources {
            self.build = Build::Running { following: 0 };
            actions.push(Action::Build);
        }
        actions
    }

    /// A build has ended, and so much has changed while it ran.
    pub(super) fn built(&mut self, outcome: Outcome, meanwhile: Change) -> Vec<Action> {
        let following = match self.build {
            Build::Running { following } => following,
            Build::Idle => 0,
        };
        self.build = Build::Idle;
        let mut actions = Vec::new();
        match (outcome, &self.server) {
            (Outcome::Good | Outcome::GoodElsewhere, Server::Waiting | Server::Ended) => {
                self.server = Server::Running;
                actions.push(Action::Start);
            }
            (Outcome::GoodElsewhere, Server::Running) => {
                self.server = Server::Renewing;
                actions.push(Action::End);
            }
            (Outcome::Good, Server::Running) | (Outcome::Failed, _) if meanwhile.configuration => {
                actions.extend(self.reconfigure());
            }
            (Outcome::Good, Server::Running) | (Outcome::Failed, _) | (_, Server::Renewing) => {}
        }
        if meanwhile.sources && following < FOLLOWING_MAX {
            self.build = Build::Running { following: following + 1 };
            actions.push(Action::Build);
        } else if meanwhile.sources {
            actions.push(Action::RefuseToFollow);
        }
        actions
    }

    /// The server has ended.
    pub(super) fn server_ended(&mut self) -> Vec<Action> {
        match self.server {
            Server::Renewing => {
                self.server = Server::Running;
                vec![Action::Start]
            }
            Server::Waiting | Server::Running | Server::Ended => {
                self.server = Server::Ended;
                Vec::new()
            }
        }
    }

    /// The server could not be started.
    pub(super) fn not_started(&mut self) {
        self.server = Server::Ended;
    }

    fn reconfigure(&mut self) -> Option<Action> {
        match self.server {
            Server::Waiting | Server::Renewing => None,
            Server::Running => Some(Action::Reload),
            Server::Ended => {
                self.server = Server::Running;
                Some(Action::Start)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Change = Change { sources: false, configuration: false };
    const SOURCES: Change = Change { sources: true, configuration: false };
    const CONFIGURATION: Change = Change { sources: false, configuration: true };

    fn serving() -> Plan {
        let mut plan = Plan::begun();
        assert_eq!(plan.built(Outcome::Good, NOTHING), [Action::Start]);
        plan
    }

    #[test]
    fn the_server_starts_after_the_first_good_build() {
        let mut plan = Plan::begun();
        assert_eq!(plan.built(Outcome::Failed, NOTHING), []);
        assert_eq!(plan.changed(CONFIGURATION), []);
        assert_eq!(plan.changed(SOURCES), [Action::Build]);
        assert_eq!(plan.built(Outcome::Good, NOTHING), [Action::Start]);
    }

    #[test]
    fn what_changes_is_built_and_a_server_that_runs_needs_no_word() {
        let mut plan = serving();
        for outcome in [Outcome::Good, Outcome::Failed, Outcome::Good] {
            assert_eq!(plan.changed(SOURCES), [Action::Build]);
            assert!(plan.is_building());
            assert_eq!(plan.built(outcome, NOTHING), []);
            assert!(!plan.is_building());
        }
    }

    #[test]
    fn a_change_during_a_build_leads_to_another_one_after_it() {
        let mut plan = serving();
        plan.changed(SOURCES);
        assert_eq!(plan.built(Outcome::Failed, SOURCES), [Action::Build]);
        assert_eq!(plan.built(Outcome::Good, NOTHING), []);
    }

    #[test]
    fn a_build_that_changes_its_own_sources_is_not_followed_for_ever() {
        let mut plan = serving();
        for _ in 0..3 {
            plan.changed(SOURCES);
            for _ in 0..FOLLOWING_MAX {
                assert_eq!(plan.built(Outcome::Good, SOURCES), [Action::Build]);
            }
            assert_eq!(plan.built(Outcome::Good, SOURCES), [Action::RefuseToFollow]);
            assert!(!plan.is_building());
        }
    }

    #[test]
    fn another_configuration_is_read_again_by_a_server_that_runs_and_starts_one_that_has_ended() {
        let mut plan = serving();
        assert_eq!(plan.changed(CONFIGURATION), [Action::Reload]);
        assert_eq!(plan.server_ended(), []);
        assert_eq!(plan.changed(CONFIGURATION), [Action::Start]);
        plan.changed(SOURCES);
        assert_eq!(plan.built(Outcome::Failed, CONFIGURATION), [Action::Reload]);
    }

    #[test]
    fn what_is_built_in_another_place_has_another_server() {
        let mut plan = serving();
        plan.changed(SOURCES);
        assert_eq!(plan.built(Outcome::GoodElsewhere, CONFIGURATION), [Action::End]);
        // The next one reads its configuration anyway, and serves what was built last.
        assert_eq!(plan.changed(CONFIGURATION), []);
        plan.changed(SOURCES);
        assert_eq!(plan.built(Outcome::GoodElsewhere, NOTHING), []);
        assert_eq!(plan.server_ended(), [Action::Start]);
        assert_eq!(plan.changed(CONFIGURATION), [Action::Reload]);
    }

    #[test]
    fn a_server_that_has_ended_starts_again_with_the_next_good_build() {
        let mut plan = serving();
        assert_eq!(plan.server_ended(), []);
        assert_eq!(plan.changed(SOURCES), [Action::Build]);
        assert_eq!(plan.built(Outcome::Failed, NOTHING), []);
        assert_eq!(plan.changed(SOURCES), [Action::Build]);
        // It reads its configuration anyway.
        assert_eq!(plan.built(Outcome::Good, CONFIGURATION), [Action::Start]);
    }
}
