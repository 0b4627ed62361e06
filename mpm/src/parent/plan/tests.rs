//! Tests of the plan: Apache's spare maintenance as tables, and what must hold whatever children claim.

use proptest::prelude::*;

use super::*;
use crate::settings::{Event, Prefork, Worker};

const SECOND: Duration = Duration::from_secs(1);

fn prefork() -> Mpm {
    Mpm::Prefork(Prefork { max_request_workers: 100, ..Prefork::default() })
}

fn on_demand(max_request_workers: usize, max_spare_servers: usize) -> Mpm {
    let (on_demand, start_servers, min_spare_servers) = (true, 0, 0);
    let limits = Prefork { max_request_workers, ..Prefork::default() };
    Mpm::Prefork(Prefork { on_demand, start_servers, min_spare_servers, max_spare_servers, ..limits })
}

/// Children in the slots from 0, of which the first have so many idle threads.
fn census(children: usize, idle: &[usize]) -> Census {
    let idle_threads = |slot| idle.get(slot).copied().unwrap_or(0);
    let member = |slot| Member { slot, starting: false, idle_threads: idle_threads(slot) };
    Census { members: (0..children).map(member).collect(), free_slots: 1000 }
}

/// A load that never ends: whatever is started is busy at once. How many children are added in each second.
fn spawns_under_load(mut planner: Planner, mpm: &Mpm, start: Instant, seconds: u32) -> Vec<usize> {
    let mut children = mpm.start_servers();
    let mut added = Vec::new();
    for second in 1..=seconds {
        let actions = planner.plan(&census(children, &[]), mpm, start + SECOND * second);
        let spawned = actions.iter().map(|action| if let Action::Spawn(count) = action { *count } else { 0 }).sum();
        children += spawned;
        added.push(spawned);
    }
    added
}

#[test]
fn the_start_is_start_servers_children() {
    let now = Instant::now();
    for mpm in [Mpm::Prefork(Prefork::default()), Mpm::Worker(Worker::default()), Mpm::Event(Event::default())] {
        let mut planner = Planner::new(&mpm, now);
        assert_eq!(planner.plan(&census(0, &[]), &mpm, now), [Action::Spawn(mpm.start_servers())]);
        assert_eq!(planner.plan(&census(mpm.start_servers(), &[99]), &mpm, now), []);
    }
}

#[test]
fn prefork_under_load_adds_one_two_four_up_to_its_limit() {
    let now = Instant::now();
    let added = spawns_under_load(Planner::new(&prefork(), now), &prefork(), now, 9);
    assert_eq!(added, [1, 2, 4, 8, 16, 32, 32, 0, 0]);
}

#[test]
fn after_a_reload_the_rate_does_not_double_for_ten_seconds() {
    let now = Instant::now();
    let added = spawns_under_load(Planner::taking_over(&prefork(), 0, now), &prefork(), now, 13);
    assert_eq!(added, [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 4]);
}

#[test]
fn what_is_wanted_is_waited_for_before_more_is_wanted() {
    let now = Instant::now();
    let mut planner = Planner::new(&prefork(), now);
    // Nothing can be forked: the wish does not grow meanwhile.
    let full = Census { free_slots: 0, ..census(2, &[]) };
    for second in 1..10 {
        planner.plan(&full, &prefork(), now + SECOND * second);
    }
    assert_eq!(planner.plan(&census(2, &[]), &prefork(), now + SECOND * 10), [Action::Spawn(3)]);
}

#[test]
fn one_idle_child_too_many_is_drained_each_second() {
    let now = Instant::now();
    let mut planner = Planner::taking_over(&prefork(), 20, now);
    let idle = [0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0];
    assert_eq!(planner.plan(&census(20, &idle), &prefork(), now), []);
    // The idle child with the highest slot.
    assert_eq!(planner.plan(&census(20, &idle), &prefork(), now + SECOND), [Action::Drain(12)]);
    assert_eq!(planner.plan(&census(19, &idle[..12]), &prefork(), now + SECOND), []);
    assert_eq!(planner.plan(&census(19, &idle[..12]), &prefork(), now + SECOND * 2), [Action::Drain(11)]);
    assert_eq!(planner.plan(&census(18, &idle[..11]), &prefork(), now + SECOND * 3), [], "ten idle are allowed");
}

#[test]
fn worker_counts_idle_threads_over_all_children() {
    let now = Instant::now();
    let mpm = Mpm::Worker(Worker::default());
    let mut planner = Planner::new(&mpm, now);
    assert_eq!(planner.plan(&census(3, &[25, 25, 25]), &mpm, now + SECOND), [], "75 are enough");
    assert_eq!(planner.plan(&census(3, &[25, 25, 24]), &mpm, now + SECOND * 2), [Action::Spawn(1)]);
    let mut planner = Planner::taking_over(&mpm, 12, now);
    let idle = [24, 25, 25, 25, 25, 25, 25, 25, 25, 25, 2, 0];
    assert_eq!(planner.plan(&census(12, &idle), &mpm, now + SECOND), [Action::Drain(9)]);
}

#[test]
fn starting_children_count_as_idle() {
    let now = Instant::now();
    let mpm = Mpm::Worker(Worker::default());
    let mut planner = Planner::new(&mpm, now);
    let mut census = census(3, &[25, 25, 25]);
    for member in &mut census.members {
        member.starting = true;
    }
    assert_eq!(planner.plan(&census, &mpm, now + SECOND), []);
}

#[test]
fn event_keeps_its_number_whatever_is_idle() {
    let now = Instant::now();
    let mpm = Mpm::Event(Event { start_servers: 3, ..Event::default() });
    let mut planner = Planner::new(&mpm, now);
    for (second, idle) in [(1, [0, 0, 0]), (2, [64, 64, 64])] {
        assert_eq!(planner.plan(&census(3, &idle), &mpm, now + SECOND * second), []);
    }
    assert_eq!(planner.due_at(&census(3, &[]), &mpm, now), None, "nothing to wake up for");
}

#[test]
fn a_child_that_died_is_replaced_at_once() {
    let now = Instant::now();
    for mpm in [Mpm::Prefork(Prefork::default()), Mpm::Worker(Worker::default()), Mpm::Event(Event::default())] {
        let mut planner = Planner::new(&mpm, now);
        planner.died(Death::Aged, now);
        let left = mpm.start_servers() - 1;
        assert_eq!(planner.plan(&census(left, &[]), &mpm, now), [Action::Spawn(1)]);
    }
}

#[test]
fn in_a_death_loop_the_plan_waits_and_says_until_when() {
    let now = Instant::now();
    let mpm = Mpm::Event(Event::default());
    let mut planner = Planner::new(&mpm, now);
    for _ in 0..HOPELESS {
        assert!(!planner.is_hopeless());
        planner.died(Death::BeforeReady, now);
    }
    assert!(planner.is_hopeless());
    assert_eq!(planner.plan(&census(0, &[]), &mpm, now), []);
    let due = planner.due_at(&census(0, &[]), &mpm, now).expect("a time to try again");
    assert!(due > now);
    assert_eq!(planner.plan(&census(0, &[]), &mpm, due), [Action::Spawn(1)]);
}

#[test]
fn the_limit_is_remarked_once() {
    let now = Instant::now();
    let mpm = Mpm::Prefork(Prefork { max_request_workers: 5, ..Prefork::default() });
    let mut planner = Planner::new(&mpm, now);
    let said: Vec<_> = (1..5).map(|second| planner.plan(&census(5, &[]), &mpm, now + SECOND * second)).collect();
    assert_eq!(said[0], [Action::Remark(Remark::LimitReached)]);
    assert!(said[1..].iter().all(Vec::is_empty), "{said:?}");
}

#[test]
fn draining_generations_that_fill_the_scoreboard_delay_the_next_one() {
    let now = Instant::now();
    let mut planner = Planner::taking_over(&prefork(), 8, now);
    let crowded = Census { free_slots: 2, ..census(0, &[]) };
    assert_eq!(planner.plan(&crowded, &prefork(), now), [Action::Spawn(2), Action::Remark(Remark::ScoreboardFull)]);
}

#[test]
fn a_generation_takes_over_with_as_many_children_as_serve() {
    let now = Instant::now();
    for (active, expected) in [(0, 5), (60, 60), (1000, 100)] {
        let mut planner = Planner::taking_over(&prefork(), active, now);
        assert_eq!(planner.plan(&census(0, &[]), &prefork(), now), [Action::Spawn(expected)]);
    }
    let event = Mpm::Event(Event { start_servers: 2, ..Event::default() });
    let mut planner = Planner::taking_over(&event, 9, now);
    assert_eq!(planner.plan(&census(0, &[]), &event, now), [Action::Spawn(2)]);
}

#[test]
fn a_pool_on_demand_has_no_child_and_sleeps_until_a_connection_waits() {
    let (now, mpm) = (Instant::now(), on_demand(4, 0));
    let mut planner = Planner::new(&mpm, now);
    assert!(planner.is_proven());
    assert_eq!(planner.plan(&census(0, &[]), &mpm, now), []);
    assert_eq!(planner.due_at(&census(0, &[]), &mpm, now), None);
    assert!(planner.heeds_demand(&census(0, &[]), &mpm));
    planner.demand();
    assert!(!planner.heeds_demand(&census(0, &[]), &mpm), "one connection is heeded once");
    // Spare maintenance is overdue: it must not take back what was just asked for.
    assert_eq!(planner.plan(&census(0, &[]), &mpm, now + SECOND * 60), [Action::Spawn(1)]);
}

#[test]
fn demand_is_heeded_while_no_child_is_idle_up_to_the_limit() {
    let (now, mpm) = (Instant::now(), on_demand(2, 1));
    let mut planner = Planner::new(&mpm, now);
    planner.demand();
    let mut one = census(1, &[0]);
    one.members[0].starting = true;
    assert!(!planner.heeds_demand(&one, &mpm), "one is on its way");
    assert!(!planner.heeds_demand(&census(1, &[1]), &mpm), "an idle one will take it");
    assert!(planner.heeds_demand(&census(1, &[0]), &mpm));
    planner.demand();
    assert_eq!(planner.plan(&census(1, &[0]), &mpm, now), [Action::Spawn(1)]);
    assert!(!planner.heeds_demand(&census(2, &[0, 0]), &mpm), "max_request_workers is reached");
    assert!(!Planner::new(&prefork(), now).heeds_demand(&census(5, &[0]), &prefork()), "spares are there for that");
}

#[test]
fn a_pool_on_demand_is_looked_at_often_while_it_has_children_and_may_have_more() {
    let (now, mpm) = (Instant::now(), on_demand(2, 1));
    let mut planner = Planner::new(&mpm, now);
    planner.demand();
    assert_eq!(planner.due_at(&census(1, &[0]), &mpm, now), Some(now + DEMAND_INTERVAL));
    planner.demand();
    assert_eq!(planner.due_at(&census(2, &[0, 0]), &mpm, now), Some(now + MAINTENANCE_INTERVAL));
    assert_eq!(
        Planner::new(&prefork(), now).due_at(&census(5, &[0]), &prefork(), now),
        Some(now + MAINTENANCE_INTERVAL)
    );
}

#[test]
fn children_on_demand_are_ended_one_a_second_when_they_are_idle_down_to_none() {
    let (now, mpm) = (Instant::now(), on_demand(4, 0));
    let mut planner = Planner::taking_over(&mpm, 2, now);
    assert!(!planner.is_proven(), "what serves now must be able to serve then");
    let mut starting = census(2, &[0, 1]);
    starting.members[1].starting = true;
    assert_eq!(planner.plan(&starting, &mpm, now + SECOND), [], "it was started for a connection");
    assert_eq!(planner.plan(&census(2, &[1, 1]), &mpm, now + SECOND * 2), [Action::Drain(1)]);
    assert_eq!(planner.plan(&census(1, &[1]), &mpm, now + SECOND * 3), [Action::Drain(0)]);
    assert_eq!(planner.due_at(&census(0, &[]), &mpm, now + SECOND * 3), None);
}

#[test]
fn a_pool_is_proven_by_its_first_child_that_is_ready() {
    let now = Instant::now();
    let mut planner = Planner::new(&prefork(), now);
    assert!(!planner.is_proven());
    planner.ready();
    planner.failed_start(now);
    assert!(planner.is_proven());
}

/// A model of the children, which claim whatever they like to.
#[derive(Debug, Clone)]
enum Happening {
    /// A second passes, and these are the idle threads that the children claim to have.
    Second(Vec<usize>),
    Death {
        nth: usize,
        death: Death,
    },
    ForkFails,
    OthersHold {
        slots: usize,
    },
    ConnectionWaits,
}

fn any_happening() -> impl Strategy<Value = Happening> {
    let death = prop_oneof![Just(Death::Expected), Just(Death::BeforeReady), Just(Death::Young), Just(Death::Aged)];
    prop_oneof![
        4 => prop::collection::vec(prop_oneof![Just(0), Just(usize::MAX), 0usize..40], 0..50).prop_map(Happening::Second),
        2 => (any::<usize>(), death).prop_map(|(nth, death)| Happening::Death { nth, death }),
        1 => Just(Happening::ForkFails),
        1 => (0usize..60).prop_map(|slots| Happening::OthersHold { slots }),
        2 => Just(Happening::ConnectionWaits),
    ]
}

fn any_settings() -> impl Strategy<Value = Mpm> {
    (0..4, 0usize..60, 0usize..40, 0usize..80, 0usize..30, 0usize..200).prop_map(
        |(kind, start, min, max, limit, most)| {
            let mpm = match kind {
                0 | 1 => Mpm::Prefork(Prefork {
                    on_demand: kind == 1,
                    start_servers: start,
                    min_spare_servers: min,
                    max_spare_servers: max,
                    server_limit: limit,
                    max_request_workers: most,
                    ..Prefork::default()
                }),
                2 => Mpm::Worker(Worker {
                    start_servers: start,
                    min_spare_threads: min,
                    max_spare_threads: max,
                    server_limit: limit,
                    threads_per_child: 4,
                    max_request_workers: most,
                    ..Worker::default()
                }),
                _ => Mpm::Event(Event { start_servers: start, server_limit: limit, ..Event::default() }),
            };
            mpm.corrected().0
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_children_claim_the_plan_stays_within_its_limits(
        mpm in any_settings(),
        happenings in prop::collection::vec(any_happening(), 1..60),
    ) {
        let mut now = Instant::now();
        let mut planner = Planner::new(&mpm, now);
        let slots = mpm.server_limit() * 2;
        let (mut children, mut others): (Vec<usize>, usize) = (vec![], 0);
        let (mut claims, mut connection_waits) = (vec![], false);
        for happening in happenings {
            match happening {
                Happening::Second(claimed) => (now, claims) = (now + SECOND, claimed),
                Happening::Death { nth, death } => {
                    if !children.is_empty() {
                        children.remove(nth % children.len());
                        planner.died(death, now);
                    }
                }
                Happening::ForkFails => planner.shortage(now),
                Happening::OthersHold { slots: held } => others = held.min(slots - children.len()),
                Happening::ConnectionWaits => connection_waits = true,
            }
            let threads = mpm.threads_per_child();
            let members = children.iter().enumerate().map(|(index, &slot)| {
                let claimed = claims.get(index).copied().unwrap_or(0);
                Member { slot, starting: false, idle_threads: claimed.min(threads) }
            });
            let census = Census { members: members.collect(), free_slots: slots - children.len() - others };
            if std::mem::take(&mut connection_waits) && planner.heeds_demand(&census, &mpm) {
                planner.demand();
            }
            let (mut spawned, mut drained) = (0, 0);
            for action in planner.plan(&census, &mpm, now) {
                match action {
                    Action::Spawn(count) => {
                        spawned += count;
                        prop_assert!(count >= 1 && count <= census.free_slots);
                        let free = (0..slots).filter(|slot| !children.contains(slot)).take(count).collect::<Vec<_>>();
                        children.extend(free);
                    }
                    Action::Drain(slot) => {
                        drained += 1;
                        prop_assert!(children.contains(&slot));
                        children.retain(|&other| other != slot);
                    }
                    Action::Remark(_) => {}
                }
            }
            prop_assert!(spawned == 0 || drained == 0, "starts and ends children in one pass");
            prop_assert!(drained <= 1);
            prop_assert!(children.len() <= mpm.children_max());
            prop_assert!(planner.wanted >= usize::from(!mpm.on_demand()) && planner.wanted <= mpm.children_max());
        }
    }

    #[test]
    fn under_a_steady_load_the_number_of_children_comes_to_rest(mpm in any_settings(), busy in 0usize..120) {
        let threads = mpm.threads_per_child();
        let mut now = Instant::now();
        let mut planner = Planner::new(&mpm, now);
        let (mut children, mut changed_last) = (0usize, 0);
        for second in 0..300 {
            // The load fills the children one after the other.
            let idle: Vec<_> = (0..children).map(|child| threads - busy.saturating_sub(child * threads).min(threads)).collect();
            for action in planner.plan(&census(children, &idle), &mpm, now) {
                match action {
                    Action::Spawn(count) => (children, changed_last) = (children + count, second),
                    Action::Drain(_) => (children, changed_last) = (children - 1, second),
                    Action::Remark(_) => {}
                }
            }
            now += SECOND;
        }
        prop_assert!(changed_last < 280, "still changing after {changed_last} seconds, with {children} children");
    }
}
