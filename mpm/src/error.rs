//! The failures of starting, loading and serving, sorted by who must act.
//!
//! What goes wrong on one connection is not here: it ends that connection.

use std::io;

/// The operator's: what `Application::load` found wrong. The text names file, place and remedy.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct LoadError(pub String);

/// A child or a thread that could not begin to serve, and why. The text crosses a process boundary.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub String);

/// Why [`serve`](crate::serve) ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("{0}")]
    Load(#[from] LoadError),
    /// The preparation has said why on its standard error.
    #[error("the configuration was not accepted")]
    Preparation,
    #[error("cannot start {what}: {error}")]
    CannotRun { what: String, error: io::Error },
    #[error("cannot listen on {address}: {error}")]
    Listen { address: String, error: io::Error },
    #[error("cannot write the pid file {path}: {error}")]
    PidFile { path: String, error: io::Error },
    #[error(
        "another server is running with the pid file {path} (pid {pid}): stop it first, or use another runtime_dir"
    )]
    AlreadyRunning { path: String, pid: i32 },
    #[error("the first child could not start: {0}")]
    Child(StartError),
    /// The machine's: a system call that must not fail has failed.
    #[error("cannot {what}: {error}")]
    System { what: &'static str, error: io::Error },
}
