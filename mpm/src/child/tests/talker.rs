//! A protocol made for testing: what a connection does depends on the lines that it is told.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::LONG;
use super::upkeep::Errands;
use crate::child::event::FLUSH_DELAY_MAX;
use crate::error::StartError;
use crate::protocol::{Accepted, Next, Protocol, ThreadContext, Turn, Upkeep};
use crate::settings::ListenAddress;

/// Answers each line. What else it does depends on the line.
pub(super) struct Talker;

#[derive(Default)]
pub(super) struct Talk {
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
    /// Answers when it is advanced again at once, as a request that begins.
    Begin,
    /// The same, as an answer that is whole.
    Flush,
    /// Says what its upstream says, when that has said a line.
    Hear(Vec<u8>),
}

impl Protocol for Talker {
    type Thread = Errands;
    type Connection = Talk;

    fn thread(&self, context: ThreadContext) -> Result<Errands, StartError> {
        Ok(Errands::new(context.waker))
    }

    fn accept(&self, _: &mut Errands, _: &Accepted) -> Talk {
        Talk::default()
    }

    fn advance(&self, errands: &mut Errands, talk: &mut Talk, turn: &mut Turn<'_>) -> Next {
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
                Task::Begin => say(turn, "begun"),
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
                "begin" => {
                    talk.task = Task::Begin;
                    return Next::Begin;
                }
                "flush" => {
                    talk.task = Task::Flush;
                    return Next::Flush;
                }
                "compute" => {
                    let end = Instant::now() + 2 * FLUSH_DELAY_MAX;
                    while Instant::now() < end {}
                    say(turn, "computed");
                }
                "release" => {
                    turn.end_request();
                    say(turn, "released");
                }
                "soon" => return Next::Read(turn.now),
                "sleep" => {
                    let ((send, receive), waker) = (mpsc::channel(), turn.waker().clone());
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

    fn tend(&self, errands: &mut Errands, now: Instant) -> Upkeep {
        errands.tend(now)
    }

    fn turn_end(&self, _: &mut Errands) {}
}

/// Does what a line says that is about the thread's errands or the upstream, and answers any other with itself.
fn obey(errands: &mut Errands, turn: &mut Turn<'_>, line: &str) {
    match line.split_once(' ').unwrap_or((line, "")) {
        ("stall", address) => {
            // The thread stands still until the test lets go.
            let _end = TcpStream::connect(address).unwrap().read(&mut [0]);
            say(turn, "stalled");
        }
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
