//! Which capabilities a guest will ask for, told by the names of its imports. What it gets is decided by the
//! configuration, when it runs; a guest that asks may still never use it, since many toolchains import all of WASI.

use serde::Serialize;

/// Something outside of its sandbox that a guest may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ask {
    Environment,
    Files,
    OutboundHttp,
    Clocks,
    Random,
    Sockets,
}

impl Ask {
    /// In plain words, with what the guest gets.
    pub(super) fn words(self) -> &'static str {
        match self {
            Ask::Environment => "environment: variables; it gets those of [module.env]",
            Ask::Files => "files: reading and writing; it gets the directories of [[module.dir]]",
            Ask::OutboundHttp => "outbound HTTP: requests to other servers; it reaches the hosts of outbound",
            Ask::Clocks => "clocks: the time, timers; it gets them always",
            Ask::Random => "random: random numbers; it gets them always",
            Ask::Sockets => "sockets: TCP, UDP and name lookups; it never gets them",
        }
    }

    /// By an import of a component: `wasi:PACKAGE/INTERFACE@VERSION`.
    pub(super) fn of_interface(name: &str) -> Option<Ask> {
        let interface = name.split('@').next()?;
        let (package, interface) = interface.strip_prefix("wasi:")?.split_once('/')?;
        match (package, interface) {
            ("cli", "environment") => Some(Ask::Environment),
            ("filesystem", _) => Some(Ask::Files),
            // The second is its name in WASI 0.3.
            ("http", "outgoing-handler" | "client") => Some(Ask::OutboundHttp),
            ("clocks", _) => Some(Ask::Clocks),
            ("random", _) => Some(Ask::Random),
            ("sockets", _) => Some(Ask::Sockets),
            _ => None,
        }
    }

    /// By an import of a core module: a function of WASI preview 1.
    pub(super) fn of_function(module: &str, name: &str) -> Option<Ask> {
        if !matches!(module, "wasi_snapshot_preview1" | "wasi_unstable") {
            return None;
        }
        match name {
            "environ_get" | "environ_sizes_get" => Some(Ask::Environment),
            "clock_time_get" | "clock_res_get" | "poll_oneoff" => Some(Ask::Clocks),
            "random_get" => Some(Ask::Random),
            // Standard input and output have descriptors too; only a file is opened, or found among the preopened ones.
            "path_open" | "fd_prestat_get" | "fd_readdir" => Some(Ask::Files),
            _ if name.starts_with("path_") => Some(Ask::Files),
            _ if name.starts_with("sock_") => Some(Ask::Sockets),
            _ => None,
        }
    }
}
