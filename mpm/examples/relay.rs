//! Two pools: children of the first one, under any MPM, relay what clients send to the second one and back, over its
//! Unix socket. Those of the second one are prefork; they say who they are, echo what comes, and close at a full stop.
//!
//! `cargo run --example relay -- event 127.0.0.1:7000 /tmp/echo.socket`, and optionally the number of children of the
//! second pool and how many connections may wait for them.

use std::io::{self, ErrorKind, Read, Write};
use std::process::{Command, ExitCode};
use std::time::Duration;

use guesthouse_mpm::settings::{Common, Event, ListenAddress, Mpm, Pool, Prefork, Worker};
use guesthouse_mpm::{
    Accepted, Application, ChildContext, Deadline, LoadError, Next, Protocol, Settings, StartError, Stream,
    ThreadContext, Turn, serve,
};

/// What is read and not yet written, in each direction: who sends faster than the other takes must wait.
const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// Rounds in one turn, after which others are served.
const ROUNDS_MAX: usize = 16;
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Echoed as the last byte.
const FULL_STOP: u8 = b'.';

/// What the command line says.
struct Arguments {
    mpm: String,
    address: String,
    socket: String,
    echo_children: u32,
    echo_backlog: u32,
}

impl Application for Arguments {
    type Protocol = Service;

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
        let children = self.echo_children as usize;
        let mpm = Mpm::Prefork(Prefork {
            common: Common { listen_backlog: self.echo_backlog, ..Common::default() },
            start_servers: children,
            min_spare_servers: 1,
            max_spare_servers: children + 1,
            server_limit: children,
            max_request_workers: children,
            ..Prefork::default()
        });
        let echo = Pool { name: "echo".to_owned(), listen: vec![self.echo_address()], mpm };
        Ok(Settings { pools: vec![server, echo], pid_file: None })
    }

    fn abandon(&mut self) {}

    fn reset_counters(&mut self) {}

    fn start(&self, child: &ChildContext) -> Result<Service, StartError> {
        Ok(if child.pool == 0 { Service::Relay { echo: self.echo_address() } } else { Service::Echo })
    }
}

impl Arguments {
    fn echo_address(&self) -> ListenAddress {
        ListenAddress::Unix(self.socket.as_str().into())
    }
}

/// What the children of a pool do.
enum Service {
    Relay { echo: ListenAddress },
    Echo,
}

enum Connection {
    /// Just accepted.
    New,
    Begun {
        conversation: Conversation,
        deadline: Deadline,
    },
}

enum Conversation {
    /// From the client to the upstream and from the upstream to the client.
    Relay { up: Flow, down: Flow },
    /// From the client to the client.
    Echo(Flow),
}

impl Protocol for Service {
    type Thread = ();
    type Connection = Connection;

    fn thread(&self, _context: ThreadContext) -> Result<(), StartError> {
        Ok(())
    }

    fn accept(&self, (): &mut (), _accepted: &Accepted) -> Connection {
        Connection::New
    }

    fn advance(&self, (): &mut (), connection: &mut Connection, turn: &mut Turn<'_>) -> Next {
        if let Connection::New = connection {
            match self.begin(turn) {
                Ok(conversation) => *connection = Connection::Begun { conversation, deadline: turn.now + SILENCE_MAX },
                Err(error) => {
                    let reason =
                        if error.kind() == ErrorKind::WouldBlock { "busy".to_owned() } else { error.to_string() };
                    let _the_client_is_gone = turn.stream.write_all(format!("no echo: {reason}\n").as_bytes());
                }
            }
        }
        let Connection::Begun { conversation, deadline } = connection else { return Next::Close };
        for _ in 0..ROUNDS_MAX {
            match conversation.go_on(turn) {
                Ok(_) if conversation.is_over() => return Next::Close,
                Ok(true) => *deadline = turn.now + SILENCE_MAX,
                Ok(false) if turn.now < *deadline => return Next::Wait(*deadline),
                Ok(false) => return Next::Close,
                Err(_) => {
                    // The client is to know that something is missing. It may be gone as well.
                    let _not_connected = turn.stream.reset_on_close(true);
                    return Next::Close;
                }
            }
        }
        Next::Yield(*deadline)
    }

    fn turn_end(&self, (): &mut ()) {}
}

impl Service {
    fn begin(&self, turn: &mut Turn<'_>) -> io::Result<Conversation> {
        match self {
            Service::Relay { echo } => {
                turn.connect(echo)?;
                Ok(Conversation::Relay { up: Flow::default(), down: Flow::default() })
            }
            Service::Echo => {
                let greeting = format!("{}\n", std::process::id());
                Ok(Conversation::Echo(Flow { bytes: greeting.into_bytes(), end: End::Open }))
            }
        }
    }
}

impl Conversation {
    /// Moves what can be moved at once. Says whether there was anything.
    fn go_on(&mut self, turn: &mut Turn<'_>) -> io::Result<bool> {
        match self {
            Conversation::Relay { up, down } => {
                let mut moved = up.fill(turn.stream)?;
                let upstream = turn.upstream().ok_or(ErrorKind::NotConnected)?;
                moved |= up.flush(upstream)?;
                moved |= down.fill(upstream)?;
                Ok(down.flush(turn.stream)? || moved)
            }
            Conversation::Echo(flow) => {
                let mut moved = flow.fill(turn.stream)?;
                if let Some(stop) = flow.bytes.iter().position(|byte| *byte == FULL_STOP) {
                    flow.bytes.truncate(stop + 1);
                    flow.end = End::Reached;
                }
                moved |= flow.flush(turn.stream)?;
                Ok(moved)
            }
        }
    }

    fn is_over(&self) -> bool {
        match self {
            Conversation::Relay { up, down } => up.end == End::PassedOn && down.end == End::PassedOn,
            Conversation::Echo(flow) => flow.end == End::PassedOn,
        }
    }
}

/// One direction: what was read and is not written yet, and whether more is to come.
#[derive(Default)]
struct Flow {
    bytes: Vec<u8>,
    end: End,
}

#[derive(Default, PartialEq, Eq)]
enum End {
    #[default]
    Open,
    /// The source has ended; what it has sent is still to be passed on.
    Reached,
    /// The other side has been told as well.
    PassedOn,
}

impl Flow {
    /// Reads what there is, if there is room for it. Says whether there was anything.
    fn fill(&mut self, from: &mut Stream) -> io::Result<bool> {
        let mut buffer = [0; BUFFER_BYTES_MAX / 2];
        if self.end != End::Open || self.bytes.len() > BUFFER_BYTES_MAX / 2 {
            return Ok(false);
        }
        match from.read(&mut buffer) {
            Ok(0) => self.end = End::Reached,
            Ok(read) => self.bytes.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    /// Writes what the other side takes. Says whether it has taken anything.
    fn flush(&mut self, to: &mut Stream) -> io::Result<bool> {
        if self.bytes.is_empty() && self.end == End::Reached {
            to.shutdown_write()?;
            self.end = End::PassedOn;
            return Ok(true);
        }
        if self.bytes.is_empty() {
            return Ok(false);
        }
        match to.write(&self.bytes) {
            Ok(written) => {
                self.bytes.drain(..written);
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(false).init();
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize, default| words.get(index).map_or(Some(default), |word| word.parse().ok());
    let (Some([mpm, address, socket]), Some(echo_children), Some(echo_backlog)) =
        (words.first_chunk(), number(3, 2), number(4, 64))
    else {
        eprintln!("usage: relay prefork|worker|event ADDRESS:PORT SOCKET [CHILDREN [BACKLOG]]");
        return ExitCode::from(2);
    };
    let [mpm, address, socket] = [mpm, address, socket].map(Clone::clone);
    let application = Arguments { mpm, address, socket, echo_children, echo_backlog };
    match serve(application) {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(error) => {
            eprintln!("relay: {error}");
            ExitCode::FAILURE
        }
    }
}
