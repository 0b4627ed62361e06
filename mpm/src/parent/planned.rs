//! Carrying plans out: which pools are planned for at the moment, and what becomes of their plans. What a plan says is decided
//! in [`plan`](super::plan).

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use super::children::Origin;
use super::generation::Pool;
use super::plan::{Action, Remark};
use super::reload::{OwnChildren, Reload};
use super::spawn::{self, Forked};
use super::{Parent, Stage};
use crate::child::Role;
use crate::control::Command;
use crate::protocol::Application;

/// Where a pool stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the current generation.
    Current(usize),
    /// Among those that leave.
    Leaving(usize),
}

impl<A: Application> Parent<'_, A> {
    pub(super) fn pool_at(&self, place: Place) -> &Pool {
        match place {
            Place::Current(index) => &self.current.pools[index],
            Place::Leaving(index) => &self.leaving[index].pool,
        }
    }

    pub(super) fn pool_at_mut(&mut self, place: Place) -> &mut Pool {
        match place {
            Place::Current(index) => &mut self.current.pools[index],
            Place::Leaving(index) => &mut self.leaving[index].pool,
        }
    }

    /// The pool that a child belongs to, if it is planned for.
    pub(super) fn pool_of(&mut self, origin: &Origin) -> Option<&mut Pool> {
        let leaving = self.leaving.iter_mut().map(|leaving| &mut leaving.pool);
        self.current.pools.iter_mut().chain(leaving).find(|pool| *pool.origin == *origin)
    }

    /// The pools in which children are started and ended as planned. While the server finishes, these are those that its own
    /// children may still speak to.
    fn planned(&self) -> impl Iterator<Item = Place> + use<A> {
        let (all, leaving) = (self.current.pools.len(), self.leaving.len());
        let (current, leaving) = match self.stage {
            Stage::Opening | Stage::Serving => (usize::from(!self.plans_own())..all, 0..leaving),
            Stage::Finishing { .. } if self.children.iter().any(|(_, child)| child.origin.is_own()) => {
                (1..all, 0..leaving)
            }
            Stage::Finishing { .. } | Stage::Ending { .. } => (0..0, 0..0),
        };
        current.map(Place::Current).chain(leaving.map(Place::Leaving))
    }

    /// Whether children of the server's own pool are started and ended.
    fn plans_own(&self) -> bool {
        match &self.reload {
            Reload::Idle | Reload::Preparing { .. } => true,
            // They accept as soon as they are ready, and should not have to be ended because a pool that they need is not.
            Reload::Replacing { own: OwnChildren::New { .. }, .. } => self.current.others_are_proven(),
            // Those that there are go on; only somebody has to accept.
            Reload::Replacing { own: OwnChildren::Adopting { .. }, .. } => {
                !self.own_children().any(|child| child.phase.is_active())
            }
        }
    }

    /// When to plan although nothing has happened.
    pub(super) fn plans_due_at(&self, now: Instant) -> Option<Instant> {
        let plans = self.planned().filter_map(|place| {
            let pool = self.pool_at(place);
            pool.planner.due_at(&pool.census(&self.children, &self.scoreboard), &pool.mpm, now)
        });
        plans.min()
    }

    /// Where a connection that waits makes a child start, with the pool that it waits for. The parent only looks: it
    /// is the child that accepts.
    pub(super) fn listeners_watched(&self) -> impl Iterator<Item = (Place, BorrowedFd<'_>)> {
        let heeds_demand = |place: &Place| {
            let pool = self.pool_at(*place);
            pool.planner.heeds_demand(&pool.census(&self.children, &self.scoreboard), &pool.mpm)
        };
        self.planned().filter(heeds_demand).flat_map(|place| {
            let listeners = self.listeners.among(&self.pool_at(place).origin.listen);
            listeners.map(move |listener| (place, listener.as_fd()))
        })
    }

    /// Starts and ends children as planned. `Some`: this process is one of those that were started.
    pub(super) fn carry_out_plan(&mut self, now: Instant) -> Option<Role> {
        for place in self.planned() {
            let pool = self.pool_at(place);
            let (census, mpm) = (pool.census(&self.children, &self.scoreboard), pool.mpm.clone());
            for action in self.pool_at_mut(place).planner.plan(&census, &mpm, now) {
                match action {
                    Action::Spawn(count) => {
                        if let Some(role) = self.spawn(place, count, now) {
                            return Some(role);
                        }
                    }
                    Action::Drain(slot) => {
                        if let Some(child) = self.children.at(slot) {
                            child.drain(&Command::Drain);
                        }
                    }
                    Action::Remark(remark) => log_remark(&self.pool_at(place).origin, remark),
                }
            }
        }
        None
    }

    fn spawn(&mut self, place: Place, count: usize, now: Instant) -> Option<Role> {
        for _ in 0..count {
            let slot = self.children.free_slot()?;
            let Pool { origin, generation, index, .. } = self.pool_at(place);
            let (generation, pool) = (*generation, *index);
            match spawn::fork_child(origin, generation, now) {
                Ok(Forked::Parent(child)) => {
                    tracing::debug!("{child} starts in slot {slot}, generation {generation}");
                    self.children.insert(slot, child);
                }
                Ok(Forked::Child(control)) => {
                    let settings = self.pool_at(place).settings();
                    let listeners = std::mem::take(&mut self.listeners).into_wanted(&settings.listen);
                    let scoreboard = self.scoreboard.clone();
                    return Some(Role { slot, generation, pool, settings, listeners, control, scoreboard });
                }
                Err(error) => {
                    tracing::error!("{origin}cannot fork a child: {error}");
                    self.pool_at_mut(place).planner.shortage(now);
                    break;
                }
            }
        }
        None
    }
}

fn log_remark(origin: &Origin, remark: Remark) {
    match remark {
        Remark::LimitReached => {
            tracing::warn!("{origin}max_request_workers is reached: more connections wait; consider raising it");
        }
        Remark::ScoreboardFull => {
            tracing::warn!("{origin}older generations still drain in every slot: new children wait for them");
        }
        Remark::Busy { spawning, idle } => {
            tracing::info!("{origin}the server seems busy: {spawning} more children start, {idle} threads are idle");
        }
    }
}
