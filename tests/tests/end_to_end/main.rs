//! The end-to-end tests: the real program, real sockets, real guests, and every test under each of the three MPMs.
//!
//! One file for each topic. What is common to all is in the harness, `tests/src`.

mod answering;
mod bad_answers;
mod bodies;
mod cache;
mod capabilities;
mod cgi;
mod commands;
mod confinement;
mod control;
mod crashes;
mod deploy;
mod dev;
mod endings;
mod faults;
mod framing;
mod hostile_children;
mod isolation;
mod languages;
mod limits;
mod logs;
mod module;
mod pools;
mod projects;
mod publication;
mod routing;
mod sdk;
mod shared;
mod signals;
mod status;
mod timeouts;
mod versions;
