//! What the server tells of itself: the page, its JSON, Apache's `?auto`, Prometheus' metrics, and `guesthouse status`.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output};

use guesthouse_tests::patience::until;
use guesthouse_tests::setup::{guest, program};
use guesthouse_tests::{Answer, Mpm, Server, Setup, Signal, under_every_mpm};
use serde_json::Value;

under_every_mpm! {
    it_is_off_unless_configured,
    the_json_tells_what_was_served_and_by_whom,
    a_request_that_failed_is_counted_with_its_cause,
    the_answers_of_the_server_itself_are_counted_apart,
    auto_has_apaches_keys,
    the_metrics_are_lines_that_prometheus_reads,
    who_is_not_allowed_learns_nothing,
    it_can_only_be_read,
    a_head_request_gets_the_head,
    counters_survive_a_graceful_restart,
    counters_begin_anew_at_a_restart,
    the_page_is_whole_in_itself,
    what_a_module_says_of_itself_cannot_act_on_the_page,
    the_fragment_is_a_part_of_the_page,
    a_program_that_asks_for_json_gets_it,
    the_command_prints_what_the_server_tells,
}

const ROUTES: &str = "[[route]]\npath = \"/server-status\"\nhandler = \"server-status\"\n\
                      [[route]]\npath = \"/metrics\"\nhandler = \"metrics\"";

fn start(mpm: Mpm) -> Server {
    Setup::new(mpm).tables(ROUTES).start()
}

fn json(server: &Server) -> Value {
    let answer = server.get("/server-status?json");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    serde_json::from_slice(&answer.body).unwrap()
}

fn answers(server: &Server, path: &str, status: u16) {
    assert_eq!(server.get(path).status, status, "{path}");
}

/// The module as the status has it once so many requests are counted: a client may have its answer a little earlier.
fn probe_after(server: &Server, requests: u64) -> Value {
    until(&format!("{requests} requests are counted"), || {
        let module = json(server)["modules"][0].clone();
        (module["requests"] == requests).then_some(module)
    })
}

fn it_is_off_unless_configured(mpm: Mpm) {
    let server = Setup::new(mpm).probe_route("/probe").start();
    for path in ["/server-status", "/server-status?auto", "/metrics"] {
        assert_eq!(server.get(path).status, 404, "{path}");
    }
}

fn the_json_tells_what_was_served_and_by_whom(mpm: Mpm) {
    let server = start(mpm);
    for _ in 0..10 {
        assert_eq!(server.get("/hello").status, 200);
    }
    let module = probe_after(&server, 10);
    assert_eq!((&module["name"], &module["kind"]), (&"probe".into(), &"http-incoming-handler".into()));
    assert_eq!((&module["runs"], &module["instances_made"]), (&"shared".into(), &10.into()));
    assert_eq!((&module["errors"], &module["bytes"]), (&serde_json::json!({}), &60.into()));
    let [p50, p99] = ["p50_secs", "p99_secs"].map(|part| module["latency"][part].as_f64().unwrap());
    assert!(0.0 < p50 && p50 <= p99 && p99 < 60.0, "{module:#}");
    assert!(module["guest_cpu_secs"].as_f64().unwrap() > 0.0, "{module:#}");

    let status = json(&server);
    assert_eq!(status["server"]["mpm"], status["pools"][0]["mpm"]);
    assert_eq!(status["server"]["generation"], 0);
    assert!(status["server"]["requests"].as_u64().unwrap() > 10, "the status itself was asked for too: {status:#}");
    let connections = status["server"]["connections"].as_object().unwrap();
    assert!(connections.values().filter_map(Value::as_u64).sum::<u64>() >= 1, "this one at least: {status:#}");
}

#[test]
fn every_child_is_told_by_its_pid() {
    // Under event the number of children is fixed.
    let server = start(Mpm::Event);
    let expected: BTreeSet<i64> = server.children().iter().map(|pid| pid.as_raw().into()).collect();
    let status = until("all children are ready", || {
        let status = json(&server);
        let children = status["children"].as_array().unwrap();
        (children.len() == 2 && children.iter().all(|child| child["status"] == "ready")).then_some(status)
    });
    let children = status["children"].as_array().unwrap();
    let told: BTreeSet<i64> = children.iter().map(|child| child["pid"].as_i64().unwrap()).collect();
    assert_eq!(told, expected);
    for child in children {
        assert_eq!((&child["pool"], &child["mpm"]), (&"server".into(), &"event".into()));
        assert_eq!(child["threads"].as_str().unwrap().len(), 2, "{child:#}");
        let [private, resident] = ["private", "resident"].map(|part| child["memory"][part].as_u64().unwrap());
        assert!(0 < private && private < resident, "{child:#}");
    }
}

fn a_request_that_failed_is_counted_with_its_cause(mpm: Mpm) {
    let server = Setup::new(mpm).limits("wall = \"300ms\"").tables(ROUTES).start();
    answers(&server, "/trap", 500);
    answers(&server, "/trap", 500);
    answers(&server, "/sleep?ms=60000", 504);
    answers(&server, "/status?code=503", 503);
    answers(&server, "/status?code=404", 404);
    let module = probe_after(&server, 5);
    assert_eq!(module["errors"], serde_json::json!({ "trap": 2, "wall-limit": 1, "answered-5xx": 1 }));
}

/// By the server child that asks, and once: the instance, the pool, and what the pool did not take.
#[test]
fn a_confined_module_is_told_with_its_pool() {
    let pool = "[module.pool]\nmax_request_workers = 1\nqueue_timeout = \"300ms\"";
    let server = Setup::new(Mpm::Confined).probe(pool).tables(ROUTES).start();
    answers(&server, "/count", 200);
    answers(&server, "/count", 200);
    let module = probe_after(&server, 2);
    assert_eq!(module["runs"], "confined");
    assert_eq!((&module["instances_made"], &module["instances_reused"]), (&1.into(), &1.into()));
    let status = json(&server);
    assert_eq!((&status["pools"][1]["name"], &status["pools"][1]["mpm"]), (&"probe".into(), &"prefork".into()));

    let mut busy = server.connect();
    busy.send_get("/drip?n=2&ms=2000");
    busy.wait_for_bytes();
    answers(&server, "/count", 503);
    let module = probe_after(&server, 3);
    assert_eq!(module["errors"]["queue-timeout"], 1, "{module:#}");
    assert_eq!(module["instances_made"], 1, "a request that met no instance has made none: {module:#}");
    assert_eq!(busy.receive().text(), "0\n1\n");
}

fn the_answers_of_the_server_itself_are_counted_apart(mpm: Mpm) {
    let server = Setup::new(mpm).probe_route("/probe").tables(ROUTES).start();
    answers(&server, "/nothing-here", 404);
    assert_eq!(server.exchange("GET / HTTP/1.1\r\n\r\n").status, 400);
    let counted = json(&server);
    assert_eq!(counted["server"]["own_answers"]["4xx"], 2, "{counted:#}");
    assert_eq!(counted["modules"][0]["requests"], 0);
}

fn auto_has_apaches_keys(mpm: Mpm) {
    let server = start(mpm);
    answers(&server, "/hello", 200);
    probe_after(&server, 1);
    // A thread that has just started and has not slept yet may not have said that it is busy, and others may still be on
    // their way.
    let answer = until("the thread that answers says that it is busy, and four are there", || {
        let answer = server.get("/server-status?auto");
        let scoreboard = answer.text().lines().find_map(|line| line.strip_prefix("Scoreboard: "))?;
        let letters = scoreboard.chars().filter(|letter| *letter != '.').count();
        (letters >= 4 && !answer.text().contains("\nBusyWorkers: 0\n")).then_some(answer)
    });
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    let value = |key: &str| {
        let mut lines = answer.text().lines().filter_map(|line| line.split_once(": "));
        lines.find(|(known, _)| *known == key).map(|(_, value)| value.to_owned()).expect(key)
    };
    let number = |key: &str| value(key).parse::<f64>().expect(key);
    assert!(number("Total Accesses") >= 1.0 && number("ServerUptimeSeconds") >= 0.0);
    assert!(number("BusyWorkers") >= 1.0, "{}", answer.text());
    assert!(number("ConnsTotal") >= 1.0);
    for key in ["Total kBytes", "IdleWorkers", "ConnsAsyncWriting", "ConnsAsyncKeepAlive", "ConnsAsyncClosing", "Load1"]
    {
        assert!(number(key) >= 0.0, "{key}");
    }
    assert!(value("ServerVersion").starts_with("Guesthouse/"));
    assert!(["prefork", "worker", "event"].contains(&value("ServerMPM").as_str()));
    let scoreboard = value("Scoreboard");
    assert!(scoreboard.chars().all(|letter| "_SRWKDCLGI.".contains(letter)), "{scoreboard}");
}

fn the_metrics_are_lines_that_prometheus_reads(mpm: Mpm) {
    let server = start(mpm);
    answers(&server, "/hello", 200);
    answers(&server, "/trap", 500);
    probe_after(&server, 2);
    let answer = server.get("/metrics");
    assert_eq!(answer.header("content-type"), Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    let text = answer.text();
    assert!(text.ends_with("\n# EOF\n"), "{text}");
    for line in text.lines() {
        assert!(
            is_metric(line) || ["# HELP ", "# TYPE ", "# UNIT ", "# EOF"].iter().any(|word| line.starts_with(word)),
            "{line}"
        );
    }
    for line in [
        "guesthouse_requests_total{module=\"probe\"} 2",
        "guesthouse_errors_total{module=\"probe\",cause=\"trap\"} 1",
        "guesthouse_request_duration_seconds_bucket{le=\"+Inf\",module=\"probe\"} 2",
        "guesthouse_instances_total{module=\"probe\",state=\"made\"} 2",
    ] {
        assert!(text.lines().any(|told| told == line), "{line} is missing in\n{text}");
    }
}

/// `name{label="value",…} number`, as the tests here need it: no value has a quotation mark.
fn is_metric(line: &str) -> bool {
    let Some((series, number)) = line.rsplit_once(' ') else { return false };
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    let Some(labels) = labels.strip_suffix('}') else { return false };
    let is_word = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let is_label = |label: &str| {
        label.split_once("=\"").is_some_and(|(name, value)| is_word(name) && value.find('"') == Some(value.len() - 1))
    };
    number.parse::<f64>().is_ok()
        && is_word(name)
        && name.starts_with("guesthouse_")
        && (labels.is_empty() || labels.split(',').all(is_label))
}

fn who_is_not_allowed_learns_nothing(mpm: Mpm) {
    let routes = ROUTES.replace("handler", "allow = [\"192.0.2.0/24\"]\nhandler");
    let server = Setup::new(mpm).tables(&routes).start();
    for path in ["/server-status", "/server-status?json", "/server-status?auto", "/metrics"] {
        let answer = server.get(path);
        assert_eq!((answer.status, answer.header("content-type")), (403, Some("text/plain; charset=utf-8")), "{path}");
        assert_eq!(answer.text(), "This is not for everybody.\n");
    }
    let answer = server.exchange("POST /metrics HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(answer.status, 403, "what could be done here is not told either");
}

fn it_can_only_be_read(mpm: Mpm) {
    let server = start(mpm);
    for path in ["/server-status", "/metrics"] {
        let answer = server.exchange(format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx"));
        assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")));
    }
}

fn a_head_request_gets_the_head(mpm: Mpm) {
    let server = start(mpm);
    for path in ["/server-status", "/server-status?json", "/metrics"] {
        let mut client = server.connect();
        client.send(format!("HEAD {path} HTTP/1.1\r\nHost: h\r\n\r\n"));
        let answer = client.receive_head();
        assert_eq!((answer.status, answer.header("cache-control")), (200, Some("no-store")));
        assert!(answer.header("content-length").unwrap().parse::<u64>().unwrap() > 100);
        assert_eq!(client.get("/hello").text(), "hello\n", "no body came in between");
    }
}

fn counters_survive_a_graceful_restart(mpm: Mpm) {
    let server = start(mpm);
    answers(&server, "/hello", 200);
    answers(&server, "/trap", 500);
    probe_after(&server, 2);
    reload(&server, Signal::SIGUSR1);
    answers(&server, "/hello", 200);
    assert_eq!(probe_after(&server, 3)["errors"]["trap"], 1);
}

fn counters_begin_anew_at_a_restart(mpm: Mpm) {
    let server = start(mpm);
    answers(&server, "/hello", 200);
    answers(&server, "/trap", 500);
    probe_after(&server, 2);
    reload(&server, Signal::SIGHUP);
    let module = probe_after(&server, 0);
    assert_eq!((&module["errors"], &module["latency"]["p50_secs"]), (&serde_json::json!({}), &Value::Null));
    answers(&server, "/hello", 200);
    probe_after(&server, 1);
}

/// Sends the signal, and waits until the new generation serves; at a restart the old children have been ended by then.
fn reload(server: &Server, signal: Signal) {
    let mark = server.log.mark();
    server.signal(signal);
    server.log.wait_for_after(mark, "is ready");
}

fn the_page_is_whole_in_itself(mpm: Mpm) {
    let server = start(mpm);
    let answer = server.get("/server-status");
    assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    let policy = answer.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-") && !policy.contains("unsafe"), "{policy}");
    let page = answer.text();
    for outside in ["http:", "https:", "//", "src=", "@import", "url("] {
        let lines: Vec<&str> = page.lines().filter(|line| line.contains(outside)).collect();
        // Comments of the script.
        assert!(lines.iter().all(|line| line.trim_start().starts_with("// ")), "{outside} in {lines:#?}");
    }
    for part in ["<noscript><meta http-equiv=\"refresh\" content=\"2\"></noscript>", "Scoreboard", "probe", "<title>"] {
        assert!(page.contains(part), "{part} is missing in\n{page}");
    }
    assert!(server.get("/server-status?refresh=30").text().contains("content=\"30\""));
    assert!(!server.get("/server-status?notable").text().contains("<table"));
}

fn what_a_module_says_of_itself_cannot_act_on_the_page(mpm: Mpm) {
    let setup = Setup::new(mpm).own_cache();
    let tagged = setup.folder().join("tagged.wasm");
    let output = Command::new(program())
        .args(["module", "tag", "--version=<script>alert(1)</script>", "--description=\"><img onerror=alert(2)>", "-o"])
        .args([&tagged, &guest("hello")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let module =
        "[[module]]\nname = \"tagged\"\npath = \"tagged.wasm\"\n[[route]]\npath = \"/tagged\"\nmodule = \"tagged\"";
    let server = setup.tables(ROUTES).tables(module).start();
    for query in ["", "?notable", "?fragment"] {
        let answer = server.get(&format!("/server-status{query}"));
        let page = answer.text();
        assert!(page.contains("alert(1)") && page.contains("alert(2)"), "{page}");
        assert!(!page.contains("<script>alert") && !page.contains("<img"), "{page}");
    }
    assert_eq!(json(&server)["modules"][1]["version"], "<script>alert(1)</script>");
}

fn the_fragment_is_a_part_of_the_page(mpm: Mpm) {
    let server = start(mpm);
    let fragment = server.get("/server-status?fragment");
    assert!(fragment.text().contains("<section") && !fragment.text().contains("<html"));
    assert!(fragment.header("content-security-policy").is_some());
}

fn a_program_that_asks_for_json_gets_it(mpm: Mpm) {
    let server = start(mpm);
    let ask = |accept: &str| {
        let head = format!("GET /server-status HTTP/1.1\r\nHost: h\r\nAccept: {accept}\r\n\r\n");
        let answer: Answer = server.exchange(head);
        answer.header("content-type").unwrap().to_owned()
    };
    assert_eq!(ask("application/json"), "application/json");
    assert_eq!(ask("text/html,application/xhtml+xml,*/*;q=0.8"), "text/html; charset=utf-8");
}

fn the_command_prints_what_the_server_tells(mpm: Mpm) {
    let server = start(mpm);
    answers(&server, "/hello", 200);
    answers(&server, "/trap", 500);
    probe_after(&server, 2);
    let file = asking(&server, server.address());
    let printed = text(&status(&[file.to_str().unwrap()]));
    assert!(printed.lines().any(|line| line.contains("probe") && line.contains("trap 1")), "{printed}");
    assert!(json(&server)["children"].as_array().unwrap().iter().any(|child| {
        let pid = child["pid"].to_string();
        printed.lines().any(|line| line.contains(&pid) && line.contains("server"))
    }));
    let told: Value = serde_json::from_str(&text(&status(&[file.to_str().unwrap(), "--json"]))).unwrap();
    assert_eq!(told["modules"][0]["requests"], 2);
}

#[test]
fn the_command_says_what_to_do_when_it_cannot_ask() {
    let server = Setup::new(Mpm::Event).tables(&ROUTES.replace("handler", "allow = [\"192.0.2.1\"]\nhandler")).start();
    let fails = |address: &str| {
        let file = asking(&server, address.parse().unwrap());
        let output = status(&[file.to_str().unwrap()]);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(fails("127.0.0.1:0").contains("port 0"));
    let refused = fails(&server.address().to_string());
    assert!(refused.contains("403") && refused.contains("allow"), "{refused}");
    // What is bound and accepts nothing lets a client wait for ever.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let waited = fails(&silent.local_addr().unwrap().to_string());
    assert!(waited.contains("within 5 s"), "{waited}");
    server.edit("handler = \"server-status\"", "handler = \"metrics\"");
    let nowhere = fails(&server.address().to_string());
    assert!(nowhere.contains("handler = \"server-status\""), "{nowhere}");
}

/// The configuration of the server with the address that it has, and without its control socket: as anybody asks.
fn asking(server: &Server, address: SocketAddr) -> PathBuf {
    let text = std::fs::read_to_string(server.file()).unwrap();
    let file = server.folder().join("asking.toml");
    let text = text.replacen("[server]", "[server]\nruntime_dir = \"elsewhere\"", 1);
    std::fs::write(&file, text.replace("127.0.0.1:0", &address.to_string())).unwrap();
    file
}

fn status(arguments: &[&str]) -> Output {
    Command::new(program()).arg("status").args(arguments).output().unwrap()
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}
