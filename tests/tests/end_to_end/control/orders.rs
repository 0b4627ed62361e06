//! What a server is told to do as a whole: to reload, to stop, and to tell its status.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::Child;

use guesthouse_tests::deployment::{saying, setup};
use guesthouse_tests::patience::until;
use guesthouse_tests::{Client, Mpm, Server, Setup, Signal, under_every_mpm};
use nix::sys::signal::kill;
use serde_json::Value;

use super::{connect, done, failed, reloaded, socket, spawned, started, why, write};

under_every_mpm! {
    a_reload_is_waited_for,
    a_server_is_stopped,
    a_server_that_finishes_what_is_open_can_be_stopped_at_once,
    the_status_needs_no_route,
}

/// A server that has begun to stop and waits for an answer that takes its time; its client, and the command that waits for it.
fn stopping(mpm: Mpm) -> (Server, Client, Child) {
    let server = started(Setup::new(mpm));
    let mut client = server.connect();
    client.send_get("/drip?n=1000&ms=200");
    client.wait_for_bytes();
    let graceful = spawned(&server, &["stop", "--graceful"]);
    server.log.wait_for("stopping gracefully");
    (server, client, graceful)
}

fn a_reload_is_waited_for(mpm: Mpm) {
    let server = started(Setup::new(mpm));
    server.edit("path = \"/\"", "path = \"/there\"");
    assert_eq!(reloaded(&server), "reloaded: generation 1 serves\n");
    assert_eq!(server.get("/hello").status, 404, "the new routes serve alone");
    server.edit("path = \"/there\"", "path = \"there\"");
    let why = failed(&server, &["reload"]);
    assert!(why.starts_with("the configuration was not accepted: ") && why.contains("guesthouse check"), "{why}");
    assert_eq!(server.get("/there/hello").status, 200);
    let why = failed(&server, &["deploy", "a.wasm"]);
    assert!(why.starts_with("cannot read a.wasm"), "{why}");
    write(&server, "a.wasm", saying("a"));
    let why = failed(&server, &["deploy", "a.wasm"]);
    assert!(why.contains("write modules_dir = \"modules\" under [server]"), "{why}");
}

fn a_server_is_stopped(mpm: Mpm) {
    for (words, log) in [(&["stop"][..], "stopping"), (&["stop", "--graceful"], "stopping gracefully")] {
        let mut server = started(Setup::new(mpm));
        assert_eq!(done(&server, words), "stopped\n");
        assert!(server.wait_for_exit().success());
        server.log.wait_for(log);
        assert!(failed(&server, words).starts_with("no server runs with this configuration: "));
    }
}

fn a_server_that_finishes_what_is_open_can_be_stopped_at_once(mpm: Mpm) {
    let (mut server, _client, graceful) = stopping(mpm);
    until("its place is free", || (!socket(&server).exists()).then_some(()));
    assert!(done(&server, &["status"]).contains("probe"));
    assert_eq!(failed(&server, &["reload"]), "the server stops\n");
    assert_eq!(done(&server, &["stop"]), "stopped\n");
    assert!(server.wait_for_exit().success());
    assert_eq!(graceful.wait_with_output().unwrap().stdout, b"stopped\n");
    assert!(failed(&server, &["stop"]).starts_with("no server runs with this configuration: "));
}

fn the_status_needs_no_route(mpm: Mpm) {
    let server = started(Setup::new(mpm));
    assert_eq!(server.get("/hello").status, 200);
    let told: Value = until("the request is counted", || {
        let told: Value = serde_json::from_str(&done(&server, &["status", "--json"])).unwrap();
        (told["modules"][0]["requests"] == 1).then_some(told)
    });
    assert!(!told["children"].as_array().unwrap().is_empty());
    assert!(done(&server, &["status"]).contains("probe"));
}

#[test]
fn a_stop_is_not_told_before_it_is_over() {
    let (server, mut client, graceful) = stopping(Mpm::Event);
    kill(server.lookout(), Signal::SIGKILL).unwrap();
    let why = why(&graceful.wait_with_output().unwrap());
    assert!(why.contains("the connection ended before the server had told the outcome"), "{why}");
    // The first lies here, the second may have arrived before.
    for _ in 0..3 {
        client.read_some(1 << 16).unwrap();
    }
}

#[test]
fn a_stop_breaks_off_a_deployment_that_waits() {
    let mut server = started(setup(Mpm::Event));
    write(&server, "a.wasm", saying("a"));
    fs::copy(server.file(), server.folder().join("copy.toml")).unwrap();
    // Whoever reads the configuration now waits for ever.
    fs::remove_file(server.file()).unwrap();
    nix::unistd::mkfifo(&server.file(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mark = server.log.mark();
    let deploy = spawned(&server, &["deploy", "a.wasm", "--config", "copy.toml"]);
    server.log.wait_for_after(mark, "reloading");
    let mut waiting = connect(&server);
    waiting.write_all(b"{\"command\":\"reload\"}\n").unwrap();
    let mut told = String::new();
    BufReader::new(waiting).read_line(&mut told).unwrap();
    assert_eq!(told, "{\"answer\":\"waiting\"}\n");
    assert_eq!(done(&server, &["stop", "--config", "copy.toml"]), "stopped\n");
    assert!(server.wait_for_exit().success());
    let why = why(&deploy.wait_with_output().unwrap());
    // It may have ended before it could say so.
    assert!(why.contains("the server stops") || why.contains("the connection ended"), "{why}");
}
