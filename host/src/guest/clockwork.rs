//! What runs beside the guests of a child: the clock that slices them, and the runtime that waits on their behalf. Knows no
//! module and no call.

use std::io;
use std::time::Duration;

use tokio::runtime::{Builder, EnterGuard, Runtime};
use wasmtime::EngineWeak;

use super::ticker::Ticker;

/// Threads of the background runtime that may wait for files and name servers at once. Name servers have fewer than all
/// (`resolver`), since a guest can make them wait for as long as they like.
pub(super) const BLOCKING_THREADS_MAX: usize = 16;

/// What runs beside the guests: the clock that slices them, and the runtime that waits for timers, files and
/// sockets on their behalf.
pub(super) struct Clockwork {
    ticker: Ticker,
    slice: Duration,
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
}

impl Clockwork {
    pub(super) fn start(slice: Duration) -> io::Result<Clockwork> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(BLOCKING_THREADS_MAX)
            .thread_name("guest-background")
            .enable_io()
            .enable_time()
            .build()?;
        Ok(Clockwork { ticker: Ticker::start(slice)?, slice, runtime: Some(runtime) })
    }

    /// From here on it cuts the time of this engine's guests as well, for as long as there is one.
    pub(super) fn drive(&self, engine: EngineWeak) {
        self.ticker.drive(engine);
    }

    /// A guest is about to run on this thread: the clock ticks, and the runtime is at hand.
    pub(super) fn enter(&self) -> EnterGuard<'_> {
        self.ticker.touch();
        self.runtime.as_ref().expect("the runtime lives until the clockwork is dropped").enter()
    }

    pub(super) fn slice(&self) -> Duration {
        self.slice
    }
}

impl Drop for Clockwork {
    fn drop(&mut self) {
        // A file call that hangs must not keep the child from ending.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
