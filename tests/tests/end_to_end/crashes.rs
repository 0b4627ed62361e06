//! Processes that are killed: a child costs what it held, the parent leaves nothing behind.

use std::time::{Duration, Instant};

use guesthouse_tests::patience::until;
use guesthouse_tests::processes::{is_alive, wait_until_ended};
use guesthouse_tests::{Client, Mpm, Server, Setup, Signal, under_every_mpm};
use nix::sys::signal::kill;
use nix::unistd::Pid;

under_every_mpm! {
    a_killed_child_is_replaced,
    a_killed_child_costs_only_what_it_held,
    children_that_are_killed_one_after_the_other_refuse_nobody,
    children_end_when_the_parent_is_killed,
    a_restart_after_the_parent_was_killed_finds_no_stale_lock,
    a_second_server_on_the_same_runtime_directory_is_refused,
    the_pid_file_names_the_parent_while_it_runs,
}

/// Kills a child of this server. One that was killed before may still be listed, and be reaped before the signal gets
/// to it: then another one is looked for.
fn kill_child(server: &Server) -> Pid {
    until("a living child is killed", || {
        let child = server.children().into_iter().find(|child| is_alive(*child))?;
        kill(child, Signal::SIGKILL).is_ok().then_some(child)
    })
}

fn a_killed_child_is_replaced(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    let before = until("all children are there", || Some(server.children()).filter(|children| children.len() >= 2));
    let killed = kill_child(&server);
    until("there is a new child", || {
        let now = server.children();
        (!now.contains(&killed) && now.iter().any(|child| !before.contains(child))).then_some(())
    });
    server.log.wait_for(&format!("{killed}"));
    assert_eq!(server.get("/hello").status, 200);
}

fn a_killed_child_costs_only_what_it_held(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    until("all children are there", || (server.children().len() >= 2).then_some(()));
    let mut clients: Vec<Client> = (0..4).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send_get("/drip?n=2&ms=700");
        client.wait_for_bytes();
    }
    let holds = connections_of(&server);
    let (killed, held) = holds.into_iter().find(|(_, held)| *held > 0).expect("somebody holds the connections");
    kill(killed, Signal::SIGKILL).expect("the child was there a moment ago");
    let lost = clients.iter_mut().filter_map(|client| client.try_receive().err()).count();
    assert_eq!(lost, held, "the child held {held} of the connections");
}

/// How many established connections each child holds, from the inodes of its sockets and the kernel's table.
fn connections_of(server: &Server) -> Vec<(Pid, usize)> {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("there is a /proc");
    let port = format!(":{:04X}", server.address().port());
    let established: Vec<String> = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|fields| fields.len() > 9 && fields[1].ends_with(&port) && fields[3] == "01")
        .map(|fields| format!("socket:[{}]", fields[9]))
        .collect();
    let holds = |child: Pid| {
        let entries = std::fs::read_dir(format!("/proc/{child}/fd")).into_iter().flatten().flatten();
        let links = entries.filter_map(|entry| std::fs::read_link(entry.path()).ok());
        links.filter(|link| established.iter().any(|socket| link.as_os_str() == socket.as_str())).count()
    };
    server.children().into_iter().map(|child| (child, holds(child))).collect()
}

fn children_that_are_killed_one_after_the_other_refuse_nobody(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    for _ in 0..5 {
        kill_child(&server);
        // The connection may have been in the child that was killed, but it is not refused; the next one is served.
        until("a request is served", || {
            let mut client = server.connect();
            client.send_get("/hello");
            client.try_receive().is_ok_and(|answer| answer.status == 200).then_some(())
        });
    }
}

fn children_end_when_the_parent_is_killed(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    let _idle = server.connect();
    assert_eq!(server.get("/hello").status, 200);
    let children = server.children();
    server.signal(Signal::SIGKILL);
    let began = Instant::now();
    wait_until_ended(&children);
    assert!(began.elapsed() < Duration::from_secs(4), "it took them {:?}", began.elapsed());
}

fn a_restart_after_the_parent_was_killed_finds_no_stale_lock(mpm: Mpm) {
    let mut server = Setup::new(mpm).start();
    server.signal(Signal::SIGKILL);
    assert!(!server.wait_for_exit().success());
    let again = server.launch_again();
    let address = again.wait_until_ready();
    assert_eq!(Client::connect(address).get("/hello").text(), "hello\n");
}

fn a_second_server_on_the_same_runtime_directory_is_refused(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    let mut rival = server.launch_again();
    assert!(!rival.wait_for_exit().success());
    rival.log.wait_for("guesthouse.pid");
    assert_eq!(server.get("/hello").text(), "hello\n");
}

fn the_pid_file_names_the_parent_while_it_runs(mpm: Mpm) {
    let mut server = Setup::new(mpm).start();
    let file = server.folder().join("run/guesthouse.pid");
    assert_eq!(std::fs::read_to_string(&file).unwrap().trim(), server.pid().to_string());
    server.signal(Signal::SIGTERM);
    assert!(server.wait_for_exit().success());
    assert!(!file.exists());
}
