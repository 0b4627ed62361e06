//! A server of the `staged` example in its own processes, told what to do by a script, and clients that are greeted;
//! or one of the `relay` example.
//! Every wait is for something that can be seen and is bounded.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Far more than anything here takes.
pub const PATIENCE: Duration = Duration::from_secs(20);
pub const MPMS: [&str; 3] = ["prefork", "worker", "event"];

pub struct Server {
    pub process: Child,
    log: Receiver<String>,
    pub folder: PathBuf,
}

/// What a child says to a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting {
    pub word: String,
    pub pid: i32,
    pub generation: u32,
    /// Connections that were answered since the start or the last restart.
    pub count: u64,
    /// Children that the scoreboard shows.
    pub children: usize,
}

impl Server {
    /// Starts a server with such a script, without waiting for it.
    pub fn start(script: &str) -> Self {
        Self::start_by(&[], script)
    }

    /// Starts a server by way of a command that executes what is appended to it.
    pub fn start_by(command: &[&str], script: &str) -> Self {
        let folder = new_folder();
        write_script(&folder, script);
        let staged = example("staged");
        let words: Vec<&OsStr> = command.iter().map(OsStr::new).chain([staged.as_os_str()]).collect();
        Self::spawn(Command::new(words[0]).args(&words[1..]).arg(folder.join("script")), folder)
    }

    /// Starts a server that relays to a pool of so many children, for which so many connections may wait, and waits
    /// until it is ready.
    pub fn relaying(mpm: &str, children: u32, backlog: u32) -> (Self, SocketAddr) {
        let folder = new_folder();
        let mut relay = Command::new(example("relay"));
        relay.args([mpm, "127.0.0.1:0"]).arg(folder.join("echo")).args([children.to_string(), backlog.to_string()]);
        let server = Self::spawn(&mut relay, folder);
        let address = server.address();
        server.wait_for(" ready");
        (server, address)
    }

    fn spawn(command: &mut Command, folder: PathBuf) -> Self {
        let mut process = command.stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(process.stderr.take().unwrap());
        let (sender, log) = mpsc::channel();
        thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { process, log, folder }
    }

    /// Starts a server on a free port and waits until it is ready.
    pub fn ready(script: &str) -> (Self, SocketAddr) {
        let server = Self::start(&format!("listen 127.0.0.1:0\n{script}"));
        let address = server.address();
        server.wait_for(" ready");
        (server, address)
    }

    pub fn address(&self) -> SocketAddr {
        self.wait_for("listening on ").rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// The next line of the log with these words.
    pub fn wait_for(&self, words: &str) -> String {
        let limit = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        loop {
            match self.log.recv_timeout(limit.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains(words) => return line,
                Ok(line) => seen.push(line),
                Err(error) => panic!("{error}: no line with {words:?}, only\n{}", seen.join("\n")),
            }
        }
    }

    pub fn rewrite(&self, script: &str) {
        write_script(&self.folder, script);
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.process.id().cast_signed()), signal).unwrap();
    }

    pub fn wait_for_end(&mut self) -> ExitStatus {
        wait_until("the server has ended", || self.process.try_wait().unwrap())
    }

    /// The children that live, zombies not counted.
    pub fn children(&self) -> Vec<i32> {
        let parent = self.process.id();
        let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
        children.split_whitespace().map(|pid| pid.parse().unwrap()).filter(|pid| is_alive(*pid)).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn new_folder() -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("mpm-parent-{}-{number}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn write_script(folder: &Path, script: &str) {
    fs::write(folder.join("script"), script.replace("FOLDER", folder.to_str().unwrap())).unwrap();
}

/// Examples are built beside the tests.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.ancestors().nth(2).unwrap().join("examples").join(name);
    assert!(
        path.exists(),
        "{} is not built: cargo test builds it unless told to run one test file only",
        path.display()
    );
    path
}

pub fn is_alive(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

pub fn kill_hard(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
}

/// Waits until none of these processes is left.
pub fn wait_until_ended(pids: &[i32]) {
    wait_until(&format!("{pids:?} have ended"), || (!pids.iter().any(|pid| is_alive(*pid))).then_some(()));
}

pub fn wait_until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let limit = Instant::now() + PATIENCE;
    while Instant::now() < limit {
        if let Some(found) = look() {
            return found;
        }
        thread::sleep(Duration::from_millis(2));
    }
    panic!("it did not come about that {what}");
}

/// A connection that was greeted and is held open.
pub fn greeted(address: SocketAddr) -> (Greeting, TcpStream) {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    (read_greeting(&stream), stream)
}

fn read_greeting(stream: impl Read) -> Greeting {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    let mut words = line.split_whitespace();
    let mut word = || words.next().unwrap_or_else(|| panic!("not a greeting: {line:?}"));
    Greeting {
        word: word().to_owned(),
        pid: word().parse().unwrap(),
        generation: word().parse().unwrap(),
        count: word().parse().unwrap(),
        children: word().parse().unwrap(),
    }
}

pub fn greeting(address: SocketAddr) -> Greeting {
    greeted(address).0
}

/// A connection to a Unix socket that was greeted and is held open.
pub fn greeted_at(socket: &Path) -> (Greeting, UnixStream) {
    let stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    (read_greeting(&stream), stream)
}

pub fn greeting_at(socket: &Path) -> Greeting {
    greeted_at(socket).0
}
