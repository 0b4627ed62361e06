//! `guesthouse dev` while it runs: its process, what it shows, and the end of both.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::client::Client;
use crate::deployment::put_into;
use crate::log::{Log, Mark};
use crate::patience::until;
use crate::processes::{children_of, wait_until_ended};
use crate::setup::{folder, program};

/// A developer's loop that was started. Dropping it ends all of its processes.
pub struct Dev {
    /// What it shows, standard output and standard error alike.
    pub screen: Log,
    process: Child,
}

impl Dev {
    /// Starts one for the project in the folder.
    ///
    /// # Panics
    /// If the program cannot be started.
    #[must_use]
    pub fn start(project: &Path) -> Self {
        let (reader, writer) = std::io::pipe().expect("there are descriptors left");
        let errors = writer.try_clone().expect("there are descriptors left");
        Self { process: spawn(project, writer.into(), errors.into()), screen: Log::gather(reader) }
    }

    /// Starts one that shows nothing, but writes it to this file.
    ///
    /// # Panics
    /// If the program cannot be started.
    #[must_use]
    pub fn start_into(project: &Path, file: File) -> Self {
        let errors = file.try_clone().expect("there are descriptors left");
        Self { process: spawn(project, file.into(), errors.into()), screen: Log::gather(std::io::empty()) }
    }

    /// Waits until it says where the server listens.
    ///
    /// # Panics
    /// If it does not.
    #[must_use]
    pub fn wait_until_serving(&self) -> SocketAddr {
        self.wait_until_serving_after(Mark::default())
    }

    /// As [`wait_until_serving`](Self::wait_until_serving), among what it says after the mark.
    ///
    /// # Panics
    /// As [`wait_until_serving`](Self::wait_until_serving).
    #[must_use]
    pub fn wait_until_serving_after(&self, mark: Mark) -> SocketAddr {
        let line = self.screen.wait_for_after(mark, "dev: serving on http://");
        let address = line.rsplit_once("http://").map(|(_, address)| address.trim_end_matches('/'));
        address.and_then(|address| address.parse().ok()).expect("the line ends with an address")
    }

    /// Its server's parent process.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn server(&self) -> Pid {
        let children = children_of(self.pid());
        let [server] = children[..] else { panic!("the server is its only process, but there are {children:?}") };
        server
    }

    /// # Panics
    /// If it is gone.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("it is there");
    }

    /// Waits until it has ended.
    ///
    /// # Panics
    /// If it does not.
    pub fn wait_for_exit(&mut self) -> ExitStatus {
        until("the developer's loop has ended", || self.process.try_wait().expect("it is our child"))
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.process.id().cast_signed())
    }
}

fn spawn(project: &Path, output: Stdio, errors: Stdio) -> Child {
    let mut command = Command::new(program());
    command.arg("dev").arg(project).stdin(Stdio::null()).stdout(output).stderr(errors);
    command.spawn().expect("the program can be started")
}

impl Drop for Dev {
    fn drop(&mut self) {
        // The server ends with it, however it ends.
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("what was shown:\n{}", self.screen.text());
        }
    }
}

/// A project whose build is what a test says, and needs no tools. Its folder goes with it.
pub struct Project(TempDir);

impl Project {
    /// The build is a shell's script, and what it leaves in `shop.wasm` is served.
    ///
    /// # Panics
    /// If there is no temporary folder.
    #[must_use]
    pub fn new(script: &str, server: &str) -> Self {
        let project = Self(folder());
        let manifest = format!("output = \"shop.wasm\"\n[[step]]\ncommand = [\"sh\", \"-c\", '''{script}''']\n");
        project.write("guesthouse-project.toml", manifest);
        let module = "[[module]]\nname = \"shop\"\npath = \"shop.wasm\"\n[[route]]\npath = \"/\"\nmodule = \"shop\"\n";
        project.write("guesthouse.toml", format!("[server]\n{server}\n{module}"));
        project
    }

    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// As an editor saves: whole and at once.
    ///
    /// # Panics
    /// If the folder cannot be written.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        put_into(self.0.path(), name, content);
    }
}

/// Waits until the answer to a GET says this, whoever answers meanwhile.
///
/// # Panics
/// If it does not come to.
pub fn wait_for_text(address: SocketAddr, target: &str, text: &str) {
    until(&format!("{target} says {text:?}"), || {
        let answer = Client::try_get(address, target).ok()?;
        (answer.text() == text).then_some(())
    });
}

/// Waits until the process is gone, and nobody listens there.
///
/// # Panics
/// If it does not come to that.
pub fn wait_for_end(server: Pid, address: SocketAddr) {
    wait_until_ended(&[server]);
    until("nobody listens", || Client::try_connect(address).is_err().then_some(()));
}
