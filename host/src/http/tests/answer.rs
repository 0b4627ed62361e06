//! Answers on the wire, and what handlers get wrong.

use super::*;

#[test]
fn an_answer_has_the_servers_fields_and_the_handlers() {
    let mut client = get("");
    client.head();
    client
        .answer(
            &fields(&[("content-type", "text/plain"), ("set-cookie", "a"), ("set-cookie", "b")]),
            AnswerLength::Known(2),
        )
        .unwrap();
    client.data("hi").unwrap();
    client.end().unwrap();
    let expected = "HTTP/1.1 200 OK\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\nserver: guesthouse\r\n\
                    content-type: text/plain\r\nset-cookie: a\r\nset-cookie: b\r\ncontent-length: 2\r\n\r\nhi";
    assert_eq!(client.sent(), expected);
}

#[test]
fn the_handlers_fields_of_the_connection_are_dropped() {
    let mut client = get("");
    client.head();
    let handlers = fields(&[
        ("date", "yesterday"),
        ("connection", "upgrade"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "close"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("te", "gzip"),
        ("trailer", "digest"),
        ("content-length", "2"),
        ("server", "mine"),
    ]);
    client.answer(&handlers, AnswerLength::Unknown).unwrap();
    let expected =
        "HTTP/1.1 200 OK\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\nserver: mine\r\ncontent-length: 2\r\n\r\n";
    assert_eq!(client.sent(), expected);
}

#[test]
fn a_bad_head_leaves_room_for_another_answer() {
    let mut client = get("");
    client.head();
    let bad = client.answer(&fields(&[("content-length", "x")]), AnswerLength::Unknown);
    assert_eq!(bad, Err(BadAnswer::LengthInvalid));
    assert!(client.output.is_empty() && !client.http.answer_begun());
    client.answer_empty();
    assert!(client.http.answer_begun());
}

#[test]
fn content_of_unknown_length_is_chunked() {
    let mut client = get("");
    client.head();
    client.answer(&HeaderMap::new(), AnswerLength::Unknown).unwrap();
    for data in ["abc", "", "0123456789abcdef"] {
        client.data(data).unwrap();
    }
    client.end().unwrap();
    let sent = client.sent();
    let (head, body) = sent.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("\r\ntransfer-encoding: chunked") && !head.contains("content-length"));
    assert_eq!(body, "3\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n");
}

#[test]
fn trailers_go_to_clients_that_take_them() {
    let trailers = fields(&[("digest", "x"), ("content-length", "5"), ("set-cookie", "a")]);
    for (fields_sent, end, announced) in
        [("TE: trailers\r\n", "0\r\ndigest: x\r\n\r\n", true), ("", "0\r\n\r\n", false)]
    {
        let mut client = get(fields_sent);
        client.head();
        client.answer(&fields(&[("trailer", "digest")]), AnswerLength::Unknown).unwrap();
        client.http.end(Some(&trailers), &mut client.output).unwrap();
        let sent = client.sent();
        assert!(sent.ends_with(&format!("\r\n\r\n{end}")), "{sent}");
        assert_eq!(sent.contains("\r\ntrailer: digest\r\n"), announced);
    }
}

#[test]
fn http_1_0_gets_unknown_content_until_the_connection_closes() {
    let mut client = Client::with(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    client.head();
    client.answer(&HeaderMap::new(), AnswerLength::Unknown).unwrap();
    client.data("abc").unwrap();
    client.end().unwrap();
    let sent = client.sent();
    assert!(sent.ends_with("\r\nconnection: close\r\n\r\nabc") && !sent.contains("transfer-encoding"));
    assert_eq!(client.http.after(), After::Close(CloseReason::AnswerUntilClose));
}

#[test]
fn head_and_bodiless_statuses_get_no_content() {
    let mut client = Client::with(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    client.head();
    client.answer(&HeaderMap::new(), AnswerLength::Known(3)).unwrap();
    client.data("abc").unwrap();
    client.end().unwrap();
    assert!(client.sent().ends_with("\r\ncontent-length: 3\r\n\r\n"));
    assert_eq!(client.http.after(), After::Reuse);
    for status in [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED] {
        let mut client = get("");
        client.head();
        client.http.answer(status, &HeaderMap::new(), AnswerLength::Unknown, &CONTEXT, &mut client.output).unwrap();
        client.data("abc").unwrap();
        client.end().unwrap();
        let sent = client.sent();
        assert!(sent.ends_with("server: guesthouse\r\n\r\n"), "{sent}");
        assert_eq!(client.http.after(), After::Reuse);
    }
}

#[test]
fn nothing_is_sent_beyond_the_announced_length() {
    let mut client = get("");
    client.head();
    client.answer(&HeaderMap::new(), AnswerLength::Known(4)).unwrap();
    client.data("abc").unwrap();
    assert_eq!(client.data("def"), Err(BadAnswer::TooLong { announced: 4 }));
    assert!(client.sent().ends_with("\r\n\r\nabcd"));
    assert_eq!(client.data("x"), Err(BadAnswer::OutOfOrder));
    assert_eq!(client.http.after(), After::Close(CloseReason::AnswerBroken));
}

#[test]
fn an_answer_that_is_too_short_closes() {
    let mut client = get("");
    client.head();
    client.answer(&HeaderMap::new(), AnswerLength::Known(4)).unwrap();
    client.data("abc").unwrap();
    assert_eq!(client.end(), Err(BadAnswer::TooShort { announced: 4, missing: 1 }));
    assert_eq!(client.http.after(), After::Close(CloseReason::AnswerBroken));
}

#[test]
fn an_answer_that_never_ends_closes() {
    let mut client = get("");
    client.head();
    client.answer(&HeaderMap::new(), AnswerLength::Unknown).unwrap();
    client.data("abc").unwrap();
    assert_eq!(client.http.after(), After::Close(CloseReason::AnswerBroken));
    assert!(!client.sent().contains("\r\n0\r\n"));
}

#[test]
fn a_handler_that_confuses_the_order_is_told_so() {
    let mut client = get("");
    client.head();
    assert_eq!(client.data("abc"), Err(BadAnswer::OutOfOrder));
    assert_eq!(client.end(), Err(BadAnswer::OutOfOrder));
    client.answer_empty();
    assert_eq!(client.end(), Err(BadAnswer::OutOfOrder));
    assert_eq!(client.answer(&HeaderMap::new(), AnswerLength::Unknown), Err(BadAnswer::OutOfOrder));
}

#[test]
fn content_is_counted_as_it_is_sent() {
    for (head, length, sent) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", AnswerLength::Known(6), 6),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", AnswerLength::Known(4), 4),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", AnswerLength::Unknown, 6),
        ("GET / HTTP/1.0\r\n\r\n", AnswerLength::Unknown, 6),
        ("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", AnswerLength::Unknown, 0),
    ] {
        let mut client = Client::with(head.as_bytes());
        client.head();
        client.answer(&HeaderMap::new(), length).unwrap();
        let _ = client.data("abc").and_then(|()| client.data("def"));
        assert_eq!(client.http.content_bytes(), sent, "{head}");
    }
}

#[test]
fn only_an_answer_without_a_length_to_http_1_0_ends_by_closing() {
    for (version, length, ends_by_closing) in [
        ("1.0", AnswerLength::Unknown, true),
        ("1.0", AnswerLength::Known(0), false),
        ("1.1", AnswerLength::Unknown, false),
    ] {
        let mut client = Client::with(format!("GET / HTTP/{version}\r\nHost: a\r\n\r\n").as_bytes());
        client.head();
        assert!(!client.http.ends_by_closing());
        client.answer(&HeaderMap::new(), length).unwrap();
        assert_eq!(client.http.ends_by_closing(), ends_by_closing, "{version}");
        client.end().unwrap();
        assert!(!client.http.ends_by_closing(), "a whole answer needs no reset");
    }
}
