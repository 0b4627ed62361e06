//! What the parts of a request cost: the pure ones, a guest's whole call without a network, and, in `turn`, the network
//! without a guest: `cargo bench`.
//!
//! These are for seeing whether a change to one part helps. What a request costs all together is what
//! `cargo xtask bench` measures.

mod turn;

use std::hint::black_box;
use std::path::PathBuf;
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use criterion::{Criterion, criterion_group};
use guesthouse::config;
use guesthouse::guest::{CallFacts, Capacity, Guests, ModuleSource, Progress, RequestBody, Scheme, compile};
use guesthouse::http::{AnswerContext, AnswerLength, Http1, Limits, Output, Received};
use guesthouse::module::{Kind, WasmFile};
use guesthouse::request_id::RequestIds;
use guesthouse::route::Router;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Request, StatusCode};

/// As the server has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BARE: &[u8] = b"GET /hello HTTP/1.1\r\nHost: localhost:8080\r\n\r\n";

const BROWSER: &[u8] = b"GET /articles/2026/11/hello?lang=en&page=2 HTTP/1.1\r\n\
    Host: www.example.org\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
    Accept-Language: en-GB,en;q=0.7,de;q=0.3\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Referer: https://www.example.org/articles/\r\n\
    Connection: keep-alive\r\n\
    Cookie: visitor=b1946ac92492d2347c6235b4d2611184; theme=dark\r\n\
    Upgrade-Insecure-Requests: 1\r\n\
    Sec-Fetch-Dest: document\r\n\
    Sec-Fetch-Mode: navigate\r\n\
    Sec-Fetch-Site: same-origin\r\n\
    Priority: u=0, i\r\n\r\n";

const DATE: &str = "Sat, 21 Nov 2026 08:49:37 GMT";

criterion_group!(benches, parse, encode, route, call, turn::turn);

/// As `criterion_main!` would write it, but for the process that `turn` measures.
fn main() {
    if turn::is_server() {
        return;
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
}

fn parse(c: &mut Criterion) {
    let limits = Limits::default();
    for (name, bytes) in [("parse a bare head", BARE), ("parse a browser's head", BROWSER)] {
        c.bench_function(name, |b| b.iter(|| black_box(asked(bytes, &limits))));
    }
}

/// A connection on which a request was received.
fn asked(bytes: &[u8], limits: &Limits) -> Http1 {
    let mut http = Http1::new();
    let mut input = BytesMut::from(bytes);
    let received = http.receive(&mut input, limits);
    assert!(matches!(black_box(received), Ok(Received::Head(_))), "the request is well-formed");
    http
}

fn encode(c: &mut Criterion) {
    let limits = Limits::default();
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("text/plain"))]);
    let context = AnswerContext { date: DATE, close: false };
    let body = Bytes::from_static(b"Hello, world!\n");
    c.bench_function("encode an answer", |b| {
        b.iter_batched_ref(
            || asked(BARE, &limits),
            |http| {
                let mut output = Output::new();
                let length = AnswerLength::Known(body.len() as u64);
                http.answer(StatusCode::OK, &headers, length, &context, &mut output)
                    .expect("the answer is well-formed");
                http.data(body.clone(), &mut output).expect("it is as long as announced");
                http.end(None, &mut output).expect("it is complete");
                output
            },
            criterion::BatchSize::SmallInput,
        );
    });
}

fn route(c: &mut Criterion) {
    let mut text = String::from("[server]\naccess_log = \"off\"\n");
    for index in 0..20 {
        text.push_str(&format!("[[route]]\npath = \"/part-{index}\"\ntext = \"ok\"\n"));
        text.push_str(&format!("[[route]]\nhost = \"h{index}.example.org\"\npath = \"/\"\ntext = \"ok\"\n"));
    }
    let router = Router::new(&configured(&text).routes);
    for (name, authority, path) in [
        ("route by path, the last of 20", "localhost:8080", "/part-0/x"),
        ("route by host", "h7.example.org", "/articles/2026/11/hello"),
        ("route a path that is not normal", "localhost:8080", "/x/../%70art-3/"),
    ] {
        assert!(router.find(authority, path).expect("the path means something").is_some(), "{path} has a route");
        c.bench_function(name, |b| b.iter(|| black_box(router.find(black_box(authority), black_box(path))).is_ok()));
    }
}

/// What the guest is.
const KIND: Kind = Kind::HttpIncomingHandler;

/// From the request to the end of its call, on one thread: in an instance that is made and dropped, and in one that is
/// kept. Needs `cargo xtask guests`; without the guest it is left out.
fn call(c: &mut Criterion) {
    let Some(wasm) = guest("hello.wasm") else {
        eprintln!("the guest's call is not measured: target/guests/hello.wasm is not built (cargo xtask guests)");
        return;
    };
    let text = format!("[server]\naccess_log = \"off\"\n[[module]]\nname = \"hello\"\npath = \"{}\"\n", wasm.display());
    let config = configured(&text);
    let cache = tempfile::tempdir().expect("there is a temporary directory");
    let compiled =
        compile::compile(&WasmFile::read(&wasm).expect("it can be read"), KIND, &wasm, &cache.path().join("cache"))
            .expect("the guest can be served");
    let (settings, native) = (&config.modules[0], compiled.native.as_path());
    let modules = [1, 0].map(|max_requests_per_instance| ModuleSource {
        settings,
        kind: KIND,
        native,
        max_requests_per_instance,
        max_concurrent_requests_per_instance: 1,
    });
    let capacity = Capacity { calls_max: 400, threads: 1, spare: 0, time_slice: Duration::from_millis(1) };
    let guests = Guests::start(&modules, capacity).expect("the engine starts");
    let mut shelf = guests.shelf(Waker::noop().clone());
    let mut ids = RequestIds::new(0);
    for (module, name) in [(0, "call the hello guest"), (1, "call the hello guest, in a kept instance")] {
        c.bench_function(name, |b| {
            b.iter(|| {
                let request = Request::get("/hello").body(RequestBody::empty()).expect("the request is well-formed");
                let authority = HeaderValue::from_static("localhost:8080");
                let facts = CallFacts { scheme: Scheme::Http, authority, request_id: ids.issue(), cgi: None };
                let mut call = guests.call(&mut shelf, module, request, facts);
                loop {
                    match call.poll(&mut Context::from_waker(Waker::noop())) {
                        Progress::Done => break call.finish(&mut shelf),
                        Progress::Failed(fault) => panic!("the guest answers: {fault}"),
                        Progress::Pending => panic!("the guest waits for nothing"),
                        said => drop(black_box(said)),
                    }
                }
            });
        });
    }
}

fn configured(text: &str) -> config::Config {
    let file = std::env::temp_dir().join("guesthouse.toml");
    let (config, _warnings) = config::read_text(text, &file).expect("the configuration is right");
    config
}

/// A guest, where `cargo xtask guests` puts it: TARGET/guests, beside TARGET/PROFILE/deps/THIS_PROGRAM.
fn guest(name: &str) -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?;
    let file = own.ancestors().nth(3)?.join("guests").join(name);
    file.exists().then_some(file)
}
