//! Which request may follow which, and when the connection closes.

use super::*;

#[test]
fn a_connection_is_kept_as_its_version_and_options_say() {
    for (version, connection, kept, field) in [
        ("1.1", "", true, None),
        ("1.1", "Connection: close\r\n", false, Some("close")),
        ("1.1", "Connection: keep-alive\r\n", true, None),
        ("1.1", "Connection: keep-alive\r\nConnection: x, CLOSE\r\n", false, Some("close")),
        ("1.1", "Proxy-Connection: close\r\n", true, None),
        ("1.0", "", false, Some("close")),
        ("1.0", "Connection: Keep-Alive\r\n", true, Some("keep-alive")),
        ("1.0", "Connection: keep-alive, close\r\n", false, Some("close")),
    ] {
        let mut client = Client::with(format!("GET / HTTP/{version}\r\nHost: a\r\n{connection}\r\n").as_bytes());
        client.head();
        client.answer_empty();
        let sent = client.sent();
        let sent_field = sent.lines().find_map(|line| line.strip_prefix("connection: "));
        assert_eq!(sent_field, field, "{version} {connection}");
        let after = if kept { After::Reuse } else { After::Close(CloseReason::ClientAsked) };
        assert_eq!(client.http.after(), after);
    }
}

#[test]
fn the_server_may_want_no_further_request() {
    let mut client = get("");
    client.head();
    let context = AnswerContext { close: true, ..CONTEXT };
    client
        .http
        .answer(StatusCode::OK, &HeaderMap::new(), AnswerLength::Known(0), &context, &mut client.output)
        .unwrap();
    client.end().unwrap();
    assert!(client.sent().contains("\r\nconnection: close\r\n"));
    assert_eq!(client.http.after(), After::Close(CloseReason::ServerAsked));
}

#[test]
fn a_pipelined_request_waits_for_the_answer_before_it() {
    let request = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    let mut client = Client::with(&request.repeat(2));
    for _ in 0..2 {
        client.head();
        assert_eq!(client.body(), b"abc");
        let left = client.input.len();
        assert!(client.is_incomplete());
        assert_eq!(client.input.len(), left);
        client.answer_empty();
        assert!(client.is_incomplete());
        assert_eq!(client.http.after(), After::Reuse);
    }
    assert!(client.http.is_idle());
}

#[test]
fn a_modest_rest_of_the_body_is_discarded_and_the_connection_kept() {
    let mut client = get("Content-Length: 65536\r\n");
    client.head();
    client.answer_empty();
    assert_eq!(client.http.after(), After::Discard);
    client.send(&[b'x'; 65536]);
    client.send(b"GET / HTTP/1.1\r\nHost: next\r\n\r\n");
    assert_eq!(client.body().len(), 65536);
    assert_eq!(client.http.after(), After::Reuse);
    assert_eq!(client.head().authority, "next");
}

#[test]
fn a_large_rest_of_the_body_closes() {
    let mut client = get("Content-Length: 65537\r\n");
    client.head();
    client.answer_empty();
    assert_eq!(client.http.after(), After::Close(CloseReason::BodyUnread));
    let mut client = get("Transfer-Encoding: chunked\r\n");
    client.head();
    client.send(b"10001\r\n");
    assert!(client.is_incomplete());
    client.answer_empty();
    assert_eq!(client.http.after(), After::Close(CloseReason::BodyUnread));
}

#[test]
fn a_chunked_rest_is_discarded_only_as_far_as_it_is_modest() {
    let mut client = get("Transfer-Encoding: chunked\r\n");
    client.head();
    client.answer_empty();
    assert_eq!(client.http.after(), After::Discard);
    client.send(b"3\r\nabc\r\n0\r\n\r\n");
    assert_eq!(client.body(), b"abc");
    assert_eq!(client.http.after(), After::Reuse);

    let mut client = get("Transfer-Encoding: chunked\r\n");
    client.head();
    client.answer_empty();
    assert_eq!(client.http.after(), After::Discard);
    client.send(b"3\r\nabc\r\nfffe\r\n");
    assert!(matches!(client.receive(), Ok(Received::Data(_))));
    assert_eq!(client.receive().unwrap_err(), Refusal::BodyTooLarge);
    assert_eq!(client.http.after(), After::Close(CloseReason::Refused));
}

#[test]
fn an_answer_may_be_complete_before_the_body_is() {
    let mut client = get("Content-Length: 6\r\n");
    client.head();
    client.send(b"abc");
    assert!(matches!(client.receive(), Ok(Received::Data(_))));
    client.answer_empty();
    client.send(b"def");
    assert_eq!(client.body(), b"def");
    assert_eq!(client.http.after(), After::Reuse);
}

#[test]
fn an_answer_announces_that_a_long_body_is_left_unread() {
    for (length, kept) in [(64 * 1024, true), (64 * 1024 + 1, false)] {
        let mut client = get(&format!("Content-Length: {length}\r\n"));
        client.head();
        client.http.disregard_body();
        client.answer_empty();
        assert_eq!(!client.sent().contains("\r\nconnection: close\r\n"), kept, "{length}");
        assert_eq!(client.http.after() == After::Discard, kept, "{length}");
    }
}

#[test]
fn a_body_that_was_read_is_no_reason_to_close() {
    let mut client = get("Content-Length: 3\r\n");
    client.send(b"abc");
    client.head();
    assert_eq!(client.body(), b"abc");
    client.http.disregard_body();
    client.answer_empty();
    assert_eq!(client.http.after(), After::Reuse);
}
