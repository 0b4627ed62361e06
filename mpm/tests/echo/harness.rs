//! A server of the echo example in its own processes, and clients that speak to it. Every wait is for something that
//! can be seen (a line of the log, an answer, a process's end) and is bounded.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// More than any wait here takes on a machine that is busy with something else.
pub const LONG: Duration = Duration::from_secs(20);

pub struct Server {
    process: Child,
    log: Receiver<String>,
    pub address: SocketAddr,
}

impl Server {
    /// Starts a server that drops clients that are silent for `LONG`.
    pub fn start(mpm: &str) -> Self {
        Self::start_with(mpm, LONG, None)
    }

    pub fn start_with(mpm: &str, silence: Duration, descriptors_max: Option<u32>) -> Self {
        let limit = descriptors_max.map_or(String::new(), |max| format!("ulimit -n {max} && "));
        let mut process = Command::new("sh")
            .args(["-c", &format!("{limit}exec \"$0\" \"$@\""), echo().to_str().unwrap()])
            .args([mpm, "127.0.0.1:0", &silence.as_millis().to_string()])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let (send, log) = mpsc::channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                // The test has ended, but the server goes on writing.
                let _nobody_reads = send.send(line);
            }
        });
        let mut server = Self { process, log, address: SocketAddr::from(([0, 0, 0, 0], 0)) };
        let line = server.wait_for("listening on ");
        server.address = line.rsplit(' ').next().unwrap().parse().unwrap();
        server.wait_for(": ready");
        server
    }

    /// Waits for a line of the log that contains `text`; earlier lines are passed over.
    pub fn wait_for(&self, text: &str) -> String {
        let end = Instant::now() + LONG;
        let mut seen = Vec::new();
        loop {
            match self.log.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => seen.push(line),
                Err(error) => panic!("no line with {text:?} in the log ({error}), but:\n{}", seen.join("\n")),
            }
        }
    }

    pub fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        Client(BufReader::new(stream))
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    pub fn children(&self) -> BTreeSet<i32> {
        let pid = self.pid();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        children.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
    }

    /// Waits until the server has ended, and all its children with it.
    pub fn wait_for_end(mut self) -> ExitStatus {
        let mut status = None;
        until("the server's end", || {
            status = self.process.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.process.id().cast_signed())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A test that has failed leaves nothing behind; the children end when their parent does.
        if self.process.try_wait().is_ok_and(|status| status.is_none()) {
            let _already_gone = self.process.kill();
            let _status = self.process.wait();
        }
    }
}

pub struct Client(BufReader<TcpStream>);

impl Client {
    pub fn send(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).unwrap();
    }

    pub fn receive(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line
    }

    /// Sends a line and wants it back.
    pub fn echo(&mut self, line: &str) {
        self.send(&format!("{line}\n"));
        assert_eq!(self.receive().trim_end(), line);
    }

    /// Waits until the server closes the connection; whatever it sends before that is a fault.
    pub fn wait_for_close(&mut self) {
        match self.0.fill_buf() {
            Ok([]) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            other => panic!("expected the end of the connection, got {other:?}"),
        }
    }

    /// Whether nothing comes within `duration`.
    pub fn is_silent_for(&mut self, duration: Duration) -> bool {
        self.0.get_mut().set_read_timeout(Some(duration)).unwrap();
        let result = self.0.fill_buf().map(<[u8]>::len);
        self.0.get_mut().set_read_timeout(Some(LONG)).unwrap();
        result.is_err_and(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
    }
}

/// Waits for what nothing announces.
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + LONG;
    while !done() {
        assert!(Instant::now() < end, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// How many descriptors a process has open.
pub fn descriptors(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// CPU time that a process has used, in clock ticks (1/100 s).
pub fn cpu_ticks(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name in parentheses may contain spaces; user and system time are the 12th and 13th field after it.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// The example, which cargo builds together with the tests.
fn echo() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let echo = tests.parent().unwrap().parent().unwrap().join("examples/echo");
    assert!(echo.exists(), "{} is missing: run all targets, or `cargo build --examples` first", echo.display());
    echo
}
