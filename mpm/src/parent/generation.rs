//! A generation: the pools that one reading of the configuration names, with a plan for each. A pool may be that of the
//! generation before, with its plan and its children. Nothing here acts.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Instant;

use super::children::{Children, Origin};
use super::plan::{Census, Planner};
use crate::scoreboard::Scoreboard;
use crate::settings::{self, ListenAddress, Mpm, Settings};

/// A pool that the latest generation has no more, for as long as a request of an older one may need it.
#[derive(Debug)]
pub(crate) struct Leaving {
    pub(super) pool: Pool,
    /// The first generation that does not have it.
    pub(super) since: u32,
}

impl Leaving {
    /// Whether somebody who still serves requests of this generation may speak to it.
    pub(super) fn is_needed_by(&self, generation: u32) -> bool {
        (self.pool.origin.generation..self.since).contains(&generation)
    }
}

/// The children that serve one load, and the plans for them.
#[derive(Debug)]
pub(crate) struct Generation {
    /// 0 at first; never used twice, not even after a generation was abandoned.
    pub(super) number: u32,
    /// As in [`Settings::pools`]: the first one is the server's own.
    pub(super) pools: Vec<Pool>,
    pid_file: Option<PathBuf>,
}

/// One pool of a generation.
#[derive(Debug, Clone)]
pub(crate) struct Pool {
    pub(super) origin: Rc<Origin>,
    /// The latest generation that has it, and where it stands there: what its children begin with.
    pub(super) generation: u32,
    pub(super) index: usize,
    pub(super) mpm: Mpm,
    pub(super) planner: Planner,
    /// Slots that children of the pool may have, older generations included: room for the new ones beside the old.
    slots: usize,
}

impl Generation {
    pub(super) fn first(settings: &Settings, now: Instant) -> Self {
        Self::of(0, settings, |origin, mpm| {
            Pool::new(origin, mpm, Planner::new(mpm, now), mpm.server_limit().saturating_mul(2))
        })
    }

    /// The one after this. Each pool begins anew, and takes over from the one that has its name here.
    pub(super) fn followed_by(&self, number: u32, settings: &Settings, children: &Children, now: Instant) -> Self {
        Self::of(number, settings, |origin, mpm| {
            let former = self.pools.iter().find(|former| former.origin.name == origin.name);
            let active = former.map_or(0, |former| children.active(&former.origin));
            let server_limit_before = former.map_or(0, |former| former.mpm.server_limit());
            let slots = mpm.server_limit().saturating_add(mpm.server_limit().max(server_limit_before));
            Pool::new(origin, mpm, Planner::taking_over(mpm, active, now), slots)
        })
    }

    /// The same with the pools of the one `before` that are the same there: their children and plans go on.
    pub(super) fn keeping_pools_of(mut self, before: &Generation) -> Self {
        for pool in &mut self.pools {
            let is_same =
                |former: &&Pool| former.settings() == pool.settings() && former.origin.is_own() == pool.origin.is_own();
            if let Some(former) = before.pools.iter().find(is_same) {
                *pool = Pool { generation: pool.generation, index: pool.index, ..former.clone() };
            }
        }
        self
    }

    fn of(number: u32, settings: &Settings, pool: impl Fn(Origin, &Mpm) -> Pool) -> Self {
        let pools = settings.pools.iter().enumerate().map(|(index, settings)| {
            let (name, listen) = (settings.name.clone(), settings.listen.clone());
            pool(Origin { generation: number, pool: index, name, listen }, &settings.mpm)
        });
        Self { number, pools: pools.collect(), pid_file: settings.pid_file.clone() }
    }

    /// What it was made from.
    pub(super) fn settings(&self) -> Settings {
        Settings { pools: self.pools.iter().map(Pool::settings).collect(), pid_file: self.pid_file.clone() }
    }

    /// The server's own pool.
    pub(super) fn own(&self) -> &Pool {
        &self.pools[0]
    }

    /// Whether this generation has the pool of such children.
    pub(super) fn has(&self, origin: &Origin) -> bool {
        self.pools.iter().any(|pool| *pool.origin == *origin)
    }

    /// Whether every pool can serve.
    pub(super) fn is_proven(&self) -> bool {
        self.own().planner.is_proven() && self.others_are_proven()
    }

    /// Whether every pool but the server's own can.
    pub(super) fn others_are_proven(&self) -> bool {
        self.pools[1..].iter().all(|pool| pool.planner.is_proven())
    }

    pub(super) fn listens_on(&self, address: &ListenAddress) -> bool {
        self.pools.iter().any(|pool| pool.origin.listen.contains(address))
    }

    /// How many slots there must be so that each pool finds those that it may have: no pool can take one from another,
    /// and what is left of pools that this generation no longer names takes none from any.
    pub(super) fn slots_needed(&self, children: &Children, leaving: &[Leaving]) -> usize {
        let named = |origin: &Origin| self.pools.iter().any(|pool| pool.origin.name == origin.name);
        let left = children.iter().filter(|(_, child)| !named(&child.origin)).count();
        let own = self.pools.iter().map(|pool| pool.slots.max(children.of_pool(&pool.origin.name)));
        let leaving = leaving.iter().filter(|leaving| !named(&leaving.pool.origin)).map(|leaving| leaving.pool.slots);
        own.chain(leaving).fold(left, usize::saturating_add)
    }

    /// Makes room in each pool for those of its name that leave and are there meanwhile. They share it.
    pub(super) fn widen_for(&mut self, leaving: &mut [Leaving]) {
        for pool in &mut self.pools {
            let of_its_name = || leaving.iter().filter(|other| other.pool.origin.name == pool.origin.name);
            let limits = of_its_name().map(|other| other.pool.mpm.server_limit());
            let both = limits.fold(pool.mpm.server_limit(), usize::saturating_add);
            pool.slots = pool.slots.max(both);
            let slots = pool.slots;
            let of_its_name = leaving.iter_mut().filter(|other| other.pool.origin.name == pool.origin.name);
            of_its_name.for_each(|other| other.pool.slots = other.pool.slots.max(slots));
        }
    }
}

impl Pool {
    fn new(origin: Origin, mpm: &Mpm, planner: Planner, slots: usize) -> Self {
        let (generation, index) = (origin.generation, origin.pool);
        Self { origin: Rc::new(origin), generation, index, mpm: mpm.clone(), planner, slots }
    }

    pub(super) fn settings(&self) -> settings::Pool {
        let Origin { name, listen, .. } = &*self.origin;
        settings::Pool { name: name.clone(), listen: listen.clone(), mpm: self.mpm.clone() }
    }

    pub(super) fn census(&self, children: &Children, scoreboard: &Scoreboard) -> Census {
        children.census(&self.origin, self.slots, self.mpm.threads_per_child(), scoreboard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control;
    use crate::parent::children::{Child, Link};
    use crate::parent::phase::Phase;
    use crate::parent::plan::{Action, Remark};
    use crate::settings::{Event, Prefork};

    fn pool(name: &str, server_limit: usize) -> settings::Pool {
        let mpm = match name {
            "server" => Mpm::Event(Event { start_servers: 2, server_limit, ..Event::default() }),
            _ => Mpm::Prefork(Prefork { start_servers: 1, server_limit, ..Prefork::default() }),
        };
        settings::Pool { name: name.to_owned(), listen: vec![ListenAddress::Unix(name.into())], mpm }
    }

    fn settings(pools: &[(&str, usize)]) -> Settings {
        Settings { pools: pools.iter().map(|(name, limit)| pool(name, *limit)).collect(), pid_file: None }
    }

    /// So many children of a pool that serve; they stand for no process.
    fn add(children: &mut Children, origin: &Rc<Origin>, count: usize) {
        for _ in 0..count {
            let slot = children.free_slot().unwrap();
            let (parent, _child) = control::pair().unwrap();
            let phase = Phase::Serving { since: Instant::now() };
            let (pid, generation) = (nix::unistd::Pid::from_raw(i32::MAX), origin.generation);
            let (born, held, latest) = (generation, vec![generation], generation);
            let (origin, link) = (Rc::clone(origin), Link::Open(parent));
            children.insert(slot, Child { pid, origin, phase, link, born, held, latest });
        }
    }

    fn spawned(generation: &mut Generation, children: &Children, now: Instant) -> Vec<Vec<Action>> {
        let board = Scoreboard::new(100, 64).unwrap();
        let plan = |pool: &mut Pool| pool.planner.plan(&pool.census(children, &board), &pool.mpm, now);
        generation.pools.iter_mut().map(plan).collect()
    }

    #[test]
    fn every_pool_has_room_for_two_generations() {
        let generation = Generation::first(&settings(&[("server", 4), ("a", 3)]), Instant::now());
        assert_eq!(generation.slots_needed(&Children::new(0), &[]), 2 * 4 + 2 * 3);
        assert_eq!(generation.settings(), settings(&[("server", 4), ("a", 3)]));
    }

    #[test]
    fn a_pool_takes_over_from_the_one_of_its_name_wherever_that_stood() {
        let now = Instant::now();
        let old = Generation::first(&settings(&[("server", 4), ("a", 8), ("b", 8)]), now);
        let mut children = Children::new(100);
        add(&mut children, &old.pools[1].origin, 3);
        add(&mut children, &old.pools[2].origin, 5);
        let mut new = old.followed_by(1, &settings(&[("server", 4), ("b", 8), ("c", 8)]), &children, now);
        let expected = [2, 5, 1].map(|count| vec![Action::Spawn(count)]);
        assert_eq!(spawned(&mut new, &children, now), expected);
        assert_eq!(new.slots_needed(&children, &[]), 8 + 16 + 16 + 3, "the three of a still have theirs");
    }

    #[test]
    fn a_generation_that_goes_on_keeps_the_pools_that_are_the_same_wherever_they_stand() {
        let now = Instant::now();
        let old = Generation::first(&settings(&[("server", 4), ("a", 8), ("b", 8), ("c", 8)]), now);
        let children = Children::new(100);
        let new = old
            .followed_by(1, &settings(&[("server", 4), ("c", 8), ("b", 9), ("d", 8)]), &children, now)
            .keeping_pools_of(&old);
        let is_kept = |new: &Pool| old.pools.iter().position(|old| Rc::ptr_eq(&old.origin, &new.origin));
        assert_eq!(new.pools.iter().map(is_kept).collect::<Vec<_>>(), [Some(0), Some(3), None, None]);
        assert!(new.has(&old.pools[3].origin) && !new.has(&old.pools[1].origin));
        assert_eq!((new.pools[1].origin.generation, new.pools[1].generation, new.pools[1].index), (0, 1, 1));
    }

    #[test]
    fn a_pool_that_leaves_is_needed_by_the_generations_that_had_it_and_keeps_its_slots() {
        let now = Instant::now();
        let first = Generation::first(&settings(&[("server", 4)]), now);
        let none = Children::new(0);
        let with = first.followed_by(1, &settings(&[("server", 4), ("a", 3)]), &none, now).keeping_pools_of(&first);
        let leaving = [Leaving { pool: with.pools[1].clone(), since: 4 }];
        assert_eq!(
            [0, 1, 2, 3, 4].map(|generation| leaving[0].is_needed_by(generation)),
            [false, true, true, true, false]
        );
        assert_eq!(first.slots_needed(&none, &leaving), 2 * 4 + 2 * 3);
        let mut leaving: Vec<_> = (2..6).map(|since| Leaving { pool: with.pools[1].clone(), since }).collect();
        let mut next = with.followed_by(6, &with.settings(), &none, now);
        next.widen_for(&mut leaving);
        assert_eq!(next.slots_needed(&none, &leaving), 2 * 4 + 5 * 3, "those of its name share them");
        assert_eq!(leaving[0].pool.slots, 5 * 3);
    }

    #[test]
    fn a_pool_whose_limit_was_lowered_finds_room_beside_its_old_children() {
        let now = Instant::now();
        let old = Generation::first(&settings(&[("server", 4), ("a", 10)]), now);
        let mut children = Children::new(100);
        add(&mut children, &old.pools[1].origin, 10);
        let mut new = old.followed_by(1, &settings(&[("server", 4), ("a", 2)]), &children, now);
        assert_eq!(new.slots_needed(&children, &[]), 8 + 12);
        // All that its own max_request_workers would allow is not to be had in two slots.
        let expected = [vec![Action::Spawn(2)], vec![Action::Spawn(2), Action::Remark(Remark::ScoreboardFull)]];
        assert_eq!(spawned(&mut new, &children, now), expected);
    }

    #[test]
    fn a_generation_is_proven_when_the_last_of_its_pools_is() {
        let now = Instant::now();
        let mut generation = Generation::first(&settings(&[("server", 4), ("a", 3)]), now);
        let (server, a) = (Rc::clone(&generation.pools[0].origin), Rc::clone(&generation.pools[1].origin));
        assert!(generation.own().origin.is_own());
        generation.pools[0].planner.ready();
        assert!(!generation.is_proven());
        generation.pools[1].planner.ready();
        assert!(generation.is_proven());
        let next = generation.followed_by(1, &generation.settings(), &Children::new(0), now);
        assert!(!next.has(&server) && !next.has(&a), "they are of another generation");
        let next = next.keeping_pools_of(&generation);
        assert!(next.has(&server) && next.has(&a) && next.is_proven(), "nothing has changed");
    }
}
