//! How far the server has come that serves the project: there is none, it starts, it serves. Tells where, when it does.

use super::screen;
use super::server::Server;

/// ```text
///        start               ready
///   Off ───────► Starting ──────────► Serving
///    ▲              │                    │
///    └──────────────┴─── it has ended ───┘
/// ```
pub(super) enum Service {
    Off,
    Starting {
        server: Server,
        /// Where it listens, to be told when it is ready.
        addresses: Vec<String>,
    },
    Serving {
        server: Server,
    },
}

impl Service {
    pub(super) fn starting(server: Server) -> Self {
        Service::Starting { server, addresses: Vec::new() }
    }

    /// The server, if there is one.
    pub(super) fn server(&self) -> Option<&Server> {
        match self {
            Service::Off => None,
            Service::Starting { server, .. } | Service::Serving { server } => Some(server),
        }
    }

    /// The server, of which nothing is known any more.
    pub(super) fn take(&mut self) -> Option<Server> {
        match std::mem::replace(self, Service::Off) {
            Service::Off => None,
            Service::Starting { server, .. } | Service::Serving { server } => Some(server),
        }
    }

    pub(super) fn listening(&mut self, address: String) {
        match self {
            Service::Starting { addresses, .. } => addresses.push(address),
            // Its configuration has changed.
            Service::Off | Service::Serving { .. } => tell_address(&address),
        }
    }

    pub(super) fn ready(&mut self) {
        *self = match std::mem::replace(self, Service::Off) {
            Service::Starting { server, addresses } => {
                addresses.iter().for_each(|address| tell_address(address));
                Service::Serving { server }
            }
            other @ (Service::Off | Service::Serving { .. }) => other,
        }
    }
}

fn tell_address(address: &str) {
    screen::tell(&format!("serving on http://{address}/"));
}
