//! The operator's signals, while clients are at work.

use guesthouse_tests::patience::until;
use guesthouse_tests::processes::wait_until_ended;
use guesthouse_tests::server::addresses_in;
use guesthouse_tests::{Client, Load, Mpm, Server, Setup, Signal, under_every_mpm_and_confined};

under_every_mpm_and_confined! {
    term_ends_the_server,
    int_ends_the_server,
    term_ends_the_server_also_while_guests_compute,
    usr1_under_load_loses_no_request,
    usr1_lets_an_open_request_finish,
    usr1_serves_what_the_file_says_now,
    hup_serves_what_the_file_says_now,
    hup_under_load_refuses_no_connection,
    a_reload_with_a_broken_file_goes_on_serving,
    a_reload_may_move_to_another_address,
    winch_finishes_what_is_open_and_ends,
    many_reloads_leave_no_children_behind,
}

fn term_ends_the_server(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    let _idle = server.connect();
    assert_eq!(server.get("/hello").status, 200);
    server.stop();
}

fn int_ends_the_server(mpm: Mpm) {
    let mut server = Setup::new(mpm).start();
    server.signal(Signal::SIGINT);
    assert!(server.wait_for_exit().success());
}

fn term_ends_the_server_also_while_guests_compute(mpm: Mpm) {
    let server = Setup::new(mpm).limits("cpu = \"600s\"\nwall = \"600s\"").start();
    let mut clients = [server.connect(), server.connect()];
    clients.iter_mut().for_each(|client| client.send_get("/loop"));
    assert_eq!(server.get("/hello").status, 200);
    server.stop();
}

fn usr1_under_load_loses_no_request(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    let load = Load::start(&server, "/hello");
    for generation in 1..=3 {
        reload(&server, Signal::SIGUSR1);
        load.wait_for_answers(50 * generation);
    }
    assert_eq!(load.stop(), Vec::<String>::new());
}

fn usr1_lets_an_open_request_finish(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    let before = server.children();
    let mut client = server.connect();
    client.send_get("/drip?n=3&ms=500");
    client.wait_for_bytes();
    server.signal(Signal::SIGUSR1);
    let answer = client.receive();
    assert_eq!(answer.text(), "0\n1\n2\n");
    wait_until_ended(&before);
}

fn usr1_serves_what_the_file_says_now(mpm: Mpm) {
    serves_what_the_file_says_after(mpm, Signal::SIGUSR1);
}

fn hup_serves_what_the_file_says_now(mpm: Mpm) {
    serves_what_the_file_says_after(mpm, Signal::SIGHUP);
}

fn serves_what_the_file_says_after(mpm: Mpm, signal: Signal) {
    let server = Setup::new(mpm).tables("[[route]]\npath = \"/text\"\ntext = \"before\"").start();
    assert_eq!(server.get("/text").text(), "before");
    server.edit("\"before\"", "\"after\"");
    server.signal(signal);
    until("the new text is served", || {
        // A hard restart may cut this one off; the next is served.
        Client::try_get(server.address(), "/text").is_ok_and(|answer| answer.text() == "after").then_some(())
    });
}

fn hup_under_load_refuses_no_connection(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    let load = Load::start(&server, "/hello");
    reload(&server, Signal::SIGHUP);
    load.wait_for_answers(50);
    let lost = load.stop();
    // A hard restart may cut off what is open, one request for each client; but nobody is turned away.
    assert!(lost.len() <= Load::CLIENTS && !lost.iter().any(|lost| lost.contains("refused")), "{lost:?}");
}

fn a_reload_with_a_broken_file_goes_on_serving(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    let before = server.children();
    for signal in [Signal::SIGUSR1, Signal::SIGHUP] {
        let mark = server.log.mark();
        std::fs::write(server.file(), "[server]\nlisten = [\"127.0.0.1:0\"]\nno_such_key = 1\n").unwrap();
        server.signal(signal);
        let line = server.log.wait_for_after(mark, "guesthouse.toml:3…no_such_key");
        assert!(line.contains("no_such_key"), "{line}");
        assert_eq!(server.get("/hello").text(), "hello\n");
    }
    let now = server.children();
    assert!(before.iter().all(|child| now.contains(child)), "a broken file has cost a child");
    server.stop();
}

fn a_reload_may_move_to_another_address(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    server.edit("127.0.0.1:0", "127.0.0.2:0");
    let mark = server.log.mark();
    server.signal(Signal::SIGUSR1);
    let line = server.log.wait_for_after(mark, "listening on 127.0.0.2:");
    assert_eq!(Client::connect(addresses_in(&line)[0]).get("/hello").text(), "hello\n");
    until("the old address is closed", || Client::try_connect(server.address()).is_err().then_some(()));
}

fn winch_finishes_what_is_open_and_ends(mpm: Mpm) {
    let mut server = Setup::new(mpm).start();
    let mut client = server.connect();
    client.send_get("/drip?n=3&ms=500");
    client.wait_for_bytes();
    server.signal(Signal::SIGWINCH);
    assert_eq!(client.receive().text(), "0\n1\n2\n");
    assert!(server.wait_for_exit().success());
    assert!(Client::try_connect(server.address()).is_err());
    assert!(!server.folder().join("run/guesthouse.pid").exists());
}

fn many_reloads_leave_no_children_behind(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    let before = server.children().len();
    for _ in 0..5 {
        reload(&server, Signal::SIGUSR1);
    }
    assert_eq!(server.get("/hello").status, 200);
    until("there are as few children as before", || (server.children().len() <= before).then_some(()));
}

/// Sends the signal, and waits until children of the new generation serve.
fn reload(server: &Server, signal: Signal) {
    let before = server.children();
    server.signal(signal);
    until("the children are new ones", || {
        let now = server.children();
        (!now.is_empty() && now.iter().all(|child| !before.contains(child))).then_some(())
    });
}
