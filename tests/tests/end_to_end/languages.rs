//! Guests that other toolchains made: the examples in other languages than Rust's components. They take minutes to
//! build, so these tests run only with `cargo xtask test --languages`, a module for each toolchain.

use std::path::{Path, PathBuf};

use guesthouse_tests::setup::guest;
use guesthouse_tests::upstream::Upstream;
use guesthouse_tests::{Answer, Mpm, Server, Setup};

/// As the crate's macro of the same purpose, for tests of one toolchain, which are left out where it is.
macro_rules! guests_of {
    ($toolchain:ident { under every mpm: $($every:ident)*; under event: $($event:ident)* }) => {
        mod $toolchain {
            guests_of!(@one prefork Prefork $($every)*);
            guests_of!(@one worker Worker $($every)*);
            guests_of!(@one event Event $($every)* $($event)*);
        }
    };
    (@one $module:ident $mpm:ident $($test:ident)*) => {
        mod $module {
            $(
                #[test]
                #[ignore = "needs guests of other toolchains: cargo xtask test --languages"]
                fn $test() {
                    super::super::$test(guesthouse_tests::Mpm::$mpm);
                }
            )*
        }
    };
}

guests_of!(rust { under every mpm: a_plain_rust_program_is_served; under event: });
guests_of!(zig { under every mpm: ; under event: a_plain_zig_program_is_served });
guests_of!(c {
    under every mpm: a_c_component_is_served;
    under event: a_plain_c_program_is_served a_c_library_makes_html_of_markdown
});
guests_of!(lua { under every mpm: ; under event: a_lua_script_answers_a_form });
guests_of!(go { under every mpm: ; under event: a_go_component_is_served a_plain_go_program_is_served });
guests_of!(python {
    under every mpm: a_python_handler_is_served;
    under event: a_python_handler_serves_many_at_once
});
guests_of!(javascript {
    under every mpm: a_javascript_handler_is_served;
    under event: a_typescript_handler_is_served a_javascript_handler_serves_many_at_once
                 an_api_in_javascript_reaches_whom_it_may_and_no_other
});
guests_of!(php {
    under every mpm: a_php_page_answers_a_form_and_remembers_its_sender;
    under event: a_php_page_knows_what_it_was_asked a_php_page_reads_bodies_and_keeps_a_session
                 a_php_page_that_fails_is_answered_as_far_as_it_came
});

/// Larger than what any buffer on the way holds.
const LARGE: usize = 3_000_000;

fn a_javascript_handler_is_served(mpm: Mpm) {
    component_is_served(mpm, "hello-js", Some("echo-js"));
}

fn a_typescript_handler_is_served(mpm: Mpm) {
    component_is_served(mpm, "hello-ts", None);
}

fn a_javascript_handler_serves_many_at_once(mpm: Mpm) {
    serves_many_at_once(mpm, "hello-js-p3");
}

fn a_python_handler_is_served(mpm: Mpm) {
    component_is_served(mpm, "hello-python", Some("echo-python"));
}

fn a_python_handler_serves_many_at_once(mpm: Mpm) {
    serves_many_at_once(mpm, "hello-python-p3");
}

fn a_go_component_is_served(mpm: Mpm) {
    component_is_served(mpm, "hello-go", None);
}

fn a_c_component_is_served(mpm: Mpm) {
    component_is_served(mpm, "hello-c", None);
}

fn a_plain_rust_program_is_served(mpm: Mpm) {
    program_is_served(mpm, "hello-rust-cgi");
}

fn a_plain_zig_program_is_served(mpm: Mpm) {
    program_is_served(mpm, "hello-zig");
}

fn a_plain_c_program_is_served(mpm: Mpm) {
    program_is_served(mpm, "hello-c-cgi");
}

fn a_plain_go_program_is_served(mpm: Mpm) {
    program_is_served(mpm, "hello-go-cgi");
}

fn a_c_library_makes_html_of_markdown(mpm: Mpm) {
    const PARAGRAPHS: usize = 50_000;
    let server = Setup::new(mpm).module("markdown-c", "/markdown").compiled().start();
    let answer = post(&server, "/markdown", "text/markdown", "# Title\n\nSome *text* and <script>none</script>.\n");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert_eq!(answer.text(), "<h1>Title</h1>\n<p>Some <em>text</em> and &lt;script&gt;none&lt;/script&gt;.</p>\n");
    assert!(server.get("/markdown").text().starts_with("<!doctype html>"));
    // Longer than the program's first buffer, so that it has to be moved.
    let long = post(&server, "/markdown", "text/markdown", &"a *b* c\n\n".repeat(PARAGRAPHS));
    assert_eq!(long.text().matches("<p>a <em>b</em> c</p>").count(), PARAGRAPHS);
    // One paragraph with more marks than there is memory for.
    let too_long = post(&server, "/markdown", "text/markdown", &"a *b* c\n".repeat(LARGE / 8));
    assert_eq!((too_long.status, too_long.text()), (413, "The text is too long.\n"));
}

fn an_api_in_javascript_reaches_whom_it_may_and_no_other(mpm: Mpm) {
    let allowed = Upstream::start("<!doctype html><title> A page </title>");
    let other = Upstream::start("<title>secret</title>");
    let path = guest("api-js");
    let (path, address) = (path.display(), allowed.address);
    let server = Setup::new(mpm)
        .tables(&format!("[[module]]\nname = \"api\"\npath = \"{path}\"\noutbound = [\"{address}\"]"))
        .tables("[[route]]\npath = \"/api\"\nmodule = \"api\"")
        .compiled()
        .start();

    let preview = server.get(&format!("/api/preview?url=http://{address}/"));
    assert_eq!((preview.status, preview.header("content-type")), (200, Some("application/json")));
    let told: serde_json::Value = serde_json::from_str(preview.text()).unwrap();
    assert_eq!((&told["status"], &told["title"]), (&200.into(), &"A page".into()));

    let refused = server.get(&format!("/api/preview?url=http://{}/", other.address));
    assert_eq!(refused.status, 502, "{}", refused.text());
    assert!(!refused.text().contains("secret"), "{}", refused.text());
    assert_eq!((allowed.requests(), other.requests()), (1, 0));
    assert_eq!(server.get("/api/else").status, 404);
}

fn a_lua_script_answers_a_form(mpm: Mpm) {
    let server = interpreter(Setup::new(mpm), "lua", "").compiled().start();
    assert!(server.get("/lua/").text().contains("<h1>Hello, world!</h1>"));
    assert!(server.get("/lua/index.lua?name=A%3Cb+c").text().contains("<h1>Hello, A&lt;b c!</h1>"));
    let answer = post(&server, "/lua/", "application/x-www-form-urlencoded", "name=Lua");
    assert!(answer.text().contains("<h1>Hello, Lua!</h1>"), "{}", answer.text());
}

fn a_php_page_answers_a_form_and_remembers_its_sender(mpm: Mpm) {
    let setup = Setup::new(mpm);
    let data = setup.folder().join("data");
    std::fs::create_dir(&data).unwrap();
    let grant = format!("[[module.dir]]\nhost = \"{}\"\nguest = \"/data\"\nwrite = true", data.display());
    let server = interpreter(setup, "php", &grant).compiled().start();

    let first = server.get("/php/");
    assert_eq!((first.status, first.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(
        first.text().contains("Hello, stranger!") && first.text().contains("asked for 1 times"),
        "{}",
        first.text()
    );

    let form = "application/x-www-form-urlencoded";
    let answer = post(&server, "/php/index.php", form, "name=%3CAnn%3E");
    assert!(answer.text().contains("Hello, &lt;Ann&gt;!"), "{}", answer.text());
    let cookie = answer.header("set-cookie").expect("the page remembers its visitor").split(';').next().unwrap();

    let request = format!("GET /php/ HTTP/1.1\r\nHost: h\r\nCookie: {cookie}\r\n\r\n");
    let again = server.exchange(request);
    assert!(again.text().contains("Hello, &lt;Ann&gt;!"), "{}", again.text());
    assert!(again.text().contains("asked for 3 times"), "{}", again.text());

    let nameless = post(&server, "/php/index.php", form, "name=");
    assert_eq!((nameless.status, nameless.text()), (400, "A name is missing.\n"));
}

fn a_php_page_knows_what_it_was_asked(mpm: Mpm) {
    let server = interpreter(Setup::new(mpm), "php", "").compiled().start();
    let answer = server.get("/php/about.php?a=1&b[]=x");
    let told: serde_json::Value = serde_json::from_str(answer.text()).unwrap();
    assert_eq!(told["interface"], "cgi-fcgi");
    assert_eq!(told["script"], "/php/about.php");
    assert_eq!(told["query"], serde_json::json!({"a": "1", "b": ["x"]}));
}

fn a_php_page_reads_bodies_and_keeps_a_session(mpm: Mpm) {
    let server = php_pages(
        mpm,
        &[
            ("input.php", "<?php echo strrev(file_get_contents('php://input'));"),
            (
                "upload.php",
                "<?php move_uploaded_file($_FILES['f']['tmp_name'], '/tmp/kept');
                 echo $_FILES['f']['name'], ': ', file_get_contents('/tmp/kept');",
            ),
            (
                "session.php",
                "<?php session_save_path('/tmp'); session_start();
                 $_SESSION['count'] = ($_SESSION['count'] ?? 0) + 1; echo $_SESSION['count'];",
            ),
            (
                "parts.php",
                "<?php function numbers() { yield 1; yield 2; }
                 function deep($levels) { return $levels ? 1 + deep($levels - 1) : 0; }
                 try { throw new Exception('caught'); } catch (Exception $error) { echo $error->getMessage(); }
                 echo ' ', array_sum(iterator_to_array(numbers())), ' ', preg_replace('/b+/', '-', 'abbc'), ' ',
                     json_encode([1]), ' ', (int) ctype_digit('12'), ' ', filter_var('7', FILTER_VALIDATE_INT), ' ',
                     hash('crc32b', 'a'), ' ', strlen(random_bytes(300)), ' ', date('Y', 0), ' ', count(token_get_all('<?php 1;')), ' ', deep(20000);",
            ),
        ],
    );
    assert_eq!(server.get("/php/parts.php").text(), "caught 3 a-c [1] 1 7 e8b7be43 300 1970 3 20000");
    assert_eq!(post(&server, "/php/input.php", "text/plain", "abc").text(), "cba");
    let form = "--x\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a.txt\"\r\n\r\nuploaded\r\n--x--\r\n";
    let upload = post(&server, "/php/upload.php", "multipart/form-data; boundary=x", form);
    assert_eq!(upload.text(), "a.txt: uploaded");

    let first = server.get("/php/session.php");
    assert_eq!(first.text(), "1");
    let cookie = first.header("set-cookie").expect("a session has a cookie").split(';').next().unwrap();
    for count in ["2", "3"] {
        let request = format!("GET /php/session.php HTTP/1.1\r\nHost: h\r\nCookie: {cookie}\r\n\r\n");
        assert_eq!(server.exchange(request).text(), count);
    }
}

fn a_php_page_that_fails_is_answered_as_far_as_it_came(mpm: Mpm) {
    let late = ("late.php", "<?php echo \"before\\n\"; not_a_function();");
    let early = ("early.php", "<?php not_a_function();");
    let server = php_pages(mpm, &[late, early, (".user.ini", "display_errors = 0\nlog_errors = 1")]);
    for (page, status, text) in [("late.php", 200, "before\n"), ("early.php", 500, "")] {
        let answer = server.get(&format!("/php/{page}"));
        assert_eq!((answer.status, answer.text()), (status, text), "the error is not for the client");
    }
    server.log.wait_for("module=php…stream=stderr…not_a_function");
    server.log.wait_for("module=php…status=255…exited");
}

/// A server of these pages under `/php`, which may write to `/tmp`.
fn php_pages(mpm: Mpm, pages: &[(&str, &str)]) -> Server {
    let setup = Setup::new(mpm);
    let (www, tmp) = (setup.folder().join("www"), setup.folder().join("tmp"));
    for folder in [&www, &tmp] {
        std::fs::create_dir(folder).unwrap();
    }
    for (page, text) in pages {
        std::fs::write(www.join(page), text).unwrap();
    }
    let grant = format!("[[module.dir]]\nhost = \"{}\"\nguest = \"/tmp\"\nwrite = true", tmp.display());
    interpreter_of(setup, "php", &grant, &www).compiled().start()
}

fn component_is_served(mpm: Mpm, hello: &str, echo: Option<&str>) {
    let mut setup = Setup::new(mpm).module(hello, "/hello-there");
    if let Some(echo) = echo {
        setup = setup.module(echo, "/echo-there");
    }
    let server = setup.compiled().start();
    greets(&server, "/hello-there");
    if echo.is_some() {
        echoes(&server, "/echo-there", "text/x", 0);
        echoes(&server, "/echo-there", "text/x", LARGE);
    }
}

fn program_is_served(mpm: Mpm, name: &str) {
    let server = Setup::new(mpm).module(name, "/there").compiled().start();
    greets(&server, "/there");
    echoes(&server, "/there", "text/plain", LARGE);
    greets(&server, "/there");
}

/// More requests than one instance takes at once.
fn serves_many_at_once(mpm: Mpm, name: &str) {
    const REQUESTS: usize = 40;
    let server = Setup::new(mpm).module(name, "/there").compiled().start();
    let mut clients: Vec<_> = (0..REQUESTS).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send_get("/there");
    }
    for mut client in clients {
        let answer = client.receive();
        assert_eq!((answer.status, answer.text()), (200, "Hello, world!\n"));
    }
}

fn greets(server: &Server, path: &str) {
    let answer = server.get(path);
    assert_eq!((answer.status, answer.text()), (200, "Hello, world!\n"));
    assert_eq!(answer.header("content-type"), Some("text/plain"));
}

fn echoes(server: &Server, path: &str, content_type: &str, length: usize) {
    let body: String = (0u8..26).cycle().map(|letter| char::from(b'a' + letter)).take(length).collect();
    let answer = post(server, path, content_type, &body);
    assert_eq!((answer.status, answer.header("content-type")), (200, Some(content_type)));
    assert!(answer.text() == body, "the echo of {length} bytes has {}", answer.body.len());
}

/// Sends while it receives: a guest that answers before it has read everything is not read for before it is answered.
fn post(server: &Server, path: &str, content_type: &str, body: &str) -> Answer {
    use std::io::Write as _;
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: h\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    let mut client = server.connect();
    let mut sender = client.sender();
    std::thread::scope(|scope| {
        scope.spawn(move || sender.write_all(request.as_bytes()).expect("the server takes the request"));
        client.receive()
    })
}

/// Adds an interpreter that runs the scripts of its example under `/NAME`.
fn interpreter(setup: Setup, name: &str, grants: &str) -> Setup {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name).join("www");
    interpreter_of(setup, name, grants, &root.canonicalize().expect("the example has scripts"))
}

/// Adds an interpreter that runs the scripts in a folder under `/NAME`.
fn interpreter_of(setup: Setup, name: &str, grants: &str, root: &Path) -> Setup {
    let path = guest(name);
    let path = path.display();
    setup.tables(&format!("[[module]]\nname = \"{name}\"\npath = \"{path}\"\n{grants}")).tables(&format!(
        "[[route]]\npath = \"/{name}\"\nmodule = \"{name}\"\nroot = \"{}\"\nindex = [\"index.{name}\"]\n\
         script_suffixes = [\".{name}\"]",
        root.display()
    ))
}
