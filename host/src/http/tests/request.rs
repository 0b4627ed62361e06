//! What of a head becomes a request, and what is refused.

use super::*;

#[test]
fn a_connection_is_small() {
    let bytes = size_of::<Http1>();
    assert!(bytes <= 104, "{bytes} bytes");
}

#[test]
fn a_request_is_its_head_and_its_end() {
    let mut client = Client::with(b"GET /a?b HTTP/1.1\r\nHost: a.example:81\r\nAccept: */*\r\n\r\n");
    let head = client.head();
    assert_eq!(head.method, Method::GET);
    assert_eq!(head.target, Target::Origin);
    assert_eq!(head.authority, "a.example:81");
    assert_eq!(head.path_and_query.as_str(), "/a?b");
    assert_eq!(head.version, Version::HTTP_11);
    assert_eq!(head.body, RequestBody::None);
    assert_eq!(head.headers["accept"], "*/*");
    assert!(head.persistent && !head.expects_continue && !head.accepts_trailers);
    assert!(matches!(client.receive(), Ok(Received::End(None))));
    assert!(client.is_incomplete());
}

#[test]
fn header_values_share_the_memory_of_the_input() {
    let mut client = get("A: some value\r\n");
    let before = client.input.as_ptr_range();
    assert!(before.contains(&client.head().headers["a"].as_bytes().as_ptr()));
}

#[test]
fn a_malformed_request_line_is_refused() {
    for line in [
        "GET /",
        "GET",
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET /a b HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "G@T / HTTP/1.1",
        " GET / HTTP/1.1",
        "GET / http/1.1",
        "GET / HTTP/1",
        "GET / HTTP/1.10",
        "GET / HTTP/11",
        "GET / HTTP/a.1",
        "GET / HTTPS/1.1",
        "\0GET / HTTP/1.1",
        "G\rET / HTTP/1.1",
        "GET  HTTP/1.1",
        "\rGET / HTTP/1.1",
    ] {
        assert_eq!(refused(&format!("{line}\r\n")), Refusal::RequestLineMalformed, "{line:?}");
    }
    assert_eq!(refused("GET / HTTP/1.1\n"), Refusal::LineEnding);
    assert_eq!(refused("GET /\n"), Refusal::LineEnding);
}

#[test]
fn noise_is_refused_without_waiting_for_the_end_of_a_line() {
    assert_eq!(refused("\x16\x03\x01"), Refusal::RequestLineMalformed);
}

#[test]
fn another_minor_version_is_taken_as_1_1_and_another_major_version_is_not_taken() {
    assert_eq!(Client::with(b"GET / HTTP/1.2\r\nHost: a\r\n\r\n").head().version, Version::HTTP_11);
    assert_eq!(Client::with(b"GET / HTTP/1.0\r\n\r\n").head().version, Version::HTTP_10);
    for text in ["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET / HTTP/3.0\r\n\r\n", "GET / HTTP/0.9\r\n\r\n"] {
        assert_eq!(refused(text), Refusal::VersionUnsupported, "{text:?}");
    }
    assert_eq!(Refusal::VersionUnsupported.status(), 505);
}

#[test]
fn a_few_empty_lines_before_a_request_are_nothing() {
    let mut client = Client::with(b"\r\n\r\n");
    assert!(client.is_incomplete());
    assert!(client.http.is_idle() && client.input.is_empty());
    client.send(b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.head().authority, "a");
    assert_eq!(refused("\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), Refusal::EmptyLines);
    assert_eq!(refused("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), Refusal::LineEnding);
}

#[test]
fn a_connection_is_idle_until_a_request_begins() {
    let mut client = Client::new();
    assert!(client.is_incomplete() && client.http.is_idle());
    client.send(b"G");
    assert!(client.is_incomplete() && !client.http.is_idle());
}

#[test]
fn each_limit_of_the_head_is_decided_before_the_head_is_complete() {
    let limits = Limits { request_line: 20, fields: 2, field_size: 10 };
    for (text, refusal, status) in [
        ("GET /6789012345678901", Refusal::RequestLineTooLong, 414),
        ("GET / HTTP/1.1\r\nA: 45678901", Refusal::FieldTooLarge, 431),
        ("GET / HTTP/1.1\r\nHost: a\r\nB: c\r\nD: e\r\n", Refusal::TooManyFields, 431),
    ] {
        let mut client = Client { limits, ..Client::new() };
        let (last, before) = text.as_bytes().split_last().unwrap();
        for &byte in before {
            client.send(&[byte]);
            assert!(client.is_incomplete(), "{text:?}");
        }
        client.send(&[*last]);
        assert_eq!(client.receive().unwrap_err(), refusal);
        assert_eq!(refusal.status(), status);
    }
    let mut client = Client { limits, ..Client::new() };
    client.send(b"GET /67890 HTTP/1.1\r\nHost: 7890\r\nA: 4567890\r\n\r\n");
    assert_eq!(client.head().path_and_query.as_str(), "/67890");
}

#[test]
fn an_http_1_1_request_has_exactly_one_valid_host() {
    assert_eq!(refused("GET / HTTP/1.1\r\n\r\n"), Refusal::HostMissing);
    assert_eq!(refused("GET http://a/ HTTP/1.1\r\n\r\n"), Refusal::HostMissing);
    for version in ["1.0", "1.1"] {
        let head = |fields: &str| format!("GET / HTTP/{version}\r\n{fields}\r\n");
        assert_eq!(refused(&head("Host: a\r\nHost: a\r\n")), Refusal::HostRepeated);
        for host in ["", "a b", "a/", "u@a", "a:b", "a, b", "[::1", "http://a"] {
            assert_eq!(refused(&head(&format!("Host: {host}\r\n"))), Refusal::HostInvalid, "{host}");
        }
    }
    assert_eq!(Client::with(b"GET / HTTP/1.0\r\n\r\n").head().authority, "");
}

#[test]
fn an_absolute_target_wins_over_host() {
    let head = Client::with(b"GET http://a.example:8/b?c HTTP/1.1\r\nHost: other\r\n\r\n").head();
    assert_eq!(head.target, Target::Absolute(Scheme::Http));
    assert_eq!(head.authority, "a.example:8");
    assert_eq!(head.path_and_query.as_str(), "/b?c");
    assert_eq!(head.headers.get_all("host").iter().collect::<Vec<_>>(), ["a.example:8"]);
}

#[test]
fn the_handler_sees_no_field_that_concerns_the_connection_only() {
    let head = get(
        "Connection: X-Private, keep-alive, Host, Content-Length\r\nConnection: x-other\r\nX-Private: 1\r\nX-Other: 1\r\n\
         Keep-Alive: 5\r\nProxy-Connection: close\r\nTE: gzip, trailers\r\nTrailer: digest\r\nUpgrade: h2c\r\n\
         Content-Length: 3\r\n",
    )
    .head();
    let mut names: Vec<_> = head.headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["content-length", "host", "trailer"]);
    assert!(head.accepts_trailers);
    let head = Client::with(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").head();
    assert_eq!(head.headers.len(), 1);
    assert_eq!(head.body, RequestBody::Chunked);
}

#[test]
fn ambiguous_framing_is_refused() {
    for (fields, refusal, status) in [
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", Refusal::LengthAndCoding, 400),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", Refusal::LengthAndCoding, 400),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", Refusal::LengthRepeated, 400),
        ("Content-Length: 5, 5\r\n", Refusal::LengthInvalid, 400),
        ("Content-Length: +5\r\n", Refusal::LengthInvalid, 400),
        ("Content-Length: 18446744073709551616\r\n", Refusal::LengthInvalid, 400),
        ("Transfer-Encoding: gzip, chunked\r\n", Refusal::CodingUnknown, 501),
        ("Transfer-Encoding: gzip\r\n", Refusal::CodingMalformed, 400),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", Refusal::CodingMalformed, 400),
        ("Transfer-Encoding: \x0bchunked\r\n", Refusal::FieldMalformed, 400),
        ("Transfer-Encoding : chunked\r\n", Refusal::FieldMalformed, 400),
        ("Content-Length\t: 5\r\n", Refusal::FieldMalformed, 400),
        ("Content-Length: 5\r\n 6\r\n", Refusal::FieldFolded, 400),
        ("Content-Length: 5\n", Refusal::LineEnding, 400),
        ("A: b\rContent-Length: 5\r\n", Refusal::FieldMalformed, 400),
        ("A: \0\r\n", Refusal::FieldMalformed, 400),
    ] {
        let mut client = get(fields);
        assert_eq!(client.receive().unwrap_err(), refusal, "{fields:?}");
        assert_eq!(refusal.status(), status);
        assert_eq!(client.receive().unwrap_err(), refusal, "a refused connection stays refused");
    }
    let head = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(refused(head), Refusal::CodingInHttp10);
}

#[test]
fn connect_is_answered_with_501() {
    assert_eq!(refused("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n").status(), 501);
}
