//! What Guesthouse costs beside other servers, on this machine: `cargo xtask bench`.
//!
//! Only the command line and the order of things live here. The rows are in `rows`, the servers in `servers`, and
//! what becomes of the figures in `report` and `plot`. Nothing here passes or fails by a time: the figures are to be
//! read.

mod client;
mod crowd;
mod figures;
mod latency;
mod load;
mod machine;
mod plot;
mod processes;
mod report;
mod rows;
mod servers;
mod tools;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use lexopt::prelude::*;

use crate::machine::Machine;
use crate::rows::{ROWS, Row};
use crate::tools::Tools;

const HELP: &str = "\
Measures Guesthouse beside the other servers that are installed.

    cargo xtask bench [--smoke] [--rounds N] [ROW...]

    ROW        the number of a row; without one: all
    --smoke    as short as it can be: shows that everything works, and no figure to rely on
    --rounds   turns that each server has [3]
";

/// What all rows share: what is measured, and how long.
pub struct Bench {
    /// The server's program.
    pub guesthouse: PathBuf,
    /// The folder of the guests.
    pub guests: PathBuf,
    /// Where configurations, logs and results are written.
    pub folder: PathBuf,
    pub tools: Tools,
    pub effort: Effort,
}

/// How much is done for one figure.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Turns of each server.
    pub rounds: usize,
    /// Of load in each turn.
    pub turn: Duration,
    /// Before the first turn, unmeasured.
    pub warm_up: Duration,
    /// Held at once by one child.
    pub idle_connections: usize,
    /// Held at once by several, if as many can be opened.
    pub crowd: usize,
    /// Asked one after the other for a latency.
    pub requests: usize,
    /// Starts for a start's duration.
    pub starts: usize,
    /// Of a pool that is measured; another has twice as many.
    pub confined_processes: usize,
}

const FULL: Effort = Effort {
    rounds: 3,
    turn: Duration::from_secs(4),
    warm_up: Duration::from_secs(1),
    idle_connections: 15_000,
    crowd: 100_000,
    requests: 2_000,
    starts: 10,
    confined_processes: 16,
};

const SMOKE: Effort = Effort {
    rounds: 1,
    turn: Duration::from_secs(1),
    warm_up: Duration::from_secs(1),
    idle_connections: 500,
    crowd: 2_000,
    requests: 100,
    starts: 2,
    confined_processes: 4,
};

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let Some((crowd::HOLD, words)) = words.split_first().map(|(word, words)| (word.as_str(), words)) {
        return crowd::hold(words);
    }
    let Some((bench, rows)) = arguments()? else {
        print!("{HELP}");
        return Ok(());
    };
    std::fs::create_dir_all(&bench.folder)
        .with_context(|| format!("cannot make the folder {}", bench.folder.display()))?;
    // Every connection takes a descriptor, here and in the servers, which inherit the limit.
    raise_descriptor_limit();
    let machine = Machine::look();
    for missing in bench.tools.missing() {
        eprintln!("not measured, because it is not installed: {missing}");
    }

    let mut measured = Vec::new();
    for row in rows {
        eprintln!("row {}: {}", row.number, row.title);
        let outcome = (row.measure)(&bench).with_context(|| format!("cannot measure row {}", row.number))?;
        measured.push((row, outcome));
    }

    print!("{}", report::text(&machine, &bench, &measured));
    for (name, contents) in
        [("results.json", report::json(&machine, &bench, &measured)), ("results.svg", plot::svg(&machine, &measured))]
    {
        let path = bench.folder.join(name);
        std::fs::write(&path, contents).with_context(|| format!("cannot write {}", path.display()))?;
        eprintln!("written: {}", path.display());
    }
    Ok(())
}

fn arguments() -> Result<Option<(Bench, Vec<&'static Row>)>> {
    let (mut guesthouse, mut guests, mut folder) = (None, None, None);
    let (mut effort, mut rounds) = (FULL, None);
    let mut rows = Vec::new();
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            // These three are what `cargo xtask bench` fills in.
            Long("guesthouse") => guesthouse = Some(PathBuf::from(parser.value()?)),
            Long("guests") => guests = Some(PathBuf::from(parser.value()?)),
            Long("folder") => folder = Some(PathBuf::from(parser.value()?)),
            Long("smoke") => effort = SMOKE,
            Long("rounds") => rounds = Some(parser.value()?.parse::<usize>()?.max(1)),
            Long("help") | Short('h') => return Ok(None),
            Value(number) => rows.push(row(&number.parse_with(str::parse::<u8>)?)?),
            other => return Err(other.unexpected().into()),
        }
    }
    let (Some(guesthouse), Some(guests), Some(folder)) = (guesthouse, guests, folder) else {
        bail!("--guesthouse, --guests and --folder are missing: start this as cargo xtask bench");
    };
    effort.rounds = rounds.unwrap_or(effort.rounds);
    if rows.is_empty() {
        rows = ROWS.iter().collect();
    }
    let absolute =
        |path: PathBuf| std::path::absolute(&path).with_context(|| format!("no such path: {}", path.display()));
    let bench = Bench {
        guesthouse: absolute(guesthouse)?,
        guests: absolute(guests)?,
        folder: absolute(folder)?,
        tools: Tools::find(),
        effort,
    };
    Ok(Some((bench, rows)))
}

fn row(number: &u8) -> Result<&'static Row> {
    ROWS.iter().find(|row| row.number == *number).with_context(|| {
        let known: Vec<_> = ROWS.iter().map(|row| row.number.to_string()).collect();
        format!("there is no row {number}; there are {}", known.join(", "))
    })
}

fn raise_descriptor_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // If it fails, the row that needs many says that it could not open them.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}
