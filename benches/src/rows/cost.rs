//! What a request costs under load: rows 1 to 3, 9 and 12.

use anyhow::Result;

use super::{Entrant, in_turns, without_load};
use crate::Bench;
use crate::figures::{Bound, Figure, Measured, Unit, Verdict};
use crate::load::{CONNECTIONS, Turn, load};
use crate::servers::guesthouse::Shape;
use crate::servers::peers::Allocation;
use crate::servers::{AccessLog, HELLO, TEXT, guesthouse, peers};

const GUEST: &str = "hello.wasm";

/// Says the same, and serves many requests in one instance.
const SHARED_GUEST: &str = "hello-p3.wasm";

/// Threads of Guesthouse, and processes of nginx, in all rows but the last.
const THREADS: usize = 2;

/// Cores from which on the load generator and the kernel's share of its work leave two threads a core each.
const CORES_FOR_ALL: usize = 4;

/// Row 1.
pub(super) fn hello(bench: &Bench) -> Result<Measured> {
    let peers = [
        peers::wasmtime(bench, GUEST, Allocation::Tuned)?,
        peers::wasmtime(bench, GUEST, Allocation::Default)?,
        peers::apache(bench)?,
    ];
    let setups = [guesthouse::hello(bench, GUEST, THREADS, AccessLog::Combined)?].into_iter();
    let setups = setups.chain(peers.into_iter().flatten());
    let mut measured = in_turns(bench, setups.map(|setup| Entrant { setup, path: HELLO }).collect())?;
    measured.ratio("Guesthouse", "wasmtime serve, tuned", Some(0.60), None);
    measured.ratio("Guesthouse", "wasmtime serve, default", Some(0.20), None);
    measured.ratio("Guesthouse", "Apache event, static file", Some(0.80), Some(0.40));
    Ok(measured)
}

/// Row 2. Both reuse an instance as they do by default: for 128 requests, 16 of them at once.
pub(super) fn shared_hello(bench: &Bench) -> Result<Measured> {
    let peers = [
        peers::wasmtime(bench, SHARED_GUEST, Allocation::Default)?,
        peers::nginx(bench, THREADS, AccessLog::Combined)?,
    ];
    let own = guesthouse::hello(bench, SHARED_GUEST, THREADS, AccessLog::Combined)?;
    let setups = [own].into_iter().chain(peers.into_iter().flatten());
    let mut measured = in_turns(bench, setups.map(|setup| Entrant { setup, path: HELLO }).collect())?;
    measured.ratio("Guesthouse", "wasmtime serve, default", Some(0.60), None);
    measured.ratio("Guesthouse", "nginx, return 200", None, Some(2.0));
    Ok(measured)
}

/// Row 3. With access logs, as both serve by default, and without, since nginx writes each line at once and
/// Guesthouse those of one turn of its loop together.
pub(super) fn text(bench: &Bench) -> Result<Measured> {
    let mut entrants = Vec::new();
    for log in [AccessLog::Combined, AccessLog::Off] {
        let own = guesthouse::hello(bench, GUEST, THREADS, log)?;
        let setups = [Some((own, TEXT)), peers::nginx(bench, THREADS, log)?.map(|nginx| (nginx, HELLO))];
        for (mut setup, path) in setups.into_iter().flatten() {
            if log == AccessLog::Off {
                setup.name.push_str(", no access log");
            }
            entrants.push(Entrant { setup, path });
        }
    }
    let mut measured = in_turns(bench, entrants)?;
    measured.ratio("Guesthouse", "nginx, return 200", Some(1.5), Some(1.0));
    measured.ratio("Guesthouse, no access log", "nginx, return 200, no access log", None, None);
    Ok(measured)
}

/// Row 12: the three MPMs beside each other. Under prefork and worker a connection has a process or a thread, so there are a few
/// more than the load keeps.
pub(super) fn mpms(bench: &Bench) -> Result<Measured> {
    let connections = CONNECTIONS + 8;
    let shapes = [
        Shape::Event { children: 1, threads: THREADS },
        Shape::Worker { children: 1, threads: connections },
        Shape::Prefork { children: connections },
    ];
    let entrants = shapes.map(|shape| Ok(Entrant { setup: guesthouse::hello_by(bench, GUEST, shape)?, path: HELLO }));
    in_turns(bench, entrants.into_iter().collect::<Result<_>>()?)
}

/// Row 9. With few cores the load generator is the limit: then the CPU time per request tells what two threads would
/// answer if each had a core of its own.
pub(super) fn scaling(bench: &Bench) -> Result<Measured> {
    let Some(wrk) = &bench.tools.wrk else { return Ok(without_load()) };
    let mut by_threads: [Vec<Turn>; 2] = Default::default();
    for _ in 0..bench.effort.rounds {
        for (threads, turns) in (1..).zip(&mut by_threads) {
            let started = guesthouse::hello(bench, GUEST, threads, AccessLog::Combined)?.start(HELLO)?;
            load(wrk, &started.server, HELLO, bench.effort.warm_up)?;
            turns.push(load(wrk, &started.server, HELLO, bench.effort.turn)?);
        }
    }
    let mut measured = Measured::default();
    for (name, turns) in ["one thread", "two threads"].into_iter().zip(&by_threads) {
        let rates = turns.iter().map(|turn| turn.rate).collect();
        let costs = Figure::new("", Unit::MicrosecondsPerRequest, turns.iter().map(|turn| turn.cpu).collect());
        let note = format!("{:.1} µs CPU/request", costs.median());
        measured.figures.push(Figure::new(name, Unit::RequestsPerSecond, rates).with_note(note));
    }
    let [one, two] = by_threads.map(|turns| {
        let rate = Figure::new("", Unit::RequestsPerSecond, turns.iter().map(|turn| turn.rate).collect()).median();
        let cpu = Figure::new("", Unit::MicrosecondsPerRequest, turns.iter().map(|turn| turn.cpu).collect()).median();
        Turn { cpu, rate }
    });
    let verdict = |what: &str, value, counts: bool| Verdict {
        what: what.to_owned(),
        value,
        must: counts.then_some(Bound::AtLeast(1.7)),
        go_for: counts.then_some(Bound::AtLeast(1.9)),
    };
    let cores_suffice = std::thread::available_parallelism().is_ok_and(|cores| cores.get() >= CORES_FOR_ALL);
    measured.verdicts.push(verdict("requests/s, two threads / one", two.rate / one.rate, cores_suffice));
    measured.verdicts.push(verdict("by CPU time: 2 x one thread's / two threads'", 2.0 * one.cpu / two.cpu, true));
    Ok(measured)
}
