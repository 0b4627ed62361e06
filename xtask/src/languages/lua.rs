//! Lua: the interpreter, compiled from the C sources that a crate carries, with a `main` that runs scripts as CGI.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::tools::Tools;
use super::zig::{PYTHON, cc};
use super::{Guest, Toolchain};
use crate::run::run;

pub const TOOLCHAIN: Toolchain = Toolchain {
    name: "lua",
    guests: &["lua"],
    needs: &PYTHON,
    pins: &["zig.txt", "crates.toml"],
    recipe: include_str!("lua.rs"),
    build,
};

/// Lua's errors are `longjmp`s, which WebAssembly has as exceptions. The symbol of their tag is missing in zig's libc.
pub const LONGJMP: [&str; 5] =
    ["-mexception-handling", "-mllvm", "-wasm-enable-sjlj", "-mllvm", "-wasm-use-legacy-eh=false"];

/// Programs of their own.
const NOT_LIBRARY: [&str; 2] = ["lua.c", "luac.c"];

fn build(tools: &Tools, guest: &Guest) -> Result<PathBuf> {
    let made = guest.scratch.join("guest.wasm");
    let sources = tools.crate_sources("lua-src")?.join("lua-5.4.9");
    let entries = sources.read_dir().with_context(|| format!("cannot list the folder {}", sources.display()))?;
    let files = entries.collect::<Result<Vec<_>, _>>()?.into_iter().map(|entry| entry.path());
    let is_library = |path: &PathBuf| {
        path.extension().is_some_and(|c| c == "c") && !NOT_LIBRARY.iter().any(|name| path.ends_with(name))
    };

    let mut cc = cc(tools)?;
    cc.args(LONGJMP).args(["-D_WASI_EMULATED_SIGNAL", "-D_WASI_EMULATED_PROCESS_CLOCKS"]);
    cc.arg("-include").arg(guest.source.join("wasi.h")).arg("-I").arg(&sources);
    cc.args(files.filter(is_library)).args(["main.c", "longjmp.s"].map(|file| guest.source.join(file)));
    cc.args(["-lwasi-emulated-signal", "-lwasi-emulated-process-clocks", "-o"]);
    run(cc.arg(&made))?;
    Ok(made)
}
