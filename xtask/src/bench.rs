//! `cargo xtask bench`: builds the server as it is shipped, and starts the program in `benches/` that measures it.

use std::ffi::OsString;

use anyhow::Result;

use crate::guests;
use crate::run::{cargo, program, run, target};

/// Builds what is needed and hands the rest of the command line over.
pub fn bench(arguments: impl IntoIterator<Item = OsString>) -> Result<()> {
    let guests = guests::build()?;
    run(cargo().args(["build", "--locked", "--release", "--package", "guesthouse", "--bin", "guesthouse"]))?;
    // It only starts others and waits for them: no need to optimise it as long as the server.
    run(cargo().args(["build", "--locked", "--package", "guesthouse-benches", "--bin", "guesthouse-bench"]))?;

    let target = target()?;
    run(program(target.join("debug/guesthouse-bench"))
        .arg("--guesthouse")
        .arg(target.join("release/guesthouse"))
        .arg("--guests")
        .arg(guests)
        .arg("--folder")
        .arg(target.join("bench"))
        .args(arguments))
}
