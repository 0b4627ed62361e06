//! From one generation to the next: prepare, load, listen, start, and only then let go of the old one. Whatever goes
//! wrong on the way, the old generation goes on serving.

use std::time::Instant;

use super::children::Child;
use super::generation::Generation;
use super::preparation::{Preparation, Progress};
use super::{Parent, Stage, descriptors};
use crate::control::Command;
use crate::error::{LoadError, ServeError};
use crate::lookout::{News, on_one_line};
use crate::protocol::Application;
use crate::settings::Settings;

/// How the children of the old generation end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum How {
    /// USR1: they finish what is open.
    Gracefully,
    /// HUP: at once, and the scoreboard counts anew.
    AtOnce,
}

/// ```text
///            ┌─────────────── refused, not loaded, cannot listen ──┐
///            ▼     order                accepted, loaded           │
///          Idle ───────────► Preparing ───────────────────► (new generation)
///            ▲                                                     │
///            │   every new pool is ready: the old ones are let go  ▼
///            └──────────────────────────────────────────────── Replacing
///            └── a new pool cannot start: the new generation is abandoned
/// ```
#[derive(Debug)]
pub(crate) enum Reload {
    Idle,
    /// The preparation runs; one generation serves.
    Preparing {
        how: How,
        preparation: Preparation,
    },
    /// The children of the current generation start, those of the previous one serve. One of those that dies is not
    /// replaced: the application holds the new load already, and children that serve it are on their way.
    Replacing {
        how: How,
        previous: Generation,
    },
}

impl<A: Application> Parent<'_, A> {
    /// Begins to reload, or remembers to do so when the reload that is under way is done.
    pub(super) fn request_reload(&mut self, how: How, now: Instant) {
        match (&self.stage, &self.reload) {
            (Stage::Serving, Reload::Idle) => self.prepare(how, now),
            (Stage::Opening | Stage::Serving, _) => self.reload_next = self.reload_next.max(Some(how)),
            (Stage::Finishing { .. } | Stage::Ending { .. }, _) => tracing::info!("no reload: the server stops"),
        }
    }

    fn prepare(&mut self, how: How, now: Instant) {
        tracing::info!("reloading");
        self.lookout.tell_beginning(now);
        match self.application.preparation().map(Preparation::start) {
            Some(Ok(preparation)) => self.reload = Reload::Preparing { how, preparation },
            Some(Err(error)) => self.refuse_reload(&error, now),
            None => self.load_next(how, &[], now),
        }
    }

    /// Looks how far the preparation is, if one runs.
    pub(super) fn advance_preparation(&mut self, now: Instant) {
        let Reload::Preparing { how, preparation } = &mut self.reload else { return };
        let how = *how;
        match preparation.advance() {
            Ok(Progress::Running) => {}
            Ok(Progress::Accepted(output)) => {
                self.reload = Reload::Idle;
                self.load_next(how, &output, now);
            }
            Ok(Progress::Refused(_)) => self.refuse_reload(&ServeError::Preparation, now),
            Err(error) => {
                self.refuse_reload(&ServeError::System { what: "read what the preparation writes", error }, now);
            }
        }
    }

    fn load_next(&mut self, how: How, prepared: &[u8], now: Instant) {
        match self.application.load(prepared) {
            Err(error) => self.refuse_reload(&error.into(), now),
            Ok(settings) => {
                if let Err(error) = self.begin_generation(how, settings, now) {
                    self.application.abandon();
                    self.refuse_reload(&error, now);
                }
            }
        }
    }

    fn refuse_reload(&mut self, error: &ServeError, now: Instant) {
        tracing::error!("reload failed, generation {} goes on serving: {error}", self.current.number);
        self.lookout.tell(&News::Failed(on_one_line(error)), now);
        self.end_reload(now);
    }

    fn begin_generation(&mut self, how: How, settings: Settings, now: Instant) -> Result<(), ServeError> {
        let settings = fit(settings, Some(&self.current.settings()))?;
        let number = self.last_number.wrapping_add(1);
        let next = Generation::taking_over(number, &settings, &self.current, &self.children, now);
        self.make_room(&next)?;
        self.listeners.open_missing(&settings)?;
        self.last_number = number;
        let previous = std::mem::replace(&mut self.current, next);
        self.reload = Reload::Replacing { how, previous };
        Ok(())
    }

    /// Adds the slots that pools of the next generation need and older ones do not leave.
    fn make_room(&mut self, next: &Generation) -> Result<(), ServeError> {
        let missing = next.slots_needed(&self.children).saturating_sub(self.children.slots());
        if missing > 0 {
            let failed = |error| ServeError::System { what: "make the scoreboard larger", error };
            self.scoreboard.grow(missing).map_err(failed)?;
            self.children.grow_to(self.scoreboard.slots());
        }
        Ok(())
    }

    /// Every pool of the current generation can serve: lets go of the older generations, unless that is done already.
    pub(super) fn complete_reload(&mut self, now: Instant) {
        let Reload::Replacing { how, .. } = self.reload else { return };
        let current = self.current.number;
        if how == How::AtOnce {
            for (_, child) in self.children.iter_mut().filter(|(_, child)| child.origin.generation != current) {
                child.terminate(now);
            }
            self.scoreboard.reset_counters();
            self.application.reset_counters();
        }
        self.reload = Reload::Idle;
        self.let_go_of_older();
        tracing::info!("generation {current} is ready: {}", self.current.own().mpm);
        self.publish(now);
        self.end_reload(now);
    }

    /// Drains what older generations have left: the server's own children at once, and those of other pools when
    /// nobody speaks to them any more, or children of the current generation answer at the same addresses.
    pub(super) fn let_go_of_older(&mut self) {
        let Self { children, current, listeners, .. } = self;
        let is_older = |child: &Child| child.origin.generation != current.number;
        let spoken_to = children.iter().any(|(_, child)| is_older(child) && child.origin.is_own());
        for (_, child) in children.iter_mut().filter(|(_, child)| is_older(child) && child.phase.is_active()) {
            let replaced = child.origin.listen.iter().all(|address| current.listens_on(address));
            if child.origin.is_own() || replaced || !spoken_to {
                child.drain(Command::Drain);
            }
        }
        listeners.close_unless(|address| {
            let is_held = |child: &Child| child.phase.is_active() && child.origin.listen.contains(address);
            current.listens_on(address) || children.iter().any(|(_, child)| is_held(child))
        });
    }

    /// The current generation cannot start: goes back to the previous one, if that still serves.
    pub(super) fn abandon_generation(&mut self, reason: &str, now: Instant) {
        match std::mem::replace(&mut self.reload, Reload::Idle) {
            Reload::Replacing { previous, .. } => {
                let abandoned = std::mem::replace(&mut self.current, previous);
                for (_, child) in
                    self.children.iter_mut().filter(|(_, child)| child.origin.generation == abandoned.number)
                {
                    child.terminate(now);
                }
                self.application.abandon();
                self.let_go_of_older();
                let serving = self.current.number;
                tracing::error!("reload failed, generation {serving} goes on serving: {reason}");
                self.lookout.tell(&News::Failed(reason.to_owned()), now);
                self.end_reload(now);
            }
            other @ (Reload::Idle | Reload::Preparing { .. }) => self.reload = other,
        }
    }

    /// Gives up what is under way, because the server stops.
    pub(super) fn cancel_reload(&mut self) {
        if let Reload::Preparing { preparation, .. } = &mut self.reload {
            preparation.cancel();
        }
        self.reload = Reload::Idle;
        self.reload_next = None;
    }

    fn end_reload(&mut self, now: Instant) {
        self.reload = Reload::Idle;
        self.begin_reload_that_waits(now);
    }

    /// Begins the reload that was ordered while something else was under way.
    pub(super) fn begin_reload_that_waits(&mut self, now: Instant) {
        if let Some(how) = self.reload_next.take() {
            self.request_reload(how, now);
        }
    }
}

/// Makes settings fit themselves and, at a reload, what cannot change while the server runs; says what it changed.
/// Makes the limit of descriptors fit the settings.
///
/// # Errors
/// They cannot be served at all.
pub(super) fn fit(settings: Settings, running: Option<&Settings>) -> Result<Settings, LoadError> {
    settings.check()?;
    let (settings, kept) = match running {
        Some(running) => settings.kept_from(running),
        None => (settings, Vec::new()),
    };
    let (settings, corrections) = settings.corrected();
    for correction in kept.iter().chain(&corrections) {
        tracing::warn!("{correction}");
    }
    descriptors::provide(&settings);
    Ok(settings)
}
