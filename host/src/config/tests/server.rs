//! `[server]` and the tables of the MPMs.

use super::*;

#[test]
fn addresses_to_listen_on_are_checked() {
    const WHAT: &str = "listen: expected an address and a port such as \"127.0.0.1:8080\" or \"[::1]:8080\"";
    assert_each(
        "[server]",
        &[
            (
                "listen = \"127.0.0.1:80\"",
                "listen: expected addresses such as [\"127.0.0.1:8080\"], found the text \"127.0.0.1:80\"",
            ),
            ("listen = [80]", &format!("{WHAT}, found the number 80")),
            ("listen = [\"80\"]", &format!("{WHAT}, found \"80\": for every address write \"0.0.0.0:80\"")),
            ("listen = [\"*:80\"]", &format!("{WHAT}, found \"*:80\": for every address write \"0.0.0.0:80\"")),
            ("listen = [\"localhost:80\"]", &format!("{WHAT}, found \"localhost:80\"")),
            ("listen = [\"127.0.0.1\"]", &format!("{WHAT}, found \"127.0.0.1\"")),
        ],
    );
    assert_mistakes(
        "[server]\nlisten = [\n  \"[::1]:80\",\n  \"127.0.0.1:80\",\n  \"[0:0::1]:80\",\n]\n",
        &["guesthouse.toml:5: listen: [::1]:80 stands already on line 3: remove one of them"],
    );
    let listen = config("[server]\nlisten = [\"127.0.0.1:0\", \"127.0.0.1:0\"]\n").mpm.pools.remove(0).listen;
    assert_eq!(listen.len(), 2);
}

#[test]
fn directories_and_logs_are_looked_for() {
    assert_each(
        "[server]",
        &[
            ("runtime_dir = \"x.log\"", "runtime_dir: /etc/x.log is not a directory"),
            ("cache_dir = \"x.log\"", "cache_dir: /etc/x.log is not a directory"),
            ("cache_dir = \"\"", "cache_dir: the path is empty"),
            ("cache_dir = \"secret\"", "cache_dir: cannot look at /etc/secret: permission denied"),
            ("error_log = \"\"", "error_log: the path is empty"),
            ("error_log = \"logs\"", "error_log: /etc/logs is a directory: name a file"),
            (
                "error_log = \"missing/x/e\"",
                "error_log: neither the directory /etc/missing/x nor the one above exists: create it",
            ),
            ("error_log = \"x.log/e\"", "error_log: /etc/x.log is not a directory"),
            ("access_log = \"/secret\"", "access_log: cannot look at /secret: permission denied"),
        ],
    );
    let server =
        config("[server]\naccess_log = \"off\"\nerror_log = \"/logs/new\"\ncache_dir = \"/missing/x\"\n").server;
    assert_eq!(server.access_log, None);
    assert_eq!(server.error_log, LogTarget::File(PathBuf::from("/logs/new")));
    assert_eq!(server.cache_dir, PathBuf::from("/missing/x"));
}

#[test]
fn a_runtime_directory_that_others_may_write_to_is_told_what_to_do() {
    const SHARED: &str = "others may write to /etc/shared (mode 0775): run `chmod go-w /etc/shared`, or name another \
                          runtime_dir";
    const TMP: &str = "/tmp is for everybody (mode 1777): name a directory of the server's own as runtime_dir, such as \
                       /tmp/guesthouse";
    assert_each(
        "[server]",
        &[
            ("runtime_dir = \"shared\"", &format!("runtime_dir: {SHARED}")),
            ("runtime_dir = \"/tmp\"", &format!("runtime_dir: {TMP}")),
            ("runtime_dir = \"secret\"", "runtime_dir: cannot look at /etc/secret: permission denied"),
        ],
    );
    let dir = |written: &str| config(&format!("[server]\nruntime_dir = \"{written}\"\n")).server.runtime_dir;
    assert_eq!(dir("/run"), Path::new("/run"));
    assert_eq!(dir("/tmp/guesthouse"), Path::new("/tmp/guesthouse"));
}

#[test]
fn the_default_runtime_directory_is_looked_at_too() {
    struct Open;
    impl Machine for Open {
        fn kind(&self, _: &Path) -> io::Result<Kind> {
            Ok(Kind::Directory)
        }
        fn mode(&self, _: &Path) -> io::Result<u32> {
            Ok(0o2775)
        }
    }
    let surroundings = Surroundings { folder: Path::new("/etc"), machine: &Open };
    let errors =
        check("[server]\naccess_log = \"off\"\n", Path::new("guesthouse.toml"), surroundings, AS_WRITTEN).unwrap_err();
    assert_eq!(
        errors.to_string(),
        "guesthouse.toml:1: [server]: runtime_dir is \"run\" by default: others may write to /etc/run (mode 2775): run \
         `chmod go-w /etc/run`, or name another runtime_dir"
    );
}

#[test]
fn the_default_access_log_needs_its_directory_too() {
    let surroundings = Surroundings { folder: Path::new("/missing"), machine: &MadeUp };
    let errors = check("\n[server]\n", Path::new("guesthouse.toml"), surroundings, AS_WRITTEN).unwrap_err();
    assert_eq!(
        errors.to_string(),
        "guesthouse.toml:2: [server]: access_log is \"logs/access.log\" by default: neither the directory \
         /missing/logs nor the one above exists: create it, or write access_log = \"off\""
    );
}

#[test]
fn a_first_deadline_is_never_later_than_the_last() {
    assert_each(
        "[server]",
        &[
            (
                "header_timeout = \"1m\"",
                "header_timeout is 1m but header_timeout_max is 40s: write header_timeout_max = \"1m\" or more",
            ),
            (
                "header_timeout_max = \"5s\"",
                "header_timeout is 20s but header_timeout_max is 5s: write header_timeout_max = \"20s\" or more",
            ),
        ],
    );
    let both = "[server]\nheader_timeout = \"5s\"\nheader_timeout_max = \"5s\"\n";
    assert_eq!(config(both).server.timing.header_timeout_max, Duration::from_secs(5));
    // Wrong already: its default says nothing about the other.
    assert_mistakes(
        "[server]\nheader_timeout = \"1m\"\nheader_timeout_max = 70\n",
        &[
            "guesthouse.toml:3: header_timeout_max: expected a time such as \"10s\", found the number 70: write \"70s\" \
             for seconds",
        ],
    );
}

#[test]
fn limits_of_a_request_are_bounded() {
    assert_each(
        "[server]",
        &[
            (
                "limit_request_line = 0",
                "limit_request_line: expected a whole number from 64 to 1048576, found the number 0",
            ),
            (
                "limit_request_line = \"8KiB\"",
                "limit_request_line: expected a whole number from 64 to 1048576, found the text \"8KiB\"",
            ),
            (
                "limit_request_fields = 0",
                "limit_request_fields: expected a whole number from 1 to 1000, found the number 0",
            ),
            (
                "limit_request_field_size = 99999999999999999999",
                "limit_request_field_size: expected a whole number from 64 to 1048576, found the number \
                 99999999999999999999",
            ),
            (
                "limit_request_body = \"0B\"",
                "limit_request_body: expected a size from \"1B\" to \"1EiB\", found the text \"0B\"",
            ),
        ],
    );
}

#[test]
fn the_table_of_the_chosen_mpm_is_used_and_the_others_are_checked() {
    let text =
        "[server]\nmpm = \"worker\"\n[worker]\nstart_servers = 2\nlisten_backlog = 7\n[event]\nstart_servers = 3\n";
    let Mpm::Worker(worker) = config(text).mpm.pools.remove(0).mpm else { panic!("not the worker") };
    assert_eq!((worker.start_servers, worker.common.listen_backlog), (2, 7));
    assert_eq!(worker.threads_per_child, Worker::default().threads_per_child);
    assert_eq!(config("[server]\nmpm = \"prefork\"\n").mpm.pools.remove(0).mpm, Mpm::Prefork(Prefork::default()));
    for header in ["[prefork]", "[worker]", "[event]"] {
        assert_each(
            header,
            &[
                (
                    "graceful_shutdown_timeout = 5",
                    "graceful_shutdown_timeout: expected a time such as \"10s\", found the number 5: write \"5s\" for \
                     seconds",
                ),
                (
                    "listen_backlog = -1",
                    "listen_backlog: expected a whole number from 0 to 2147483647, found the number -1",
                ),
            ],
        );
    }
}

#[test]
fn the_time_slice_stands_in_event_and_goes_for_every_mpm() {
    for mpm in ["prefork", "worker", "event"] {
        let with = |lines: &str| config(&format!("[server]\nmpm = \"{mpm}\"\n[event]\n{lines}\n")).time_slice;
        assert_eq!(with(""), Duration::from_millis(1), "{mpm}");
        assert_eq!(with("time_slice = \"100us\""), Duration::from_micros(100), "{mpm}");
        assert_eq!(with("time_slice = \"1s\""), Duration::from_secs(1), "{mpm}");
    }
    assert_each(
        "[event]",
        &[
            ("time_slice = \"99us\"", "time_slice: expected a time from \"100us\" to \"1s\", found the text \"99us\""),
            ("time_slice = \"2s\"", "time_slice: expected a time from \"100us\" to \"1s\", found the text \"2s\""),
        ],
    );
    assert_each(
        "[worker]",
        &[(
            "time_slice = \"1ms\"",
            "unknown key \"time_slice\" in [worker]: known are \
        listen_backlog, max_connections_per_child, graceful_shutdown_timeout, start_servers, min_spare_threads, \
        max_spare_threads, server_limit, thread_limit, threads_per_child, max_request_workers",
        )],
    );
}

#[test]
fn more_guests_than_the_address_space_holds_are_refused() {
    assert_each(
        "[event]",
        &[(
            "max_requests_in_flight = 20001",
            "max_requests_in_flight: expected a whole number from 0 to 20000, found the number 20001",
        )],
    );
}

#[test]
fn apaches_fix_ups_are_warnings_with_their_line() {
    let route = "[[route]]\npath = \"/\"\ntext = \"\"\n";
    let text = format!("{route}[prefork]\nmin_spare_servers = 5\nmax_spare_servers = 3\n[server]\nmpm = \"prefork\"\n");
    let (config, warnings) = checked(&text).unwrap();
    let Mpm::Prefork(prefork) = &config.mpm.pools[0].mpm else { panic!("not prefork") };
    assert_eq!(prefork.max_spare_servers, 6);
    let [warning] = &warnings[..] else { panic!("{warnings:?}") };
    assert_eq!(warning.line, Some(6));
    assert!(warning.text.starts_with("max_spare_servers is 3"), "{warning}");
}

#[test]
fn what_is_kept_has_limits() {
    let server = config("[server]\nkeep_versions = 100\ncache_limit = \"0B\"\n").server;
    assert_eq!((server.keep_versions, server.cache_limit), (100, 0));
    assert_each(
        "[server]",
        &[
            ("keep_versions = 0", "keep_versions: expected a whole number from 1 to 100, found the number 0"),
            ("keep_versions = 101", "keep_versions: expected a whole number from 1 to 100, found the number 101"),
            (
                "cache_limit = 5",
                "cache_limit: expected a size such as \"64MiB\", found the number 5: write \"5B\" for bytes",
            ),
        ],
    );
}

#[test]
fn a_folder_of_modules_that_others_may_write_to_is_a_warning() {
    let told = |name: &str| warnings(&format!("[server]\nmodules_dir = \"{name}\"\n"));
    assert_eq!(
        told("shared"),
        [
            "guesthouse.toml:2: modules_dir: others may write to /etc/shared (mode 0775): run `chmod go-w /etc/shared`, or name \
          another modules_dir"
        ]
    );
    assert_eq!(
        told("tmp"),
        [
            "guesthouse.toml:2: modules_dir: /etc/tmp is for everybody (mode 1777): name a directory of the server's own as \
          modules_dir, such as /etc/tmp/guesthouse"
        ]
    );
    assert!(told("data").is_empty() && told("missing").is_empty());
}
