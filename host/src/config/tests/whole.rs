//! Whole files: the example, the manual, what is read from disk.

use super::*;

#[test]
fn the_example_is_read_as_it_is_meant() {
    let seconds = Duration::from_secs;
    let expected = Config {
        server: Server {
            runtime_dir: PathBuf::from("/etc/run"),
            cache_dir: PathBuf::from("/etc/cache"),
            modules_dir: None,
            watch: false,
            keep_versions: 3,
            cache_limit: 1 << 30,
            error_log: LogTarget::StandardError,
            access_log: Some(LogTarget::File(PathBuf::from("/etc/logs/access.log"))),
            timing: Timing {
                keep_alive_timeout: seconds(5),
                max_keep_alive_requests: 100,
                header_timeout: seconds(20),
                header_timeout_max: seconds(40),
                body_timeout: seconds(20),
                min_rate: 500,
                write_timeout: seconds(60),
                linger_timeout: seconds(2),
            },
            request_limits: RequestLimits {
                limit_request_line: 8190,
                limit_request_fields: 100,
                limit_request_field_size: 8190,
                limit_request_body: 1 << 30,
            },
        },
        mpm: Settings {
            pools: vec![Pool {
                name: String::from("server"),
                listen: vec![ListenAddress::Tcp("127.0.0.1:8080".parse().unwrap())],
                mpm: Mpm::Event(Event { start_servers: 1, threads_per_child: 2, ..Event::default() }),
            }],
            pid_file: Some(PathBuf::from("/etc/run/guesthouse.pid")),
        },
        time_slice: Duration::from_millis(1),
        modules: vec![Module {
            name: String::from("hello"),
            path: PathBuf::from("/etc/hello.wasm"),
            lines: ModuleLines { path: 25, memory: Some(28), ..ModuleLines::default() },
            thread_safe: None,
            max_requests_per_instance: None,
            max_concurrent_requests_per_instance: None,
            pool: None,
            limits: Limits {
                memory: 64 << 20,
                wall: seconds(30),
                cpu: seconds(5),
                request_body: 16 << 20,
                response_body: 64 << 20,
            },
            env: BTreeMap::from([(String::from("GREETING"), String::from("hi"))]),
            dirs: vec![Dir { host: PathBuf::from("/etc/data"), guest: String::from("/data"), write: false }],
            roots: Vec::new(),
            health: None,
            rollback_on_errors: None,
            outbound: vec![OutboundHost { host: String::from("api.example.com"), port: Some(443), private: false }],
        }],
        routes: vec![
            Route {
                host: Some(HostPattern::Exact(String::from("example.org"))),
                path: String::from("/hello"),
                target: Target::Module(0),
                scripts: None,
            },
            Route {
                host: None,
                path: String::from("/health"),
                target: Target::Text { status: 200, text: String::from("ok\n") },
                scripts: None,
            },
        ],
    };
    assert_eq!(checked(EXAMPLE).unwrap(), (expected, Vec::new()));
}

#[test]
fn the_example_holds_the_defaults() {
    let without = r#"
        # These two depend on the machine.
        [event]
        start_servers = 1
        threads_per_child = 2
        [[module]]
        name = "hello"
        path = "hello.wasm"
        outbound = ["api.example.com:443"]
        env.GREETING = "hi"
        dir = [{ host = "data", guest = "/data" }]
        [[route]]
        host = "example.org"
        path = "/hello"
        module = "hello"
        [[route]]
        path = "/health"
        text = "ok\n"
    "#;
    let (mut without, mut example) = (config(without), config(EXAMPLE));
    assert_eq!(without.modules[0].lines, ModuleLines { path: 8, ..ModuleLines::default() });
    // All that may differ is where it stands.
    for config in [&mut without, &mut example] {
        config.modules[0].lines = ModuleLines::default();
    }
    assert_eq!(without, example);
}

#[test]
fn a_configuration_comes_back_from_json_as_it_was() {
    let everything = format!(
        "{EXAMPLE}\n{}",
        r#"
        [[route]]
        host = "*.example.org"
        path = "/"
        text = "ü \u0007"
        status = 503
        [[route]]
        path = "/server-status"
        handler = "server-status"
        allow = ["10.0.0.0/8", "::1"]
        [[module]]
        name = "counter"
        path = "counter.wasm"
        thread_safe = false
        max_requests_per_instance = 1000
        pool = { min_spare_servers = 0, queue_timeout = "1ms" }
        "#
    );
    for mpm in ["prefork", "worker", "event"] {
        let config = config(&everything.replace("mpm = \"event\"", &format!("mpm = \"{mpm}\"")));
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<Config>(&json).unwrap(), config);
    }
}

#[test]
fn a_file_with_eight_mistakes_reports_eight() {
    let text = r#"
[server]
listen = []
mpm = "threads"
keep_alive_timout = "5s"
write_timeout = 60

[[module]]
name = "hello"
path = "missing/hello.wasm"
limits = { memory = "64 MB of it" }

[[route]]
path = "hello"
module = "helo"
"#;
    assert_mistakes(
        text,
        &[
            "guesthouse.toml:3: listen: no address: write one, such as \"127.0.0.1:8080\"",
            "guesthouse.toml:4: mpm: expected \"prefork\", \"worker\" or \"event\", found \"threads\"",
            "guesthouse.toml:5: unknown key \"keep_alive_timout\" in [server]: did you mean keep_alive_timeout?",
            "guesthouse.toml:6: write_timeout: expected a time such as \"10s\", found the number 60: write \"60s\" for seconds",
            "guesthouse.toml:10: path: /etc/missing/hello.wasm does not exist",
            "guesthouse.toml:11: memory: expected a size such as \"64MiB\", found the text \"64 MB of it\"",
            "guesthouse.toml:14: path: \"hello\" does not begin with \"/\": write \"/hello\"",
            "guesthouse.toml:15: module: there is no module \"helo\": did you mean hello?",
        ],
    );
}

#[test]
fn what_is_never_used_is_a_warning() {
    assert_eq!(warnings(""), ["guesthouse.toml: there is no [[route]]: every request is answered with 404"]);
    let text = "[[module]]\npath = \"a.wasm\"\nname = \"a\"\n[[route]]\npath = \"/\"\ntext = \"\"\n";
    assert_eq!(warnings(text), ["guesthouse.toml:3: module \"a\" stands in no [[route]]: no request reaches it"]);
}

#[test]
fn every_block_of_the_documentation_is_right() {
    let manual = include_str!("../../../../docs/configuration.md");
    let blocks: Vec<&str> = manual.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(blocks.len() >= 8, "only {} blocks", blocks.len());
    for block in blocks {
        if let Err(errors) = checked(block) {
            panic!("{errors}\nin:\n{block}");
        }
    }
}

#[test]
fn a_file_that_cannot_be_read_is_told_with_its_cause() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("guesthouse.toml");
    let error = || read(&path).unwrap_err().to_string();
    let at = path.display();
    assert_eq!(error(), format!("cannot read {at}: no such file or directory"));
    assert_eq!(read_text("", Path::new("/")).unwrap_err().to_string(), "cannot read /: it is a directory");
    std::fs::write(&path, b"\xff").unwrap();
    assert_eq!(error(), format!("cannot read {at}: stream did not contain valid UTF-8"));
    std::fs::write(&path, vec![b'#'; (FILE_SIZE_MAX + 1) as usize]).unwrap();
    assert_eq!(error(), format!("cannot read {at}: it has more than 16 MiB"));
}

#[test]
fn a_folder_whose_name_is_not_utf8_is_refused() {
    use std::os::unix::ffi::OsStrExt as _;
    let path = Path::new(std::ffi::OsStr::from_bytes(b"/\xff/guesthouse.toml"));
    let error = read_text("", path).unwrap_err().to_string();
    assert_eq!(error, "cannot read /\u{fffd}/guesthouse.toml: its path is not UTF-8: move it");
}

#[test]
fn files_are_looked_for_beside_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("guesthouse.toml");
    let text = "[server]\naccess_log = \"access.log\"\n[[module]]\nname = \"a\"\npath = \"a.wasm\"\n";
    std::fs::write(&path, text).unwrap();
    let missing = folder.path().join("a.wasm");
    let expected = format!("{}:5: path: {} does not exist", path.display(), missing.display());
    assert_eq!(read(&path).unwrap_err().to_string(), expected);
    std::fs::write(&missing, b"").unwrap();
    assert_eq!(read(&path).unwrap().0.modules[0].path, missing);
}
