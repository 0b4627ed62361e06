//! Answers of components that cannot be sent as they are: each has one outcome, whatever the interface and the MPM.
//! Programs have their own in `cgi`.

use std::io::ErrorKind;

use guesthouse_tests::log::Mark;
use guesthouse_tests::{
    Answer, Client, Mpm, Server, Setup, under_every_mpm_and_confined, with_wasi_0_3_and_confined_too,
};

under_every_mpm_and_confined! {
    an_answer_without_headers_is_sent,
    a_header_that_cannot_be_sent_is_refused_when_it_is_set,
    a_second_length_is_refused_when_it_is_set,
    headers_without_end_are_refused_at_a_limit,
    content_that_has_no_place_is_dropped,
    an_answer_shorter_than_announced_never_looks_whole,
    an_answer_longer_than_announced_reaches_no_other_request,
    an_answer_that_nobody_reads_is_ended,
}

with_wasi_0_3_and_confined_too! {
    an_answer_without_headers_is_sent,
    a_header_that_cannot_be_sent_is_refused_when_it_is_set,
    a_second_length_is_refused_when_it_is_set,
    headers_without_end_are_refused_at_a_limit,
    content_that_has_no_place_is_dropped,
    an_answer_shorter_than_announced_never_looks_whole,
    an_answer_longer_than_announced_reaches_no_other_request,
    an_answer_that_nobody_reads_is_ended,
}

fn is_well(server: &Server) {
    assert_eq!(server.get("/hello").text(), "hello\n");
}

fn an_answer_without_headers_is_sent(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    let answer = server.get("/status?code=200");
    assert_eq!((answer.status, answer.text()), (200, ""));
    let mut names: Vec<&str> = answer.headers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert!(
        matches!(names[..], ["content-length", "date", "server"] | ["date", "server", "transfer-encoding"]),
        "{answer:?}"
    );
}

/// The guest is told, and may answer something else; nothing of the header is sent.
fn a_header_that_cannot_be_sent_is_refused_when_it_is_set(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    let mut client = server.connect();
    for (name, value, reason) in [
        ("x%20odd", "a", "InvalidSyntax"),
        ("x:odd", "a", "InvalidSyntax"),
        ("", "a", "InvalidSyntax"),
        ("x-odd", "a%0d%0aset-cookie:%20b", "InvalidSyntax"),
        ("x-odd", "a%0ab", "InvalidSyntax"),
        ("x-odd", "a%00b", "InvalidSyntax"),
        ("content-length", "five", "InvalidSyntax"),
        ("transfer-encoding", "gzip", "Forbidden"),
        ("connection", "x-odd", "Forbidden"),
        ("keep-alive", "timeout=9", "Forbidden"),
        ("upgrade", "h2c", "Forbidden"),
    ] {
        let answer = client.get(&format!("/bad-header?name={name}&value={value}"));
        assert_eq!(answer.status, 200, "{name}: {value}");
        assert!(answer.text().starts_with("refused") && answer.text().contains(reason), "{name}: {answer:?}");
        let names = answer.headers.iter().map(|(name, _)| name.as_str());
        let own = ["content-length", "transfer-encoding", "date", "server"];
        assert!(names.into_iter().all(|name| own.contains(&name)), "{name}: {answer:?}");
        assert_ne!(answer.header("transfer-encoding"), Some("gzip"));
    }
}

fn a_second_length_is_refused_when_it_is_set(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    for length in ["0", "4"] {
        // The first one stays, and is less than what the probe says of the second.
        is_too_long(&server, &format!("/bad-header?name=content-length&value={length}&times=2"), "refu");
    }
    is_well(&server);
}

fn headers_without_end_are_refused_at_a_limit(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    let value = "x".repeat(1000);
    assert_eq!(server.get(&format!("/bad-header?name=x-odd&value={value}&times=50")).text(), "set\n");
    let mark = server.log.mark();
    let answer = server.get(&format!("/bad-header?name=x-odd&value={value}&times=1000000"));
    // 0.3 tells the guest; 0.2 has no word for it, so that the call traps.
    if mpm.is_wasi_0_3() {
        assert_eq!((answer.status, answer.text()), (200, "refused: HeaderError::SizeExceeded\n"));
    } else {
        assert_eq!(answer.status, 500);
        server.log.wait_for_after(mark, "module=probe…cause=trap");
    }
    is_well(&server);
}

fn content_that_has_no_place_is_dropped(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    let mut client = server.connect();
    for target in ["/big?n=300000", "/status?length=10", "/status?length=10&text=hello"] {
        client.send(format!("HEAD {target} HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert_eq!(client.receive_head().status, 200, "{target}");
    }
    for parameters in ["", "&text=content", "&length=0", "&length=10", "&length=7&text=content"] {
        let answer = client.get(&format!("/status?code=204{parameters}"));
        assert_eq!((answer.status, answer.header("content-length")), (204, None));
        assert_eq!(answer.header("transfer-encoding"), None);
        let answer = client.get(&format!("/status?code=304{parameters}"));
        assert_eq!((answer.status, answer.header("transfer-encoding")), (304, None));
    }
    // What follows at once is the next answer.
    assert_eq!(client.get("/hello").text(), "hello\n");
}

fn an_answer_shorter_than_announced_never_looks_whole(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    for target in ["/short", "/status?length=10&text=hello"] {
        let (mark, mut client) = asked_for_this_and_another(&server, target);
        match client.try_receive() {
            Ok(answer) => is_500_and_the_next_is_answered(&answer, &mut client),
            Err(error) => assert_eq!(error.kind(), ErrorKind::UnexpectedEof),
        }
        server.log.wait_for_after(mark, "module=probe…cause=broken-off");
    }
    is_well(&server);
}

fn an_answer_longer_than_announced_reaches_no_other_request(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    is_too_long(&server, "/long", "xxxxxxxxxx");
    is_too_long(&server, "/status?length=3&text=hello", "hel");
    is_well(&server);
}

/// It depends on when the lie is noticed whether there is still time for an honest status.
fn is_too_long(server: &Server, target: &str, announced: &str) {
    let (mark, mut client) = asked_for_this_and_another(server, target);
    match client.try_receive() {
        Ok(answer) if answer.status == 500 => is_500_and_the_next_is_answered(&answer, &mut client),
        Ok(answer) => {
            assert!(announced.starts_with(answer.text()), "{answer:?}");
            assert!(client.wait_for_close().1.is_empty(), "nothing follows");
        }
        Err(error) => assert_eq!(error.kind(), ErrorKind::UnexpectedEof),
    }
    server.log.wait_for_after(mark, "module=probe…cause=bad-answer");
}

fn asked_for_this_and_another(server: &Server, target: &str) -> (Mark, Client) {
    let mark = server.log.mark();
    let mut client = server.connect();
    client.send_get(target);
    client.send_get("/hello");
    (mark, client)
}

fn is_500_and_the_next_is_answered(answer: &Answer, client: &mut Client) {
    assert_eq!((answer.status, answer.text()), (500, "The handler of this request failed.\n"));
    assert_eq!(client.receive().text(), "hello\n");
}

fn an_answer_that_nobody_reads_is_ended(mpm: Mpm) {
    let limits = "cpu = \"600s\"\nwall = \"600s\"\nresponse_body = \"1TiB\"";
    let server = Setup::new(mpm).server("access_log = \"access.log\"").limits(limits).start();
    let mut client = server.connect();
    client.send_get("/flood");
    client.wait_for_bytes();
    drop(client);
    server.wait_for_access("\"GET /flood HTTP/1.1\" 200 ");
    is_well(&server);
}
