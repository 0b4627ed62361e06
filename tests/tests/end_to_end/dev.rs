//! `guesthouse dev`: what is saved is built and served, what fails leaves all as it was, and one terminal shows it.
//!
//! The builds here copy guests that are built already, so that no tool is needed. Under one MPM: what differs between them
//! is the server's.

use std::fs;
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;

use guesthouse_tests::dev::{Dev, Project, wait_for_end, wait_for_text};
use guesthouse_tests::patience::until;
use guesthouse_tests::setup::{guest, program, shared_cache};
use guesthouse_tests::{Client, Signal};

/// A build that makes of `source` what it says: the module of that name in the folder of guests.
const COPY: &str = "cp guests/$(cat source).wasm shop.wasm";

/// A project that is built by this script, with guests in its folder.
fn project(script: &str) -> Project {
    let server = format!("listen = [\"127.0.0.1:0\"]\ncache_dir = \"{}\"", shared_cache().display());
    let project = Project::new(script, &server);
    fs::create_dir(project.path("guests")).unwrap();
    for name in ["probe", "hello"] {
        fs::copy(guest(name), project.path("guests").join(name).with_extension("wasm")).unwrap();
    }
    project.write("source", "probe");
    project
}

#[test]
fn what_is_saved_is_built_and_served() {
    let project = project(COPY);
    let dev = Dev::start(&project.path(""));
    dev.screen.wait_for("dev: built shop.wasm…KB, in");
    let address = dev.wait_until_serving();
    assert_eq!(Client::connect(address).get("/hello").text(), "hello\n");
    project.write("source", "hello");
    wait_for_text(address, "/hello", "Hello, world!\n");
    dev.screen.wait_for("dev: changed: source");
    dev.screen.wait_for("dev: the new version serves…after it was saved");
}

#[test]
fn requests_guest_output_and_faults_are_shown() {
    let project = project(COPY);
    let dev = Dev::start(&project.path(""));
    let address = dev.wait_until_serving();
    Client::connect(address).get("/hello?a=b");
    dev.screen.wait_for("GET /hello?a=b 200 …of CPU");
    Client::connect(address).get("/stdout?lines=1&text=out%20loud");
    dev.screen.wait_for("shop | out loud 1");
    assert_eq!(Client::connect(address).get("/trap").status, 500);
    dev.screen.wait_for("shop | the guest trapped: …unreachable");
    dev.screen.wait_for("    probe::faults::trap");
    dev.screen.wait_for("GET /trap 500 ");
    assert!(!dev.screen.text().contains('\u{1b}'), "there are colours where no terminal is");
}

/// Saves a source that shows this and changes nothing, and a good one after it.
fn fails_and_is_mended(project: &Project, source: &str, shown: &[&str]) {
    let dev = Dev::start(&project.path(""));
    let address = dev.wait_until_serving();
    project.write("source", source);
    for words in shown {
        dev.screen.wait_for(words);
    }
    assert_eq!(Client::connect(address).get("/hello").text(), "hello\n");
    project.write("source", "hello");
    wait_for_text(address, "/hello", "Hello, world!\n");
}

#[test]
fn a_build_that_fails_keeps_the_last_good_version() {
    let shown = ["cp: ", "failed with exit status: 1", "dev: build failed: the last good version goes on"];
    fails_and_is_mended(&project(COPY), "none", &shown);
}

#[test]
fn a_module_that_is_no_handler_keeps_the_last_good_version() {
    // One build writes it in place, as compilers do; the other has removed it when it fails.
    let builds = [
        (
            "if test -s source; then cp guests/$(cat source).wasm shop.wasm; else echo '(module)' > shop.wasm; fi",
            "does not export the function _start",
        ),
        ("rm -f shop.wasm; cp guests/$(cat source).wasm shop.wasm", "failed with exit status: 1"),
    ];
    for (script, failure) in builds {
        let project = project(script);
        let dev = Dev::start(&project.path(""));
        let address = dev.wait_until_serving();
        project.write("source", "");
        dev.screen.wait_for(failure);
        dev.screen.wait_for("dev: build failed: the last good version goes on");
        // Nor does a server that reads its configuration again come by it.
        let mark = dev.screen.mark();
        let configuration = fs::read_to_string(project.path("guesthouse.toml")).unwrap();
        let route = "[[route]]\npath = \"/text\"\ntext = \"as configured\"\n";
        project.write("guesthouse.toml", format!("{configuration}\n{route}"));
        dev.screen.wait_for_after(mark, "dev: the server reads guesthouse.toml again");
        wait_for_text(address, "/text", "as configured");
        assert_eq!(Client::connect(address).get("/hello").text(), "hello\n");
    }
}

#[test]
fn a_module_that_the_server_refuses_keeps_the_last_good_version() {
    let project =
        project("if test -s source; then cp guests/$(cat source).wasm shop.wasm; else cp large.wat shop.wasm; fi");
    // A valid handler, but for a memory that the configuration does not give it.
    project.write("large.wat", "(module (memory (export \"memory\") 4096) (func (export \"_start\")))");
    let shown = ["server: …limits.memory", "dev: the server has refused that: the last good version goes on"];
    fails_and_is_mended(&project, "", &shown);
}

#[test]
fn a_first_build_that_fails_waits_for_a_better_one() {
    let project = project(COPY);
    project.write("source", "none");
    let dev = Dev::start(&project.path(""));
    dev.screen.wait_for("dev: build failed: waiting for a change");
    project.write("source", "probe");
    let address = dev.wait_until_serving();
    assert_eq!(Client::connect(address).get("/hello").text(), "hello\n");
}

#[test]
fn a_change_during_a_build_leads_to_another_one_after_it() {
    // Each build says that it has begun, and waits until it may go on.
    let project = project(
        "cp source .seen; echo \"begun with $(cat .seen)\"; until test -e .go-$(cat .seen); do sleep 0.01; done; cp guests/$(cat .seen).wasm shop.wasm; echo built >> .builds",
    );
    let dev = Dev::start(&project.path(""));
    dev.screen.wait_for("begun with probe");
    project.write("source", "hello");
    fs::write(project.path(".go-probe"), "").unwrap();
    dev.screen.wait_for("begun with hello");
    fs::write(project.path(".go-hello"), "").unwrap();
    let address = dev.wait_until_serving();
    wait_for_text(address, "/hello", "Hello, world!\n");
    assert_eq!(fs::read_to_string(project.path(".builds")).unwrap(), "built\nbuilt\n");
}

#[test]
fn what_a_build_writes_is_no_reason_to_build_again() {
    // A lock file that is written anew and is the same, a folder that git ignores, and the module.
    let project =
        project("cp guests/$(cat source).wasm shop.wasm; echo same > lock; date +%N > out/log; echo built >> .builds");
    fs::create_dir(project.path("out")).unwrap();
    project.write(".gitignore", "/out\n");
    let dev = Dev::start(&project.path(""));
    let _serving = dev.wait_until_serving();
    let builds = || fs::read_to_string(project.path(".builds")).unwrap().lines().count();
    // The lock file came with the first build, and was the same after the second.
    until("the builds have come to an end", || (builds() == 2).then_some(()));
    project.write("source", "hello");
    dev.screen.wait_for("dev: the new version serves");
    assert_eq!(builds(), 3);
}

#[test]
fn a_signal_ends_the_loop_and_its_server() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let project = project(COPY);
        let mut dev = Dev::start(&project.path(""));
        let address = dev.wait_until_serving();
        let server = dev.server();
        dev.signal(signal);
        assert!(dev.wait_for_exit().success());
        wait_for_end(server, address);
        dev.screen.wait_for("dev: stopped");
        assert!(!project.path(".shop.serving.wasm").exists());
        assert!(!project.path("run/guesthouse.pid").exists());
    }
}

#[test]
fn a_request_that_is_open_is_finished_before_the_end() {
    let project = project(COPY);
    let mut dev = Dev::start(&project.path(""));
    let mut client = Client::connect(dev.wait_until_serving());
    client.send_get("/drip?n=3&ms=200");
    client.wait_for_bytes();
    dev.signal(Signal::SIGINT);
    assert_eq!(client.receive().text(), "0\n1\n2\n");
    assert!(dev.wait_for_exit().success());
}

#[test]
fn a_second_signal_does_not_wait_for_what_is_open() {
    let project = project(COPY);
    let mut dev = Dev::start(&project.path(""));
    let address = dev.wait_until_serving();
    let mut client = Client::connect(address);
    client.send_get("/drip?n=1000&ms=200");
    client.wait_for_bytes();
    dev.signal(Signal::SIGINT);
    dev.screen.wait_for("dev: stopping");
    dev.signal(Signal::SIGINT);
    assert!(dev.wait_for_exit().success());
    assert!(client.try_receive().is_err(), "the answer is broken off");
}

#[test]
fn a_loop_that_is_killed_takes_its_server_with_it() {
    let project = project(COPY);
    let mut dev = Dev::start(&project.path(""));
    let address = dev.wait_until_serving();
    let server = dev.server();
    dev.signal(Signal::SIGKILL);
    assert_eq!(dev.wait_for_exit().signal(), Some(Signal::SIGKILL as i32));
    wait_for_end(server, address);
    // And another one goes on from there.
    let again = Dev::start(&project.path(""));
    wait_for_text(again.wait_until_serving(), "/hello", "hello\n");
}

#[test]
fn a_server_that_cannot_start_is_tried_again_after_a_change() {
    let project = project(COPY);
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap();
    let configuration = fs::read_to_string(project.path("guesthouse.toml")).unwrap();
    project.write("guesthouse.toml", configuration.replace("127.0.0.1:0", &address.to_string()));
    let dev = Dev::start(&project.path(""));
    dev.screen.wait_for(&format!("server: …{address}"));
    dev.screen.wait_for("dev: the server has ended (exit status: 1): the next change starts it again");
    drop(other);
    project.write("source", "hello");
    assert_eq!(dev.wait_until_serving(), address);
    wait_for_text(address, "/hello", "Hello, world!\n");
}

#[test]
fn a_mistake_in_the_configuration_is_told_with_its_line_and_mended() {
    let project = project(COPY);
    let configuration = fs::read_to_string(project.path("guesthouse.toml")).unwrap();
    project.write("guesthouse.toml", format!("[servr]\n{configuration}"));
    let dev = Dev::start(&project.path(""));
    dev.screen.wait_for("server: …guesthouse.toml:1: …servr");
    dev.screen.wait_for("dev: the server has ended");
    project.write("guesthouse.toml", &configuration);
    let address = dev.wait_until_serving();
    // While it runs, such a mistake changes nothing.
    project.write("guesthouse.toml", configuration.replace("[[route]]", "[[rout]]"));
    dev.screen.wait_for("server: …guesthouse.toml:7: …rout");
    dev.screen.wait_for("dev: the server has refused that: the last good version goes on");
    assert_eq!(Client::connect(address).get("/hello").text(), "hello\n");
}

#[test]
fn a_changed_configuration_is_taken_over() {
    let project = project(COPY);
    let dev = Dev::start(&project.path(""));
    let address = dev.wait_until_serving();
    let mark = dev.screen.mark();
    let configuration = fs::read_to_string(project.path("guesthouse.toml")).unwrap();
    project.write("guesthouse.toml", configuration.replace("127.0.0.1:0", "127.0.0.2:0"));
    dev.screen.wait_for("dev: the server reads guesthouse.toml again");
    let address_now = dev.wait_until_serving_after(mark);
    assert_eq!(address_now.ip().to_string(), "127.0.0.2");
    assert_eq!(Client::connect(address_now).get("/hello").text(), "hello\n");
    until("the old address is closed", || Client::try_connect(address).is_err().then_some(()));
    // Nothing was to be built.
    assert_eq!(dev.screen.count("dev: built"), 1);
}

#[test]
fn a_module_that_is_built_in_another_place_is_served_from_there() {
    let project = project(COPY);
    let dev = Dev::start(&project.path(""));
    assert_eq!(Client::connect(dev.wait_until_serving()).get("/hello").text(), "hello\n");
    let mark = dev.screen.mark();
    let replace = |name: &str| {
        let text = fs::read_to_string(project.path(name)).unwrap();
        project.write(name, text.replace("shop.wasm", "till.wasm").replace("$(cat source)", "hello"));
    };
    replace("guesthouse.toml");
    replace("guesthouse-project.toml");
    dev.screen.wait_for_after(mark, "dev: the project builds its module in another place: the server starts anew");
    assert_eq!(Client::connect(dev.wait_until_serving_after(mark)).get("/").text(), "Hello, world!\n");
    assert!(project.path(".till.serving.wasm").exists() && !project.path(".shop.serving.wasm").exists());
}

#[test]
fn what_the_loop_writes_is_no_reason_to_build() {
    let project = project(COPY);
    let log = project.path("dev.log");
    let mut dev = Dev::start_into(&project.path(""), fs::File::create(&log).unwrap());
    let shown = |words: &str| fs::read_to_string(&log).unwrap().contains(words);
    until("it serves", || shown("dev: serving on ").then_some(()));
    project.write("source", "hello");
    until("it serves what was saved", || shown("dev: the new version serves").then_some(()));
    assert!(!shown("changed: dev.log"), "{}", fs::read_to_string(&log).unwrap());
    dev.signal(Signal::SIGTERM);
    assert!(dev.wait_for_exit().success());
}

#[test]
fn what_is_no_project_has_no_loop() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(program()).arg("dev").arg(folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("is this the folder of a project?"), "{errors}");
}
