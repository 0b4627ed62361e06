//! The facts that travel with a module: `guesthouse module inspect` and `tag`, and what the server makes of the section.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use guesthouse_tests::setup::{guest, program};
use guesthouse_tests::{Mpm, Setup, Signal, under_every_mpm};
use tempfile::TempDir;

under_every_mpm! {
    a_tagged_module_is_served,
    a_module_that_the_operator_vouches_for_is_served_with_a_warning,
    what_cannot_be_served_is_refused_with_what_to_do_and_the_server_goes_on,
    every_version_of_wasi_http_0_3_is_served,
}

/// Files that no server can run, and what is said of each.
const UNSUITABLE: [(&str, &str); 6] = [
    (
        "(component (import \"acme:a/b@1.0.0\" (instance)) (import \"wasi:http/types@0.2.0\" (instance)) (instance $i) \
         (export \"wasi:http/incoming-handler@0.2.0\" (instance $i)))",
        "it imports what this server does not offer: acme:a/b@1.0.0: it may import…build it for the world \
         wasi:http/proxy@0.2.0, or compose it",
    ),
    (
        "(component (import \"wasi:keyvalue/store@0.2.0-draft\" (instance)) (import \"acme:a/b@1.0.0\" (instance)) \
         (instance $i) (export \"wasi:http/handler@0.3.0\" (instance $i)))",
        "it imports what this server does not offer: wasi:keyvalue/store@0.2.0-draft, acme:a/b@1.0.0: it may \
         import…build it for the world wasi:http/service@0.3.0, or compose it",
    ),
    (
        "(component (import \"wasi:http/types@0.3.0-rc-2026-01-06\" (instance)) (instance $i) \
         (export \"wasi:http/handler@0.3.0-rc-2026-01-06\" (instance $i)))",
        "release candidate of WASI (wasi:http/handler@0.3.0-rc-2026-01-06, wasi:http/types@0.3.0-rc-2026-01-06): build it \
         again with tools for 0.3.0 or later",
    ),
    (
        "(component (instance $i) (export \"wasi:cli/run@0.3.0\" (instance $i)))",
        "it exports wasi:cli/run@0.3.0: build it for a world that exports one of them",
    ),
    (
        "(module (func (export \"handle\")))",
        "does not export the function _start…it exports handle: build it as a program with a main function",
    ),
    (
        "(module (import \"env\" \"log\" (func)) (func (export \"_start\")))",
        "it imports what is not part of WASI preview 1: env log: build it for plain wasm32-wasip1",
    ),
];

fn what_cannot_be_served_is_refused_with_what_to_do_and_the_server_goes_on(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    server.edit("[[route]]", "[[module]]\nname = \"odd\"\npath = \"odd.wasm\"\n\n[[route]]");
    let odd = server.folder().join("odd.wasm");
    for (module, told) in UNSUITABLE {
        std::fs::write(&odd, module).unwrap();
        let check = run(&["check", server.file().to_str().unwrap()]);
        assert_eq!(check.status.code(), Some(1), "{module}");
        let error = text(&check.stderr);
        assert!(error.contains("module \"odd\": cannot use"), "{error}");
        assert!(told.split('…').all(|part| error.contains(part)), "{told:?} is missing in\n{error}");
        let mark = server.log.mark();
        server.signal(Signal::SIGUSR1);
        server.log.wait_for_after(mark, &format!("module \"odd\": cannot use…{told}"));
        assert_eq!(server.get("/hello").status, 200, "the server goes on");
    }
    std::fs::copy(guest("hello"), &odd).unwrap();
    server.signal(Signal::SIGUSR1);
    server.log.wait_for("generation 1 is ready");
    assert_eq!(server.get("/hello").status, 200);
}

fn every_version_of_wasi_http_0_3_is_served(mpm: Mpm) {
    let mut setup = Setup::new(mpm);
    let built = std::fs::read(guest("hello-p3")).unwrap();
    for patch in b'0'..=b'2' {
        let name = format!("patch-{}", char::from(patch));
        std::fs::write(setup.folder().join(format!("{name}.wasm")), of_version_0_3(&built, patch)).unwrap();
        setup = setup.tables(&format!(
            "[[module]]\nname = \"{name}\"\npath = \"{name}.wasm\"\n[[route]]\npath = \"/{name}\"\nmodule = \"{name}\""
        ));
    }
    let server = setup.compiled().start();
    for name in ["patch-0", "patch-1", "patch-2"] {
        assert_eq!(server.get(&format!("/{name}")).text(), "Hello, world!\n", "{name}");
    }
}

/// The same component, made for another version of WASI 0.3: its digit is all that differs in the names of interfaces.
fn of_version_0_3(component: &[u8], patch: u8) -> Vec<u8> {
    const BEFORE: &[u8] = b"@0.3.";
    let mut component = component.to_vec();
    let places: Vec<usize> =
        component.windows(BEFORE.len()).enumerate().filter(|(_, bytes)| *bytes == BEFORE).map(|(at, _)| at).collect();
    assert!(!places.is_empty(), "the guest is of WASI 0.3");
    for place in places {
        component[place + BEFORE.len()] = patch;
    }
    component
}

fn a_tagged_module_is_served(mpm: Mpm) {
    let setup = Setup::new(mpm).own_cache();
    let tagged = setup.folder().join("tagged.wasm");
    tag(&guest("hello"), &["--version=1.2", "--description=greets", "-o", tagged.to_str().unwrap()]);
    let server = setup.tables(&served("tagged.wasm", "")).start();
    assert_eq!(server.get("/tagged").text(), "Hello, world!\n");
}

fn a_module_that_the_operator_vouches_for_is_served_with_a_warning(mpm: Mpm) {
    let setup = Setup::new(mpm).own_cache();
    tag_unsafe(setup.folder());
    let server = setup.tables(&served("unsafe.wasm", "thread_safe = true")).start();
    server
        .log
        .wait_for("WARN…guesthouse.toml:…module \"tagged\": thread_safe = true overrides…unsafe.wasm…not thread-safe");
    assert_eq!(server.get("/tagged").status, 200);
}

#[test]
fn a_module_that_is_not_thread_safe_is_served_under_prefork() {
    let setup = Setup::new(Mpm::Prefork).own_cache();
    tag_unsafe(setup.folder());
    let server = setup.tables(&served("unsafe.wasm", "")).start();
    assert_eq!(server.get("/tagged").status, 200);
    assert_eq!(server.log.count("thread"), 0, "there is nothing to warn of");
}

#[test]
fn a_pool_changes_nothing_under_prefork() {
    let setup = Setup::new(Mpm::Prefork).own_cache();
    tag_unsafe(setup.folder());
    let server = setup.tables(&served("unsafe.wasm", "[module.pool]\nmax_request_workers = 2")).start();
    assert_eq!(server.get("/tagged").status, 200);
    assert!(!server.folder().join("run/confined").exists(), "there is no socket to keep");
}

#[test]
fn a_module_that_is_not_thread_safe_is_right_under_every_mpm() {
    for mpm in ["prefork", "worker", "event"] {
        for lines in ["", "[module.pool]\nmin_spare_servers = 0"] {
            let (folder, file) = configured("", mpm, lines);
            tag_unsafe(folder.path());
            let check = run(&["check", file.to_str().unwrap()]);
            assert!(check.status.success(), "{check:?}");
            let left: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            assert_eq!(left.len(), 2, "nothing was created: {left:?}");
        }
    }
}

#[test]
fn a_pool_for_a_thread_safe_module_is_a_mistake() {
    let pool = "thread_safe = true\n[module.pool]";
    for mpm in ["prefork", "worker", "event"] {
        let (folder, file) = configured("", mpm, pool);
        tag_unsafe(folder.path());
        let check = run(&["check", file.to_str().unwrap()]);
        assert_eq!(check.status.code(), Some(1));
        let error = text(&check.stderr);
        assert!(error.contains(":9: module \"tagged\": ") && error.contains("remove [module.pool], or"), "{error}");
    }
    let server = Setup::new(Mpm::Event).own_cache().start();
    server.edit("[[route]]", "[module.pool]\n[[route]]");
    server.signal(Signal::SIGUSR1);
    server.log.wait_for("module \"probe\":…is thread-safe by its own word…remove [module.pool], or");
    assert_eq!(server.get("/hello").status, 200);
}

#[test]
fn a_runtime_directory_that_others_may_write_to_stops_check_and_start() {
    let setup = Setup::new(Mpm::Event);
    let run_dir = setup.folder().join("run");
    std::fs::create_dir(&run_dir).unwrap();
    std::fs::set_permissions(&run_dir, Permissions::from_mode(0o777)).unwrap();
    let mut server = setup.launch();
    assert!(!server.wait_for_exit().success());
    server.log.wait_for("others may write to…run (mode 0777): run `chmod go-w…or name another runtime_dir");
    let check = run(&["check", server.file().to_str().unwrap()]);
    assert_eq!(check.status.code(), Some(1));
    assert!(text(&check.stderr).contains("run `chmod go-w "), "{check:?}");
}

#[test]
fn a_socket_with_too_long_a_path_stops_check_and_start() {
    let long = "d".repeat(100);
    let (folder, file) = configured(&format!("runtime_dir = \"{long}\""), "event", "");
    tag_unsafe(folder.path());
    for command in ["check", "serve"] {
        let output = run(&[command, file.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1));
        let error = text(&output.stderr);
        assert!(error.contains("no socket's path has more than 107: name a shorter runtime_dir"), "{error}");
    }
}

#[test]
fn a_reload_with_another_mpm_leaves_the_server_as_it_was() {
    let server = Setup::new(Mpm::Event).start();
    server.edit("mpm = \"event\"", "mpm = \"prefork\"");
    server.signal(Signal::SIGUSR1);
    server.log.wait_for("reload failed…mpm cannot change from event to prefork while the server runs");
    assert_eq!(server.get("/hello").status, 200);
    server.edit("mpm = \"prefork\"", "mpm = \"event\"");
    server.signal(Signal::SIGUSR1);
    server.log.wait_for("generation 1 is ready");
}

#[test]
fn inspect_tells_what_tag_has_written() {
    let folder = tempfile::tempdir().unwrap();
    let module = folder.path().join("a.wasm");
    std::fs::copy(guest("hello"), &module).unwrap();
    let before = inspect(&module, &[]);
    assert!(before.contains("wasi:http/incoming-handler@0.2") && before.contains("yes (it does not say)"), "{before}");
    tag(&module, &["--thread-safe=false", "--version=1.2"]);
    tag(&module, &["--description=counts visits"]);
    let after = inspect(&module, &[]);
    for line in ["thread-safe  no\n", "version      1.2\n", "description  counts visits\n"] {
        assert!(after.contains(line), "{line:?} is missing in\n{after}");
    }
    let json = inspect(&module, &["--json"]);
    for line in [r#""kind": "http-incoming-handler""#, r#""thread_safe": false"#, r#""version": "1.2""#] {
        assert!(json.contains(line), "{line:?} is missing in\n{json}");
    }
}

#[test]
fn inspect_tells_whether_a_file_can_be_served() {
    let component = inspect(&guest("cgi-probe-p2"), &[]);
    assert!(component.starts_with("kind         component that runs as a command (wasi:cli/run)\n"), "{component}");
    assert!(component.contains("\nexports      wasi:cli/run@0.2."), "{component}");
    for name in ["hello", "hello-p3", "cgi-probe", "cgi-probe-p2"] {
        let report = inspect(&guest(name), &[]);
        assert!(report.ends_with("\nserved       yes\n"), "{name}: {report}");
        assert!(inspect(&guest(name), &["--json"]).contains("\"unsuitable\": null"), "{name}");
    }
    let folder = tempfile::tempdir().unwrap();
    let odd = folder.path().join("odd.wat");
    for (module, told) in UNSUITABLE {
        std::fs::write(&odd, module).unwrap();
        let (report, json) = (inspect(&odd, &[]), inspect(&odd, &["--json"]));
        let last = report.lines().last().unwrap();
        assert!(last.starts_with("served       no: "), "{report}");
        assert!(json.contains("\"unsuitable\": \"it "), "{json}");
        assert!(told.split('…').all(|part| last.contains(part) && json.contains(part)), "{told:?}\n{report}\n{json}");
    }
}

#[test]
fn a_file_that_cannot_be_understood_is_an_error_and_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let module = folder.path().join("a.wasm");
    let whole = std::fs::read(guest("hello")).unwrap();
    for content in [&b"this is not Wasm"[..], &whole[..whole.len() / 2], &[b'('; 1 << 20]] {
        std::fs::write(&module, content).unwrap();
        for arguments in [&["inspect"][..], &["tag", "--thread-safe=false"]] {
            let output = run(&[&["module"], arguments, &[module.to_str().unwrap()]].concat());
            assert_eq!(output.status.code(), Some(1), "{output:?}");
            let error = text(&output.stderr);
            assert!(error.contains("a.wasm") && error.lines().count() == 1, "{error}");
            let causes: Vec<&str> = error.trim().split(": ").collect();
            assert!(causes.iter().all(|cause| causes.iter().filter(|other| *other == cause).count() == 1), "{error}");
        }
        assert_eq!(std::fs::read(&module).unwrap(), content);
    }
}

/// A copy of a guest that says of itself that it is not thread-safe.
fn tag_unsafe(folder: &Path) {
    tag(&guest("hello"), &["--thread-safe=false", "-o", folder.join("unsafe.wasm").to_str().unwrap()]);
}

/// A configuration that serves `unsafe.wasm` of its folder, if that is there, with these lines in `[server]` and in the
/// module, where the first one is line 8.
fn configured(server: &str, mpm: &str, lines: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("guesthouse.toml");
    let module = served("unsafe.wasm", lines);
    let text = format!("[server]\naccess_log = \"off\"\nmpm = \"{mpm}\"\n{server}\n{module}\n");
    std::fs::write(&file, text).unwrap();
    (folder, file)
}

/// The file as module `tagged` on `/tagged`, beside the probe.
fn served(file: &str, lines: &str) -> String {
    format!(
        "[[module]]\nname = \"tagged\"\npath = \"{file}\"\n{lines}\n[[route]]\npath = \"/tagged\"\nmodule = \"tagged\""
    )
}

fn tag(file: &Path, arguments: &[&str]) {
    let output = run(&[&["module", "tag", file.to_str().unwrap()], arguments].concat());
    assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
}

fn inspect(file: &Path, arguments: &[&str]) -> String {
    let output = run(&[&["module", "inspect", file.to_str().unwrap()], arguments].concat());
    assert!(output.status.success(), "{output:?}");
    text(&output.stdout)
}

fn run(arguments: &[&str]) -> Output {
    Command::new(program()).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}
