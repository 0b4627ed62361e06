//! Control: the process that watches over a server, and what it does for those who own the server.
//!
//! ```text
//!  guesthouse deploy … ──control.sock──► lookout ──requests──► parent ──► preparation, children
//!  (client)                              │     ▲                 │
//!                            a thread    │     └──────news───────┘
//!                            for each    ▼
//!                            connection, one that watches the files, and one that tries new versions
//! ```
//!
//! The lookout is forked from the parent, and has what the parent had then. It serves no request of the web, runs no guest,
//! and may die at any time: the parent starts another one. [`logs`] alone asks it nothing: what it shows stands in files.

mod client;
mod deploy;
mod desk;
pub mod logs;
mod lookout;
mod modules;
mod protocol;
mod rollback;
mod rounds;
mod serve;
mod socket;
mod trials;

pub use client::{Control, ControlError};
pub use lookout::{Inherited, look_out};
pub use protocol::{KeptVersion, ModuleTold, State};
