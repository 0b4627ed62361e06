//! Bodies in both directions: framed both ways, streamed, large, unread, and never gathered in memory.

use std::io::Write;
use std::time::Duration;

use guesthouse_tests::{Client, Mpm, Setup, under_every_mpm_and_confined, with_wasi_0_3_and_confined_too};

under_every_mpm_and_confined! {
    a_body_of_known_length_is_echoed,
    a_chunked_body_is_echoed_with_its_trailers,
    a_client_that_expects_100_continue_gets_it_before_it_sends,
    a_guest_that_answers_before_it_reads_gets_the_body_too,
    no_100_continue_is_sent_when_the_guest_does_not_read,
    a_body_that_the_guest_does_not_read_costs_no_answer,
    a_guest_that_reads_slowly_gets_everything,
    a_guest_that_never_waits_gets_its_body,
    an_answer_streams_while_the_guest_works,
    a_large_echo_streams_with_little_memory,
    a_large_answer_arrives_whole,
}

with_wasi_0_3_and_confined_too! {
    a_body_of_known_length_is_echoed,
    a_chunked_body_is_echoed_with_its_trailers,
    a_client_that_expects_100_continue_gets_it_before_it_sends,
    a_guest_that_answers_before_it_reads_gets_the_body_too,
    no_100_continue_is_sent_when_the_guest_does_not_read,
    a_body_that_the_guest_does_not_read_costs_no_answer,
    a_guest_that_reads_slowly_gets_everything,
    an_answer_streams_while_the_guest_works,
    a_large_echo_streams_with_little_memory,
    a_large_answer_arrives_whole,
}

fn a_body_of_known_length_is_echoed(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    let answer =
        server.exchange("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Type: a/b\r\nContent-Length: 5\r\n\r\nabcde");
    assert_eq!((answer.header("content-type"), answer.text()), (Some("a/b"), "abcde"));
}

fn a_chunked_body_is_echoed_with_its_trailers(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    let answer = server.exchange(
        "POST /echo HTTP/1.1\r\nHost: h\r\nTE: trailers\r\nConnection: TE\r\nTransfer-Encoding: chunked\r\n\r\n\
         3;name=\"value\"\r\nabc\r\n0002\r\nde\r\n0\r\nX-Sum: 7\r\n\r\n",
    );
    assert_eq!(answer.text(), "abcde");
    assert_eq!(answer.trailers, [("x-sum".to_owned(), "7".to_owned())]);
}

fn a_client_that_expects_100_continue_gets_it_before_it_sends(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    let mut client = server.connect();
    client.send("POST /slow-read?ms=0 HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.receive().status, 100);
    client.send("ok");
    assert_eq!(client.receive().text(), "2\n");
    assert_eq!(client.get("/hello").text(), "hello\n");
}

fn a_guest_that_answers_before_it_reads_gets_the_body_too(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    let mut client = server.connect();
    client.send("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.receive().status, 100);
    client.send("ok");
    assert_eq!(client.receive().text(), "ok");
}

fn no_100_continue_is_sent_when_the_guest_does_not_read(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    let mut client = server.connect();
    client.send("POST /ignore-body HTTP/1.1\r\nHost: h\r\nContent-Length: 999999\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.receive().text(), "ignored\n");
}

fn a_body_that_the_guest_does_not_read_costs_no_answer(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    let mut client = server.connect();
    client.send("POST /ignore-body HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nunwanted!");
    let answer = client.receive();
    assert_eq!(answer.text(), "ignored\n");
    // Either the rest was read and the connection goes on, or the server said that it closes. Never a mix-up.
    if !answer.says_close() {
        assert_eq!(client.get("/hello").text(), "hello\n");
    }
}

fn a_guest_that_reads_slowly_gets_everything(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    let body = "x".repeat(200_000);
    let request = format!("POST /slow-read?ms=2 HTTP/1.1\r\nHost: h\r\nContent-Length: 200000\r\n\r\n{body}");
    assert_eq!(server.exchange(request).text(), "200000\n");
}

fn an_answer_streams_while_the_guest_works(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    let mut client = server.connect();
    let began = std::time::Instant::now();
    client.send_get("/drip?n=3&ms=1500");
    client.wait_for_bytes();
    assert!(began.elapsed() < Duration::from_millis(1500), "nothing came before the guest was done");
    assert_eq!(client.receive().text(), "0\n1\n2\n");
}

fn a_large_echo_streams_with_little_memory(mpm: Mpm) {
    const BODY_BYTES: usize = 192 << 20;
    const MEMORY_BYTES_MAX: u64 = 32 << 20;
    let server = Setup::new(mpm).limits("request_body = \"1GiB\"\nresponse_body = \"1GiB\"").start();
    assert_eq!(server.get("/hello").status, 200);
    let at_rest = server.memory();

    let mut client = server.connect();
    client.send(format!("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: {BODY_BYTES}\r\n\r\n"));
    let sending = send_in_the_background(&client, BODY_BYTES);
    let mut most = 0;
    let mut received = 0;
    while received < BODY_BYTES {
        received += client.read_some(1 << 20).expect("the echo goes on").len();
        if received % (16 << 20) < (1 << 20) {
            most = most.max(server.memory());
        }
    }
    sending.join().expect("everything was sent");
    let above = most.saturating_sub(at_rest);
    assert!(above < MEMORY_BYTES_MAX, "{} KiB above {} KiB at rest", above >> 10, at_rest >> 10);
}

fn send_in_the_background(client: &Client, length: usize) -> std::thread::JoinHandle<()> {
    let mut sender = client.sender();
    std::thread::spawn(move || {
        let chunk = vec![b'x'; 1 << 20];
        for _ in 0..length / chunk.len() {
            sender.write_all(&chunk).expect("the server reads on");
        }
    })
}

fn a_large_answer_arrives_whole(mpm: Mpm) {
    const BODY_BYTES: usize = 20_000_000;
    let answer = Setup::new(mpm).start().get(&format!("/big?n={BODY_BYTES}"));
    let expected = (b'a'..=b'z').cycle().take(26 * 2048).cycle();
    assert_eq!(answer.body.len(), BODY_BYTES);
    assert!(answer.body.into_iter().eq(expected.take(BODY_BYTES)), "the bytes differ");
}

fn a_guest_that_never_waits_gets_its_body(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    let mut client = server.connect();
    client.send("POST /poll-read HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab");
    // Long enough for the guest to have looked many times.
    std::thread::sleep(Duration::from_millis(100));
    client.send("cde");
    assert_eq!(client.receive().text(), "5\n");
}
