//! C, with zig's compiler: components over the bindings that wit-bindgen writes, and plain programs.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use super::tools::Tools;
use super::zig::{PYTHON, cc};
use super::{Guest, Toolchain, WIT_02, WORLD};
use crate::run::{root, run};

pub const TOOLCHAIN: Toolchain = Toolchain {
    name: "c",
    guests: &["hello-c-cgi", "hello-c", "markdown-c"],
    needs: &PYTHON,
    pins: &["zig.txt", "tools.txt", "crates.toml", "debian.txt"],
    recipe: include_str!("c.rs"),
    build,
};

fn build(tools: &Tools, guest: &Guest) -> Result<PathBuf> {
    let made = guest.scratch.join("guest.wasm");
    match guest.name {
        "hello-c-cgi" => run(cc(tools)?.arg("-o").arg(&made).arg(guest.source.join("main.c")))?,
        "hello-c" => component(tools, guest, &made)?,
        "markdown-c" => markdown(tools, guest, &made)?,
        other => bail!("nobody has said how {other} is built"),
    }
    Ok(made)
}

fn component(tools: &Tools, guest: &Guest, made: &Path) -> Result<()> {
    let core = guest.scratch.join("core.wasm");
    write_bindings(tools, "c", guest)?;
    let bindings = guest.scratch.join("bindings");
    let mut cc = cc(tools)?;
    cc.arg("-mexec-model=reactor").arg("-I").arg(&bindings).arg("-o").arg(&core).arg(guest.source.join("handler.c"));
    run(cc.arg(bindings.join("handler.c")).arg(bindings.join("handler_component_type.o")))?;
    // Of the three adapters the one that asks for nothing that a handler has no use for.
    wrap(tools, &core, "proxy", made)
}

/// md4c, a library that has never heard of WebAssembly, and a `main` before it.
fn markdown(tools: &Tools, guest: &Guest, made: &Path) -> Result<()> {
    let library = tools.debian_sources("md4c")?.join("src");
    let mut cc = cc(tools)?;
    cc.arg("-I").arg(&library).arg("-o").arg(made).arg(guest.source.join("main.c"));
    run(cc.args(["md4c.c", "md4c-html.c", "entity.c"].map(|file| library.join(file))))
}

/// Writes the bindings to the folder `bindings` of the guest's scratch.
pub fn write_bindings(tools: &Tools, language: &str, guest: &Guest) -> Result<()> {
    let mut command = wit_bindgen(tools)?;
    command.arg(language).arg(root().join(WIT_02)).args(["--world", WORLD, "--out-dir"]);
    run(command.arg(guest.scratch.join("bindings")))
}

fn wit_bindgen(tools: &Tools) -> Result<Command> {
    tools.cargo("wit-bindgen-cli", "wit-bindgen")
}

pub fn wasm_tools(tools: &Tools) -> Result<Command> {
    tools.cargo("wasm-tools", "wasm-tools")
}

/// Makes a component of a core module, with an adapter from WASI preview 1 to 0.2.
pub fn wrap(tools: &Tools, core: &Path, adapter: &str, made: &Path) -> Result<()> {
    let adapters = tools.crate_sources("wasi-preview1-component-adapter-provider")?.join("artefacts");
    let adapter = adapters.join(format!("wasi_snapshot_preview1.{adapter}.wasm"));
    let mut command = wasm_tools(tools)?;
    command.args(["component", "new"]).arg(core).arg("-o").arg(made);
    run(command.arg("--adapt").arg(format!("wasi_snapshot_preview1={}", adapter.display())))
}
