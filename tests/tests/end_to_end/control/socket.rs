//! The control socket itself: where it is, who may use it, and what becomes of nonsense.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;

use guesthouse_tests::deployment::{modules, saying, says, setup};
use guesthouse_tests::patience::until;
use guesthouse_tests::setup::program;
use guesthouse_tests::{Mpm, Signal, under_every_mpm};
use serde_json::Value;

use super::{command, connect, done, kill_lookout, socket, started, why, write};

under_every_mpm! {
    a_lookout_that_is_killed_comes_back_with_its_socket,
}

fn a_lookout_that_is_killed_comes_back_with_its_socket(mpm: Mpm) {
    let server = started(setup(mpm));
    write(&server, "a.wasm", saying("a"));
    kill_lookout(&server);
    drop(connect(&server));
    done(&server, &["deploy", "a.wasm"]);
    says(&server, "/a", "a");
}

#[test]
fn the_socket_moves_with_the_runtime_directory() {
    let server = started(setup(Mpm::Event));
    server.edit("[server]", "[server]\nruntime_dir = \"elsewhere\"");
    server.signal(Signal::SIGUSR1);
    until("it is there", || server.folder().join("elsewhere/control.sock").exists().then_some(()));
    assert!(!socket(&server).exists());
    write(&server, "a.wasm", saying("a"));
    done(&server, &["deploy", "a.wasm"]);
    says(&server, "/a", "a");
}

#[test]
fn nonsense_is_refused_and_harms_nobody() {
    let server = started(setup(Mpm::Event));
    let answers = |bytes: &[u8]| {
        let mut stream = connect(&server);
        // What is too much is not read to its end.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut said = Vec::new();
        // A connection that is closed with something unread is reset, behind the answer.
        let _ = stream.read_to_end(&mut said);
        String::from_utf8(said).unwrap()
    };
    assert_eq!(answers(b""), "");
    for (nonsense, why) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], "this is no request"),
        (b"{\"command\":\"sever\"}\n", "this is no request"),
        (b"\xff\xfe\n", "a request is a line of JSON"),
        (&[b' '; 100_000], "a request is a line of JSON"),
        (b"{\"command\":\"deploy\",\"name\":\"a\",\"bytes\":9}\nshort", "the file ends 4 bytes too soon"),
        (b"{\"command\":\"deploy\",\"name\":\"a\",\"bytes\":99999999999}\n", "no module has more than"),
        (b"{\"command\":\"deploy\",\"name\":\"../a\",\"bytes\":1}\nx", "is no module name"),
    ] {
        let said: Value = serde_json::from_str(&answers(nonsense)).unwrap();
        assert_eq!(said["answer"], "refused", "{said}");
        assert!(said["reason"].as_str().unwrap().contains(why), "{said}");
    }
    assert_eq!(fs::read_dir(modules(&server)).unwrap().count(), 0);
    let said: Value = serde_json::from_str(&answers(b"{\"command\":\"modules\"}\n")).unwrap();
    assert_eq!(said["modules"][0]["name"], "probe");
    assert_eq!(server.get("/probe/hello").text(), "hello\n");
}

#[test]
fn clients_that_say_nothing_are_sent_away() {
    let server = started(setup(Mpm::Event));
    let mut silent: Vec<UnixStream> = (0..40).map(|_| connect(&server)).collect();
    let (mut too_many, mut too_slow) = (0, 0);
    for stream in &mut silent {
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        too_many += usize::from(said.contains("32 others are being served"));
        too_slow += usize::from(said.contains("it takes too long"));
    }
    // The connection by which it was seen that the socket is there may have taken a place for a moment.
    assert!(too_many >= 8 && too_slow >= 31 && too_many + too_slow == 40, "{too_many} and {too_slow}");
    until("there is room again", || command(&server, &["modules"]).output().unwrap().status.success().then_some(()));
}

#[test]
fn nobody_but_the_owner_and_root_may_control_a_server() {
    let server = started(setup(Mpm::Event));
    assert_eq!(fs::metadata(socket(&server)).unwrap().permissions().mode() & 0o777, 0o600);
    // Only root can become somebody else.
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    // Where others can reach it.
    let copy = server.folder().join("guesthouse");
    fs::copy(program(), &copy).unwrap();
    let as_nobody = || {
        let words = ["--reuid=65534", "--clear-groups", "--"];
        let mut command = Command::new("setpriv");
        command.args(words).arg(&copy).args(["modules"]).current_dir(server.folder()).output().unwrap()
    };
    let set_mode = |path: PathBuf, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    set_mode(server.folder().to_owned(), 0o755);
    let told = why(&as_nobody());
    assert!(told.contains("only its owner and root may control it"), "{told}");
    // Whatever becomes of the modes, the kernel knows who is there.
    set_mode(server.folder().join("run"), 0o755);
    set_mode(socket(&server), 0o666);
    let told = why(&as_nobody());
    assert!(told.contains("you are user 65534: only its owner and root may control it"), "{told}");
    server.log.wait_for("refused on the control socket");
}
