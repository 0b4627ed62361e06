//! How many children there should be, and what to do about it: census in, actions out. Pure: no system calls, no
//! clock.
//!
//! One number, `wanted`, is all that is decided: spare maintenance moves it (Apache's
//! `perform_idle_server_maintenance`, once a second), and whatever differs from it is made up for at once, be it by
//! a death, a child that retires, or a fork that failed. For event the number never moves; where children start on
//! demand, a connection that finds none idle moves it, too.

use std::time::{Duration, Instant};

use super::pace::{HOPELESS, Pace};
use super::phase::Death;
use crate::settings::Mpm;

/// Apache's MAX_SPAWN_RATE: children that spare maintenance adds in a second.
const SPAWN_RATE_MAX: usize = 32;
/// From this rate on the operator hears of it, as in Apache.
const SPAWN_RATE_NOTEWORTHY: usize = 8;
/// Passes after a reload in which the rate does not double (Apache's `hold_off_on_exponential_spawning`): the new
/// children have not had the time to show how busy they are.
const HOLD_OFF_AFTER_RELOAD: u32 = 10;
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(1);
/// How often a pool on demand that has children is looked at: no child tells the parent that it has become busy, and a
/// connection that waits meanwhile shall not wait for the next maintenance.
const DEMAND_INTERVAL: Duration = Duration::from_millis(100);

/// The children of one pool and one generation that carry the load, and the room for more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Census {
    pub(super) members: Vec<Member>,
    /// Lines of the scoreboard that are the pool's and that no child of it has, of whatever generation.
    pub(super) free_slots: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Member {
    pub(super) slot: usize,
    /// Not ready yet. Its threads count as idle, as Apache has it.
    pub(super) starting: bool,
    /// Threads that could take a connection: what the child claims, at most as many as it has.
    pub(super) idle_threads: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Fork so many children.
    Spawn(usize),
    /// Let the child of this slot finish what is open and end.
    Drain(usize),
    /// Tell the operator.
    Remark(Remark),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remark {
    /// More children are needed than MaxRequestWorkers allows.
    LimitReached,
    /// More children are needed than the scoreboard has lines: older generations still drain.
    ScoreboardFull,
    /// Children are added fast.
    Busy { spawning: usize, idle: usize },
}

/// Plans for one pool of one generation.
#[derive(Debug, Clone)]
pub(crate) struct Planner {
    wanted: usize,
    /// Whether it is known that children of this pool can start, or none need to.
    proven: bool,
    spawn_rate: usize,
    hold_off: u32,
    maintenance_at: Instant,
    pace: Pace,
    /// The last one; it is not repeated while it goes on.
    remark: Option<Remark>,
}

impl Planner {
    /// For the first generation.
    pub(super) fn new(mpm: &Mpm, now: Instant) -> Self {
        Self {
            wanted: mpm.start_servers(),
            proven: mpm.start_servers() == 0,
            spawn_rate: 1,
            hold_off: 0,
            maintenance_at: now + MAINTENANCE_INTERVAL,
            pace: Pace::default(),
            remark: None,
        }
    }

    /// For a generation that takes over from one that has `active` children. It starts with as many, so that the
    /// load finds what it had; spare maintenance takes back what is too much.
    pub(super) fn taking_over(mpm: &Mpm, active: usize, now: Instant) -> Self {
        let wanted = match mpm {
            Mpm::Prefork(_) | Mpm::Worker(_) => active.clamp(mpm.start_servers(), mpm.children_max()),
            Mpm::Event(_) => mpm.start_servers(),
        };
        Self { wanted, proven: wanted == 0, hold_off: HOLD_OFF_AFTER_RELOAD, ..Self::new(mpm, now) }
    }

    /// What to do now.
    pub(super) fn plan(&mut self, census: &Census, mpm: &Mpm, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        let mut remark = None;
        if now >= self.maintenance_at {
            self.maintenance_at = now + MAINTENANCE_INTERVAL;
            remark = self.maintain(census, mpm);
        }
        let active = census.members.len();
        if active < self.wanted {
            let allowed = self.pace.allowed(census.starting(), now).min(self.wanted - active);
            let count = allowed.min(census.free_slots);
            if count < allowed {
                remark = Some(Remark::ScoreboardFull);
            }
            if count > 0 {
                actions.push(Action::Spawn(count));
            }
        } else {
            actions.extend(census.idlest(active - self.wanted).map(Action::Drain));
        }
        actions.extend(self.news(remark).map(Action::Remark));
        actions
    }

    /// When to plan again although nothing has happened.
    pub(super) fn due_at(&self, census: &Census, mpm: &Mpm, now: Instant) -> Option<Instant> {
        let maintenance = match mpm {
            // Nothing to maintain: only demand makes a change.
            Mpm::Prefork(_) if self.wanted == 0 && census.members.is_empty() => None,
            Mpm::Prefork(_) | Mpm::Worker(_) => Some(self.maintenance_at),
            Mpm::Event(_) => None,
        };
        let replacement = self.pace.paused(now).filter(|_| census.members.len() < self.wanted);
        let may_grow = mpm.on_demand() && !census.members.is_empty() && self.wanted < mpm.children_max();
        let demand = may_grow.then(|| now + DEMAND_INTERVAL);
        maintenance.into_iter().chain(replacement).chain(demand).min()
    }

    /// Whether a connection that waits should make a child start: none is idle, none is on its way, and there may be
    /// one more.
    pub(super) fn heeds_demand(&self, census: &Census, mpm: &Mpm) -> bool {
        let could_take_it = |member: &Member| member.starting || member.idle_threads > 0;
        mpm.on_demand()
            && census.members.len() == self.wanted
            && self.wanted < mpm.children_max()
            && !census.members.iter().any(could_take_it)
    }

    /// A connection waits that is to be heeded.
    pub(super) fn demand(&mut self) {
        self.wanted += 1;
    }

    /// A child has become ready.
    pub(super) fn ready(&mut self) {
        self.proven = true;
        self.pace.ready();
    }

    /// Whether the pool can serve: a child has been ready, or it needs none to begin with.
    pub(super) fn is_proven(&self) -> bool {
        self.proven
    }

    /// A child could not start, and said so.
    pub(super) fn failed_start(&mut self, now: Instant) {
        self.pace.failed_start(now);
    }

    /// A child has died.
    pub(super) fn died(&mut self, death: Death, now: Instant) {
        match death {
            Death::BeforeReady => self.pace.failed_start(now),
            Death::Young => self.pace.young_death(now),
            Death::Aged | Death::Expected => {}
        }
    }

    /// `fork` has failed, or a child ended because descriptors or memory were out (APEXIT_CHILDSICK).
    pub(super) fn shortage(&mut self, now: Instant) {
        self.spawn_rate = 1;
        self.pace.shortage(now);
    }

    /// Whether so many children in a row could not start that the next one is not likely to.
    pub(super) fn is_hopeless(&self) -> bool {
        self.pace.failed_starts() >= HOPELESS
    }

    /// Apache's spare maintenance: one pass.
    fn maintain(&mut self, census: &Census, mpm: &Mpm) -> Option<Remark> {
        let idle: usize = census.members.iter().map(|member| member.idle_threads).sum();
        match mpm {
            Mpm::Prefork(prefork) => {
                self.keep_spare(census, idle, prefork.min_spare_servers, prefork.max_spare_servers, mpm)
            }
            Mpm::Worker(worker) => {
                self.keep_spare(census, idle, worker.min_spare_threads, worker.max_spare_threads, mpm)
            }
            Mpm::Event(_) => None,
        }
    }

    /// Moves `wanted` so that `idle` comes to lie between `min` and `max`: down by one, up by one, two, four...
    fn keep_spare(&mut self, census: &Census, idle: usize, min: usize, max: usize, mpm: &Mpm) -> Option<Remark> {
        let room = mpm.children_max().saturating_sub(self.wanted);
        if census.members.len() < self.wanted {
            // What is wanted already is not there yet: nobody knows whether it is enough.
            return None;
        }
        if idle > max {
            // One that starts on demand is idle only until it has taken the connection that it was started for.
            if !(mpm.on_demand() && census.starting() > 0) {
                self.wanted = self.wanted.saturating_sub(1).max(usize::from(!mpm.on_demand()));
            }
            self.spawn_rate = 1;
            return None;
        }
        if idle >= min {
            self.spawn_rate = 1;
            return None;
        }
        if room == 0 {
            self.spawn_rate = 1;
            return Some(Remark::LimitReached);
        }
        let spawning = self.spawn_rate.min(room);
        self.wanted += spawning;
        if self.hold_off > 0 {
            self.hold_off -= 1;
        } else {
            self.spawn_rate = (self.spawn_rate * 2).min(SPAWN_RATE_MAX);
        }
        (spawning >= SPAWN_RATE_NOTEWORTHY).then_some(Remark::Busy { spawning, idle })
    }

    /// A remark that was not the last one already.
    fn news(&mut self, remark: Option<Remark>) -> Option<Remark> {
        let news = remark.filter(|_| remark != self.remark);
        self.remark = remark.or(self.remark);
        news
    }
}

impl Census {
    fn starting(&self) -> usize {
        self.members.iter().filter(|member| member.starting).count()
    }

    /// The slots of the `count` children that would be missed least. Of equals, those with the highest slots: the
    /// lowest are filled first.
    fn idlest(&self, count: usize) -> impl Iterator<Item = usize> {
        let mut members = self.members.clone();
        members.sort_unstable_by_key(|member| (member.idle_threads, member.slot));
        members.into_iter().rev().take(count).map(|member| member.slot)
    }
}

#[cfg(test)]
mod tests;
