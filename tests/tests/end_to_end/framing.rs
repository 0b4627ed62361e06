//! What request smuggling lives on: every doubtful request is refused with the right status, the connection is closed,
//! and nothing after it is taken for a request.

use guesthouse_tests::{Mpm, Server, Setup, under_every_mpm};

under_every_mpm! {
    doubtful_lengths_are_refused,
    doubtful_chunks_are_refused,
    doubtful_heads_are_refused,
    doubtful_hosts_are_refused,
    versions_and_methods_beyond_the_server_are_refused,
    a_refused_chunk_ends_the_request_that_it_belongs_to,
}

/// What goes after every doubtful request: taken for a request, it would be answered with the probe's 418.
const SMUGGLED: &str = "GET /status?code=418 HTTP/1.1\r\nHost: h\r\n\r\n";

fn doubtful_lengths_are_refused(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    let post = |headers: &str| format!("POST /ignore-body HTTP/1.1\r\nHost: h\r\n{headers}\r\n\r\nabcde");
    for (headers, statuses) in [
        ("Content-Length: 5\r\nTransfer-Encoding: chunked", &[400][..]),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5", &[400]),
        ("Content-Length: 5\r\nContent-Length: 6", &[400]),
        ("Content-Length: 5\r\nContent-Length: 5", &[400]),
        ("Content-Length: 5, 5", &[400]),
        ("Content-Length: +5", &[400]),
        ("Content-Length: -5", &[400]),
        ("Content-Length: 5 5", &[400]),
        ("Content-Length: 0x5", &[400]),
        ("Content-Length: 5.0", &[400]),
        ("Content-Length:", &[400]),
        ("Content-Length: 18446744073709551621", &[400, 413]),
        ("Transfer-Encoding: gzip", &[400, 501]),
        ("Transfer-Encoding: gzip, chunked", &[400, 501]),
        ("Transfer-Encoding: chunked, gzip", &[400, 501]),
        ("Transfer-Encoding: chunked, chunked", &[400]),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", &[400]),
        ("Transfer-Encoding: identity", &[400, 501]),
        ("Transfer-Encoding: xchunked", &[400, 501]),
        ("Transfer-Encoding: \"chunked\"", &[400, 501]),
        ("Transfer-Encoding: chunked;q=1", &[400, 501]),
        ("Transfer-Encoding:\x0bchunked", &[400]),
        ("Transfer-Encoding:", &[400, 501]),
    ] {
        is_refused(&server, &post(headers), statuses);
    }
    let old = "POST /ignore-body HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    is_refused(&server, old, &[400]);
}

fn doubtful_chunks_are_refused(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    for chunks in [
        "\r\n",
        ";ext\r\n\r\n",
        "x\r\nabc\r\n0\r\n\r\n",
        "0x3\r\nabc\r\n0\r\n\r\n",
        "+3\r\nabc\r\n0\r\n\r\n",
        "-3\r\nabc\r\n0\r\n\r\n",
        " 3\r\nabc\r\n0\r\n\r\n",
        "3\nabc\r\n0\r\n\r\n",
        "3\r\nabc\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\r\nabc0\r\n\r\n",
        "3;a=\nb\r\nabc\r\n0\r\n\r\n",
        "3;a=\0\r\nabc\r\n0\r\n\r\n",
        "10000000000000003\r\nabc\r\n0\r\n\r\n",
        "FFFFFFFFFFFFFFFFF\r\nabc\r\n0\r\n\r\n",
        "0\r\nbad trailer\r\n\r\n",
        "0\r\nX : y\r\n\r\n",
        "0\r\nX: y\n\r\n",
    ] {
        let head = "POST /slow-read?ms=0 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
        is_refused(&server, &format!("{head}{chunks}"), &[400]);
    }
}

fn doubtful_heads_are_refused(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    for header in [
        "X-Odd : space before the colon",
        " X-Odd: space before the name",
        "X-Odd: folded\r\n over two lines",
        "X-Odd: bare\rcarriage return",
        "X-Odd: a\0b",
        "X-Odd: a\x08b",
        "X Odd: a",
        "X(Odd): a",
        ": no name",
        "no colon",
        "X-Odd: ends in LF\nX-Other: a",
    ] {
        is_refused(&server, &format!("GET /hello HTTP/1.1\r\nHost: h\r\n{header}\r\n\r\n"), &[400]);
    }
    for request in [
        "GET /hello HTTP/1.1\nHost: h\n\n",
        "GET  /hello HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /hello  HTTP/1.1\r\nHost: h\r\n\r\n",
        " GET /hello HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /hello\r\nHost: h\r\n\r\n",
        "GET /he llo HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET hello HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /he\"llo HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /hello#part HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /\u{e9} HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET * HTTP/1.1\r\nHost: h\r\n\r\n",
        "G\tET /hello HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /hello HTTP/1.1 \r\nHost: h\r\n\r\n",
        "GET /hello http/1.1\r\nHost: h\r\n\r\n",
    ] {
        is_refused(&server, request, &[400]);
    }
}

fn doubtful_hosts_are_refused(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    for hosts in
        ["", "Host: a\r\nHost: b\r\n", "Host: a\r\nHost: a\r\n", "Host: a b\r\n", "Host: a/b\r\n", "Host: u@a\r\n"]
    {
        is_refused(&server, &format!("GET /hello HTTP/1.1\r\n{hosts}\r\n"), &[400]);
    }
}

fn versions_and_methods_beyond_the_server_are_refused(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    is_refused(&server, "GET /hello HTTP/2.0\r\nHost: h\r\n\r\n", &[505]);
    is_refused(&server, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[400, 505]);
    is_refused(&server, "CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n", &[400, 405, 501]);
    is_refused(&server, "POST /echo HTTP/1.1\r\nHost: h\r\nExpect: 200-ok\r\nContent-Length: 0\r\n\r\n", &[417]);
}

/// The guest answers before it has read the chunk: then there is no refusal to send, only an end that a client can
/// tell from a whole answer, and no second answer.
fn a_refused_chunk_ends_the_request_that_it_belongs_to(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    let mut client = server.connect();
    client.send(format!(
        "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n{SMUGGLED}"
    ));
    let first = client.try_receive();
    assert!(first.as_ref().map_or(true, |answer| answer.status == 400), "{first:?}");
    assert!(!String::from_utf8_lossy(&client.wait_for_close().1).contains("418"));
}

/// Sends the request and one more behind it; expects one refusal, and the end of the connection.
fn is_refused(server: &Server, request: &str, statuses: &[u16]) {
    let mut client = server.connect();
    // The server may close before it has taken everything.
    let _ = client.try_send(format!("{request}{SMUGGLED}"));
    let answer = client.try_receive().unwrap_or_else(|error| panic!("{request:?} gets no answer: {error}"));
    assert!(statuses.contains(&answer.status), "{request:?} gets {answer:?}");
    assert!(answer.says_close(), "{request:?} gets {answer:?}");
    let (_, rest) = client.wait_for_close();
    assert!(rest.is_empty(), "after the refusal of {request:?} came {:?}", String::from_utf8_lossy(&rest));
}
