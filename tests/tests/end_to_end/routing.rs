//! Which requests go where.

use guesthouse_tests::{Mpm, Setup, under_every_mpm};

under_every_mpm! {
    the_longest_path_on_segment_boundaries_wins,
    a_route_for_a_host_goes_before_one_for_any,
    without_a_route_the_answer_is_404,
    a_fixed_text_may_have_a_status,
    a_path_is_routed_by_what_it_means,
}

fn the_longest_path_on_segment_boundaries_wins(mpm: Mpm) {
    let routes = "[[route]]\npath = \"/text\"\ntext = \"short\"\n[[route]]\npath = \"/text/deep\"\ntext = \"deep\"";
    let server = Setup::new(mpm).tables(routes).module("hello", "/greeting").start();
    for (path, text) in [
        ("/text", "short"),
        ("/text?query", "short"),
        ("/text/", "short"),
        ("/text/other", "short"),
        ("/text/deep", "deep"),
        ("/text/deep/er", "deep"),
        ("/text/deeper", "short"),
        ("/greeting", "Hello, world!\n"),
        ("/textual", "the probe has no path /textual\n"),
    ] {
        assert_eq!(server.get(path).text(), text, "{path}");
    }
}

fn a_route_for_a_host_goes_before_one_for_any(mpm: Mpm) {
    let routes = "[[route]]\nhost = \"example.org\"\npath = \"/\"\ntext = \"exact\"\n\
                  [[route]]\nhost = \"*.example.org\"\npath = \"/\"\ntext = \"below\"";
    let server = Setup::new(mpm).tables(routes).start();
    for (host, text) in [
        ("example.org", "exact"),
        ("EXAMPLE.org", "exact"),
        ("example.org:8080", "exact"),
        ("www.example.org", "below"),
        ("a.b.example.org", "below"),
        ("notexample.org", "hello\n"),
        ("example.com", "hello\n"),
    ] {
        let answer = server.exchange(format!("GET /hello HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(answer.text(), text, "{host}");
    }
}

fn without_a_route_the_answer_is_404(mpm: Mpm) {
    let server = Setup::new(mpm).probe_route("/probe").start();
    assert_eq!(server.get("/probe/hello").text(), "hello\n");
    for path in ["/", "/hello", "/probes/hello"] {
        assert_eq!(server.get(path).status, 404, "{path}");
    }
}

fn a_fixed_text_may_have_a_status(mpm: Mpm) {
    let route = "[[route]]\npath = \"/closed\"\ntext = \"come back later\\n\"\nstatus = 503";
    let answer = Setup::new(mpm).tables(route).start().get("/closed");
    assert_eq!((answer.status, answer.text()), (503, "come back later\n"));
}

fn a_path_is_routed_by_what_it_means(mpm: Mpm) {
    let server = Setup::new(mpm).tables("[[route]]\npath = \"/admin\"\ntext = \"admin\"").start();
    for path in ["/%61dmin", "/x/../admin", "/./admin", "//admin"] {
        assert_eq!(server.get(path).text(), "admin", "{path}");
    }
    assert_eq!(server.get("/../admin").status, 400);
    assert_eq!(server.get("/%zz").status, 400);
}
