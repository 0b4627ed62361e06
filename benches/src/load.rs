//! Load by wrk, and what it cost the server.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::servers::Server;

/// wrk's threads and connections: one thread keeps the load generator from taking a second core, and 32 connections
/// keep a server of a few threads busy.
const THREADS: &str = "1";
pub const CONNECTIONS: usize = 32;

/// One turn of load.
#[derive(Debug, Clone, Copy)]
pub struct Turn {
    /// Microseconds of CPU time that all processes of the server used for one request.
    pub cpu: f64,
    /// Answered in a second.
    pub rate: f64,
}

/// Loads a server with requests for `path` and takes its CPU time before and after.
pub fn load(wrk: &Path, server: &Server, path: &str, duration: Duration) -> Result<Turn> {
    let seconds = duration.as_secs().max(1).to_string();
    let url = format!("http://{}{path}", server.address());
    let before = server.cpu_seconds();
    let output = Command::new(wrk)
        .args(["--threads", THREADS, "--connections", &CONNECTIONS.to_string(), "--duration", &seconds, &url])
        .output()
        .with_context(|| format!("cannot start {}", wrk.display()))?;
    let after = server.cpu_seconds();
    let text = String::from_utf8_lossy(&output.stdout);
    let (requests, rate) = parse(&text).with_context(|| {
        format!("cannot read what wrk says of {url}: {text}{}", String::from_utf8_lossy(&output.stderr))
    })?;
    Ok(Turn { cpu: (after - before) * 1e6 / requests, rate })
}

/// Requests and requests per second. Answers that were none make the figures worthless, so they are an error.
fn parse(text: &str) -> Result<(f64, f64)> {
    if let Some(line) = text.lines().find(|line| line.contains("Socket errors") || line.contains("Non-2xx")) {
        bail!("not every request was answered: {}", line.trim());
    }
    let requests = text.lines().find_map(|line| line.split_once(" requests in ")).map(|(number, _)| number.trim());
    let rate = text.lines().find_map(|line| line.trim().strip_prefix("Requests/sec:")).map(str::trim);
    let requests: f64 = requests.context("it does not say how many requests")?.parse()?;
    if requests < 1.0 {
        bail!("no request was answered");
    }
    Ok((requests, rate.context("it does not say how many requests per second")?.parse()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "Running 1s test @ http://127.0.0.1:9003/\n  1 threads and 32 connections\n  \
        12345 requests in 1.00s, 1.2MB read\nRequests/sec:  12300.50\nTransfer/sec:      1.20MB\n";

    #[test]
    fn the_two_figures_are_found() {
        let (requests, rate) = parse(SAID).unwrap();
        assert!((requests - 12345.0).abs() < 1e-9 && (rate - 12300.5).abs() < 1e-9);
    }

    #[test]
    fn answers_that_are_none_are_an_error() {
        for line in ["  Socket errors: connect 0, read 3, write 0, timeout 0\n", "  Non-2xx or 3xx responses: 7\n"] {
            assert!(parse(&format!("{SAID}{line}")).unwrap_err().to_string().contains(line.trim()));
        }
    }
}
