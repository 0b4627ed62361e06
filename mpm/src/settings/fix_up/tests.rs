//! Tests of the fix-ups: each of Apache's rules once, and that corrected settings are correct.

use std::path::PathBuf;

use proptest::prelude::*;

use super::*;

fn settings(mpm: Mpm) -> Settings {
    Settings { listen: vec![ListenAddress::Tcp(([127, 0, 0, 1], 0).into())], mpm, pid_file: None }
}

fn texts(corrections: Vec<Correction>) -> Vec<String> {
    corrections.into_iter().map(|correction| correction.0).collect()
}

fn prefork(change: impl FnOnce(&mut Prefork)) -> (Prefork, Vec<String>) {
    let mut prefork = Prefork::default();
    change(&mut prefork);
    let (settings, corrections) = settings(Mpm::Prefork(prefork)).corrected();
    let Mpm::Prefork(prefork) = settings.mpm else { panic!("another MPM") };
    (prefork, texts(corrections))
}

fn worker(change: impl FnOnce(&mut Worker)) -> (Worker, Vec<String>) {
    let mut worker = Worker::default();
    change(&mut worker);
    let (settings, corrections) = settings(Mpm::Worker(worker)).corrected();
    let Mpm::Worker(worker) = settings.mpm else { panic!("another MPM") };
    (worker, texts(corrections))
}

fn event(change: impl FnOnce(&mut Event)) -> (Event, Vec<String>) {
    let mut event = Event::default();
    change(&mut event);
    let (settings, corrections) = settings(Mpm::Event(event)).corrected();
    let Mpm::Event(event) = settings.mpm else { panic!("another MPM") };
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
    twice.listen = vec![ListenAddress::Tcp(([127, 0, 0, 1], 80).into()); 2];
    let (corrected, said) = twice.corrected();
    assert_eq!(corrected.listen.len(), 1);
    assert_eq!(texts(said), ["listen names 127.0.0.1:80 twice: it is used once"]);
}

#[test]
fn a_reload_keeps_the_limits_and_says_so() {
    let running = settings(Mpm::Worker(Worker::default()));
    let wanted = Worker { server_limit: 20, thread_limit: 10, threads_per_child: 5, ..Worker::default() };
    let (kept, said) = settings(Mpm::Worker(wanted)).kept_from(&running);
    let Mpm::Worker(kept) = kept.mpm else { panic!("another MPM") };
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

fn any_count() -> impl Strategy<Value = usize> {
    prop_oneof![Just(0), Just(1), 0usize..100, 0usize..1_000_000, Just(usize::MAX)]
}

prop_compose! {
    fn any_mpm()(kind in 0..3, n in prop::collection::vec(any_count(), 7)) -> Mpm {
        let common = Common { listen_backlog: (n[0] % 3) as u32, ..Common::default() };
        match kind {
            0 => Mpm::Prefork(Prefork {
                common,
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
        let (once, _) = settings(mpm).corrected();
        prop_assert_eq!(once.clone().corrected(), (once.clone(), vec![]));
        let mpm = once.mpm;
        prop_assert!(mpm.start_servers() >= 1 && mpm.start_servers() <= mpm.children_max());
        prop_assert!(mpm.children_max() <= mpm.server_limit());
        prop_assert!(mpm.threads_per_child() >= 1 && mpm.threads_per_child() <= mpm.thread_limit());
        prop_assert!(mpm.common().listen_backlog >= 1);
    }
}
