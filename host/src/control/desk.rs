//! What the lookout's threads share: what serves, the reloads that were asked for, the socket, and the line to the parent.

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use guesthouse_mpm::Scoreboard;
use guesthouse_mpm::lookout::{LookoutLine, Request, Ticket};

use super::protocol::HEARTBEAT;
use super::rounds::{Outcome, Rounds};
use super::socket::Door;
use crate::clock::Began;
use crate::deploy::{Prepared, PreparedModule};
use crate::status::{Observer, Snapshot};
use crate::tally::{Counting, ModuleReading};

/// What serves, and what is known of it.
#[derive(Debug)]
pub(super) struct Published {
    pub(super) prepared: Prepared,
    pub(super) generation: u32,
    /// Whether it could be written down. Where it could not, what served before stands in `prepared`.
    pub(super) is_written: bool,
}

/// What is counted and shown, in memory that the children share with the lookout.
#[derive(Debug)]
pub(super) struct Board {
    pub(super) scoreboard: Scoreboard,
    pub(super) began: Began,
    pub(super) counting: Counting,
}

impl Board {
    pub(super) fn reading(&self, module: &PreparedModule) -> ModuleReading {
        self.counting.modules.row(module.row.module).read()
    }

    /// Of the version that serves alone; `None` where that is not counted.
    pub(super) fn reading_of_version(&self, module: &PreparedModule) -> Option<ModuleReading> {
        module.row.version.map(|row| self.counting.modules.row(row).read())
    }

    /// The whole server now.
    pub(super) fn snapshot(&self, published: &Published) -> Snapshot {
        let Prepared { config, modules, .. } = &published.prepared;
        let counters = self.counting.of(modules.iter().map(|module| module.row));
        let observer = Observer::new(self.scoreboard.clone(), published.generation, self.began, modules.clone());
        observer.snapshot(config, &counters, Instant::now())
    }
}

/// See the file's head.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) line: LookoutLine,
    pub(super) board: Board,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    rounds: Rounds,
    published: Arc<Published>,
    door: Option<Arc<Door>>,
    /// Clients that are to be told of the server's end.
    farewells: usize,
    has_ended: bool,
}

impl Desk {
    pub(super) fn new(line: LookoutLine, board: Board, published: Published) -> Self {
        let state = State {
            rounds: Rounds::default(),
            published: Arc::new(published),
            door: None,
            farewells: 0,
            has_ended: false,
        };
        Self { line, board, state: Mutex::new(state), changed: Condvar::new() }
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
    pub(super) fn ask(&self, request: Request) -> Result<Ticket, String> {
        self.ask_with(&mut self.state(), request)
    }

    /// Asks for what has changed to be published, unless something is under way, which may see the change.
    pub(super) fn ask_if_quiet(&self) {
        let mut state = self.state();
        if state.rounds.is_quiet() {
            // That the parent is gone is heard in a moment.
            let _ticket = self.ask_with(&mut state, Request::Publish);
        }
    }

    fn ask_with(&self, state: &mut State, request: Request) -> Result<Ticket, String> {
        let ticket = self.line.send(request).map_err(|error| format!("the server has ended: {error}"))?;
        state.rounds.asked(ticket);
        Ok(ticket)
    }

    /// Has what has changed published, and waits until `judge` knows what has become of it, by what is published and by the reload
    /// that was asked for. Answers with what it was judged by. `meanwhile` is done once a second, and may break it off.
    ///
    /// # Errors
    /// It is refused, or not known, and why; or it was broken off.
    pub(super) fn publish<E: From<String>>(
        &self,
        judge: impl Fn(&Published, Option<Outcome>) -> Option<Result<(), String>>,
        meanwhile: impl FnMut() -> Result<(), E>,
    ) -> Result<Arc<Published>, E> {
        let ticket = self.ask(Request::Publish)?;
        let judged = self.wait_long_for(meanwhile, |rounds, published| {
            let outcome = judge(published, rounds.outcome_of(ticket))?;
            Some(outcome.map(|()| Arc::clone(published)))
        })?;
        Ok(judged?)
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.state().rounds.is_quiet()
    }

    /// Looks whenever a reload has ended, until `look` finds something; `None` after so long.
    pub(super) fn wait_for<T>(
        &self,
        longest: Duration,
        look: impl Fn(&Rounds, &Arc<Published>) -> Option<T>,
    ) -> Option<T> {
        let until = Instant::now() + longest;
        let mut state = self.state();
        loop {
            if let Some(found) = look(&state.rounds, &state.published) {
                return Some(found);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The same for as long as it takes. `meanwhile` is done once a second, and may break it off.
    ///
    /// # Errors
    /// Those of `meanwhile`.
    pub(super) fn wait_long_for<T, E>(
        &self,
        mut meanwhile: impl FnMut() -> Result<(), E>,
        look: impl Fn(&Rounds, &Arc<Published>) -> Option<T>,
    ) -> Result<T, E> {
        loop {
            match self.wait_for(HEARTBEAT, &look) {
                Some(found) => return Ok(found),
                None => meanwhile()?,
            }
        }
    }

    /// A reload begins.
    pub(super) fn began(&self, heard: Ticket) {
        self.state().rounds.began(heard);
    }

    /// What was loaded serves. Where it has another `runtime_dir`, the socket moves there.
    pub(super) fn serves(&self, published: Published) {
        let moved = {
            let mut state = self.state();
            let runtime_dir = |published: &Published| published.prepared.config.server.runtime_dir.clone();
            let moves = runtime_dir(&state.published) != runtime_dir(&published);
            state.published = Arc::new(published);
            state.rounds.ended(Outcome::Serving);
            if moves { state.door.take() } else { None }
        };
        self.changed.notify_all();
        if let Some(door) = moved {
            door.close();
        }
    }

    pub(super) fn failed(&self, reason: String) {
        self.state().rounds.ended(Outcome::Failed(reason));
        self.changed.notify_all();
    }

    /// There will be no other reload, and another server may take the place of this one.
    pub(super) fn stopping(&self) {
        let mut state = self.state();
        state.rounds.stopping();
        if let Some(door) = &state.door {
            door.step_aside();
        }
        self.changed.notify_all();
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.state().rounds.is_over()
    }

    /// Does something that ends with the words that the server has ended.
    pub(super) fn see_off(&self, work: impl FnOnce()) {
        self.state().farewells += 1;
        work();
        self.state().farewells -= 1;
        self.changed.notify_all();
    }

    /// Whether the server ends within so long.
    pub(super) fn ends_within(&self, longest: Duration) -> bool {
        let waited = self.changed.wait_timeout_while(self.state(), longest, |state| !state.has_ended);
        waited.unwrap_or_else(PoisonError::into_inner).0.has_ended
    }

    /// The server has ended. Returns when all have heard it who wait for that, but waits for none who does not listen.
    pub(super) fn end(&self, longest: Duration) {
        let mut state = self.state();
        state.rounds.stopping();
        state.has_ended = true;
        if let Some(door) = state.door.take() {
            door.close();
        }
        self.changed.notify_all();
        let _told = self.changed.wait_timeout_while(state, longest, |state| state.farewells > 0);
    }

    /// Where the socket is to be; `None` when there is to be none.
    pub(super) fn place(&self) -> Option<PathBuf> {
        let state = self.state();
        (!state.rounds.is_over()).then(|| state.published.prepared.config.server.runtime_dir.clone())
    }

    /// The socket was bound in this directory. It is closed if it is not to be there any more.
    pub(super) fn opened(&self, door: &Arc<Door>, runtime_dir: &PathBuf) {
        let mut state = self.state();
        if state.has_ended || state.published.prepared.config.server.runtime_dir != *runtime_dir {
            return door.close();
        }
        if state.rounds.is_over() {
            door.step_aside();
        }
        state.door = Some(Arc::clone(door));
    }
}
