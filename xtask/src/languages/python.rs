//! Python: components of CPython and the handler's modules, imported once while they are built.

use std::path::PathBuf;

use anyhow::Result;

use super::tools::Tools;
use super::zig::PYTHON;
use super::{Guest, Toolchain, WIT_02, WIT_03, WORLD};
use crate::run::{program, root, run};

pub const TOOLCHAIN: Toolchain = Toolchain {
    name: "python",
    guests: &["hello-python", "echo-python", "hello-python-p3"],
    needs: &PYTHON,
    pins: &["python.txt"],
    recipe: include_str!("python.rs"),
    build,
};

fn build(tools: &Tools, guest: &Guest) -> Result<PathBuf> {
    let made = guest.scratch.join("guest.wasm");
    let wit = if guest.name.ends_with("-p3") { WIT_03 } else { WIT_02 };
    let mut componentize = program(tools.pip("python")?.join("componentize-py"));
    // It reads the handler's modules from the current folder.
    componentize.current_dir(&guest.source);
    componentize.arg("--wit-path").arg(root().join(wit)).args(["--world", WORLD, "componentize", "app", "--output"]);
    run(componentize.arg(&made))?;
    Ok(made)
}
