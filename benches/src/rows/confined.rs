//! Modules that must not share threads, in processes of their own: rows 6 (what a request costs) and 10 (what an idle
//! process costs), beside Apache's way to do the same.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use super::{Entrant, in_turns};
use crate::Bench;
use crate::client::Client;
use crate::figures::{Bound, Figure, Measured, Unit, Verdict};
use crate::processes::MEBIBYTE;
use crate::servers::{HELLO, SCRIPT, Setup, guesthouse, peers};

/// Guesthouse's: a process answers one request at a time, whoever asks, so that two for each core are never all idle.
const PROCESSES: usize = 4;

/// PHP's behind nginx: a process answers one request at a time, as ours do.
const FPM_PROCESSES: usize = PROCESSES;

/// Apache's: a process holds one connection. One for each that the load keeps, and a few for those that come and go.
const APACHE_PROCESSES: usize = 40;

/// The probe says which instance has answered. It takes its time, so that those that ask at once meet different ones: of
/// idle processes the kernel wakes the same one over and over.
const INSTANCE: &str = "/instance?ms=50";

/// How long it may take until every process of a pool has answered.
const ALL_ANSWERED_MAX: Duration = Duration::from_secs(60);

/// Row 6.
pub(super) fn hello(bench: &Bench) -> Result<Measured> {
    let own = format!("Guesthouse, {PROCESSES} confined processes");
    let peer = format!("Apache prefork + mod_php, {APACHE_PROCESSES} processes");
    let mut entrants = Vec::new();
    let setup = guesthouse::confined_hello(bench, "hello.wasm", PROCESSES)?;
    entrants.push(Entrant { setup: setup.named(&own), path: HELLO });
    if let Some(setup) = peers::mod_php(bench, APACHE_PROCESSES)? {
        entrants.push(Entrant { setup: setup.named(&peer), path: SCRIPT });
    }
    let fpm = format!("nginx + php-fpm, {FPM_PROCESSES} processes");
    if let Some(setup) = peers::php_fpm(bench, FPM_PROCESSES)? {
        entrants.push(Entrant { setup: setup.named(&fpm), path: SCRIPT });
    }
    let mut measured = in_turns(bench, entrants)?;
    measured.ratio(&own, &peer, Some(1.0), Some(0.6));
    measured.ratio(&own, &fpm, None, None);
    Ok(measured)
}

/// Row 10: the same server with some processes and with twice as many, after every one of them has answered, and what
/// the second takes beyond the first.
pub(super) fn memory(bench: &Bench) -> Result<Measured> {
    let own = Kind {
        setup: |bench, processes| guesthouse::confined_probe(bench, processes).map(Some),
        path: INSTANCE,
        let_all_answer: ask_every_instance,
    };
    let apache = Kind { setup: peers::mod_php, path: SCRIPT, let_all_answer: ask_on_every_connection };
    let figures = [own.memory_of_one_more(bench)?, apache.memory_of_one_more(bench)?];
    let figures: Vec<_> = figures.into_iter().flatten().collect();
    let verdicts = vec![Verdict {
        what: "Guesthouse, MiB for each".to_owned(),
        value: figures[0].median(),
        must: Some(Bound::AtMost(6.0)),
        go_for: Some(Bound::AtMost(2.0)),
    }];
    Ok(Measured { figures, verdicts, ..Measured::default() })
}

/// A server with a number of processes that answer one request at a time.
struct Kind {
    setup: fn(&Bench, usize) -> Result<Option<Setup>>,
    path: &'static str,
    let_all_answer: fn(SocketAddr, usize) -> Result<()>,
}

impl Kind {
    fn memory_of_one_more(&self, bench: &Bench) -> Result<Option<Figure>> {
        let few = bench.effort.confined_processes;
        let many = 2 * few;
        let (Some(mut with_few), Some(mut with_many)) = ((self.setup)(bench, few)?, (self.setup)(bench, many)?) else {
            return Ok(None);
        };
        let (mut of_few, mut of_many) = (Vec::new(), Vec::new());
        for _ in 0..bench.effort.rounds {
            of_few.push(self.memory(&mut with_few, few)?);
            of_many.push(self.memory(&mut with_many, many)?);
        }
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let each = of_few.iter().zip(&of_many).map(|(few_bytes, many_bytes)| (many_bytes - few_bytes) / few as f64);
        let figure = Figure::new(with_few.name, Unit::MebibytesPerProcess, each.collect());
        let [of_few, of_many] = [of_few, of_many].map(|all| Figure::new("", Unit::Mebibytes, all).median());
        let note = format!("{of_few:.1} MiB with {few}, {of_many:.1} MiB with {many}");
        Ok(Some(figure.with_note(note)))
    }

    /// Of the whole tree, mebibytes.
    fn memory(&self, setup: &mut Setup, processes: usize) -> Result<f64> {
        let started = setup.start(self.path)?;
        (self.let_all_answer)(started.server.address(), processes)?;
        Ok(started.server.memory() / MEBIBYTE)
    }
}

/// Whichever process is free takes a request: as many clients as processes ask until every instance has answered.
fn ask_every_instance(to: SocketAddr, processes: usize) -> Result<()> {
    let deadline = Instant::now() + ALL_ANSWERED_MAX;
    let seen = Mutex::new(HashSet::new());
    let ask = || {
        let mut client = Client::connect(to, None)?;
        while Instant::now() < deadline {
            let answer = client.get(INSTANCE)?;
            let name = answer.split(|byte| *byte == b' ').next().unwrap_or_default().to_vec();
            let mut seen = seen.lock().expect("nobody panics with it");
            seen.insert(name);
            if seen.len() >= processes {
                return Ok(());
            }
        }
        Err(anyhow!("not every one of {processes} processes has answered"))
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..processes).map(|_| scope.spawn(ask)).collect();
        clients.into_iter().try_for_each(|client| client.join().expect("a client does not panic"))
    })
}

/// A process is its connection's until that closes.
fn ask_on_every_connection(to: SocketAddr, processes: usize) -> Result<()> {
    let mut clients = Vec::new();
    for _ in 0..processes {
        let mut client = Client::connect(to, None)?;
        client.get(SCRIPT)?;
        clients.push(client);
    }
    Ok(())
}
