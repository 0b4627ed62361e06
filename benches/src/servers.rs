//! The servers that are measured: how each is configured, started and ended. Each has a folder of its own and listens
//! on a free port of this machine only.
//!
//! What every server is given alike: it keeps connections without end, and it writes its access log in the combined
//! format if it has one. `wasmtime serve` has none.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
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

/// The path of Guesthouse's own answer.
pub const TEXT: &str = "/text";

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
}

/// A server that runs. Dropping it ends it.
pub struct Server {
    process: Child,
    address: SocketAddr,
}

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
        let log = folder.join("output.log");
        let file = fs::File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        // Wasmtime captures a stack with every internal error object if this asks for it; nobody serves like that.
        command.env("RUST_BACKTRACE", "0").env_remove("RUST_LIB_BACKTRACE");
        Ok(Self { name: name.into(), command, address })
    }

    /// Starts the server and waits for its first answer, a 200.
    pub fn start(&mut self, path: &str) -> Result<Started> {
        let began = Instant::now();
        let process = self.command.spawn().with_context(|| format!("cannot start {}", self.name))?;
        let mut server = Server { process, address: self.address };
        let body = loop {
            match Client::connect(self.address, None) {
                Ok(mut client) => break client.get(path).with_context(|| format!("cannot use {}", self.name))?,
                Err(_) if began.elapsed() < START_MAX => std::thread::sleep(RETRY),
                Err(error) => return Err(error).with_context(|| format!("{} does not listen", self.name)),
            }
            if let Some(status) = server.process.try_wait()? {
                bail!("{} ended at once with {status}; its folder has what it said", self.name);
            }
        };
        Ok(Started { server, took: began.elapsed(), body })
    }
}

impl Server {
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn cpu_seconds(&self) -> f64 {
        processes::cpu_seconds(self.process.id())
    }

    /// Bytes of all its processes.
    pub fn memory(&self) -> f64 {
        processes::memory(self.process.id())
    }

    /// The one process below the parent that serves.
    pub fn child(&self) -> Result<u32> {
        match processes::tree(self.process.id())[..] {
            [_, child] => Ok(child),
            ref all => bail!("there are {} processes instead of a parent and a child", all.len()),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.process.id().cast_signed()), Signal::SIGTERM);
        let deadline = Instant::now() + STOP_MAX;
        while Instant::now() < deadline {
            if !matches!(self.process.try_wait(), Ok(None)) {
                return;
            }
            // std has no wait with a timeout.
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Guesthouse with the event MPM: a guest at [`HELLO`], and a text of the server's own at [`TEXT`].
pub fn guesthouse(bench: &Bench, guest: &str, threads: usize, log: AccessLog) -> Result<Setup> {
    let stem = guest.trim_end_matches(".wasm");
    let (folder, address) = place(bench, &format!("guesthouse-{stem}-{threads}-{}", log.word()))?;
    let access_log = match log {
        AccessLog::Combined => "access.log",
        AccessLog::Off => "off",
    };
    let wasm = bench.guests.join(guest);
    if !wasm.exists() {
        bail!("there is no guest {}", wasm.display());
    }
    let file = write(
        &folder,
        "guesthouse.toml",
        &format!(
            r#"[server]
listen = ["{address}"]
mpm = "event"
access_log = "{access_log}"
cache_dir = "{cache}"
keep_alive_timeout = "1h"
max_keep_alive_requests = 0

[event]
start_servers = 1
threads_per_child = {threads}

[[module]]
name = "hello"
path = "{}"

[[route]]
path = "{HELLO}"
module = "hello"

[[route]]
path = "{TEXT}"
text = "Hello, world!\n"
"#,
            wasm.display(),
            // One for all, so that every start but the first finds it warm.
            cache = bench.folder.join("cache").display(),
        ),
    )?;
    let mut command = Command::new(&bench.guesthouse);
    command.arg("serve").arg(file);
    Setup::new("Guesthouse", command, address, &folder)
}

/// nginx with a fixed answer, or `None` if it is not installed.
pub fn nginx(bench: &Bench, processes: usize, log: AccessLog) -> Result<Option<Setup>> {
    let Some(program) = &bench.tools.nginx else { return Ok(None) };
    let (folder, address) = place(bench, &format!("nginx-{processes}-{}", log.word()))?;
    let inside = folder.display();
    let access_log = match log {
        AccessLog::Combined => format!("{inside}/access.log combined"),
        AccessLog::Off => "off".to_owned(),
    };
    let file = write(
        &folder,
        "nginx.conf",
        &format!(
            r#"worker_processes {processes};
daemon off;
pid {inside}/nginx.pid;
error_log {inside}/error.log;
events {{ worker_connections 20000; }}
http {{
    access_log {access_log};
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    client_body_temp_path {inside}/body;
    proxy_temp_path {inside}/proxy;
    fastcgi_temp_path {inside}/fastcgi;
    uwsgi_temp_path {inside}/uwsgi;
    scgi_temp_path {inside}/scgi;
    server {{
        listen {address};
        location / {{ default_type text/plain; return 200 "Hello, world!\n"; }}
    }}
}}
"#,
        ),
    )?;
    let mut command = Command::new(program);
    command.arg("-p").arg(&folder).arg("-c").arg(file);
    Setup::new("nginx, return 200", command, address, &folder).map(Some)
}

/// Apache with the event MPM and a static file, or `None` if it is not installed.
pub fn apache(bench: &Bench) -> Result<Option<Setup>> {
    /// Where Debian and Ubuntu put them.
    const MODULES: &str = "/usr/lib/apache2/modules";
    let Some(program) = &bench.tools.apache else { return Ok(None) };
    let (folder, address) = place(bench, "apache")?;
    let inside = folder.display();
    write(&folder, HELLO.trim_start_matches('/'), BODY)?;
    let file = write(
        &folder,
        "httpd.conf",
        &format!(
            r#"ServerRoot "{inside}"
Listen {address}
PidFile "{inside}/httpd.pid"
Mutex file:{inside}
LoadModule mpm_event_module {MODULES}/mod_mpm_event.so
LoadModule authz_core_module {MODULES}/mod_authz_core.so
ServerName localhost
DocumentRoot "{inside}"
KeepAlive On
KeepAliveTimeout 3600
MaxKeepAliveRequests 0
ErrorLog "{inside}/error.log"
LogFormat "%h %l %u %t \"%r\" %>s %O \"%{{Referer}}i\" \"%{{User-Agent}}i\"" combined
CustomLog "{inside}/access.log" combined
StartServers 1
ThreadsPerChild 64
MaxRequestWorkers 64
<Directory "{inside}">
    Require all granted
</Directory>
"#
        ),
    )?;
    let mut command = Command::new(program);
    command.arg("-D").arg("FOREGROUND").arg("-f").arg(file);
    Setup::new("Apache event, static file", command, address, &folder).map(Some)
}

/// How `wasmtime serve` allocates instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allocation {
    /// As it comes.
    Default,
    /// As Guesthouse does.
    Tuned,
}

/// `wasmtime serve` with the same guest, or `None` if it is not installed.
pub fn wasmtime(bench: &Bench, guest: &str, allocation: Allocation) -> Result<Option<Setup>> {
    const TUNED: &str = "pooling-allocator=y,pooling-memory-keep-resident=65536,\
                         pooling-table-keep-resident=65536,pooling-pagemap-scan=y";
    let Some(wasmtime) = &bench.tools.wasmtime else { return Ok(None) };
    let (name, folder) = match allocation {
        Allocation::Default => ("wasmtime serve, default", "wasmtime-default"),
        Allocation::Tuned => ("wasmtime serve, tuned", "wasmtime-tuned"),
    };
    let (folder, address) = place(bench, folder)?;
    let mut command = Command::new(&wasmtime.program);
    command.args(["serve", "-S", "cli"]);
    if allocation == Allocation::Tuned {
        command.args(["-O", TUNED]);
    }
    command.args(["--addr", &address.to_string()]).arg(bench.guests.join(guest));
    Setup::new(name, command, address, &folder).map(Some)
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
