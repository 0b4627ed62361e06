//! What there is before the first load: rows 7 (start) and 8 (memory at rest).

use anyhow::Result;

use super::load;
use crate::Bench;
use crate::figures::{Bound, Figure, Measured, Unit, Verdict};
use crate::processes::MEBIBYTE;
use crate::servers::{AccessLog, HELLO, Setup, guesthouse, peers};

/// Small and large: the file of the guest, and what the table calls it. The second needs
/// `cargo xtask guests --languages`.
const GUESTS: [(&str, &str); 2] = [("hello.wasm", "Rust"), ("hello-python.wasm", "Python")];

/// Row 7: from the start of the process over the connection to the whole answer.
pub(super) fn start(bench: &Bench) -> Result<Measured> {
    let mut measured = Measured::default();
    for (guest, language) in GUESTS {
        if !bench.guests.join(guest).exists() {
            measured.missing.push(format!("{guest} is not built (cargo xtask guests --languages)"));
            continue;
        }
        let mut setup = guesthouse::hello(bench, guest, 2, AccessLog::Combined)?;
        // Fills the cache.
        setup.start(HELLO)?;
        let starts = (0..bench.effort.starts).map(|_| Ok(setup.start(HELLO)?.took.as_secs_f64() * 1e3));
        let starts: Vec<f64> = starts.collect::<Result<_>>()?;
        let figure = Figure::new(format!("Guesthouse, hello in {language}"), Unit::Milliseconds, starts);
        measured.verdicts.push(Verdict {
            what: format!("{}, ms", figure.name),
            value: figure.median(),
            must: Some(Bound::AtMost(60.0)),
            go_for: Some(Bound::AtMost(25.0)),
        });
        measured.figures.push(figure);
    }
    Ok(measured)
}

/// Row 8: after the first answer, and after a turn of load for comparison.
pub(super) fn memory(bench: &Bench) -> Result<Measured> {
    let mut measured = Measured::default();
    let own = guesthouse::hello(bench, "hello.wasm", 2, AccessLog::Combined)?;
    for setup in [Some(own), peers::nginx(bench, 2, AccessLog::Combined)?, peers::apache(bench)?] {
        let Some(mut setup) = setup else { continue };
        measured.figures.push(memory_of(bench, &mut setup)?);
    }
    measured.verdicts.push(Verdict {
        what: "Guesthouse, MiB".to_owned(),
        value: measured.figures[0].median(),
        must: Some(Bound::AtMost(20.0)),
        go_for: Some(Bound::AtMost(10.0)),
    });
    Ok(measured)
}

fn memory_of(bench: &Bench, setup: &mut Setup) -> Result<Figure> {
    let mut at_rest = Vec::new();
    let mut after_load = Vec::new();
    for _ in 0..bench.effort.rounds {
        let started = setup.start(HELLO)?;
        at_rest.push(started.server.memory() / MEBIBYTE);
        if let Some(wrk) = &bench.tools.wrk {
            load(wrk, &started.server, HELLO, bench.effort.warm_up)?;
            after_load.push(started.server.memory() / MEBIBYTE);
        }
    }
    let figure = Figure::new(setup.name.clone(), Unit::Mebibytes, at_rest);
    if after_load.is_empty() {
        return Ok(figure);
    }
    let after_load = Figure::new("", Unit::Mebibytes, after_load);
    Ok(figure.with_note(format!("{:.1} MiB after load", after_load.median())))
}
