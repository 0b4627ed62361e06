//! Children of all three MPMs, run on a thread of the test instead of in a process of their own: real sockets, a real
//! control line, and a protocol made for testing. What needs processes is tested from outside, in `tests/`.

mod crowds;
mod endings;
mod talker;
mod upkeep;
mod upstream;

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command as Process;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use self::talker::Talker;
use super::*;
use crate::control::{self, Command, ControlParent, Report};
use crate::error::LoadError;
use crate::scoreboard::{ChildStatus, ThreadReading};
use crate::settings::{Common, ListenAddress, Prefork, Settings, Worker};

const LONG: Duration = Duration::from_secs(10);

/// Starts, or says why not.
struct Speaker(Result<(), &'static str>);

impl Application for Speaker {
    type Protocol = Talker;

    fn preparation(&mut self) -> Option<Process> {
        None
    }

    fn load(&mut self, _generation: u32, _: &[u8]) -> Result<Settings, LoadError> {
        Err(LoadError("the tests bring their own settings".to_owned()))
    }

    fn abandon(&mut self) {}

    fn reset_counters(&mut self) {}

    fn start(&self, _: &ChildContext) -> Result<Talker, StartError> {
        self.0.map(|()| Talker).map_err(|reason| StartError(reason.to_owned()))
    }
}

/// A child, its parent's end and its address.
struct Child {
    address: SocketAddr,
    control: Option<ControlParent>,
    board: Scoreboard,
    thread: JoinHandle<ChildExit>,
}

fn prefork(common: Common) -> Mpm {
    Mpm::Prefork(Prefork {
        common,
        on_demand: false,
        start_servers: 1,
        min_spare_servers: 1,
        max_spare_servers: 2,
        server_limit: 1,
        max_request_workers: 1,
    })
}

fn worker(common: Common) -> Mpm {
    Mpm::Worker(Worker {
        common,
        start_servers: 1,
        min_spare_threads: 1,
        max_spare_threads: 2,
        server_limit: 1,
        thread_limit: 3,
        threads_per_child: 3,
        max_request_workers: 3,
    })
}

fn event(common: Common) -> Mpm {
    event_of(common, 2, 100, 100)
}

fn event_of(common: Common, threads: usize, max_connections: usize, max_requests_in_flight: usize) -> Mpm {
    Mpm::Event(Event {
        common,
        start_servers: 1,
        threads_per_child: threads,
        server_limit: 1,
        thread_limit: 3,
        max_connections,
        max_requests_in_flight,
    })
}

fn common() -> Common {
    Common { listen_backlog: 64, max_connections_per_child: 0, graceful_shutdown_timeout: Duration::ZERO }
}

/// Runs `test` under each MPM.
fn under_each(test: impl Fn(fn(Common) -> Mpm)) {
    for mpm in [prefork, worker, event] {
        test(mpm);
    }
}

impl Child {
    fn start(mpm: Mpm) -> Self {
        let child = Self::spawn(mpm, Speaker(Ok(())));
        child.expect(Report::Ready);
        child
    }

    fn spawn(mpm: Mpm, speaker: Speaker) -> Self {
        let listen = ListenAddress::Tcp((Ipv4Addr::LOCALHOST, 0).into());
        let listener = Listener::bind(&listen, 64).unwrap();
        let ListenAddress::Tcp(address) = listener.address() else { panic!("not a TCP address") };
        let (parent, control) = control::pair().unwrap();
        let board = Scoreboard::new(1, 3).unwrap();
        let settings = Pool { name: "server".to_owned(), listen: vec![listen], mpm };
        let scoreboard = board.clone();
        let thread = std::thread::spawn(move || {
            run(
                &speaker,
                Role { slot: 0, generation: 0, pool: 0, settings, listeners: vec![listener], control, scoreboard },
            )
        });
        Self { address, control: Some(parent), board, thread }
    }

    fn control(&self) -> &ControlParent {
        self.control.as_ref().unwrap()
    }

    /// Waits for the next report.
    fn expect(&self, report: Report) {
        let mut fds = [nix::poll::PollFd::new(std::os::fd::AsFd::as_fd(self.control()), nix::poll::PollFlags::POLLIN)];
        watch::wait(&mut fds, Some(Instant::now() + LONG));
        assert_eq!(self.control().receive(), report);
    }

    fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        Client(BufReader::new(stream))
    }

    /// Waits for the child's end; nothing but a panic of the child ends it before `LONG` has passed.
    fn end(self) -> ChildExit {
        let end = Instant::now() + LONG;
        while !self.thread.is_finished() {
            assert!(Instant::now() < end, "the child does not end");
            std::thread::sleep(Duration::from_millis(1));
        }
        self.thread.join().unwrap()
    }

    /// Nobody else has the listener, so that a client is refused as soon as the child has closed it.
    fn wait_until_closed(&self) {
        let end = Instant::now() + LONG;
        loop {
            match TcpStream::connect(self.address) {
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => return,
                // The listener was closed between the two halves of the handshake.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
                Err(error) => panic!("neither accepted nor refused: {error}"),
                Ok(_) => assert!(Instant::now() < end, "the listener stays open"),
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn drain(self) -> ChildExit {
        self.control().send(&Command::Drain).unwrap();
        self.end()
    }

    fn reading(&self) -> Vec<ThreadReading> {
        (0..3).map(|thread| self.board.thread(0, thread).read()).collect()
    }
}

struct Client(BufReader<TcpStream>);

impl Client {
    fn say(&mut self, line: &str) {
        self.0.get_mut().write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn ask(&mut self, line: &str) -> String {
        self.say(line);
        self.hear()
    }

    /// Whether nothing is heard for a while.
    fn is_silent(&mut self) -> bool {
        self.0.get_mut().set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let heard = self.0.fill_buf().map(<[u8]>::len);
        self.0.get_mut().set_read_timeout(Some(LONG)).unwrap();
        heard.is_err_and(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
    }

    /// Waits for the end of the connection.
    fn is_closed(&mut self) -> bool {
        match self.0.fill_buf() {
            Ok([]) => true,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => true,
            other => panic!("expected the end of the connection, got {other:?}"),
        }
    }
}

#[test]
fn a_wake_from_another_thread_goes_on_at_once() {
    under_each(|mpm| {
        let child = Child::start(mpm(common()));
        let mut client = child.connect();
        let start = Instant::now();
        for _ in 0..20 {
            assert_eq!(client.ask("sleep"), "slept");
        }
        assert!(start.elapsed() < LONG, "the deadline of each wait");
        assert_eq!(child.drain(), ChildExit::Drained);
    });
}

#[test]
fn a_panic_ends_one_connection_and_nothing_else() {
    under_each(|mpm| {
        let child = Child::start(mpm(common()));
        for _ in 0..5 {
            let mut client = child.connect();
            client.say("panic");
            assert!(client.is_closed());
        }
        let mut client = child.connect();
        assert_eq!(client.ask("still here"), "still here");
        client.say("close");
        assert!(client.is_closed());
        assert_eq!(child.drain(), ChildExit::Drained);
    });
}

#[test]
fn a_deadline_that_has_passed_advances_the_connection() {
    under_each(|mpm| {
        let child = Child::start(mpm(common()));
        let mut client = child.connect();
        // Answered with a deadline of now; the second line is there already, and no edge tells of it again.
        assert_eq!(client.ask("soon\nlate"), "late");
        assert_eq!(child.drain(), ChildExit::Drained);
    });
}

#[test]
fn a_child_that_cannot_start_says_why() {
    under_each(|mpm| {
        let child = Child::spawn(mpm(common()), Speaker(Err("no module")));
        child.expect(Report::Failed("no module".to_owned()));
        assert_eq!(child.end(), ChildExit::CannotStart);
    });
}

#[test]
fn the_scoreboard_counts_connections_and_bytes() {
    under_each(|mpm| {
        let child = Child::start(mpm(common()));
        for _ in 0..4 {
            let mut client = child.connect();
            assert_eq!(client.ask("hold"), "holding");
            assert_eq!(client.ask("release"), "released");
            client.say("close");
            assert!(client.is_closed());
        }
        let reading = child.reading();
        assert_eq!(child.drain(), ChildExit::Drained);
        assert_eq!(reading.iter().map(|thread| thread.requests).sum::<u64>(), 4);
        assert_eq!(reading.iter().map(|thread| thread.connections).sum::<u64>(), 4);
        assert_eq!(reading.iter().map(|thread| thread.bytes).sum::<u64>(), 4 * "holding\nreleased\n".len() as u64);
    });
}

#[test]
fn a_whole_answer_leaves_before_the_thread_waits() {
    under_each(|mpm| {
        let child = Child::start(mpm(common()));
        let mut client = child.connect();
        assert_eq!(client.ask("flush"), "flushed");
        // More of them than one turn flushes.
        client.say("flush\nflush\nflush\nflush\nspin\nflush\nhello");
        let heard = [(); 7].map(|()| client.hear());
        assert_eq!(heard, ["flushed", "flushed", "flushed", "flushed", "spun", "flushed", "hello"]);
        drop(client);
        assert_eq!(child.drain(), ChildExit::Drained);
    });
}

#[test]
fn a_burst_of_lines_is_answered_to_the_last_one() {
    under_each(|mpm| {
        let child = Child::start(mpm(common()));
        let mut client = child.connect();
        let lines: Vec<String> = (0..2000).map(|number| format!("line {number}")).collect();
        client.say(&lines.join("\n"));
        for line in &lines {
            assert_eq!(client.hear(), *line);
        }
        assert_eq!(child.drain(), ChildExit::Drained);
    });
}
