//! Bodies as the connection sees them: expectations and limits.

use super::*;

#[test]
fn an_expectation_is_met_when_the_handler_wants_the_body() {
    let mut client = get("Expect: 100-Continue\r\nContent-Length: 3\r\n");
    assert!(client.head().expects_continue);
    assert!(client.is_incomplete());
    client.http.accept_body(&mut client.output);
    client.http.accept_body(&mut client.output);
    assert_eq!(client.sent(), "HTTP/1.1 100 Continue\r\n\r\n");
    assert!(!client.http.answer_begun());
    client.send(b"abc");
    assert_eq!(client.body(), b"abc");
    client.answer_empty();
    assert!(!client.sent().contains("connection"));
    assert_eq!(client.http.after(), After::Reuse);
}

#[test]
fn a_client_that_does_not_wait_is_not_told_to_go_on() {
    let mut client = get("Expect: 100-continue\r\nContent-Length: 3\r\n");
    client.head();
    client.send(b"a");
    assert!(matches!(client.receive(), Ok(Received::Data(_))));
    client.http.accept_body(&mut client.output);
    assert!(client.output.is_empty());
}

#[test]
fn an_answer_without_the_body_that_the_client_holds_back_closes() {
    let mut client = get("Expect: 100-continue\r\nContent-Length: 3\r\n");
    client.head();
    client.answer_empty();
    client.http.accept_body(&mut client.output);
    let sent = client.sent();
    assert!(sent.contains("\r\nconnection: close\r\n") && !sent.contains("100 Continue"));
    assert_eq!(client.http.after(), After::Close(CloseReason::BodyNotAskedFor));
}

#[test]
fn an_expectation_means_nothing_without_a_body_or_in_http_1_0() {
    assert!(!get("Expect: 100-continue\r\n").head().expects_continue);
    assert!(!get("Expect: 100-continue\r\nContent-Length: 0\r\n").head().expects_continue);
    let head = b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
    assert!(!Client::with(head).head().expects_continue);
}

#[test]
fn an_unknown_expectation_fails() {
    for value in ["200-ok", "100-continue, x", "", "100-continue=1"] {
        let refusal = get(&format!("Expect: {value}\r\n")).receive().unwrap_err();
        assert_eq!((refusal, refusal.status().as_u16()), (Refusal::ExpectationUnknown, 417), "{value}");
    }
}

#[test]
fn a_body_above_its_limit_is_refused() {
    let mut client = get("Content-Length: 6\r\n");
    client.head();
    assert_eq!(client.http.limit_body(5), Err(Refusal::BodyTooLarge));
    assert_eq!(client.receive().unwrap_err(), Refusal::BodyTooLarge);
    client.http.refuse(&Refusal::BodyTooLarge, DATE, &mut client.output);
    assert!(client.sent().starts_with("HTTP/1.1 413 "));

    let mut client = get("Transfer-Encoding: chunked\r\n");
    client.head();
    client.http.limit_body(5).unwrap();
    client.send(b"5\r\nabcde\r\n1\r\n");
    assert!(matches!(client.receive(), Ok(Received::Data(_))));
    assert_eq!(client.receive().unwrap_err(), Refusal::BodyTooLarge);
}
