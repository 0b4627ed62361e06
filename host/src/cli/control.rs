//! What is done with a server that runs: the arguments and the help of `deploy`, `rollback`, `status` and the like.

use std::path::PathBuf;

use clap::Args;

/// Which server is meant.
#[derive(Debug, Args)]
pub struct OfServer {
    /// Configuration file of the server; without it ./guesthouse.toml
    #[arg(long, value_name = "CONFIGURATION")]
    pub config: Option<PathBuf>,
}

/// `guesthouse deploy FILE [--name NAME]`
#[derive(Debug, Args)]
pub struct Deploy {
    /// Wasm file
    pub file: PathBuf,
    /// Name of the module; without it the file's, up to its last dot
    #[arg(long)]
    pub name: Option<String>,
    #[command(flatten)]
    pub server: OfServer,
}

/// `guesthouse undeploy NAME`
#[derive(Debug, Args)]
pub struct Undeploy {
    /// Name of the module
    pub name: String,
    #[command(flatten)]
    pub server: OfServer,
}

/// `guesthouse rollback NAME [VERSION]`
#[derive(Debug, Args)]
pub struct Rollback {
    /// Name of the module
    pub name: String,
    /// The beginning of its hash, or what the module calls it; without it the version before
    pub version: Option<String>,
    #[command(flatten)]
    pub server: OfServer,
}

/// `guesthouse modules [--json]`
#[derive(Debug, Args)]
pub struct Modules {
    /// Print JSON for programs
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub server: OfServer,
}

/// `guesthouse reload`
#[derive(Debug, Args)]
pub struct Reload {
    #[command(flatten)]
    pub server: OfServer,
}

/// `guesthouse stop [--graceful]`
#[derive(Debug, Args)]
pub struct Stop {
    /// Finish what is open first
    #[arg(long)]
    pub graceful: bool,
    #[command(flatten)]
    pub server: OfServer,
}

/// `guesthouse logs NAME [-f]`
#[derive(Debug, Args)]
pub struct Logs {
    /// Name of the module
    pub name: String,
    /// Go on with what comes
    #[arg(short, long)]
    pub follow: bool,
    #[command(flatten)]
    pub server: OfServer,
}

/// `guesthouse status [FILE] [--json]`
#[derive(Debug, Args)]
pub struct Status {
    /// Configuration file of the server; without it ./guesthouse.toml
    #[arg(conflicts_with = "config")]
    pub file: Option<PathBuf>,
    /// Print JSON for programs
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub server: OfServer,
}

pub(super) const DEPLOY: &str = "\
Put a Wasm file into service under a name, or in the place of the module that has it, and wait until it serves.

The file is sent to the running server, which writes it into its modules_dir, whole or not at all, compiles and checks \
it, and takes it over without losing a request. If it is no good, the version before goes on, and what is wrong is \
told. Where the module answers, and what it is granted, stands in NAME.toml in that folder; without one it answers on \
/NAME.

This and the other commands that reach a running server are for its owner and root. They find it by the runtime_dir \
of its configuration.";

pub(super) const DEPLOY_AFTER: &str = "\
Exit status:
  0  The file serves, or served already.
  1  It does not: standard error says why.
  2  The command line was wrong.

Examples:
  guesthouse deploy target/wasm32-wasip2/release/shop.wasm
  guesthouse deploy build/out.wasm --name shop --config /etc/guesthouse/guesthouse.toml";

pub(super) const UNDEPLOY: &str = "\
Withdraw a module: remove NAME.wasm and NAME.toml from the modules_dir of a running server, and wait until it is no \
longer served. Requests that it has begun are finished. Modules of the configuration are withdrawn there.";

pub(super) const UNDEPLOY_AFTER: &str = "\
Exit status:
  0  The module is withdrawn.
  1  It is not: standard error says why.
  2  The command line was wrong.

Examples:
  guesthouse undeploy shop";

pub(super) const ROLLBACK: &str = "\
Bring a version of a module back that was served before, and wait until it serves. The last versions of each module \
are kept (keep_versions), with their native code: its Wasm file is put back in the module's place, and taken over as any \
file that is put there. Settings are no part of a version.

VERSION is the beginning of a version's hash, at least 4 digits, or what the module calls that version. Without it, it is \
the version before the one that serves.";

pub(super) const ROLLBACK_AFTER: &str = "\
Exit status:
  0  The version serves.
  1  It does not, or is not kept: standard error says why, and which are kept.
  2  The command line was wrong.

Examples:
  guesthouse rollback shop
  guesthouse rollback shop 5c1f9c6f";

pub(super) const MODULES: &str = "\
Tell which modules a running server has.

STATE is serving; serving an earlier version, if the module's file was refused; or refused, if there is no earlier one. \
Why it was refused stands below the table. HASH is the beginning of the BLAKE3 hash of the Wasm file that serves, \
VERSION is what the module says of itself, and RUNS whether it shares the server's threads, is confined to processes of \
its own, or is resident in each child (prefork).";

pub(super) const MODULES_AFTER: &str = "\
JSON (--json): the fields are described in docs/control.md.

Exit status:
  0  The server has told, whatever it has.
  1  It has not: standard error says why.
  2  The command line was wrong.

Examples:
  guesthouse modules
  guesthouse modules --json | jq '.[] | select(.state != \"serving\")'";

pub(super) const RELOAD: &str = "\
Have a running server read its configuration and all modules anew, as kill -USR1 does, and wait for the outcome. New \
children serve what is new, the old ones finish what they have open: no request is lost. If something is wrong, \
everything goes on as it was.";

pub(super) const RELOAD_AFTER: &str = "\
Exit status:
  0  What is there now serves. Files in modules_dir that are no good are told by guesthouse modules.
  1  Nothing has changed: standard error says why.
  2  The command line was wrong.

Examples:
  guesthouse check && guesthouse reload";

pub(super) const STOP: &str = "\
Stop a running server, and wait until it has stopped. Requests that are open are cut off, as by kill -TERM; with \
--graceful they are finished first, as by kill -WINCH.";

pub(super) const STOP_AFTER: &str = "\
Exit status:
  0  The server has stopped.
  1  It has not, or there is none: standard error says why.
  2  The command line was wrong.

Examples:
  guesthouse stop --graceful";

pub(super) const LOGS: &str = "\
Print the lines of the error log that name a module, with what its guests print and the backtraces of those that \
trapped, and then the lines of the access log about requests that it answered.

The files are those of the configuration. A log that goes to standard error is nobody's to print.";

pub(super) const LOGS_AFTER: &str = "\
Exit status:
  0  They are printed.
  1  There are no log files, or they cannot be read: standard error says why.
  2  The command line was wrong.

Examples:
  guesthouse logs shop
  guesthouse logs shop -f               go on with what comes, also when the files are rotated";

pub(super) const STATUS: &str = "\
Tell what a running server does: its pools, modules and children.

FILE is the configuration of the server. Its owner and root ask it over the control socket in runtime_dir. Where there \
is none to be reached, the server is asked where the configuration says that it tells its status, in a route like this \
one, at the first address that it listens on:

  [[route]]
  path = \"/server-status\"
  handler = \"server-status\"

THREADS has a letter for each thread of a child, as in Apache's mod_status: _ waits for a connection, R reads a \
request, W makes or writes an answer, K waits for the next request of a connection, C waits for the client to close, \
G finishes what is open, S starts. OPEN counts connections, MEMORY is what is resident and of no file. Times are p50 \
and p99 of all requests since the start, or since the last HUP.";

pub(super) const STATUS_AFTER: &str = "\
JSON (--json): the fields are described in docs/status.md.

Exit status:
  0  The server has told.
  1  It has not, or there is no route that tells: standard error says why.
  2  The command line was wrong.

Examples:
  guesthouse status
  guesthouse status /etc/guesthouse/guesthouse.toml
  guesthouse status --json | jq '.modules[] | {name, requests, errors}'";
