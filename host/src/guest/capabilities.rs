//! What of WASI a guest is given: its environment, its directories, clocks and random numbers, and a log to print to.
//!
//! Sockets and name resolution are never granted: outbound HTTP (`outbound`) is the only way out.

use std::path::PathBuf;
use std::sync::Arc;

use wasmtime_wasi::filesystem::WasiFilesystemCtx;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder};

use super::grants::{CallName, Grants};
use super::limits::RANDOM_BYTES;
use super::stdio::{Console, Lines, Stream};
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

/// The WASI context of one instance, and its console, which begins with this call. Standard input is at its end,
/// which is Wasmtime's default.
pub(super) fn wasi(grants: &Grants, call: CallName) -> (WasiCtx, Console) {
    let (mut builder, console) = builder(grants, call);
    builder.arg(&grants.name).envs(&grants.env).stdout(console.stdout());
    let mut wasi = builder.build();
    *wasi.filesystem() = grants.files.clone();
    (wasi, console)
}

/// What every kind of guest has alike: limits, and its standard error in the log. It lacks arguments, variables,
/// directories, standard input and output.
pub(super) fn builder(grants: &Grants, call: CallName) -> (WasiCtxBuilder, Console) {
    let console = Console::new(LogLines { module: Arc::clone(&grants.name) }, call);
    let mut builder = WasiCtx::builder();
    builder.stderr(console.stderr());
    builder.max_random_size(RANDOM_BYTES);
    builder.allow_tcp(false).allow_udp(false).allow_ip_name_lookup(false);
    (builder, console)
}

/// A guest's lines in the server's log.
struct LogLines {
    module: Arc<str>,
}

impl Lines for LogLines {
    fn line(&self, call: CallName, stream: Stream, line: &str) {
        let request = call.shown();
        match stream {
            Stream::Stdout => tracing::info!(module = %self.module, request, stream = "stdout", "{line}"),
            Stream::Stderr => tracing::info!(module = %self.module, request, stream = "stderr", "{line}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use wasmtime::component::ResourceTable;
    use wasmtime_wasi::cli::WasiCliCtxView;
    use wasmtime_wasi::filesystem::WasiFilesystemCtxView;
    use wasmtime_wasi::p2::bindings::cli::environment::Host as _;
    use wasmtime_wasi::p2::bindings::filesystem::preopens::Host as _;
    use wasmtime_wasi::p2::bindings::sockets::network::IpAddressFamily;
    use wasmtime_wasi::p2::bindings::sockets::tcp_create_socket::Host as _;
    use wasmtime_wasi::p2::bindings::sockets::udp_create_socket::Host as _;
    use wasmtime_wasi::sockets::WasiSocketsCtxView;

    use super::super::testing::{call_name, grants, settings};
    use super::*;

    #[test]
    fn a_guest_that_is_granted_nothing_has_only_its_name() {
        let (mut ctx, _) = wasi(&grants(&settings()), call_name());
        let table = &mut ResourceTable::new();
        let mut cli = WasiCliCtxView { ctx: ctx.cli(), table };
        assert_eq!(cli.get_arguments().unwrap(), ["test"]);
        assert!(cli.get_environment().unwrap().is_empty());
        let mut files = WasiFilesystemCtxView { ctx: ctx.filesystem(), table };
        assert!(files.get_directories().unwrap().is_empty());
    }

    #[test]
    fn no_guest_has_sockets() {
        let (mut ctx, _) = wasi(&grants(&settings()), call_name());
        let mut sockets = WasiSocketsCtxView { ctx: ctx.sockets(), table: &mut ResourceTable::new() };
        assert!(sockets.create_tcp_socket(IpAddressFamily::Ipv4).is_err());
        let udp = pin!(sockets.create_udp_socket(IpAddressFamily::Ipv6));
        assert!(matches!(udp.poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(Err(_))));
    }

    #[test]
    fn directories_and_variables_are_those_of_the_settings() {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = settings();
        settings.dirs.push(Dir { host: dir.path().to_owned(), guest: "/data".into(), write: false });
        settings.env.insert("GREETING".into(), "hi".into());
        let (mut ctx, _) = wasi(&grants(&settings), call_name());
        let table = &mut ResourceTable::new();
        let variables = WasiCliCtxView { ctx: ctx.cli(), table }.get_environment().unwrap();
        assert_eq!(variables, [("GREETING".to_owned(), "hi".to_owned())]);
        let dirs = WasiFilesystemCtxView { ctx: ctx.filesystem(), table }.get_directories().unwrap();
        assert_eq!(dirs.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>(), ["/data"]);
    }

    #[test]
    fn a_directory_that_cannot_be_opened_is_named() {
        let missing = Dir { host: "/nonexistent/data".into(), guest: "/data".into(), write: true };
        let error = open_dirs(&[missing]).err().expect("it is not there").to_string();
        assert!(error.starts_with("cannot open directory /nonexistent/data for the guest's /data: "), "{error}");
    }
}
