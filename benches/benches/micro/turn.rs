//! One turn of an event thread, seen by its clients: the thread waits in `epoll_wait`, reads who is ready, has each advanced,
//! and writes. The server is `guesthouse_mpm` alone, with a protocol that knows no HTTP and no guest.
//!
//! A server forks, which a benchmark with its threads must not, so this program starts itself once more to be the server.

use std::io::{IoSlice, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

use criterion::Criterion;
use guesthouse_mpm::settings::{Event, ListenAddress, Mpm, Pool};
use guesthouse_mpm::{
    Accepted, Application, ChildContext, LoadError, Next, Protocol, Settings, StartError, Stream, ThreadContext, Turn,
    serve,
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Tells this program to be the server, and where it is to listen.
const SERVE_AT: &str = "GUESTHOUSE_BENCH_TURNS_AT";

/// Connections that are ready in a full turn: as many as the load of `cargo xtask bench` keeps.
const CONNECTIONS: usize = 32;

/// What a client asks. What it means nobody here knows.
const REQUEST: &[u8] = b"GET /hello HTTP/1.1\r\nHost: localhost:8080\r\n\r\n";

/// Holds the thread up until more has come on the same connection, so that others can get ready meanwhile. Not answered.
const HOLD: &[u8] = b"hold";

/// The answer's two parts, which leave in one call.
const ANSWER: [&[u8]; 2] = [b"HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n", b"Hello, world!\n"];

/// Nobody waits for so long.
const LONG: Duration = Duration::from_secs(60);

/// How long the server may take until it listens.
const START_MAX: Duration = Duration::from_secs(10);

pub fn turn(c: &mut Criterion) {
    let server = Server::start();
    let mut first = server.connect();
    c.bench_function("turn of an event thread, one connection", |b| {
        b.iter(|| {
            first.ask();
            first.hear();
        });
    });

    let mut others: Vec<_> = (1..CONNECTIONS).map(|_| server.connect()).collect();
    c.bench_function("turn of an event thread, 32 connections", |b| {
        b.iter_custom(|turns| (0..turns).map(|_| full_turn(&mut first, &mut others)).sum());
    });
}

/// From the moment when all are ready to the last answer: that on the connection that became ready last.
fn full_turn(last: &mut Client, others: &mut [Client]) -> Duration {
    last.say(HOLD);
    others.iter_mut().for_each(Client::ask);
    let began = Instant::now();
    last.ask();
    last.hear();
    let took = began.elapsed();
    others.iter_mut().for_each(Client::hear);
    took
}

/// The server's process, ended when this is dropped.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    fn start() -> Self {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        let address = free.expect("there is a free port");
        let program = std::env::current_exe().expect("this program has a path");
        let process = Command::new(program).env(SERVE_AT, address.to_string()).spawn();
        Self { process: process.expect("this program can be started once more"), address }
    }

    /// A connection whose first request is answered.
    fn connect(&self) -> Client {
        let began = Instant::now();
        let stream = loop {
            match TcpStream::connect(self.address) {
                Ok(stream) => break stream,
                // Nothing tells when it listens.
                Err(_) if began.elapsed() < START_MAX => sleep(Duration::from_millis(1)),
                Err(error) => panic!("the server does not listen: {error}"),
            }
        };
        stream.set_nodelay(true).expect("it is a TCP socket");
        stream.set_read_timeout(Some(LONG)).expect("it is a socket");
        let mut client = Client(stream);
        client.ask();
        client.hear();
        client
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _it_has_ended_already = kill(Pid::from_raw(self.process.id().cast_signed()), Signal::SIGTERM);
        let _status = self.process.wait();
    }
}

struct Client(TcpStream);

impl Client {
    fn ask(&mut self) {
        self.say(REQUEST);
    }

    fn say(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).expect("the server takes it");
    }

    fn hear(&mut self) {
        let mut answer = [0; ANSWER[0].len() + ANSWER[1].len()];
        self.0.read_exact(&mut answer).expect("the server answers");
    }
}

/// Serves until told to stop, if this program was started for that.
pub fn is_server() -> bool {
    let Ok(address) = std::env::var(SERVE_AT) else { return false };
    let address = address.parse().expect("the benchmark has written an address");
    // In the parent as in the child: that the process ends is all that is left to do.
    if let Err(error) = serve(OneThread { address }) {
        eprintln!("the server of the benchmark: {error}");
    }
    true
}

/// One child with one event thread.
struct OneThread {
    address: SocketAddr,
}

impl Application for OneThread {
    type Protocol = Greeter;

    fn preparation(&mut self) -> Option<Command> {
        None
    }

    fn load(&mut self, _generation: u32, _prepared: &[u8]) -> Result<Settings, LoadError> {
        let mpm = Mpm::Event(Event { start_servers: 1, threads_per_child: 1, ..Event::default() });
        let listen = vec![ListenAddress::Tcp(self.address)];
        Ok(Settings { pools: vec![Pool { name: "server".to_owned(), listen, mpm }], pid_file: None })
    }

    fn abandon(&mut self) {}

    fn reset_counters(&mut self) {}

    fn start(&self, _child: &ChildContext) -> Result<Greeter, StartError> {
        Ok(Greeter)
    }
}

/// Reads, and answers as Guesthouse does: together with the others of the turn, with one call.
struct Greeter;

/// ```text
/// New ──► Asked ◄──► Answered
/// ```
enum Conversation {
    /// Just accepted.
    New,
    /// The answer is whole, and is to leave.
    Asked,
    Answered,
}

impl Protocol for Greeter {
    type Thread = ();
    type Connection = Conversation;

    fn thread(&self, _context: ThreadContext) -> Result<(), StartError> {
        Ok(())
    }

    fn accept(&self, (): &mut (), _accepted: &Accepted) -> Conversation {
        Conversation::New
    }

    fn advance(&self, (): &mut (), conversation: &mut Conversation, turn: &mut Turn<'_>) -> Next {
        let deadline = turn.now + LONG;
        if let Conversation::Asked = conversation {
            if turn.stream.write_vectored(&ANSWER.map(IoSlice::new)).is_err() {
                return Next::Close;
            }
            *conversation = Conversation::Answered;
        }
        let mut buffer = [0; 4096];
        match (turn.stream.read(&mut buffer), &conversation) {
            (Ok(0), _) => Next::Close,
            (Ok(read), _) if buffer[..read] == *HOLD => {
                wait_for_more(turn.stream);
                Next::Read(deadline)
            }
            (Ok(_), _) => {
                *conversation = Conversation::Asked;
                Next::Flush
            }
            (Err(_), _) if turn.draining || turn.stream.peer_closed() => Next::Close,
            (Err(_), Conversation::New) => Next::Read(deadline),
            (Err(_), _) => Next::Idle(deadline),
        }
    }

    fn turn_end(&self, (): &mut ()) {}
}

/// What no other protocol may do, since the whole thread waits.
fn wait_for_more(stream: &Stream) {
    use std::os::fd::AsFd as _;
    let mut fds = [PollFd::new(stream.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::NONE).expect("one socket can be waited for");
}
