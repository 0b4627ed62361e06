//! The rows of the table, each in a file with its like. A new row is a function here and a line in [`ROWS`].

mod confined;
mod cost;
mod deployment;
mod idle;
mod neighbours;
mod rest;

use anyhow::{Result, bail};

use crate::Bench;
use crate::figures::{Figure, Measured, Unit};
use crate::load::{Turn, load};
use crate::servers::{Server, Setup};

/// One line of what the project wants to reach.
pub struct Row {
    /// As in docs/performance.md.
    pub number: u8,
    pub title: &'static str,
    pub measure: fn(&Bench) -> Result<Measured>,
}

pub const ROWS: [Row; 12] = [
    Row { number: 1, title: "hello guest, a fresh instance for every request, event", measure: cost::hello },
    Row { number: 2, title: "hello guest of WASI 0.3, its instances reused, event", measure: cost::shared_hello },
    Row { number: 3, title: "an answer of the server's own, event", measure: cost::text },
    Row { number: 4, title: "idle keep-alive connections, event", measure: idle::idle },
    Row { number: 5, title: "noisy neighbours, event, two threads", measure: neighbours::neighbours },
    Row { number: 6, title: "hello guest that must not share threads, event in front", measure: confined::hello },
    Row { number: 7, title: "start to first answer, native code cached", measure: rest::start },
    Row { number: 8, title: "memory at rest, event, one module", measure: rest::memory },
    Row { number: 9, title: "hello guest, from one thread to two", measure: cost::scaling },
    Row { number: 10, title: "memory of one more idle process that answers alone", measure: confined::memory },
    Row { number: 11, title: "a renamed file to the first answer by its version", measure: deployment::deployment },
    Row { number: 12, title: "hello guest, fresh instances, by each MPM", measure: cost::mpms },
];

/// A server that takes part in a row, and what it is asked for.
struct Entrant {
    setup: Setup,
    path: &'static str,
}

/// Loads all entrants in turns, and gives each a figure of CPU time per request that bears its name.
///
/// Their turns alternate, so that what else goes on on the machine hits all of them alike.
fn in_turns(bench: &Bench, entrants: Vec<Entrant>) -> Result<Measured> {
    let Some(wrk) = &bench.tools.wrk else { return Ok(without_load()) };
    let mut running: Vec<(Entrant, Server, Vec<Turn>)> = Vec::new();
    let mut answer: Option<(String, Vec<u8>)> = None;
    for mut entrant in entrants {
        let started = entrant.setup.start(entrant.path)?;
        let (first, body) = answer.get_or_insert_with(|| (entrant.setup.name.clone(), started.body.clone()));
        if *body != started.body {
            bail!("{first} and {} do not answer with the same bytes", entrant.setup.name);
        }
        load(wrk, &started.server, entrant.path, bench.effort.warm_up)?;
        running.push((entrant, started.server, Vec::new()));
    }
    for _ in 0..bench.effort.rounds {
        for (entrant, server, turns) in &mut running {
            turns.push(load(wrk, server, entrant.path, bench.effort.turn)?);
        }
    }
    let figures = running.into_iter().map(|(entrant, _, turns)| cost_figure(entrant.setup.name, &turns));
    Ok(Measured { figures: figures.collect(), ..Measured::default() })
}

fn cost_figure(name: String, turns: &[Turn]) -> Figure {
    let rates = Figure::new("", Unit::RequestsPerSecond, turns.iter().map(|turn| turn.rate).collect());
    let figure = Figure::new(name, Unit::MicrosecondsPerRequest, turns.iter().map(|turn| turn.cpu).collect());
    figure.with_note(format!("{:.0} requests/s", rates.median()))
}

fn without_load() -> Measured {
    Measured { missing: vec!["not measured: wrk is not installed".to_owned()], ..Measured::default() }
}
