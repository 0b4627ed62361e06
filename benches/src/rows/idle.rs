//! Idle keep-alive connections: row 4. What each costs the process that holds it, and what the others notice of it.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use anyhow::{Context, Result};

use crate::Bench;
use crate::client::Client;
use crate::figures::{Bound, Figure, Measured, Unit, Verdict, quantile};
use crate::processes::pss;
use crate::servers::{AccessLog, HELLO, Server, Setup, guesthouse, peers};

/// Connections from one client address: fewer than there are ephemeral ports (28 232 by default).
const CONNECTIONS_PER_ADDRESS: usize = 20_000;

/// Of one server with all its idle connections.
struct Held {
    connections: usize,
    /// Of the process's memory, bytes.
    each: f64,
    latency_before: Latency,
    latency_after: Latency,
}

/// Microseconds from the new connection to its first answer, for clients that come one after the other. `connect` is
/// left out: with thousands of connections between the same two addresses the kernel looks long for a free port.
struct Latency {
    median: f64,
    p99: f64,
}

pub(super) fn idle(bench: &Bench) -> Result<Measured> {
    let mut measured = Measured::default();
    let own = guesthouse::hello(bench, "hello.wasm", 2, AccessLog::Combined)?;
    let held = add(bench, own, &mut measured)?;
    if let Some(nginx) = peers::nginx(bench, 1, AccessLog::Combined)? {
        add(bench, nginx, &mut measured)?;
    }
    let verdict = |what: &str, value, must, go_for| Verdict { what: what.to_owned(), value, must, go_for };
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let (connections, asked) = (held.connections as f64, bench.effort.idle_connections as f64);
    measured.verdicts = vec![
        verdict("connections held by one child", connections, Some(Bound::AtLeast(asked)), None),
        verdict("bytes of memory for each", held.each, Some(Bound::AtMost(800.0)), Some(Bound::AtMost(400.0))),
        verdict(
            "median latency of a new client, with them / without",
            held.latency_after.median / held.latency_before.median,
            None,
            None,
        ),
    ];
    Ok(measured)
}

fn add(bench: &Bench, setup: Setup, measured: &mut Measured) -> Result<Held> {
    let name = setup.name.clone();
    let held = hold(bench, setup)?;
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

/// Opens idle connections, each after one request, and looks at the server's process before and after.
fn hold(bench: &Bench, mut setup: Setup) -> Result<Held> {
    let started = setup.start(HELLO)?;
    let server = &started.server;
    // The first requests make the process grow, whoever sends them.
    latency(bench, server)?;
    let child = server.child()?;
    let latency_before = latency(bench, server)?;
    let memory_before = pss(child);
    let mut clients = Vec::with_capacity(bench.effort.idle_connections);
    for index in 0..bench.effort.idle_connections {
        let client = idle_client(server, index);
        clients.push(client.with_context(|| format!("cannot open connection {} to {}", index + 1, setup.name))?);
    }
    let memory_after = pss(child);
    let latency_after = latency(bench, server)?;
    // Nobody has been dropped to make room for others.
    let alive = clients.iter_mut().filter_map(|client| client.get(HELLO).ok()).count();
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let each = (memory_after - memory_before) / clients.len() as f64;
    Ok(Held { connections: alive, each, latency_before, latency_after })
}

fn idle_client(server: &Server, index: usize) -> Result<Client> {
    // The first ones come from wherever the kernel likes; a socket bound to an address would share its ports with
    // those of other servers' clients that have just been closed.
    let network = index / CONNECTIONS_PER_ADDRESS;
    let last = u8::try_from(1 + network).context("too many connections for one network")?;
    let from = (network > 0).then_some(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)));
    let mut client = Client::connect(server.address(), from)?;
    client.get(HELLO)?;
    Ok(client)
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
