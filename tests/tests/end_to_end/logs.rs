//! What the logs say: the access log's format, the guest's own output, and who said it.

use guesthouse_tests::patience::until;
use guesthouse_tests::{Mpm, Server, Setup, under_every_mpm_and_confined, with_wasi_0_3_and_confined_too};

under_every_mpm_and_confined! {
    an_access_log_line_is_combined_plus_module_and_times,
    a_client_cannot_forge_an_access_log_line,
    what_a_guest_prints_is_logged_line_by_line,
    a_guest_cannot_fill_the_log,
    a_full_disk_costs_no_request,
}

with_wasi_0_3_and_confined_too! {
    what_a_guest_prints_is_logged_line_by_line,
}

fn an_access_log_line_is_combined_plus_module_and_times(mpm: Mpm) {
    let server = with_access_log(mpm);
    let request = "GET /hello?a=b HTTP/1.1\r\nHost: h\r\nReferer: http://r/\r\nUser-Agent: tests/1\r\n\r\n";
    assert_eq!(server.exchange(request).status, 200);
    let line = access_log_line(&server);
    let (client_and_date, rest) = line.split_once("] ").expect("a date in brackets");
    assert!(client_and_date.starts_with("127.0.0.1 - - ["), "{line}");
    let times = rest.strip_prefix("\"GET /hello?a=b HTTP/1.1\" 200 6 \"http://r/\" \"tests/1\" probe ");
    let times: Vec<u64> = times.expect(&line).split(' ').map(|time| time.parse().expect(&line)).collect();
    assert!(matches!(times[..], [took, cpu] if took >= cpu && cpu > 0), "{line}");
}

fn a_client_cannot_forge_an_access_log_line(mpm: Mpm) {
    let server = with_access_log(mpm);
    let request = "GET /hello HTTP/1.1\r\nHost: h\r\nUser-Agent: a\" 200 \\ \t b\r\n\r\n";
    assert_eq!(server.exchange(request).status, 200);
    assert!(access_log_line(&server).contains(r#" "a\" 200 \\ \x09 b" "#), "{}", access_log_line(&server));
}

fn with_access_log(mpm: Mpm) -> Server {
    Setup::new(mpm).server("access_log = \"access.log\"").start()
}

/// The first line, once it is whole.
fn access_log_line(server: &Server) -> String {
    until("there is a line in the access log", || {
        let text = std::fs::read_to_string(server.folder().join("access.log")).ok()?;
        text.split_once('\n').map(|(line, _)| line.to_owned())
    })
}

fn what_a_guest_prints_is_logged_line_by_line(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    assert_eq!(server.get("/stdout?lines=3&text=out%20loud").status, 200);
    assert_eq!(server.get("/stderr?lines=2&text=under%20breath").status, 200);
    for words in ["probe…out loud 1", "probe…out loud 2", "probe…out loud 3", "probe…under breath 2"] {
        let line = server.log.wait_for(words);
        assert!(line.contains("request"), "the line does not name the request: {line}");
    }
}

/// The streams of WASI 0.3 itself, and not those of 0.2 that a Rust program prints to.
mod wasi_0_3 {
    use super::*;

    #[test]
    fn what_a_guest_prints_through_a_stream_is_logged() {
        let server = Setup::new(Mpm::Event03).start();
        assert_eq!(server.get("/print-out?text=out%20loud").status, 200);
        assert_eq!(server.get("/print-err?text=under%20breath").status, 200);
        for words in ["probe…stdout…out loud", "probe…stderr…under breath"] {
            server.log.wait_for(words);
        }
    }
}

fn a_guest_cannot_fill_the_log(mpm: Mpm) {
    let server = Setup::new(mpm).limits("cpu = \"60s\"\nwall = \"60s\"").start();
    assert_eq!(server.get("/stderr?lines=100000&text=0123456789012345678901234567890123456789").status, 200);
    let bytes = server.log.text().len();
    assert!(bytes < 32 << 20, "one request wrote {bytes} bytes to the log");
    assert!(server.log.count("012345678901234567890123456789") < 100_000);
}

fn a_full_disk_costs_no_request(mpm: Mpm) {
    let server = Setup::new(mpm).server("access_log = \"/dev/full\"").start();
    for _ in 0..20 {
        assert_eq!(server.get("/hello").status, 200);
    }
}
