//! The parent: one thread and one loop that waits for signals, for children's reports and for the time, and acts.
//! It accepts no connection, loads no guest, and never blocks elsewhere than in that one wait.

mod children;
mod descriptors;
mod generation;
mod leaving;
mod listeners;
mod lookout;
mod pace;
mod phase;
mod plan;
mod planned;
mod preparation;
mod reap;
mod reload;
mod spawn;
mod start;
mod stop;

use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use self::children::{Child, Children, Link, Origin};
use self::generation::{Generation, Leaving};
use self::listeners::Listeners;
use self::lookout::Lookout;
use self::phase::{Death, Phase, START_LIMIT};
use self::planned::Place;
use self::reap::End;
use self::reload::{How, Reload};
use self::stop::Stage;
use crate::child::Role;
use crate::control::{Command, Report};
use crate::error::{ServeError, StartError};
use crate::lookout::{self as lookout_line, News, Request, Serving};
use crate::pid_file::PidFile;
use crate::protocol::Application;
use crate::scoreboard::Scoreboard;
use crate::signal::{Order, Signals};

/// How [`run`] ends.
pub(crate) enum Ended {
    /// The server has stopped, as it was told to.
    Stopped,
    /// This process is a child, and nothing of the parent is left in it.
    Forked(Box<Role>),
    /// This process is the lookout, and nothing of the parent is left in it.
    Lookout(Box<lookout_line::Lookout>),
}

/// The parent's whole life.
pub(crate) fn run<A: Application>(application: &mut A) -> Result<Ended, ServeError> {
    let Some(mut parent) = start::start(application)? else { return Ok(Ended::Stopped) };
    let ended = parent.serve();
    if ended.is_err() {
        parent.break_off();
    }
    ended
}

/// What the loop works on. Dropping it has no effect outside of the process, because a child drops a copy.
struct Parent<'a, A: Application> {
    application: &'a mut A,
    signals: Signals,
    scoreboard: Scoreboard,
    listeners: Listeners,
    pid_file: Option<PidFile>,
    children: Children,
    /// The generation that new children belong to.
    current: Generation,
    /// Pools of older ones that may still be needed.
    leaving: Vec<Leaving>,
    /// The highest number of a generation so far.
    last_number: u32,
    stage: Stage,
    reload: Reload,
    /// Ordered while another one was under way.
    reload_next: Option<How>,
    lookout: Lookout,
    /// What serves, as the lookout is told.
    serving: Serving,
}

/// What has ended a wait.
#[derive(Debug, Default)]
struct Woken {
    /// Slots of children that have something to say.
    reporting: Vec<usize>,
    /// Pools in which a connection waits that is to be heeded.
    demanded: Vec<Place>,
}

impl<A: Application> Parent<'_, A> {
    fn serve(&mut self) -> Result<Ended, ServeError> {
        loop {
            let now = Instant::now();
            self.end_overdue(now);
            self.let_go();
            if let Some(role) = self.carry_out_plan(now) {
                return Ok(Ended::Forked(Box::new(role)));
            }
            if let Some(lookout) = self.keep_lookout(now) {
                return Ok(Ended::Lookout(Box::new(lookout)));
            }
            if let Some(ended) = self.ended(now) {
                return ended.map(|()| Ended::Stopped);
            }
            let Woken { reporting, demanded } = self.wait(now)?;
            let now = Instant::now();
            for place in demanded {
                self.pool_at_mut(place).planner.demand();
            }
            self.take_orders(now)?;
            for slot in reporting {
                self.take_reports(slot, now);
            }
            self.advance_preparation(now);
            if let Stage::Serving = self.stage {
                self.complete_reload(now);
            }
            self.heed_lookout(now);
        }
    }

    /// Starts what watches for changes, if there is to be one and it is time. `Some`: this process is the one.
    fn keep_lookout(&mut self, now: Instant) -> Option<lookout_line::Lookout> {
        if !self.lookout.is_due(now) {
            return None;
        }
        match (&self.stage, &self.reload) {
            (Stage::Serving, Reload::Idle | Reload::Preparing { .. }) => {
                let line = self.lookout.start(now)?;
                let (scoreboard, serving) = (self.scoreboard.clone(), self.serving.clone());
                Some(lookout_line::Lookout { line, scoreboard, serving })
            }
            // The application's latest load does not serve yet.
            (Stage::Serving, Reload::Replacing { .. }) => {
                self.lookout.put_off(now);
                None
            }
            (Stage::Opening | Stage::Finishing { .. } | Stage::Ending { .. }, _) => {
                self.lookout.end();
                None
            }
        }
    }

    /// What watches for changes may ask for something.
    fn heed_lookout(&mut self, now: Instant) {
        /// One that never stops asking is heard again in the next turn.
        const REQUESTS_PER_TURN: usize = 8;
        for _ in 0..REQUESTS_PER_TURN {
            match self.lookout.hear(now) {
                None => return,
                Some(Request::Publish) => self.request_reload(How::InPlace, now),
                Some(Request::Reload) => self.request_reload(How::Gracefully, now),
                Some(Request::Restart) => self.request_reload(How::AtOnce, now),
                Some(Request::Stop) => self.stop(None, now),
                Some(Request::StopGracefully) => self.stop_gracefully(now),
            }
        }
    }

    /// Whatever begins from here on is served as it was loaded last. That is written down before, so that the server serves
    /// what clients have seen last, at whatever moment it dies.
    fn publish(&mut self) {
        self.serving = Serving { generation: self.current.number, note: self.application.publish() };
        self.scoreboard.publish(self.current.number);
    }

    /// Who waits for that is told.
    fn tell_publication(&mut self, now: Instant) {
        self.application.published();
        self.lookout.tell(&News::Serving(self.serving.clone()), now);
    }

    /// Waits until something happens or is due.
    fn wait(&self, now: Instant) -> Result<Woken, ServeError> {
        let timeout = self.due_at(now).map_or(PollTimeout::NONE, |due| timeout_until(due, now));
        let preparation = match &self.reload {
            Reload::Preparing { preparation, .. } => preparation.descriptor(),
            Reload::Idle | Reload::Replacing { .. } => None,
        };
        let (slots, links): (Vec<_>, Vec<_>) = self
            .children
            .iter()
            .filter_map(|(slot, child)| match &child.link {
                Link::Open(control) => Some((slot, control.as_fd())),
                Link::Closed { .. } => None,
            })
            .unzip();
        let (pools, listeners): (Vec<_>, Vec<_>) = self.listeners_watched().unzip();
        let others = [self.signals.as_fd()].into_iter().chain(preparation).chain(self.lookout.descriptor());
        let descriptors = links.into_iter().chain(listeners).chain(others);
        let mut polled: Vec<_> = descriptors.map(|descriptor| PollFd::new(descriptor, PollFlags::POLLIN)).collect();
        match poll(&mut polled, timeout) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(Woken::default()),
            Err(error) => {
                return Err(ServeError::System { what: "wait for children and signals", error: error.into() });
            }
        }
        let (links, others) = polled.split_at(slots.len());
        Ok(Woken { reporting: those_ready(slots, links), demanded: those_ready(pools, others) })
    }

    /// When the loop has to act although nothing has happened.
    fn due_at(&self, now: Instant) -> Option<Instant> {
        let children = self.children.iter().filter_map(|(_, child)| child.overdue_at()).min();
        let others = [self.plans_due_at(now), self.stage.due_at(), self.reload_due_at(), self.lookout.due_at()];
        children.into_iter().chain(others.into_iter().flatten()).min()
    }

    fn take_orders(&mut self, now: Instant) -> Result<(), ServeError> {
        let failed = |error| ServeError::System { what: "read signals", error };
        while let Some(order) = self.signals.next().map_err(failed)? {
            match order {
                Order::ChildDied => self.reap(now),
                Order::Reload => self.request_reload(How::Gracefully, now),
                Order::Restart => self.request_reload(How::AtOnce, now),
                Order::Stop => self.stop(None, now),
                Order::StopGracefully => self.stop_gracefully(now),
            }
        }
        Ok(())
    }

    /// Ends children that have been starting, ending or deaf for too long.
    fn end_overdue(&mut self, now: Instant) {
        let overdue = self.children.iter().filter(|(_, child)| child.overdue_at().is_some_and(|due| due <= now));
        for slot in overdue.map(|(slot, _)| slot).collect::<Vec<_>>() {
            let Some(child) = self.children.at(slot) else { continue };
            let phase = child.phase;
            tracing::warn!("{child} has been {phase} for too long, or has hung up: it is killed");
            child.kill();
            if let Phase::Starting { .. } = phase {
                let origin = Rc::clone(&child.origin);
                self.start_failed(&origin, &format!("it is not ready after {START_LIMIT:?}"), now);
            }
        }
    }

    /// Takes all that a child has reported.
    fn take_reports(&mut self, slot: usize, now: Instant) {
        while let Some(child) = self.children.at(slot) {
            match child.receive(now) {
                Report::None | Report::Gone => return,
                Report::Ready => {
                    child.phase = child.phase.ready(now);
                    let origin = Rc::clone(&child.origin);
                    self.child_is_ready(&origin, now);
                }
                Report::Retiring => child.phase = child.phase.drain(),
                Report::Failed(reason) => {
                    tracing::error!("{child} cannot start: {reason}");
                    // It ends by itself now.
                    child.phase = child.phase.end(now);
                    let origin = Rc::clone(&child.origin);
                    self.start_failed(&origin, &reason, now);
                }
                Report::Adopted(generation) => self.child_has_adopted(slot, generation),
                Report::NotAdopted(generation, reason) => {
                    tracing::error!("{child} cannot take generation {generation} over: {reason}");
                    let is_own = *child.origin == *self.current.own().origin;
                    if is_own && generation == self.current.number && self.is_adopting() {
                        // New children may have the room that this one lacks; if they have not, that is the end of it.
                        self.replace_instead(&reason, now);
                    }
                }
                Report::Held(generations) => child.held = generations,
            }
        }
    }

    fn child_is_ready(&mut self, origin: &Origin, now: Instant) {
        let Some(pool) = self.pool_of(origin) else { return };
        pool.planner.ready();
        if !self.current.is_proven() {
            return;
        }
        match self.stage {
            Stage::Opening => {
                self.stage = Stage::Serving;
                self.publish();
                tracing::info!("ready");
                self.tell_publication(now);
                if self.application.has_lookout() {
                    self.lookout.want(now);
                }
                self.begin_reload_that_waits(now);
            }
            Stage::Serving | Stage::Finishing { .. } | Stage::Ending { .. } => {}
        }
    }

    fn child_has_adopted(&mut self, slot: usize, generation: u32) {
        let is_awaited = generation == self.current.number;
        match self.children.at(slot) {
            Some(child) if is_awaited => child.latest = generation,
            // That one was abandoned while the child took it over.
            Some(child) => {
                child.tell(&Command::Drop(generation));
            }
            None => {}
        }
    }

    /// A child has said why it cannot start: so it will be with the next one, as long as nobody knows better.
    fn start_failed(&mut self, origin: &Origin, reason: &str, now: Instant) {
        let Some(pool) = self.pool_of(origin) else { return };
        pool.planner.failed_start(now);
        if !pool.planner.is_proven() {
            self.give_up(origin, reason, now);
        }
    }

    /// A pool cannot have the children that it needs to begin with: without it there is no generation.
    fn give_up(&mut self, origin: &Origin, reason: &str, now: Instant) {
        if !self.current.has(origin) {
            // One that leaves: it is tried again for as long as somebody may need it.
            return;
        }
        let reason = format!("{origin}{reason}");
        match self.stage {
            Stage::Opening => self.stop(Some(ServeError::Child(StartError(reason))), now),
            Stage::Serving => self.abandon_generation(&reason, now),
            Stage::Finishing { .. } | Stage::Ending { .. } => {}
        }
    }

    /// Takes the dead off the table; the plan replaces them.
    fn reap(&mut self, now: Instant) {
        for (slot, end) in reap::dead(&self.children) {
            // What it said before it died.
            self.take_reports(slot, now);
            self.scoreboard.mark_dead(slot);
            if let Some(child) = self.children.remove(slot) {
                self.children.look_for(&child);
                self.child_died(slot, &child, end, now);
            }
        }
    }

    fn child_died(&mut self, slot: usize, child: &Child, end: End, now: Instant) {
        let death = child.phase.died(now);
        log_death(slot, child, end, death);
        let Some(pool) = self.pool_of(&child.origin) else { return };
        if end.is_sick() {
            pool.planner.shortage(now);
        }
        pool.planner.died(death, now);
        if death == Death::BeforeReady && pool.planner.is_hopeless() && !pool.planner.is_proven() {
            self.give_up(&child.origin, &format!("it {end}, as those before it"), now);
        }
    }
}

/// Whoever's descriptor is ready; nobody twice. `polled` may be longer.
fn those_ready<T: PartialEq>(whose: Vec<T>, polled: &[PollFd<'_>]) -> Vec<T> {
    let ready = whose.into_iter().zip(polled).filter(|(_, polled)| polled.any().unwrap_or(true));
    let mut ready: Vec<_> = ready.map(|(whose, _)| whose).collect();
    ready.dedup();
    ready
}

fn log_death(slot: usize, child: &Child, end: End, death: Death) {
    let phase = child.phase;
    match death {
        Death::Expected if end.is_orderly() || !matches!(phase, Phase::Draining) => {
            tracing::debug!("{child} (slot {slot}) {end}");
        }
        Death::Expected => tracing::warn!("{child} (slot {slot}) {end} before all that was open was finished"),
        Death::BeforeReady => tracing::error!("{child} (slot {slot}) {end} before it was ready"),
        Death::Young | Death::Aged if end.is_orderly() => tracing::info!("{child} (slot {slot}) {end} by itself"),
        Death::Young | Death::Aged => tracing::error!("{child} (slot {slot}) {end}"),
    }
}

/// Rounded up: waking too early would mean to wait again, for nothing.
fn timeout_until(due: Instant, now: Instant) -> PollTimeout {
    let left = due.saturating_duration_since(now) + Duration::from_micros(999);
    PollTimeout::try_from(left.as_millis()).unwrap_or(PollTimeout::MAX)
}
