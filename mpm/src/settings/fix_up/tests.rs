//! Tests of the fix-ups: each of Apache's rules once, and that corrected settings are correct.

use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::settings::Pool;

fn settings(mpm: Mpm) -> Settings {
    Settings { pools: vec![pool("server", 80, mpm)], pid_file: None }
}

fn pool(name: &str, port: u16, mpm: Mpm) -> Pool {
    Pool { name: name.to_owned(), listen: vec![ListenAddress::Tcp(([127, 0, 0, 1], port).into())], mpm }
}

fn on_demand() -> Prefork {
    Prefork { on_demand: true, start_servers: 0, min_spare_servers: 0, max_spare_servers: 0, ..Prefork::default() }
}

fn texts(corrections: Vec<Correction>) -> Vec<String> {
    corrections.into_iter().map(|correction| correction.0).collect()
}

fn prefork(change: impl FnOnce(&mut Prefork)) -> (Prefork, Vec<String>) {
    let mut prefork = Prefork::default();
    change(&mut prefork);
    let (mpm, corrections) = Mpm::Prefork(prefork).corrected();
    let Mpm::Prefork(prefork) = mpm else { panic!("another MPM") };
    (prefork, texts(corrections))
}

fn worker(change: impl FnOnce(&mut Worker)) -> (Worker, Vec<String>) {
    let mut worker = Worker::default();
    change(&mut worker);
    let (mpm, corrections) = Mpm::Worker(worker).corrected();
    let Mpm::Worker(worker) = mpm else { panic!("another MPM") };
    (worker, texts(corrections))
}

fn event(change: impl FnOnce(&mut Event)) -> (Event, Vec<String>) {
    let mut event = Event::default();
    change(&mut event);
    let (mpm, corrections) = Mpm::Event(event).corrected();
    let Mpm::Event(event) = mpm else { panic!("another MPM") };
    (event, texts(corrections))
}

#[test]
fn apaches_defaults_fit_each_other() {
    assert_eq!(prefork(|_| ()), (Prefork::default(), vec![]));
    assert_eq!(worker(|_| ()), (Worker::default(), vec![]));
    assert_eq!(event(|_| ()), (Event::default(), vec![]));
}

#[test]
fn max_spare_servers_is_more_than_min_spare_servers() {
    let (corrected, said) = prefork(|prefork| prefork.min_spare_servers = 20);
    assert_eq!(corrected.max_spare_servers, 21);
    assert_eq!(said, ["max_spare_servers is 10 but min_spare_servers is 20: max_spare_servers 21 is used"]);
}

#[test]
fn prefork_stays_within_server_limit() {
    let (corrected, said) = prefork(|prefork| (prefork.max_request_workers, prefork.server_limit) = (500, 300));
    assert_eq!(corrected.max_request_workers, 300);
    assert_eq!(said, ["max_request_workers is 500 but at most 300 server_limit allows: 300 is used"]);
    let (corrected, _) = prefork(|prefork| prefork.server_limit = 300_000);
    assert_eq!(corrected.server_limit, 200_000);
}

#[test]
fn start_servers_is_at_least_one_and_fits() {
    assert_eq!(prefork(|prefork| prefork.start_servers = 0).0.start_servers, 1);
    assert_eq!(prefork(|prefork| prefork.start_servers = 1000).0.start_servers, 256);
    assert_eq!(worker(|worker| worker.start_servers = 1000).0.start_servers, 16);
    assert_eq!(event(|event| event.start_servers = 1000).0.start_servers, 16);
}

#[test]
fn max_request_workers_is_rounded_down_to_whole_children() {
    let (corrected, said) = worker(|worker| worker.max_request_workers = 99);
    assert_eq!(corrected.max_request_workers, 75);
    assert_eq!(said, ["max_request_workers is 99 but must be a multiple of threads_per_child (25): 75 is used"]);
}

#[test]
fn max_request_workers_is_raised_to_one_child_and_lowered_to_server_limit() {
    let (corrected, _) = worker(|worker| (worker.max_request_workers, worker.start_servers) = (3, 1));
    assert_eq!(corrected.max_request_workers, 25);
    assert_eq!(worker(|worker| worker.max_request_workers = 1000).0.max_request_workers, 400);
}

#[test]
fn max_spare_threads_leaves_room_for_a_child() {
    let (corrected, said) = worker(|worker| worker.max_spare_threads = 80);
    assert_eq!(corrected.max_spare_threads, 100);
    assert_eq!(said.len(), 1, "{said:?}");
}

#[test]
fn threads_per_child_stays_within_thread_limit() {
    assert_eq!(event(|event| event.threads_per_child = 65).0.threads_per_child, 64);
    let (corrected, _) = worker(|worker| worker.threads_per_child = 65);
    assert_eq!((corrected.threads_per_child, corrected.max_request_workers), (64, 384));
}

#[test]
fn every_event_thread_has_a_share_of_the_bounds() {
    let (corrected, said) = event(|event| {
        (event.start_servers, event.threads_per_child) = (4, 8);
        (event.max_connections, event.max_requests_in_flight) = (1, 0);
    });
    assert_eq!((corrected.max_connections, corrected.max_requests_in_flight), (32, 32));
    assert_eq!(said.len(), 2, "{said:?}");
}

#[test]
fn an_address_that_is_named_twice_is_bound_once() {
    let mut twice = settings(Mpm::Event(Event::default()));
    twice.pools[0].listen = vec![ListenAddress::Tcp(([127, 0, 0, 1], 80).into()); 2];
    let (corrected, said) = twice.corrected();
    assert_eq!(corrected.pools[0].listen.len(), 1);
    assert_eq!(texts(said), ["listen names 127.0.0.1:80 twice: it is used once"]);
}

#[test]
fn a_reload_keeps_the_limits_and_says_so() {
    let running = settings(Mpm::Worker(Worker::default()));
    let wanted = Worker { server_limit: 20, thread_limit: 10, threads_per_child: 5, ..Worker::default() };
    let (kept, said) = settings(Mpm::Worker(wanted)).kept_from(&running);
    let Mpm::Worker(kept) = &kept.pools[0].mpm else { panic!("another MPM") };
    assert_eq!((kept.server_limit, kept.thread_limit, kept.threads_per_child), (16, 64, 5));
    assert_eq!(said.len(), 2, "{said:?}");
}

#[test]
fn a_reload_keeps_the_mpm_with_all_its_directives() {
    let running = settings(Mpm::Worker(Worker { start_servers: 2, ..Worker::default() }));
    let (kept, said) = settings(Mpm::Event(Event::default())).kept_from(&running);
    assert_eq!(kept, running);
    assert_eq!(texts(said), ["mpm cannot change from worker to event while the server runs: worker is kept"]);
}

#[test]
fn a_reload_keeps_the_pid_file() {
    let running = Settings { pid_file: Some(PathBuf::from("/run/a")), ..settings(Mpm::Event(Event::default())) };
    let (kept, said) = settings(Mpm::Event(Event::default())).kept_from(&running);
    assert_eq!(kept.pid_file, running.pid_file);
    assert_eq!(texts(said), ["the pid file cannot change from /run/a to none while the server runs: /run/a is kept"]);
}

#[test]
fn a_pool_on_demand_may_be_without_children_and_others_may_not() {
    assert_eq!(prefork(|prefork| *prefork = on_demand()), (on_demand(), vec![]));
    let (corrected, said) = prefork(|prefork| *prefork = Prefork { on_demand: false, ..on_demand() });
    let Prefork { start_servers, min_spare_servers, max_spare_servers, .. } = corrected;
    assert_eq!((start_servers, min_spare_servers, max_spare_servers), (1, 1, 2));
    assert_eq!(said.len(), 3, "{said:?}");
}

#[test]
fn every_pool_is_corrected_and_all_but_the_first_are_named() {
    let wrong = || Mpm::Prefork(Prefork { max_request_workers: 0, start_servers: 1, ..Prefork::default() });
    let pools = vec![pool("server", 80, wrong()), pool("side", 81, wrong())];
    let (_, said) = Settings { pools, pid_file: None }.corrected();
    let word = "max_request_workers is 0 but must be at least 1: 1 is used";
    assert_eq!(texts(said), [word, &format!("pool side: {word}")]);
}

#[test]
fn no_pool_has_more_threads_than_the_scoreboard_has_lines() {
    let side = Event { start_servers: 1, threads_per_child: 8, thread_limit: 64, ..Event::default() };
    let server = Event { thread_limit: 4, threads_per_child: 2, ..Event::default() };
    let pools = vec![pool("server", 80, Mpm::Event(server)), pool("side", 81, Mpm::Event(side))];
    let (corrected, said) = Settings { pools, pid_file: None }.corrected();
    assert_eq!(corrected.pools[1].mpm.threads_per_child(), 4);
    assert_eq!(said[0].0, "pool side: thread_limit is 64 but at most 4 the server's own pool allows: 4 is used");
}

#[test]
fn pools_that_cannot_be_served_side_by_side_are_refused() {
    let event = || Mpm::Event(Event::default());
    let refused = |pools: Vec<Pool>| Settings { pools, pid_file: None }.check().unwrap_err().to_string();
    assert_eq!(
        Settings { pools: vec![pool("a", 1, event()), pool("b", 2, event())], pid_file: None }.check().ok(),
        Some(())
    );
    assert_eq!(refused(vec![]), "there is no pool of children");
    assert_eq!(refused(vec![pool("a", 1, event()), pool("a", 2, event())]), "there are two pools a");
    let both = "pools a and b both listen on 127.0.0.1:1";
    assert_eq!(refused(vec![pool("a", 1, event()), pool("b", 1, event())]), both);
    let deaf = Pool { listen: vec![], ..pool("b", 1, event()) };
    assert!(refused(vec![pool("a", 1, event()), deaf]).starts_with("no address to listen on of pool b: "));
    let own = "the server's own pool cannot start on demand";
    assert_eq!(refused(vec![pool("a", 1, Mpm::Prefork(on_demand()))]), own);
}

#[test]
fn a_reload_may_change_every_limit_of_a_pool_that_is_not_the_servers_own() {
    let side = |server_limit| pool("side", 81, Mpm::Prefork(Prefork { server_limit, ..Prefork::default() }));
    let server = pool("server", 80, Mpm::Event(Event::default()));
    let running = Settings { pools: vec![server.clone(), side(300)], pid_file: None };
    let wanted = Settings { pools: vec![server, side(400)], pid_file: None };
    assert_eq!(wanted.clone().kept_from(&running), (wanted, vec![]));
}

fn any_count() -> impl Strategy<Value = usize> {
    prop_oneof![Just(0), Just(1), 0usize..100, 0usize..1_000_000, Just(usize::MAX)]
}

prop_compose! {
    fn any_mpm()(kind in 0..3, n in prop::collection::vec(any_count(), 7)) -> Mpm {
        let common = Common { listen_backlog: (n[0] % 3) as u32, ..Common::default() };
        match kind {
            0 => Mpm::Prefork(Prefork {
                common,
                on_demand: n[5] % 2 == 0,
                start_servers: n[0],
                min_spare_servers: n[1],
                max_spare_servers: n[2],
                server_limit: n[3],
                max_request_workers: n[4],
            }),
            1 => Mpm::Worker(Worker {
                common,
                start_servers: n[0],
                min_spare_threads: n[1],
                max_spare_threads: n[2],
                server_limit: n[3],
                thread_limit: n[4],
                threads_per_child: n[5],
                max_request_workers: n[6],
            }),
            _ => Mpm::Event(Event {
                common,
                start_servers: n[0],
                threads_per_child: n[1],
                server_limit: n[2],
                thread_limit: n[3],
                max_connections: n[4],
                max_requests_in_flight: n[5],
            }),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn corrected_settings_are_correct(mpm in any_mpm()) {
        let (mpm, _) = mpm.corrected();
        prop_assert_eq!(mpm.clone().corrected(), (mpm.clone(), vec![]));
        prop_assert!(mpm.start_servers() >= usize::from(!mpm.on_demand()) && mpm.start_servers() <= mpm.children_max());
        prop_assert!(mpm.children_max() <= mpm.server_limit());
        prop_assert!(mpm.threads_per_child() >= 1 && mpm.threads_per_child() <= mpm.thread_limit());
        prop_assert!(mpm.common().listen_backlog >= 1);
    }
}
