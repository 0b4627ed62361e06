//! Clients that take their time: every wait has a deadline, and holds nobody else up.

use std::ops::Range;
use std::time::{Duration, Instant};

use guesthouse_tests::{Client, Mpm, Setup, under_every_mpm_and_confined, with_wasi_0_3_and_confined_too};

under_every_mpm_and_confined! {
    a_slow_head_is_408_at_its_deadline,
    a_head_that_drips_is_408_at_its_last_deadline,
    a_slow_body_is_408_at_its_deadline,
    a_body_that_keeps_the_minimum_rate_goes_on,
    an_idle_connection_is_closed_after_the_keep_alive_timeout,
    a_client_that_takes_nothing_is_dropped,
    a_client_that_stays_after_the_end_is_closed,
}

with_wasi_0_3_and_confined_too! {
    a_slow_body_is_408_at_its_deadline,
    a_client_that_takes_nothing_is_dropped,
}

/// A timeout of one second, on a machine that is busy with other tests.
const AFTER_ONE_SECOND: Range<Duration> = Duration::from_millis(900)..Duration::from_secs(4);

const AFTER_TWO_SECONDS: Range<Duration> = Duration::from_millis(1900)..Duration::from_secs(5);

fn a_slow_head_is_408_at_its_deadline(mpm: Mpm) {
    let server = Setup::new(mpm).server("header_timeout = \"1s\"\nheader_timeout_max = \"1s\"").start();
    let mut client = server.connect();
    client.send("GET /hello HTTP/1.1\r\nHo");
    let began = Instant::now();
    assert_eq!(client.receive().status, 408);
    assert!(AFTER_ONE_SECOND.contains(&began.elapsed()), "{:?}", began.elapsed());
    client.wait_for_close();
}

/// A byte now and then must not hold the connection: the deadline is for the whole head.
fn a_head_that_drips_is_408_at_its_last_deadline(mpm: Mpm) {
    let timeouts = "header_timeout = \"1s\"\nheader_timeout_max = \"2s\"\nmin_rate = 1";
    let server = Setup::new(mpm).server(timeouts).start();
    let mut client = server.connect();
    client.send("GET /hello HTTP/1.1\r\nX-Long: ");
    let began = Instant::now();
    let dripping = drip(&client, Duration::from_millis(100));
    assert_eq!(client.receive().status, 408);
    assert!(AFTER_TWO_SECONDS.contains(&began.elapsed()), "{:?}", began.elapsed());
    client.finish_sending();
    dripping.join().expect("dripping ends");
}

/// Sends a byte at a time until it is no longer possible.
fn drip(client: &Client, pause: Duration) -> std::thread::JoinHandle<()> {
    let mut sender = client.sender();
    std::thread::spawn(move || {
        while std::io::Write::write_all(&mut sender, b"x").is_ok() {
            std::thread::sleep(pause);
        }
    })
}

fn a_slow_body_is_408_at_its_deadline(mpm: Mpm) {
    let server = Setup::new(mpm).server("body_timeout = \"1s\"").start();
    let mut client = server.connect();
    client.send("POST /slow-read?ms=0 HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc");
    let began = Instant::now();
    assert_eq!(client.receive().status, 408);
    assert!(AFTER_ONE_SECOND.contains(&began.elapsed()), "{:?}", began.elapsed());
    client.wait_for_close();
}

fn a_body_that_keeps_the_minimum_rate_goes_on(mpm: Mpm) {
    let server = Setup::new(mpm).server("body_timeout = \"1s\"\nmin_rate = 10").start();
    let mut client = server.connect();
    client.send("POST /slow-read?ms=0 HTTP/1.1\r\nHost: h\r\nContent-Length: 400\r\n\r\n");
    for _ in 0..20 {
        client.send([b'x'; 20]);
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(client.receive().text(), "400\n");
}

fn an_idle_connection_is_closed_after_the_keep_alive_timeout(mpm: Mpm) {
    let server = Setup::new(mpm).server("keep_alive_timeout = \"1s\"").start();
    let mut client = server.connect();
    assert_eq!(client.get("/hello").status, 200);
    let (took, rest) = client.wait_for_close();
    assert!(AFTER_ONE_SECOND.contains(&took), "{took:?}");
    assert_eq!(rest, b"");
}

fn a_client_that_takes_nothing_is_dropped(mpm: Mpm) {
    let server = Setup::new(mpm).server("write_timeout = \"1s\"").limits("response_body = \"1GiB\"").start();
    let mut client = server.connect();
    client.send_get("/flood");
    server.log.wait_for("dropped a client that took nothing");
    let (_, arrived) = client.wait_for_close();
    assert!(arrived.len() < 64 << 20, "{} bytes were on the way", arrived.len());
    assert_eq!(server.get("/hello").status, 200);
}

fn a_client_that_stays_after_the_end_is_closed(mpm: Mpm) {
    let server = Setup::new(mpm).server("linger_timeout = \"1s\"").start();
    let mut client = server.connect();
    client.send("GET /hello HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    assert_eq!(client.receive().status, 200);
    client.wait_for_close();
    // The sending side is still open here; after a while of silence the server must give it up by itself, and then
    // what is sent comes back as a reset.
    std::thread::sleep(Duration::from_millis(2500));
    let _ = client.try_send("x");
    std::thread::sleep(Duration::from_millis(200));
    assert!(client.try_send("x").is_err(), "the server lingers for ever");
}
