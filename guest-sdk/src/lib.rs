//! What a handler's author will write against when the plain bindings of `wasi:http` are not enough: this crate will
//! hold the macro that states a module's own facts, such as whether it is thread-safe, in its file.
//!
//! There is nothing here yet. Until then a handler is written with any tool that makes `wasi:http` components; the
//! folder `examples/` shows how. What belongs to the server never lives here.
