//! Files that are deployed and withdrawn by a command, versions that are brought back, and what is told of modules.

use std::fs;
use std::time::SystemTime;

use guesthouse_tests::deployment::{modules, saying, says, setup};
use guesthouse_tests::patience::until;
use guesthouse_tests::{Mpm, Server, Setup, under_every_mpm};
use serde_json::{Value, json};

use super::{done, failed, kill_lookout, reloaded, spawned, started, why, write};

under_every_mpm! {
    a_file_is_deployed_and_withdrawn,
    a_file_that_is_no_good_is_refused_with_the_reason,
    a_version_is_brought_back,
    a_version_that_fails_too_often_is_rolled_back,
    a_version_that_cannot_be_brought_back_holds_up_nobody,
    modules_are_told_with_what_became_of_them,
}

/// A program that fails whenever it is asked anything.
const TRAPPING: &str = "(module (memory (export \"memory\") 1) (func (export \"_start\") unreachable))";

/// A program that waits for what it is sent, and fails then.
const TRAPPING_LATE: &str = "(module
    (import \"wasi_snapshot_preview1\" \"fd_read\" (func $read (param i32 i32 i32 i32) (result i32)))
    (memory (export \"memory\") 1)
    (data (i32.const 0) \"\\10\\00\\00\\00\\01\\00\\00\\00\")
    (func (export \"_start\") (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8))) unreachable))";

/// One that looks at no file unless it is told to.
fn unwatching() -> Server {
    started(setup(Mpm::Event).server("watch = false"))
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
    reloaded(&server);
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
    reloaded(&server);
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
fn what_is_refused_at_once_need_not_be_sent_whole() {
    let server = started(Setup::new(Mpm::Event));
    write(&server, "large.wasm", vec![0; 20 << 20]);
    let why = failed(&server, &["deploy", "large.wasm"]);
    assert!(why.contains("write modules_dir = \"modules\" under [server]"), "{why}");
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
