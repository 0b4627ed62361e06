//! What a refused client gets.

use super::*;

#[test]
fn a_refusal_is_a_complete_answer_that_closes() {
    let mut client = Client::with(b"GET / HTTP/1.1\r\n\r\n");
    let refusal = client.receive().unwrap_err();
    client.http.refuse(&refusal, DATE, &mut client.output);
    let expected = "HTTP/1.1 400 Bad Request\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\nserver: guesthouse\r\n\
                    content-type: text/plain; charset=utf-8\r\ncontent-length: 47\r\nconnection: close\r\n\r\n\
                    400 Bad Request\nThe request has no Host field.\n";
    assert_eq!(client.sent(), expected);
    assert_eq!(client.http.after(), After::Close(CloseReason::Refused));
}

#[test]
fn a_refusal_after_head_has_no_content() {
    let mut client = Client::with(b"HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n");
    client.head();
    let refusal = client.http.limit_body(5).unwrap_err();
    client.http.refuse(&refusal, DATE, &mut client.output);
    assert!(client.sent().ends_with("\r\n\r\n"));
}

#[test]
fn a_refusal_never_follows_a_begun_answer() {
    let mut client = get("Transfer-Encoding: chunked\r\n");
    client.head();
    client.answer(&HeaderMap::new(), AnswerLength::Unknown).unwrap();
    client.send(b"x");
    let refusal = client.receive().unwrap_err();
    let before = client.output.len();
    client.http.refuse(&refusal, DATE, &mut client.output);
    assert_eq!(client.output.len(), before);
    assert_eq!(client.http.after(), After::Close(CloseReason::AnswerBroken));
}

#[test]
fn a_slow_client_is_refused_with_408() {
    let mut client = Client::with(b"GET / HT");
    assert!(client.is_incomplete());
    client.http.refuse(&Refusal::HeadTimeout, DATE, &mut client.output);
    assert!(client.sent().starts_with("HTTP/1.1 408 Request Timeout\r\n"));
    client.send(b"TP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.receive().unwrap_err(), Refusal::HeadTimeout);
}

#[test]
fn a_refusal_does_not_go_by_the_request_before() {
    let mut client = Client::with(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\n\r\n");
    client.head();
    client.answer_empty();
    assert_eq!(client.http.after(), After::Reuse);
    client.sent();
    let refusal = client.receive().unwrap_err();
    client.http.refuse(&refusal, DATE, &mut client.output);
    assert!(client.sent().ends_with("The request has no Host field.\n"));
}

#[test]
fn a_refused_head_stays_in_the_input_for_the_log() {
    for head in [
        "GET  / HTTP/1.1\r\n",
        "GET /\" HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nno field\r\n\r\n",
    ] {
        let mut client = Client::with(head.as_bytes());
        client.receive().unwrap_err();
        assert_eq!(client.input, head);
    }
}
