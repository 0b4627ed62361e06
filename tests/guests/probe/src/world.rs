//! Paths that look around: environment, files, output, other servers, and what an earlier request may have left.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

use wasip2::cli::environment;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{Fields, IncomingBody, OutgoingRequest, Scheme};

use crate::exchange::{self, Exchange};

/// `/env?name=`: the variable's value, 404 without one. Without a name: all of them, one a line.
pub fn environment_variable(exchange: Exchange) {
    let all = environment::get_environment();
    match exchange.parameter("name") {
        None => {
            let lines: String = all.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
            exchange.text(200, &lines);
        }
        Some(wanted) => match all.iter().find(|(name, _)| name == wanted) {
            Some((_, value)) => exchange.text(200, value),
            None => exchange.text(404, "no such variable\n"),
        },
    }
}

/// `/args`: the arguments, one a line.
pub fn arguments(exchange: Exchange) {
    let lines: String = environment::get_arguments().iter().map(|argument| format!("{argument}\n")).collect();
    exchange.text(200, &lines);
}

/// `/read?path=`: the file, or 403 with the reason.
pub fn read_file(exchange: Exchange) {
    let read = std::fs::read_to_string(exchange.parameter("path").unwrap_or_default());
    answer_result(exchange, read);
}

/// `/write?path=&text=`: writes the file; 200, or 403 with the reason.
pub fn write_file(exchange: Exchange) {
    let text = exchange.parameter("text").unwrap_or_default();
    let written = std::fs::write(exchange.parameter("path").unwrap_or_default(), text);
    answer_result(exchange, written.map(|()| "written\n".to_owned()));
}

/// `/list?path=`: the names in the directory, sorted, one a line, or 403 with the reason.
pub fn list_directory(exchange: Exchange) {
    let listed = std::fs::read_dir(exchange.parameter("path").unwrap_or("/")).map(|entries| {
        let mut names: Vec<String> =
            entries.flatten().map(|entry| format!("{}\n", entry.file_name().to_string_lossy())).collect();
        names.sort();
        names.concat()
    });
    answer_result(exchange, listed);
}

/// `/stdout?lines=&text=`, `/stderr?…`: prints that many numbered lines.
pub fn print(exchange: Exchange, mut to: impl Write) {
    let text = exchange.parameter("text").unwrap_or("line");
    for number in 1..=exchange.number("lines", 1) {
        let _ = writeln!(to, "{text} {number}");
    }
    let _ = to.flush();
    exchange.text(200, "printed\n");
}

/// `/fetch?url=`: GETs the address. "answered STATUS" and the body, or "failed: ERROR"; always 200, because it is the
/// outcome that is asked for.
pub fn fetch(exchange: Exchange) {
    let url = exchange.parameter("url").unwrap_or_default();
    let outcome = get(url).unwrap_or_else(|reason| format!("failed: {reason}\n"));
    exchange.text(200, &outcome);
}

/// `/count`: how many requests this instance has served; 1 if every request has its own.
pub fn count(exchange: Exchange) {
    static SERVED: AtomicU32 = AtomicU32::new(0);
    let served = SERVED.fetch_add(1, Ordering::Relaxed) + 1;
    exchange.text(200, &format!("{served}\n"));
}

/// `/instance?ms=`: a number that this instance alone has, how many requests it has served, and "alone", or "entered" if
/// another request was still inside. Stays inside for so long.
pub fn instance(exchange: Exchange) {
    static NAME: OnceLock<u64> = OnceLock::new();
    static SERVED: AtomicU32 = AtomicU32::new(0);
    static INSIDE: AtomicBool = AtomicBool::new(false);
    let name = *NAME.get_or_init(wasip2::random::random::get_random_u64);
    let served = SERVED.fetch_add(1, Ordering::Relaxed) + 1;
    let company = if INSIDE.swap(true, Ordering::Relaxed) { "entered" } else { "alone" };
    let stay = exchange.millis(0);
    if !stay.is_zero() {
        exchange::sleep(stay);
    }
    INSIDE.store(false, Ordering::Relaxed);
    exchange.text(200, &format!("{name:016x} {served} {company}\n"));
}

/// `/canary?leave=WORD`: leaves a word in a static and all over a megabyte of the heap. `/canary?seek=DROW`: says
/// "found" if this instance's memory holds the word anywhere, otherwise "clean". The word that is sought is written
/// backwards, because the request itself puts what it names into memory.
pub fn canary(exchange: Exchange) {
    static LEFT: Mutex<Vec<u8>> = Mutex::new(Vec::new());
    if let Some(word) = exchange.parameter("leave") {
        *LEFT.lock().expect("a guest has one thread") = word.repeat((1 << 20) / word.len().max(1)).into_bytes();
        exchange.text(200, "left\n");
        return;
    }
    let reversed = exchange.parameter("seek").unwrap_or_default().as_bytes();
    let found = memory_holds_reversed(reversed);
    exchange.text(200, if found { "found\n" } else { "clean\n" });
}

fn answer_result(exchange: Exchange, result: std::io::Result<String>) {
    match result {
        Ok(text) => exchange.text(200, &text),
        Err(reason) => exchange.text(403, &format!("{reason}\n")),
    }
}

fn get(url: &str) -> Result<String, String> {
    let (scheme, rest) = url.split_once("://").ok_or("the address has no scheme")?;
    let (authority, path) = rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash));
    let request = OutgoingRequest::new(Fields::new());
    let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
    request.set_scheme(Some(&scheme)).map_err(|()| "the scheme was refused")?;
    request.set_authority(Some(authority)).map_err(|()| "the authority was refused")?;
    request.set_path_with_query(Some(path)).map_err(|()| "the path was refused")?;

    let arriving = outgoing_handler::handle(request, None).map_err(|code| format!("{code:?}"))?;
    arriving.subscribe().block();
    let response =
        arriving.get().expect("it is ready").expect("it is taken once").map_err(|code| format!("{code:?}"))?;
    let body = response.consume().expect("the body is taken once");
    Ok(format!("answered {}\n{}", response.status(), read_to_end(&body)?))
}

fn read_to_end(body: &IncomingBody) -> Result<String, String> {
    let mut text = String::new();
    let mut stream = body.stream().expect("the stream is taken once");
    std::io::Read::read_to_string(&mut stream, &mut text).map_err(|broken| broken.to_string())?;
    Ok(text)
}

/// Looks through the whole linear memory for a word that is given backwards.
fn memory_holds_reversed(reversed: &[u8]) -> bool {
    let matches_at = |at: usize| {
        reversed.iter().rev().enumerate().all(|(offset, byte)| {
            // SAFETY: `at + offset` lies below the memory's size, see `ends`; all of linear memory is readable, and
            // nothing else runs in it meanwhile.
            unsafe { std::ptr::read_volatile((at + offset) as *const u8) == *byte }
        })
    };
    let ends = memory_bytes() - reversed.len();
    !reversed.is_empty() && (1..=ends).any(matches_at)
}

#[cfg(target_arch = "wasm32")]
fn memory_bytes() -> usize {
    const PAGE_BYTES: usize = 64 * 1024;
    core::arch::wasm32::memory_size::<0>() * PAGE_BYTES
}

/// Only so that the checks of the host's toolchain can read this file: a guest exists nowhere else.
#[cfg(not(target_arch = "wasm32"))]
fn memory_bytes() -> usize {
    unreachable!("the probe runs only as a guest")
}
