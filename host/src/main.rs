//! The program `guesthouse`: reads the command line, runs what it names, prints errors once, and says how it ended.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use guesthouse::cli::{Arguments, Check, Command, Prepare, Serve};
use guesthouse::error_log::ErrorLog;
use guesthouse::server::{self, Server};
use guesthouse::{config, demo};

/// A fresh instance is about a hundred small allocations, made and freed by one thread: this allocator takes a tenth
/// less time for a call than the system's, for one MiB more at rest.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The configuration that is used if none is named.
const DEFAULT_FILE: &str = "guesthouse.toml";

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Serve(Serve { file }) => serve(file),
        Command::Check(Check { file }) => check(&file.unwrap_or_else(|| PathBuf::from(DEFAULT_FILE))),
        Command::Prepare(Prepare { file }) => prepare(&file),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("{error:#}");
        ExitCode::FAILURE
    })
}

/// Returns when the server has ended, and in every child when that child has.
fn serve(file: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let file = match file {
        Some(file) => file,
        None if Path::new(DEFAULT_FILE).exists() => PathBuf::from(DEFAULT_FILE),
        None => demo::unpack()?,
    };
    let exit = guesthouse_mpm::serve(Server::new(file, ErrorLog::install()))?;
    Ok(ExitCode::from(exit.code()))
}

fn check(file: &Path) -> anyhow::Result<ExitCode> {
    let (_, warnings) = config::read(file)?;
    for warning in &warnings {
        eprintln!("{warning}");
    }
    println!("{}: no mistakes", file.display());
    Ok(ExitCode::SUCCESS)
}

fn prepare(file: &Path) -> anyhow::Result<ExitCode> {
    let _standard_error = ErrorLog::install();
    let prepared = server::prepare(file).map_err(anyhow::Error::msg)?;
    serde_json::to_writer(std::io::stdout().lock(), &prepared)?;
    Ok(ExitCode::SUCCESS)
}
