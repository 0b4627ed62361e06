//! What the logs say of one module, printed and followed by a command.

use std::fs;
use std::process::{Child, Stdio};

use guesthouse_tests::log::Log;
use guesthouse_tests::patience::until;
use guesthouse_tests::server::addresses_in;
use guesthouse_tests::{Client, Mpm, Server, Setup};

use super::{command, connect, done, failed};

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
