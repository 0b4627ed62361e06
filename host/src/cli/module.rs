//! What is done with a Wasm file: the arguments and the help of `module` and what stands below it.

use std::path::PathBuf;

use clap::{ArgAction, ArgGroup, Args, Subcommand};

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

pub(super) const MODULE: &str = "\
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

pub(super) const MODULE_AFTER: &str = "\
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
