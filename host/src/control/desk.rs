//! What the lookout's threads share: what serves, the reloads that were asked for, and the line to the parent.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use guesthouse_mpm::lookout::{LookoutLine, Request, Ticket};

use super::rounds::{Outcome, Rounds};
use super::since::Since;
use crate::preparation::Prepared;

/// What serves, and what is known of it.
#[derive(Debug)]
pub(super) struct Published {
    pub(super) prepared: Prepared,
    pub(super) generation: u32,
    pub(super) since: Since,
    /// Whether it could be written down: what the files are compared with is of no use otherwise.
    pub(super) is_written: bool,
}

/// See the file's head.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) line: LookoutLine,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    rounds: Rounds,
    published: Arc<Published>,
}

impl Desk {
    pub(super) fn new(line: LookoutLine, published: Published) -> Self {
        let state = State { rounds: Rounds::default(), published: Arc::new(published) };
        Self { line, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// A thread that panics with the state in its hands leaves it as whole as it was.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn published(&self) -> Arc<Published> {
        Arc::clone(&self.state().published)
    }

    /// Asks the parent for a reload.
    ///
    /// # Errors
    /// It is gone.
    pub(super) fn ask(&self, request: Request) -> std::io::Result<Ticket> {
        let mut state = self.state();
        let ticket = self.line.send(request)?;
        state.rounds.asked(ticket);
        Ok(ticket)
    }

    /// Asks for what has changed to be published, unless something is under way, which may see the change.
    pub(super) fn ask_if_quiet(&self) {
        let mut state = self.state();
        if state.rounds.is_quiet()
            && let Ok(ticket) = self.line.send(Request::Publish)
        {
            state.rounds.asked(ticket);
        }
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.state().rounds.is_quiet()
    }

    /// A reload begins.
    pub(super) fn began(&self, heard: Ticket) {
        self.state().rounds.began(heard);
    }

    /// What was loaded serves.
    pub(super) fn serves(&self, published: Published) {
        self.change(|state| {
            state.published = Arc::new(published);
            state.rounds.ended(Outcome::Serving);
        });
    }

    pub(super) fn failed(&self, reason: String) {
        self.change(|state| state.rounds.ended(Outcome::Failed(reason)));
    }

    pub(super) fn stopping(&self) {
        self.change(|state| state.rounds.stopping());
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_all();
    }
}
