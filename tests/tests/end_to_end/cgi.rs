//! Programs that speak CGI, as commands of WASI preview 1 and as components that export `wasi:cli/run`: what they are
//! told, what may come back, and which file a path is.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;

use guesthouse_tests::{Answer, Mpm, Server, Setup, under_every_mpm_and_confined};

under_every_mpm_and_confined! {
    a_program_answers_what_it_writes,
    the_request_is_in_the_environment,
    a_client_cannot_name_a_proxy_or_another_variable,
    a_module_has_the_variables_that_it_was_given,
    a_query_without_an_equals_sign_is_the_command_line,
    a_body_is_read_from_standard_input,
    a_body_without_a_length_ends_at_its_end,
    bodies_stream_through_a_program,
    an_answer_streams_while_the_program_works,
    the_head_says_status_and_location,
    what_concerns_the_connection_is_the_servers_own,
    a_head_that_cannot_be_sent_is_500,
    a_head_that_never_ends_is_500,
    a_length_that_lies_reaches_no_other_request,
    content_that_has_no_place_is_dropped,
    a_program_that_ends_without_a_head_is_500,
    an_answer_stands_whatever_the_exit_status,
    a_program_that_traps_is_500_or_broken_off,
    a_program_has_the_limits_of_its_module,
    a_program_that_nobody_reads_is_ended,
    what_a_program_prints_to_standard_error_is_logged,
    a_program_has_no_files_but_those_it_was_given,
    a_program_cannot_take_all_descriptors,
    a_path_below_a_root_is_a_script,
    no_path_leads_out_of_a_root,
    a_root_is_for_reading,
    a_program_that_needs_more_than_preview_1_is_refused_with_its_imports,
}

/// The same program as each kind of guest.
const KINDS: [&str; 2] = ["cgi-probe", "cgi-probe-p2"];

/// A server for each kind.
fn with_each_kind(mpm: Mpm, setup: impl Fn(Setup) -> Setup, test: impl Fn(&Server)) {
    for kind in KINDS {
        test(&setup(Setup::new(mpm).guest(kind)).start());
    }
}

/// The target for which the program writes exactly this.
fn raw(text: &str) -> String {
    format!("/raw?text={}", text.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>())
}

/// What the program says of its environment.
fn variable<'a>(environment: &'a Answer, name: &str) -> Option<&'a str> {
    let lines = environment.text().lines();
    lines.filter_map(|line| line.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value)
}

fn is_well(server: &Server) {
    assert_eq!(server.get("/hello").text(), "hello\n");
}

fn fails_with(server: &Server, target: &str, status: u16, cause: &str) {
    let mark = server.log.mark();
    assert_eq!(server.get(target).status, status, "{target}");
    server.log.wait_for_after(mark, &format!("module=probe…request=…cause={cause}"));
    is_well(server);
}

fn a_program_answers_what_it_writes(mpm: Mpm) {
    with_each_kind(
        mpm,
        |setup| setup,
        |server| {
            let mut client = server.connect();
            for _ in 0..3 {
                let answer = client.get("/hello");
                assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/plain")));
                assert_eq!(answer.text(), "hello\n");
            }
            assert_eq!(client.get("/nothing").status, 404);
            client.send("HEAD /hello HTTP/1.1\r\nHost: h\r\n\r\n");
            assert_eq!(client.receive_head().status, 200);
            assert_eq!(client.get("/hello").text(), "hello\n");
        },
    );
}

fn the_request_is_in_the_environment(mpm: Mpm) {
    with_each_kind(
        mpm,
        |setup| setup.probe_route("/app"),
        |server| {
            let told = server.exchange(
                "POST /app/x%20y/env?a=b&c HTTP/1.1\r\nHost: example.org:81\r\nContent-Length: 2\r\n\
             Content-Type: text/plain\r\nCookie: a=1\r\nCookie: b=2\r\nX-Odd-Name: \u{e9}\r\n\r\nhi",
            );
            for (name, value) in [
                ("GATEWAY_INTERFACE", "CGI/1.1"),
                ("SERVER_PROTOCOL", "HTTP/1.1"),
                ("SERVER_NAME", "example.org"),
                ("SERVER_PORT", "81"),
                ("REQUEST_METHOD", "POST"),
                ("REQUEST_URI", "/app/x%20y/env?a=b&c"),
                ("QUERY_STRING", "a=b&c"),
                ("SCRIPT_NAME", "/app"),
                ("PATH_INFO", "/x y/env"),
                ("REMOTE_ADDR", "127.0.0.1"),
                ("REMOTE_HOST", "127.0.0.1"),
                ("SERVER_ADDR", "127.0.0.1"),
                ("CONTENT_LENGTH", "2"),
                ("CONTENT_TYPE", "text/plain"),
                ("REDIRECT_STATUS", "200"),
                ("HTTP_HOST", "example.org:81"),
                ("HTTP_COOKIE", "a=1; b=2"),
                ("HTTP_X_ODD_NAME", "\u{e9}"),
                ("HTTP_X_FORWARDED_FOR", "127.0.0.1"),
            ] {
                assert_eq!(variable(&told, name), Some(value), "{name}");
            }
            assert_eq!(variable(&told, "UNIQUE_ID").map(str::len), Some(16));
            assert!(variable(&told, "REMOTE_PORT").unwrap().parse::<u16>().unwrap() > 0);
            let old = server.exchange("GET /app/env HTTP/1.0\r\n\r\n");
            assert_eq!(variable(&old, "SERVER_PROTOCOL"), Some("HTTP/1.0"));
            assert_eq!(variable(&old, "SERVER_NAME"), Some("localhost"));
            assert_eq!(variable(&old, "SERVER_PORT"), Some("80"));
            assert_eq!(variable(&old, "HTTP_HOST"), None, "it has named no host");
            assert_eq!(variable(&old, "QUERY_STRING"), Some(""));
            assert_eq!(variable(&old, "CONTENT_LENGTH"), None);
        },
    );
}

fn a_client_cannot_name_a_proxy_or_another_variable(mpm: Mpm) {
    with_each_kind(
        mpm,
        |setup| setup,
        |server| {
            let told = server.exchange(
                "GET /env HTTP/1.1\r\nHost: h\r\nProxy: http://evil/\r\nAuthorization: Basic eA==\r\n\
             Proxy-Authorization: Basic eA==\r\nX_Forwarded_For: 6.6.6.6\r\nX-Forwarded-For: 6.6.6.6\r\n\
             Request-Method: EVIL\r\n\r\n",
            );
            assert!(!told.text().contains("evil") && !told.text().contains("Basic"), "{}", told.text());
            assert_eq!(variable(&told, "HTTP_X_FORWARDED_FOR"), Some("127.0.0.1"));
            assert_eq!(variable(&told, "REQUEST_METHOD"), Some("GET"));
        },
    );
}

fn a_module_has_the_variables_that_it_was_given(mpm: Mpm) {
    let env = "[module.env]\nGREETING = \"hi\"\nREQUEST_METHOD = \"NONE\"";
    with_each_kind(
        mpm,
        |setup| setup.probe(env),
        |server| {
            let told = server.get("/env");
            assert_eq!(variable(&told, "GREETING"), Some("hi"));
            assert_eq!(variable(&told, "REQUEST_METHOD"), Some("GET"));
            assert_eq!(told.text().matches("REQUEST_METHOD=").count(), 1);
        },
    );
}

fn a_query_without_an_equals_sign_is_the_command_line(mpm: Mpm) {
    with_each_kind(
        mpm,
        |setup| setup,
        |server| {
            assert_eq!(server.get("/args?one+two%20three").text(), "probe\none\ntwo three\n");
            for none in ["/args", "/args?a=b", "/args?-s", "/args?a+%2Dd"] {
                assert_eq!(server.get(none).text(), "probe\n", "{none}");
            }
        },
    );
}

fn a_body_is_read_from_standard_input(mpm: Mpm) {
    with_each_kind(
        mpm,
        |setup| setup,
        |server| {
            let post = |target: &str| format!("POST {target} HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nabcde");
            assert_eq!(server.exchange(post("/echo")).text(), "abcde");
            assert_eq!(server.exchange(post("/upload")).text(), "5 bytes, announced Some(\"5\")\n");
            assert_eq!(server.exchange(post("/ignore-body")).text(), "ignored\n");
            assert_eq!(server.get("/upload").text(), "0 bytes, announced None\n");
        },
    );
}

fn a_body_without_a_length_ends_at_its_end(mpm: Mpm) {
    with_each_kind(
        mpm,
        |setup| setup,
        |server| {
            let chunked = "POST /upload HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\
                       3\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 7\r\n\r\n";
            assert_eq!(server.exchange(chunked).text(), "5 bytes, announced None\n");
        },
    );
}

fn bodies_stream_through_a_program(mpm: Mpm) {
    const BYTES: usize = 3 << 20;
    with_each_kind(
        mpm,
        |setup| setup,
        |server| {
            let mut client = server.connect();
            let mut sender = client.sender();
            let body: Vec<u8> = (0..BYTES).map(|index| (index % 251) as u8).collect();
            let sent = body.clone();
            let upload = std::thread::spawn(move || {
                write!(sender, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: {BYTES}\r\n\r\n").unwrap();
                sender.write_all(&sent).unwrap();
            });
            assert!(client.receive().body == body, "the body came back as it was sent");
            upload.join().unwrap();
            assert_eq!(client.get("/big?kib=2000").body.len(), 2000 << 10);
        },
    );
}

fn an_answer_streams_while_the_program_works(mpm: Mpm) {
    with_each_kind(
        mpm,
        |setup| setup.limits("wall = \"600s\""),
        |server| {
            let mut client = server.connect();
            client.send_get("/drip?count=2&ms=300000");
            let mut came = Vec::new();
            while !came.windows(7).any(|bytes| bytes == b"line 0\n") {
                came.extend(client.read_some(1000).expect("the first line comes long before the last"));
            }
            assert!(came.starts_with(b"HTTP/1.1 200 OK\r\n"));
        },
    );
}

fn the_head_says_status_and_location(mpm: Mpm) {
    with_each_kind(
        mpm,
        |setup| setup,
        |server| {
            let mut client = server.connect();
            for (head, status, location) in [
                ("Content-Type: a/b\r\n", 200, None),
                ("Status: 404 Not Found\nContent-Type: a/b\n", 404, None),
                ("status: 503\n", 503, None),
                ("Location: https://example.org/\n", 302, Some("https://example.org/")),
                ("Location: /other?a=b\n", 302, Some("/other?a=b")),
                ("Status: 301 Moved\nLocation: /other\n", 301, Some("/other")),
            ] {
                let answer = client.get(&raw(&format!("{head}\ncontent")));
                assert_eq!((answer.status, answer.header("location")), (status, location), "{head:?}");
                assert_eq!(answer.text(), "content");
                assert_eq!(answer.header("status"), None);
            }
            let cookies = client.get(&raw("Content-Type: a/b\nSet-Cookie: a=1\nSet-Cookie: b=2\n\n")).headers;
            assert_eq!(cookies.iter().filter(|(name, _)| name == "set-cookie").count(), 2);
        },
    );
}

fn what_concerns_the_connection_is_the_servers_own(mpm: Mpm) {
    with_each_kind(
        mpm,
        |setup| setup,
        |server| {
            let mut client = server.connect();
            let own = "Connection: close\nKeep-Alive: timeout=9\nTransfer-Encoding: chunked\nUpgrade: x\nDate: never\n";
            let answer = client.get(&raw(&format!("Content-Type: a/b\n{own}\ncontent")));
            assert_eq!(answer.text(), "content");
            assert!(!answer.says_close(), "{answer:?}");
            assert_eq!((answer.header("keep-alive"), answer.header("upgrade")), (None, None));
            assert_ne!(answer.header("date"), Some("never"));
            assert_eq!(client.get("/hello").text(), "hello\n");
        },
    );
}

fn a_head_that_cannot_be_sent_is_500(mpm: Mpm) {
    with_each_kind(
        mpm,
        |setup| setup,
        |server| {
            for head in [
                "\n",
                "X-Only: this\n\n",
                "hello\n\n",
                "HTTP/1.1 200 OK\nContent-Type: a/b\n\n",
                "Content-Type: a/b\nBad Name: x\n\n",
                "Content-Type: a/b\nName : x\n\n",
                "Content-Type: a/b\n folded\n\n",
                "Content-Type: a/b\rX: y\n\n",
                "Content-Type: a\0b\n\n",
                "Status: 200\nStatus: 404\nContent-Type: a/b\n\n",
                "Content-Type: a/b\nContent-Type: c/d\n\n",
                "Location: /a\nLocation: /b\n\n",
                "Status: 99\n\n",
                "Status: 100 Continue\n\n",
                "Status: fine\n\n",
                "Content-Type: a/b\nContent-Length: five\n\n",
                "Content-Type: a/b\nContent-Length: 0\nContent-Length: 0\n\n",
                "Content-Type: a/b\nTransfer-Encoding: gzip\n\n",
            ] {
                let mark = server.log.mark();
                let answer = server.get(&raw(head));
                assert_eq!(answer.status, 500, "{head:?}: {answer:?}");
                assert_eq!(answer.text(), "The handler of this request failed.\n");
                server.log.wait_for_after(mark, "module=probe…request=…cause=bad-answer");
            }
            is_well(server);
        },
    );
}

fn a_head_that_never_ends_is_500(mpm: Mpm) {
    with_each_kind(
        mpm,
        |setup| setup,
        |server| {
            fails_with(server, "/endless-head", 500, "bad-answer…its head has more than");
            fails_with(server, "/endless-head?line=0", 500, "bad-answer…its head has more than");
        },
    );
}

fn a_length_that_lies_reaches_no_other_request(mpm: Mpm) {
    with_each_kind(
        mpm,
        |setup| setup,
        |server| {
            for (announced, cause) in [(3, "bad-answer"), (9, "broken-off")] {
                let mark = server.log.mark();
                let mut client = server.connect();
                client.send_get(&raw(&format!("Content-Type: a/b\nContent-Length: {announced}\n\nhello")));
                client.send_get("/hello");
                // It depends on when the lie is noticed whether there is still time for an honest status.
                match client.try_receive() {
                    Ok(answer) if answer.status == 500 => assert_eq!(client.receive().text(), "hello\n"),
                    Ok(answer) => {
                        assert_eq!(answer.text(), &"hello"[..3]);
                        assert!(client.wait_for_close().1.is_empty(), "nothing follows");
                    }
                    Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof),
                }
                server.log.wait_for_after(mark, &format!("module=probe…cause={cause}"));
            }
        },
    );
}

fn content_that_has_no_place_is_dropped(mpm: Mpm) {
    with_each_kind(
        mpm,
        |setup| setup,
        |server| {
            let mut client = server.connect();
            client.send("HEAD /big?kib=300 HTTP/1.1\r\nHost: h\r\n\r\n");
            assert_eq!(client.receive_head().status, 200);
            for status in [204, 304] {
                assert_eq!(client.get(&raw(&format!("Status: {status}\nContent-Type: a/b\n\ncontent"))).status, status);
            }
            assert_eq!(client.get("/hello").text(), "hello\n");
        },
    );
}

fn a_program_that_ends_without_a_head_is_500(mpm: Mpm) {
    with_each_kind(
        mpm,
        |setup| setup,
        |server| {
            for target in ["/silent", "/half", "/exit?code=0&answer=0", "/exit?code=3&answer=0"] {
                fails_with(server, target, 500, "no-answer");
            }
        },
    );
}

fn an_answer_stands_whatever_the_exit_status(mpm: Mpm) {
    with_each_kind(
        mpm,
        |setup| setup,
        |server| {
            let mut client = server.connect();
            for code in [0, 1, 125, 126, 255] {
                let mark = server.log.mark();
                let answer = client.get(&format!("/exit?code={code}"));
                assert_eq!((answer.status, answer.text()), (200, "hello\n"), "{code}");
                if code != 0 {
                    server.log.wait_for_after(mark, "WARN module=probe request=…status=…exited");
                }
            }
        },
    );
}

fn a_program_that_traps_is_500_or_broken_off(mpm: Mpm) {
    with_each_kind(
        mpm,
        |setup| setup,
        |server| {
            fails_with(server, "/trap", 500, "trap");
            let mut client = server.connect();
            client.send_get("/trap?answer=1&ms=200");
            // On a busy machine the trap may come before anything was sent.
            match client.try_receive() {
                Ok(answer) => assert_eq!(answer.status, 500),
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof),
            }
            is_well(server);
        },
    );
}

fn a_program_has_the_limits_of_its_module(mpm: Mpm) {
    let limits = "memory = \"16MiB\"\ncpu = \"300ms\"\nwall = \"1s\"\nresponse_body = \"100KiB\"";
    with_each_kind(
        mpm,
        |setup| setup.limits(limits),
        |server| {
            fails_with(server, "/memory", 500, "memory-limit");
            fails_with(server, "/loop", 504, "cpu-limit");
            fails_with(server, "/sleep", 504, "wall-limit");
            let mut client = server.connect();
            client.send_get("/big?kib=1000");
            // A quick server may notice before anything was sent.
            match client.try_receive() {
                Ok(answer) => assert_eq!(answer.status, 500),
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof),
            }
            server.log.wait_for("module=probe…cause=response-limit");
            is_well(server);
        },
    );
}

fn a_program_that_nobody_reads_is_ended(mpm: Mpm) {
    let limits = "cpu = \"600s\"\nwall = \"600s\"\nresponse_body = \"1TiB\"";
    with_each_kind(
        mpm,
        |setup| setup.server("access_log = \"access.log\"").limits(limits),
        |server| {
            let mut client = server.connect();
            client.send_get("/flood");
            client.wait_for_bytes();
            drop(client);
            server.wait_for_access("\"GET /flood HTTP/1.1\" 200 ");
            is_well(server);
        },
    );
}

fn what_a_program_prints_to_standard_error_is_logged(mpm: Mpm) {
    with_each_kind(
        mpm,
        |setup| setup,
        |server| {
            assert_eq!(server.get("/stderr?text=a-loud-word").text(), "printed\n");
            server.log.wait_for("module=probe request=…stream=stderr…a-loud-word");
            assert_eq!(server.log.count("stdout"), 0, "what it answers is not logged");
        },
    );
}

fn a_program_has_no_files_but_those_it_was_given(mpm: Mpm) {
    let setup = |setup: Setup| {
        fs::create_dir(setup.folder().join("data")).unwrap();
        fs::write(setup.folder().join("data/note"), "noted").unwrap();
        setup.probe("[[module.dir]]\nhost = \"data\"\nguest = \"/data\"")
    };
    with_each_kind(mpm, setup, |server| {
        assert_eq!(server.get("/read?path=/data/note").text(), "noted");
        for path in ["/etc/passwd", "/data/../guesthouse.toml", "/www/x"] {
            let answer = server.get(&format!("/read?path={path}"));
            assert!(["NotFound\n", "PermissionDenied\n"].contains(&answer.text()) || !answer.text().contains("server"));
            assert!(!answer.text().contains("root:") && !answer.text().contains("[server]"), "{}", answer.text());
        }
        assert_ne!(server.get("/write?path=/data/new").text(), "ok\n");
        assert!(!server.folder().join("data/new").exists());
    });
}

/// A folder of scripts on `/app`, beside the program itself on every other path.
fn scripts(setup: Setup) -> Setup {
    let folder = setup.folder().to_owned();
    for dir in ["www/blog", "www/folder.x", "outside"] {
        fs::create_dir_all(folder.join(dir)).unwrap();
    }
    for file in
        ["www/env.x", "www/index.x", "www/blog/index.x", "www/note.txt", "www/folder.x/in.x", "outside/secret.x"]
    {
        fs::write(folder.join(file), format!("this is {file}")).unwrap();
    }
    symlink("env.x", folder.join("www/link.x")).unwrap();
    symlink("../outside/secret.x", folder.join("www/leave.x")).unwrap();
    symlink("../outside", folder.join("www/leave")).unwrap();
    symlink(folder.join("outside/secret.x"), folder.join("www/absolute.x")).unwrap();
    setup.tables("[[route]]\npath = \"/app\"\nmodule = \"probe\"\nroot = \"www\"\nscript_suffixes = [\".x\"]")
}

fn a_program_cannot_take_all_descriptors(mpm: Mpm) {
    let with_a_file = |setup: Setup| {
        fs::create_dir(setup.folder().join("data")).unwrap();
        fs::write(setup.folder().join("data/file.txt"), "content").unwrap();
        setup.probe("[[module.dir]]\nhost = \"data\"\nguest = \"/data\"")
    };
    with_each_kind(mpm, with_a_file, |server| {
        assert_eq!(server.get("/open?path=/data/file.txt&n=100").text(), "100\n");
        let answer = server.get("/open?path=/data/file.txt&n=1000");
        // Preview 1 has no error for a table that is full.
        assert!(answer.status == 500 || answer.text().trim().parse::<usize>().unwrap() <= 128, "{answer:?}");
        is_well(server);
    });
}

fn a_path_below_a_root_is_a_script(mpm: Mpm) {
    with_each_kind(mpm, scripts, |server| {
        for (target, name, file, info) in [
            ("/app/env.x/env", "/app/env.x", "/www/env.x", Some("/env")),
            ("/app/%65nv.x/a/env?q=1", "/app/env.x", "/www/env.x", Some("/a/env")),
            ("/app/blog/../env.x/env", "/app/env.x", "/www/env.x", Some("/env")),
            ("/app/folder.x/in.x/env", "/app/folder.x/in.x", "/www/folder.x/in.x", Some("/env")),
            ("/app/link.x/env", "/app/link.x", "/www/link.x", Some("/env")),
        ] {
            let told = server.get(target);
            assert_eq!(variable(&told, "SCRIPT_NAME"), Some(name), "{target}");
            assert_eq!(variable(&told, "SCRIPT_FILENAME"), Some(file), "{target}");
            assert_eq!(variable(&told, "PATH_INFO"), info, "{target}");
            assert_eq!(variable(&told, "PATH_TRANSLATED"), info.map(|info| format!("/www{info}")).as_deref());
            assert_eq!(variable(&told, "DOCUMENT_ROOT"), Some("/www"));
        }
        assert_eq!(server.get("/app/env.x/args?one").text(), "probe\n/www/env.x\none\n");
        assert_eq!(server.get("/app/env.x/read?path=/www/blog/index.x").text(), "this is www/blog/index.x");
        assert_eq!(server.get("/app/env.x/list?path=/www/folder.x").text(), "in.x");
        let moved = server.get("/app/blog?a=b");
        assert_eq!((moved.status, moved.header("location")), (301, Some("/app/blog/?a=b")));
        // An index has nothing behind it, so that the program does not know what to do, and says so.
        for index in ["/app/", "/app/blog/"] {
            assert_eq!(server.get(index).text(), "nothing is here\n", "{index}");
        }
        for nothing in ["/app/note.txt", "/app/none.x", "/app/blog/none", "/app/folder.x/"] {
            let answer = server.get(nothing);
            assert_eq!((answer.status, answer.text()), (404, "Nothing is here.\n"), "{nothing}");
        }
    });
}

fn no_path_leads_out_of_a_root(mpm: Mpm) {
    with_each_kind(mpm, scripts, |server| {
        for target in [
            "/app/leave.x/env",
            "/app/absolute.x/env",
            "/app/leave/secret.x/env",
            "/app/leave/",
            "/app/..%2foutside/secret.x/env",
            "/app/%2e%2e%2foutside/secret.x/env",
            "/app/blog%2findex.x/env",
            "/app/blog%5cindex.x/env",
            "/app/..%5coutside/secret.x/env",
        ] {
            assert_eq!(server.get(target).text(), "Nothing is here.\n", "{target}");
        }
        for target in ["/app/env.x%00/env", "/../env", "/app/../../env", "/app/%2e%2e/%2E%2e/env"] {
            assert_eq!(server.get(target).status, 400, "{target}");
        }
        // The route's path is left as it is by any other: what answers is not the interpreter's.
        assert_eq!(variable(&server.get("/app/../outside/env"), "SCRIPT_FILENAME"), None);
        for path in ["/www/leave.x", "/www/absolute.x", "/www/leave/secret.x", "/www/../outside/secret.x"] {
            let read = server.get(&format!("/app/env.x/read?path={path}"));
            assert!(!read.text().contains("this is"), "{path}: {}", read.text());
        }
    });
}

fn a_root_is_for_reading(mpm: Mpm) {
    with_each_kind(mpm, scripts, |server| {
        assert_ne!(server.get("/app/env.x/write?path=/www/new.x").text(), "ok\n");
        assert_ne!(server.get("/app/env.x/write?path=/www/env.x").text(), "ok\n");
        assert!(!server.folder().join("www/new.x").exists());
        assert_eq!(fs::read_to_string(server.folder().join("www/env.x")).unwrap(), "this is www/env.x");
        let elsewhere = server.get("/read?path=/www/env.x");
        assert!(!elsewhere.text().contains("this is"), "a route without a root does not have the folder of another");
    });
}

fn a_program_that_needs_more_than_preview_1_is_refused_with_its_imports(mpm: Mpm) {
    let setup = Setup::new(mpm);
    let wat = "(module (import \"env\" \"memory\" (memory 1 2 shared)) (import \"wasi_snapshot_preview1\" \"sock_open\" \
               (func (param i32 i32 i32) (result i32))) (func (export \"_start\")))";
    fs::write(setup.folder().join("sockets.wat"), wat).unwrap();
    let mut server = setup.tables("[[module]]\nname = \"sockets\"\npath = \"sockets.wat\"").launch();
    server.log.wait_for("module \"sockets\": cannot use…env memory, wasi_snapshot_preview1 sock_open: build it");
    assert!(!server.wait_for_exit().success());
}
