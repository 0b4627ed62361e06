//! Apache's three ways to use processes and threads (prefork, worker, event), for any [`Protocol`].
//!
//! This crate owns processes, threads, sockets, readiness and the scoreboard. It knows no HTTP and no Wasm.

mod child;
mod control;
mod deadline;
pub mod error;
mod listener;
pub mod lookout;
mod parent;
mod pid_file;
mod poller;
pub mod protocol;
pub mod scoreboard;
pub mod settings;
mod signal;
pub mod stream;
mod waker;

pub use child::ChildExit;
pub use error::{LoadError, ServeError, StartError};
pub use lookout::Lookout;
pub use protocol::{
    Accepted, Application, ChildContext, ConnectionId, Deadline, Next, Protocol, ThreadContext, Turn, Upkeep,
};
pub use scoreboard::{Scoreboard, Tallies};
pub use settings::Settings;
pub use stream::Stream;

/// Serves until told to stop. Returns in the parent, and also, because of `fork`, in every child: what the caller
/// does afterwards is to end the process with [`Exit::code`], in both.
///
/// To be called with no other thread running.
///
/// # Errors
/// The server could not start, or something failed without which it cannot go on. Only the parent returns these.
pub fn serve<A: Application>(mut application: A) -> Result<Exit, ServeError> {
    // The parent's state ends inside `run`, in the parent as in a child: what only the parent may hold (other
    // children's control sockets, the pid file) is closed before a child begins.
    match parent::run(&mut application)? {
        parent::Ended::Stopped => Ok(Exit::Stopped),
        parent::Ended::Forked(role) => Ok(Exit::Child(child::run(&application, *role))),
        parent::Ended::Lookout(lookout) => {
            application.look_out(*lookout);
            Ok(Exit::Lookout)
        }
    }
}

/// Why [`serve`] returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// In the parent: the server was told to stop and has stopped.
    Stopped,
    /// In a child: it has ended its work.
    Child(ChildExit),
    /// In the lookout: its work has ended.
    Lookout,
}

impl Exit {
    /// The process's exit status.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Exit::Stopped | Exit::Lookout => 0,
            Exit::Child(exit) => exit.code(),
        }
    }
}
