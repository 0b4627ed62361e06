//! What serves, and what looks at a configuration: the arguments and the help of `serve` and `check`, and of what servers start
//! for themselves.

use std::path::PathBuf;

use clap::Args;

/// `guesthouse serve [FILE]`
#[derive(Debug, Args)]
pub struct Serve {
    /// Configuration file; without it ./guesthouse.toml, and if there is none, a demo
    pub file: Option<PathBuf>,
}

/// `guesthouse check [FILE]`
#[derive(Debug, Args)]
pub struct Check {
    /// Configuration file; without it ./guesthouse.toml
    pub file: Option<PathBuf>,
}

/// `guesthouse prepare FILE`
#[derive(Debug, Args)]
pub struct Prepare {
    /// Configuration file
    pub file: PathBuf,
}

/// `guesthouse vet FILE CACHE`: what the preparation starts for each file that is new.
#[derive(Debug, Args)]
pub struct Vet {
    /// Wasm file
    pub file: PathBuf,
    /// Directory of native code
    pub cache_dir: PathBuf,
}

pub(super) const SERVE: &str = "\
Start the server and stay in the foreground.

FILE is checked first, and modules that are not in the code cache are compiled; only then are sockets opened. The \
parent process then starts the children that serve, restarts those that die, and answers signals. Without FILE it is \
./guesthouse.toml; where that does not exist either, a demo that needs no files is served on 127.0.0.1:8080.";

pub(super) const SERVE_AFTER: &str = "\
Signals, sent to the parent (its pid stands in the pid file):
  TERM, INT  Stop now: children end, requests that are open are cut off.
  WINCH      Stop gracefully: accept nothing new, finish what is open, then end; what is still open
             after graceful_shutdown_timeout is cut off.
  HUP        Restart: read the configuration, reopen logs, end the children and start new ones.
  USR1       Restart gracefully: read the configuration, reopen logs, let each child finish what it
             has open and start new ones in their place. No request fails. Also for log rotation.
On HUP and USR1 the configuration is checked first. If it is wrong, the mistakes are logged and the
server goes on with what it has.

Files (DIR is the folder of the configuration file; each name can be changed there):
  ./guesthouse.toml           the configuration, if FILE is not given
  DIR/run/guesthouse.pid      pid of the parent, while the server runs
  DIR/run/control.sock        where guesthouse deploy and the like reach the server, mode 0600
  DIR/run/stopping.sock       the same, while a server that was told to stop finishes what is open
  DIR/run/confined/           sockets of modules that are not thread-safe, mode 0700
  DIR/run/published.json      what serves, and which versions of each module are kept
  DIR/run/versions/           the Wasm files of these versions, mode 0700
  DIR/cache/                  native code of the modules, mode 0700; may be removed while stopped
  DIR/logs/access.log         one line for each request
  standard error              the error log

Environment:
  GUESTHOUSE_LOG              level of the error log: off, error, warn, info, debug or trace

Exit status:
  0  The server was stopped by a signal.
  1  It could not start, or could not go on: the last lines of the error log say why.
  2  The command line was wrong.

Examples:
  guesthouse serve /etc/guesthouse/guesthouse.toml
  kill -USR1 $(cat run/guesthouse.pid)      take a new configuration or new modules into service
  kill -WINCH $(cat run/guesthouse.pid)     stop without cutting anyone off";

pub(super) const CHECK: &str = "\
Check a configuration file and report every mistake, each with its line and what to write instead.

It is checked that the file is well-formed, that every key and value makes sense and fits the others, that the \
files and directories that it names exist, that nobody else may write to runtime_dir, and that its settings suit what \
each module says of itself. Nothing is compiled or created, and a running server takes no notice. A reload checks the \
same first. Values that are corrected as Apache corrects them are warnings, and so is thread_safe = true for a module \
that says that it is not.";

pub(super) const CHECK_AFTER: &str = "\
Exit status:
  0  The file is right; there may be warnings.
  1  It is wrong or cannot be read; standard error has one line for each mistake.
  2  The command line was wrong.

Examples:
  guesthouse check && kill -USR1 $(cat run/guesthouse.pid)
  guesthouse check staging/guesthouse.toml";

pub(super) const PREPARE: &str = "\
Check a configuration file, compile what is missing in the cache, print the configuration as JSON.

The parent of a server runs this in a process of its own, at the start and before each reload, so that neither a \
broken file nor a module that is costly to compile harms it. Mistakes go to standard error, with exit status 1.";
