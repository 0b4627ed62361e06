//! Several pools under one parent: each serves at its own address, and what happens to one is no matter of another.

use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::harness::{
    MPMS, Server, greeted, greeted_at, greeting, greeting_at, is_alive, kill_hard, wait_until, wait_until_ended,
};

const SIDE: &str = "pool side unix:FOLDER/side 1";
const ON_DEMAND: &str = "pool side unix:FOLDER/side 0";

#[test]
fn pools_serve_side_by_side_and_a_death_in_one_does_not_disturb_the_other() {
    for mpm in MPMS {
        let (server, address) = Server::ready(&format!("mpm {mpm}\nsay hello\n{SIDE}"));
        let side = server.folder.join("side");
        let ((own, own_held), (other, other_held)) = (greeted(address), greeted_at(&side));
        assert_ne!(own.pid, other.pid);

        kill_hard(other.pid);
        server.wait_for(&format!("pool side: child {} ", other.pid));
        assert_ne!(greeting_at(&side).pid, other.pid, "{mpm}");
        assert!(is_alive(own.pid), "{mpm}");

        let survivor = greeting_at(&side).pid;
        kill_hard(own.pid);
        server.wait_for(&format!(" child {} ", own.pid));
        assert_ne!(greeting(address).pid, own.pid, "{mpm}");
        assert!(is_alive(survivor), "{mpm}");
        drop((own_held, other_held));
    }
}

#[test]
fn a_pool_whose_children_keep_dying_leaves_the_server_alone() {
    let (server, address) = Server::ready(&format!("say hello\n{SIDE}"));
    let side = server.folder.join("side");
    let own: Vec<_> = server.children();
    let limit = Instant::now() + Duration::from_secs(1);
    let mut deaths = 0;
    while Instant::now() < limit {
        let victim = greeting_at(&side).pid;
        if is_alive(victim) {
            kill_hard(victim);
            server.wait_for(&format!("pool side: child {victim} "));
            deaths += 1;
        }
    }
    // How many more it is depends on the machine.
    assert!(deaths >= 1);
    let served = greeting(address);
    assert_eq!(served.word, "hello");
    assert!(own.contains(&served.pid), "a child of the server was replaced, too");
    assert_eq!(greeting_at(&side).word, "hello");
}

#[test]
fn children_start_on_demand_as_many_as_are_needed_and_end_when_they_are_idle() {
    let (server, _) = Server::ready(&format!("mpm event\nchildren 1\nsay hello\n{ON_DEMAND}"));
    let side = server.folder.join("side");
    let own = server.children();
    assert_eq!(own.len(), 1, "nobody has asked for a child of the other pool");

    let (first, first_held) = greeted_at(&side);
    assert!(!own.contains(&first.pid));
    // The first one is busy for as long as its connection is held.
    let (second, second_held) = greeted_at(&side);
    assert_ne!(first.pid, second.pid);
    drop((first_held, second_held));
    wait_until("the pool is empty again", || (server.children() == own).then_some(()));
    assert_eq!(greeting_at(&side).word, "hello");
}

#[test]
fn a_pool_on_demand_that_waits_for_a_connection_costs_nothing() {
    let (server, _) = Server::ready(&format!("mpm event\nchildren 1\nsay hello\n{ON_DEMAND}"));
    let parent = server.process.id();
    let waits = || -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{parent}/status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let before = waits();
    std::thread::sleep(Duration::from_secs(2));
    let woken = waits() - before;
    assert!(woken <= 1, "the parent woke {woken} times in two seconds");
}

#[test]
fn a_child_on_demand_that_cannot_start_is_tried_again_and_stops_nothing() {
    let (server, address) = Server::ready(&format!("say hello\n{ON_DEMAND}\nstart.side fail"));
    let side = server.folder.join("side");
    let _waiting = UnixStream::connect(&side).unwrap();
    for _ in 0..4 {
        let line = server.wait_for("cannot start: the script says so");
        assert!(line.contains("pool side: child "), "{line}");
    }
    assert_eq!(greeting(address).word, "hello");
    server.rewrite(&format!("listen 127.0.0.1:0\nsay new\n{ON_DEMAND}"));
    server.signal(Signal::SIGUSR1);
    assert_eq!(greeting_at(&side).word, "new");
}

#[test]
fn a_pool_that_cannot_start_stops_the_server_with_the_reason() {
    for (start, reason) in [("fail", "the script says so"), ("crash", "it was killed by SIGABRT")] {
        let mut server = Server::start(&format!("listen 127.0.0.1:0\nsay hello\n{SIDE}\nstart.side {start}"));
        let line = server.wait_for("the first child could not start: ");
        assert!(line.contains(&format!("pool side: {reason}")), "{line}");
        assert_eq!(server.wait_for_end().code(), Some(1));
        assert!(!server.folder.join("side").exists());
    }
}

#[test]
fn a_reload_with_a_pool_that_cannot_start_is_abandoned() {
    let (server, address) = Server::ready("say old");
    let side = server.folder.join("side");
    for (start, reason) in [("fail", "the script says so"), ("crash", "it was killed by SIGABRT")] {
        server.rewrite(&format!("listen 127.0.0.1:0\nsay new\n{SIDE}\nstart.side {start}"));
        server.signal(Signal::SIGUSR1);
        let line = server.wait_for("reload failed, generation 0 goes on serving");
        assert!(line.contains(&format!("pool side: {reason}")), "{line}");
        assert!(!side.exists());
        wait_until("only the old children are left", || (server.children().len() == 2).then_some(()));
        assert_eq!(greeting(address).word, "old");
    }
}

#[test]
fn a_reload_adds_changes_and_removes_pools() {
    for mpm in MPMS {
        let own = format!("listen 127.0.0.1:0\nmpm {mpm}\nsay");
        let (server, address) = Server::ready(&format!("mpm {mpm}\nsay one"));
        let (side, more) = (server.folder.join("side"), server.folder.join("more"));

        server.rewrite(&format!("{own} two\n{SIDE}"));
        server.signal(Signal::SIGUSR1);
        server.wait_for("generation 1 is ready");
        let (old, held) = greeted_at(&side);
        assert_eq!((old.word.as_str(), old.generation), ("two", 1));

        server.rewrite(&format!("{own} three\npool more unix:FOLDER/more 3\n{SIDE}"));
        server.signal(Signal::SIGUSR1);
        server.wait_for("generation 2 is ready");
        assert_eq!(greeting_at(&more).word, "three");
        wait_until("only the new generation accepts", || (greeting_at(&side).generation == 2).then_some(()));
        assert!(is_alive(old.pid), "{mpm}: what the old child had open was broken off");
        drop(held);
        wait_until_ended(&[old.pid]);

        server.rewrite(&format!("{own} four"));
        server.signal(Signal::SIGUSR1);
        server.wait_for("generation 3 is ready");
        wait_until("their files are gone", || (!side.exists() && !more.exists()).then_some(()));
        wait_until("only the new children are left", || (server.children().len() == 2).then_some(()));
        assert_eq!(greeting(address).word, "four");
    }
}

#[test]
fn a_pool_that_a_reload_removes_serves_until_those_who_speak_to_it_have_ended() {
    for mpm in MPMS {
        let (server, address) = Server::ready(&format!("mpm {mpm}\nsay old\n{SIDE}"));
        let side = server.folder.join("side");
        let (_, held) = greeted(address);
        server.rewrite(&format!("listen 127.0.0.1:0\nmpm {mpm}\nsay new"));
        server.signal(Signal::SIGUSR1);
        server.wait_for("generation 1 is ready");
        wait_until("the new generation serves alone", || (greeting(address).generation == 1).then_some(()));
        // As a child of the old generation does for a request that is still open.
        assert_eq!(greeting_at(&side).word, "old", "{mpm}");
        drop(held);
        wait_until("the socket is gone", || (!side.exists()).then_some(()));
        wait_until("only the new children are left", || (server.children().len() == 2).then_some(()));
    }
}

#[test]
fn a_pool_that_stays_is_served_by_the_new_generation_alone_although_old_connections_are_open() {
    for mpm in MPMS {
        let (server, address) = Server::ready(&format!("mpm {mpm}\nsay old\n{SIDE}"));
        let side = server.folder.join("side");
        let ((own, own_held), old) = (greeted(address), greeting_at(&side));
        server.rewrite(&format!("listen 127.0.0.1:0\nmpm {mpm}\nsay new\n{SIDE}"));
        server.signal(Signal::SIGUSR1);
        server.wait_for("generation 1 is ready");
        wait_until_ended(&[old.pid]);
        assert_eq!(greeting_at(&side).word, "new", "{mpm}");
        assert!(is_alive(own.pid), "{mpm}");
        drop(own_held);
    }
}

#[test]
fn a_restart_ends_the_old_children_of_every_pool_at_once() {
    let (server, address) = Server::ready(&format!("say old\n{SIDE}"));
    let side = server.folder.join("side");
    let ((_, own_held), (_, side_held)) = (greeted(address), greeted_at(&side));
    let old = server.children();
    server.rewrite(&format!("listen 127.0.0.1:0\nsay new\n{SIDE}"));
    server.signal(Signal::SIGHUP);
    server.wait_for("generation 1 is ready");
    wait_until_ended(&old);
    assert_eq!((greeting(address).word, greeting_at(&side).word), ("new".to_owned(), "new".to_owned()));
    drop((own_held, side_held));
}

#[test]
fn a_graceful_stop_drains_the_server_first_and_then_the_pools_it_speaks_to() {
    for (mpm, pool) in MPMS.into_iter().flat_map(|mpm| [(mpm, SIDE), (mpm, ON_DEMAND)]) {
        let (mut server, address) = Server::ready(&format!("mpm {mpm}\nsay hello\n{pool}"));
        let side = server.folder.join("side");
        let (_, held) = greeted(address);
        server.signal(Signal::SIGWINCH);
        server.wait_for("stopping gracefully");
        // As a child of the server does for a request that is still open.
        let (hello, side_held) = greeted_at(&side);
        assert_eq!(hello.word, "hello", "{mpm}, {pool}");
        drop(held);
        wait_until("the socket is gone", || (!side.exists()).then_some(()));
        assert!(server.process.try_wait().unwrap().is_none(), "{mpm}, {pool}: it did not wait");
        drop(side_held);
        assert!(server.wait_for_end().success(), "{mpm}, {pool}");
    }
}

#[test]
fn term_ends_the_children_of_every_pool() {
    let (mut server, address) = Server::ready(&format!("say hello\n{SIDE}"));
    let side = server.folder.join("side");
    let ((_, own_held), (_, side_held)) = (greeted(address), greeted_at(&side));
    let children = server.children();
    server.signal(Signal::SIGTERM);
    assert!(server.wait_for_end().success());
    assert!(!children.iter().any(|pid| is_alive(*pid)) && !side.exists());
    drop((own_held, side_held));
}
