//! The echo example under all three MPMs, seen from outside: real processes, real sockets, real signals.

mod harness;

use std::time::{Duration, Instant};

use harness::{LONG, Server, cpu_ticks, descriptors, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A module for each MPM, with a test for each of `names`.
macro_rules! under_each_mpm {
    ($($name:ident),* $(,)?) => {
        under_each_mpm!(@ prefork: $($name),*);
        under_each_mpm!(@ worker: $($name),*);
        under_each_mpm!(@ event: $($name),*);
    };
    (@ $mpm:ident: $($name:ident),*) => {
        mod $mpm {
            $(#[test] fn $name() { super::$name(stringify!($mpm)); })*
        }
    };
}

under_each_mpm!(
    lines_come_back,
    two_hundred_connections_at_once_are_all_served,
    a_killed_child_costs_only_what_it_held,
    a_graceful_reload_finishes_what_is_open_and_refuses_nobody,
    a_restart_serves_with_new_children,
    term_ends_the_server_at_once,
    winch_finishes_what_is_open_and_stops,
    a_silent_client_is_dropped_at_its_deadline,
    children_of_a_killed_parent_end_within_seconds,
    connections_leave_no_descriptors_behind,
);

fn lines_come_back(mpm: &str) {
    let server = Server::start(mpm);
    let mut client = server.connect();
    client.echo("one");
    client.echo("two");
    client.send("in ");
    client.send("pieces\nand pipe");
    assert_eq!(client.receive(), "in pieces\n");
    client.send("lined\n");
    assert_eq!(client.receive(), "and pipelined\n");
}

fn two_hundred_connections_at_once_are_all_served(mpm: &str) {
    let server = Server::start(mpm);
    let clients: Vec<_> = (0..200).map(|_| server.connect()).collect();
    for (number, mut client) in clients.into_iter().enumerate() {
        client.echo(&format!("client {number}"));
    }
}

fn a_killed_child_costs_only_what_it_held(mpm: &str) {
    let server = Server::start(mpm);
    let before = server.children();
    let victim = *before.first().unwrap();
    kill(Pid::from_raw(victim), Signal::SIGKILL).unwrap();
    server.wait_for(&format!("child {victim} "));
    for _ in 0..20 {
        server.connect().echo("still here");
    }
    until("the child's replacement", || {
        let now = server.children();
        !now.contains(&victim) && now.len() >= before.len()
    });
}

fn a_graceful_reload_finishes_what_is_open_and_refuses_nobody(mpm: &str) {
    let server = Server::start(mpm);
    let before = server.children();
    let (mut idle, mut busy, mut fresh) = (server.connect(), server.connect(), server.connect());
    idle.echo("hello");
    busy.echo("hello");
    busy.send("half a ");
    server.signal(Signal::SIGUSR1);
    server.wait_for("generation 1 is ready");
    server.connect().echo("new");
    idle.wait_for_close();
    busy.send("line\n");
    assert_eq!(busy.receive(), "half a line\n");
    busy.wait_for_close();
    fresh.echo("accepted before, asked after");
    drop(fresh);
    until("the end of the old generation", || server.children().is_disjoint(&before));
}

fn a_restart_serves_with_new_children(mpm: &str) {
    let server = Server::start(mpm);
    let before = server.children();
    let mut open = server.connect();
    open.echo("hello");
    server.signal(Signal::SIGHUP);
    open.wait_for_close();
    // A restart breaks off what is open, so what an old child accepts at the last moment is lost with it.
    until("the end of the old children", || server.children().is_disjoint(&before));
    server.connect().echo("new");
}

fn term_ends_the_server_at_once(mpm: &str) {
    let server = Server::start(mpm);
    let mut open = server.connect();
    open.echo("hello");
    let start = Instant::now();
    server.signal(Signal::SIGTERM);
    open.wait_for_close();
    assert!(server.wait_for_end().success());
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

fn winch_finishes_what_is_open_and_stops(mpm: &str) {
    let server = Server::start(mpm);
    let (mut idle, mut busy) = (server.connect(), server.connect());
    idle.echo("hello");
    busy.echo("hello");
    busy.send("half a ");
    server.signal(Signal::SIGWINCH);
    idle.wait_for_close();
    busy.send("line\n");
    assert_eq!(busy.receive(), "half a line\n");
    busy.wait_for_close();
    assert!(server.wait_for_end().success());
}

fn a_silent_client_is_dropped_at_its_deadline(mpm: &str) {
    let silence = Duration::from_millis(300);
    let server = Server::start_with(mpm, silence, None);
    let (mut idle, mut reading) = (server.connect(), server.connect());
    idle.echo("hello");
    reading.send("half a ");
    let start = Instant::now();
    idle.wait_for_close();
    reading.wait_for_close();
    // Not before its time, counted from when the server read the last byte; and at most a second late.
    let elapsed = start.elapsed();
    assert!(elapsed > silence / 2 && elapsed < silence + Duration::from_secs(1), "{elapsed:?}");
}

fn children_of_a_killed_parent_end_within_seconds(mpm: &str) {
    let server = Server::start(mpm);
    let children = server.children();
    let mut open = server.connect();
    open.echo("hello");
    open.send("half a ");
    let start = Instant::now();
    server.signal(Signal::SIGKILL);
    open.wait_for_close();
    until("the children's end", || children.iter().all(|pid| is_gone(*pid)));
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

fn connections_leave_no_descriptors_behind(mpm: &str) {
    let server = Server::start(mpm);
    server.connect().echo("warm");
    let most = |server: &Server| server.children().into_iter().map(descriptors).max().unwrap_or(0);
    let mut before = 0;
    until("the first connection's end", || {
        let now = most(&server);
        std::mem::replace(&mut before, now) == now
    });
    for round in 0..100 {
        let mut client = server.connect();
        client.echo(&format!("round {round}"));
        if round % 2 == 0 {
            client.send("unfinished");
        }
    }
    until("all descriptors to be closed", || most(&server) <= before);
}

/// Prefork has no such test: its processes have one connection each.
fn when_descriptors_are_out_new_connections_wait_and_nothing_spins(mpm: &str) {
    let server = Server::start_with(mpm, LONG, Some(50));
    let mut clients: Vec<_> = (0..100).map(|_| server.connect()).collect();
    server.wait_for("cannot accept a connection");
    clients[0].echo("accepted before, served now");
    let children = server.children();
    let cpu = || children.iter().map(|pid| cpu_ticks(*pid)).sum::<u64>();
    let before = cpu();
    let mut last = clients.pop().unwrap();
    last.send("late\n");
    assert!(last.is_silent_for(Duration::from_millis(500)));
    assert!(cpu() - before < 10, "a child must not spin while it waits for descriptors");
    for mut client in clients {
        client.echo("in its turn");
    }
    assert_eq!(last.receive(), "late\n");
}

#[test]
fn worker_waits_when_descriptors_are_out() {
    when_descriptors_are_out_new_connections_wait_and_nothing_spins("worker");
}

#[test]
fn event_waits_when_descriptors_are_out() {
    when_descriptors_are_out_new_connections_wait_and_nothing_spins("event");
}

fn is_gone(pid: i32) -> bool {
    // Whoever adopts orphans may be slow to reap them: a zombie has ended, too.
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .map_or_else(|_| "Z".to_owned(), |stat| stat.rsplit(") ").next().unwrap_or("").to_owned());
    state.starts_with('Z')
}
