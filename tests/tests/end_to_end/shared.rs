//! Instances that serve many requests at once, as those of `wasi:http/handler@0.3` do: what their requests share, and what
//! they do not.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use guesthouse_tests::patience::until;
use guesthouse_tests::{Client, Mpm, Server, Setup, Signal, with_wasi_0_3_too};

with_wasi_0_3_too! {
    an_instance_is_retired_after_its_number_of_requests,
    a_thread_safe_instance_serves_128_requests_unless_said,
    what_goes_on_after_an_answer_outlives_its_client,
    what_goes_on_after_an_answer_has_a_deadline,
    what_reads_a_body_after_its_answer_hears_that_the_client_is_gone,
    what_goes_on_after_an_answer_has_a_deadline_while_others_come_and_go,
    where_one_is_served_at_a_time_the_next_does_not_meet_what_goes_on_after_an_answer,
    a_module_that_is_not_thread_safe_keeps_its_only_instance,
    a_fault_ends_an_instance_and_the_next_request_gets_another,
}

/// One thread, so that all requests can meet in one instance.
fn one_thread() -> Setup {
    one_thread_with_slices_of("1s")
}

/// A guest that is cut by its time slice is not joined by others: where they are to meet, none is.
fn one_thread_with_slices_of(slice: &str) -> Setup {
    Setup::new(Mpm::Event03).directives(&format!("start_servers = 1\nthreads_per_child = 1\ntime_slice = \"{slice}\""))
}

/// Sends a request on each of so many connections.
fn asked(server: &Server, target: &str, times: usize) -> Vec<Client> {
    let ask = |_| {
        let mut client = server.connect();
        client.send_get(target);
        client
    };
    (0..times).map(ask).collect()
}

/// What `/instance` has told: the instance's name, and how many were in it at once.
fn told(client: &mut Client) -> (String, usize) {
    let answer = client.receive();
    let mut words = answer.text().split_whitespace().map(str::to_owned);
    let name = words.next().expect("an instance has a name");
    let inside = words.nth(1).and_then(|number| number.parse().ok()).expect("a number");
    (name, inside)
}

#[test]
fn sixteen_slow_requests_are_in_one_instance_at_once() {
    let server = one_thread().start();
    let mut clients = asked(&server, "/instance?ms=3000", 16);
    let told: Vec<_> = clients.iter_mut().map(told).collect();
    let names: HashSet<_> = told.iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), 1, "{told:?}");
    assert_eq!(told.iter().map(|(_, inside)| *inside).max(), Some(16), "{told:?}");
}

#[test]
fn no_instance_has_more_requests_at_once_than_it_may() {
    let server = one_thread().probe("max_concurrent_requests_per_instance = 4").start();
    let mut clients = asked(&server, "/instance?ms=3000", 8);
    let told: Vec<_> = clients.iter_mut().map(told).collect();
    let names: HashSet<_> = told.iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), 2, "{told:?}");
    assert_eq!(told.iter().map(|(_, inside)| *inside).max(), Some(4), "{told:?}");
}

#[test]
fn a_trap_ends_the_requests_of_its_instance_and_no_other() {
    let path = guesthouse_tests::setup::guest("probe-p3");
    let other = format!(
        "[[module]]\nname = \"other\"\npath = \"{}\"\n[[route]]\npath = \"/other\"\nmodule = \"other\"",
        path.display()
    );
    let server = one_thread().tables(&other).start();
    let mut neighbours = asked(&server, "/sleep?ms=20000", 3);
    let mut others = asked(&server, "/other/sleep?ms=1500", 2);
    // Begun when they have been, since one thread takes connections in their order.
    assert_eq!(server.get("/hello").text(), "hello\n");
    let began = Instant::now();
    assert_eq!(server.get("/trap").status, 500);
    for neighbour in &mut neighbours {
        assert_eq!(neighbour.receive().status, 500);
    }
    assert!(began.elapsed() < Duration::from_secs(15), "nobody waits for an instance that is over");
    for other in &mut others {
        assert_eq!(other.receive().text(), "slept\n");
    }
    assert_eq!(server.get("/hello").text(), "hello\n");
    server.log.wait_for("ERROR…module=probe…request=…cause=trap");
    let lost = server.log.wait_for("cause=instance-lost");
    assert!(lost.contains("another request of the same instance has ended it: the guest trapped"), "{lost}");
    until("all three are told", || (server.log.count("cause=instance-lost") == 3).then_some(()));
    assert_eq!(server.log.text().matches("cause=trap").count(), 1, "{}", server.log.text());
}

#[test]
fn an_endless_loop_holds_up_only_the_requests_of_its_instance() {
    let server = one_thread_with_slices_of("10ms").limits("cpu = \"1s\"").start();
    let mut neighbour = asked(&server, "/sleep?ms=20000", 1).remove(0);
    assert_eq!(server.get("/hello").text(), "hello\n");
    let mut looping = asked(&server, "/loop", 1).remove(0);
    // It may have to wait until the loop has had its first slice, and not for the loop's end.
    assert_eq!(server.get("/hello").text(), "hello\n");
    assert!(!server.log.text().contains("cpu-limit"), "the loop has not ended yet");
    assert_eq!(looping.receive().status, 504);
    assert_eq!(neighbour.receive().status, 500);
    server.log.wait_for("cause=cpu-limit");
    server.log.wait_for("another request of the same instance has ended it: the guest used more than limits.cpu");
}

/// A server whose thread stands still for a while, so that what is sent meanwhile begins together.
fn standing_still() -> (Server, Vec<Client>) {
    let setup = one_thread_with_slices_of("100ms").server("access_log = \"access.log\"");
    let server = setup.limits("cpu = \"600s\"\nwall = \"600s\"").start();
    let spinning = asked(&server, "/spin?ms=90", 1);
    (server, spinning)
}

#[test]
fn requests_that_begin_together_do_not_wait_for_one_that_computes() {
    let (server, _spinning) = standing_still();
    let _looping = asked(&server, "/loop", 1);
    for client in &mut asked(&server, "/hello", 8) {
        assert_eq!(client.receive().text(), "hello\n");
    }
}

#[test]
fn a_trap_ends_no_request_that_has_not_begun() {
    let (server, _spinning) = standing_still();
    let mut trapping = asked(&server, "/trap", 1);
    for client in &mut asked(&server, "/hello", 8) {
        assert_eq!(client.receive().text(), "hello\n");
    }
    assert_eq!(trapping[0].receive().status, 500);
}

#[test]
fn a_trap_ends_no_request_that_has_been_answered_before_it_in_the_same_turn() {
    let (server, _spinning) = standing_still();
    let mut answered = asked(&server, "/hello", 6);
    let mut trapping = asked(&server, "/trap", 1);
    for client in &mut answered {
        let answer = client.receive();
        assert_eq!((answer.status, answer.text()), (200, "hello\n"));
    }
    assert_eq!(trapping[0].receive().status, 500);
}

#[test]
fn requests_that_begin_together_are_charged_what_each_has_used() {
    let (server, _spinning) = standing_still();
    let mut clients = asked(&server, "/spin?ms=80", 1);
    clients.extend(asked(&server, "/hello", 6));
    clients.iter_mut().for_each(|client| assert_eq!(client.receive().status, 200));
    let lines = until("all are logged", || {
        let text = std::fs::read_to_string(server.folder().join("access.log")).ok()?;
        (text.lines().count() == 8).then_some(text)
    });
    let used = |target: &str| {
        let lines = lines.lines().filter(|line| line.contains(target));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect::<Vec<u64>>()
    };
    assert_eq!(used("/hello").len(), 6, "{lines}");
    assert!(used("/hello").iter().max() < used("/spin?ms=80").iter().min(), "{lines}");
}

#[test]
fn a_request_that_takes_too_long_retires_its_instance_and_ends_no_other() {
    let server = one_thread().limits("wall = \"2s\"").start();
    let first = told(&mut asked(&server, "/instance", 1)[0]).0;
    let mut slow = asked(&server, "/sleep?ms=60000", 1).remove(0);
    std::thread::sleep(Duration::from_millis(1000));
    let mut beside = asked(&server, "/instance?ms=1500", 1).remove(0);
    assert_eq!(slow.receive().status, 504);
    assert_eq!(told(&mut beside).0, first, "it was in the instance, and ended well");
    assert_ne!(told(&mut asked(&server, "/instance", 1)[0]).0, first);
}

fn an_instance_is_retired_after_its_number_of_requests(mpm: Mpm) {
    let server = Setup::new(mpm).probe("max_requests_per_instance = 3").start();
    let mut client = server.connect();
    let counts: Vec<String> = (0..7).map(|_| client.get("/count").text().trim().to_owned()).collect();
    assert_eq!(counts, ["1", "2", "3", "1", "2", "3", "1"]);
}

fn a_thread_safe_instance_serves_128_requests_unless_said(mpm: Mpm) {
    let server = Setup::new(mpm).server("max_keep_alive_requests = 1000").start();
    let mut client = server.connect();
    let counts: Vec<usize> = (0..129).map(|_| client.get("/count").text().trim().parse().unwrap()).collect();
    assert_eq!((counts[127], counts[128]), (128, 1));
}

fn what_goes_on_after_an_answer_outlives_its_client(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    let mut client = server.connect();
    assert_eq!(client.get("/after?ms=500").text(), "answered\n");
    // The same connection goes on meanwhile.
    assert_eq!(client.get("/hello").text(), "hello\n");
    drop(client);
    server.log.wait_for("still here after the answer");
}

fn what_goes_on_after_an_answer_has_a_deadline(mpm: Mpm) {
    let server = Setup::new(mpm).limits("wall = \"1s\"").start();
    assert_eq!(server.get("/after?ms=60000").text(), "answered\n");
    server.log.wait_for("ended an instance that was still busy when limits.wall was over…");
    assert_eq!(server.get("/hello").text(), "hello\n");
}

fn a_module_that_is_not_thread_safe_keeps_its_only_instance(mpm: Mpm) {
    let pool = "thread_safe = false\n[module.pool]\nmax_request_workers = 1";
    let pool = if mpm == Mpm::Prefork03 { "thread_safe = false" } else { pool };
    let server = Setup::new(mpm).probe(pool).start();
    let mut clients = asked(&server, "/instance?ms=50", 3);
    let told: Vec<_> = clients.iter_mut().map(told).collect();
    assert!(told.iter().all(|(_, inside)| *inside == 1), "{told:?}");
    if mpm != Mpm::Prefork03 {
        let names: HashSet<_> = told.iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), 1, "{told:?}");
    }
}

fn a_fault_ends_an_instance_and_the_next_request_gets_another(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    let mut client = server.connect();
    for target in ["/trap", "/exit?code=0", "/exit?code=1", "/stack"] {
        assert_eq!(client.get("/count").text(), "1\n", "before {target}");
        assert_eq!(client.get(target).status, 500);
    }
    assert_eq!(client.get("/count").text(), "1\n");
    // A reload's last word comes after all of them.
    let mark = server.log.mark();
    server.signal(Signal::SIGUSR1);
    server.log.wait_for_after(mark, "is ready");
    let text = server.log.text();
    assert_eq!(text.lines().filter(|line| line.contains(" ERROR ")).count(), 4, "each is told once:\n{text}");
}

fn what_goes_on_after_an_answer_has_a_deadline_while_others_come_and_go(mpm: Mpm) {
    let server = Setup::new(mpm).server("max_keep_alive_requests = 0").limits("wall = \"1s\"").start();
    let mut client = server.connect();
    assert_eq!(client.get("/after?ms=60000").text(), "answered\n");
    let began = Instant::now();
    while !server.log.text().contains("ended an instance that was still busy") {
        assert!(began.elapsed() < Duration::from_secs(20), "{}", server.log.text());
        assert_eq!(client.get("/sleep?ms=100").text(), "slept\n");
    }
}

fn where_one_is_served_at_a_time_the_next_does_not_meet_what_goes_on_after_an_answer(mpm: Mpm) {
    for lines in ["thread_safe = false", "max_concurrent_requests_per_instance = 1"] {
        let server = Setup::new(mpm).probe(lines).start();
        let mut client = server.connect();
        assert_eq!(client.get("/after?ms=300").text(), "answered\n");
        assert_eq!(client.get("/trap").status, 500);
        server.log.wait_for("still here after the answer");
    }
}

fn what_reads_a_body_after_its_answer_hears_that_the_client_is_gone(mpm: Mpm) {
    let server = Setup::new(mpm).limits("wall = \"600s\"").start();
    let mut client = server.connect();
    client.send("POST /answer-first HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf");
    assert_eq!(client.receive().text(), "answered\n");
    drop(client);
    server.log.wait_for("the rest of the body has ended, whole: false");
}

#[test]
fn requests_that_compute_hold_up_others_by_a_slice_each_time_and_not_by_one_each() {
    let server = one_thread_with_slices_of("100ms").limits("cpu = \"600s\"\nwall = \"600s\"").start();
    // Each has an instance; the one that ends has the thread look after all of them.
    let _computing = asked(&server, "/loop", 20);
    assert_eq!(asked(&server, "/spin?ms=100", 1)[0].receive().text(), "spun\n");
    let mut client = server.connect();
    assert_eq!(client.get("/hello").text(), "hello\n");
    let began = Instant::now();
    (0..10).for_each(|_| assert_eq!(client.get("/hello").text(), "hello\n"));
    // Twenty slices before each would be twenty seconds.
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[test]
fn instances_that_have_nothing_to_do_leave_room_for_those_of_other_modules() {
    let path = guesthouse_tests::setup::guest("probe-p3");
    let other = format!(
        "[[module]]\nname = \"other\"\npath = \"{}\"\n[[route]]\npath = \"/other\"\nmodule = \"other\"",
        path.display()
    );
    // Each is computing when the next comes, so each has an instance.
    let server = one_thread_with_slices_of("1ms").directives("max_requests_in_flight = 16").tables(&other).start();
    for target in ["/spin?ms=60", "/other/spin?ms=60"] {
        for client in &mut asked(&server, target, 16) {
            assert_eq!(client.receive().text(), "spun\n");
        }
    }
}

#[test]
fn a_request_that_waits_for_a_file_holds_up_only_those_that_are_with_it() {
    let setup = one_thread();
    let folder = setup.folder().join("data");
    std::fs::create_dir(&folder).unwrap();
    nix::unistd::mkfifo(&folder.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let dir = format!("[[module.dir]]\nhost = \"{}\"\nguest = \"/data\"", folder.display());
    let server = setup.probe(&format!("[module.limits]\nwall = \"3s\"\n{dir}")).start();
    let _waits_for_ever = asked(&server, "/read?path=/data/pipe", 1);
    let mut clients = asked(&server, "/hello", 4);
    let statuses: Vec<_> = clients.iter_mut().map(|client| client.receive().status).collect();
    // The one that joins it is what shows that it stands still.
    assert!(statuses.iter().filter(|status| **status != 200).count() <= 1, "{statuses:?}");
}
