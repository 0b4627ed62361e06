//! How Guesthouse is configured for the rows: one of its MPMs, mostly event, in front of whatever a row needs. Starts nothing.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use super::{AccessLog, HELLO, Setup, TEXT, place, write};
use crate::Bench;

/// The guest that computes, sleeps and says which instance it is, as it is asked to.
const PROBE: &str = "probe.wasm";

/// An MPM, its children and their threads.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    Prefork {
        children: usize,
    },
    Worker {
        children: usize,
        threads: usize,
    },
    Event {
        children: usize,
        threads: usize,
    },
    /// Event with a thread in each child, and room for so many connections.
    Crowded {
        children: usize,
        connections: usize,
    },
}

/// As it comes on a machine with two cores.
const TWO_CORES: Shape = Shape::Event { children: 2, threads: 1 };

impl Shape {
    fn name(self) -> &'static str {
        match self {
            Shape::Prefork { .. } => "prefork",
            Shape::Worker { .. } => "worker",
            Shape::Event { .. } | Shape::Crowded { .. } => "event",
        }
    }

    /// What the MPM's table says. What is there at the start stays.
    fn lines(self) -> String {
        match self {
            Shape::Prefork { children } => format!(
                "start_servers = {children}\nmin_spare_servers = 1\nmax_spare_servers = {children}\n\
                 max_request_workers = {children}"
            ),
            Shape::Worker { children, threads } => {
                let all = children * threads;
                format!(
                    "start_servers = {children}\nthreads_per_child = {threads}\nmin_spare_threads = 1\n\
                     max_spare_threads = {}\nmax_request_workers = {all}",
                    all + threads
                )
            }
            Shape::Event { children, threads } => {
                format!("start_servers = {children}\nthreads_per_child = {threads}")
            }
            Shape::Crowded { children, connections } => {
                format!("start_servers = {children}\nthreads_per_child = 1\nmax_connections = {connections}")
            }
        }
    }
}

/// A guest at [`HELLO`], fresh for every request, and a text of the server's own at [`TEXT`], by one child.
pub fn hello(bench: &Bench, guest: &str, threads: usize, log: AccessLog) -> Result<Setup> {
    let stem = guest.trim_end_matches(".wasm");
    let folder = format!("guesthouse-{stem}-{threads}-{}", log.word());
    let text = format!("[[route]]\npath = \"{TEXT}\"\ntext = \"Hello, world!\\n\"\n");
    let rest = module_at(HELLO, "hello", &wasm(bench, guest)?, "") + &text;
    served(bench, &folder, Shape::Event { children: 1, threads }, log, &rest)
}

/// A guest at [`HELLO`], fresh for every request, by whatever shape of server.
pub fn hello_by(bench: &Bench, guest: &str, shape: Shape) -> Result<Setup> {
    let rest = module_at(HELLO, "hello", &wasm(bench, guest)?, "");
    let setup = served(bench, &format!("guesthouse-{}", shape.name()), shape, AccessLog::Combined, &rest)?;
    Ok(setup.named(shape.name()))
}

/// A guest at [`HELLO`], fresh for every request, by several children that have room for so many connections.
pub fn crowded_hello(bench: &Bench, guest: &str, children: usize, connections: usize) -> Result<Setup> {
    let rest = module_at(HELLO, "hello", &wasm(bench, guest)?, "");
    let shape = Shape::Crowded { children, connections };
    let setup = served(bench, "guesthouse-crowded", shape, AccessLog::Combined, &rest)?;
    Ok(setup.named(format!("Guesthouse, {children} children")))
}

/// One child, with a folder of modules; of one module in it, at "/module", which is there from the beginning. Answers also with
/// that one's file.
pub fn deployed(bench: &Bench, wasm: &[u8]) -> Result<(Setup, PathBuf)> {
    let folder = "guesthouse-deployed";
    let modules = place(bench, folder)?.0.join("modules");
    std::fs::create_dir_all(&modules)?;
    let file = modules.join("module.wasm");
    std::fs::write(&file, wasm)?;
    let shape = Shape::Event { children: 1, threads: 2 };
    let setup = served_with(bench, folder, shape, AccessLog::Combined, "modules_dir = \"modules\"", "")?;
    Ok((setup, file))
}

/// The probe, at all paths.
pub fn probe(bench: &Bench) -> Result<Setup> {
    let rest = module_at("/", "probe", &wasm(bench, PROBE)?, "");
    served(bench, "guesthouse-probe", TWO_CORES, AccessLog::Combined, &rest)
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
    served(bench, &format!("confined-{processes}"), TWO_CORES, AccessLog::Combined, &rest)
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

/// Guesthouse with `rest`, the configuration from the modules on.
fn served(bench: &Bench, folder: &str, shape: Shape, log: AccessLog, rest: &str) -> Result<Setup> {
    served_with(bench, folder, shape, log, "", rest)
}

/// The same with `lines` in `[server]`.
fn served_with(bench: &Bench, folder: &str, shape: Shape, log: AccessLog, lines: &str, rest: &str) -> Result<Setup> {
    let (folder, address) = place(bench, folder)?;
    let access_log = match log {
        AccessLog::Combined => "access.log",
        AccessLog::Off => "off",
    };
    let file = write(
        &folder,
        "guesthouse.toml",
        &format!(
            r#"[server]
listen = ["{address}"]
mpm = "{mpm}"
access_log = "{access_log}"
cache_dir = "{cache}"
keep_alive_timeout = "1h"
max_keep_alive_requests = 0
{lines}

[{mpm}]
{table}

{rest}"#,
            mpm = shape.name(),
            table = shape.lines(),
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
