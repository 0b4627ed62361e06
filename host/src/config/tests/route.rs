//! `[[route]]`.

use super::*;

#[test]
fn a_route_has_one_that_answers() {
    const NOBODY: &str = "guesthouse.toml:1: [[route]]: who answers is missing: write module = \"NAME\", \
                          text = \"...\" or handler = \"server-status\"";
    const NO_MODULE: &str = "guesthouse.toml:3: module: there is no module \"a\": write a [[module]] of that name";
    for (rest, mistakes) in [
        ("", &[NOBODY][..]),
        ("status = 200", &[NOBODY]),
        ("allow = [\"::1\"]", &[NOBODY]),
        ("text = \"\"\nmodule = \"a\"", &["guesthouse.toml:1: [[route]]: it has module and text: keep one of them"]),
        (
            "text = \"\"\nmodule = \"a\"\nhandler = \"metrics\"",
            &["guesthouse.toml:1: [[route]]: it has module and text and handler: keep one of them"],
        ),
        (
            "module = \"a\"\nstatus = 200\nallow = []",
            &[
                NO_MODULE,
                "guesthouse.toml:4: status: it goes with text only: remove it",
                "guesthouse.toml:5: allow: it goes with handler only: remove it",
            ],
        ),
        (
            "text = \"x\"\nallow = []\nstatus = 0",
            &[
                "guesthouse.toml:4: allow: it goes with handler only: remove it",
                "guesthouse.toml:5: status: expected a whole number from 200 to 599, found the number 0",
            ],
        ),
        ("handler = \"metrics\"\nstatus = 200", &["guesthouse.toml:4: status: it goes with text only: remove it"]),
        ("module = \"a\"", &[NO_MODULE]),
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
fn the_servers_own_handlers_are_for_this_machine_unless_said() {
    let target = |lines: &str| config(&format!("[[route]]\npath = \"/\"\n{lines}\n")).routes.remove(0).target;
    let networks = |written: &[&str]| written.iter().map(|network| network.parse().unwrap()).collect();
    let loopback = networks(&["127.0.0.0/8", "::1/128"]);
    assert_eq!(target("handler = \"server-status\""), Target::ServerStatus { allow: loopback });
    assert_eq!(
        target("handler = \"metrics\"\nallow = [\"127.0.0.0/8\", \"::1\", \"10.1.2.3\", \"fd00::/8\", \"0.0.0.0/0\"]"),
        Target::Metrics { allow: networks(&["127.0.0.0/8", "::1/128", "10.1.2.3/32", "fd00::/8", "0.0.0.0/0"]) }
    );
}

#[test]
fn a_handler_that_is_none_is_told_the_nearest() {
    for (written, mistake) in [
        ("\"server-staus\"", "there is no handler \"server-staus\": did you mean server-status?"),
        ("\"metric\"", "there is no handler \"metric\": did you mean metrics?"),
        ("\"zzz\"", "there is no handler \"zzz\": known are server-status, metrics"),
        ("true", "expected \"server-status\" or \"metrics\", found true"),
    ] {
        assert_each_in_route(&[(&format!("handler = {written}\npath = \"/\""), &format!("handler: {mistake}"))]);
    }
}

#[test]
fn those_whom_a_handler_answers_are_checked() {
    const WHAT: &str = "expected an address such as \"127.0.0.1\" or \"::1\", or a network such as \"10.0.0.0/8\"";
    for (written, mistake) in [
        ("[]", "nobody: name an address or a network, or remove the route"),
        ("\"::1\"", "expected addresses and networks such as [\"127.0.0.1\", \"10.0.0.0/8\"], found the text \"::1\""),
        ("[1]", &format!("{WHAT}, found the number 1")),
        ("[\"localhost\"]", &format!("{WHAT}, found \"localhost\"")),
        ("[\"[::1]\"]", &format!("{WHAT}, found \"[::1]\"")),
        ("[\"10.0.0.0/33\"]", &format!("{WHAT}, found \"10.0.0.0/33\"")),
        ("[\"10.0.0.0/255.0.0.0\"]", &format!("{WHAT}, found \"10.0.0.0/255.0.0.0\"")),
        (
            "[\"10.0.0.1/8\"]",
            "\"10.0.0.1/8\" is no network: write \"10.0.0.0/8\" for the network, or \"10.0.0.1\" for the address",
        ),
        (
            "[\"fd00::1/64\"]",
            "\"fd00::1/64\" is no network: write \"fd00::/64\" for the network, or \"fd00::1\" for the address",
        ),
        ("[\"::ffff:10.0.0.1\"]", "\"::ffff:10.0.0.1\" stands for addresses of IPv4: write \"10.0.0.1/32\""),
        ("[\"::ffff:10.0.0.0/104\"]", "\"::ffff:10.0.0.0/104\" stands for addresses of IPv4: write \"10.0.0.0/8\""),
    ] {
        let text = format!("allow = {written}\nhandler = \"server-status\"\npath = \"/\"");
        assert_each_in_route(&[(&text, &format!("allow: {mistake}"))]);
    }
    assert_mistakes(
        "[[route]]\npath = \"/\"\nhandler = \"status\"\nallow = [\n\"a\",\n\"::1\",\n\"b\",\n]\n",
        &[
            "guesthouse.toml:3: handler: there is no handler \"status\": known are server-status, metrics",
            &format!("guesthouse.toml:5: allow: {WHAT}, found \"a\""),
            &format!("guesthouse.toml:7: allow: {WHAT}, found \"b\""),
        ],
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

#[test]
fn the_scripts_of_a_route_are_read_with_its_module() {
    let text = |keys: &str| {
        format!(
            "[[module]]\nname = \"php\"\npath = \"a.wasm\"\n[[route]]\npath = \"/\"\nmodule = \"php\"\n{keys}\n\
             [[route]]\npath = \"/b\"\nmodule = \"php\"\nroot = \"data\"\nscript_suffixes = [\".x\"]"
        )
    };
    let (config, _) = checked(&text("root = \"data\"\nscript_suffixes = [\".php\", \".phtml\"]")).unwrap();
    let scripts = config.routes[0].scripts.as_ref().unwrap();
    assert_eq!(scripts.suffixes, [".php", ".phtml"]);
    assert_eq!(scripts.index, ["index.php", "index.phtml"]);
    assert_eq!((scripts.folder.to_str(), scripts.line), (Some("/etc/data"), 7));
    assert_eq!((config.modules[0].roots.len(), config.routes[1].scripts.as_ref().unwrap().root), (1, 0));
    let own = "root = \"data\"\nindex = [\"start.php\"]\nscript_suffixes = [\".php\"]";
    assert_eq!(checked(&text(own)).unwrap().0.routes[0].scripts.as_ref().unwrap().index, ["start.php"]);
    assert_eq!(checked(&text("")).unwrap().0.routes[0].scripts, None);
}

#[test]
fn scripts_that_nobody_could_find_are_mistakes() {
    for (keys, mistake) in [
        (
            "root = \"data\"",
            "7: root: script_suffixes is missing beside it: say how the names of scripts end, such as [\".php\"]",
        ),
        ("index = [\"a\"]", "7: index: it goes with root only: remove it"),
        ("script_suffixes = [\".a\"]", "7: script_suffixes: it goes with root only: remove it"),
        ("root = \"nope\"\nscript_suffixes = [\".a\"]", "7: root: /etc/nope does not exist: create it"),
        (
            "root = \"data\"\nscript_suffixes = []",
            "8: script_suffixes: it is empty: write ends of names such as [\".php\"]",
        ),
        (
            "root = \"data\"\nscript_suffixes = [\"php\"]",
            "8: script_suffixes: \"php\" is no end of a file's name: write one such as \".php\"",
        ),
        (
            "root = \"data\"\nscript_suffixes = [\".php\"]\nindex = [\"a/b.php\"]",
            "9: index: \"a/b.php\" is no name of a file: write one such as \"index.php\"",
        ),
        (
            "root = \"data\"\nscript_suffixes = [\".php\"]\nindex = [\"index.html\"]",
            "9: index: \"index.html\" is no script: no suffix in script_suffixes is its end",
        ),
    ] {
        let text = format!(
            "[[module]]\nname = \"php\"\npath = \"a.wasm\"\n[[route]]\npath = \"/\"\nmodule = \"php\"\n{keys}\n"
        );
        assert_mistakes(&text, &[&format!("guesthouse.toml:{mistake}")]);
    }
    assert_mistakes(
        "[[route]]\npath = \"/\"\ntext = \"x\"\nroot = \"data\"\n",
        &["guesthouse.toml:4: root: it goes with module only: remove it"],
    );
}

#[test]
fn the_folder_of_scripts_has_its_place_in_the_guest_to_itself() {
    assert_mistakes(
        "[[module]]\nname = \"php\"\npath = \"a.wasm\"\n[[module.dir]]\nhost = \"data\"\nguest = \"/www\"\n\
         [[route]]\npath = \"/\"\nmodule = \"php\"\nroot = \"data\"\nscript_suffixes = [\".php\"]\n",
        &[
            "guesthouse.toml:10: root: the guest sees this folder as \"/www\", but a [[module.dir]] of its module stands \
           there: choose another path for that",
        ],
    );
}
