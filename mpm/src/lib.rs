//! Apache's three ways to use processes and threads (prefork, worker, event), for any [`Protocol`].
//!
//! This crate owns processes, threads, sockets, readiness and the scoreboard. It knows no HTTP and no Wasm.

pub mod error;
pub mod protocol;
pub mod settings;
pub mod stream;

pub use error::{LoadError, ServeError, StartError};
pub use protocol::{Accepted, Application, ChildContext, Deadline, Next, Protocol, ThreadContext, Turn};
pub use settings::Settings;
pub use stream::Stream;
