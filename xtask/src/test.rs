//! `cargo xtask test`: every check there is, the quick ones first, so that it fails as early as it can.
//!
//! All steps that compile for this machine select the same packages: cargo unites the features of what is selected
//! together, and another selection would build Wasmtime a second time.

use std::process::Command;
use std::time::Instant;

use anyhow::Result;

use crate::guests;
use crate::run::{cargo, run, target};

/// One check, by the name that the summary shows.
type Step = (&'static str, fn(&Context) -> Result<()>);

const STEPS: [Step; 7] = [
    ("format", |_| run(cargo().args(["fmt", "--all", "--check"]))),
    ("lints", |context| run(context.on_host("clippy").args(["--all-targets", "--", "-D", "warnings"]))),
    ("guests", |context| guests::clippy().and_then(|()| guests::build_all(context.languages))),
    ("build", |context| run(context.on_host("build").arg("--all-targets"))),
    ("unit tests", |context| run(context.on_host("test").args(["--lib", "--bins", "--examples"]))),
    ("documentation tests", |context| run(context.on_host("test").arg("--doc"))),
    ("end-to-end tests", |context| run(&mut context.end_to_end()?)),
];

/// Runs every step; the first that fails ends it.
pub fn test(languages: bool) -> Result<()> {
    let context = Context { guests: guests::packages()?, languages };
    let started = Instant::now();
    let mut summary = String::new();
    for (name, step) in STEPS {
        let began = Instant::now();
        eprintln!("\n== {name}");
        let outcome = step(&context);
        let word = if outcome.is_ok() { "passed" } else { "failed" };
        summary.push_str(&format!("  {name:<20} {word} {:>5} s\n", began.elapsed().as_secs()));
        if let Err(failure) = outcome {
            eprint!("\n{summary}");
            return Err(failure.context(format!("the tests FAILED at the step {name:?}")));
        }
    }
    eprint!("\n{summary}");
    eprintln!("all {} steps passed in {} s", STEPS.len(), started.elapsed().as_secs());
    Ok(())
}

struct Context {
    guests: Vec<String>,
    languages: bool,
}

impl Context {
    /// A command of cargo on everything that runs on this machine, which the guests do not.
    fn on_host(&self, command: &str) -> Command {
        let mut cargo = cargo();
        cargo.args([command, "--locked", "--workspace"]);
        cargo.args(self.guests.iter().flat_map(|guest| ["--exclude", guest]));
        cargo
    }

    /// The tests in `tests/` folders, which start the programs that the step before has built.
    fn end_to_end(&self) -> Result<Command> {
        let target = target()?;
        let mut command = self.on_host("test");
        command.args(["--test", "*", "--no-fail-fast"]);
        command.env("GUESTHOUSE_BIN", target.join("debug/guesthouse"));
        command.env("GUESTHOUSE_GUESTS", target.join("guests"));
        if self.languages {
            command.args(["--", "--include-ignored"]);
        }
        Ok(command)
    }
}
