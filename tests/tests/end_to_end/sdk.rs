//! Guests that are written against the SDK, of both interfaces and confined: what its authors are promised holds on the
//! real server, and on a host that is not ours.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use guesthouse_tests::patience::until;
use guesthouse_tests::second_host::SecondHost;
use guesthouse_tests::setup::{guest, program};
use guesthouse_tests::upstream::Upstream;
use guesthouse_tests::{Answer, Client, Mpm, Server, Setup, under_every_mpm};

under_every_mpm! {
    a_handler_reads_the_head_of_a_request,
    a_body_is_echoed_while_it_comes,
    a_large_body_is_echoed_whole,
    a_body_is_read_piece_by_piece,
    a_body_is_sent_piece_by_piece_with_trailers,
    an_error_is_500_and_its_causes_are_logged_on_one_line,
    a_refusal_is_answered_with_its_status_and_not_logged,
    a_panic_is_500_and_logged_with_its_message_and_place,
    a_body_that_breaks_off_is_logged_and_never_looks_whole,
    a_header_that_the_host_refuses_is_500_and_logged,
    the_environment_is_read_or_missed_by_name,
    a_request_is_relayed_as_a_stream_both_ways,
    a_server_that_is_not_granted_is_an_error_that_says_which,
    a_spawned_task_goes_on_after_the_answer,
    a_timeout_ends_what_does_not_come,
    a_stateful_module_is_confined_by_its_own_word,
    a_client_that_breaks_off_costs_no_state,
    a_stream_is_transformed_as_it_comes,
    slow_requests_share_an_instance,
}

/// The guest of each interface, and the path that it is served under.
const BOTH: [(&str, &str); 2] = [("sdk-probe", "/p2"), ("sdk-probe-p3", "/p3")];

/// A server with both, with these lines for each.
fn with_both(mpm: Mpm, lines: &str) -> Server {
    let tables = BOTH.map(|(name, route)| served(name, route, lines)).concat();
    Setup::new(mpm).tables(&tables).start()
}

fn served(name: &str, route: &str, lines: &str) -> String {
    let path = guest(name).display().to_string();
    format!(
        "[[module]]\nname = \"{name}\"\npath = \"{path}\"\n{lines}\n[[route]]\npath = \"{route}\"\nmodule = \"{name}\"\n"
    )
}

fn a_handler_reads_the_head_of_a_request(mpm: Mpm) {
    let server = with_both(mpm, "");
    for (_, route) in BOTH {
        let target = format!("{route}/describe?name=J%C3%BCrgen+M");
        let answer = server.exchange(format!("PATCH {target} HTTP/1.1\r\nHost: h.example:81\r\nX-Probe: seen\r\n\r\n"));
        let expected = format!("PATCH http://h.example:81{target} x-probe=\"seen\" name=\"Jürgen M\"\n");
        assert_eq!(answer.text(), expected);
        assert_eq!(answer.header("content-length"), Some(expected.len().to_string().as_str()));
        assert_eq!(server.get(&format!("{route}/nowhere")).status, 404);
    }
}

fn a_body_is_echoed_while_it_comes(mpm: Mpm) {
    let server = with_both(mpm, "");
    for (_, route) in BOTH {
        let mut client = server.connect();
        client.send(format!("POST {route}/echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"));
        let mut sent_back = String::new();
        for piece in ["first", "second", "third"] {
            client.send(format!("{:x}\r\n{piece}\r\n", piece.len()));
            // The next piece is sent only when this one has come back.
            while !sent_back.contains(piece) {
                sent_back += &String::from_utf8(client.read_some(4096).expect("the echo goes on")).unwrap();
            }
        }
        client.send("0\r\n\r\n");
        while !sent_back.ends_with("\r\n0\r\n\r\n") {
            sent_back += &String::from_utf8(client.read_some(4096).expect("the echo ends")).unwrap();
        }
    }
}

fn a_large_body_is_echoed_whole(mpm: Mpm) {
    let server = with_both(mpm, "");
    for (_, route) in BOTH {
        let body = numbered(3_000_000);
        let answer = posted(server.connect(), &format!("{route}/echo"), &body);
        assert_eq!(answer.status, 200);
        assert!(answer.text() == body, "{} bytes came back", answer.body.len());
    }
}

fn a_body_is_read_piece_by_piece(mpm: Mpm) {
    // Far less than the body.
    let server = with_both(mpm, "[module.limits]\nmemory = \"4MiB\"\n");
    for (_, route) in BOTH {
        let answer = posted(server.connect(), &format!("{route}/count-bytes"), &numbered(8_000_000));
        assert_eq!(answer.text(), "8000000\n");
    }
}

fn a_body_is_sent_piece_by_piece_with_trailers(mpm: Mpm) {
    let server = with_both(mpm, "");
    for (_, route) in BOTH {
        let answer = server.exchange(format!(
            "GET {route}/count-down?from=5 HTTP/1.1\r\nHost: h\r\nTE: trailers\r\nConnection: TE\r\n\r\n"
        ));
        assert_eq!(answer.text(), "5\n4\n3\n2\n1\n");
        assert_eq!(answer.trailers, [("x-count".to_owned(), "5".to_owned())]);
    }
}

fn an_error_is_500_and_its_causes_are_logged_on_one_line(mpm: Mpm) {
    let server = with_both(mpm, "");
    for (name, route) in BOTH {
        let answer = server.get(&format!("{route}/fail"));
        assert_eq!((answer.status, answer.text()), (500, "Internal Server Error\n"));
        server.log.wait_for(&format!(
            "{name}…the handler failed: cannot serve dinner: cannot fetch the wine: the cellar is empty"
        ));
    }
}

fn a_refusal_is_answered_with_its_status_and_not_logged(mpm: Mpm) {
    let server = with_both(mpm, "");
    for (_, route) in BOTH {
        let answer = server.get(&format!("{route}/refuse"));
        assert_eq!((answer.status, answer.text()), (418, "no coffee here\n"));
        let answer = server.get(&format!("{route}/late?ms=soon"));
        assert_eq!(answer.status, 400);
        assert!(answer.text().starts_with("cannot read ms from \"soon\": "), "{}", answer.text());
    }
    // Something that is logged after what must not be.
    assert_eq!(server.get("/p2/fail").status, 500);
    server.log.wait_for("the cellar is empty");
    assert_eq!(server.log.count("coffee"), 0);
}

fn a_panic_is_500_and_logged_with_its_message_and_place(mpm: Mpm) {
    let server = with_both(mpm, "");
    for (name, route) in BOTH {
        assert_eq!(server.get(&format!("{route}/panic")).status, 500);
        server.log.wait_for(&format!("{name}…panicked at…sdk-probe/src/paths.rs:"));
        server.log.wait_for(&format!("{name}…the probe was asked to panic"));
        assert_eq!(server.get(&format!("{route}/hello")).text(), "hello\n");
    }
}

fn a_body_that_breaks_off_is_logged_and_never_looks_whole(mpm: Mpm) {
    let server = with_both(mpm, "");
    for (name, route) in BOTH {
        let mut client = server.connect();
        client.send_get(&format!("{route}/break-off"));
        let error = client.try_receive().expect_err("half an answer arrived as a whole one");
        assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
        server.log.wait_for(&format!("{name}…the body breaks off: cannot write on: the ink is dry"));
    }
}

fn a_header_that_the_host_refuses_is_500_and_logged(mpm: Mpm) {
    let server = with_both(mpm, "");
    for (name, route) in BOTH {
        assert_eq!(server.get(&format!("{route}/forbidden-header")).status, 500);
        server.log.wait_for(&format!("{name}…the host refuses the headers of the answer: "));
    }
}

fn the_environment_is_read_or_missed_by_name(mpm: Mpm) {
    let server = with_both(mpm, "[module.env]\nGREETING = \"good day\"");
    for (_, route) in BOTH {
        assert_eq!(server.get(&format!("{route}/variable")).text(), "good day");
    }
    let server = with_both(mpm, "");
    for (name, route) in BOTH {
        assert_eq!(server.get(&format!("{route}/variable")).status, 500);
        server.log.wait_for(&format!("{name}…the environment variable GREETING is not set: give it to the module"));
    }
}

fn a_request_is_relayed_as_a_stream_both_ways(mpm: Mpm) {
    let upstream = Setup::new(mpm).start();
    let echo = format!("http://{}/echo", upstream.address());
    let server = with_both(mpm, &format!("outbound = [\"{}\"]", upstream.address()));
    // More than all buffers on the way: whoever waited for the end of the one before the other begins would wait for ever.
    let body = numbered(6_000_000);
    for (_, route) in BOTH {
        let answer = posted(server.connect(), &format!("{route}/relay?url={echo}"), &body);
        assert_eq!(answer.status, 200);
        assert!(answer.text() == body, "{} bytes came back", answer.body.len());
    }
}

fn a_server_that_is_not_granted_is_an_error_that_says_which(mpm: Mpm) {
    let upstream = Upstream::start("from outside");
    let server = with_both(mpm, "");
    for (name, route) in BOTH {
        assert_eq!(server.get(&format!("{route}/relay?url=http://{}/", upstream.address)).status, 500);
        server.log.wait_for(&format!("{name}…the handler failed: cannot send GET http://{}/: ", upstream.address));
    }
    assert_eq!(upstream.requests(), 0);
}

fn a_spawned_task_goes_on_after_the_answer(mpm: Mpm) {
    let server = with_both(mpm, "");
    for (name, route) in BOTH {
        assert_eq!(server.get(&format!("{route}/after")).text(), "answered\n");
        server.log.wait_for(&format!("{name}…still here after the answer"));
    }
}

fn a_timeout_ends_what_does_not_come(mpm: Mpm) {
    let server = with_both(mpm, "");
    for (name, route) in BOTH {
        assert_eq!(server.get(&format!("{route}/never")).status, 500);
        server.log.wait_for(&format!("{name}…what was waited for has not come within 10ms"));
    }
}

/// A server with one instance of the counter.
fn with_counter(mpm: Mpm) -> Server {
    let setup = Setup::new(mpm).tables(&served("counter", "/counter", super::confinement::ONE));
    let one = "start_servers = 1\nmin_spare_servers = 1\nmax_spare_servers = 2\nmax_request_workers = 1";
    if mpm == Mpm::Prefork { setup.directives(one).start() } else { setup.start() }
}

fn a_stateful_module_is_confined_by_its_own_word(mpm: Mpm) {
    let server = with_counter(mpm);
    let cache = |method: &str, text: &str| {
        let length = text.len();
        let head = format!("{method} /counter/cache/a%20b HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n");
        server.exchange(format!("{head}{text}"))
    };
    assert_eq!(cache("GET", "").status, 404);
    assert_eq!(cache("PUT", "kept").status, 201);
    assert_eq!(cache("GET", "").text(), "kept");
    assert_eq!(server.get("/counter").text(), "{\"requests\":4,\"cached\":1}");
    assert_eq!(cache("PUT", "anew").status, 204);
    assert_eq!(cache("GET", "").text(), "anew");
    assert_eq!(cache("DELETE", "").status, 204);
    assert_eq!(cache("GET", "").status, 404);
    assert_eq!(server.get("/counter").text(), "{\"requests\":9,\"cached\":0}");
    let answer = server.exchange("POST /counter HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n");
    assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")));
}

fn a_client_that_breaks_off_costs_no_state(mpm: Mpm) {
    let server = with_counter(mpm);
    assert_eq!(server.get("/counter").text(), "{\"requests\":1,\"cached\":0}");
    let mut client = server.connect();
    client.send("PUT /counter/cache/half HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nhalf");
    drop(client);
    server.log.wait_for("counter…the handler failed: the body broke off");
    assert_eq!(server.get("/counter").text(), "{\"requests\":3,\"cached\":0}");
}

fn a_stream_is_transformed_as_it_comes(mpm: Mpm) {
    let server =
        Setup::new(mpm).tables(&served("transform", "/transform", "[module.limits]\nmemory = \"4MiB\"\n")).start();
    let body = numbered(8_000_000);
    let answer = posted(server.connect(), "/transform", &body);
    assert_eq!((answer.status, answer.header("content-encoding")), (200, Some("gzip")));
    assert!(gunzipped(server.folder(), &answer.body) == body);
}

fn slow_requests_share_an_instance(mpm: Mpm) {
    const REQUESTS: usize = 8;
    let lines = "max_concurrent_requests_per_instance = 16\nmax_requests_per_instance = 0";
    let server = Setup::new(mpm).tables(&served("slow", "/slow", lines)).start();
    let ask_at_once = || {
        let mut clients: Vec<Client> = (0..REQUESTS).map(|_| server.connect()).collect();
        clients.iter_mut().for_each(|client| client.send_get("/slow?ms=100"));
        let answers: Vec<Answer> = clients.iter_mut().map(Client::receive).collect();
        answers.iter().for_each(|answer| assert_eq!(answer.status, 200, "{answer:?}"));
        answers.iter().filter(|answer| !answer.text().contains("\"inside\":1,")).count()
    };
    if mpm == Mpm::Event {
        // Whether requests meet is decided by which threads accept them.
        until("requests meet in an instance", || (ask_at_once() > 0).then_some(()));
    } else {
        assert_eq!(ask_at_once(), 0, "a thread has one connection, and so its instance one request");
    }
}

#[test]
fn a_request_wakes_another_one_in_its_instance() {
    // One thread has both connections, and so one instance both requests; unless the first is cut by its time slice,
    // because nobody joins a guest that computes.
    let setup = Setup::new(Mpm::Event).directives("start_servers = 1\nthreads_per_child = 1\ntime_slice = \"1s\"");
    let server = setup.tables(&served("sdk-probe-p3", "/p3", "")).start();
    for _ in 0..10 {
        let mut clients = [server.connect(), server.connect()];
        clients.iter_mut().for_each(|client| client.send_get("/p3/meet"));
        clients.iter_mut().for_each(|client| assert_eq!(client.receive().text(), "met\n"));
    }
}

#[test]
fn inspect_tells_what_the_attribute_has_written() {
    let inspected = inspect("counter");
    for line in [
        "thread-safe  no\n",
        "version      0.1.0\n",
        "description  Counts its requests and keeps texts by name, in an instance that stays\n",
        "(wasi:http/incoming-handler@0.2)",
    ] {
        assert!(inspected.contains(line), "{line:?} is missing in\n{inspected}");
    }
    let inspected = inspect("hello-p3");
    assert!(inspected.contains("thread-safe  yes\n") && inspected.contains("(wasi:http/handler@0.3)"), "{inspected}");
}

#[test]
fn a_guest_imports_no_more_than_its_handler_uses() {
    // Both interfaces are in the crate when guests of both are built together.
    for (name, foreign) in [("counter", "@0.3"), ("transform", "@0.3"), ("hello-p3", "wasi:http/types@0.2")] {
        let inspected = inspect(name);
        for import in [foreign, "outgoing-handler", "wasi:http/client", "monotonic-clock"] {
            assert!(!inspected.contains(import), "{name} imports {import}:\n{inspected}");
        }
    }
    let inspected = inspect("slow");
    assert!(inspected.contains("wasi:clocks/monotonic-clock@0.3"), "{inspected}");
    assert!(!inspected.contains("wasi:clocks/monotonic-clock@0.2"), "{inspected}");
}

#[test]
fn the_same_guests_answer_the_same_on_another_host() {
    let ours = Setup::new(Mpm::Event)
        .tables(&served("hello-p3", "/hello", ""))
        .tables(&served("counter", "/counter", ""))
        .tables(&served("transform", "/transform", ""))
        .start();

    let theirs = SecondHost::start(&guest("hello-p3"));
    assert_same(&ours.get("/hello"), &theirs.get("/hello"));

    let theirs = SecondHost::start(&guest("counter"));
    for target in ["/counter/cache/nothing", "/counter/nowhere"] {
        assert_same(&ours.get(target), &theirs.get(target));
    }
    let put = "PUT /counter/cache/a HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\ntext";
    assert_same(&ours.exchange(put), &theirs.exchange(put));
    let post = "POST /counter HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n";
    assert_same(&ours.exchange(post), &theirs.exchange(post));

    let theirs = SecondHost::start(&guest("transform"));
    let body = numbered(1_000_000);
    let answers = [ours.connect(), theirs.connect()].map(|client| posted(client, "/transform", &body));
    assert_same(&answers[0], &answers[1]);
}

#[test]
fn both_interfaces_answer_the_same_on_another_host() {
    for (name, _) in BOTH {
        let theirs = SecondHost::start(&guest(name));
        assert_eq!(theirs.get("/hello").text(), "hello\n");
        assert_eq!(theirs.get("/refuse").status, 418);
        assert_eq!(theirs.get("/late?ms=1").text(), "late\n");
        let body = numbered(1_000_000);
        assert!(posted(theirs.connect(), "/echo", &body).text() == body);
        assert_eq!(theirs.get("/fail").status, 500);
        theirs.log.wait_for("the handler failed: cannot serve dinner: cannot fetch the wine: the cellar is empty");
        assert_eq!(theirs.get("/panic").status, 500);
        theirs.log.wait_for("panicked at…sdk-probe/src/paths.rs:");
    }
}

/// The same but for what each server says of itself.
fn assert_same(ours: &Answer, theirs: &Answer) {
    let told = |answer: &Answer| {
        let of_server = |name: &str| ["date", "server", "connection", "transfer-encoding"].contains(&name);
        let headers = answer.headers.iter().map(|(name, value)| (name.to_lowercase(), value.clone()));
        let mut headers: Vec<_> = headers.filter(|(name, _)| !of_server(name)).collect();
        headers.sort();
        (answer.status, headers)
    };
    assert_eq!(told(ours), told(theirs));
    assert!(ours.body == theirs.body, "{} and {} bytes differ", ours.body.len(), theirs.body.len());
}

/// Sends a body of known length from another thread, so that the answer may come meanwhile.
fn posted(mut client: Client, target: &str, body: &str) -> Answer {
    let mut sender = client.sender();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let head = format!("POST {target} HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", body.len());
            sender.write_all(head.as_bytes()).and_then(|()| sender.write_all(body.as_bytes())).expect("it is taken");
        });
        client.receive()
    })
}

/// A text in which no part is like another.
fn numbered(bytes: usize) -> String {
    let mut text: String = (0..=bytes / 8).map(|number| format!("{number:07}\n")).collect();
    text.truncate(bytes);
    text
}

/// What gzip itself makes of it, which is on every machine that has a shell.
fn gunzipped(folder: &Path, compressed: &[u8]) -> String {
    let file = folder.join("answer.gz");
    std::fs::write(&file, compressed).unwrap();
    let output = Command::new("gzip").args(["--decompress", "--stdout"]).arg(&file).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn inspect(name: &str) -> String {
    let output = Command::new(program()).args(["module", "inspect"]).arg(guest(name)).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}
