//! Guests that other toolchains made. They take a minute to build, so these tests run only with
//! `cargo xtask test --languages`.

use guesthouse_tests::{Mpm, Server, Setup};

/// As the crate's macro of the same purpose, for tests that need guests of other toolchains.
macro_rules! under_every_mpm {
    ($($module:ident $mpm:ident),*) => {
        $(mod $module {
            use guesthouse_tests::Mpm;

            #[test]
            #[ignore = "needs guests of other toolchains: cargo xtask test --languages"]
            fn a_javascript_handler_is_served() {
                super::is_served(Mpm::$mpm, "hello-js", "echo-js");
            }

            #[test]
            #[ignore = "needs guests of other toolchains: cargo xtask test --languages"]
            fn a_python_handler_is_served() {
                super::is_served(Mpm::$mpm, "hello-python", "echo-python");
            }
        })*
    };
}

under_every_mpm!(prefork Prefork, worker Worker, event Event);

fn is_served(mpm: Mpm, hello: &str, echo: &str) {
    let setup = Setup::new(mpm).module(hello, "/hello-there").module(echo, "/echo-there");
    let server = setup.start();
    assert_eq!(server.get("/hello-there").text(), "Hello, world!\n");
    echoes(&server, 100_000);
    echoes(&server, 0);
}

fn echoes(server: &Server, length: usize) {
    let body = "x".repeat(length);
    let request = format!(
        "POST /echo-there HTTP/1.1\r\nHost: h\r\nContent-Type: text/x\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    let answer = server.exchange(request);
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/x")));
    assert!(answer.text() == body, "the echo of {length} bytes has {}", answer.body.len());
}
