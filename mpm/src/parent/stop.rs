//! The end of a server: gracefully (WINCH) or at once (TERM, INT, and what makes it impossible to go on).

use std::time::{Duration, Instant};

use super::Parent;
use crate::control::Command;
use crate::error::ServeError;
use crate::lookout::News;
use crate::protocol::Application;

/// A child that survives a KILL for so long is held by the kernel; nobody can wait for that.
const GIVE_UP: Duration = Duration::from_secs(5);

/// ```text
///  Opening ──► Serving ──WINCH──► Finishing ──timeout, TERM, INT──► Ending
///     └───────────┴────────────────── TERM, INT ──────────────────────┘
/// ```
#[derive(Debug)]
pub(crate) enum Stage {
    /// No child has ever been ready.
    Opening,
    Serving,
    /// Nothing new is taken; children finish what is open: first the server's own, then those that they speak to.
    Finishing {
        /// GracefulShutdownTimeout; `None`: for ever.
        until: Option<Instant>,
    },
    /// Children were sent TERM.
    Ending {
        since: Instant,
        /// Why, unless it was an order.
        failure: Option<ServeError>,
    },
}

impl Stage {
    pub(super) fn is_stopping(&self) -> bool {
        matches!(self, Stage::Finishing { .. } | Stage::Ending { .. })
    }

    pub(super) fn due_at(&self) -> Option<Instant> {
        match self {
            Stage::Opening | Stage::Serving => None,
            Stage::Finishing { until } => *until,
            Stage::Ending { since, .. } => Some(*since + GIVE_UP),
        }
    }
}

impl<A: Application> Parent<'_, A> {
    /// WINCH: what waits in the backlog and what is open is finished, then the server ends.
    pub(super) fn stop_gracefully(&mut self, now: Instant) {
        if self.stage.is_stopping() {
            return;
        }
        tracing::info!("stopping gracefully");
        // What is open, and what waits in the backlog, is served by the generation that is published.
        let given_up = self.current.number;
        if self.is_adopting() && self.go_back(now) {
            tracing::info!("generation {given_up} is given up, because the server stops");
        }
        let timeout = self.current.own().mpm.common().graceful_shutdown_timeout;
        self.stage = Stage::Finishing { until: (!timeout.is_zero()).then(|| now + timeout) };
        self.cancel_reload();
        self.lookout.tell(&News::Stopping, now);
        for (_, child) in self.children.iter_mut().filter(|(_, child)| child.origin.is_own()) {
            child.drain(&Command::Stop);
        }
        // Another server may take the addresses and the pid file over while this one finishes.
        let Self { children, current, leaving, listeners, .. } = self;
        listeners.close_unless(|address| {
            let leaving = leaving.iter().map(|leaving| &leaving.pool.origin);
            let others = current.pools.iter().map(|pool| &pool.origin).chain(leaving);
            let others =
                others.chain(children.iter().map(|(_, child)| &child.origin)).filter(|origin| !origin.is_own());
            others.into_iter().any(|origin| origin.listen.contains(address))
        });
        self.remove_pid_file();
    }

    /// Ends the server at once. `failure` is what [`serve`](crate::serve) will answer with.
    pub(super) fn stop(&mut self, failure: Option<ServeError>, now: Instant) {
        if let Stage::Ending { .. } = self.stage {
            return;
        }
        tracing::info!("stopping");
        self.stage = Stage::Ending { since: now, failure };
        self.cancel_reload();
        self.lookout.tell(&News::Stopping, now);
        self.listeners.close();
        for (_, child) in self.children.iter_mut() {
            child.terminate(now);
        }
    }

    /// Whether the server has come to its end, and with which failure.
    pub(super) fn ended(&mut self, now: Instant) -> Option<Result<(), ServeError>> {
        if let Stage::Finishing { until: Some(until) } = self.stage
            && now >= until
        {
            tracing::warn!("graceful_shutdown_timeout is over: what is still open is broken off");
            self.stop(None, now);
        }
        let overdue = self.stage.due_at().is_some_and(|due| now >= due);
        match &mut self.stage {
            Stage::Opening | Stage::Serving => return None,
            Stage::Finishing { .. } | Stage::Ending { .. } if self.children.is_empty() => {}
            Stage::Finishing { .. } => return None,
            Stage::Ending { .. } if overdue => tracing::error!("some children cannot be ended"),
            Stage::Ending { .. } => return None,
        }
        self.remove_pid_file();
        tracing::info!("stopped");
        match &mut self.stage {
            Stage::Ending { failure, .. } => Some(failure.take().map_or(Ok(()), Err)),
            Stage::Opening | Stage::Serving | Stage::Finishing { .. } => Some(Ok(())),
        }
    }

    /// The loop itself has failed: leaves nothing behind that would serve without a parent.
    pub(super) fn break_off(&mut self) {
        self.cancel_reload();
        self.lookout.end();
        for (_, child) in self.children.iter_mut() {
            child.kill();
        }
        self.listeners.close();
        self.remove_pid_file();
    }

    fn remove_pid_file(&mut self) {
        if let Some(pid_file) = self.pid_file.take() {
            pid_file.remove();
        }
    }
}
