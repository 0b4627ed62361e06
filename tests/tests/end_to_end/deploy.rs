//! Modules that are dropped into a folder: what comes, changes and goes there takes effect by itself, and what is no good
//! changes nothing.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use guesthouse_tests::deployment::{deploy, modules, put, put_into, refuse, saying, says, setup};
use guesthouse_tests::patience::until;
use guesthouse_tests::processes::cpu_ticks;
use guesthouse_tests::setup::{guest, program};
use guesthouse_tests::{Client, Load, Mpm, Server, Setup, Signal, under_every_mpm};
use nix::sys::signal::kill;

under_every_mpm! {
    a_file_that_is_dropped_in_is_served_by_its_name,
    a_file_that_is_replaced_serves_its_next_version,
    a_file_that_is_removed_is_served_no_more,
    a_file_that_is_no_good_changes_nothing,
    settings_beside_a_file_are_those_of_its_module,
    a_module_that_is_not_thread_safe_is_replaced_too,
    no_request_fails_while_modules_are_replaced,
}

fn a_file_that_is_dropped_in_is_served_by_its_name(mpm: Mpm) {
    let server = setup(mpm).start();
    assert_eq!(server.get("/hello").status, 404);
    put(&server, "hello.wasm", fs::read(guest("hello")).unwrap());
    until("it is served", || (server.get("/hello").status == 200).then_some(()));
    assert_eq!(server.get("/hello/below").status, 200);
    assert_eq!(server.get("/probe/hello").text(), "hello\n");
    put(&server, "words.wasm", saying("words"));
    says(&server, "/words", "words");
    assert_eq!(server.get("/hello").status, 200, "the first is served on");
}

fn a_file_that_is_replaced_serves_its_next_version(mpm: Mpm) {
    let server = setup(mpm).start();
    for version in ["one", "two", "three"] {
        put(&server, "a.wasm", saying(version));
        says(&server, "/a", version);
    }
    // Written in place, in pieces.
    let whole = saying("four");
    fs::write(modules(&server).join("a.wasm"), &whole[..whole.len() / 2]).unwrap();
    fs::write(modules(&server).join("a.wasm"), &whole).unwrap();
    says(&server, "/a", "four");
}

fn a_file_that_is_removed_is_served_no_more(mpm: Mpm) {
    let server = setup(mpm).start();
    put(&server, "a.wasm", saying("a"));
    put(&server, "b.wasm", saying("b"));
    says(&server, "/a", "a");
    says(&server, "/b", "b");
    fs::remove_file(modules(&server).join("a.wasm")).unwrap();
    until("it is gone", || (server.get("/a").status == 404).then_some(()));
    assert_eq!(server.get("/b").text(), "b");
}

fn a_file_that_is_no_good_changes_nothing(mpm: Mpm) {
    let server = setup(mpm).start();
    deploy(&server, "a", saying("good"));
    for (bad, why) in [
        ("no wasm at all", "is not a Wasm file"),
        ("(module)", "does not export the function _start"),
        ("(module (import \"env\" \"f\" (func)) (func (export \"_start\")))", "not part of WASI preview 1: env f"),
    ] {
        refuse(&server, "a", bad, why);
        assert_eq!(server.get("/a").text(), "good");
        // Another file is not held up by it, and it is not looked at again.
        let mark = server.log.mark();
        deploy(&server, "b", saying(why));
        server.log.wait_for_after(mark, &format!("module \"a\" is still refused…{why}"));
        says(&server, "/b", why);
        assert_eq!(server.get("/a").text(), "good");
    }
    deploy(&server, "a", saying("better"));
    for _ in 0..8 {
        assert_eq!(server.get("/a").text(), "better", "whichever child answers");
    }
}

fn settings_beside_a_file_are_those_of_its_module(mpm: Mpm) {
    let server = setup(mpm).start();
    put(
        &server,
        "p.toml",
        "routes = [\"/one\", { path = \"/two\", host = \"example.org\" }]\n[env]\nGREETING = \"hi\"\n",
    );
    put(&server, "p.wasm", fs::read(guest("probe")).unwrap());
    until("it is served", || (server.get("/one/env").text() == "GREETING=hi\n").then_some(()));
    assert_eq!(server.get("/p").status, 404);
    assert_eq!(server.get("/two/hello").status, 404);
    let answer = server.exchange("GET /two/hello HTTP/1.1\r\nHost: example.org\r\n\r\n");
    assert_eq!(answer.text(), "hello\n");
    put(&server, "p.toml", "[env]\nGREETING = \"ho\"\n");
    until("it is changed", || (server.get("/p/env").text() == "GREETING=ho\n").then_some(()));
    let mark = server.log.mark();
    put(&server, "p.toml", "[env]\nGREETING = \"no\"\n[limts]\n");
    server.log.wait_for_after(mark, "p.toml:3: unknown key \"limts\"");
    server.log.wait_for_after(mark, "module \"p\": the version that was served before goes on");
    deploy(&server, "other", saying("other"));
    assert_eq!(server.get("/p/env").text(), "GREETING=ho\n");
}

fn a_module_that_is_not_thread_safe_is_replaced_too(mpm: Mpm) {
    let server = setup(mpm).start();
    put(&server, "a.toml", "thread_safe = false\n");
    for version in ["one", "two"] {
        deploy(&server, "a", saying(version));
        for _ in 0..8 {
            assert_eq!(server.get("/a").text(), version);
        }
    }
    refuse(&server, "a", "no wasm", "is not a Wasm file");
    assert_eq!(server.get("/a").text(), "two");
}

fn no_request_fails_while_modules_are_replaced(mpm: Mpm) {
    let server = setup(mpm).start();
    deploy(&server, "a", saying("0"));
    let load = Load::start(&server, "/a");
    load.wait_for_answers(10);
    for version in 1..=10 {
        let text = version.to_string();
        put(&server, "a.wasm", saying(&text));
        says(&server, "/a", &text);
        put(&server, "a.wasm", "no wasm");
    }
    let failures = load.stop();
    assert!(failures.is_empty(), "{failures:?}");
}

#[test]
fn a_hundred_files_at_once_are_served() {
    let server = setup(Mpm::Event).start();
    for number in 0..100 {
        put(&server, &format!("m{number}.wasm"), saying("same"));
    }
    for number in 0..100 {
        says(&server, &format!("/m{number}"), "same");
    }
}

#[test]
fn a_folder_that_vanishes_takes_nothing_with_it_and_may_come_back() {
    let server = setup(Mpm::Event).start();
    deploy(&server, "a", saying("one"));
    let (folder, away) = (modules(&server), server.folder().join("away"));
    let mark = server.log.mark();
    fs::rename(&folder, &away).unwrap();
    server.log.wait_for_after(mark, "cannot read modules_dir");
    server.log.wait_for_after(mark, "is ready");
    assert_eq!(server.get("/a").text(), "one");
    fs::write(away.join("a.wasm"), saying("two")).unwrap();
    fs::rename(&away, &folder).unwrap();
    says(&server, "/a", "two");
    put(&server, "a.wasm", saying("three"));
    says(&server, "/a", "three");
}

#[test]
fn a_link_that_is_switched_serves_what_it_leads_to() {
    let server = setup(Mpm::Event).start();
    for version in ["one", "two"] {
        fs::write(server.folder().join(version), saying(version)).unwrap();
        let unfinished = modules(&server).join(".link");
        symlink(server.folder().join(version), &unfinished).unwrap();
        fs::rename(unfinished, modules(&server).join("a.wasm")).unwrap();
        says(&server, "/a", version);
    }
    // What it leads to is changed where nobody watches.
    fs::write(server.folder().join("two"), saying("three")).unwrap();
    says(&server, "/a", "three");
}

#[test]
fn a_name_or_a_path_that_is_taken_is_refused_with_what_to_do() {
    let server = setup(Mpm::Event).start();
    put(&server, "probe.wasm", saying("other"));
    server.log.wait_for("there is a module \"probe\" already: give the file another name");
    put(&server, "a.toml", "routes = [\"/probe\"]");
    put(&server, "a.wasm", saying("other"));
    server.log.wait_for("path \"/probe\" has a route already: write other routes into a.toml");
    assert_eq!(server.get("/probe/hello").text(), "hello\n");
}

#[test]
fn a_module_of_the_configuration_is_replaced_where_files_are_watched() {
    let setup = Setup::new(Mpm::Event).server("watch = true");
    let file = setup.folder().join("a.wasm");
    fs::write(&file, saying("one")).unwrap();
    let tables = "[[module]]\nname = \"a\"\npath = \"a.wasm\"\n[[route]]\npath = \"/a\"\nmodule = \"a\"";
    let server = setup.tables(tables).start();
    says(&server, "/a", "one");
    fs::write(&file, saying("two")).unwrap();
    says(&server, "/a", "two");
    let mark = server.log.mark();
    fs::write(&file, "no wasm").unwrap();
    server.log.wait_for_after(mark, "reload failed");
    assert_eq!(server.get("/a").text(), "two");
}

#[test]
fn the_last_good_version_serves_after_a_restart() {
    let mut server = setup(Mpm::Event).start();
    deploy(&server, "a", saying("good"));
    refuse(&server, "a", "no wasm", "is not a Wasm file");
    server.signal(Signal::SIGKILL);
    server.wait_for_exit();
    let again = server.launch_again();
    let address = again.wait_until_ready();
    let mut client = Client::connect(address);
    assert_eq!(client.get("/a").text(), "good");
}

#[test]
fn a_version_that_goes_on_is_confined_where_the_mpm_wants_it() {
    let mut server = setup(Mpm::Prefork).start();
    put(&server, "a.toml", "thread_safe = false\n");
    deploy(&server, "a", saying("good"));
    refuse(&server, "a", "no wasm", "is not a Wasm file");
    server.signal(Signal::SIGKILL);
    server.wait_for_exit();
    assert!(!server.folder().join("run/confined").exists());
    server.edit("mpm = \"prefork\"", "mpm = \"event\"");
    let again = server.launch_again();
    let address = again.wait_until_ready();
    assert_eq!(fs::read_dir(server.folder().join("run/confined")).unwrap().count(), 1, "its pool has a socket");
    assert_eq!(Client::connect(address).get("/a").text(), "good");
}

#[test]
fn a_folder_that_is_named_anew_is_looked_at_once() {
    let server = setup(Mpm::Event).start();
    deploy(&server, "a", saying("good"));
    let others = server.folder().join("others");
    fs::create_dir(&others).unwrap();
    fs::write(others.join("a.wasm"), "no wasm").unwrap();
    server.edit("\"modules\"", "\"others\"");
    let mark = server.log.mark();
    server.signal(Signal::SIGUSR1);
    server.log.wait_for_after(mark, "is ready");
    assert_eq!(server.get("/a").text(), "good");
    put_into(&others, "b.wasm", saying("b"));
    says(&server, "/b", "b");
    assert_eq!(server.log.count("reloading"), 3, "the signal and the two deployments, and nothing else");
}

#[test]
fn a_module_that_has_lost_its_folder_costs_no_other() {
    let server = setup(Mpm::Event).start();
    let data = server.folder().join("data");
    fs::create_dir(&data).unwrap();
    put(&server, "a.toml", "[[dir]]\nhost = \"../data\"\nguest = \"/data\"\n");
    deploy(&server, "a", saying("a"));
    fs::remove_dir(&data).unwrap();
    let mark = server.log.mark();
    deploy(&server, "b", saying("b"));
    server.log.wait_for_after(mark, "module \"a\" is not served: the folder…data that it is granted is not there");
    says(&server, "/b", "b");
    fs::create_dir(&data).unwrap();
    deploy(&server, "b", saying("other"));
    says(&server, "/a", "a");
}

#[test]
fn a_cache_that_is_cleared_withdraws_nothing() {
    let mut server = setup(Mpm::Event).own_cache().start();
    deploy(&server, "a", saying("a"));
    let clear = |server: &Server| {
        fs::remove_dir_all(server.folder().join("cache")).unwrap();
    };
    clear(&server);
    deploy(&server, "b", saying("b"));
    says(&server, "/a", "a");
    clear(&server);
    server.signal(Signal::SIGKILL);
    server.wait_for_exit();
    let again = server.launch_again();
    let mut client = Client::connect(again.wait_until_ready());
    assert_eq!((client.get("/a").text(), client.get("/b").text()), ("a", "b"));
    assert_eq!(again.log.count("is not served"), 0);
}

#[test]
fn what_is_not_a_files_fault_is_not_held_against_it() {
    let server = setup(Mpm::Event).own_cache().start();
    let (file, cache) = (server.folder().join("guesthouse.toml"), server.folder().join("cache"));
    // A module of the configuration would be hindered too, and everything with it.
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.split("[[module]]").next().unwrap()).unwrap();
    fs::set_permissions(&cache, Permissions::from_mode(0o770)).unwrap();
    put(&server, "a.wasm", saying("a"));
    server.log.wait_for("module \"a\": the cache directory…may be written to by others");
    fs::set_permissions(&cache, Permissions::from_mode(0o700)).unwrap();
    server.signal(Signal::SIGUSR1);
    server.log.wait_for("module \"a\" is deployed");
    assert_eq!(server.log.count("still refused"), 0);
}

#[test]
fn settings_that_are_no_file_hold_up_nobody() {
    let server = setup(Mpm::Event).start();
    nix::unistd::mkfifo(&modules(&server).join("a.toml"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    put(&server, "a.wasm", saying("a"));
    deploy(&server, "b", saying("b"));
    server.log.wait_for("a.toml: it is no file: remove it");
}

#[test]
fn a_new_file_takes_no_path_from_one_that_is_served() {
    let server = setup(Mpm::Event).start();
    deploy(&server, "shop", saying("shop"));
    put(&server, "aa.toml", "routes = [\"/shop\"]");
    put(&server, "aa.wasm", saying("aa"));
    server.log.wait_for("aa.wasm: path \"/shop\" has a route already");
    says(&server, "/shop", "shop");
}

#[test]
fn a_change_waits_for_a_configuration_that_is_mended() {
    let server = setup(Mpm::Event).start();
    server.edit("modules_dir", "= modules_dir");
    let mark = server.log.mark();
    put(&server, "a.wasm", saying("a"));
    server.log.wait_for_after(mark, "reload failed");
    server.edit("= modules_dir", "modules_dir");
    says(&server, "/a", "a");
}

#[test]
fn a_server_to_whose_folder_nothing_is_done_does_nothing() {
    let server = setup(Mpm::Event).start();
    deploy(&server, "a", saying("a"));
    let lookout = server.lookout();
    let before = cpu_ticks(lookout);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(server.log.count("reloading"), 1, "nothing is asked for");
    let used = cpu_ticks(lookout) - before;
    assert!(used <= 20, "{used} ticks of 200");
}

#[test]
fn a_lookout_that_is_killed_costs_nothing() {
    let server = setup(Mpm::Event).start();
    put(&server, "a.wasm", saying("one"));
    says(&server, "/a", "one");
    let lookout = server.lookout();
    kill(lookout, Signal::SIGKILL).unwrap();
    put(&server, "a.wasm", saying("two"));
    says(&server, "/a", "two");
}

#[test]
fn check_looks_at_what_is_dropped_in() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("modules")).unwrap();
    let text = "[server]\nmodules_dir = \"modules\"\naccess_log = \"off\"\n";
    fs::write(folder.path().join("guesthouse.toml"), text).unwrap();
    fs::write(folder.path().join("modules/a.wasm"), saying("a")).unwrap();
    let check = |folder: &Path| Command::new(program()).arg("check").current_dir(folder).output().unwrap();
    assert!(check(folder.path()).status.success());
    fs::write(folder.path().join("modules/b.wasm"), "no wasm").unwrap();
    fs::write(folder.path().join("modules/b.toml"), "routes = 5").unwrap();
    let output = check(folder.path());
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && told.contains("b.toml:1: routes: expected paths such as"), "{told}");
    fs::remove_file(folder.path().join("modules/b.toml")).unwrap();
    let told = String::from_utf8_lossy(&check(folder.path()).stderr).into_owned();
    assert!(told.contains("b.wasm is not a Wasm file"), "{told}");
}
