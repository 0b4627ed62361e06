//! What a guest does wrong ends its request and nothing else: the right status, a page that says nothing of the inside,
//! and a log that says everything.

use std::time::{Duration, Instant};

use guesthouse_tests::patience::until;
use guesthouse_tests::processes::cpu_ticks;
use guesthouse_tests::{Mpm, Server, Setup, under_every_mpm_and_confined, with_wasi_0_3_and_confined_too};

under_every_mpm_and_confined! {
    a_trap_is_500_and_logged_with_its_backtrace,
    a_request_that_the_guest_does_not_answer_is_500,
    an_error_in_place_of_an_answer_is_500,
    an_exit_in_place_of_an_answer_is_500,
    a_full_stack_is_500,
    too_much_memory_is_500,
    an_endless_loop_is_504_at_the_cpu_limit,
    an_endless_wait_is_504_at_the_wall_limit,
    an_answer_that_breaks_off_closes_the_connection,
    work_after_the_answer_goes_on,
    a_loop_beside_it_does_not_hold_up_a_request,
    a_client_that_goes_away_ends_its_guest,
    no_fault_costs_a_child,
}

with_wasi_0_3_and_confined_too! {
    a_trap_is_500_and_logged_with_its_backtrace,
    an_error_in_place_of_an_answer_is_500,
    an_exit_in_place_of_an_answer_is_500,
    a_full_stack_is_500,
    too_much_memory_is_500,
    an_endless_loop_is_504_at_the_cpu_limit,
    an_endless_wait_is_504_at_the_wall_limit,
    an_answer_that_breaks_off_closes_the_connection,
    work_after_the_answer_goes_on,
    a_client_that_goes_away_ends_its_guest,
}

fn a_trap_is_500_and_logged_with_its_backtrace(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    let answer = server.get("/trap");
    assert_eq!(answer.status, 500);
    says_nothing_of_the_inside(answer.text());
    server.log.wait_for("module=probe…request=…cause=trap…unreachable");
    server.log.wait_for("faults…trap");
}

fn says_nothing_of_the_inside(page: &str) {
    for inside in ["probe", "wasm", "trap", "unreachable", "panic", ".rs", "backtrace", "memory", "limit"] {
        assert!(!page.to_lowercase().contains(inside), "the client reads {inside:?}:\n{page}");
    }
}

fn a_request_that_the_guest_does_not_answer_is_500(mpm: Mpm) {
    fails_with(&Setup::new(mpm).start(), "/no-answer", 500);
}

fn an_error_in_place_of_an_answer_is_500(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    assert_eq!(server.get("/error").status, 500);
    server.log.wait_for("module=probe…request=…cause=error-code…asked for");
}

fn an_exit_in_place_of_an_answer_is_500(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    fails_with(&server, "/exit?code=0", 500);
    fails_with(&server, "/exit?code=1", 500);
}

fn a_full_stack_is_500(mpm: Mpm) {
    fails_with(&Setup::new(mpm).start(), "/stack", 500);
}

fn too_much_memory_is_500(mpm: Mpm) {
    fails_with(&Setup::new(mpm).limits("memory = \"16MiB\"").start(), "/memory", 500);
}

fn an_endless_loop_is_504_at_the_cpu_limit(mpm: Mpm) {
    let server = Setup::new(mpm).limits("cpu = \"300ms\"").start();
    let began = Instant::now();
    fails_with(&server, "/loop", 504);
    assert!(began.elapsed() > Duration::from_millis(300));
}

fn an_endless_wait_is_504_at_the_wall_limit(mpm: Mpm) {
    let server = Setup::new(mpm).limits("wall = \"500ms\"").start();
    let began = Instant::now();
    fails_with(&server, "/sleep?ms=60000", 504);
    assert!(began.elapsed() > Duration::from_millis(500));
}

fn an_answer_that_breaks_off_closes_the_connection(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    let mut client = server.connect();
    client.send_get("/half?ms=200");
    let error = client.try_receive().expect_err("half an answer arrived as a whole one");
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
    server.log.wait_for("module=probe…request=…cause=trap");
    is_well(&server);
}

fn work_after_the_answer_goes_on(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    assert_eq!(server.get("/after?ms=100").text(), "answered\n");
    server.log.wait_for("probe…still here after the answer");
}

fn a_loop_beside_it_does_not_hold_up_a_request(mpm: Mpm) {
    let server = Setup::new(mpm).limits("cpu = \"20s\"").start();
    let mut loops = [server.connect(), server.connect()];
    loops.iter_mut().for_each(|client| client.send_get("/loop"));
    for _ in 0..10 {
        let began = Instant::now();
        assert_eq!(server.get("/hello").status, 200);
        assert!(began.elapsed() < Duration::from_secs(2), "a request waited {:?}", began.elapsed());
    }
}

fn a_client_that_goes_away_ends_its_guest(mpm: Mpm) {
    let server = Setup::new(mpm).limits("cpu = \"600s\"\nwall = \"600s\"").start();
    let mut client = server.connect();
    client.send_get("/loop");
    let before = cpu_of(&server);
    until("the guest computes", || (cpu_of(&server) > before + 20).then_some(()));
    drop(client);
    let mut last = cpu_of(&server);
    until("the guest has stopped", || {
        std::thread::sleep(Duration::from_millis(500));
        let now = cpu_of(&server);
        (now - std::mem::replace(&mut last, now) < 5).then_some(())
    });
}

fn cpu_of(server: &Server) -> u64 {
    server.children().into_iter().map(cpu_ticks).sum()
}

fn no_fault_costs_a_child(mpm: Mpm) {
    let server = Setup::new(mpm).limits("memory = \"16MiB\"\ncpu = \"300ms\"\nwall = \"2s\"").start();
    let serving = |server: &Server| {
        let mut children = server.children();
        children.sort();
        children
    };
    let before = serving(&server);
    for path in
        ["/trap", "/no-answer", "/exit?code=1", "/stack", "/memory", "/loop", "/half", "/long", "/short", "/error"]
    {
        let mut client = server.connect();
        client.send_get(path);
        // Some of these end without a whole answer; that is another test's.
        let _ = client.try_receive();
    }
    is_well(&server);
    assert!(before.iter().filter(|child| serving(&server).contains(child)).count() == before.len());
}

/// Expects the status, on a connection of its own, and that the server goes on as if nothing had been.
fn fails_with(server: &Server, target: &str, status: u16) {
    let answer = server.get(target);
    assert_eq!(answer.status, status, "{answer:?}");
    says_nothing_of_the_inside(answer.text());
    server.log.wait_for("ERROR…module=probe…request=…cause=");
    is_well(server);
}

fn is_well(server: &Server) {
    assert_eq!(server.get("/hello").text(), "hello\n");
}
