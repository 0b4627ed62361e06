//! `cargo xtask test`: every check there is, the quick ones first, so that it fails as early as it can.
//!
//! All steps that compile for this machine select the same packages: cargo unites the features of what is selected
//! together, and another selection would build Wasmtime a second time. The browser test, which knows no Wasmtime, is
//! selected alone for the same reason: its driver asks for features that would change the server's dependencies.

use std::ffi::OsString;
use std::process::Command;
use std::time::Instant;

use anyhow::Result;

use crate::languages::Selection;
use crate::run::{cargo, run, target};
use crate::{browser, guests};

/// One check, by the name that the summary shows.
type Step = (&'static str, fn(&Context) -> Result<()>);

const STEPS: [Step; 8] = [
    ("format", |_| run(cargo().args(["fmt", "--all", "--check"]))),
    ("lints", Context::lint),
    ("guests", |context| guests::clippy().and_then(|()| guests::build_all(&context.languages))),
    ("build", |context| run(context.on_host("build").arg("--all-targets"))),
    ("unit tests", |context| run(context.on_host("test").args(["--lib", "--bins", "--examples"]))),
    ("guests' own tests", |_| guests::test()),
    ("documentation tests", |context| run(context.on_host("test").arg("--doc"))),
    ("end-to-end tests", |context| run(&mut context.end_to_end()?)),
];

/// Where other toolchains are asked for.
const LANGUAGES_STEP: Step = ("other languages", |context| run(&mut context.languages()?));

/// After all others, where there is a browser.
const BROWSER_STEP: Step = ("browser test", |context| run(&mut context.browser_test()?));

/// What is tested.
#[derive(Debug, Clone)]
pub struct Scope {
    /// Also the guests that other toolchains make.
    pub languages: Selection,
    /// Also the isolation lab in a real browser.
    pub browser: bool,
}

/// Runs every step; the first that fails ends it.
pub fn test(scope: Scope) -> Result<()> {
    let chromium = scope.browser.then(browser::find_or_install).transpose()?;
    let context = Context { guests: guests::packages()?, languages: scope.languages, chromium };
    let started = Instant::now();
    let mut summary = String::new();
    let languages = (!context.languages.is_empty()).then_some(LANGUAGES_STEP);
    let browser = context.chromium.is_some().then_some(BROWSER_STEP);
    let steps: Vec<Step> = STEPS.into_iter().chain(languages).chain(browser).collect();
    for (name, step) in &steps {
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
    eprintln!("all {} steps passed in {} s", steps.len(), started.elapsed().as_secs());
    Ok(())
}

struct Context {
    guests: Vec<String>,
    languages: Selection,
    /// None: the browser test and the driver that it needs are left out.
    chromium: Option<OsString>,
}

impl Context {
    /// A command of cargo on everything that runs on this machine, which the guests do not.
    fn on_host(&self, command: &str) -> Command {
        let mut cargo = cargo();
        cargo.args([command, "--locked", "--workspace"]);
        cargo.args(self.guests.iter().flat_map(|guest| ["--exclude", guest]));
        cargo
    }

    /// A command of cargo on the browser test and nothing else.
    fn on_browser_test(command: &str) -> Command {
        let mut cargo = cargo();
        cargo.args([command, "--locked", "--package", "guesthouse-tests"]);
        cargo.args(["--features", "browser", "--test", "browser"]);
        cargo
    }

    fn lint(&self) -> Result<()> {
        const STRICT: [&str; 3] = ["--", "-D", "warnings"];
        run(self.on_host("clippy").arg("--all-targets").args(STRICT))?;
        match self.chromium {
            Some(_) => run(Self::on_browser_test("clippy").args(STRICT)),
            None => Ok(()),
        }
    }

    /// The tests in `tests/` folders, which start the programs that the step before has built.
    fn end_to_end(&self) -> Result<Command> {
        let mut command = self.on_host("test");
        command.args(["--test", "*", "--no-fail-fast"]);
        name_what_was_built(&mut command)?;
        Ok(command)
    }

    /// The tests of guests that other toolchains make, which are ignored otherwise.
    fn languages(&self) -> Result<Command> {
        let mut command = self.on_host("test");
        command.args(["--test", "end_to_end", "--no-fail-fast"]);
        name_what_was_built(&mut command)?;
        let modules = ["languages", "projects"];
        let of = |name: &str| modules.map(|module| format!("{module}::{name}::"));
        command.args(["--", "--ignored"]).args(self.languages.names().flat_map(of));
        Ok(command)
    }

    /// The isolation lab in the browser that was found.
    fn browser_test(&self) -> Result<Command> {
        let mut command = Self::on_browser_test("test");
        name_what_was_built(&mut command)?;
        if let Some(chromium) = &self.chromium {
            command.env(browser::VARIABLE, chromium);
        }
        Ok(command)
    }
}

/// Tells the tests where the steps before have put the server and the guests.
fn name_what_was_built(command: &mut Command) -> Result<()> {
    let target = target()?;
    command.env("GUESTHOUSE_BIN", target.join("debug/guesthouse"));
    command.env("WASMTIME_SERVE_BIN", target.join("debug/wasmtime-serve"));
    command.env("GUESTHOUSE_GUESTS", target.join("guests"));
    Ok(())
}
