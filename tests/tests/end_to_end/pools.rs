//! The pools that modules are confined to where threads are shared: how many processes, how long a queue, what a kill
//! costs, and who may reach them.

use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::{Duration, Instant};

use guesthouse_tests::patience::until;
use guesthouse_tests::processes::cpu_ticks;
use guesthouse_tests::{Client, Load, Mpm, Server, Signal};
use nix::sys::signal::kill;
use nix::unistd::Pid;

use crate::confinement::{ONE, THREADED, instance, sockets, with_confined};

/// The children that are there because of the pool: those that a server without it has not.
fn confined_children(server: &Server) -> Vec<Pid> {
    let socket = sockets(server).pop().expect("there is a pool");
    let table = std::fs::read_to_string("/proc/net/unix").expect("there is a /proc");
    // Connections bear the path of the socket that they were accepted from; that one alone accepts (SO_ACCEPTCON).
    let listens = |line: &&str| line.contains(" 00010000 ") && line.ends_with(&*socket.to_string_lossy());
    let line = table.lines().find(listens).expect("it is bound");
    let inode = line.split_whitespace().nth(6).expect("the kernel tells the inode");
    let link = format!("socket:[{inode}]");
    let holds = |child: &Pid| {
        let entries = std::fs::read_dir(format!("/proc/{child}/fd")).into_iter().flatten().flatten();
        entries.filter_map(|entry| std::fs::read_link(entry.path()).ok()).any(|held| held.as_os_str() == link.as_str())
    };
    server.children().into_iter().filter(holds).collect()
}

/// A child of the server's own has the pool's socket too until it has begun.
fn only(children: &[Pid]) -> Option<Pid> {
    if let [child] = *children { Some(child) } else { None }
}

#[test]
fn a_full_pool_answers_503_at_once() {
    for mpm in THREADED {
        let server = with_confined(mpm, &format!("{ONE}\nlisten_backlog = 1\nqueue_timeout = \"1h\"")).start();
        let mut busy = server.connect();
        busy.send_get("/c/drip?n=2&ms=5000");
        busy.wait_for_bytes();
        // The kernel holds one more than it is asked to: of six, two wait and four are refused.
        let address = server.address();
        let clients: Vec<_> =
            (0..6).map(|_| thread::spawn(move || (Client::connect(address).get("/c/hello"), Instant::now()))).collect();
        server.log.wait_for("module=confined…cause=pool-full");
        assert_eq!(server.get("/hello").text(), "hello\n");
        assert_eq!(busy.receive().text(), "0\n1\n");
        let done = Instant::now();
        let answers: Vec<_> = clients.into_iter().map(|client| client.join().expect("it is answered")).collect();
        let (refused, served): (Vec<_>, Vec<_>) = answers.into_iter().partition(|(answer, _)| answer.status == 503);
        assert_eq!((refused.len(), served.len()), (4, 2));
        for (answer, at) in refused {
            assert_eq!(answer.header("retry-after"), Some("1"));
            assert!(at < done, "at once, and not when a place was free");
        }
        assert!(served.iter().all(|(answer, _)| answer.text() == "hello\n"));
    }
}

#[test]
fn a_request_that_was_given_up_in_the_queue_is_never_run() {
    for mpm in THREADED {
        let server = with_confined(mpm, &format!("{ONE}\nqueue_timeout = \"500ms\"")).start();
        let (name, before, _) = instance(&server.get("/c/instance"));
        let mut busy = server.connect();
        busy.send_get("/c/drip?n=2&ms=3000");
        busy.wait_for_bytes();
        assert_eq!(server.get("/c/instance").status, 503);
        assert_eq!(busy.receive().text(), "0\n1\n");
        let (after, count, _) = instance(&server.get("/c/instance"));
        assert_eq!((after, count), (name, before + 1), "what was answered with 503 has been run");
    }
}

#[test]
fn requests_that_wait_for_a_pool_take_no_place_from_the_others() {
    let pool = "[module.pool]\nmax_request_workers = 2\nqueue_timeout = \"1m\"";
    let server = with_confined(Mpm::Event, pool)
        .directives("start_servers = 1\nthreads_per_child = 1\nmax_requests_in_flight = 1")
        .start();
    let mut waiting: Vec<Client> = (0..4).map(|_| server.connect()).collect();
    waiting.iter_mut().for_each(|client| client.send_get("/c/drip?n=2&ms=1500"));
    waiting[0].wait_for_bytes();
    let began = Instant::now();
    assert_eq!(server.get("/hello").text(), "hello\n");
    assert!(began.elapsed() < Duration::from_millis(1500), "it has waited for a confined one");
    for client in &mut waiting {
        assert_eq!(client.receive().text(), "0\n1\n");
    }
}

#[test]
fn a_request_that_waits_too_long_for_its_pool_is_503() {
    for mpm in THREADED {
        let server = with_confined(mpm, &format!("{ONE}\nqueue_timeout = \"300ms\"")).start();
        let mut busy = server.connect();
        busy.send_get("/c/drip?n=2&ms=3000");
        busy.wait_for_bytes();
        let began = Instant::now();
        let refused = server.get("/c/hello");
        assert!(began.elapsed() >= Duration::from_millis(300));
        assert_eq!(refused.status, 503);
        assert_eq!(refused.header("retry-after"), Some("1"));
        server.log.wait_for("module=confined…cause=queue-timeout");
        assert_eq!(busy.receive().text(), "0\n1\n");
        assert_eq!(server.get("/c/hello").text(), "hello\n");
    }
}

#[test]
fn a_confined_child_that_dies_costs_the_request_that_it_had() {
    for mpm in THREADED {
        let server = with_confined(mpm, &format!("{ONE}\n[module.limits]\ncpu = \"600s\"\nwall = \"600s\"")).start();
        let (before, ..) = instance(&server.get("/c/instance"));
        let child = until("the pool has its one child", || only(&confined_children(&server)));
        let mut client = server.connect();
        let idle = cpu_ticks(child);
        client.send_get("/c/loop");
        until("the request is inside", || (cpu_ticks(child) > idle + 5).then_some(()));
        kill(child, Signal::SIGKILL).expect("it was there a moment ago");
        assert_eq!(client.receive().status, 502);
        server.log.wait_for("module=confined…cause=child-gone");
        let (after, count, _) = instance(&server.get("/c/instance"));
        assert_ne!(before, after);
        assert_eq!(count, 1);
    }
}

#[test]
fn killing_confined_children_never_disturbs_the_others() {
    for mpm in THREADED {
        let server = with_confined(mpm, "").start();
        let shared = Load::start(&server, "/hello");
        let confined = Load::start(&server, "/c/instance");
        for round in 1..=5 {
            let child = until("a confined child is there", || confined_children(&server).pop());
            let _ = kill(child, Signal::SIGKILL);
            shared.wait_for_answers(30 * round);
            confined.wait_for_answers(30 * round);
        }
        assert_eq!(shared.stop(), Vec::<String>::new());
        let lost = confined.stop();
        assert!(lost.len() <= 5 && lost.iter().all(|lost| lost == "status 502"), "{lost:?}");
    }
}

#[test]
fn a_pool_without_spares_starts_its_child_when_a_request_comes() {
    for mpm in THREADED {
        let pool =
            "[module.pool]\nstart_servers = 0\nmin_spare_servers = 0\nmax_spare_servers = 1\nmax_request_workers = 2";
        let server = with_confined(mpm, pool).start();
        assert_eq!(confined_children(&server), []);
        let (name, ..) = instance(&server.get("/c/instance"));
        assert_eq!(confined_children(&server).len(), 1);
        assert_eq!(instance(&server.get("/c/instance")).0, name);
    }
}

#[test]
fn a_pool_grows_with_its_requests_up_to_its_maximum() {
    for mpm in THREADED {
        let pool = "[module.pool]\nstart_servers = 1\nmin_spare_servers = 1\nmax_spare_servers = 2\nmax_request_workers = 3\n\
                    queue_timeout = \"1m\"";
        let server = with_confined(mpm, pool).start();
        let mut clients: Vec<Client> = (0..4).map(|_| server.connect()).collect();
        clients.iter_mut().for_each(|client| client.send_get("/c/drip?n=2&ms=4000"));
        until("three are at work", || (confined_children(&server).len() == 3).then_some(()));
        for client in &mut clients {
            assert_eq!(client.receive().text(), "0\n1\n");
        }
        assert!(confined_children(&server).len() <= 3);
    }
}

#[test]
fn only_the_servers_user_reaches_a_pool() {
    for mpm in THREADED {
        let server = with_confined(mpm, "").start();
        let [socket] = &sockets(&server)[..] else { panic!("one pool") };
        let mode = |path: &std::path::Path| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
        assert_eq!(mode(socket.parent().expect("it has one")), 0o700);
        assert_eq!(mode(socket) & 0o077, 0);
    }
}

#[test]
fn a_changed_module_has_another_socket_and_the_old_one_goes() {
    for mpm in THREADED {
        let server = with_confined(mpm, "").start();
        let before = sockets(&server);
        server.edit("thread_safe = false", "thread_safe = false\nenv.COLOUR = \"blue\"");
        server.signal(Signal::SIGUSR1);
        until("the new socket alone is there", || {
            let now = sockets(&server);
            (now.len() == 1 && now != before).then_some(())
        });
        assert_eq!(server.get("/c/env?name=COLOUR").text(), "blue");
    }
}

#[test]
fn a_module_may_become_confined_and_shared_again() {
    for mpm in THREADED {
        let server = with_confined(mpm, "").start();
        for (from, to, resident) in
            [("thread_safe = false", "thread_safe = true", false), ("thread_safe = true", "thread_safe = false", true)]
        {
            server.edit(from, to);
            server.signal(Signal::SIGUSR1);
            until("the module is run in the other way", || {
                assert_eq!(server.get("/c/hello").text(), "hello\n");
                ((instance(&server.get("/c/instance")).1 > 1) == resident).then_some(())
            });
        }
    }
}
