//! The commands that reach a running server over its control socket, and the socket itself: who may, and what becomes of
//! nonsense.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::SystemTime;

use guesthouse_tests::deployment::{modules, saying, says, setup};
use guesthouse_tests::log::Log;
use guesthouse_tests::patience::{PATIENCE, until};
use guesthouse_tests::server::addresses_in;
use guesthouse_tests::setup::program;
use guesthouse_tests::{Client, Mpm, Server, Setup, Signal, under_every_mpm};
use nix::sys::signal::kill;
use serde_json::{Value, json};

under_every_mpm! {
    a_file_is_deployed_and_withdrawn,
    a_file_that_is_no_good_is_refused_with_the_reason,
    a_version_is_brought_back,
    a_version_that_fails_too_often_is_rolled_back,
    a_version_that_cannot_be_brought_back_holds_up_nobody,
    modules_are_told_with_what_became_of_them,
    a_reload_is_waited_for,
    a_server_is_stopped,
    a_server_that_finishes_what_is_open_can_be_stopped_at_once,
    the_status_needs_no_route,
    a_lookout_that_is_killed_comes_back_with_its_socket,
}

/// A program that fails whenever it is asked anything.
const TRAPPING: &str = "(module (memory (export \"memory\") 1) (func (export \"_start\") unreachable))";

/// A program that waits for what it is sent, and fails then.
const TRAPPING_LATE: &str = "(module
    (import \"wasi_snapshot_preview1\" \"fd_read\" (func $read (param i32 i32 i32 i32) (result i32)))
    (memory (export \"memory\") 1)
    (data (i32.const 0) \"\\10\\00\\00\\00\\01\\00\\00\\00\")
    (func (export \"_start\") (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8))) unreachable))";

/// The command at the server, as it is written beside its configuration.
fn command(server: &Server, words: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.args(words).current_dir(server.folder()).stdin(Stdio::null());
    command
}

/// The command while it goes on.
fn spawned(server: &Server, words: &[&str]) -> Child {
    command(server, words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// What it prints.
fn done(server: &Server, words: &[&str]) -> String {
    let output = command(server, words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What it says why it has failed.
fn failed(server: &Server, words: &[&str]) -> String {
    why(&command(server, words).output().unwrap())
}

fn why(output: &Output) -> String {
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn socket(server: &Server) -> PathBuf {
    server.folder().join("run/control.sock")
}

/// It is bound a moment after the server has come to serve.
fn connect(server: &Server) -> UnixStream {
    let stream = until("the control socket is there", || UnixStream::connect(socket(server)).ok());
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A server that can be controlled.
fn started(setup: Setup) -> Server {
    let server = setup.start();
    drop(connect(&server));
    server
}

/// One that looks at no file unless it is told to.
fn unwatching() -> Server {
    started(setup(Mpm::Event).server("watch = false"))
}

/// Kills the process that has the socket, and waits until there is another one.
fn kill_lookout(server: &Server) {
    let killed = server.lookout();
    kill(killed, Signal::SIGKILL).unwrap();
    until("there is another", || (server.lookout() != killed).then_some(()));
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

fn write(server: &Server, name: &str, content: impl AsRef<[u8]>) {
    fs::write(server.folder().join(name), content).unwrap();
}

/// What `guesthouse modules` tells of one.
fn module(server: &Server, name: &str) -> Value {
    let told: Value = serde_json::from_str(&done(server, &["modules", "--json"])).unwrap();
    let mut modules = told.as_array().unwrap().iter();
    modules.find(|module| module["name"] == name).unwrap_or_else(|| panic!("no {name} in {told:#}")).clone()
}

fn a_file_is_deployed_and_withdrawn(mpm: Mpm) {
    let server = started(setup(mpm));
    write(&server, "shop.wasm", saying("one"));
    let told = done(&server, &["deploy", "shop.wasm"]);
    assert!(told.starts_with("shop is deployed: version ") && told.ends_with(" s\n"), "{told}");
    says(&server, "/shop", "one");
    let told = done(&server, &["deploy", "shop.wasm"]);
    assert!(told.starts_with("shop serves this file already: version "), "{told}");
    write(&server, "shop.wasm", saying("two"));
    done(&server, &["deploy", "shop.wasm", "--config", "guesthouse.toml"]);
    says(&server, "/shop", "two");
    done(&server, &["deploy", "shop.wasm", "--name", "other"]);
    says(&server, "/other", "two");
    fs::write(modules(&server).join("shop.toml"), "routes = [\"/there\"]").unwrap();
    assert_eq!(done(&server, &["undeploy", "shop"]), "shop is withdrawn\n");
    until("it is served no more", || (server.get("/shop").status == 404).then_some(()));
    says(&server, "/other", "two");
    let left: Vec<_> = fs::read_dir(modules(&server)).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["other.wasm"]);
    assert!(failed(&server, &["undeploy", "shop"]).contains("there is no "));
}

fn a_file_that_is_no_good_is_refused_with_the_reason(mpm: Mpm) {
    let server = started(setup(mpm));
    write(&server, "good.wasm", saying("good"));
    write(&server, "bad.wasm", "no wasm");
    done(&server, &["deploy", "good.wasm", "--name", "a"]);
    let why = failed(&server, &["deploy", "bad.wasm", "--name", "a"]);
    assert!(why.contains("a.wasm is not a Wasm file\nthe version before goes on"), "{why}");
    says(&server, "/a", "good");
    let why = failed(&server, &["deploy", "bad.wasm"]);
    assert!(why.ends_with("bad.wasm is not a Wasm file\n"), "{why}");
    let why = failed(&server, &["deploy", "good.wasm", "--name", "probe"]);
    assert!(why.starts_with("module \"probe\" stands in the configuration: "), "{why}");
    let why = failed(&server, &["deploy", "good.wasm", "--name", "../good"]);
    assert!(why.contains("is no module name"), "{why}");
    assert!(failed(&server, &["deploy", "nothing.wasm"]).starts_with("cannot read nothing.wasm: "));
    assert!(!server.folder().join("good.wasm.wasm").exists());
    // A configuration with a mistake: nothing is taken over.
    server.edit("modules_dir", "= modules_dir");
    write(&server, "good.wasm", saying("better"));
    let why = failed(&server, &["deploy", "good.wasm", "--name", "a"]);
    assert!(why.starts_with("guesthouse.toml:"), "{why}");
    server.edit("= modules_dir", "wrong = 5\nmodules_dir");
    let why = failed(&server, &["deploy", "good.wasm", "--name", "a"]);
    assert!(why.contains("the configuration was not accepted: ") && why.contains("a.wasm waits for that"), "{why}");
    says(&server, "/a", "good");
    server.edit("wrong = 5\n", "");
    says(&server, "/a", "better");
}

fn a_version_is_brought_back(mpm: Mpm) {
    let server = started(setup(mpm));
    let versions = ["one", "two"].map(|version| {
        write(&server, "a.wasm", saying(version));
        done(&server, &["deploy", "a.wasm"]);
        module(&server, "a")["hash"].as_str().unwrap().to_owned()
    });
    says(&server, "/a", "two");
    let told = done(&server, &["rollback", "a"]);
    assert!(told.starts_with(&format!("a is rolled back: version {}", &versions[0][..12])), "{told}");
    says(&server, "/a", "one");
    done(&server, &["rollback", "a", &versions[1][..8]]);
    says(&server, "/a", "two");
    assert_eq!(module(&server, "a")["hash"].as_str(), Some(versions[1].as_str()));
    let why = failed(&server, &["rollback", "nothing"]);
    assert!(why.contains("no module \"nothing\" serves: there are probe, a"), "{why}");
    let why = failed(&server, &["rollback", "a", "ffffffff"]);
    assert!(why.contains("module \"a\": no version \"ffffffff\" is kept: "), "{why}");
    assert!(versions.iter().all(|version| why.contains(&version[..12])), "{why}");
}

fn a_version_that_fails_too_often_is_rolled_back(mpm: Mpm) {
    let server = started(setup(mpm));
    fs::write(modules(&server).join("a.toml"), "rollback_on_errors = \"20%\"").unwrap();
    write(&server, "a.wasm", saying("good"));
    done(&server, &["deploy", "a.wasm"]);
    write(&server, "a.wasm", TRAPPING);
    done(&server, &["deploy", "a.wasm"]);
    // Whoever asks makes it fail.
    says(&server, "/a", "good");
    server.log.wait_for("module \"a\": …of the first…requests to its new version failed…is brought back");
}

fn a_version_that_cannot_be_brought_back_holds_up_nobody(mpm: Mpm) {
    let setup = setup(mpm);
    let large = String::from_utf8(saying("large")).unwrap().replace("\"memory\") 1)", "\"memory\") 100)");
    fs::write(setup.folder().join("a.wasm"), large).unwrap();
    let tables = "[[module]]\nname = \"a\"\npath = \"a.wasm\"\n[[route]]\npath = \"/a\"\nmodule = \"a\"";
    let server = started(setup.tables(tables));
    says(&server, "/a", "large");
    write(&server, "a.wasm", saying("small"));
    says(&server, "/a", "small");
    server.edit("path = \"a.wasm\"", "path = \"a.wasm\"\nlimits.memory = \"1MiB\"");
    done(&server, &["reload"]);
    let why = failed(&server, &["rollback", "a"]);
    assert!(why.contains("a.wasm is left as it was"), "{why}");
    // Otherwise nothing would be accepted now.
    write(&server, "b.wasm", saying("b"));
    done(&server, &["deploy", "b.wasm"]);
    assert_eq!((server.get("/a").text(), server.get("/b").text()), ("small", "b"));
}

fn modules_are_told_with_what_became_of_them(mpm: Mpm) {
    let server = started(setup(mpm));
    assert_eq!(server.get("/probe/hello").status, 200);
    assert_eq!(server.get("/probe/trap").status, 500);
    write(&server, "a.wasm", saying("a"));
    write(&server, "bad.wasm", "no wasm");
    let deployed = done(&server, &["deploy", "a.wasm"]);
    let probe = until("requests are counted", || Some(module(&server, "probe")).filter(|told| told["requests"] == 2));
    assert_eq!((&probe["state"], &probe["errors"], &probe["reason"]), (&json!("serving"), &json!(1), &Value::Null));
    assert!(probe["since_secs"].as_u64().unwrap() > 0);
    let a = module(&server, "a");
    let hash = a["hash"].as_str().unwrap();
    assert_eq!((a["runs"].as_str(), hash.len()), (Some("shared"), 64));
    assert!(deployed.contains(&hash[..12]), "{deployed}");
    failed(&server, &["deploy", "bad.wasm", "--name", "a"]);
    failed(&server, &["deploy", "bad.wasm"]);
    let now = module(&server, "a");
    assert_eq!((&now["state"], &now["hash"]), (&json!("serving-earlier"), &a["hash"]), "that of what serves");
    assert_eq!(module(&server, "bad")["state"], "refused");
    let text = done(&server, &["modules"]);
    let has = |words: &[&str]| text.lines().any(|line| words.iter().all(|word| line.contains(word)));
    assert!(has(&["a ", "serving an earlier version"]) && has(&["bad ", "refused"]), "{text}");
    assert!(has(&["bad: ", "bad.wasm is not a Wasm file"]), "{text}");
}

fn a_reload_is_waited_for(mpm: Mpm) {
    let server = started(Setup::new(mpm));
    server.edit("path = \"/\"", "path = \"/there\"");
    assert_eq!(done(&server, &["reload"]), "reloaded: generation 1 serves\n");
    until("the new routes serve alone", || (server.get("/hello").status == 404).then_some(()));
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

fn a_lookout_that_is_killed_comes_back_with_its_socket(mpm: Mpm) {
    let server = started(setup(mpm));
    write(&server, "a.wasm", saying("a"));
    kill_lookout(&server);
    drop(connect(&server));
    done(&server, &["deploy", "a.wasm"]);
    says(&server, "/a", "a");
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
fn a_trial_goes_on_when_the_lookout_is_killed() {
    let server = started(setup(Mpm::Event));
    fs::write(modules(&server).join("a.toml"), "rollback_on_errors = \"20%\"").unwrap();
    write(&server, "a.wasm", saying("good"));
    done(&server, &["deploy", "a.wasm"]);
    // Which of two is newer is known to the second.
    let second = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let deployed = second();
    until("it is another second", || (second() > deployed).then_some(()));
    write(&server, "a.wasm", TRAPPING);
    done(&server, &["deploy", "a.wasm"]);
    kill_lookout(&server);
    says(&server, "/a", "good");
    server.log.wait_for("requests to its new version failed…is brought back");
}

#[test]
fn a_version_is_not_blamed_for_the_one_before() {
    const HANGING: usize = 12;
    let server = started(setup(Mpm::Event).server("body_timeout = \"60s\""));
    let settings = "rollback_on_errors = \"20%\"\nlimits.wall = \"60s\"";
    fs::write(modules(&server).join("a.toml"), settings).unwrap();
    write(&server, "a.wasm", TRAPPING_LATE);
    done(&server, &["deploy", "a.wasm"]);
    let mut hanging: Vec<_> = (0..HANGING).map(|_| server.connect()).collect();
    for client in &mut hanging {
        client.send("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n");
        assert_eq!(client.receive().status, 100, "its guest waits for what comes");
    }
    write(&server, "a.wasm", saying("next"));
    done(&server, &["deploy", "a.wasm"]);
    let next = module(&server, "a");
    assert_eq!(next["errors"], 0, "all are under way");
    for client in &mut hanging {
        client.send("x");
        assert_eq!(client.receive().status, 500);
    }
    until("they are counted", || (module(&server, "a")["errors"] == HANGING).then_some(()));
    // When it is seen that another one fails, this one has been looked at too.
    fs::write(modules(&server).join("b.toml"), "rollback_on_errors = \"20%\"").unwrap();
    for version in [saying("good"), TRAPPING.into()] {
        write(&server, "b.wasm", version);
        done(&server, &["deploy", "b.wasm"]);
    }
    says(&server, "/b", "good");
    server.log.wait_for("module \"b\": …is brought back");
    assert_eq!(module(&server, "a")["hash"], next["hash"]);
    assert_eq!(server.log.count("module \"a\": …is brought back"), 0);
    assert_eq!(server.get("/a").text(), "next");
}

#[test]
fn other_settings_are_deployed_with_the_same_file() {
    let server = unwatching();
    write(&server, "a.wasm", saying("a"));
    done(&server, &["deploy", "a.wasm"]);
    fs::write(modules(&server).join("a.toml"), "routes = [\"/there\"]").unwrap();
    let told = done(&server, &["deploy", "a.wasm"]);
    assert!(told.starts_with("a is deployed: "), "{told}");
    assert_eq!(server.get("/there").text(), "a");
}

#[test]
fn a_module_is_withdrawn_before_that_is_told() {
    let server = unwatching();
    write(&server, "a.wasm", saying("a"));
    done(&server, &["deploy", "a.wasm"]);
    // What is looked at next is a link that leads nowhere: the version before goes on.
    let file = modules(&server).join("a.wasm");
    fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink("nowhere", &file).unwrap();
    done(&server, &["reload"]);
    assert_eq!(server.get("/a").text(), "a");
    assert_eq!(done(&server, &["undeploy", "a"]), "a is withdrawn\n");
    assert_eq!(server.get("/a").status, 404);
}

#[test]
fn deployments_at_once_are_all_done() {
    let server = unwatching();
    let names = ["a", "b", "c", "d"];
    let spawned = names.map(|name| {
        let file = format!("{name}.wasm");
        write(&server, &file, saying(name));
        spawned(&server, &["deploy", &file])
    });
    for (name, process) in names.into_iter().zip(spawned) {
        let output = process.wait_with_output().unwrap();
        assert!(output.status.success(), "{name}: {output:?}");
        says(&server, &format!("/{name}"), name);
    }
}

#[test]
fn of_two_files_for_one_module_one_serves_and_both_are_told_so() {
    let server = started(setup(Mpm::Event));
    let names = ["one", "two"];
    let spawned = names.map(|name| {
        write(&server, name, saying(name));
        spawned(&server, &["deploy", name, "--name", "a"])
    });
    let outputs = spawned.map(|process| process.wait_with_output().unwrap());
    let served = server.get("/a").text().to_owned();
    assert!(names.contains(&served.as_str()), "{served}");
    for (name, output) in names.iter().zip(&outputs).filter(|(_, output)| !output.status.success()) {
        assert!(
            why(output).contains("was changed by somebody else meanwhile") && *name != served,
            "{name}: {output:?}"
        );
    }
    let told = outputs.iter().filter(|output| output.status.success()).count();
    until("all that is told was so", || (server.log.count("module \"a\" is deployed") >= told).then_some(()));
    assert_eq!(module(&server, "a")["state"], "serving");
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

#[test]
fn what_is_refused_at_once_need_not_be_sent_whole() {
    let server = started(Setup::new(Mpm::Event));
    write(&server, "large.wasm", vec![0; 20 << 20]);
    let why = failed(&server, &["deploy", "large.wasm"]);
    assert!(why.contains("write modules_dir = \"modules\" under [server]"), "{why}");
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
fn what_cannot_be_written_down_serves_all_the_same() {
    let server = started(setup(Mpm::Event));
    let published = server.folder().join("run/published.json");
    fs::remove_file(&published).unwrap();
    // Nothing can be renamed to the name of a folder.
    fs::create_dir(&published).unwrap();
    write(&server, "a.wasm", saying("a"));
    let why = failed(&server, &["deploy", "a.wasm"]);
    assert!(why.contains("cannot write into its runtime_dir what serves"), "{why}");
    server.log.wait_for("cannot write down what serves");
    says(&server, "/a", "a");
    write(&server, "b.wasm", saying("b"));
    failed(&server, &["deploy", "b.wasm"]);
    says(&server, "/b", "b");
    assert_eq!(server.log.count("reloading"), 2, "nobody asks for what is done");
    fs::remove_dir(&published).unwrap();
    done(&server, &["reload"]);
    write(&server, "a.wasm", saying("b"));
    done(&server, &["deploy", "a.wasm"]);
    says(&server, "/a", "b");
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

#[test]
fn the_lines_of_a_module_are_printed_and_followed() {
    let server = Setup::new(Mpm::Event)
        .server("error_log = \"error.log\"\naccess_log = \"access.log\"")
        .module("hello", "/other")
        .launch();
    let address = until("the server is ready", || {
        let text = fs::read_to_string(server.folder().join("error.log")).ok()?;
        text.contains(" ready").then(|| addresses_in(&text)[0])
    });
    drop(connect(&server));
    let get = |path: &str| Client::connect(address).get(path).status;
    assert_eq!((get("/trap"), get("/other/one")), (500, 200));
    server.wait_for_access("/other/one");
    server.wait_for_access("/trap");
    let lines = done(&server, &["logs", "probe"]);
    assert!(lines.contains("module=probe") && lines.contains("GET /trap") && !lines.contains("/other"), "{lines}");
    assert!(done(&server, &["logs", "hello"]).lines().all(|line| line.contains("GET /other/one")));

    let following = Following::begin(&server, "hello");
    following.log.wait_for("GET /other/one");
    assert_eq!((get("/hello"), get("/other/two")), (200, 200));
    following.log.wait_for("GET /other/two");
    fs::rename(server.folder().join("access.log"), server.folder().join("access.log.1")).unwrap();
    done(&server, &["reload"]);
    // Until the old children have ended, some requests are written down where they were before.
    let mut numbers = 0..;
    let first = until("a request stands in the new file", || {
        get(&format!("/other/three/{}.", numbers.next()?));
        let text = fs::read_to_string(server.folder().join("access.log")).ok()?;
        text.lines().next()?.split('"').nth(1).map(str::to_owned)
    });
    following.log.wait_for(&first);
    assert_eq!(following.log.count("/hello"), 0);
}

/// `guesthouse logs -f`, until it is dropped.
struct Following {
    log: Log,
    process: Child,
}

impl Following {
    fn begin(server: &Server, module: &str) -> Self {
        let mut process = command(server, &["logs", module, "-f"]).stdout(Stdio::piped()).spawn().unwrap();
        Self { log: Log::gather(process.stdout.take().unwrap()), process }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn logs_that_go_to_standard_error_are_looked_for_there() {
    let server = Setup::new(Mpm::Event).start();
    let why = failed(&server, &["logs", "probe"]);
    assert!(why.contains("goes to standard error"), "{why}");
}
