//! The servers that are measured: how each is started and ended. Each has a folder of its own and listens on a free
//! port of this machine only. How they are configured is in the files beside.
//!
//! What every server is given alike: it keeps connections without end, and it writes its access log in the combined
//! format if it has one. `wasmtime serve` has none.

pub mod guesthouse;
pub mod peers;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Bench;
use crate::client::Client;
use crate::processes;

/// What everybody answers.
pub const BODY: &str = "Hello, world!\n";

/// The path of the guest's answer; other servers answer the same there.
pub const HELLO: &str = "/hello.txt";

/// The path of the answer by a script.
pub const SCRIPT: &str = "/hello.php";

/// The path of Guesthouse's own answer.
pub const TEXT: &str = "/text";

/// What Guesthouse's lookout is called among the processes.
const LOOKOUT: &str = "lookout";

/// How long a server may take to its first answer: `wasmtime serve` compiles first.
const START_MAX: Duration = Duration::from_secs(120);

/// How long a server may take to end before it is killed.
const STOP_MAX: Duration = Duration::from_secs(10);

/// Between two attempts to connect to a server that does not listen yet, which nothing tells.
const RETRY: Duration = Duration::from_micros(200);

/// A server that can be started.
pub struct Setup {
    pub name: String,
    command: Command,
    address: SocketAddr,
    behind: Option<Behind>,
}

/// A program that a server passes requests on to, and that must listen before it.
struct Behind {
    command: Command,
    socket: PathBuf,
}

/// A server that runs. Dropping it ends it.
pub struct Server {
    process: Process,
    behind: Option<Process>,
    address: SocketAddr,
}

/// A program that runs. Dropping it ends it.
struct Process(Child);

/// What a start came to.
pub struct Started {
    pub server: Server,
    /// From the start of the process to its first answer.
    pub took: Duration,
    /// Of that answer.
    pub body: Vec<u8>,
}

/// Whether a server writes its access log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessLog {
    Combined,
    Off,
}

impl AccessLog {
    fn word(self) -> &'static str {
        match self {
            Self::Combined => "log",
            Self::Off => "quiet",
        }
    }
}

impl Setup {
    fn new(name: impl Into<String>, mut command: Command, address: SocketAddr, folder: &Path) -> Result<Self> {
        write_output_to(&mut command, &folder.join("output.log"))?;
        // Wasmtime captures a stack with every internal error object if this asks for it; nobody serves like that.
        command.env("RUST_BACKTRACE", "0").env_remove("RUST_LIB_BACKTRACE");
        Ok(Self { name: name.into(), command, address, behind: None })
    }

    /// In front of a program that listens on this Unix socket.
    fn in_front_of(self, mut command: Command, socket: PathBuf) -> Result<Self> {
        write_output_to(&mut command, &socket.with_extension("log"))?;
        Ok(Self { behind: Some(Behind { command, socket }), ..self })
    }

    /// Under another name in the table.
    pub fn named(self, name: impl Into<String>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// Starts the server and waits for its first answer, a 200.
    pub fn start(&mut self, path: &str) -> Result<Started> {
        let behind = self.behind.as_mut().map(Behind::start).transpose();
        let behind = behind.with_context(|| format!("cannot start what is behind {}", self.name))?;
        let began = Instant::now();
        let process = self.command.spawn().with_context(|| format!("cannot start {}", self.name))?;
        let mut server = Server { process: Process(process), behind, address: self.address };
        let body = loop {
            match Client::connect(self.address, None) {
                Ok(mut client) => break client.get(path).with_context(|| format!("cannot use {}", self.name))?,
                Err(_) if began.elapsed() < START_MAX => std::thread::sleep(RETRY),
                Err(error) => return Err(error).with_context(|| format!("{} does not listen", self.name)),
            }
            if let Some(status) = server.process.0.try_wait()? {
                bail!("{} ended at once with {status}; its folder has what it said", self.name);
            }
        };
        Ok(Started { server, took: began.elapsed(), body })
    }
}

impl Behind {
    /// Starts the program and waits until it listens.
    fn start(&mut self) -> Result<Process> {
        let began = Instant::now();
        // One that was killed has left it.
        let _ = fs::remove_file(&self.socket);
        let mut process = Process(self.command.spawn()?);
        while let Err(error) = UnixStream::connect(&self.socket) {
            if let Some(status) = process.0.try_wait()? {
                bail!("it ended at once with {status}; its folder has what it said");
            }
            if began.elapsed() > START_MAX {
                return Err(error).with_context(|| format!("nobody listens on {}", self.socket.display()));
            }
            std::thread::sleep(RETRY);
        }
        Ok(process)
    }
}

fn write_output_to(command: &mut Command, log: &Path) -> Result<()> {
    let file = fs::File::create(log).with_context(|| format!("cannot create {}", log.display()))?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    Ok(())
}

impl Server {
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Of all its processes, and of those behind it.
    pub fn cpu_seconds(&self) -> f64 {
        self.roots().map(processes::cpu_seconds).sum()
    }

    /// Bytes of the same.
    pub fn memory(&self) -> f64 {
        self.roots().map(processes::memory).sum()
    }

    fn roots(&self) -> impl Iterator<Item = u32> {
        [Some(&self.process), self.behind.as_ref()].into_iter().flatten().map(|process| process.0.id())
    }

    /// The processes below the parent that serve, of which there are to be so many: all but Guesthouse's lookout. To be asked
    /// after some requests, because a lookout that has just been forked has not said yet what it is.
    pub fn children(&self, count: usize) -> Result<Vec<u32>> {
        let all = processes::tree(self.process.0.id()).into_iter().skip(1);
        let children: Vec<_> = all.filter(|pid| processes::name(*pid) != LOOKOUT).collect();
        if children.len() != count {
            bail!("{} processes serve below the parent instead of {count}", children.len());
        }
        Ok(children)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGTERM);
        let deadline = Instant::now() + STOP_MAX;
        while Instant::now() < deadline {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return;
            }
            // std has no wait with a timeout.
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A folder without old logs, and a free port.
fn place(bench: &Bench, name: &str) -> Result<(PathBuf, SocketAddr)> {
    let folder = bench.folder.join(name);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    for log in ["access.log", "error.log"] {
        // A log that grew in an earlier turn would only fill the disk.
        let _ = fs::remove_file(folder.join(log));
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot find a free port")?;
    Ok((folder, listener.local_addr()?))
}

fn write(folder: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}
