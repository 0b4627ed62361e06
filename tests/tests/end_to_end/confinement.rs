//! Modules that are not thread-safe, beside those that are: confined to processes of their own, one request at a time,
//! with an instance that stays.
//!
//! The confined module is the probe once more, under `/c`; the probe that shares the threads answers everywhere else.

use std::collections::HashMap;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use guesthouse_tests::patience::until;
use guesthouse_tests::processes::{cpu_ticks, is_alive};
use guesthouse_tests::setup::guest;
use guesthouse_tests::{Answer, Client, Load, Mpm, Server, Setup, Signal, under_every_mpm};
use nix::sys::signal::kill;
use nix::unistd::Pid;

under_every_mpm! {
    a_confined_module_keeps_its_count_and_is_never_entered_twice_at_once,
    both_kinds_of_modules_serve_side_by_side_under_load,
    a_guest_that_has_failed_never_serves_again,
    a_client_at_fault_does_not_cost_the_instance,
    bodies_stream_through,
    a_body_that_nobody_reads_does_no_harm,
    the_guest_is_told_who_asks_and_the_log_names_the_request,
    a_client_that_goes_away_does_not_cost_the_instance,
    a_guest_that_goes_on_for_nobody_is_ended,
    an_instance_is_retired_after_its_requests,
    a_reload_finishes_what_is_confined,
    a_reload_under_load_loses_no_confined_request,
    a_stop_leaves_nothing_behind,
}

/// A server with the probe on `/`, and the probe that is not thread-safe on `/c`, with these lines for it.
fn with_confined(mpm: Mpm, lines: &str) -> Setup {
    let path = guest("probe").display().to_string();
    Setup::new(mpm).tables(&format!(
        "[[module]]\nname = \"confined\"\npath = \"{path}\"\nthread_safe = false\n{lines}\n\
         [[route]]\npath = \"/c\"\nmodule = \"confined\"\n"
    ))
}

/// As [`with_confined`], and one process has all instances of the module, under prefork too.
fn with_one(mpm: Mpm, lines: &str) -> Setup {
    let setup = with_confined(mpm, &format!("{ONE}\n{lines}"));
    match mpm {
        Mpm::Prefork => {
            setup.directives("start_servers = 1\nmin_spare_servers = 1\nmax_spare_servers = 2\nmax_request_workers = 1")
        }
        _ => setup,
    }
}

/// A pool of one process.
const ONE: &str =
    "[module.pool]\nstart_servers = 1\nmin_spare_servers = 1\nmax_spare_servers = 2\nmax_request_workers = 1";

/// What `/instance` says: which instance, how many requests it has served, and whether it was alone.
fn instance(answer: &Answer) -> (String, u32, String) {
    assert_eq!(answer.status, 200, "{answer:?}");
    let words: Vec<&str> = answer.text().split_whitespace().collect();
    let [name, served, company] = words[..] else { panic!("{answer:?}") };
    (name.to_owned(), served.parse().expect("a number"), company.to_owned())
}

fn a_confined_module_keeps_its_count_and_is_never_entered_twice_at_once(mpm: Mpm) {
    const CLIENTS: usize = 4;
    const REQUESTS: usize = 15;
    let server = with_confined(mpm, "").start();
    let address = server.address();
    let clients = (0..CLIENTS).map(|_| {
        thread::spawn(move || {
            let mut client = Client::connect(address);
            (0..REQUESTS).map(|_| instance(&client.get("/c/instance?ms=3"))).collect::<Vec<_>>()
        })
    });
    let clients: Vec<_> = clients.collect();
    let mut counts: HashMap<String, Vec<u32>> = HashMap::new();
    for (name, count, company) in clients.into_iter().flat_map(|client| client.join().expect("a client ends")) {
        assert_eq!(company, "alone");
        counts.entry(name).or_default().push(count);
    }
    assert_eq!(counts.values().map(Vec::len).sum::<usize>(), CLIENTS * REQUESTS);
    for counts in counts.values_mut() {
        counts.sort_unstable();
        assert!(counts.iter().copied().eq(1..=u32::try_from(counts.len()).unwrap()), "{counts:?}");
    }
    assert!(counts.len() < CLIENTS * REQUESTS / 2, "{} instances are hardly resident", counts.len());
}

fn both_kinds_of_modules_serve_side_by_side_under_load(mpm: Mpm) {
    let server = with_confined(mpm, "").start();
    let shared = Load::start(&server, "/hello");
    let confined = Load::start(&server, "/c/instance");
    shared.wait_for_answers(100);
    confined.wait_for_answers(100);
    assert_eq!((shared.stop(), confined.stop()), (vec![], vec![]));
    assert_eq!(instance(&server.get("/instance")).1, 1, "a thread-safe module has a fresh instance");
}

fn a_guest_that_has_failed_never_serves_again(mpm: Mpm) {
    let limits = "[module.limits]\nmemory = \"16MiB\"\ncpu = \"300ms\"\nwall = \"1s\"\nresponse_body = \"1MiB\"";
    let server = with_one(mpm, limits).start();
    for (path, status) in [
        ("/c/trap", Some(500)),
        ("/c/stack", Some(500)),
        ("/c/memory", Some(500)),
        ("/c/exit?code=1", Some(500)),
        ("/c/no-answer", Some(500)),
        ("/c/loop", Some(504)),
        ("/c/sleep?ms=60000", Some(504)),
        // These break off, or are refused whole.
        ("/c/half", None),
        ("/c/long", None),
        ("/c/flood", None),
    ] {
        let mark = server.log.mark();
        let (before, ..) = instance(&server.get("/c/instance"));
        let mut client = server.connect();
        client.send_get(path);
        match (client.try_receive(), status) {
            (Ok(answer), Some(status)) => assert_eq!(answer.status, status, "{path}: {answer:?}"),
            (Err(error), Some(_)) => panic!("{path}: {error}"),
            (_, None) => {}
        }
        drop(client);
        server.log.wait_for_after(mark, "ERROR…module=confined…request=…cause=");
        let (after, count, _) = instance(&server.get("/c/instance"));
        assert_ne!(before, after, "{path}");
        assert_eq!(count, 1, "{path}");
    }
}

fn a_client_at_fault_does_not_cost_the_instance(mpm: Mpm) {
    let server = with_one(mpm, "[module.limits]\nrequest_body = \"100KB\"").start();
    let (name, ..) = instance(&server.get("/c/instance"));
    for (body, status) in [("2\r\nok\r\nzz\r\n", 400), (&*format!("{:x}\r\n{}\r\n", 200_000, "x".repeat(200_000)), 413)]
    {
        let mut client = server.connect();
        client.send("POST /c/echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n");
        // The guest has begun to answer, or is about to read on: either way it is in the middle of its work.
        let _ = client.try_send(body);
        if let Ok(answer) = client.try_receive() {
            assert_eq!(answer.status, status, "{answer:?}");
        }
        drop(client);
        assert_eq!(instance(&server.get("/c/instance")).0, name, "{status}");
    }
}

fn bodies_stream_through(mpm: Mpm) {
    let limits = "[module.limits]\nrequest_body = \"64MiB\"\nresponse_body = \"64MiB\"";
    let server = with_confined(mpm, limits).start();
    // More than all buffers on the way hold together, in both directions at once.
    let body: Vec<u8> = (0..24_u32 << 20).map(|index| (index % 251) as u8).collect();
    let before = server.memory();
    for framing in ["length", "chunks"] {
        let mut client = server.connect();
        let mut sender = client.sender();
        let sent = body.clone();
        let head = "POST /c/echo HTTP/1.1\r\nHost: h\r\n";
        let sending = thread::spawn(move || {
            if framing == "length" {
                sender.write_all(format!("{head}Content-Length: {}\r\n\r\n", sent.len()).as_bytes())?;
                sender.write_all(&sent)
            } else {
                let mut chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
                for chunk in sent.chunks(100_000) {
                    chunked.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                    chunked.extend_from_slice(chunk);
                    chunked.extend_from_slice(b"\r\n");
                }
                chunked.extend_from_slice(b"0\r\n\r\n");
                sender.write_all(&chunked)
            }
        });
        let answer = client.receive();
        sending.join().expect("the sender ends").expect("all is taken");
        assert_eq!(answer.status, 200);
        assert!(answer.body == body, "{} of {} bytes came back", answer.body.len(), body.len());
    }
    let grown = server.memory().saturating_sub(before);
    assert!(grown < 16 << 20, "the server has grown by {grown} bytes");
}

fn a_body_that_nobody_reads_does_no_harm(mpm: Mpm) {
    let server = with_confined(mpm, ONE).start();
    let mut client = server.connect();
    let (name, ..) = instance(&client.get("/c/instance"));
    let body = "x".repeat(300_000);
    let answer = server
        .exchange(format!("POST /c/ignore-body HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    assert_eq!(answer.status, 200);
    if mpm != Mpm::Prefork {
        assert_eq!(instance(&server.get("/c/instance")).0, name, "it has done nothing wrong");
    }
}

fn the_guest_is_told_who_asks_and_the_log_names_the_request(mpm: Mpm) {
    let server = with_confined(mpm, ONE).start();
    let answer = server.exchange(
        "GET /c/headers?x=%20y HTTP/1.1\r\nHost: example.org\r\nX-Forwarded-For: 1.2.3.4\r\nCookie: a=b\r\n\r\n",
    );
    let told = answer.text();
    assert!(told.contains("x-forwarded-for: 127.0.0.1"), "{told}");
    assert!(told.contains("cookie: a=b"), "{told}");
    assert!(!told.contains("1.2.3.4"), "{told}");
    assert_eq!(server.get("/c/stderr?text=from-the-inside").status, 200);
    let printed = server.log.wait_for("module=confined…request=…from-the-inside 1");
    // The same instance, another request: the log must name that one.
    assert_eq!(server.get("/c/stderr?text=once-more").status, 200);
    let again = server.log.wait_for("module=confined…request=…once-more 1");
    assert_ne!(request_of(&printed), request_of(&again));
}

fn request_of(line: &str) -> String {
    let (_, after) = line.split_once("request=").expect(line);
    after.split_whitespace().next().expect(line).to_owned()
}

fn a_client_that_goes_away_does_not_cost_the_instance(mpm: Mpm) {
    let server = with_one(mpm, "").start();
    let (name, before, _) = instance(&server.get("/c/instance"));
    let mut client = server.connect();
    client.send_get("/c/drip?n=3&ms=100");
    client.wait_for_bytes();
    drop(client);
    // It waits until the guest has finished for nobody.
    let (after, count, company) = instance(&server.get("/c/instance"));
    assert_eq!((after, count, company.as_str()), (name, before + 1, "alone"));
}

fn a_guest_that_goes_on_for_nobody_is_ended(mpm: Mpm) {
    let limits = "queue_timeout = \"30s\"\n[module.limits]\ncpu = \"600s\"\nwall = \"600s\"";
    let server = with_one(mpm, limits).start();
    let (before, ..) = instance(&server.get("/c/instance"));
    let idle = cpu_of(&server);
    let mut client = server.connect();
    client.send_get("/c/loop");
    until("the guest is inside", || (cpu_of(&server) > idle + 5).then_some(()));
    drop(client);
    // It waits until the guest has been ended.
    let (after, count, _) = instance(&server.get("/c/instance"));
    assert_ne!(before, after);
    assert_eq!(count, 1);
}

fn cpu_of(server: &Server) -> u64 {
    server.children().into_iter().map(cpu_ticks).sum()
}

fn an_instance_is_retired_after_its_requests(mpm: Mpm) {
    let path = guest("probe").display().to_string();
    let server = with_confined(mpm, &format!("max_requests_per_instance = 3\n{ONE}"))
        .tables(&format!(
            "[[module]]\nname = \"reused\"\npath = \"{path}\"\nmax_requests_per_instance = 2\n\
             [[route]]\npath = \"/r\"\nmodule = \"reused\"\n"
        ))
        .start();
    // One connection stays with one thread, whatever the MPM.
    let mut client = server.connect();
    let counts = |client: &mut Client, target| (0..7).map(|_| instance(&client.get(target)).1).collect::<Vec<_>>();
    assert_eq!(counts(&mut client, "/c/instance"), [1, 2, 3, 1, 2, 3, 1]);
    assert_eq!(counts(&mut client, "/r/instance"), [1, 2, 1, 2, 1, 2, 1]);
    assert_eq!(counts(&mut client, "/instance"), [1; 7]);
}

fn a_reload_finishes_what_is_confined(mpm: Mpm) {
    let server = with_confined(mpm, "").start();
    let before = server.children();
    let mut client = server.connect();
    client.send_get("/c/drip?n=3&ms=500");
    client.wait_for_bytes();
    server.signal(Signal::SIGUSR1);
    assert_eq!(client.receive().text(), "0\n1\n2\n");
    until("the old children have gone", || {
        let now = server.children();
        before.iter().all(|child| !now.contains(child)).then_some(())
    });
    assert_eq!(instance(&server.get("/c/instance")).1, 1);
}

fn a_reload_under_load_loses_no_confined_request(mpm: Mpm) {
    let server = with_confined(mpm, "").start();
    let load = Load::start(&server, "/c/instance");
    for round in 1..=4 {
        let before = server.children();
        if round % 2 == 0 {
            // Another module in the eyes of the server: it gets a socket of its own.
            server.edit("thread_safe = false", &format!("thread_safe = false\nenv.ROUND = \"{round}\""));
        }
        server.signal(Signal::SIGUSR1);
        until("the children are new ones", || {
            let now = server.children();
            (!now.is_empty() && now.iter().all(|child| !before.contains(child))).then_some(())
        });
        load.wait_for_answers(50 * round);
        if round % 2 == 0 {
            server.edit(&format!("\nenv.ROUND = \"{round}\""), "");
        }
    }
    assert_eq!(load.stop(), Vec::<String>::new());
}

fn a_stop_leaves_nothing_behind(mpm: Mpm) {
    let mut server = with_confined(mpm, "").start();
    let mut client = server.connect();
    client.send_get("/c/drip?n=3&ms=300");
    client.wait_for_bytes();
    let children = server.children();
    server.signal(Signal::SIGWINCH);
    assert_eq!(client.receive().text(), "0\n1\n2\n");
    assert!(server.wait_for_exit().success());
    until("all children have ended", || children.iter().all(|child| !is_alive(*child)).then_some(()));
    assert_eq!(sockets(&server), Vec::<PathBuf>::new());
}

/// The pools' sockets.
fn sockets(server: &Server) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(server.folder().join("run/confined")).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// What there is only where threads are shared.
mod pools {
    use super::*;

    const THREADED: [Mpm; 2] = [Mpm::Worker, Mpm::Event];

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
            entries
                .filter_map(|entry| std::fs::read_link(entry.path()).ok())
                .any(|held| held.as_os_str() == link.as_str())
        };
        server.children().into_iter().filter(holds).collect()
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
            let clients: Vec<_> = (0..6)
                .map(|_| thread::spawn(move || (Client::connect(address).get("/c/hello"), Instant::now())))
                .collect();
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
            let server =
                with_confined(mpm, &format!("{ONE}\n[module.limits]\ncpu = \"600s\"\nwall = \"600s\"")).start();
            let (before, ..) = instance(&server.get("/c/instance"));
            let [child] = confined_children(&server)[..] else { panic!("a pool of one") };
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
            let pool = "[module.pool]\nstart_servers = 0\nmin_spare_servers = 0\nmax_spare_servers = 1\nmax_request_workers = 2";
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
            let mode =
                |path: &std::path::Path| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
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
            for (from, to, resident) in [
                ("thread_safe = false", "thread_safe = true", false),
                ("thread_safe = true", "thread_safe = false", true),
            ] {
                server.edit(from, to);
                server.signal(Signal::SIGUSR1);
                until("the module is run in the other way", || {
                    assert_eq!(server.get("/c/hello").text(), "hello\n");
                    ((instance(&server.get("/c/instance")).1 > 1) == resident).then_some(())
                });
            }
        }
    }
}
