//! Noisy neighbours, row 5: how long hello waits while other clients keep all threads computing.

use anyhow::Result;

use crate::Bench;
use crate::figures::{Bound, Figure, Measured, Unit, Verdict};
use crate::latency::{Latency, beside};
use crate::servers::peers::{self, Allocation};
use crate::servers::{Server, Started, guesthouse};

/// Twice as many as threads, each with a request for [`COMPUTE`] going all the time.
const NEIGHBOURS: usize = 4;

/// Computes until so much time has passed, and takes as much of a processor as it gets.
const COMPUTE: &str = "/spin?ms=200";

/// The same guest's short answer.
const HELLO: &str = "/hello";

/// What the clients of hello saw in one turn.
struct Turn {
    latency: Latency,
    /// Seconds of CPU time that the server used in a second.
    cores: f64,
}

pub(super) fn neighbours(bench: &Bench) -> Result<Measured> {
    let setups = [Some(guesthouse::probe(bench)?), peers::wasmtime(bench, "probe.wasm", Allocation::Tuned)?];
    let mut running = Vec::new();
    for mut setup in setups.into_iter().flatten() {
        let Started { server, .. } = setup.start(HELLO)?;
        measure(bench, &server)?;
        running.push((setup.name, server, Vec::new(), Vec::new()));
    }
    for _ in 0..bench.effort.rounds {
        for (_, server, alone, crowded) in &mut running {
            alone.push(measure(bench, server)?);
            crowded.push(beside(NEIGHBOURS, server.address(), COMPUTE, || measure(bench, server))?);
        }
    }
    let figures = running.into_iter().flat_map(|(name, _, alone, crowded)| {
        [figure(format!("{name}: p99 alone"), &alone), figure(format!("{name}: p99 beside neighbours"), &crowded)]
    });
    let figures: Vec<_> = figures.collect();
    let verdicts = vec![Verdict {
        what: "Guesthouse: p99 beside neighbours, ms".to_owned(),
        value: figures[1].median(),
        must: Some(Bound::AtMost(20.0)),
        go_for: Some(Bound::AtMost(5.0)),
    }];
    Ok(Measured { figures, verdicts, ..Measured::default() })
}

fn measure(bench: &Bench, server: &Server) -> Result<Turn> {
    let before = server.cpu_seconds();
    let latency = Latency::measure(server.address(), HELLO, bench.effort.turn)?;
    let cores = (server.cpu_seconds() - before) / bench.effort.turn.as_secs_f64();
    Ok(Turn { latency, cores })
}

fn figure(name: String, turns: &[Turn]) -> Figure {
    let each = |value: fn(&Turn) -> f64| Figure::new("", Unit::Milliseconds, turns.iter().map(value).collect());
    let note = format!(
        "p50 {:.2} ms, max {:.1} ms, {:.1} cores busy",
        each(|turn| turn.latency.median).median(),
        each(|turn| turn.latency.max).max(),
        each(|turn| turn.cores).median(),
    );
    Figure::new(name, Unit::Milliseconds, turns.iter().map(|turn| turn.latency.p99).collect()).with_note(note)
}
