//! Guesthouse: a web server whose request handlers are sandboxed WebAssembly modules.
//!
//! The way of a request, from `accept` to the guest and back: [`guesthouse_mpm`] accepts and waits; [`service`] is
//! the protocol that it drives; [`connection`] joins the socket, [`http`] (bytes, no I/O) and [`guest`] (Wasm, no HTTP/1.1),
//! or, if the module is not thread-safe, [`confined`], which takes the request to a process of the module's own.
//! The way of a configuration: [`config`] reads and checks it, in the preparation process that [`preparation`]
//! describes; [`server`] is what the parent runs.

pub mod access_log;
pub mod cli;
pub mod clock;
pub mod config;
pub mod confined;
pub mod connection;
pub mod control;
pub mod demo;
pub mod deploy;
pub mod dev;
pub mod error_log;
mod finishing;
pub mod guest;
pub mod http;
mod identity;
pub mod module;
mod parent_death;
pub mod placement;
pub mod preparation;
pub mod project;
mod record;
pub mod request_id;
pub mod respond;
pub mod route;
pub mod runtime_dir;
pub mod script;
pub mod server;
pub mod service;
pub mod site;
pub mod sites;
pub mod status;
pub mod tally;
mod transfer;
mod unfinished;
