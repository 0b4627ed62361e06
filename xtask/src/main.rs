//! `cargo xtask`: the project's own commands, for whoever has rustup and a C compiler and nothing else.
//!
//! Only the command line lives here. Nothing of this ships.

mod bench;
mod browser;
mod demo;
mod guests;
mod languages;
mod run;
mod test;
mod wasm;

use anyhow::{Result, bail};
use lexopt::prelude::*;

use crate::languages::Selection;
use crate::test::Scope;

const HELP: &str = "\
The project's own commands.

    cargo xtask demo                  build the server and the example guests, serve them on 127.0.0.1:8080
    cargo xtask test [--languages[=NAME,...]] [--no-browser]
                                      check format and lints, build, and run the tests
    cargo xtask guests [--languages[=NAME,...]]
                                      build only the guests, into target/guests/
    cargo xtask bench [--smoke] [ROW...]
                                      measure the release build beside the other servers that are installed;
                                      see docs/performance.md

    --languages   also the guests that other toolchains make, and with NAMEs only theirs: rust (for
                  WASI preview 1), zig, c, lua, go, python, javascript, php; see docs/guests.md
    --no-browser  leave out the test of the isolation lab in a browser, which needs Chromium
";

fn main() -> Result<()> {
    let mut arguments = lexopt::Parser::from_env();
    let mut command = None;
    let mut languages = Selection::default();
    let mut browser = true;
    while let Some(argument) = arguments.next()? {
        match argument {
            // All that follows is for the program that measures.
            Value(name) if command.is_none() && name == "bench" => return bench::bench(arguments.raw_args()?),
            Value(name) if command.is_none() => command = Some(name.string()?),
            Long("languages") => {
                languages = match arguments.optional_value() {
                    Some(names) => Selection::parse(&names.string()?)?,
                    None => Selection::all(),
                };
            }
            Long("no-browser") => browser = false,
            Long("help") | Short('h') => {
                print!("{HELP}");
                return Ok(());
            }
            other => return Err(other.unexpected().into()),
        }
    }
    match command.as_deref() {
        Some("demo") => demo::demo(),
        Some("test") => test::test(Scope { languages, browser }),
        Some("guests") => guests::build_all(&languages),
        Some(unknown) => bail!("there is no command {unknown:?}\n\n{HELP}"),
        None => bail!("which command?\n\n{HELP}"),
    }
}
