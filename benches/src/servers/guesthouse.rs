//! How Guesthouse is configured for the rows: event in front of whatever a row needs. Starts nothing.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use super::{AccessLog, HELLO, Setup, TEXT, place, write};
use crate::Bench;

/// The guest that computes, sleeps and says which instance it is, as it is asked to.
const PROBE: &str = "probe.wasm";

/// Children and their threads.
#[derive(Debug, Clone, Copy)]
struct Shape {
    children: usize,
    threads: usize,
}

/// As it comes on a machine with two cores.
const TWO_CORES: Shape = Shape { children: 2, threads: 1 };

/// A guest at [`HELLO`], fresh for every request, and a text of the server's own at [`TEXT`], by one child.
pub fn hello(bench: &Bench, guest: &str, threads: usize, log: AccessLog) -> Result<Setup> {
    let stem = guest.trim_end_matches(".wasm");
    let folder = format!("guesthouse-{stem}-{threads}-{}", log.word());
    let text = format!("[[route]]\npath = \"{TEXT}\"\ntext = \"Hello, world!\\n\"\n");
    let rest = module_at(HELLO, "hello", &wasm(bench, guest)?, "") + &text;
    event(bench, &folder, Shape { children: 1, threads }, log, &rest)
}

/// One child, with a folder of modules; of one module in it, at "/module", which is there from the beginning. Answers also with
/// that one's file.
pub fn deployed(bench: &Bench, wasm: &[u8]) -> Result<(Setup, PathBuf)> {
    let folder = "guesthouse-deployed";
    let modules = place(bench, folder)?.0.join("modules");
    std::fs::create_dir_all(&modules)?;
    let file = modules.join("module.wasm");
    std::fs::write(&file, wasm)?;
    let shape = Shape { children: 1, threads: 2 };
    let setup = event_with(bench, folder, shape, AccessLog::Combined, "modules_dir = \"modules\"", "")?;
    Ok((setup, file))
}

/// The probe, at all paths.
pub fn probe(bench: &Bench) -> Result<Setup> {
    let rest = module_at("/", "probe", &wasm(bench, PROBE)?, "");
    event(bench, "guesthouse-probe", TWO_CORES, AccessLog::Combined, &rest)
}

/// A guest that must not share threads, at [`HELLO`], confined to so many processes.
pub fn confined_hello(bench: &Bench, guest: &str, processes: usize) -> Result<Setup> {
    confined(bench, guest, HELLO, processes)
}

/// The probe at all paths, confined to so many processes.
pub fn confined_probe(bench: &Bench, processes: usize) -> Result<Setup> {
    confined(bench, PROBE, "/", processes)
}

/// All processes are there from the beginning to the end: with the spare ones that it is told to keep, the pool cannot
/// shrink, and with its maximum it cannot grow.
fn confined(bench: &Bench, guest: &str, path: &str, processes: usize) -> Result<Setup> {
    let pool = format!(
        "thread_safe = false\n\n[module.pool]\nstart_servers = {processes}\nmin_spare_servers = {processes}\n\
         max_spare_servers = {}\nmax_request_workers = {processes}\n",
        processes + 1,
    );
    let rest = module_at(path, "confined", &wasm(bench, guest)?, &pool);
    // The path of a pool's socket, which is below, has at most 107 bytes.
    event(bench, &format!("confined-{processes}"), TWO_CORES, AccessLog::Combined, &rest)
}

/// A module with a route to it; `lines` are the module's own beside its name and path.
fn module_at(route: &str, name: &str, wasm: &Path, lines: &str) -> String {
    format!(
        r#"[[module]]
name = "{name}"
path = "{}"
{lines}
[[route]]
path = "{route}"
module = "{name}"

"#,
        wasm.display()
    )
}

/// Event with `rest`, the configuration from the modules on.
fn event(bench: &Bench, folder: &str, shape: Shape, log: AccessLog, rest: &str) -> Result<Setup> {
    event_with(bench, folder, shape, log, "", rest)
}

/// The same with `lines` in `[server]`.
fn event_with(bench: &Bench, folder: &str, shape: Shape, log: AccessLog, lines: &str, rest: &str) -> Result<Setup> {
    let (folder, address) = place(bench, folder)?;
    let access_log = match log {
        AccessLog::Combined => "access.log",
        AccessLog::Off => "off",
    };
    let Shape { children, threads } = shape;
    let file = write(
        &folder,
        "guesthouse.toml",
        &format!(
            r#"[server]
listen = ["{address}"]
mpm = "event"
access_log = "{access_log}"
cache_dir = "{cache}"
keep_alive_timeout = "1h"
max_keep_alive_requests = 0
{lines}

[event]
start_servers = {children}
threads_per_child = {threads}

{rest}"#,
            // One for all, so that every start but the first finds it warm.
            cache = bench.folder.join("cache").display(),
        ),
    )?;
    let mut command = Command::new(&bench.guesthouse);
    command.arg("serve").arg(file);
    Setup::new("Guesthouse", command, address, &folder)
}

fn wasm(bench: &Bench, guest: &str) -> Result<PathBuf> {
    let wasm = bench.guests.join(guest);
    if !wasm.exists() {
        bail!("there is no guest {}", wasm.display());
    }
    Ok(wasm)
}
