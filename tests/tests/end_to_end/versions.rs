//! Versions of modules: which are kept, and what a new one is asked before it serves.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime};

use guesthouse_tests::deployment::{deploy, put, saying, says, setup};
use guesthouse_tests::setup::{guest, program};
use guesthouse_tests::{Mpm, Server, Setup, Signal, under_every_mpm};

under_every_mpm! {
    the_last_versions_of_a_module_are_kept,
    a_version_that_is_well_is_deployed_whatever_its_kind,
    a_version_that_is_not_well_is_refused_and_the_one_before_goes_on,
    a_module_of_the_configuration_that_is_not_well_is_refused,
}

/// A guest of each kind, which does what its paths say.
const KINDS: [&str; 4] = ["probe", "probe-p3", "cgi-probe", "cgi-probe-p2"];

/// What the server has written down about a module: the hashes of its versions, and when they came.
fn history(server: &Server, name: &str) -> Vec<(String, u64)> {
    let text = fs::read(server.folder().join("run/published.json")).unwrap();
    let published: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let versions = published["versions"][name].as_array().cloned().unwrap_or_default();
    versions
        .iter()
        .map(|version| (version["hash"].as_str().unwrap().to_owned(), version["published"].as_u64().unwrap()))
        .collect()
}

fn hashes(server: &Server, name: &str) -> Vec<String> {
    history(server, name).into_iter().map(|(hash, _)| hash).collect()
}

fn kept(server: &Server, hash: &str) -> PathBuf {
    server.folder().join(format!("run/versions/{hash}.wasm"))
}

fn the_last_versions_of_a_module_are_kept(mpm: Mpm) {
    let server = setup(mpm).start();
    let mut all = Vec::new();
    for text in ["one", "two", "three"] {
        deploy(&server, "a", saying(text));
        all.insert(0, hashes(&server, "a")[0].clone());
    }
    assert_eq!(hashes(&server, "a"), all, "the newest first");
    let times: Vec<u64> = history(&server, "a").into_iter().map(|(_, published)| published).collect();
    assert!(times.is_sorted_by(|newer, older| newer >= older) && times[2] > 0, "{times:?}");
    for hash in &all {
        assert!(fs::read(kept(&server, hash)).unwrap().starts_with(b"\0asm"), "{hash}");
    }
    // Another module, and the settings, make no version of this one.
    deploy(&server, "b", saying("b"));
    let mark = server.log.mark();
    put(&server, "a.toml", "env.A = \"1\"\n");
    server.log.wait_for_after(mark, "module \"a\" is deployed in its next version");
    assert_eq!(hashes(&server, "a"), all);
    deploy(&server, "a", saying("four"));
    let four = hashes(&server, "a")[0].clone();
    assert_eq!(hashes(&server, "a"), [&four, &all[0], &all[1]].map(String::clone));
    // What is served again is no new version.
    deploy(&server, "a", saying("three"));
    assert_eq!(hashes(&server, "a"), [&all[0], &four, &all[1]].map(String::clone));
    assert!(!kept(&server, &all[2]).exists(), "two publications name it no more");
}

fn a_version_that_is_well_is_deployed_whatever_its_kind(mpm: Mpm) {
    let server = setup(mpm).start();
    for kind in KINDS {
        let name = format!("{kind}-well");
        put(&server, &format!("{name}.toml"), format!("health = \"/{name}/hello\"\n"));
        deploy(&server, &name, fs::read(guest(kind)).unwrap());
        says(&server, &format!("/{name}/hello"), "hello\n");
    }
}

fn a_version_that_is_not_well_is_refused_and_the_one_before_goes_on(mpm: Mpm) {
    let server = setup(mpm).start();
    for kind in KINDS {
        let name = format!("{kind}-ill");
        let settings = |health: &str, limit: &str| format!("\nhealth = \"/{name}/{health}\"\n{limit}\n");
        put(&server, &format!("{name}.toml"), settings("hello", ""));
        deploy(&server, &name, fs::read(guest(kind)).unwrap());
        for (health, limit, why) in [
            ("trap", "", "the guest trapped"),
            ("nothing", "", "it answered 404, \""),
            ("loop", "limits.cpu = \"10ms\"", "limits.cpu (10ms)"),
            ("sleep?ms=60000", "limits.wall = \"50ms\"", "limits.wall (50ms)"),
            ("memory", "limits.memory = \"16MiB\"", "the guest ran out of memory"),
        ] {
            let mark = server.log.mark();
            put(&server, &format!("{name}.toml"), settings(health, limit));
            let told = format!(
                "ERROR…{name}.toml:2: module \"{name}\": its health request, GET /{name}/{health}, failed: …{why}"
            );
            server.log.wait_for_after(mark, &told);
            server.log.wait_for_after(mark, &format!("module \"{name}\": the version that was served before goes on"));
            says(&server, &format!("/{name}/hello"), "hello\n");
        }
    }
}

fn a_module_of_the_configuration_that_is_not_well_is_refused(mpm: Mpm) {
    let server = Setup::new(mpm).server("watch = true").probe("health = \"/stderr?text=asked\"").start();
    assert_eq!(server.log.count("asked 1"), 1);
    let mark = server.log.mark();
    server.signal(Signal::SIGUSR1);
    server.log.wait_for_after(mark, "is ready");
    assert_eq!(server.log.count("asked 1"), 1, "what serves as it is is not asked again");
    server.edit("/stderr?text=asked", "/trap");
    server.signal(Signal::SIGUSR1);
    server.log.wait_for_after(mark, "module \"probe\": its health request, GET /trap, failed: the guest trapped");
    server.log.wait_for_after(mark, "reload failed");
    assert_eq!(server.get("/hello").text(), "hello\n");
    let mut never = Setup::new(mpm).probe("health = \"/status?code=503&text=busy\"").launch();
    assert!(!never.wait_for_exit().success());
    never.log.wait_for("its health request, GET /status?code=503&text=busy, failed: it answered 503, \"busy\"");
}

#[test]
fn native_code_that_nothing_needs_goes() {
    let server = setup(Mpm::Event).own_cache().server("keep_versions = 1\ncache_limit = \"1B\"").start();
    let native = || {
        let entries = fs::read_dir(server.folder().join("cache")).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "cwasm")).collect::<BTreeSet<_>>()
    };
    let mut made = Vec::new();
    for text in ["one", "two", "three"] {
        let before = native();
        deploy(&server, "a", saying(text));
        made.extend(native().difference(&before).cloned());
    }
    assert_eq!(made.len(), 3, "what was used a moment ago stays");
    server.log.wait_for("bytes of native code are needed in…but cache_limit is 1: write cache_limit = ");
    // As if it had been two hours ago.
    for label in native().iter().map(|native| native.with_extension("json")) {
        let file = fs::File::options().write(true).open(label).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(7200)).unwrap();
    }
    deploy(&server, "a", saying("four"));
    let left = native();
    assert_eq!(made.iter().map(|native| left.contains(native)).collect::<Vec<_>>(), [false, false, true]);
    says(&server, "/a", "four");
    assert_eq!(server.get("/probe/hello").text(), "hello\n");
}

#[test]
fn a_health_request_may_do_what_its_module_may() {
    let server = setup(Mpm::Event).start();
    let data = server.folder().join("data");
    fs::create_dir(&data).unwrap();
    let dir = "[[dir]]\nhost = \"../data\"\nguest = \"/data\"\nwrite = true\n";
    put(&server, "a.toml", format!("health = \"/a/write?path=/data/asked\"\n{dir}"));
    deploy(&server, "a", fs::read(guest("probe")).unwrap());
    assert!(data.join("asked").exists());
}

#[test]
fn a_health_request_that_is_never_answered_is_not_waited_for_long() {
    let server = setup(Mpm::Event).start();
    // Its limits would let it sleep for longer.
    put(&server, "a.toml", "health = \"/a/sleep?ms=20000\"\n");
    put(&server, "a.wasm", fs::read(guest("probe")).unwrap());
    server.log.wait_for("GET /a/sleep?ms=20000, failed: it has not answered within 5s");
    assert_eq!(server.get("/a/hello").status, 404);
}

#[test]
fn a_health_request_may_be_for_a_script() {
    let server = setup(Mpm::Event).start();
    fs::create_dir(server.folder().join("www")).unwrap();
    fs::write(server.folder().join("www/page.x"), "").unwrap();
    let settings = |health: &str| {
        format!(
            "routes = [{{ path = \"/app\", root = \"../www\", script_suffixes = [\".x\"] }}]\nhealth = \"{health}\"\n"
        )
    };
    put(&server, "app.toml", settings("/app/page.x/hello?x=y"));
    deploy(&server, "app", fs::read(guest("cgi-probe")).unwrap());
    says(&server, "/app/page.x/hello", "hello\n");
    put(&server, "app.toml", settings("/app/none.x"));
    server.log.wait_for("GET /app/none.x, failed: no script is there: it would be answered with 404");
    says(&server, "/app/page.x/hello", "hello\n");
}

#[test]
fn check_looks_where_a_health_request_leads() {
    let folder = tempfile::tempdir().unwrap();
    let module =
        format!("[[module]]\nname = \"hello\"\npath = \"{}\"\nhealth = \"/other\"\n", guest("hello").display());
    let text = format!("[server]\naccess_log = \"off\"\n{module}[[route]]\npath = \"/hello\"\nmodule = \"hello\"\n");
    fs::write(folder.path().join("guesthouse.toml"), text).unwrap();
    let output = Command::new(program()).arg("check").current_dir(folder.path()).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    let mistake =
        "guesthouse.toml:6: module \"hello\": health is \"/other\", which leads to none of its routes (/hello)";
    assert!(!output.status.success() && told.contains(mistake), "{told}");
}

#[test]
fn a_folder_of_modules_that_others_may_write_to_is_told() {
    let setup = setup(Mpm::Event);
    fs::set_permissions(setup.folder().join("modules"), fs::Permissions::from_mode(0o777)).unwrap();
    let server = setup.start();
    server.log.wait_for("WARN…modules_dir: others may write to…(mode 0777): run `chmod go-w ");
    let output = Command::new(program()).arg("check").current_dir(server.folder()).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.contains("modules_dir: others may write to"), "{told}");
}
