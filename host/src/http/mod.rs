//! HTTP/1.1 for a server, without I/O and without a clock: bytes and times are handed in, events and bytes come out.
//!
//! [`Http1`] is one connection; the rest is what it takes and gives. RFC 9110 and RFC 9112 are followed to the
//! letter, and where they leave a choice the stricter one is made. Sockets, handlers, routes and logs are never
//! known here.
//!
//! ```text
//!  bytes ─► lines ─► head (fields, target, framing) ─┐                      ┌─ answer (checks) ◄─ handler
//!                                                    ├─► state ◄────────────┤
//!  bytes ─► decode (chunk_extension) ────────────────┘   (Http1)            └─ encode ─► Output ─► bytes
//! ```

mod answer;
mod chunk_extension;
mod close;
mod decode;
mod encode;
mod fields;
mod framing;
mod grammar;
mod head;
mod limits;
mod lines;
mod output;
mod refusal;
mod state;
mod target;
pub mod timing;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

pub use answer::{AnswerContext, AnswerLength, BadAnswer};
pub use close::{After, CloseReason};
pub use framing::RequestBody;
pub use head::RequestHead;
pub use limits::Limits;
pub use output::Output;
pub use refusal::Refusal;
pub use state::{Http1, Received};
pub use target::{Scheme, Target};
