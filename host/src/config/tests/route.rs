//! `[[route]]`.

use super::*;

#[test]
fn a_route_has_one_that_answers() {
    for (rest, mistakes) in [
        ("", &["guesthouse.toml:1: [[route]]: who answers is missing: write module = \"NAME\" or text = \"...\""][..]),
        (
            "status = 200",
            &["guesthouse.toml:1: [[route]]: who answers is missing: write module = \"NAME\" or text = \"...\""],
        ),
        (
            "text = \"\"\nmodule = \"a\"",
            &["guesthouse.toml:1: [[route]]: it has both module and text: remove one of them"],
        ),
        (
            "module = \"a\"\nstatus = 200",
            &["guesthouse.toml:4: status: a status goes with text only: the module sets its own"],
        ),
        ("module = \"a\"", &["guesthouse.toml:3: module: there is no module \"a\": write a [[module]] of that name"]),
        (
            "text = \"x\"\nstatus = 100",
            &["guesthouse.toml:4: status: expected a whole number from 200 to 599, found the number 100"],
        ),
        (
            "text = \"x\"\nstatus = 204",
            &["guesthouse.toml:4: status: an answer of status 204 has no content: write text = \"\""],
        ),
        (
            "text = 1\nstatus = \"x\"",
            &[
                "guesthouse.toml:3: text: expected text such as \"ok\\n\", found the number 1",
                "guesthouse.toml:4: status: expected a whole number from 200 to 599, found the text \"x\"",
            ],
        ),
    ] {
        assert_mistakes(&format!("[[route]]\npath = \"/\"\n{rest}\n"), mistakes);
    }
    assert_mistakes(
        "[[module]]\nname = \"a\"\npath = \"a.wasm\"\n[[route]]\npath = \"/\"\nmodule = \"zzz\"\n",
        &["guesthouse.toml:6: module: there is no module \"zzz\": known are a"],
    );
}

#[test]
fn paths_of_routes_are_checked() {
    for (path, mistake) in [
        ("hello", "does not begin with \"/\": write \"/hello\""),
        ("/a?b", "has a query or a fragment: write the path alone"),
        ("/a#b", "has a query or a fragment: write the path alone"),
        ("/a/*", "has a \"*\": a route is for everything below its path anyway"),
        ("/a%20b", "has a percent-encoding: write the path decoded"),
        ("/a\\tb", "has a control character"),
        ("/a//b", "has an empty, \".\" or \"..\" segment: write it without"),
        ("/a/../b", "has an empty, \".\" or \"..\" segment: write it without"),
    ] {
        assert_each_in_route(&[(&format!("path = \"{path}\"\ntext = \"\""), &format!("path: \"{path}\" {mistake}"))]);
    }
    assert_mistakes(
        "[[route]]\ntext = \"\"\n",
        &["guesthouse.toml:1: [[route]]: path is missing: write \"/\" for every path"],
    );
    let path = |path: &str| config(&format!("[[route]]\npath = \"{path}\"\ntext = \"\"\n")).routes[0].path.clone();
    assert_eq!([path("/"), path("/a/"), path("/ä b")], ["/", "/a", "/ä b"]);
}

#[test]
fn hosts_of_routes_are_checked() {
    for (host, mistake) in [
        ("*", "\"*\" is no host: leave host out for a route of every host"),
        ("example.org:80", "\"example.org:80\" has a port: routes know the host alone"),
        ("[::1]:80", "\"[::1]:80\" has a port: routes know the host alone"),
        ("a.*.b", "\"a.*.b\" is no host name: it may have letters, digits, '-' and '.'"),
        ("*.", "\"\" is no host name: each part between dots has 1 to 63 characters"),
    ] {
        assert_each_in_route(&[(
            &format!("host = \"{host}\"\npath = \"/\"\ntext = \"\""),
            &format!("host: {mistake}"),
        )]);
    }
    let host = |host: &str| {
        config(&format!("[[route]]\nhost = \"{host}\"\npath = \"/\"\ntext = \"\"\n")).routes.remove(0).host.unwrap()
    };
    assert_eq!(host("Example.org"), HostPattern::Exact(String::from("example.org")));
    assert_eq!(host("*.Example.org"), HostPattern::Below(String::from("example.org")));
    assert_eq!(host("127.0.0.1"), HostPattern::Exact(String::from("127.0.0.1")));
    assert_eq!(host("[0:0::1]"), HostPattern::Exact(String::from("[::1]")));
}

#[test]
fn the_same_host_and_path_twice_is_a_mistake() {
    let route = |host: &str, path: &str| format!("[[route]]\n{host}\npath = \"{path}\"\ntext = \"\"\n");
    let twice = |host: &str, path: &str| route(host, path) + &route(host, path);
    for (text, what) in [
        (twice("", "/a"), "path \"/a\""),
        (route("", "/a") + &route("", "/a/"), "path \"/a\""),
        (twice("host = \"a.org\"", "/"), "path \"/\" of host \"a.org\""),
        (twice("host = \"*.a.org\"", "/"), "path \"/\" of host \"*.a.org\""),
    ] {
        let mistake = format!("guesthouse.toml:5: [[route]]: {what} has a route already on line 1: remove one of them");
        assert_mistakes(&text, &[&mistake]);
    }
    config(&(route("", "/a") + &route("host = \"a.org\"", "/a") + &route("host = \"*.a.org\"", "/a")));
}
