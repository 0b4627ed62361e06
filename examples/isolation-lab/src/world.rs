//! Paths that reach for what lies outside of the sandbox: files, other servers, time.

use std::time::Duration;
use std::{fs, io};

use serde_json::{Value, json};
use wasip2::clocks::monotonic_clock;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{Fields, OutgoingRequest, Scheme};

use crate::exchange::Exchange;
use crate::memory;

/// What `/sleep` does without a number that can be read.
const SLEEP: Duration = Duration::from_millis(500);

/// `/files`: tries to read, to list and to write, and tells what came of it.
pub fn try_files(exchange: Exchange) {
    let attempts = [
        attempt_on_disk("read /etc/passwd", fs::read_to_string("/etc/passwd")),
        attempt_on_disk("list /", fs::read_dir("/")),
        attempt_on_disk("write /tmp/lab", fs::write("/tmp/lab", "I was here\n")),
    ];
    tell(exchange, &attempts);
}

/// `/call-out`: asks another server for a page, and tells what came of it.
pub fn call_out(exchange: Exchange) {
    tell(exchange, &[attempt("GET http://example.com/", get("example.com"))]);
}

/// `/sleep?ms=`: waits on the host's clock, then answers.
pub fn sleep(exchange: Exchange) {
    let wanted = exchange.parameter("ms").and_then(|ms| ms.parse().ok()).map(Duration::from_millis);
    pause(wanted.unwrap_or(SLEEP));
    exchange.json(200, &memory::state());
}

/// Waits on the host's clock, where it takes no thread.
pub fn pause(duration: Duration) {
    let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    monotonic_clock::subscribe_duration(nanoseconds).block();
}

/// An attempt that was refused is an answer like any other: the page asks what happened.
fn tell(exchange: Exchange, attempts: &[Value]) {
    let mut answer = memory::state();
    answer["attempts"] = attempts.into();
    exchange.json(200, &answer);
}

fn attempt_on_disk<T>(what: &str, outcome: io::Result<T>) -> Value {
    attempt(what, outcome.map(|_| "done".to_owned()).map_err(|refused| refused.kind()))
}

fn attempt(what: &str, outcome: Result<String, impl ToString>) -> Value {
    let (succeeded, told) = match outcome {
        Ok(told) => (true, told),
        Err(refused) => (false, refused.to_string()),
    };
    json!({ "what": what, "succeeded": succeeded, "told": told })
}

fn get(authority: &str) -> Result<String, String> {
    let request = OutgoingRequest::new(Fields::new());
    request.set_scheme(Some(&Scheme::Http)).map_err(|()| "the scheme was refused")?;
    request.set_authority(Some(authority)).map_err(|()| "the authority was refused")?;
    request.set_path_with_query(Some("/")).map_err(|()| "the path was refused")?;

    let arriving = outgoing_handler::handle(request, None).map_err(|code| format!("{code:?}"))?;
    arriving.subscribe().block();
    let arrived = arriving.get().expect("it is ready").expect("it is taken once");
    arrived.map(|response| format!("answered {}", response.status())).map_err(|code| format!("{code:?}"))
}
