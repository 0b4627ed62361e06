//! The code inside the sandbox: how a Wasm file becomes native code, how a request becomes a call, how a call ends.
//!
//! The only place that names wasmtime, wasmtime-wasi, tokio and hyper. It knows requests and responses as the crate
//! `http` has them; it never sees a byte of HTTP/1.1, a client's socket, a process or a signal.
//!
//! ```text
//! compile ── cache        in a short-lived process of its own: .wasm in, native code out
//!            eviction     what of that may go
//! library ── source       in a child: modules from the cache, ready to be instantiated; those of the next generation beside them
//!    │       housing      where they live: an engine with a pool of slots
//!    │       engine       how Wasmtime is set up, for the compiler and for a child
//!    │       code         what was compiled: a component or a core module
//!    │       entry        how a module's guests are entered, by its kind
//!    │       clockwork    what runs beside the guests: the runtime that waits for them, and the ticker that slices them
//!    ▼
//!   call ─── http02, cgi  one request through one instance, polled by the thread that owns the connection
//!    │       instance     one that serves one request at a time
//!    │       http03       the same through an instance that serves many at once (tasks: which of them is whose)
//!    │       facts        what a guest is told of its request beyond what HTTP says
//!    │       link         what the call and its running guest share: who wakes whom (alarm), who has run how long
//!    │                    (stopwatch), and the answer
//!    │       body         the request's body on its way into the guest
//!    │       answer       what the guest says, held against what it announced and may say
//!    │       fault        why there is no answer, and whose fault that is
//!    │       shelf        where a thread keeps instances that serve several requests
//!    ▼
//! sandbox ── grants       what the operator allows a module
//!            capabilities, limits, rationed, stdio, outbound (outbound_policy, resolver)
//!                         all that a guest can reach of the host
//! ```

mod alarm;
mod answer;
mod body;
mod cache;
mod call;
mod capabilities;
mod cgi;
mod clockwork;
mod code;
pub mod compile;
mod engine;
mod entry;
mod eviction;
mod facts;
mod fault;
mod grants;
mod housing;
mod http02;
mod http03;
mod instance;
mod library;
mod limits;
mod link;
mod outbound;
mod outbound_policy;
mod rationed;
mod resolver;
mod sandbox;
mod shelf;
mod source;
mod stdio;
mod stopwatch;
mod tasks;
mod ticker;

#[cfg(test)]
mod testing;

pub use body::{BodySender, RequestBody, body_channel};
pub use call::{Call, Progress};
pub use eviction::{Needs, evict};
pub use facts::{CallFacts, CgiFacts, Ends, Scheme, Script};
pub use fault::{Blame, Fault};
pub use library::Guests;
pub use shelf::Shelf;
pub use source::{Capacity, GuestsError, ModuleSource};
