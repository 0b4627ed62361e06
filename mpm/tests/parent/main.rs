//! What the parent does at starts, reloads, deaths and stops, seen from outside: the `staged` example does what a
//! file tells it, and the tests speak signals, sockets and log lines. Several pools side by side are tested in `pools`,
//! one that speaks to another in `relay`.

mod harness;
mod in_place;
mod pools;
mod relay;

use std::fs;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use harness::{MPMS, Server, greeted, greeting, greeting_at, is_alive, kill_hard, wait_until, wait_until_ended};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

#[test]
fn children_serve_and_term_ends_them_all() {
    for mpm in MPMS {
        let (mut server, address) = Server::ready(&format!("mpm {mpm}\nsay hello\npid_file FOLDER/pid"));
        assert_eq!(fs::read_to_string(server.folder.join("pid")).unwrap(), format!("{}\n", server.process.id()));
        let (hello, _held) = greeted(address);
        assert_eq!((hello.word.as_str(), hello.generation), ("hello", 0));
        let children = server.children();
        assert!(children.contains(&hello.pid), "{mpm}: {hello:?} is none of {children:?}");
        server.signal(Signal::SIGTERM);
        assert!(server.wait_for_end().success());
        assert!(!children.into_iter().any(is_alive), "{mpm}");
        assert!(!server.folder.join("pid").exists());
        assert!(TcpStream::connect(address).is_err());
    }
}

#[test]
fn a_killed_child_is_replaced_at_once() {
    for mpm in MPMS {
        let (server, address) = Server::ready(&format!("mpm {mpm}\nsay hello"));
        let victim = greeting(address).pid;
        kill_hard(victim);
        let line = server.wait_for("was killed by SIGKILL");
        assert!(line.contains(&format!("child {victim} ")), "{line}");
        // The plan's own tests see that this does not wait for the next look at the spares.
        wait_until("there are two children again", || (server.children().len() >= 2).then_some(()));
        assert_ne!(greeting(address).pid, victim);
    }
}

#[test]
fn deaths_are_noticed_although_whoever_started_the_server_ignores_them() {
    let server = Server::start_by(&["sh", "-c", "trap '' CHLD; exec \"$0\" \"$1\""], "listen 127.0.0.1:0\nsay hello");
    let address = server.address();
    server.wait_for(" ready");
    let victim = greeting(address).pid;
    kill_hard(victim);
    server.wait_for("was killed by SIGKILL");
    assert_ne!(greeting(address).pid, victim);
}

#[test]
fn the_limit_of_descriptors_is_raised_as_far_as_is_needed_and_possible() {
    let soft_limit = |server: &Server| -> usize {
        let limits = fs::read_to_string(format!("/proc/{}/limits", server.children()[0])).unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
        line.split_whitespace().nth(3).unwrap().parse().unwrap()
    };
    // Two children of the event MPM, 16384 connections; and what 400 requests may have open, as far as the machine allows.
    for (limits, raised, warning) in [
        ("ulimit -Sn 64", 8192..100_000, None),
        ("ulimit -Sn 64 && ulimit -Hn 5000", 5000..5001, Some("a child may have 5000 descriptors open but needs ")),
    ] {
        let server = Server::start_by(&["sh", "-c", &format!("{limits}; exec \"$0\" \"$1\"")], "listen 127.0.0.1:0");
        if let Some(warning) = warning {
            server.wait_for(warning);
        }
        server.wait_for(" ready");
        assert!(raised.contains(&soft_limit(&server)), "{limits}: {}", soft_limit(&server));
    }
}

#[test]
fn a_child_that_cannot_start_stops_the_server_with_the_reason() {
    for (start, reason) in [("fail", "the script says so"), ("crash", "it was killed by SIGABRT")] {
        let mut server = Server::start(&format!("listen 127.0.0.1:0\nstart {start}\npid_file FOLDER/pid"));
        let line = server.wait_for("the first child could not start: ");
        assert!(line.contains(reason), "{line}");
        assert_eq!(server.wait_for_end().code(), Some(1));
        assert!(!server.folder.join("pid").exists());
    }
}

#[test]
fn what_is_wrong_before_the_first_fork_stops_the_server() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap();
    let listen = format!("listen {taken}");
    for (script, words) in [
        ("load refuse", "the script says so"),
        ("mpm event", "no address to listen on"),
        (&*listen, "cannot listen on 127.0.0.1:"),
    ] {
        // Held again, so that the port is taken while the server starts.
        let _held = TcpListener::bind(taken);
        let mut server = Server::start(script);
        server.wait_for(words);
        assert_eq!(server.wait_for_end().code(), Some(1), "{script}");
    }
    let mut server = Server::start("listen 127.0.0.1:0");
    server.signal(Signal::SIGKILL);
    server.wait_for_end();
}

#[test]
fn a_graceful_reload_lets_the_old_generation_finish() {
    for mpm in MPMS {
        let (server, address) = Server::ready(&format!("mpm {mpm}\nsay old"));
        let (old, held) = greeted(address);
        server.rewrite(&format!("listen 127.0.0.1:0\nmpm {mpm}\nsay new"));
        server.signal(Signal::SIGUSR1);
        server.wait_for("generation 1 is ready");
        let new = wait_until("only the new generation accepts", || {
            let greeting = greeting(address);
            (greeting.generation == 1).then_some(greeting)
        });
        assert_eq!(new.word, "new", "{mpm}");
        assert!(is_alive(old.pid), "{mpm}: the held connection's child was not left alone");
        drop(held);
        wait_until_ended(&[old.pid]);
    }
}

#[test]
fn a_restart_ends_the_old_generation_at_once() {
    for mpm in MPMS {
        let (server, address) = Server::ready(&format!("mpm {mpm}\nsay old"));
        let ((_, mut held), old) = (greeted(address), server.children());
        server.rewrite(&format!("listen 127.0.0.1:0\nmpm {mpm}\nsay new"));
        server.signal(Signal::SIGHUP);
        server.wait_for("generation 1 is ready");
        wait_until_ended(&old);
        let broken_off = held.read(&mut [0; 8]);
        assert!(matches!(broken_off, Ok(0) | Err(_)), "{mpm}: {broken_off:?}");
        assert_eq!(greeting(address).word, "new");
    }
}

#[test]
fn what_children_count_together_outlives_them_until_a_restart() {
    for mpm in MPMS {
        let (server, address) = Server::ready(&format!("mpm {mpm}\nsay hello"));
        for count in 1..=4 {
            let greeting = greeting(address);
            assert_eq!(greeting.count, count, "{mpm}");
            kill_hard(greeting.pid);
            server.wait_for("was killed by SIGKILL");
        }
        server.signal(Signal::SIGUSR1);
        server.wait_for("generation 1 is ready");
        assert_eq!(greeting(address).count, 5, "{mpm}");
        server.signal(Signal::SIGHUP);
        server.wait_for("generation 2 is ready");
        assert_eq!(greeting(address).count, 1, "{mpm}");
    }
}

/// A client that is not answered, because the server restarts, is told so; but none is forgotten.
#[test]
fn no_connection_is_forgotten_by_the_child_that_was_woken_for_it() {
    for signal in [Signal::SIGHUP, Signal::SIGUSR1] {
        let (server, address) = Server::ready("mpm prefork\nchildren 4\nsay hello");
        for _ in 0..10 {
            server.signal(signal);
            for _ in 0..20 {
                let mut client = TcpStream::connect(address).unwrap();
                client.set_read_timeout(Some(harness::PATIENCE)).unwrap();
                if let Err(error) = client.read(&mut [0; 100]) {
                    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{signal}");
                }
            }
            server.wait_for("is ready");
        }
    }
}

#[test]
fn a_child_sees_the_others_on_the_scoreboard() {
    for mpm in MPMS {
        let (_server, address) = Server::ready(&format!("mpm {mpm}\nchildren 3\nsay hello"));
        wait_until("all three are shown", || (greeting(address).children == 3).then_some(()));
    }
}

#[test]
fn a_reload_that_fails_leaves_everything_as_it_was() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let elsewhere = taken.local_addr().unwrap();
    let (server, address) = Server::ready("say old");
    for (script, reason) in [
        ("load refuse".to_owned(), "the script says so"),
        ("say new".to_owned(), "no address to listen on"),
        (format!("listen 127.0.0.1:0\nlisten {elsewhere}"), "cannot listen on"),
        ("listen 127.0.0.1:0\nsay new\nstart fail".to_owned(), "the script says so"),
        ("listen 127.0.0.1:0\nsay new\nstart crash".to_owned(), "was killed by SIGABRT"),
    ] {
        server.rewrite(&script);
        server.signal(Signal::SIGUSR1);
        let line = server.wait_for("reload failed, generation 0 goes on serving");
        assert!(line.contains(reason), "{line}");
        // What is started from now on serves the old load, too.
        let victim = greeting(address);
        assert_eq!((victim.word.as_str(), victim.generation), ("old", 0), "{script}");
        kill_hard(victim.pid);
        server.wait_for("was killed by SIGKILL");
        let next = greeting(address);
        assert_eq!((next.word.as_str(), next.generation), ("old", 0), "{script}");
    }
    fs::remove_file(server.folder.join("script")).unwrap();
    server.signal(Signal::SIGHUP);
    server.wait_for("goes on serving: the configuration was not accepted");
    assert_eq!(greeting(address).word, "old");
}

#[test]
fn a_reload_that_is_ordered_during_another_one_follows_it() {
    let (server, address) = Server::ready("say old");
    server.rewrite("listen 127.0.0.1:0\nsay new");
    for _ in 0..10 {
        server.signal(Signal::SIGUSR1);
        server.signal(Signal::SIGHUP);
    }
    server.wait_for("generation 2 is ready");
    wait_until("the newest generation serves alone", || (greeting(address).generation >= 2).then_some(()));
}

#[test]
fn a_reload_opens_and_closes_addresses() {
    let (server, first) = Server::ready("say old");
    server.rewrite("listen unix:FOLDER/socket\nsay new");
    server.signal(Signal::SIGUSR1);
    server.wait_for("generation 1 is ready");
    let socket = server.folder.join("socket");
    assert_eq!(greeting_at(&socket).generation, 1);
    wait_until("the old address is closed", || TcpStream::connect(first).err());
    server.signal(Signal::SIGTERM);
    server.wait_for(" stopped");
    assert!(!socket.exists());
}

#[test]
fn a_graceful_stop_waits_for_what_is_open() {
    for mpm in MPMS {
        let (mut server, address) = Server::ready(&format!("mpm {mpm}\nsay hello\npid_file FOLDER/pid"));
        let (_, held) = greeted(address);
        server.signal(Signal::SIGWINCH);
        server.wait_for("stopping gracefully");
        wait_until("the pid file is gone", || (!server.folder.join("pid").exists()).then_some(()));
        assert!(server.process.try_wait().unwrap().is_none(), "{mpm}: it did not wait");
        drop(held);
        assert!(server.wait_for_end().success(), "{mpm}");
        assert!(TcpStream::connect(address).is_err(), "{mpm}");
    }
}

#[test]
fn a_graceful_stop_has_an_end() {
    for (timeout_ms, signal) in [(200, None), (600_000, Some(Signal::SIGINT))] {
        let script = format!("say hello\ngraceful_shutdown_timeout_ms {timeout_ms}");
        let (mut server, address) = Server::ready(&script);
        let (_, _held) = greeted(address);
        server.signal(Signal::SIGWINCH);
        server.wait_for("stopping gracefully");
        if let Some(signal) = signal {
            server.signal(signal);
        }
        assert!(server.wait_for_end().success());
    }
}

#[test]
fn a_second_server_is_kept_out_and_a_killed_one_is_no_obstacle() {
    let (mut first, _) = Server::ready("say hello\npid_file FOLDER/pid");
    let pid_file = first.folder.join("pid");
    let script = format!("listen 127.0.0.1:0\npid_file {}", pid_file.display());
    let mut second = Server::start(&script);
    second.wait_for(&format!("(pid {})", first.process.id()));
    assert_eq!(second.wait_for_end().code(), Some(1));

    let orphans = first.children();
    assert_eq!(orphans.len(), 2);
    // A child that was forked just now still holds what its parent does.
    wait_until("the children have let go of the pid file", || {
        let holds = |pid: &i32| {
            fs::read_dir(format!("/proc/{pid}/fd")).unwrap().any(|fd| is_link_to(&fd.unwrap().path(), &pid_file))
        };
        (!orphans.iter().any(holds)).then_some(())
    });
    first.signal(Signal::SIGKILL);
    first.wait_for_end();
    // At once: its children may still live, but they do not hold the lock.
    let third = Server::start(&script);
    third.wait_for(" ready");
    wait_until_ended(&orphans);
}

fn is_link_to(link: &Path, target: &Path) -> bool {
    fs::read_link(link).is_ok_and(|found| found == target)
}

#[test]
fn children_that_keep_dying_are_replaced_at_a_bounded_rate() {
    let (server, address) = Server::ready("say old");
    let limit = Instant::now() + Duration::from_secs(2);
    let mut deaths = 0;
    while Instant::now() < limit {
        if let Some(pid) = server.children().first()
            && kill(Pid::from_raw(*pid), Signal::SIGKILL).is_ok()
        {
            server.wait_for("was killed by SIGKILL");
            deaths += 1;
        }
    }
    // How many it is at the least depends on the machine.
    assert!(deaths <= 40, "{deaths} deaths in two seconds");
    assert_eq!(greeting(address).word, "old");
}

/// A server with a lookout, which says `word`.
fn with_lookout(mpm: &str, word: &str) -> String {
    format!("mpm {mpm}\nsay {word}\nlookout FOLDER")
}

/// The lines that lookouts have written, when there are so many that hold `words`.
fn told(server: &Server, words: &str, count: usize) -> Vec<String> {
    wait_until("the lookout is told", || {
        let text = fs::read_to_string(server.folder.join("told")).ok()?;
        let lines: Vec<String> = text.lines().filter(|line| line.contains(words)).map(str::to_owned).collect();
        (lines.len() >= count).then_some(lines)
    })
}

fn ask(server: &Server, word: &str) {
    fs::write(server.folder.join("ask.new"), word).unwrap();
    fs::rename(server.folder.join("ask.new"), server.folder.join("ask")).unwrap();
}

/// The pid of the lookout that was started as the `count`th.
fn lookout(server: &Server, count: usize) -> i32 {
    let lines = told(server, "lookout ", count);
    lines[count - 1].split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_lookout_asks_for_reloads_and_is_told_what_becomes_of_them() {
    for mpm in MPMS {
        let (server, address) = Server::ready(&with_lookout(mpm, "one"));
        told(&server, "generation: 0, note: \"one\"", 1);
        for (index, (word, how)) in [("two", "publish"), ("three", "reload"), ("four", "restart")].iter().enumerate() {
            server.rewrite(&format!("listen 127.0.0.1:0\n{}", with_lookout(mpm, word)));
            ask(&server, how);
            told(&server, &format!("Began {{ heard: Ticket({}) }}", index + 1), 1);
            told(&server, &format!("Serving(Serving {{ generation: {}, note: {word:?} }})", index + 1), 1);
            wait_until("the new children serve alone", || (greeting(address).word == *word).then_some(()));
        }
        server.rewrite("load refuse");
        ask(&server, "publish");
        told(&server, "Failed(\"the script says so\")", 1);
        assert_eq!(told(&server, "lookout ", 1).len(), 1, "it is the same all the time");
    }
}

#[test]
fn a_lookout_is_told_that_a_generation_could_not_start() {
    let (server, address) = Server::ready(&with_lookout("event", "one"));
    server.rewrite(&format!("listen 127.0.0.1:0\nstart fail\n{}", with_lookout("event", "two")));
    ask(&server, "publish");
    told(&server, "Failed(\"the script says so\")", 1);
    assert_eq!(greeting(address).word, "one");
}

#[test]
fn a_lookout_stops_the_server() {
    for (word, log) in [("stop", "stopping"), ("stop-gracefully", "stopping gracefully")] {
        let (mut server, _) = Server::ready(&with_lookout("event", "one"));
        let pid = lookout(&server, 1);
        ask(&server, word);
        server.wait_for(log);
        assert!(server.wait_for_end().success());
        wait_until_ended(&[pid]);
    }
}

#[test]
fn a_lookout_that_ends_is_started_again_and_ends_with_its_parent() {
    let (mut server, _) = Server::ready(&with_lookout("event", "one"));
    let first = lookout(&server, 1);
    kill_hard(first);
    server.wait_for("watches for changes has ended");
    let second = lookout(&server, 2);
    server.signal(Signal::SIGUSR1);
    server.wait_for("is ready");
    told(&server, "Serving(Serving { generation: 1", 1);
    assert!(is_alive(second), "a reload needs no other");
    // Stuck, it hears nothing of its parent's death.
    kill(Pid::from_raw(second), Signal::SIGSTOP).unwrap();
    server.signal(Signal::SIGKILL);
    server.wait_for_end();
    wait_until_ended(&[second]);
}
