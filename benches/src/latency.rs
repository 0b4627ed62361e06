//! How long clients wait for their answers, and who keeps the server busy meanwhile.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::client::Client;
use crate::figures::quantile;

/// Clients that ask, each on a connection that it keeps: some for each thread of the server.
const CLIENTS: u32 = 8;

/// Each of them asks so often.
const EVERY: Duration = Duration::from_millis(5);

/// Milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Latency {
    pub median: f64,
    pub p99: f64,
    pub max: f64,
}

impl Latency {
    /// Asks for `path` for so long.
    pub fn measure(to: SocketAddr, path: &str, duration: Duration) -> Result<Self> {
        let began = Instant::now();
        let waits: Vec<Result<Vec<f64>>> = thread::scope(|scope| {
            let start = |index| scope.spawn(move || ask(to, path, began + EVERY * index / CLIENTS, duration));
            let clients: Vec<_> = (0..CLIENTS).map(start).collect();
            clients.into_iter().map(|client| client.join().expect("a client does not panic")).collect()
        });
        let mut waits = waits.into_iter().collect::<Result<Vec<_>>>()?.concat();
        Ok(Self { median: quantile(&mut waits, 0.5), p99: quantile(&mut waits, 0.99), max: quantile(&mut waits, 1.0) })
    }
}

/// One client; the waits that it has seen, in milliseconds.
fn ask(to: SocketAddr, path: &str, first: Instant, duration: Duration) -> Result<Vec<f64>> {
    let mut client = Client::connect(to, None)?;
    let mut waits = Vec::new();
    let mut due = first;
    while due < first + duration {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let began = Instant::now();
        client.get(path)?;
        waits.extend(with_those_not_asked(began.elapsed()).map(|wait| wait.as_secs_f64() * 1e3));
        due = Instant::now().max(due + EVERY);
    }
    Ok(waits)
}

/// A client that still waits when it should ask again does not, and so the longest waits would be the fewest. What it
/// did not ask counts as answered together with what it waited for, as whoever had asked at that moment would have seen.
fn with_those_not_asked(wait: Duration) -> impl Iterator<Item = Duration> {
    std::iter::successors(Some(wait), |wait| wait.checked_sub(EVERY).filter(|left| !left.is_zero()))
}

/// Does something while so many clients each keep a request for `path` going, one after the other. It begins when every
/// one of them has been answered once.
pub fn beside<T>(neighbours: usize, to: SocketAddr, path: &str, something: impl FnOnce() -> Result<T>) -> Result<T> {
    let end = AtomicBool::new(false);
    thread::scope(|scope| {
        let (started, starts) = mpsc::channel();
        let start = |started| scope.spawn(|| keep_asking(to, path, started, &end));
        let clients: Vec<_> = (0..neighbours).map(|_| start(started.clone())).collect();
        drop(started);
        // One that fails hangs up without a word.
        let outcome = (starts.iter().count() == neighbours).then(something);
        end.store(true, Ordering::Relaxed);
        for client in clients {
            client.join().expect("a client does not panic")?;
        }
        outcome.expect("who fails says why")
    })
}

fn keep_asking(to: SocketAddr, path: &str, started: mpsc::Sender<()>, end: &AtomicBool) -> Result<()> {
    let mut client = Client::connect(to, None)?;
    client.get(path)?;
    // Whoever waits for it waits for all.
    let _ = started.send(());
    drop(started);
    while !end.load(Ordering::Relaxed) {
        client.get(path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn milliseconds(wait: u64) -> Vec<u128> {
        with_those_not_asked(Duration::from_millis(wait)).map(|wait| wait.as_millis()).collect()
    }

    #[test]
    fn a_short_wait_counts_once() {
        assert_eq!(milliseconds(0), [0]);
        assert_eq!(milliseconds(5), [5]);
    }

    #[test]
    fn what_was_not_asked_during_a_long_wait_counts_too() {
        assert_eq!(milliseconds(17), [17, 12, 7, 2]);
    }
}
