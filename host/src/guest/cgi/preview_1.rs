//! What a core module may import: WASI preview 1, as wasmtime-wasi has it, with two things done differently.

use wasmtime::Linker;
use wasmtime_wasi::{I32Exit, p1};

use super::super::sandbox::Sandbox;

/// The module that the functions are imported from.
const MODULE: &str = "wasi_snapshot_preview1";

/// `errno::notsup`.
const NOT_SUPPORTED: i32 = 58;

/// Adds all functions.
pub(in super::super) fn add_preview_1(linker: &mut Linker<Sandbox>) -> wasmtime::Result<()> {
    p1::add_to_linker_async(linker, Sandbox::preview_1)?;
    linker.allow_shadowing(true);
    // Any status is an end; wasmtime-wasi calls one of 126 and above an error, and PHP ends with 255 when its script has
    // failed, after a complete answer.
    linker.func_wrap(MODULE, "proc_exit", |status: i32| -> wasmtime::Result<()> { Err(I32Exit(status).into()) })?;
    // There are no sockets. What wasmtime-wasi has in their place says so in the server's log, as often as a guest asks.
    linker.func_wrap(MODULE, "sock_accept", |_: i32, _: i32, _: i32| NOT_SUPPORTED)?;
    linker.func_wrap(MODULE, "sock_recv", |_: i32, _: i32, _: i32, _: i32, _: i32, _: i32| NOT_SUPPORTED)?;
    linker.func_wrap(MODULE, "sock_send", |_: i32, _: i32, _: i32, _: i32, _: i32| NOT_SUPPORTED)?;
    linker.func_wrap(MODULE, "sock_shutdown", |_: i32, _: i32| NOT_SUPPORTED)?;
    linker.allow_shadowing(false);
    Ok(())
}
