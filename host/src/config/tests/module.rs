//! `[[module]]` with its limits, environment, directories and outbound hosts.

use super::*;

#[test]
fn modules_have_a_name_and_a_file() {
    assert_mistakes(
        "\n[[module]]\n",
        &[
            "guesthouse.toml:2: [[module]]: name is missing: routes and logs use it",
            "guesthouse.toml:2: [[module]]: path is missing: name the .wasm file",
        ],
    );
    assert_mistakes(
        "[[module]]\nname = \"a\"\npath = \"a.wasm\"\n[[module]]\nname = \"a\"\npath = \"b.wasm\"\n",
        &["guesthouse.toml:5: name: module \"a\" stands already on line 2: choose another name"],
    );
    for (path, mistake) in [
        ("missing.was", "/etc/missing.was does not exist"),
        ("data", "/etc/data is a directory: name a file"),
        ("a.pipe", "/etc/a.pipe is a pipe or a device: name a file"),
        ("/secret", "cannot look at /secret: permission denied"),
    ] {
        let text = format!("[[module]]\nname = \"a\"\npath = \"{path}\"\n[[route]]\npath = \"/\"\nmodule = \"a\"\n");
        assert_mistakes(&text, &[&format!("guesthouse.toml:3: path: {mistake}")]);
    }
    assert_mistakes(
        "[[module]]\npath = \"a.wasm\"\nname = \"a b\"\n",
        &["guesthouse.toml:3: name: \"a b\" is no module name: write 1 to 64 letters, digits, '-', '_' and '.', a \
             letter or digit first"],
    );
    assert_mistakes(
        "[[module]]\npath = \"a.wasm\"\nname = \"server\"\n",
        &["guesthouse.toml:3: name: \"server\" is what the server's own children are called: choose another name"],
    );
}

#[test]
fn a_module_may_be_said_to_be_thread_safe_or_not() {
    let read = |line: &str| {
        let text = format!("[[module]]\nname = \"a\"\npath = \"a.wasm\"\n{line}\n");
        config(&text).modules[0].thread_safe
    };
    assert_eq!(read(""), None);
    assert_eq!(read("thread_safe = true"), Some(true));
    assert_eq!(read("thread_safe = false"), Some(false));
    assert_each_in_module(
        "",
        &[
            ("thread_safe = \"no\"", "thread_safe: expected true or false, found the text \"no\""),
            ("threadsafe = true", "unknown key \"threadsafe\" in [[module]]: did you mean thread_safe?"),
        ],
    );
}

#[test]
fn how_often_an_instance_serves_is_the_operators_choice() {
    let read = |line: &str| {
        let text = format!("[[module]]\nname = \"a\"\npath = \"a.wasm\"\n{line}\n");
        config(&text).modules[0].max_requests_per_instance
    };
    assert_eq!(read(""), None);
    assert_eq!(read("max_requests_per_instance = 0"), Some(0));
    assert_eq!(read("max_requests_per_instance = 1_000_000_000"), Some(1_000_000_000));
    assert_each_in_module(
        "",
        &[
            (
                "max_requests_per_instance = 1_000_000_001",
                "max_requests_per_instance: expected a whole number from 0 to 1000000000, found the number 1000000001",
            ),
            (
                "max_requests_per_instance = true",
                "max_requests_per_instance: expected a whole number from 0 to 1000000000, found true",
            ),
        ],
    );
}

/// The pool of a module with these lines in `[module.pool]`, the first of which is line 5, and the warnings.
fn pool(lines: &str) -> (ModulePool, Vec<String>) {
    let text = format!(
        "[[module]]\nname = \"a\"\npath = \"a.wasm\"\n[module.pool]\n{lines}\n[[route]]\npath = \"/\"\nmodule = \"a\"\n"
    );
    (config(&text).modules[0].pool.clone().unwrap(), warnings(&text))
}

#[test]
fn a_pool_has_the_directives_of_prefork_and_defaults_of_its_own() {
    assert_eq!(config("[[module]]\nname = \"a\"\npath = \"a.wasm\"\n").modules[0].pool, None);
    let (default, warnings) = pool("");
    assert_eq!((&default, warnings), (&ModulePool::default(), vec![]));
    let Prefork { common, on_demand, start_servers, min_spare_servers, max_spare_servers, .. } = default.prefork;
    assert_eq!((start_servers, min_spare_servers, max_spare_servers, on_demand), (1, 1, 4, true));
    assert_eq!((default.prefork.max_request_workers, default.prefork.server_limit), (16, 16));
    assert_eq!((common.listen_backlog, common.max_connections_per_child), (64, 0));
    assert_eq!(default.queue_timeout, Duration::from_secs(5));

    let (own, warnings) = pool(
        "start_servers = 2\nmin_spare_servers = 3\nmax_spare_servers = 6\nmax_request_workers = 8\n\
         max_connections_per_child = 100\nlisten_backlog = 5\nqueue_timeout = \"250ms\"",
    );
    let Prefork { common, start_servers, min_spare_servers, max_spare_servers, .. } = own.prefork;
    assert_eq!((start_servers, min_spare_servers, max_spare_servers, warnings), (2, 3, 6, vec![]));
    assert_eq!((own.prefork.max_request_workers, own.prefork.server_limit), (8, 8));
    assert_eq!((common.listen_backlog, common.max_connections_per_child), (5, 100));
    assert_eq!(own.queue_timeout, Duration::from_millis(250));
}

#[test]
fn a_pool_without_spares_starts_its_children_on_demand() {
    let (pool, warnings) = pool("min_spare_servers = 0\nstart_servers = 0\nmax_spare_servers = 0");
    let Prefork { on_demand, start_servers, max_spare_servers, .. } = pool.prefork;
    assert_eq!((on_demand, start_servers, max_spare_servers, warnings), (true, 0, 0, vec![]));
}

#[test]
fn directives_of_a_pool_that_do_not_fit_are_corrected_as_those_of_prefork() {
    let (corrected, said) = pool("min_spare_servers = 5\nstart_servers = 0\nmax_request_workers = 0");
    let Prefork { start_servers, max_spare_servers, max_request_workers, server_limit, .. } = corrected.prefork;
    assert_eq!((start_servers, max_spare_servers, max_request_workers, server_limit), (0, 6, 1, 1));
    assert_eq!(
        said,
        [
            "guesthouse.toml:5: max_spare_servers is 4 but min_spare_servers is 5: max_spare_servers 6 is used",
            "guesthouse.toml:7: max_request_workers is 0 but must be at least 1: 1 is used",
        ]
    );
}

#[test]
fn a_pool_has_bounds_and_no_keys_that_mean_nothing_there() {
    const KNOWN: &str = "known are listen_backlog, max_connections_per_child, max_request_workers, start_servers, \
                         min_spare_servers, max_spare_servers, queue_timeout";
    assert_each_in_module(
        "[module.pool]",
        &[
            (
                "max_request_workers = 10001",
                "max_request_workers: expected a whole number from 0 to 10000, found the number 10001",
            ),
            ("listen_backlog = 0", "listen_backlog: expected a whole number from 1 to 2147483647, found the number 0"),
            (
                "queue_timeout = \"0s\"",
                "queue_timeout: expected a time from \"1ms\" to \"1day\", found the text \"0s\"",
            ),
            ("server_limit = 5", &format!("unknown key \"server_limit\" in [module.pool]: {KNOWN}")),
            (
                "graceful_shutdown_timeout = \"1s\"",
                &format!("unknown key \"graceful_shutdown_timeout\" in [module.pool]: {KNOWN}"),
            ),
        ],
    );
    assert_each_in_module("", &[("pool = 5", "pool: expected a table [pool], found the number 5")]);
}

#[test]
fn the_environment_has_portable_names_and_text() {
    assert_each_in_module(
        "[module.env]",
        &[
            (
                "1A = \"x\"",
                "[module.env]: \"1A\" is no name of a variable: write letters, digits and '_', no digit first",
            ),
            (
                "\"A=B\" = \"x\"",
                "[module.env]: \"A=B\" is no name of a variable: write letters, digits and '_', no digit first",
            ),
            ("A = 1", "A: expected text such as \"hi\", found the number 1"),
            ("A = \"\\u0000\"", "A: the text has a NUL character: remove it"),
        ],
    );
}

#[test]
fn directories_of_guests_are_checked() {
    for (dir, mistake) in [
        ("{ guest = \"/a\" }", "[[module.dir]]: host is missing: name the directory"),
        ("{ host = \"data\" }", "[[module.dir]]: guest is missing: say where the guest sees it, such as \"/data\""),
        ("{ host = \"missing\", guest = \"/a\" }", "host: /etc/missing does not exist: create it"),
        ("{ host = \"a.wasm\", guest = \"/a\" }", "host: /etc/a.wasm is not a directory"),
        ("{ host = \"data\", guest = \"a\" }", "guest: \"a\" is not absolute: write \"/a\""),
        (
            "{ host = \"data\", guest = \"/a/../b\" }",
            "guest: \"/a/../b\" has an empty, \".\" or \"..\" segment: write it without",
        ),
        (
            "{ host = \"data\", guest = \"/a\", write = \"yes\" }",
            "write: expected true or false, found the text \"yes\"",
        ),
        (
            "{ host = \"data\", guest = \"/a\" }, { host = \"data\", guest = \"/a/\" }",
            "guest: \"/a\" stands already on line 5: choose another path",
        ),
        (
            "{ host = \"data\", guest = \"/a\", writable = true }",
            "unknown key \"writable\" in [[module.dir]]: did you mean write?",
        ),
    ] {
        assert_each_in_module("", &[(&format!("dir = [{dir}]"), mistake)]);
    }
}

#[test]
fn outbound_hosts_are_read_with_port_and_reach() {
    let text = r#"
        [[module]]
        name = "a"
        path = "a.wasm"
        outbound = [
            "api.Example.com:443", "*.example.com", "127.0.0.1:9000", "[::1]:80", "localhost:8080", "[fd00::1]",
            { host = "db.internal:5432", private = true }, { host = "x.org", private = false },
            { host = "*.corp", private = true }, "93.184.215.14",
        ]
    "#;
    let read = &config(text).modules[0].outbound;
    let read: Vec<_> = read.iter().map(|entry| (entry.host.as_str(), entry.port, entry.private)).collect();
    assert_eq!(
        read,
        [
            ("api.example.com", Some(443), false),
            ("*.example.com", None, false),
            ("127.0.0.1", Some(9000), true),
            ("::1", Some(80), true),
            ("localhost", Some(8080), true),
            ("fd00::1", None, true),
            ("db.internal", Some(5432), true),
            ("x.org", None, false),
            ("*.corp", None, true),
            ("93.184.215.14", None, true),
        ]
    );
}

#[test]
fn outbound_hosts_are_checked() {
    const WHAT: &str = "a host such as \"api.example.com:443\", or a table { host = \"...\", private = true }";
    for (entry, mistake) in [
        ("443", &*format!("outbound: expected {WHAT}, found the number 443")),
        (
            "\"https://a.example\"",
            "outbound: \"https://a.example\" has a scheme or a path: write host and port alone, such as \"a.example:443\"",
        ),
        ("\"a.example:\"", "outbound: \"a.example:\" has no port from 1 to 65535 after its ':'"),
        ("\"a.example:0\"", "outbound: \"a.example:0\" has no port from 1 to 65535 after its ':'"),
        ("\"a.example:65536\"", "outbound: \"a.example:65536\" has no port from 1 to 65535 after its ':'"),
        ("\"*\"", "outbound: \"*\" would allow every host: name those that are needed"),
        ("\"*:443\"", "outbound: \"*\" would allow every host: name those that are needed"),
        ("\"a.*.b\"", "outbound: \"a.*.b\" is no host name: it may have letters, digits, '-' and '.'"),
        ("\"::1\"", "outbound: an IPv6 address stands in brackets: write \"[::1]\""),
        ("\"127.1:80\"", "outbound: \"127.1\" is no host name: it looks like an address and is none"),
        ("{ private = true }", "outbound: host is missing: name whom guests may call"),
        ("{ host = \"a.b\", private = 1 }", "private: expected true or false, found the number 1"),
        ("{ host = \"a.b\", prvate = true }", "unknown key \"prvate\" in outbound: did you mean private?"),
        (
            "{ host = \"10.0.0.1\", private = false }",
            "private: false contradicts the host: 10.0.0.1 names its addresses, whether private or not: remove private",
        ),
        ("\"a.b:1\", \"A.b:1\"", "outbound: \"a.b\" stands already on line 5: remove one of them"),
    ] {
        assert_each_in_module("", &[(&format!("outbound = [{entry}]"), mistake)]);
    }
    assert_each_in_module(
        "",
        &[("outbound = \"a.b\"", "outbound: expected hosts such as [\"api.example.com:443\"], found the text \"a.b\"")],
    );
}

#[test]
fn a_health_request_is_what_a_client_could_ask() {
    let module = |line: &str| {
        let text = format!("[[module]]\nname = \"a\"\npath = \"a.wasm\"\n{line}\n");
        config(&text).modules.remove(0)
    };
    assert_eq!(module("").health, None);
    let asked = module("health = \"/a/healthz?deep=1\"");
    assert_eq!((asked.health.as_deref(), asked.lines.health), (Some("/a/healthz?deep=1"), Some(4)));
    assert_each_in_module(
        "",
        &[
            ("health = \"healthz\"", "health: \"healthz\" does not begin with \"/\": write \"/healthz\""),
            (
                "health = \"/a b\"",
                "health: \"/a b\" is not what a client may ask for: write it percent-encoded, and without \"#\"",
            ),
            (
                "health = \"/a#b\"",
                "health: \"/a#b\" is not what a client may ask for: write it percent-encoded, and without \"#\"",
            ),
        ],
    );
}

#[test]
fn errors_roll_back_from_a_share_on() {
    let share = |line: &str| {
        let text = format!("[[module]]\nname = \"a\"\npath = \"a.wasm\"\n{line}\n");
        config(&text).modules[0].rollback_on_errors
    };
    assert_eq!((share(""), share("rollback_on_errors = \"20%\"")), (None, Some(20)));
    assert_each_in_module(
        "",
        &[
            (
                "rollback_on_errors = \"100%\"",
                "rollback_on_errors: expected a share from \"0%\" to \"99%\", found the text \"100%\"",
            ),
            (
                "rollback_on_errors = 20",
                "rollback_on_errors: expected a share from \"0%\" to \"99%\", found the number 20",
            ),
        ],
    );
}
