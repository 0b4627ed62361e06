//! How Guesthouse is configured for the rows. Starts nothing.

use std::process::Command;

use anyhow::{Result, bail};

use super::{AccessLog, HELLO, Setup, TEXT, place, write};
use crate::Bench;

/// Guesthouse with the event MPM: a guest at [`HELLO`], and a text of the server's own at [`TEXT`].
pub fn hello(bench: &Bench, guest: &str, threads: usize, log: AccessLog) -> Result<Setup> {
    let stem = guest.trim_end_matches(".wasm");
    let (folder, address) = place(bench, &format!("guesthouse-{stem}-{threads}-{}", log.word()))?;
    let access_log = match log {
        AccessLog::Combined => "access.log",
        AccessLog::Off => "off",
    };
    let wasm = bench.guests.join(guest);
    if !wasm.exists() {
        bail!("there is no guest {}", wasm.display());
    }
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

[event]
start_servers = 1
threads_per_child = {threads}

[[module]]
name = "hello"
path = "{}"

[[route]]
path = "{HELLO}"
module = "hello"

[[route]]
path = "{TEXT}"
text = "Hello, world!\n"
"#,
            wasm.display(),
            // One for all, so that every start but the first finds it warm.
            cache = bench.folder.join("cache").display(),
        ),
    )?;
    let mut command = Command::new(&bench.guesthouse);
    command.arg("serve").arg(file);
    Setup::new("Guesthouse", command, address, &folder)
}
