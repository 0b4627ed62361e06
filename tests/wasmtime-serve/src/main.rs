//! `wasmtime serve` and nothing else of Wasmtime's command line, for the tests that run a guest on a second host.
//!
//! A test cannot count on an installed `wasmtime`. As a package of the workspace it shares the Wasmtime that the server
//! is built with; what it adds to that is compiled in a minute.

use clap::Parser;
use wasmtime_cli::commands::ServeCommand;

fn main() {
    // Only a test reads this: it shows what the process left on standard error.
    ServeCommand::parse().execute().expect("the guest can be served");
}
