//! Limits with names: what is too long gets the status that says so, and one byte less is served.

use guesthouse_tests::{Mpm, Setup, under_every_mpm_and_confined, with_wasi_0_3_and_confined_too};

under_every_mpm_and_confined! {
    a_request_line_beyond_its_limit_is_414,
    a_request_line_is_refused_before_it_ends,
    a_header_beyond_its_limit_is_431,
    more_headers_than_the_limit_are_431,
    a_body_beyond_the_limit_is_413_before_it_is_sent,
    a_chunked_body_beyond_the_limit_is_413,
    an_answer_beyond_the_limit_is_broken_off,
    a_connection_serves_as_many_requests_as_it_may,
}

with_wasi_0_3_and_confined_too! {
    a_body_beyond_the_limit_is_413_before_it_is_sent,
    a_chunked_body_beyond_the_limit_is_413,
    an_answer_beyond_the_limit_is_broken_off,
}

fn a_request_line_beyond_its_limit_is_414(mpm: Mpm) {
    let server = Setup::new(mpm).server("limit_request_line = 100").start();
    let request = |length: usize| {
        let filler = "x".repeat(length - "GET /hello? HTTP/1.1".len());
        format!("GET /hello?{filler} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    };
    assert_eq!(server.exchange(request(100)).status, 200);
    assert_eq!(server.exchange(request(101)).status, 414);
}

fn a_request_line_is_refused_before_it_ends(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    let mut client = server.connect();
    client.send(format!("GET /{}", "x".repeat(9000)));
    assert_eq!(client.receive().status, 414);
    client.wait_for_close();
}

fn a_header_beyond_its_limit_is_431(mpm: Mpm) {
    let server = Setup::new(mpm).server("limit_request_field_size = 100").start();
    let request = |length| format!("GET /hello HTTP/1.1\r\nHost: h\r\nX-Long: {}\r\n\r\n", "x".repeat(length));
    assert_eq!(server.exchange(request(80)).status, 200);
    assert_eq!(server.exchange(request(120)).status, 431);
}

fn more_headers_than_the_limit_are_431(mpm: Mpm) {
    let server = Setup::new(mpm).server("limit_request_fields = 10").start();
    let request = |count| format!("GET /hello HTTP/1.1\r\nHost: h\r\n{}\r\n", "X-One: 1\r\n".repeat(count));
    assert_eq!(server.exchange(request(9)).status, 200);
    assert_eq!(server.exchange(request(10)).status, 431);
}

fn a_body_beyond_the_limit_is_413_before_it_is_sent(mpm: Mpm) {
    let server = Setup::new(mpm).limits("request_body = \"10KiB\"").start();
    let request = |length| format!("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n");
    assert_eq!(server.exchange(request(10_241)).status, 413);
    let within = format!("{}{}", request(10_240), "x".repeat(10_240));
    assert_eq!(server.exchange(within).body.len(), 10_240);
}

fn a_chunked_body_beyond_the_limit_is_413(mpm: Mpm) {
    let server = Setup::new(mpm).limits("request_body = \"4B\"").start();
    let request = |chunks: &str| {
        format!("POST /slow-read?ms=0 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n")
    };
    assert_eq!(server.exchange(request("2\r\nab\r\n2\r\ncd\r\n")).text(), "4\n");
    assert_eq!(server.exchange(request("2\r\nab\r\n3\r\ncde\r\n")).status, 413);
}

fn an_answer_beyond_the_limit_is_broken_off(mpm: Mpm) {
    let server = Setup::new(mpm).limits("response_body = \"1MiB\"").start();
    let mut client = server.connect();
    client.send_get("/flood");
    assert!(client.try_receive().is_err(), "an endless answer arrived whole");
    server.log.wait_for("probe");
    assert_eq!(server.get("/big?n=1000000").body.len(), 1_000_000);
}

fn a_connection_serves_as_many_requests_as_it_may(mpm: Mpm) {
    let server = Setup::new(mpm).server("max_keep_alive_requests = 3").start();
    let mut client = server.connect();
    assert!(!client.get("/hello").says_close());
    assert!(!client.get("/hello").says_close());
    assert!(client.get("/hello").says_close());
    client.wait_for_close();
}
