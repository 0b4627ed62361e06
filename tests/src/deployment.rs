//! A folder of modules beside a server: files that are dropped in, and what is waited for when one was.

use std::fs;
use std::path::{Path, PathBuf};

use crate::patience::until;
use crate::server::Server;
use crate::setup::{Mpm, Setup};

/// A server with a folder `modules`, beside the probe on `/probe`.
///
/// # Panics
/// If the folder cannot be written.
#[must_use]
pub fn setup(mpm: Mpm) -> Setup {
    let setup = Setup::new(mpm).server("modules_dir = \"modules\"").probe_route("/probe");
    fs::create_dir(setup.folder().join("modules")).expect("the folder can be written");
    setup
}

/// The folder.
#[must_use]
pub fn modules(server: &Server) -> PathBuf {
    server.folder().join("modules")
}

/// Puts a file into the folder of modules.
///
/// # Panics
/// As [`put_into`].
pub fn put(server: &Server, name: &str, content: impl AsRef<[u8]>) {
    put_into(&modules(server), name, content);
}

/// As a careful program does: by a rename from another name.
///
/// # Panics
/// If the folder cannot be written.
pub fn put_into(folder: &Path, name: &str, content: impl AsRef<[u8]>) {
    let unfinished = folder.join(format!(".{name}.new"));
    fs::write(&unfinished, content).expect("the folder can be written");
    fs::rename(unfinished, folder.join(name)).expect("the folder can be written");
}

/// A guest that says this.
#[must_use]
pub fn saying(text: &str) -> Vec<u8> {
    // A program that speaks CGI: the smallest guest that there is.
    let answer = format!("Content-Type: text/plain\\n\\n{text}");
    // The two escapes are a byte each.
    let length = format!("\\{:02x}", answer.len() - 2);
    format!(
        "(module
            (import \"wasi_snapshot_preview1\" \"fd_write\" (func $write (param i32 i32 i32 i32) (result i32)))
            (memory (export \"memory\") 1)
            (data (i32.const 0) \"\\10\\00\\00\\00\")
            (data (i32.const 4) \"{length}\\00\\00\\00\")
            (data (i32.const 16) \"{answer}\")
            (func (export \"_start\") (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"
    )
    .into_bytes()
}

/// Waits until the answer to a GET says this.
///
/// # Panics
/// If it does not come to.
pub fn says(server: &Server, path: &str, text: &str) {
    until(&format!("{path} says {text:?}"), || (server.get(path).text() == text).then_some(()));
}

/// Puts a good file there, and waits until it is deployed: from that moment on it serves, in every child.
///
/// # Panics
/// If it is not.
pub fn deploy(server: &Server, name: &str, content: impl AsRef<[u8]>) {
    let mark = server.log.mark();
    put(server, &format!("{name}.wasm"), content);
    server.log.wait_for_after(mark, &format!("module \"{name}\" is deployed"));
}

/// Puts a bad file there, and waits until the server has made of it what it will.
///
/// # Panics
/// If it makes something else of it.
pub fn refuse(server: &Server, name: &str, content: &str, why: &str) {
    let mark = server.log.mark();
    put(server, &format!("{name}.wasm"), content);
    server.log.wait_for_after(mark, &format!("ERROR…module \"{name}\"…{why}"));
    server.log.wait_for_after(mark, &format!("module \"{name}\": the version that was served before goes on"));
    server.log.wait_for_after(mark, "is ready");
}
