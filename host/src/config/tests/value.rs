//! Syntax, keys, types and units, whichever table they stand in.

use super::*;

#[test]
fn an_unknown_key_is_told_the_nearest_name_or_all() {
    assert_mistakes("[sever]\n", &["guesthouse.toml:1: unknown key \"sever\" in the file: did you mean server?"]);
    assert_each(
        "[event]",
        &[
            ("max_conections = 5", "unknown key \"max_conections\" in [event]: did you mean max_connections?"),
            ("MaxConnections = 5", "unknown key \"MaxConnections\" in [event]: did you mean max_connections?"),
            (
                "zzz = 5",
                "unknown key \"zzz\" in [event]: known are listen_backlog, max_connections_per_child, \
                 graceful_shutdown_timeout, start_servers, threads_per_child, server_limit, thread_limit, \
                 max_connections, max_requests_in_flight, time_slice",
            ),
        ],
    );
}

#[test]
fn a_value_of_the_wrong_type_is_told_what_to_write() {
    assert_each(
        "[server]",
        &[
            ("mpm = 3", "mpm: expected \"prefork\", \"worker\" or \"event\", found the number 3"),
            ("min_rate = \"500\"", "min_rate: expected a whole number from 0 to 4294967295, found the text \"500\""),
            ("min_rate = -1", "min_rate: expected a whole number from 0 to 4294967295, found the number -1"),
            ("min_rate = 1.5", "min_rate: expected a whole number from 0 to 4294967295, found the number 1.5"),
            ("runtime_dir = true", "runtime_dir: expected a path, found true"),
            ("error_log = []", "error_log: expected a path, or \"-\" for standard error, found an array"),
            ("write_timeout = {}", "write_timeout: expected a time such as \"10s\", found a table"),
            ("write_timeout = 1979-05-27", "write_timeout: expected a time such as \"10s\", found a date"),
            ("runtime_dir = \"a\\u0000b\"", "runtime_dir: the text has a NUL character: remove it"),
        ],
    );
    assert_mistakes("\nserver = 1\n", &["guesthouse.toml:2: server: expected a table [server], found the number 1"]);
    assert_mistakes(
        "\n[module]\nname = \"x\"\n",
        &["guesthouse.toml:2: module: expected tables that begin with [[module]], found a table"],
    );
    assert_mistakes("\nroute = [3]\n", &["guesthouse.toml:2: route: expected a table [route], found the number 3"]);
}

#[test]
fn sizes_have_units_and_ranges() {
    assert_each_in_module(
        "[module.limits]",
        &[
            ("memory = 64", "memory: expected a size such as \"64MiB\", found the number 64: write \"64B\" for bytes"),
            (
                "memory = \"64\"",
                "memory: expected a size such as \"64MiB\", found the text \"64\": write \"64B\" for bytes",
            ),
            ("memory = \"\"", "memory: expected a size such as \"64MiB\", found the text \"\""),
            ("memory = \"MiB\"", "memory: expected a size such as \"64MiB\", found the text \"MiB\""),
            ("memory = \"-1MiB\"", "memory: expected a size such as \"64MiB\", found the text \"-1MiB\""),
            ("memory = \"5GiB\"", "memory: expected a size from \"64KiB\" to \"4GiB\", found the text \"5GiB\""),
            ("memory = \"1KiB\"", "memory: expected a size from \"64KiB\" to \"4GiB\", found the text \"1KiB\""),
            (
                "response_body = \"99999999999EiB\"",
                "response_body: expected a size from \"0B\" to \"1EiB\", found the text \"99999999999EiB\"",
            ),
        ],
    );
    let limits = |size: &str| {
        let text = format!("[[module]]\nname = \"a\"\npath = \"a.wasm\"\n[module.limits]\nmemory = \"{size}\"\n");
        config(&text).modules[0].limits.memory
    };
    assert_eq!([limits("128KiB"), limits("1MB"), limits("1.5 GiB")], [128 << 10, 1_000_000, 3 << 29]);
}

#[test]
fn times_have_units_and_ranges() {
    assert_each(
        "[server]",
        &[
            (
                "linger_timeout = 2",
                "linger_timeout: expected a time such as \"10s\", found the number 2: write \"2s\" for seconds",
            ),
            (
                "linger_timeout = \"2\"",
                "linger_timeout: expected a time such as \"10s\", found the text \"2\": write \"2s\" for seconds",
            ),
            ("linger_timeout = \"\"", "linger_timeout: expected a time such as \"10s\", found the text \"\""),
            ("linger_timeout = \"soon\"", "linger_timeout: expected a time such as \"10s\", found the text \"soon\""),
            (
                "linger_timeout = \"0s\"",
                "linger_timeout: expected a time from \"1ms\" to \"1day\", found the text \"0s\"",
            ),
            (
                "linger_timeout = \"2days\"",
                "linger_timeout: expected a time from \"1ms\" to \"1day\", found the text \"2days\"",
            ),
            (
                "linger_timeout = \"18446744073709551615s 1000ms\"",
                "linger_timeout: expected a time from \"1ms\" to \"1day\", found the text \"18446744073709551615s 1000ms\"",
            ),
            (
                "linger_timeout = \"18446744073 709551615s 1000ms\"",
                "linger_timeout: expected a time from \"1ms\" to \"1day\", found the text \"18446744073 709551615s 1000ms\"",
            ),
        ],
    );
    let linger = |time: &str| config(&format!("[server]\nlinger_timeout = \"{time}\"\n")).server.timing.linger_timeout;
    assert_eq!(linger("1m 30s"), Duration::from_secs(90));
    assert_eq!(linger("1.5s"), Duration::from_millis(1500));
}

#[test]
fn what_is_not_toml_is_told_with_its_line() {
    for (text, expected) in [
        ("[server]\nmpm = event\n", "guesthouse.toml:2: string values must be quoted, expected literal string"),
        ("[server\n", "guesthouse.toml:1: unclosed table, expected `]`"),
        ("[server]\nmpm = \"event\"\nmpm = \"event\"\n", "guesthouse.toml:3: duplicate key"),
        ("[server]\n\n[server]\n", "guesthouse.toml:3: duplicate key"),
    ] {
        assert_mistakes(text, &[expected]);
    }
    assert_mistakes(
        "[server]\nmpm = event\nerror_log = -\n",
        &[
            "guesthouse.toml:2: string values must be quoted, expected literal string",
            "guesthouse.toml:3: string values must be quoted, expected literal string",
        ],
    );
}
