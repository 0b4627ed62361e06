//! The commands that reach a running server over its control socket, and the socket itself: who may, and what becomes of
//! nonsense. Here is how the tests speak to it.

mod deployments;
mod logs;
mod orders;
mod socket;

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use guesthouse_tests::patience::{PATIENCE, until};
use guesthouse_tests::processes::wait_until_ended;
use guesthouse_tests::setup::program;
use guesthouse_tests::{Server, Setup, Signal};
use nix::sys::signal::kill;

/// The command at the server, as it is written beside its configuration.
fn command(server: &Server, words: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.args(words).current_dir(server.folder()).stdin(Stdio::null());
    command
}

/// The command while it goes on.
fn spawned(server: &Server, words: &[&str]) -> Child {
    command(server, words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// What it prints.
fn done(server: &Server, words: &[&str]) -> String {
    let output = command(server, words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What it says why it has failed.
fn failed(server: &Server, words: &[&str]) -> String {
    why(&command(server, words).output().unwrap())
}

fn why(output: &Output) -> String {
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn socket(server: &Server) -> PathBuf {
    server.folder().join("run/control.sock")
}

/// It is bound a moment after the server has come to serve.
fn connect(server: &Server) -> UnixStream {
    let stream = until("the control socket is there", || UnixStream::connect(socket(server)).ok());
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A server that can be controlled.
fn started(setup: Setup) -> Server {
    let server = setup.start();
    drop(connect(&server));
    server
}

/// Reloads, and waits until the old children have ended: one may accept a little longer, until it has heard that it is not to.
fn reloaded(server: &Server) -> String {
    let before = server.children();
    let told = done(server, &["reload"]);
    wait_until_ended(&before);
    told
}

/// Kills the process that has the socket, and waits until there is another one.
fn kill_lookout(server: &Server) {
    let killed = server.lookout();
    kill(killed, Signal::SIGKILL).unwrap();
    until("there is another", || (server.lookout() != killed).then_some(()));
}

fn write(server: &Server, name: &str, content: impl AsRef<[u8]>) {
    fs::write(server.folder().join(name), content).unwrap();
}
