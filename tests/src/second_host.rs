//! A host of wasi:http that is not ours: `wasmtime serve`, in a program of its own (`tests/wasmtime-serve`).

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::answer::Answer;
use crate::client::Client;
use crate::log::Log;
use crate::setup::target;

/// A running `wasmtime serve`. Dropping it ends its process.
pub struct SecondHost {
    pub log: Log,
    process: Child,
    address: SocketAddr,
}

impl SecondHost {
    /// Starts it on a guest, and waits until it listens.
    ///
    /// # Panics
    /// If it does not; with its log.
    #[must_use]
    pub fn start(guest: &Path) -> Self {
        let mut process = Command::new(program())
            // Whatever is built with Rust's standard library asks for the interfaces of `wasi:cli`.
            .args(["-Scli", "--addr", "127.0.0.1:0"])
            .arg(guest)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program can be started");
        let log = Log::gather(process.stderr.take().expect("it was piped"));
        let line = log.wait_for("Serving HTTP on http://");
        let address = line.rsplit("//").next().map(|rest| rest.trim_end_matches('/'));
        let address = address.and_then(|address| address.parse().ok()).expect("the line ends with an address");
        Self { log, process, address }
    }

    /// A new connection.
    #[must_use]
    pub fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// One GET on a connection of its own.
    #[must_use]
    pub fn get(&self, target: &str) -> Answer {
        self.connect().get(target)
    }

    /// Sends bytes on a connection of their own, and reads one answer.
    #[must_use]
    pub fn exchange(&self, bytes: impl AsRef<[u8]>) -> Answer {
        let mut client = self.connect();
        client.send(bytes);
        client.receive()
    }
}

impl Drop for SecondHost {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("the log of `wasmtime serve`:\n{}", self.log.text());
        }
    }
}

fn program() -> PathBuf {
    let path =
        std::env::var_os("WASMTIME_SERVE_BIN").map_or_else(|| target().join("debug/wasmtime-serve"), PathBuf::from);
    assert!(path.exists(), "there is no {}: build it with `cargo build -p wasmtime-serve`", path.display());
    path
}
