//! Modules that are not thread-safe, under worker and event: the two ends of the way from a server child to a child
//! of the module's pool, and what they say to each other.
//!
//! ```text
//! server child                                 │ pool's socket │                        confined child
//! connection/exchange ─► hop ─► queue ─► lane ─┼─── frames ────┼─ lane ─ cell ─► guest (one resident instance)
//! ```
//!
//! A connection carries one request at a time, and the kernel's accept queue shares connections out among the children.
//! While other requests of the same thread wait, it carries one after the other for a short time: making a connection
//! costs more than a small answer. What belongs to no request ends it. Who may connect is decided by the socket's directory.
//! Nothing here knows HTTP/1.1, a client's socket, or Wasmtime.

mod cell;
mod frame;
mod hop;
mod lane;
mod queue;

pub use cell::{Cell, Conversation, Desk};
pub use hop::{Bounds, Hop};
pub use queue::Queues;
