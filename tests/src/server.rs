//! A running server: its processes, its log, and the end of both.

use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::answer::Answer;
use crate::client::Client;
use crate::log::Log;
use crate::patience::until;
use crate::processes::{children_of, is_alive, is_lookout, memory_of_tree, wait_until_ended};
use crate::setup::{folder, program};

/// A server that was started. Dropping it ends all of its processes.
pub struct Server {
    pub log: Log,
    process: Child,
    /// Every address it listens on, in the order of the log.
    addresses: Vec<SocketAddr>,
    // Last: the folder goes when the processes are gone.
    folder: TempDir,
}

impl Server {
    /// Starts a server on a configuration that is whole as it is, and waits until it is ready. What the tests have in
    /// common is in [`Setup`](crate::Setup).
    ///
    /// # Panics
    /// If it does not become ready; with its log.
    #[must_use]
    pub fn start_on(configuration: &str) -> Self {
        Self::launch(folder(), configuration).wait_until_ready()
    }

    pub(crate) fn launch(folder: TempDir, configuration: &str) -> Self {
        std::fs::write(folder.path().join("guesthouse.toml"), configuration).expect("the folder can be written");
        let (process, log) = spawn(folder.path());
        Self { log, process, addresses: Vec::new(), folder }
    }

    pub(crate) fn wait_until_ready(mut self) -> Self {
        self.log.wait_for(" ready");
        let text = self.log.text();
        self.addresses = addresses_in(&text);
        assert!(!self.addresses.is_empty(), "the server does not say where it listens:\n{text}");
        // It is forked when the server has come to serve, and is told from the children by its name.
        let _ = self.lookout();
        self
    }

    /// Starts another server on the same file, when this one has ended or must not share with it.
    #[must_use]
    pub fn launch_again(&self) -> Rival {
        let (process, log) = spawn(self.folder.path());
        Rival { log, process }
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The configuration file.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("guesthouse.toml")
    }

    /// Changes the configuration file: replaces `from`, which must be there, by `to`.
    ///
    /// # Panics
    /// If `from` is not there.
    pub fn edit(&self, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.file()).expect("the file is there");
        assert!(text.contains(from), "{from:?} is not in the configuration:\n{text}");
        std::fs::write(self.file(), text.replace(from, to)).expect("the file can be written");
    }

    /// Waits until the access log, which the test has named `access.log`, has these words.
    ///
    /// # Panics
    /// If it does not come to have them.
    pub fn wait_for_access(&self, words: &str) {
        until(&format!("{words:?} is in the access log"), || {
            let text = std::fs::read_to_string(self.folder().join("access.log")).ok()?;
            text.contains(words).then_some(())
        });
    }

    /// A new connection.
    #[must_use]
    pub fn connect(&self) -> Client {
        Client::connect(self.address())
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

    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.process.id().cast_signed())
    }

    /// The parent's children, whatever they do, but the lookout.
    #[must_use]
    pub fn children(&self) -> Vec<Pid> {
        children_of(self.pid()).into_iter().filter(|child| !is_lookout(*child)).collect()
    }

    /// The process that watches over the server.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn lookout(&self) -> Pid {
        until("there is a lookout", || {
            children_of(self.pid()).into_iter().find(|child| is_lookout(*child) && is_alive(*child))
        })
    }

    /// Sends the parent a signal.
    ///
    /// # Panics
    /// If it is gone.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("the parent is there");
    }

    /// Memory of all processes in bytes (PSS).
    #[must_use]
    pub fn memory(&self) -> u64 {
        memory_of_tree(self.pid())
    }

    /// Waits until the parent has ended.
    ///
    /// # Panics
    /// If it does not.
    pub fn wait_for_exit(&mut self) -> ExitStatus {
        let log = self.log.clone();
        wait_for_exit(&mut self.process, &log)
    }

    /// Ends the server as an operator would, and expects that to be in order.
    ///
    /// # Panics
    /// If the exit status says otherwise, or a child is left over.
    pub fn stop(mut self) {
        let children = children_of(self.pid());
        self.signal(Signal::SIGTERM);
        let status = self.wait_for_exit();
        assert!(status.success(), "the server ended with {status}:\n{}", self.log.text());
        wait_until_ended(&children);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        end(&mut self.process);
        if std::thread::panicking() {
            eprintln!("the server's log:\n{}", self.log.text());
        }
    }
}

/// A second server on the same configuration file. Dropping it ends all of its processes.
pub struct Rival {
    pub log: Log,
    process: Child,
}

impl Rival {
    /// Waits until the parent has ended.
    ///
    /// # Panics
    /// If it does not.
    pub fn wait_for_exit(&mut self) -> ExitStatus {
        wait_for_exit(&mut self.process, &self.log)
    }

    /// Waits until it serves, and says where.
    ///
    /// # Panics
    /// If it does not, or does not say where.
    #[must_use]
    pub fn wait_until_ready(&self) -> SocketAddr {
        self.log.wait_for(" ready");
        addresses_in(&self.log.text())[0]
    }
}

impl Drop for Rival {
    fn drop(&mut self) {
        end(&mut self.process);
    }
}

/// Where a server listens, as its log says.
#[must_use]
pub fn addresses_in(log: &str) -> Vec<SocketAddr> {
    let written = log.lines().filter_map(|line| line.split_once("listening on ")).map(|(_, address)| address);
    written.filter_map(|address| address.trim().parse().ok()).collect()
}

fn spawn(folder: &Path) -> (Child, Log) {
    let mut process = Command::new(program())
        .args(["serve", "guesthouse.toml"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program can be started");
    let log = Log::gather(process.stderr.take().expect("it was piped"));
    (process, log)
}

fn wait_for_exit(process: &mut Child, log: &Log) -> ExitStatus {
    let what = format!("the parent has ended; its log so far is\n{}\nand it", log.text());
    until(&what, || process.try_wait().expect("it is our child"))
}

/// Ends a parent and its children, by their own pids. The parent first, or it would replace the children.
fn end(process: &mut Child) {
    if process.try_wait().is_ok_and(|status| status.is_some()) {
        return;
    }
    let pid = Pid::from_raw(process.id().cast_signed());
    // Stopped, the parent neither forks nor reaps: the pids below stay those of its children.
    let _ = kill(pid, Signal::SIGSTOP);
    for child in children_of(pid) {
        let _ = kill(child, Signal::SIGKILL);
    }
    let _ = process.kill();
    let _ = process.wait();
}

/// What killed a process, if a signal did.
#[must_use]
pub fn killed_by(status: ExitStatus) -> Option<Signal> {
    status.signal().and_then(|number| Signal::try_from(number).ok())
}
