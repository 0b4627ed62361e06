//! Modules that are not thread-safe, beside those that are: confined to processes of their own, one request at a time,
//! with an instance that stays.
//!
//! The confined module is the probe once more, under `/c`; the probe that shares the threads answers everywhere else.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::thread;

use guesthouse_tests::patience::until;
use guesthouse_tests::processes::{children_of, cpu_ticks, wait_until_ended};
use guesthouse_tests::setup::guest;
use guesthouse_tests::{Answer, Client, Load, Mpm, Server, Setup, Signal, under_every_mpm};

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
    no_process_is_given_huge_pages,
}

/// Where a confined module has a pool of its own: under prefork each process is confined as it is.
pub(crate) const THREADED: [Mpm; 2] = [Mpm::Worker, Mpm::Event];

/// A server with the probe on `/`, and the probe that is not thread-safe on `/c`, with these lines for it.
pub(crate) fn with_confined(mpm: Mpm, lines: &str) -> Setup {
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
pub(crate) const ONE: &str =
    "[module.pool]\nstart_servers = 1\nmin_spare_servers = 1\nmax_spare_servers = 2\nmax_request_workers = 1";

/// What `/instance` says: which instance, how many requests it has served, and whether it was alone.
pub(crate) fn instance(answer: &Answer) -> (String, u32, String) {
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
    wait_until_ended(&before);
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

fn no_process_is_given_huge_pages(mpm: Mpm) {
    let server = with_confined(mpm, ONE).start();
    let processes = [vec![server.pid()], children_of(server.pid())].concat();
    for pid in processes {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        assert!(status.contains("THP_enabled:\t0\n"), "{status}");
    }
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
    wait_until_ended(&children);
    assert_eq!(sockets(&server), Vec::<PathBuf>::new());
}

/// The pools' sockets.
pub(crate) fn sockets(server: &Server) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(server.folder().join("run/confined")).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}
