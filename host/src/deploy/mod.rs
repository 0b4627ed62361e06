//! Deployment: which files are to be served besides those that the configuration names, what becomes of one that cannot be,
//! and when to look again.
//!
//! ```text
//!  lookout ──Publish──► parent ──reload──► preparation ──Prepared──► parent ──fork──► children
//!  (watch)                                     │   ▲                   │
//!     ▲                      a process for each │   │ what served last  │ when they serve
//!     │                      file that is new   ▼   │                   ▼
//!     └────────── what was seen ─────────────── published.json ◄────────┘
//! ```
//!
//! Three processes read and write here: the preparation, the parent when what was prepared has come to serve, and the lookout,
//! which is told so. A deployment is a reload like any other; what is special about it is that a file which is no good costs
//! nobody else anything.

mod errand;
pub(crate) mod folder;
pub mod health;
mod prepared;
pub mod probation;
pub mod published;
mod refusal;
mod snapshot;
#[cfg(test)]
pub(crate) mod testing;
pub mod versions;
pub mod vet;
pub mod watch;

pub use prepared::{ConfinedPool, Histories, Prepared, PreparedModule, Version};
pub use refusal::Refusal;
pub use snapshot::{Snapshot, Sources};
