//! The smallest protocol: every line that comes in goes out again, and a client that stays silent for too long is
//! dropped. It runs under all three MPMs: `cargo run --example echo -- event 127.0.0.1:7000`.

use std::io::{ErrorKind, Read, Write};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use guesthouse_mpm::settings::{Event, ListenAddress, Mpm, Pool, Prefork, Worker};
use guesthouse_mpm::{
    Accepted, Application, ChildContext, Deadline, LoadError, Next, Protocol, Settings, StartError, ThreadContext,
    Turn, serve,
};

/// A line that does not end within so many bytes is no line.
const LINE_BYTES_MAX: usize = 8192;
/// How long a line that is on its way is waited for when the child drains.
const DRAIN_GRACE: Duration = Duration::from_millis(500);

/// What the command line says: MPM, address, and optionally how many milliseconds a client may be silent.
struct Arguments {
    mpm: String,
    address: String,
    silence_ms_max: String,
}

struct Echo {
    silence_max: Duration,
}

struct Line {
    /// Read and not yet written.
    bytes: Vec<u8>,
    /// Lines that went out. Before the first one a connection is not idle: that line may be on its way.
    count: u64,
    /// Where `count` stood when the drain was noticed. One more line is echoed after that.
    count_at_drain: Option<u64>,
    deadline: Deadline,
}

impl Application for Arguments {
    type Protocol = Echo;

    fn preparation(&mut self) -> Option<Command> {
        None
    }

    fn load(&mut self, _generation: u32, _prepared: &[u8]) -> Result<Settings, LoadError> {
        let mpm = match self.mpm.as_str() {
            "prefork" => Mpm::Prefork(Prefork::default()),
            "worker" => Mpm::Worker(Worker::default()),
            "event" => Mpm::Event(Event::default()),
            other => return Err(LoadError(format!("{other} is not an mpm: write prefork, worker or event"))),
        };
        let address = self.address.parse().map_err(|error| LoadError(format!("{}: {error}", self.address)))?;
        let server = Pool { name: "server".to_owned(), listen: vec![ListenAddress::Tcp(address)], mpm };
        Ok(Settings { pools: vec![server], pid_file: None })
    }

    fn abandon(&mut self) {}

    fn reset_counters(&mut self) {}

    fn start(&self, _child: &ChildContext) -> Result<Echo, StartError> {
        let ms = self.silence_ms_max.parse();
        let ms = ms.map_err(|error| StartError(format!("{} is no time: {error}", self.silence_ms_max)))?;
        Ok(Echo { silence_max: Duration::from_millis(ms) })
    }
}

impl Protocol for Echo {
    type Thread = ();
    type Connection = Line;

    fn thread(&self, _context: ThreadContext) -> Result<(), StartError> {
        Ok(())
    }

    fn accept(&self, (): &mut (), accepted: &Accepted) -> Line {
        Line { bytes: Vec::new(), count: 0, count_at_drain: None, deadline: accepted.at + self.silence_max }
    }

    fn advance(&self, (): &mut (), line: &mut Line, turn: &mut Turn<'_>) -> Next {
        if turn.draining {
            line.count_at_drain.get_or_insert(line.count);
        }
        loop {
            while let Some(end) = line.bytes.iter().position(|byte| *byte == b'\n') {
                match turn.stream.write(&line.bytes[..=end]) {
                    Ok(written) => {
                        line.bytes.drain(..written);
                        line.count += u64::from(written > end);
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return line.wait(turn.now, Next::Write),
                    Err(_) => return Next::Close,
                }
            }
            let mut buffer = [0; 4096];
            match turn.stream.read(&mut buffer) {
                Ok(0) => return Next::Close,
                Ok(_) if line.bytes.len() >= LINE_BYTES_MAX => return Next::Close,
                Ok(read) => {
                    line.bytes.extend_from_slice(&buffer[..read]);
                    line.deadline = turn.now + self.silence_max;
                }
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Next::Close,
                Err(_) if line.bytes.is_empty() && line.count > 0 => return line.idle(turn),
                Err(_) => return line.wait(turn.now, Next::Read),
            }
        }
    }

    fn turn_end(&self, (): &mut ()) {}
}

impl Line {
    fn idle(&mut self, turn: &Turn<'_>) -> Next {
        match self.count_at_drain {
            None => {}
            Some(count) if count < self.count => return Next::Close,
            Some(_) => self.deadline = self.deadline.min(turn.now + DRAIN_GRACE),
        }
        self.wait(turn.now, Next::Idle)
    }

    fn wait(&self, now: Instant, next: fn(Deadline) -> Next) -> Next {
        if now >= self.deadline { Next::Close } else { next(self.deadline) }
    }
}

fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let mut words = std::env::args().skip(1);
    let (Some(mpm), Some(address)) = (words.next(), words.next()) else {
        eprintln!("usage: echo prefork|worker|event ADDRESS:PORT [MILLISECONDS]");
        return ExitCode::from(2);
    };
    let silence_ms_max = words.next().unwrap_or_else(|| "60000".to_owned());
    match serve(Arguments { mpm, address, silence_ms_max }) {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(error) => {
            eprintln!("echo: {error}");
            ExitCode::FAILURE
        }
    }
}
