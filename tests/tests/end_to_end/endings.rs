//! How a connection ends, and who is told what: clients that close their half, answers that break off, and refusals in
//! the access log.

use std::io::{ErrorKind, Read};
use std::time::Duration;

use guesthouse_tests::{Mpm, Server, Setup, under_every_mpm_and_confined, with_wasi_0_3_and_confined_too};

under_every_mpm_and_confined! {
    a_broken_answer_without_a_length_ends_in_a_reset,
    a_whole_answer_without_a_length_ends_in_an_end_of_file,
    a_client_that_has_ended_its_half_gets_its_answers,
    a_client_that_has_ended_its_half_does_not_hold_a_slow_guest,
    an_answer_to_a_body_that_nobody_reads_says_that_it_closes,
    refused_requests_are_in_the_access_log,
    an_answer_without_content_is_logged_without_bytes,
    targets_as_browsers_write_them_reach_the_guest,
}

with_wasi_0_3_and_confined_too! {
    a_broken_answer_without_a_length_ends_in_a_reset,
    a_whole_answer_without_a_length_ends_in_an_end_of_file,
    a_client_that_has_ended_its_half_gets_its_answers,
    a_client_that_has_ended_its_half_does_not_hold_a_slow_guest,
    an_answer_to_a_body_that_nobody_reads_says_that_it_closes,
}

/// To an HTTP/1.0 client the end of the connection is the end of the answer, unless it is a reset.
fn a_broken_answer_without_a_length_ends_in_a_reset(mpm: Mpm) {
    let server = Setup::new(mpm).limits("wall = \"500ms\"").start();
    let (read, error) = read_old(&server, "/drip?n=1000&ms=100");
    assert!(read.contains("\r\n\r\n0\n"), "{read}");
    assert_eq!(error, Some(ErrorKind::ConnectionReset));
}

fn a_whole_answer_without_a_length_ends_in_an_end_of_file(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    let (read, error) = read_old(&server, "/drip?n=3&ms=10");
    assert!(read.ends_with("\r\n\r\n0\n1\n2\n"), "{read}");
    assert_eq!(error, None);
}

/// Sends a GET of HTTP/1.0 and reads to the end, whichever it is.
fn read_old(server: &Server, target: &str) -> (String, Option<ErrorKind>) {
    let mut client = server.connect();
    client.send(format!("GET {target} HTTP/1.0\r\n\r\n"));
    let (mut read, mut stream) = (Vec::new(), client.sender());
    let error = stream.read_to_end(&mut read).err();
    (String::from_utf8(read).expect("the probe writes text"), error.map(|error| error.kind()))
}

fn a_client_that_has_ended_its_half_gets_its_answers(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    let mut client = server.connect();
    client.send(
        "POST /slow-read?ms=100 HTTP/1.1\r\nHost: h\r\nContent-Length: 20000\r\n\r\n".to_owned() + &"x".repeat(20_000),
    );
    client.send_get("/sleep?ms=300");
    client.send_get("/sleep?ms=300");
    client.send_get("/sleep?ms=300");
    client.send_get("/hello");
    client.finish_sending();
    assert_eq!(client.receive().text(), "20000\n");
    for _ in 0..3 {
        assert_eq!(client.receive().text(), "slept\n");
    }
    assert_eq!(client.receive().text(), "hello\n");
    client.wait_for_close();
}

fn a_client_that_has_ended_its_half_does_not_hold_a_slow_guest(mpm: Mpm) {
    let server = Setup::new(mpm).limits("wall = \"600s\"").server("access_log = \"access.log\"").start();
    let mut client = server.connect();
    client.send("POST /sleep?ms=600000 HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab");
    client.finish_sending();
    let (took, _) = client.wait_for_close();
    assert!(took < Duration::from_secs(10), "{took:?}");
    server.wait_for_access("\"POST /sleep?ms=600000 HTTP/1.1\" 499 - ");
}

fn an_answer_to_a_body_that_nobody_reads_says_that_it_closes(mpm: Mpm) {
    let server = Setup::new(mpm).tables("[[route]]\npath = \"/fixed\"\ntext = \"ok\"").start();
    for path in ["/fixed", "/ignore-body"] {
        let post = |length| format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n");
        assert!(server.exchange(post(1_000_000)).says_close(), "{path}");
        let mut client = server.connect();
        client.send(post(1000));
        assert!(!client.receive().says_close(), "{path}");
        client.send(vec![b'x'; 1000]);
        assert_eq!(client.get("/hello").text(), "hello\n");
    }
}

fn refused_requests_are_in_the_access_log(mpm: Mpm) {
    let limits =
        "limit_request_line = 100\nlimit_request_fields = 5\nheader_timeout = \"1s\"\nheader_timeout_max = \"1s\"";
    let server =
        Setup::new(mpm).server("access_log = \"access.log\"").server(limits).limits("request_body = \"9B\"").start();
    let fields = "A: b\r\n".repeat(6);
    for (request, logged) in [
        ("GET /\"<>\" HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), r#""GET /\"<>\" HTTP/1.1" 400 "#.to_owned()),
        ("\x16\x03\x01\x02\r\n".to_owned(), r#""\x16\x03\x01\x02" 400 "#.to_owned()),
        ("GET /a HTTP/1.1\r\n\r\n".to_owned(), "\"GET /a HTTP/1.1\" 400 ".to_owned()),
        (format!("GET /b HTTP/1.1\r\nHost: h\r\n{fields}\r\n"), "\"GET /b HTTP/1.1\" 431 ".to_owned()),
        (format!("GET /{} HTTP/1.1\r\n", "c".repeat(100)), format!("\"GET /{} HTTP/1.1\" 414 ", "c".repeat(100))),
        ("GET /d HTTP/1.1\r\nHo".to_owned(), "\"GET /d HTTP/1.1\" 408 ".to_owned()),
        (
            "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\nUser-Agent: u\r\n\r\n".to_owned(),
            "\"POST /echo HTTP/1.1\" 413 ".to_owned(),
        ),
        (
            "POST /slow-read?ms=0 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".to_owned(),
            "\"POST /slow-read?ms=0 HTTP/1.1\" 400 ".to_owned(),
        ),
    ] {
        let bytes = server.exchange(&request).body.len();
        server.wait_for_access(&format!("{logged}{bytes} "));
    }
    let text = std::fs::read_to_string(server.folder().join("access.log")).expect("the log is there");
    assert_eq!(text.lines().count(), 8, "each is logged once:\n{text}");
}

fn an_answer_without_content_is_logged_without_bytes(mpm: Mpm) {
    let server = Setup::new(mpm)
        .server("access_log = \"access.log\"")
        .tables("[[route]]\npath = \"/fixed\"\ntext = \"ok\"")
        .start();
    for path in ["/fixed", "/hello"] {
        let mut client = server.connect();
        client.send(format!("HEAD {path} HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert_eq!(client.receive_head().status, 200);
        server.wait_for_access(&format!("\"HEAD {path} HTTP/1.1\" 200 - "));
    }
}

fn targets_as_browsers_write_them_reach_the_guest(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    let answer = server.get("/hello?a[]=1&a[]=2&b={x|y}^\\`");
    assert_eq!((answer.status, answer.text()), (200, "hello\n"));
    assert_eq!(server.get("/x|y[z]/hello").status, 200);
}
