//! Children of all three MPMs, run on a thread of the test instead of in a process of their own: real sockets, a real
//! control line, and a protocol made for testing. What needs processes is tested from outside, in `tests/`.

mod upkeep;
mod upstream;

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command as Process;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::*;
use crate::control::{self, Command, ControlParent, Report};
use crate::error::LoadError;
use crate::protocol::{Accepted, ConnectionId, Next, Protocol, ThreadContext, Turn, Upkeep};
use crate::scoreboard::{ChildStatus, ThreadReading};
use crate::settings::{Common, ListenAddress, Prefork, Settings, Worker};

const LONG: Duration = Duration::from_secs(10);

/// Answers each line. What else it does depends on the line.
struct Talker;

#[derive(Default)]
struct Talk {
    lines: usize,
    input: Vec<u8>,
    task: Task,
    /// How long it waits for one more line when it is idle and the child drains.
    patience: Duration,
    /// The lines and the time when the child was first seen to drain.
    drain: Option<(usize, Instant)>,
}

#[derive(Default)]
enum Task {
    /// Reads a line.
    #[default]
    None,
    /// Yields so many times before it answers.
    Spin(u32),
    /// Answers when the other thread has said so.
    Sleep(mpsc::Receiver<()>),
    /// Holds a place for a request until the next line.
    Hold,
    /// Answers when it is advanced again at once.
    Flush,
    /// Says what its upstream says, when that has said a line.
    Hear(Vec<u8>),
}

impl Protocol for Talker {
    type Thread = upkeep::Errands;
    type Connection = Talk;

    fn thread(&self, context: ThreadContext) -> Result<upkeep::Errands, StartError> {
        Ok(upkeep::Errands::new(context.waker))
    }

    fn accept(&self, _: &mut upkeep::Errands, _: &Accepted) -> Talk {
        Talk::default()
    }

    fn advance(&self, errands: &mut upkeep::Errands, talk: &mut Talk, turn: &mut Turn<'_>) -> Next {
        if turn.draining {
            talk.drain.get_or_insert((talk.lines, turn.now));
        }
        loop {
            match std::mem::take(&mut talk.task) {
                Task::None => {}
                Task::Spin(0) => say(turn, "spun"),
                Task::Spin(left) => {
                    talk.task = Task::Spin(left - 1);
                    return Next::Yield(turn.now + LONG);
                }
                Task::Sleep(done) if done.try_recv().is_ok() => say(turn, "slept"),
                Task::Sleep(done) => {
                    talk.task = Task::Sleep(done);
                    return Next::Wait(turn.now + LONG);
                }
                Task::Hold => {
                    if !turn.begin_request() {
                        talk.task = Task::Hold;
                        return Next::Admit(turn.now + LONG);
                    }
                    say(turn, "holding");
                }
                Task::Flush => say(turn, "flushed"),
                Task::Hear(heard) => {
                    if let Some(unfinished) = hear(turn, heard) {
                        talk.task = Task::Hear(unfinished);
                        // Later than any test waits: only the upstream can end it.
                        return Next::Wait(turn.now + 10 * LONG);
                    }
                }
            }
            let Some(line) = talk.line() else {
                let mut buffer = [0; 512];
                match turn.stream.read(&mut buffer) {
                    Ok(0) => return Next::Close,
                    Ok(read) => talk.input.extend_from_slice(&buffer[..read]),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return talk.pause(turn),
                    Err(_) => return Next::Close,
                }
                continue;
            };
            match line.as_str() {
                "close" => return Next::Close,
                "be patient" => {
                    talk.patience = LONG;
                    say(turn, "patient");
                }
                "be patient for 100 ms" => {
                    talk.patience = Duration::from_millis(100);
                    say(turn, "patient");
                }
                "panic" => panic!("expected by a test"),
                "spin" => talk.task = Task::Spin(50),
                "hold" => talk.task = Task::Hold,
                "flush" => {
                    talk.task = Task::Flush;
                    return Next::Flush;
                }
                "release" => {
                    turn.end_request();
                    say(turn, "released");
                }
                "soon" => return Next::Read(turn.now),
                "sleep" => {
                    let ((send, receive), waker) = (mpsc::channel(), turn.waker.clone());
                    talk.task = Task::Sleep(receive);
                    std::thread::spawn(move || {
                        send.send(()).unwrap();
                        waker.wake();
                    });
                }
                "hear" => talk.task = Task::Hear(Vec::new()),
                other => obey(errands, turn, other),
            }
        }
    }

    fn tend(&self, errands: &mut upkeep::Errands, now: Instant) -> Upkeep {
        errands.tend(now)
    }

    fn turn_end(&self, _: &mut upkeep::Errands) {}
}

/// Does what a line says that is about the thread's errands or the upstream, and answers any other with itself.
fn obey(errands: &mut upkeep::Errands, turn: &mut Turn<'_>, line: &str) {
    match line.split_once(' ').unwrap_or((line, "")) {
        ("run", address) => {
            errands.run(address);
            say(turn, "running");
        }
        ("connect", path) => {
            let connected = turn.connect(&ListenAddress::Unix(path.into()));
            let word = connected.map_or_else(|error| error.kind().to_string(), |()| "connected".to_owned());
            say(turn, &word);
        }
        ("pass", word) => {
            turn.upstream().unwrap().write_all(word.as_bytes()).unwrap();
            say(turn, "passed");
        }
        ("inherit", "") => {
            errands.heir = turn.id();
            say(turn, if errands.heir.is_some() { "hoping" } else { "alone" });
        }
        ("bequeath", "") => {
            if let Some(heir) = errands.heir.take() {
                turn.hand_upstream_to(heir);
            }
            let word = if turn.upstream().is_none() { "given" } else { "kept" };
            say(turn, word);
        }
        ("disconnect", "") => {
            turn.disconnect();
            say(turn, "disconnected");
        }
        _ => say(turn, line),
    }
}

impl Talk {
    /// Before the first line a connection is not idle: that line may be on its way.
    fn pause(&mut self, turn: &Turn<'_>) -> Next {
        if self.lines == 0 || !self.input.is_empty() {
            return Next::Read(turn.now + LONG);
        }
        if !turn.draining {
            return Next::Idle(turn.now + LONG);
        }
        match self.drain {
            Some((lines, since)) if lines == self.lines && turn.now < since + self.patience => {
                Next::Idle(since + self.patience)
            }
            _ => Next::Close,
        }
    }

    fn line(&mut self) -> Option<String> {
        let end = self.input.iter().position(|byte| *byte == b'\n')?;
        let line: Vec<u8> = self.input.drain(..=end).collect();
        self.lines += 1;
        Some(String::from_utf8(line).unwrap().trim_end().to_owned())
    }
}

/// Says a line that the upstream has said, or how the upstream has ended; `Some`: it has not said a whole one yet.
fn hear(turn: &mut Turn<'_>, mut heard: Vec<u8>) -> Option<Vec<u8>> {
    let Some(upstream) = turn.upstream() else {
        say(turn, "nobody");
        return None;
    };
    let mut letter = [0];
    loop {
        let end = match upstream.read(&mut letter) {
            Ok(0) => "the end".to_owned(),
            Ok(_) if letter == *b"\n" => String::from_utf8(heard).unwrap(),
            Ok(_) => {
                heard.push(letter[0]);
                continue;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Some(heard),
            Err(error) => error.kind().to_string(),
        };
        say(turn, &end);
        return None;
    }
}

fn say(turn: &mut Turn<'_>, line: &str) {
    turn.stream.write_all(format!("{line}\n").as_bytes()).unwrap();
}

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
fn a_child_serves_and_drains() {
    under_each(|mpm| {
        let child = Child::start(mpm(common()));
        let mut client = child.connect();
        assert_eq!(client.ask("one"), "one");
        assert_eq!(client.ask("two"), "two");
        assert_eq!(child.board.child(0).read().status, ChildStatus::Ready);
        let (address, board) = (child.address, child.board.clone());
        assert_eq!(child.drain(), ChildExit::Drained);
        assert!(client.is_closed());
        assert_eq!(board.child(0).read().status, ChildStatus::Draining);
        assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn a_draining_child_leaves_new_connections_to_others() {
    under_each(|mpm| {
        let child = Child::start(mpm(common()));
        let mut client = child.connect();
        client.say("hello\nspin");
        assert_eq!(client.hear(), "hello");
        client.0.get_mut().write_all(b"half a ").unwrap();
        assert_eq!(client.hear(), "spun");
        child.control().send(&Command::Drain).unwrap();
        child.wait_until_closed();
        assert_eq!(client.ask("line"), "half a line");
        assert!(client.is_closed());
        assert_eq!(child.end(), ChildExit::Drained);
    });
}

#[test]
fn a_line_that_was_on_its_way_to_a_draining_child_is_answered() {
    under_each(|mpm| {
        let child = Child::start(mpm(common()));
        let mut client = child.connect();
        assert_eq!(client.ask("be patient"), "patient");
        child.control().send(&Command::Drain).unwrap();
        child.wait_until_closed();
        // Idle, and yet not closed: what becomes of it is the protocol's decision.
        assert_eq!(client.ask("one more"), "one more");
        assert!(client.is_closed());
        assert_eq!(child.end(), ChildExit::Drained);
    });
}

#[test]
fn an_idle_connection_ends_at_the_deadline_that_the_protocol_gives_it_at_a_drain() {
    under_each(|mpm| {
        let child = Child::start(mpm(common()));
        let mut client = child.connect();
        assert_eq!(client.ask("be patient for 100 ms"), "patient");
        let start = Instant::now();
        child.control().send(&Command::Drain).unwrap();
        assert!(client.is_closed());
        assert!(start.elapsed() >= Duration::from_millis(100), "{:?}", start.elapsed());
        assert_eq!(child.end(), ChildExit::Drained);
    });
}

#[test]
fn a_graceful_stop_refuses_who_comes_later_however_busy_the_child_is() {
    under_each(|mpm| {
        let child = Child::start(mpm(common()));
        let mut busy: Vec<_> = (0..3).map(|_| child.connect()).collect();
        assert_eq!(busy[0].ask("hello"), "hello");
        for client in &mut busy {
            client.0.get_mut().write_all(b"half a ").unwrap();
        }
        let mut waiting = child.connect();
        child.control().send(&Command::Stop).unwrap();
        child.wait_until_closed();
        waiting.say("in time");
        for mut client in busy {
            assert_eq!(client.ask("line"), "half a line");
            assert!(client.is_closed());
        }
        assert_eq!(waiting.hear(), "in time");
        assert_eq!(child.end(), ChildExit::Drained);
    });
}

#[test]
fn a_child_that_retires_closes_its_listener_while_its_last_connection_is_open() {
    under_each(|mpm| {
        let child = Child::start(mpm(Common { max_connections_per_child: 1, ..common() }));
        let mut client = child.connect();
        child.expect(Report::Retiring);
        child.wait_until_closed();
        assert_eq!(client.ask("hello"), "hello");
        assert!(client.is_closed());
        assert_eq!(child.end(), ChildExit::Retired);
    });
}

#[test]
fn what_is_under_way_is_finished_before_a_child_drains() {
    under_each(|mpm| {
        let child = Child::start(mpm(common()));
        let mut client = child.connect();
        client.say("spin\nsleep\nspin");
        // Only to know that the child has the connection.
        assert_eq!(client.hear(), "spun");
        child.control().send(&Command::Drain).unwrap();
        assert_eq!(client.hear(), "slept");
        assert_eq!(client.hear(), "spun");
        assert!(client.is_closed());
        assert_eq!(child.end(), ChildExit::Drained);
    });
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
fn a_graceful_stop_serves_what_waits_in_the_backlog() {
    let child = Child::start(prefork(common()));
    let mut first = child.connect();
    assert_eq!(first.ask("busy"), "busy");
    // The only process is taken: these wait in the backlog.
    let mut others: Vec<_> = (0..5).map(|_| child.connect()).collect();
    for other in &mut others {
        other.say("hello\nclose");
    }
    child.control().send(&Command::Stop).unwrap();
    for other in &mut others {
        assert_eq!(other.hear(), "hello");
    }
    assert_eq!(child.end(), ChildExit::Drained);
}

#[test]
fn a_graceful_stop_ends_a_child_when_its_last_connection_has_ended() {
    under_each(|mpm| {
        let child = Child::start(mpm(common()));
        let mut clients: Vec<_> = (0..3).map(|_| child.connect()).collect();
        // Under prefork the others wait in the backlog; under worker no thread is idle.
        assert_eq!(clients[0].ask("hello"), "hello");
        child.control().send(&Command::Stop).unwrap();
        assert!(clients[0].is_closed());
        for client in &mut clients[1..] {
            assert_eq!(client.ask("and me"), "and me");
            assert!(client.is_closed());
        }
        assert_eq!(child.end(), ChildExit::Drained);
    });
}

#[test]
fn a_graceful_stop_ends_a_child_that_has_nothing_to_do() {
    under_each(|mpm| {
        let child = Child::start(mpm(common()));
        child.control().send(&Command::Stop).unwrap();
        assert_eq!(child.end(), ChildExit::Drained);
    });
}

#[test]
fn a_child_retires_after_its_last_connection() {
    under_each(|mpm| {
        let child = Child::start(mpm(Common { max_connections_per_child: 3, ..common() }));
        for _ in 0..2 {
            let mut client = child.connect();
            assert_eq!(client.ask("hello"), "hello");
            client.say("close");
            assert!(client.is_closed());
        }
        let mut last = child.connect();
        assert_eq!(last.ask("hello\nspin"), "hello");
        assert_eq!(last.hear(), "spun");
        assert!(last.is_closed());
        child.expect(Report::Retiring);
        assert_eq!(child.end(), ChildExit::Retired);
    });
}

#[test]
fn a_child_that_accepts_no_more_by_its_own_decision_tells_the_parent_at_once() {
    for orders in [Orders::Retire, Orders::Sick] {
        let board = Scoreboard::new(1, 1).unwrap();
        let news = Arc::new(Bell::new().unwrap());
        let crew = Crew::new(Talker, board.child(0), &common(), news).unwrap();
        let (parent, control) = control::pair().unwrap();
        let mut watch = Watch::new(control, 0);
        crew.order(orders);
        assert!(watch.heed(&crew));
        assert_eq!(parent.receive(), Report::Retiring);
    }
}

#[test]
fn an_orphan_ends_within_a_second_even_with_a_connection_that_does_not() {
    under_each(|mpm| {
        let mut child = Child::start(mpm(common()));
        let mut client = child.connect();
        assert_eq!(client.ask("hold"), "holding");
        client.say(&"spin\n".repeat(3));
        let start = Instant::now();
        drop(child.control.take());
        assert_eq!(child.end(), ChildExit::ParentGone);
        assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
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
fn worker_accepts_no_more_than_it_has_threads() {
    let child = Child::start(worker(common()));
    let mut clients: Vec<_> = (0..3).map(|_| child.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.ask("hello"), "hello");
    }
    let mut fourth = child.connect();
    fourth.say("me too");
    assert!(fourth.is_silent());
    drop(clients.pop());
    assert_eq!(fourth.hear(), "me too");
    assert_eq!(child.drain(), ChildExit::Drained);
}

#[test]
fn event_serves_more_connections_than_it_has_threads() {
    let child = Child::start(event(common()));
    let mut clients: Vec<_> = (0..80).map(|_| child.connect()).collect();
    for round in ["one", "two"] {
        for client in &mut clients {
            assert_eq!(client.ask(round), round);
        }
    }
    let accepted: Vec<u64> = child.reading().iter().map(|thread| thread.connections).collect();
    assert_eq!(accepted.iter().sum::<u64>(), 80);
    assert!(accepted[0] > 0 && accepted[1] > 0, "both threads take part: {accepted:?}");
    assert_eq!(child.drain(), ChildExit::Drained);
}

#[test]
fn a_whole_answer_leaves_before_the_thread_waits() {
    under_each(|mpm| {
        let child = Child::start(mpm(common()));
        let mut client = child.connect();
        assert_eq!(client.ask("flush"), "flushed");
        client.say("flush\nflush\nspin\nflush\nhello");
        assert_eq!([(); 5].map(|()| client.hear()), ["flushed", "flushed", "spun", "flushed", "hello"]);
        drop(client);
        assert_eq!(child.drain(), ChildExit::Drained);
    });
}

#[test]
fn event_does_not_let_a_spinning_guest_hold_up_the_others() {
    let child = Child::start(event_of(common(), 1, 100, 100));
    let mut spinner = child.connect();
    spinner.say(&"spin\n".repeat(1000));
    let mut other = child.connect();
    assert_eq!(other.ask("hello"), "hello");
    assert_eq!(other.ask("again"), "again");
    for _ in 0..1000 {
        assert_eq!(spinner.hear(), "spun");
    }
    assert_eq!(child.drain(), ChildExit::Drained);
}

#[test]
fn event_admits_requests_in_the_order_in_which_they_came() {
    let child = Child::start(event_of(common(), 1, 100, 1));
    let mut holder = child.connect();
    let (mut second, mut third) = (child.connect(), child.connect());
    for client in [&mut second, &mut third] {
        assert_eq!(client.ask("hello"), "hello");
    }
    assert_eq!(holder.ask("hold"), "holding");
    second.say("hold");
    assert!(second.is_silent());
    third.say("hold");
    // While requests wait, new connections do.
    let mut fourth = child.connect();
    fourth.say("hello");
    assert!(third.is_silent() && fourth.is_silent());
    assert_eq!(holder.ask("release"), "released");
    assert_eq!(second.hear(), "holding");
    assert!(third.is_silent());
    drop(second);
    assert_eq!(third.hear(), "holding");
    assert_eq!(fourth.hear(), "hello");
    assert_eq!(child.drain(), ChildExit::Drained);
}

#[test]
fn event_makes_room_by_closing_the_connection_that_was_idle_longest() {
    let child = Child::start(event_of(common(), 1, 2, 10));
    let mut clients: Vec<_> = (0..2).map(|_| child.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.ask("hello"), "hello");
    }
    let mut third = child.connect();
    assert_eq!(third.ask("hello"), "hello");
    assert!(clients[0].is_closed());
    assert_eq!(clients[1].ask("still here"), "still here");
    assert_eq!(child.drain(), ChildExit::Drained);
}

#[test]
fn event_leaves_connections_in_the_backlog_while_it_is_full_and_none_is_idle() {
    let child = Child::start(event_of(common(), 1, 2, 10));
    let mut clients: Vec<_> = (0..2).map(|_| child.connect()).collect();
    for client in &mut clients {
        client.say("hold\nspin\nsoon");
        assert_eq!(client.hear(), "holding");
        assert_eq!(client.hear(), "spun");
    }
    drop(clients);
    let mut third = child.connect();
    assert_eq!(third.ask("hello"), "hello");
    assert_eq!(child.drain(), ChildExit::Drained);
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
