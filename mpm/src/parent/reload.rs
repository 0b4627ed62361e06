//! From one generation to the next: prepare, load, listen, start, and only then let go of the old one. Whatever goes
//! wrong on the way, the old generation goes on serving.

use std::time::Instant;

use super::children::{Child, Link};
use super::generation::{Generation, Leaving};
use super::phase::START_LIMIT;
use super::preparation::{Preparation, Progress};
use super::{Parent, Stage, descriptors};
use crate::control::{Command, Handover};
use crate::error::{LoadError, ServeError};
use crate::lookout::{News, on_one_line};
use crate::protocol::Application;
use crate::settings::Settings;

/// What becomes of the children that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum How {
    /// The lookout has asked: the server's own children take the new generation over while they serve, and so do pools that
    /// have not changed. If the application has nothing for that, as `Gracefully`.
    InPlace,
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
///            │   every new pool is ready, and the server's own     │
///            │   children have taken it over, or are new: it is    │
///            │   published, and what is older is let go            ▼
///            └──────────────────────────────────────────────── Replacing
///            └── one of them cannot: the new generation is abandoned
/// ```
#[derive(Debug)]
pub(crate) enum Reload {
    Idle,
    /// The preparation runs; one generation serves.
    Preparing {
        how: How,
        preparation: Preparation,
    },
    /// The children of the current generation start or take it over, the previous one serves. One of the server's own of that
    /// which dies is not replaced: those that serve the new one are on their way.
    Replacing {
        how: How,
        previous: Generation,
        own: OwnChildren,
    },
}

/// How the server's own pool comes to serve the current generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OwnChildren {
    /// By new children. All pools have time until then.
    New { until: Instant },
    /// By those that there are. They have time until then, and so have other pools.
    Adopting { until: Instant },
}

impl OwnChildren {
    fn until(self) -> Instant {
        match self {
            OwnChildren::New { until } | OwnChildren::Adopting { until } => until,
        }
    }
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
        let number = self.last_number.wrapping_add(1);
        match self.application.load(number, prepared) {
            Err(error) => self.refuse_reload(&error.into(), now),
            Ok(settings) => {
                if let Err(error) = self.begin_generation(how, number, settings, now) {
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

    fn begin_generation(&mut self, how: How, number: u32, settings: Settings, now: Instant) -> Result<(), ServeError> {
        let settings = fit(settings, Some(&self.current.settings()))?;
        let handover = if how == How::InPlace { self.handover(&settings)? } else { None };
        let mut next = self.current.followed_by(number, &settings, &self.children, now);
        if handover.is_some() {
            next = next.keeping_pools_of(&self.current);
        }
        let gone = self.current.pools[1..].iter().filter(|pool| !next.has(&pool.origin));
        self.leaving.extend(gone.map(|pool| Leaving { pool: pool.clone(), since: number }));
        next.widen_for(&mut self.leaving);
        if let Err(error) = self.make_room(&next).and_then(|()| self.listeners.open_missing(&settings)) {
            self.keep_what_stays();
            return Err(error);
        }
        self.last_number = number;
        let previous = std::mem::replace(&mut self.current, next);
        let Some(handover) = handover else {
            self.reload = Reload::Replacing { how, previous, own: OwnChildren::New { until: now + 2 * START_LIMIT } };
            return Ok(());
        };
        self.reload = Reload::Replacing { how, previous, own: OwnChildren::Adopting { until: now + START_LIMIT } };
        if !self.tell_own(&Command::Adopt(number, Some(handover))) {
            self.replace_instead("a child cannot be told of it", now);
        }
        Ok(())
    }

    /// What the server's own children need to serve the generation of these settings; `None` if that is for new ones.
    fn handover(&self, settings: &Settings) -> Result<Option<Handover>, ServeError> {
        if self.current.own().settings() != settings.pools[0] {
            return Ok(None);
        }
        let failed = |error| ServeError::System { what: "hand the configuration over to children", error };
        self.application.handover().map(|text| Handover::write(&text)).transpose().map_err(failed)
    }

    /// Whether all of them will hear of it that have not hung up.
    fn tell_own(&self, command: &Command) -> bool {
        let is_deaf = |child: &&Child| !child.tell(command) && matches!(child.link, Link::Open(_));
        self.own_children().filter(is_deaf).count() == 0
    }

    /// The server's own children of the current generation that serve, be it only what is open.
    pub(super) fn own_children(&self) -> impl Iterator<Item = &Child> {
        let serves = |child: &Child| child.phase.serves() && *child.origin == *self.current.own().origin;
        self.children.iter().map(|(_, child)| child).filter(move |child| serves(child))
    }

    /// Adds the slots that pools of the next generation need and older ones do not leave.
    fn make_room(&mut self, next: &Generation) -> Result<(), ServeError> {
        let slots = next.slots_needed(&self.children, &self.leaving);
        if slots > self.children.slots() {
            let failed = |error| ServeError::System { what: "make the scoreboard larger", error };
            self.scoreboard.grow_to(slots).map_err(failed)?;
            self.children.grow_to(slots);
        }
        Ok(())
    }

    /// Whether the server's own children are about to take the current generation over.
    pub(super) fn is_adopting(&self) -> bool {
        matches!(self.reload, Reload::Replacing { own: OwnChildren::Adopting { .. }, .. })
    }

    /// When the reload that is under way has taken too long.
    pub(super) fn reload_due_at(&self) -> Option<Instant> {
        match self.reload {
            Reload::Replacing { own, .. } => Some(own.until()),
            Reload::Idle | Reload::Preparing { .. } => None,
        }
    }

    /// Publishes the current generation and lets go of what is older, if everything is there that it needs.
    pub(super) fn complete_reload(&mut self, now: Instant) {
        let Reload::Replacing { how, own, .. } = self.reload else { return };
        let current = self.current.number;
        let is_in_place = matches!(own, OwnChildren::Adopting { .. });
        let is_late = now >= own.until();
        if is_in_place && !self.is_adopted() {
            if is_late {
                self.replace_instead("its children have not taken it over in time", now);
            }
            return;
        }
        if !self.current.is_proven() {
            if is_late {
                self.abandon_generation("a pool has not got children in time", now);
            }
            return;
        }
        self.publish();
        if how == How::AtOnce {
            let Self { children, current, leaving, .. } = self;
            leaving.clear();
            for (_, child) in children.iter_mut().filter(|(_, child)| !current.has(&child.origin)) {
                child.terminate(now);
            }
            self.scoreboard.reset_counters();
            self.application.reset_counters();
        }
        if is_in_place {
            self.tell_own(&Command::Published(current));
        }
        self.reload = Reload::Idle;
        self.let_go_of_older();
        tracing::info!("generation {current} is ready: {}", self.current.own().mpm);
        self.tell_publication(now);
        self.end_reload(now);
    }

    /// Whether all of the server's own children can serve the current generation.
    fn is_adopted(&self) -> bool {
        self.own_children().all(|child| child.latest == self.current.number)
    }

    /// The current generation cannot start: goes back to the previous one, if that still serves.
    pub(super) fn abandon_generation(&mut self, reason: &str, now: Instant) {
        if self.go_back(now) {
            tracing::error!("reload failed, generation {} goes on serving: {reason}", self.current.number);
            self.lookout.tell(&News::Failed(reason.to_owned()), now);
            self.end_reload(now);
        }
    }

    /// The children that there are cannot take the current generation over: new ones are tried. Whoever waits for the outcome
    /// waits for theirs.
    pub(super) fn replace_instead(&mut self, reason: &str, now: Instant) {
        let number = self.current.number;
        if self.go_back(now) {
            tracing::warn!("generation {number} is not taken over ({reason}): new children are tried");
            self.reload_next = self.reload_next.max(Some(How::Gracefully));
            self.end_reload(now);
        }
    }

    /// Whether there was something to go back to. Why, and what comes next, is for the caller to say.
    pub(super) fn go_back(&mut self, now: Instant) -> bool {
        let (previous, own) = match std::mem::replace(&mut self.reload, Reload::Idle) {
            Reload::Replacing { previous, own, .. } => (previous, own),
            other @ (Reload::Idle | Reload::Preparing { .. }) => {
                self.reload = other;
                return false;
            }
        };
        let abandoned = std::mem::replace(&mut self.current, previous);
        self.keep_what_stays();
        let Self { children, current, .. } = self;
        // One that was forked meanwhile, in a pool that stays, began with what is abandoned.
        let is_needless = |child: &Child| {
            child.born == abandoned.number || (abandoned.has(&child.origin) && !current.has(&child.origin))
        };
        for (_, child) in children.iter_mut().filter(|(_, child)| is_needless(child)) {
            child.terminate(now);
        }
        if let OwnChildren::Adopting { .. } = own {
            self.tell_own(&Command::Drop(abandoned.number));
        }
        self.application.abandon();
        self.let_go_of_older();
        true
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
