//! The command line where no server runs: `check`, `--help`, and a start that fails.

use std::process::{Command, Output};

use guesthouse_tests::setup::{guest, program};
use guesthouse_tests::{Mpm, Setup};

#[test]
fn check_accepts_a_file_in_order() {
    let output = check(&format!("[[module]]\nname = \"a\"\npath = \"{}\"\n", guest("hello").display()));
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn check_reports_every_mistake_with_file_and_line() {
    let output = check(
        "[server]\n\
         mpm = \"evnt\"\n\
         keep_alive_timeout = 5\n\
         [[module]]\n\
         name = \"a\"\n\
         path = \"missing.wasm\"\n\
         [[route]]\n\
         path = \"/\"\n\
         module = \"b\"\n",
    );
    assert!(!output.status.success());
    let errors = String::from_utf8(output.stderr).unwrap();
    for place in ["guesthouse.toml:2:", "guesthouse.toml:3:", "guesthouse.toml:6:", "guesthouse.toml:9:"] {
        assert!(errors.contains(place), "{place} is missing in\n{errors}");
    }
}

fn check(configuration: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("guesthouse.toml"), configuration).unwrap();
    Command::new(program()).args(["check", "guesthouse.toml"]).current_dir(&folder).output().unwrap()
}

#[test]
fn help_names_the_commands_and_the_signals() {
    let help = |arguments: &[&str]| {
        let output = Command::new(program()).args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let all = help(&["--help"]);
    assert!(all.contains("serve") && all.contains("check"), "{all}");
    let serve = help(&["serve", "--help"]);
    assert!(["TERM", "HUP", "USR1", "WINCH"].iter().all(|signal| serve.contains(signal)), "{serve}");
}

#[test]
fn a_file_that_is_no_component_stops_the_start_with_the_reason() {
    let setup = Setup::new(Mpm::Event);
    std::fs::write(setup.folder().join("text.wasm"), "this is not Wasm").unwrap();
    let module = "[[module]]\nname = \"text\"\npath = \"text.wasm\"";
    let mut server = setup.tables(module).launch();
    assert!(!server.wait_for_exit().success());
    server.log.wait_for("text.wasm");
}

#[test]
fn an_address_in_use_stops_the_start_with_the_reason() {
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap();
    let mut server = Setup::new(Mpm::Event).server(&format!("listen = [\"{address}\"]")).launch();
    assert!(!server.wait_for_exit().success());
    server.log.wait_for(&format!("{address}"));
}
