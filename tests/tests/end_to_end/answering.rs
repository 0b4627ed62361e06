//! The main job: a request in, the guest's answer out, on connections as HTTP/1.1 and 1.0 have them.

use guesthouse_tests::{Mpm, Setup, under_every_mpm_and_confined, with_wasi_0_3_and_confined_too};

under_every_mpm_and_confined! {
    a_hello_is_answered,
    a_connection_is_kept_for_the_next_request,
    pipelined_requests_are_answered_in_order,
    a_request_cut_into_single_bytes_is_the_same_request,
    http_1_0_closes_unless_asked_to_keep_alive,
    connection_close_is_obeyed,
    head_has_the_headers_of_get_and_no_body,
    options_asterisk_is_answered_by_the_server,
    the_absolute_form_of_a_target_is_taken,
    every_answer_has_a_date_and_one_framing,
    a_guest_sees_the_request_as_it_came,
    a_guest_sees_no_hop_by_hop_header,
    a_guest_is_told_the_clients_address_by_the_server_alone,
    a_guest_chooses_status_and_headers,
    trailers_are_sent_to_a_client_that_takes_them,
}

with_wasi_0_3_and_confined_too! {
    a_hello_is_answered,
    a_connection_is_kept_for_the_next_request,
    pipelined_requests_are_answered_in_order,
    a_request_cut_into_single_bytes_is_the_same_request,
    http_1_0_closes_unless_asked_to_keep_alive,
    connection_close_is_obeyed,
    head_has_the_headers_of_get_and_no_body,
    options_asterisk_is_answered_by_the_server,
    the_absolute_form_of_a_target_is_taken,
    every_answer_has_a_date_and_one_framing,
    a_guest_sees_the_request_as_it_came,
    a_guest_sees_no_hop_by_hop_header,
    a_guest_is_told_the_clients_address_by_the_server_alone,
    a_guest_chooses_status_and_headers,
    trailers_are_sent_to_a_client_that_takes_them,
}

fn a_hello_is_answered(mpm: Mpm) {
    let answer = Setup::new(mpm).start().get("/hello");
    assert_eq!((answer.status, answer.text()), (200, "hello\n"));
    assert_eq!(answer.header("content-type"), Some("text/plain"));
}

fn a_connection_is_kept_for_the_next_request(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    let mut client = server.connect();
    for _ in 0..5 {
        let answer = client.get("/hello");
        assert_eq!((answer.text(), answer.says_close()), ("hello\n", false));
    }
}

fn pipelined_requests_are_answered_in_order(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    let mut client = server.connect();
    let echo = |text: &str| format!("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{text}", text.len());
    client
        .send([echo("first"), echo("second"), "GET /hello HTTP/1.1\r\nHost: h\r\n\r\n".into(), echo("last")].concat());
    let texts: Vec<_> = (0..4).map(|_| client.receive().text().to_owned()).collect();
    assert_eq!(texts, ["first", "second", "hello\n", "last"]);
}

fn a_request_cut_into_single_bytes_is_the_same_request(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    let mut client = server.connect();
    let request =
        b"POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    for byte in request {
        client.send([*byte]);
    }
    assert_eq!(client.receive().text(), "abcde");
}

fn http_1_0_closes_unless_asked_to_keep_alive(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    let mut client = server.connect();
    client.send("GET /hello HTTP/1.0\r\n\r\n");
    assert_eq!(client.receive().text(), "hello\n");
    client.wait_for_close();

    let mut client = server.connect();
    client.send("GET /status?code=204 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let answer = client.receive();
    assert_eq!((answer.status, answer.header("connection")), (204, Some("keep-alive")));
    client.send("GET /hello HTTP/1.0\r\n\r\n");
    assert_eq!(client.receive().text(), "hello\n");
}

fn connection_close_is_obeyed(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    let mut client = server.connect();
    client.send("GET /hello HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    let answer = client.receive();
    assert!(answer.says_close(), "{answer:?}");
    assert_eq!(client.wait_for_close().1, b"");
}

fn head_has_the_headers_of_get_and_no_body(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    let mut client = server.connect();
    client.send("HEAD /hello HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(client.receive_head().header("content-type"), Some("text/plain"));
    // What follows at once is the next answer, so there was no body.
    assert_eq!(client.get("/hello").text(), "hello\n");
}

fn options_asterisk_is_answered_by_the_server(mpm: Mpm) {
    let answer = Setup::new(mpm).start().exchange("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(matches!(answer.status, 200 | 204), "{answer:?}");
}

fn the_absolute_form_of_a_target_is_taken(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    let answer = server.exchange("GET http://example.org/headers?a=b HTTP/1.1\r\nHost: example.org\r\n\r\n");
    assert!(answer.text().contains("target: /headers?a=b\nauthority: example.org\n"), "{}", answer.text());
}

fn every_answer_has_a_date_and_one_framing(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    for target in ["/hello", "/trap", "/big?n=100000", "/nowhere"] {
        let answer = server.get(target);
        assert!(answer.header("date").is_some_and(|date| date.ends_with(" GMT")), "{answer:?}");
        let framings = [answer.header("content-length"), answer.header("transfer-encoding")];
        assert_eq!(framings.into_iter().flatten().count(), 1, "{answer:?}");
    }
}

fn a_guest_sees_the_request_as_it_came(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    let answer = server.exchange("PATCH /headers?a=%20b&c HTTP/1.1\r\nHost: Example.org:81\r\nX-Odd: one\r\n\r\n");
    let seen = answer.text();
    for line in
        ["method: Method::Patch", "target: /headers?a=%20b&c", "scheme: Some(Scheme::Http)", "header x-odd: one"]
    {
        assert!(seen.lines().any(|seen| seen == line), "{line:?} is missing in\n{seen}");
    }
    assert!(seen.to_lowercase().contains("authority: example.org:81\n"), "{seen}");
}

fn a_guest_sees_no_hop_by_hop_header(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    let answer = server.exchange(
        "GET /headers HTTP/1.1\r\nHost: h\r\nConnection: x-private, keep-alive\r\nX-Private: 1\r\nKeep-Alive: 5\r\n\
         Upgrade: websocket\r\nX-Public: 1\r\n\r\n",
    );
    let seen = answer.text();
    assert!(seen.contains("header x-public: 1"), "{seen}");
    for hidden in ["header x-private", "header keep-alive", "header upgrade", "header connection"] {
        assert!(!seen.contains(hidden), "{hidden:?} reached the guest:\n{seen}");
    }
}

fn a_guest_is_told_the_clients_address_by_the_server_alone(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    let answer = server
        .exchange("GET /headers HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 192.0.2.1\r\nForwarded: for=192.0.2.1\r\n\r\n");
    let seen = answer.text();
    assert!(seen.contains("header x-forwarded-for: 127.0.0.1\n"), "{seen}");
    assert!(seen.contains("header forwarded: for=127.0.0.1"), "{seen}");
    assert!(!seen.contains("192.0.2.1"), "{seen}");
}

fn a_guest_chooses_status_and_headers(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    assert_eq!(server.get("/status?code=418").status, 418);
    let answer = server.get("/bad-header?name=x-odd&value=a%20b");
    assert_eq!((answer.text(), answer.header("x-odd")), ("set\n", Some("a b")));
}

fn trailers_are_sent_to_a_client_that_takes_them(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    let answer = server.exchange("GET /trailers HTTP/1.1\r\nHost: h\r\nTE: trailers\r\nConnection: TE\r\n\r\n");
    assert_eq!(answer.text(), "first\nsecond\n");
    assert_eq!(answer.trailers, [("x-checksum".to_owned(), "42".to_owned())]);
    assert_eq!(server.get("/trailers").trailers, []);
}
