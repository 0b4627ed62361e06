//! What of WASI a guest is given: its environment, its directories, clocks and random numbers, and a log to print to.
//!
//! Sockets and name resolution are never granted: outbound HTTP (`outbound`) is the only way out.

use std::path::PathBuf;
use std::sync::Arc;

use wasmtime_wasi::filesystem::WasiFilesystemCtx;
use wasmtime_wasi::{FsPerms, WasiCtx};

use super::limits::RANDOM_BYTES;
use super::sandbox::{CallName, Grants};
use super::stdio::{self, Lines, Stream};
use crate::config::Dir;

/// A directory of a module cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open directory {} for the guest's {guest}: {cause}", host.display())]
pub struct DirError {
    host: PathBuf,
    guest: String,
    cause: String,
}

/// Opens a module's directories, once for all its guests.
pub(super) fn open_dirs(dirs: &[Dir]) -> Result<WasiFilesystemCtx, DirError> {
    let mut builder = WasiCtx::builder();
    // A guest's file calls run on the background runtime: the thread that polls guests serves others.
    builder.allow_blocking_current_thread(false);
    for dir in dirs {
        let permissions = if dir.write { FsPerms::ReadWrite } else { FsPerms::ReadOnly };
        builder.preopened_dir(&dir.host, &dir.guest, permissions).map_err(|error| DirError {
            host: dir.host.clone(),
            guest: dir.guest.clone(),
            cause: format!("{error:#}"),
        })?;
    }
    Ok(builder.build().filesystem().clone())
}

/// The WASI context of one call. Standard input is at its end, sockets and name resolution are denied: both are
/// Wasmtime's defaults, and the tests hold them.
pub(super) fn wasi(grants: &Grants, call: CallName) -> WasiCtx {
    let (stdout, stderr) = stdio::streams(LogLines { module: Arc::clone(&grants.name), call });
    let mut builder = WasiCtx::builder();
    builder.arg(&grants.name).envs(&grants.env).stdout(stdout).stderr(stderr).max_random_size(RANDOM_BYTES);
    let mut wasi = builder.build();
    *wasi.filesystem() = grants.files.clone();
    wasi
}

/// A guest's lines in the server's log.
struct LogLines {
    module: Arc<str>,
    call: CallName,
}

impl Lines for LogLines {
    fn line(&self, stream: Stream, line: &str) {
        let request = self.call.request;
        match stream {
            Stream::Stdout => tracing::info!(module = %self.module, %request, stream = "stdout", "{line}"),
            Stream::Stderr => tracing::info!(module = %self.module, %request, stream = "stderr", "{line}"),
        }
    }
}
