//! Whether a server can run what is in a file, as far as that can be told without compiling it: is it a kind of guest
//! that answers requests, and is all that it imports there? What passes here may still fail to link, which is told when
//! it is compiled.

use super::inspect::{Import, Inspection, Kind};
use super::report::Visible;

/// Why no server can run a file, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsuitable {
    /// A component, but no handler of requests.
    #[error(
        "it does not export wasi:http/incoming-handler@0.2, wasi:http/handler@0.3 or wasi:cli/run@0.2, so it cannot answer \
         requests; it exports {exports}: build it for a world that exports one of them (wasi:http/proxy@0.2.0, \
         wasi:http/service@0.3.0 or wasi:cli/command@0.2.0)"
    )]
    NoHandler {
        /// As a list.
        exports: String,
    },
    /// A component of a time when its interfaces were not final. Wasmtime matches them with nothing but themselves.
    #[error(
        "it is made for a release candidate of WASI ({interfaces}): build it again with tools for {release} or later"
    )]
    ReleaseCandidate {
        /// All that it exports or imports of one, as a list.
        interfaces: String,
        /// The version that came of the first of them.
        release: String,
    },
    /// A core module that is no program.
    #[error(
        "it is a core Wasm module that does not export the function _start, so it cannot answer requests; it exports \
         {exports}: build it as a program with a main function for WASI preview 1 (in Rust: a binary for the target \
         wasm32-wasip1), which speaks CGI, or as a component that exports wasi:http/incoming-handler@0.2"
    )]
    NoStart {
        /// As a list.
        exports: String,
    },
    /// A command that needs what WASI preview 1 does not have.
    #[error(
        "it imports what is not part of WASI preview 1: {imports}: build it for plain wasm32-wasip1 (also called \
         wasm32-wasi), without threads, and without the sockets and other functions that only some hosts add"
    )]
    CommandImports {
        /// All of it, as a list.
        imports: String,
    },
    /// It needs what is not there.
    #[error(
        "it imports what this server does not offer: {imports}: {offer}; build it for the world {world}, or compose it \
         with components that export the rest"
    )]
    Imports {
        /// All of it, as a list.
        imports: String,
        /// What a guest of its kind may import.
        offer: &'static str,
        /// Has no other imports than these.
        world: &'static str,
    },
}

/// What components of one kind are made for.
struct World {
    /// It has no import that is not offered.
    name: &'static str,
    /// How the name begins of the export that requests go to.
    handler: &'static str,
    /// What they may import, in words.
    offer: &'static str,
}

const PROXY: World =
    World { name: "wasi:http/proxy@0.2.0", handler: "wasi:http/incoming-handler@0.2.", offer: OFFER_0_2 };
const SERVICE: World = World { name: "wasi:http/service@0.3.0", handler: "wasi:http/handler@0.3.", offer: OFFER_0_3 };
const COMMAND: World = World { name: "wasi:cli/command@0.2.0", handler: "wasi:cli/run@0.2.", offer: OFFER_0_2 };

const OFFER_0_2: &str =
    "it may import wasi:cli, clocks, filesystem, http, io, random and sockets of WASI 0.2, and nothing else";
const OFFER_0_3: &str = "it may import wasi:cli, clocks, filesystem, http, random and sockets of WASI 0.3, the same and io \
                         of WASI 0.2, and nothing else";

impl Inspection {
    /// # Errors
    /// What stands in the way of serving the file.
    pub fn check_suitable(&self) -> Result<(), Unsuitable> {
        match self.kind {
            Kind::HttpIncomingHandler => self.check_component(&PROXY),
            Kind::HttpHandler => self.check_component(&SERVICE),
            Kind::CliComponent => self.check_component(&COMMAND),
            Kind::OtherComponent => Err(Unsuitable::NoHandler { exports: self.export_list() }),
            Kind::Command => self.check_command(),
            Kind::OtherCoreModule => Err(Unsuitable::NoStart { exports: self.export_list() }),
        }
    }

    fn check_component(&self, world: &World) -> Result<(), Unsuitable> {
        let exports = self.exports.iter().map(|export| export.name.as_str());
        let handlers: Vec<&str> = exports.filter(|name| name.starts_with(world.handler)).collect();
        if handlers.is_empty() {
            return Err(Unsuitable::NoHandler { exports: self.export_list() });
        }
        let (known, missing): (Vec<&Import>, Vec<&Import>) =
            self.imports.iter().partition(|import| is_known(import, self.kind));
        let known = known.into_iter().map(|import| import.name.as_str());
        let candidates: Vec<&str> = handlers.into_iter().chain(known).filter(|name| is_candidate(name)).collect();
        if let Some(first) = candidates.first() {
            let release = release_of(first).to_owned();
            return Err(Unsuitable::ReleaseCandidate { interfaces: list(candidates.into_iter()), release });
        }
        if missing.is_empty() {
            return Ok(());
        }
        let imports = list(missing.into_iter().map(|import| import.name.as_str()));
        Err(Unsuitable::Imports { imports, offer: world.offer, world: world.name })
    }

    fn check_command(&self) -> Result<(), Unsuitable> {
        let mut missing = self.imports.iter().filter(|import| !is_preview_1(import)).peekable();
        if missing.peek().is_none() {
            return Ok(());
        }
        let named = |import: &Import| format!("{} {}", import.module.as_deref().unwrap_or_default(), import.name);
        Err(Unsuitable::CommandImports { imports: list(missing.map(named)) })
    }

    fn export_list(&self) -> String {
        list(self.exports.iter().map(|export| export.name.as_str()))
    }
}

/// The functions of `wasi_snapshot_preview1`. Those of sockets are among them because some toolchains import them whether
/// a program uses them or not; they fail when they are called.
const PREVIEW_1: [&str; 46] = [
    "args_get",
    "args_sizes_get",
    "clock_res_get",
    "clock_time_get",
    "environ_get",
    "environ_sizes_get",
    "fd_advise",
    "fd_allocate",
    "fd_close",
    "fd_datasync",
    "fd_fdstat_get",
    "fd_fdstat_set_flags",
    "fd_fdstat_set_rights",
    "fd_filestat_get",
    "fd_filestat_set_size",
    "fd_filestat_set_times",
    "fd_pread",
    "fd_prestat_dir_name",
    "fd_prestat_get",
    "fd_pwrite",
    "fd_read",
    "fd_readdir",
    "fd_renumber",
    "fd_seek",
    "fd_sync",
    "fd_tell",
    "fd_write",
    "path_create_directory",
    "path_filestat_get",
    "path_filestat_set_times",
    "path_link",
    "path_open",
    "path_readlink",
    "path_remove_directory",
    "path_rename",
    "path_symlink",
    "path_unlink_file",
    "poll_oneoff",
    "proc_exit",
    "proc_raise",
    "random_get",
    "sched_yield",
    "sock_accept",
    "sock_recv",
    "sock_send",
    "sock_shutdown",
];

fn is_preview_1(import: &Import) -> bool {
    import.module.as_deref() == Some("wasi_snapshot_preview1")
        && import.kind == "func"
        && PREVIEW_1.contains(&import.name.as_str())
}

/// Interfaces of WASI 0.2 that every component may import.
const WASI_0_2: [&str; 30] = [
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/timezone",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:http/outgoing-handler",
    "wasi:http/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
    "wasi:sockets/instance-network",
    "wasi:sockets/ip-name-lookup",
    "wasi:sockets/network",
    "wasi:sockets/tcp",
    "wasi:sockets/tcp-create-socket",
    "wasi:sockets/udp",
    "wasi:sockets/udp-create-socket",
];

/// Interfaces of WASI 0.3 that a component of 0.3 may import, beside those of 0.2.
const WASI_0_3: [&str; 24] = [
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:cli/types",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/system-clock",
    "wasi:clocks/timezone",
    "wasi:clocks/types",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:http/client",
    "wasi:http/types",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
    "wasi:sockets/ip-name-lookup",
    "wasi:sockets/types",
];

/// Whether it is something that guests of this kind are offered, in this version or in the one that came of it.
fn is_known(import: &Import, kind: Kind) -> bool {
    let is = |interfaces: &[&str], version: &str| {
        interfaces.iter().any(|interface| import.name.strip_prefix(interface).is_some_and(|at| at.starts_with(version)))
    };
    // What is no instance is a type, which needs nobody to offer it, or something that only linking can judge.
    if import.module.is_none() && import.kind == "type" {
        return true;
    }
    is(&WASI_0_2, "@0.2.") || (kind == Kind::HttpHandler && is(&WASI_0_3, "@0.3."))
}

/// Whether an interface's version is one of before its release: `@0.3.0-rc-2026-01-06`.
fn is_candidate(interface: &str) -> bool {
    let version = interface.split_once('@').map_or("", |(_, version)| version);
    // What stands behind "+" is of the build.
    version.split('+').next().is_some_and(|version| version.contains('-'))
}

/// `0.3.0` of `@0.3.0-rc-2026-01-06`.
fn release_of(interface: &str) -> &str {
    let version = interface.split_once('@').map_or("", |(_, version)| version);
    version.split('-').next().unwrap_or_default()
}

/// Names that a file gives to things, so that no terminal obeys them.
fn list<T: AsRef<str>>(names: impl Iterator<Item = T>) -> String {
    let names: Vec<_> = names.map(|name| Visible(name.as_ref()).to_string()).collect();
    if names.is_empty() { "nothing".into() } else { names.join(", ") }
}
