//! Zig, whose compiler is also the C compiler of the other toolchains: it brings a libc for WASI along.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use super::tools::Tools;
use super::{Guest, Toolchain};
use crate::run::run;

pub const TOOLCHAIN: Toolchain = Toolchain {
    name: "zig",
    guests: &["hello-zig"],
    needs: &PYTHON,
    pins: &["zig.txt"],
    recipe: include_str!("zig.rs"),
    build,
};

/// What it takes to fetch the compiler.
pub const PYTHON: [(&str, &str); 1] = [("python3", "python3 python3-venv")];

fn build(tools: &Tools, guest: &Guest) -> Result<PathBuf> {
    let made = guest.scratch.join("guest.wasm");
    let mut zig = zig(tools)?;
    zig.args(["build-exe", "-target", "wasm32-wasi", "-O", "ReleaseSmall"]);
    zig.arg(format!("-femit-bin={}", made.display())).arg(guest.source.join("main.zig")).current_dir(&guest.scratch);
    run(&mut zig)?;
    Ok(made)
}

/// The compiler, without the command to it.
pub fn zig(tools: &Tools) -> Result<Command> {
    let mut zig = crate::run::program(tools.pip("zig")?.join("python-zig"));
    zig.env("ZIG_GLOBAL_CACHE_DIR", tools.folder().join("zig/cache"));
    Ok(zig)
}

/// The C compiler for WASI preview 1.
pub fn cc(tools: &Tools) -> Result<Command> {
    let mut cc = zig(tools)?;
    cc.args(["cc", "--target=wasm32-wasi", "-Os", "-s"]);
    Ok(cc)
}
