//! Go, the upstream compiler: plain programs, and components over the bindings that wit-bindgen writes.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::c::{wasm_tools, wrap, write_bindings};
use super::tools::{Tools, write};
use super::zig::PYTHON;
use super::{Guest, Toolchain, WIT_02, WORLD};
use crate::run::{program, root, run};

pub const TOOLCHAIN: Toolchain = Toolchain {
    name: "go",
    guests: &["hello-go-cgi", "hello-go"],
    needs: &PYTHON,
    pins: &["go.txt", "tools.txt", "crates.toml"],
    recipe: include_str!("go.rs"),
    build,
};

/// Where wit-bindgen's bindings look for the handler.
const HANDLER_PACKAGE: &str = "export_wasi_http_incoming_handler";

fn build(tools: &Tools, guest: &Guest) -> Result<PathBuf> {
    let made = guest.scratch.join("guest.wasm");
    match guest.name {
        "hello-go-cgi" => run(go(tools, &guest.source)?.args(["build", "-ldflags=-s -w", "-o"]).arg(&made).arg("."))?,
        "hello-go" => component(tools, guest, &made)?,
        other => bail!("nobody has said how {other} is built"),
    }
    Ok(made)
}

/// Go has no target for components, but a reactor for WASI preview 1 whose exports may be named as those of one.
fn component(tools: &Tools, guest: &Guest, made: &Path) -> Result<()> {
    write_bindings(tools, "go", guest)?;
    let bindings = guest.scratch.join("bindings");
    let handler = std::fs::read_to_string(guest.source.join("handler.go")).context("cannot read the handler")?;
    write(&bindings.join(HANDLER_PACKAGE).join("handler.go"), &handler)?;
    // What the bindings import comes with their generator: no module proxy is asked.
    let runtime = tools.crate_sources("wit-bindgen-go")?.join("src/pkg");
    let replace = format!("go.bytecodealliance.org/pkg={}", runtime.display());
    run(go(tools, &bindings)?.args(["mod", "edit", "-replace", &replace]))?;

    let (core, embedded) = (guest.scratch.join("core.wasm"), guest.scratch.join("embedded.wasm"));
    let mut build = go(tools, &bindings)?;
    build.args(["build", "-buildmode=c-shared", "-ldflags=-s -w -checklinkname=0", "-o"]);
    run(build.arg(&core).arg("."))?;
    let mut embed = wasm_tools(tools)?;
    embed.args(["component", "embed"]).arg(root().join(WIT_02)).args(["--world", WORLD]).arg(&core);
    run(embed.arg("-o").arg(&embedded))?;
    wrap(tools, &embedded, "reactor", made)
}

/// The compiler for WASI preview 1, in the folder, and with all that it keeps in `target/`.
fn go(tools: &Tools, folder: &Path) -> Result<Command> {
    let mut go = program(tools.pip("go")?.join("go"));
    go.current_dir(folder);
    go.env("GOOS", "wasip1").env("GOARCH", "wasm");
    go.env("GOCACHE", tools.folder().join("go/cache")).env("GOPATH", tools.folder().join("go/path"));
    // It would otherwise fetch the compiler that a go.mod asks for, or a module that is missing.
    go.env("GOTOOLCHAIN", "local").env("GOPROXY", "off").env("GOFLAGS", "-mod=mod");
    Ok(go)
}
