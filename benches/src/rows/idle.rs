//! Idle keep-alive connections: row 4. What each costs the process that holds it, and what the others notice of it.

use std::time::Instant;

use anyhow::Result;

use crate::Bench;
use crate::client::Client;
use crate::crowd::{Crowd, descriptors_max};
use crate::figures::{Bound, Figure, Measured, Unit, Verdict, quantile};
use crate::processes::pss;
use crate::servers::{AccessLog, HELLO, Server, Setup, guesthouse, peers};

/// Of the server that holds a crowd: so many that they need no more descriptors each than a process mostly may have.
const CHILDREN: usize = 8;

/// Of one server with all its idle connections.
struct Held {
    connections: f64,
    /// Of the memory of the processes that hold them, bytes.
    each: f64,
    latency_before: Latency,
    latency_after: Latency,
}

/// Microseconds from the new connection to its first answer, for clients that come one after the other. `connect` is
/// left out: the kernel looks for a free port meanwhile, which is the client's affair.
struct Latency {
    median: f64,
    p99: f64,
}

/// Row 4.
pub(super) fn idle(bench: &Bench) -> Result<Measured> {
    let mut measured = Measured::default();
    let asked = possible(1, bench.effort.idle_connections, &mut measured);
    let own = guesthouse::hello(bench, "hello.wasm", 2, AccessLog::Combined)?;
    let held = add(bench, own, 1, asked, &mut measured)?;
    if let Some(nginx) = peers::nginx(bench, 1, AccessLog::Combined)? {
        add(bench, nginx, 1, asked, &mut measured)?;
    }
    let crowd = crowd(bench, &mut measured)?;
    measured.verdicts = vec![
        verdict("connections held by one child", held.connections, Some(at_least(bench.effort.idle_connections)), None),
        verdict("bytes of memory for each", held.each, Some(Bound::AtMost(800.0)), Some(Bound::AtMost(400.0))),
        verdict("median latency of a new client, with them / without", held.slowdown(), None, None),
        verdict("connections held by several children", crowd.connections, None, Some(at_least(bench.effort.crowd))),
        verdict("median latency of a new client, with those / without", crowd.slowdown(), None, None),
    ];
    Ok(measured)
}

fn verdict(what: &str, value: f64, must: Option<Bound>, go_for: Option<Bound>) -> Verdict {
    Verdict { what: what.to_owned(), value, must, go_for }
}

fn at_least(connections: usize) -> Bound {
    Bound::AtLeast(number(connections))
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn number(connections: usize) -> f64 {
    connections as f64
}

impl Held {
    fn slowdown(&self) -> f64 {
        self.latency_after.median / self.latency_before.median
    }
}

fn crowd(bench: &Bench, measured: &mut Measured) -> Result<Held> {
    let wanted = possible(CHILDREN, bench.effort.crowd, measured);
    // One may have more of them than another.
    let setup = guesthouse::crowded_hello(bench, "hello.wasm", CHILDREN, wanted + wanted / 8)?;
    add(bench, setup, CHILDREN, wanted, measured)
}

/// As many as are wanted, or as the limit of descriptors lets the children hold with some to spare.
fn possible(children: usize, wanted: usize, measured: &mut Measured) -> usize {
    let limit = descriptors_max();
    let possible = children * (limit / 4 * 3);
    if possible < wanted {
        measured.missing.push(format!(
            "{possible} connections instead of {wanted}, because a process may have {limit} descriptors (ulimit -Hn)"
        ));
    }
    wanted.min(possible)
}

fn add(bench: &Bench, setup: Setup, children: usize, wanted: usize, measured: &mut Measured) -> Result<Held> {
    let name = setup.name.clone();
    let held = hold(bench, setup, children, wanted)?;
    let latency = |when: &str, Latency { median, p99 }: &Latency| {
        let figure = Figure::new(format!("{name}: a new client, {when}"), Unit::Microseconds, vec![*median]);
        figure.with_note(format!("p99 {p99:.0} µs"))
    };
    let note = format!("{} held", held.connections);
    measured.figures.extend([
        Figure::new(name.clone(), Unit::BytesPerConnection, vec![held.each]).with_note(note),
        latency("before", &held.latency_before),
        latency("with all of them", &held.latency_after),
    ]);
    Ok(held)
}

/// Opens idle connections, each after one request, and looks at the processes that hold them before and after.
fn hold(bench: &Bench, mut setup: Setup, children: usize, wanted: usize) -> Result<Held> {
    let started = setup.start(HELLO)?;
    let server = &started.server;
    // The first requests make the processes grow, whoever sends them.
    latency(bench, server)?;
    let latency_before = latency(bench, server)?;
    let children = server.children(children)?;
    let memory = || children.iter().map(|pid| pss(*pid)).sum::<f64>();
    let memory_before = memory();
    let mut crowd = Crowd::open(server.address(), wanted)?;
    let memory_after = memory();
    let latency_after = latency(bench, server)?;
    let each = (memory_after - memory_before) / number(crowd.opened);
    // Nobody has been dropped to make room for others.
    Ok(Held { connections: number(crowd.ask()?), each, latency_before, latency_after })
}

fn latency(bench: &Bench, server: &Server) -> Result<Latency> {
    let mut samples = Vec::with_capacity(bench.effort.requests);
    for _ in 0..bench.effort.requests {
        let mut client = Client::connect(server.address(), None)?;
        let began = Instant::now();
        client.get(HELLO)?;
        samples.push(began.elapsed().as_secs_f64() * 1e6);
    }
    Ok(Latency { median: quantile(&mut samples, 0.5), p99: quantile(&mut samples, 0.99) })
}
