//! Whether a server can run what is in a file, as far as that can be told without compiling it: is it a kind of guest
//! that answers requests, and is all that it imports there? What passes here may still fail to link, which is told when
//! it is compiled.

use super::inspect::{Import, Inspection, Kind};

/// Why no server can run a file, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsuitable {
    /// A component, but no handler of requests.
    #[error(
        "it does not export wasi:http/incoming-handler@0.2, wasi:http/handler@0.3 or wasi:cli/run@0.2, so it cannot answer \
         requests; it exports {exports}"
    )]
    NoHandler {
        /// As a list.
        exports: String,
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
    #[error("it imports what this server does not offer: {imports}")]
    Imports {
        /// All of it, as a list.
        imports: String,
    },
}

impl Inspection {
    /// # Errors
    /// What stands in the way of serving the file.
    pub fn check_suitable(&self) -> Result<(), Unsuitable> {
        let exports = || list(self.exports.iter().map(|export| export.name.clone()));
        match self.kind {
            Kind::HttpIncomingHandler | Kind::HttpHandler => {}
            Kind::CliComponent if self.exports.iter().any(|export| export.name.starts_with("wasi:cli/run@0.2.")) => {}
            Kind::CliComponent | Kind::OtherComponent => {
                return Err(Unsuitable::NoHandler { exports: exports() });
            }
            Kind::Command => return self.check_command(),
            Kind::OtherCoreModule => return Err(Unsuitable::NoStart { exports: exports() }),
        }
        let missing: Vec<&Import> = self.imports.iter().filter(|import| !is_offered(import, self.kind)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(Unsuitable::Imports { imports: list(missing.into_iter().map(|import| import.name.clone())) })
    }

    fn check_command(&self) -> Result<(), Unsuitable> {
        let mut missing = self.imports.iter().filter(|import| !is_preview_1(import)).peekable();
        if missing.peek().is_none() {
            return Ok(());
        }
        let named = |import: &Import| format!("{} {}", import.module.as_deref().unwrap_or_default(), import.name);
        Err(Unsuitable::CommandImports { imports: list(missing.map(named)) })
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

fn is_offered(import: &Import, kind: Kind) -> bool {
    let is = |interfaces: &[&str], version: &str| {
        interfaces.iter().any(|interface| import.name.strip_prefix(interface).is_some_and(|at| at.starts_with(version)))
    };
    // What is no instance is a type, which needs nobody to offer it, or something that only linking can judge.
    if import.module.is_none() && import.kind == "type" {
        return true;
    }
    is(&WASI_0_2, "@0.2.") || (kind == Kind::HttpHandler && is(&WASI_0_3, "@0.3."))
}

fn list(names: impl Iterator<Item = String>) -> String {
    let names: Vec<_> = names.collect();
    if names.is_empty() { "nothing".into() } else { names.join(", ") }
}
