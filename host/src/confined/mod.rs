//! Modules that are not thread-safe, under worker and event: the two ends of the way from a server child to a child
//! of the module's pool, and what they say to each other.
//!
//! ```text
//! server child                       │ pool's socket │                        confined child
//! connection/exchange ─► hop ─ lane ─┼─── frames ────┼─ lane ─ cell ─► guest (one resident instance)
//! ```
//!
//! One connection carries one request and its answer, so that nothing of one answer can get into another, and the
//! kernel's accept queue shares requests out among the children. Who may connect is decided by the socket's directory.
//! Nothing here knows HTTP/1.1, a client's socket, or Wasmtime.

mod cell;
mod frame;
mod hop;
mod lane;

pub use cell::{Cell, Conversation, Desk};
pub use hop::{Bounds, Hop};
