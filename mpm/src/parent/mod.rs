//! The parent: one thread and one loop that waits for signals, for children's reports and for the time, and acts.
//! It reads no connection, loads no guest, and never blocks elsewhere than in that one wait.

mod children;
mod descriptors;
mod listeners;
mod pace;
mod phase;
mod plan;
mod preparation;
mod reap;
mod reload;
mod spawn;
mod start;
mod stop;

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use self::children::{Child, Children, Link};
use self::listeners::Listeners;
use self::phase::{Death, Phase, START_LIMIT};
use self::plan::{Action, Census, Planner, Remark};
use self::reap::End;
use self::reload::{How, Reload};
use self::spawn::Forked;
use self::stop::Stage;
use crate::child::Role;
use crate::control::{Command, Report};
use crate::error::{ServeError, StartError};
use crate::pid_file::PidFile;
use crate::protocol::Application;
use crate::scoreboard::Scoreboard;
use crate::settings::Settings;
use crate::signal::{Order, Signals};

/// How [`run`] ends.
pub(crate) enum Ended {
    /// The server has stopped, as it was told to.
    Stopped,
    /// This process is a child, and nothing of the parent is left in it.
    Forked(Box<Role>),
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

/// Children that are started from one load, and the plan for them.
#[derive(Debug)]
struct Generation {
    /// 0 at first; never used twice, not even after a generation was abandoned.
    number: u32,
    settings: Settings,
    planner: Planner,
}

impl Generation {
    fn first(settings: Settings, now: Instant) -> Self {
        Self { number: 0, planner: Planner::new(&settings.mpm, now), settings }
    }

    /// `active`: children of the generation before.
    fn taking_over(number: u32, settings: Settings, active: usize, now: Instant) -> Self {
        Self { number, planner: Planner::taking_over(&settings.mpm, active, now), settings }
    }
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
    /// The highest number of a generation so far.
    last_number: u32,
    stage: Stage,
    reload: Reload,
    /// Ordered while another one was under way.
    reload_next: Option<How>,
}

impl<A: Application> Parent<'_, A> {
    fn serve(&mut self) -> Result<Ended, ServeError> {
        loop {
            let now = Instant::now();
            self.end_overdue(now);
            if let Some(role) = self.carry_out_plan(now) {
                return Ok(Ended::Forked(Box::new(role)));
            }
            if let Some(ended) = self.ended(now) {
                return ended.map(|()| Ended::Stopped);
            }
            let reporting = self.wait(now)?;
            let now = Instant::now();
            self.take_orders(now)?;
            for slot in reporting {
                self.take_reports(slot, now);
            }
            self.advance_preparation(now);
        }
    }

    /// Waits until something happens or is due. Answers with the slots of children that have something to say.
    fn wait(&self, now: Instant) -> Result<Vec<usize>, ServeError> {
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
        let descriptors = links.into_iter().chain([self.signals.as_fd()]).chain(preparation);
        let mut polled: Vec<_> = descriptors.map(|descriptor| PollFd::new(descriptor, PollFlags::POLLIN)).collect();
        match poll(&mut polled, timeout) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(Vec::new()),
            Err(error) => {
                return Err(ServeError::System { what: "wait for children and signals", error: error.into() });
            }
        }
        let reporting = slots.into_iter().zip(&polled).filter(|(_, polled)| polled.any().unwrap_or(true));
        Ok(reporting.map(|(slot, _)| slot).collect())
    }

    /// When the loop has to act although nothing has happened.
    fn due_at(&self, now: Instant) -> Option<Instant> {
        let children = self.children.iter().filter_map(|(_, child)| child.overdue_at()).min();
        let plan = match self.stage {
            Stage::Opening | Stage::Serving => {
                self.current.planner.due_at(&self.census(), &self.current.settings.mpm, now)
            }
            Stage::Finishing { .. } | Stage::Ending { .. } => None,
        };
        children.into_iter().chain(plan).chain(self.stage.due_at()).min()
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

    fn census(&self) -> Census {
        let threads = self.current.settings.mpm.threads_per_child();
        self.children.census(self.current.number, threads, &self.scoreboard)
    }

    /// Starts and ends children as planned. `Some`: this process is one of those that were started.
    fn carry_out_plan(&mut self, now: Instant) -> Option<Role> {
        if self.stage.is_stopping() {
            return None;
        }
        let census = self.census();
        for action in self.current.planner.plan(&census, &self.current.settings.mpm, now) {
            match action {
                Action::Spawn(count) => {
                    if let Some(role) = self.spawn(count, now) {
                        return Some(role);
                    }
                }
                Action::Drain(slot) => {
                    if let Some(child) = self.children.at(slot) {
                        child.drain(Command::Drain);
                    }
                }
                Action::Remark(remark) => log_remark(remark),
            }
        }
        None
    }

    fn spawn(&mut self, count: usize, now: Instant) -> Option<Role> {
        for _ in 0..count {
            let slot = self.children.free_slot()?;
            match spawn::fork_child(self.current.number, now) {
                Ok(Forked::Parent(child)) => {
                    tracing::debug!("child {} starts in slot {slot}, generation {}", child.pid, child.generation);
                    self.children.insert(slot, child);
                }
                Ok(Forked::Child(control)) => {
                    let settings = self.current.settings.clone();
                    return Some(Role {
                        slot,
                        generation: self.current.number,
                        listeners: std::mem::take(&mut self.listeners).into_wanted(&settings.listen),
                        settings,
                        control,
                        scoreboard: self.scoreboard.clone(),
                    });
                }
                Err(error) => {
                    tracing::error!("cannot fork a child: {error}");
                    self.current.planner.shortage(now);
                    break;
                }
            }
        }
        None
    }

    /// Ends children that have been starting, ending or deaf for too long.
    fn end_overdue(&mut self, now: Instant) {
        let overdue = self.children.iter().filter(|(_, child)| child.overdue_at().is_some_and(|due| due <= now));
        for slot in overdue.map(|(slot, _)| slot).collect::<Vec<_>>() {
            let Some(child) = self.children.at(slot) else { continue };
            let phase = child.phase;
            tracing::warn!("child {} has been {phase} for too long, or has hung up: it is killed", child.pid);
            child.kill();
            if let Phase::Starting { .. } = phase {
                let generation = child.generation;
                self.start_failed(generation, &format!("it is not ready after {START_LIMIT:?}"), now);
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
                    let generation = child.generation;
                    self.child_is_ready(generation, now);
                }
                Report::Retiring => child.phase = child.phase.drain(),
                Report::Failed(reason) => {
                    tracing::error!("child {} cannot start: {reason}", child.pid);
                    // It ends by itself now.
                    child.phase = child.phase.end(now);
                    let generation = child.generation;
                    self.start_failed(generation, &reason, now);
                }
            }
        }
    }

    fn child_is_ready(&mut self, generation: u32, now: Instant) {
        if generation != self.current.number {
            return;
        }
        self.current.planner.ready();
        match self.stage {
            Stage::Opening => {
                self.stage = Stage::Serving;
                tracing::info!("ready");
                self.begin_reload_that_waits(now);
            }
            Stage::Serving => self.complete_reload(now),
            Stage::Finishing { .. } | Stage::Ending { .. } => {}
        }
    }

    /// A child has said why it cannot start: so it will be with the next one, as long as nobody knows better.
    fn start_failed(&mut self, generation: u32, reason: &str, now: Instant) {
        if generation != self.current.number {
            return;
        }
        match (&self.stage, &self.reload) {
            (Stage::Opening, _) => self.stop(Some(ServeError::Child(StartError(reason.to_owned()))), now),
            (Stage::Serving, Reload::Replacing { .. }) => self.abandon_generation(reason, now),
            (Stage::Serving, Reload::Idle | Reload::Preparing { .. }) => self.current.planner.failed_start(now),
            (Stage::Finishing { .. } | Stage::Ending { .. }, _) => {}
        }
    }

    /// Takes the dead off the table; the plan replaces them.
    fn reap(&mut self, now: Instant) {
        for (slot, end) in reap::dead(&self.children) {
            // What it said before it died.
            self.take_reports(slot, now);
            self.scoreboard.mark_dead(slot);
            if let Some(child) = self.children.remove(slot) {
                self.child_died(slot, &child, end, now);
            }
        }
    }

    fn child_died(&mut self, slot: usize, child: &Child, end: End, now: Instant) {
        let death = child.phase.died(now);
        log_death(slot, child, end, death);
        if child.generation != self.current.number || self.stage.is_stopping() {
            return;
        }
        if end.is_sick() {
            self.current.planner.shortage(now);
        }
        self.current.planner.died(death, now);
        if death == Death::BeforeReady && self.current.planner.is_hopeless() {
            let reason = format!("it {end}, as those before it");
            match (&self.stage, &self.reload) {
                (Stage::Opening, _) => self.stop(Some(ServeError::Child(StartError(reason))), now),
                _ => self.abandon_generation(&reason, now),
            }
        }
    }
}

fn log_remark(remark: Remark) {
    match remark {
        Remark::LimitReached => {
            tracing::warn!("max_request_workers is reached: more connections wait; consider raising it");
        }
        Remark::ScoreboardFull => {
            tracing::warn!("older generations still drain in every slot: new children wait for them");
        }
        Remark::Busy { spawning, idle } => {
            tracing::info!("the server seems busy: {spawning} more children start, {idle} threads are idle");
        }
    }
}

fn log_death(slot: usize, child: &Child, end: End, death: Death) {
    let (pid, phase) = (child.pid, child.phase);
    match death {
        Death::Expected if end.is_orderly() || !matches!(phase, Phase::Draining) => {
            tracing::debug!("child {pid} (slot {slot}) {end}");
        }
        Death::Expected => tracing::warn!("child {pid} (slot {slot}) {end} before all that was open was finished"),
        Death::BeforeReady => tracing::error!("child {pid} (slot {slot}) {end} before it was ready"),
        Death::Young | Death::Aged if end.is_orderly() => tracing::info!("child {pid} (slot {slot}) {end} by itself"),
        Death::Young | Death::Aged => tracing::error!("child {pid} (slot {slot}) {end}"),
    }
}

/// Rounded up: waking too early would mean to wait again, for nothing.
fn timeout_until(due: Instant, now: Instant) -> PollTimeout {
    let left = due.saturating_duration_since(now) + Duration::from_micros(999);
    PollTimeout::try_from(left.as_millis()).unwrap_or(PollTimeout::MAX)
}
