//! Whether a server can run what is in a file, as far as that can be told without compiling it: is it a kind of guest
//! that answers requests, and is all that it imports there? What passes here may still fail to link, which is told when
//! it is compiled.

use super::inspect::{Import, Inspection, Kind};

/// Why no server can run a file, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsuitable {
    /// A component, but no handler of requests.
    #[error(
        "it does not export wasi:http/incoming-handler@0.2 or wasi:http/handler@0.3, so it cannot answer requests; it \
         exports {exports}"
    )]
    NoHandler {
        /// As a list.
        exports: String,
    },
    /// A core module, which has no interfaces.
    #[error(
        "it is a core Wasm module, which is not supported yet: build a component that exports \
         wasi:http/incoming-handler@0.2 instead (in Rust: a cdylib for the target wasm32-wasip2)"
    )]
    CoreModule,
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
        match self.kind {
            Kind::HttpIncomingHandler | Kind::HttpHandler => {}
            Kind::CliComponent | Kind::OtherComponent => {
                return Err(Unsuitable::NoHandler { exports: list(self.exports.iter().map(|e| e.name.clone())) });
            }
            Kind::Command | Kind::OtherCoreModule => return Err(Unsuitable::CoreModule),
        }
        let missing: Vec<&Import> = self.imports.iter().filter(|import| !is_offered(import, self.kind)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(Unsuitable::Imports { imports: list(missing.into_iter().map(|import| import.name.clone())) })
    }
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
