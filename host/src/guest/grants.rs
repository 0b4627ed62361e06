//! What the operator grants a module, ready to be handed to each of its guests, and what its calls are called in the log. Plain
//! data: what comes of it is in [`capabilities`](super::capabilities) and [`outbound`](super::outbound).

use std::sync::Arc;

use tokio_rustls::rustls::ClientConfig;
use tracing::field::{DisplayValue, display};
use wasmtime_wasi::filesystem::WasiFilesystemCtx;

use super::limits::CallLimits;
use super::resolver::Resolver;
use crate::config::OutboundHost;
use crate::request_id::RequestId;

/// What a module may do, ready to be handed to a guest.
pub(super) struct Grants {
    /// The module's name, which is also the guest's only argument.
    pub(super) name: Arc<str>,
    pub(super) limits: CallLimits,
    pub(super) env: Vec<(String, String)>,
    /// The directories, opened once: a guest gets another reference to the same handles.
    pub(super) files: WasiFilesystemCtx,
    /// The same with a folder of scripts each, in the order of the settings.
    pub(super) roots: Vec<WasiFilesystemCtx>,
    pub(super) outbound: Vec<OutboundHost>,
    pub(super) tls: Arc<ClientConfig>,
    pub(super) resolver: Resolver,
}

/// What a log line calls a call by, together with the module's name.
#[derive(Debug, Clone, Copy)]
pub(super) struct CallName {
    /// `None`: the instance serves several, and which of them is not known.
    pub(super) request: Option<RequestId>,
}

impl CallName {
    /// For a log line, which leaves out what is not known.
    pub(super) fn shown(self) -> Option<DisplayValue<RequestId>> {
        self.request.map(display)
    }
}
