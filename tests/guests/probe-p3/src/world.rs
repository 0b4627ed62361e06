//! Paths that look around: environment, files, output, other servers, and what shares the instance.

use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use wasip3::cli::environment;
use wasip3::http::client;
use wasip3::http::types::{Fields, Request, Response, Scheme};
use wasip3::wit_future;

use crate::exchange::{self, Exchange, Outcome};

/// `/env?name=`: the variable's value, 404 without one. Without a name: all of them, one a line.
pub fn environment_variable(exchange: &Exchange) -> Outcome {
    let all = environment::get_environment();
    let Some(wanted) = exchange.target.parameter("name") else {
        let lines: String = all.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        return exchange::text(200, &lines);
    };
    match all.into_iter().find(|(name, _)| name == wanted) {
        Some((_, value)) => exchange::text(200, &value),
        None => exchange::text(404, "no such variable\n"),
    }
}

/// `/read?path=`: the file, or 403 with the reason.
pub fn read_file(exchange: &Exchange) -> Outcome {
    match std::fs::read_to_string(exchange.target.parameter("path").unwrap_or_default()) {
        Ok(text) => exchange::text(200, &text),
        Err(reason) => exchange::text(403, &format!("{reason}\n")),
    }
}

/// `/stdout?lines=&text=`, `/stderr?…`: prints that many numbered lines.
pub fn print(exchange: &Exchange, mut to: impl Write) -> Outcome {
    let text = exchange.target.parameter("text").unwrap_or("line");
    for number in 1..=exchange.target.number("lines", 1) {
        let _ = writeln!(to, "{text} {number}");
    }
    let _ = to.flush();
    exchange::text(200, "printed\n")
}

/// `/fetch?url=`: GETs the address. "answered STATUS" and the body, or "failed: ERROR"; always 200, because it is the
/// outcome that is asked for.
pub async fn fetch(exchange: &Exchange) -> Outcome {
    let url = exchange.target.parameter("url").unwrap_or_default();
    let outcome = get(url).await.unwrap_or_else(|reason| format!("failed: {reason}\n"));
    exchange::text(200, &outcome)
}

/// `/count`: how many requests this instance has begun.
pub fn count() -> Outcome {
    static SERVED: AtomicU32 = AtomicU32::new(0);
    let served = SERVED.fetch_add(1, Ordering::Relaxed) + 1;
    exchange::text(200, &format!("{served}\n"))
}

/// `/instance?ms=`: a number that this instance alone has, how many requests it has begun, and how many were inside with
/// this one at the most. Stays inside for so long.
pub async fn instance(exchange: &Exchange) -> Outcome {
    static NAME: OnceLock<u64> = OnceLock::new();
    static SERVED: AtomicU32 = AtomicU32::new(0);
    static INSIDE: AtomicU32 = AtomicU32::new(0);
    let name = *NAME.get_or_init(wasip3::random::random::get_random_u64);
    let served = SERVED.fetch_add(1, Ordering::Relaxed) + 1;
    let before = INSIDE.fetch_add(1, Ordering::Relaxed) + 1;
    exchange::sleep(exchange.target.millis(0)).await;
    let after = INSIDE.fetch_sub(1, Ordering::Relaxed);
    exchange::text(200, &format!("{name:016x} {served} {}\n", before.max(after)))
}

async fn get(url: &str) -> Result<String, String> {
    let (scheme, rest) = url.split_once("://").ok_or("the address has no scheme")?;
    let (authority, path) = rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash));
    let (_, no_trailers) = wit_future::new(|| Ok(None));
    let (request, _sent) = Request::new(Fields::new(), None, no_trailers, None);
    let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
    request.set_scheme(Some(&scheme)).map_err(|()| "the scheme was refused")?;
    request.set_authority(Some(authority)).map_err(|()| "the authority was refused")?;
    request.set_path_with_query(Some(path)).map_err(|()| "the path was refused")?;

    let response = client::send(request).await.map_err(|code| format!("{code:?}"))?;
    let status = response.get_status_code();
    let (_processed, outcome) = wit_future::new(|| Ok(()));
    let (contents, trailers) = Response::consume_body(response, outcome);
    let text = contents.collect().await;
    trailers.await.map_err(|code| format!("{code:?}"))?;
    Ok(format!("answered {status}\n{}", String::from_utf8_lossy(&text)))
}
