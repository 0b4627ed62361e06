//! Rust programs that are no components: plain `main`, compiled for WASI preview 1.

use std::path::PathBuf;

use anyhow::Result;

use super::tools::Tools;
use super::{Guest, Toolchain};
use crate::run::{cargo, run};
use crate::wasm::ensure_target;

pub const TOOLCHAIN: Toolchain = Toolchain {
    name: "rust",
    guests: &["hello-rust-cgi"],
    needs: &[],
    pins: &[],
    recipe: include_str!("rust.rs"),
    build,
};

const TARGET: &str = "wasm32-wasip1";

fn build(_: &Tools, guest: &Guest) -> Result<PathBuf> {
    ensure_target(TARGET)?;
    let mut command = cargo();
    command.args(["build", "--release", "--locked", "--target", TARGET, "--manifest-path"]);
    run(command.arg(guest.source.join("Cargo.toml")).arg("--target-dir").arg(&guest.scratch))?;
    Ok(guest.scratch.join(TARGET).join("release").join(format!("{}.wasm", guest.name)))
}
