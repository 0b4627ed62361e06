//! The lookout: a process of the application's that watches for what should be served next, and asks for a reload by
//! writing a line. It may end at any time and is started again. What it watches is not known here, and what it writes is not
//! looked at, but that it does.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{self, ChildStdout, Command};
use std::time::{Duration, Instant};

use super::spawn;

/// One that has ended is not started again before this: there may be something wrong with it.
const PAUSE: Duration = Duration::from_secs(1);

/// See the file's head.
#[derive(Debug)]
pub(crate) struct Lookout {
    life: Life,
    /// Killed, and not waited for yet: one may look at a file system that does not answer, and the parent does not wait.
    killed: Vec<process::Child>,
}

/// ```text
///        replace                  it has ended, or cannot be started
///  Off ───────────► Watching ────────────────────────────────────────► Away
///   ▲                 ▲ │                                                │
///   └── end ──────────┼─┴────────────────────── end ─────────────────────┤
///                     └──────────────── replace, when PAUSE is over ─────┘
/// ```
#[derive(Debug)]
enum Life {
    /// There is none.
    Off,
    Watching {
        process: process::Child,
        pipe: ChildStdout,
    },
    /// It is to be replaced.
    Away {
        until: Instant,
    },
}

/// What has come of it since the last look.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Nothing,
    /// It asks for a reload.
    Request,
    /// It is to be replaced now.
    Due,
}

impl Lookout {
    /// None yet.
    pub(super) fn none() -> Self {
        Self { life: Life::Off, killed: Vec::new() }
    }

    /// Ends the one that there is, if any, and starts this one.
    pub(super) fn replace(&mut self, command: Option<Command>, now: Instant) {
        self.end();
        let Some(command) = command else { return };
        let what = command.get_program().to_string_lossy().into_owned();
        self.life = start(command).unwrap_or_else(|error| {
            tracing::error!("cannot start {what}, which watches for changes: {error}: it is tried again");
            Life::Away { until: now + PAUSE }
        });
    }

    /// It is not the time to replace it.
    pub(super) fn put_off(&mut self, now: Instant) {
        if let Life::Away { until } = &mut self.life {
            *until = now + PAUSE;
        }
    }

    /// What to wait for.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.life.descriptor()
    }

    /// When to look although nothing has happened.
    pub(super) fn due_at(&self) -> Option<Instant> {
        match &self.life {
            Life::Away { until } => Some(*until),
            Life::Off | Life::Watching { .. } => None,
        }
    }

    /// Takes what it has written; never blocks.
    pub(super) fn hear(&mut self, now: Instant) -> Heard {
        self.killed.retain_mut(|process| matches!(process.try_wait(), Ok(None)));
        let heard = match &mut self.life {
            Life::Off => Ok(Some(Heard::Nothing)),
            Life::Away { until } if now < *until => Ok(Some(Heard::Nothing)),
            Life::Away { .. } => Ok(Some(Heard::Due)),
            Life::Watching { pipe, .. } => listen(pipe),
        };
        match heard {
            Ok(Some(heard)) => return heard,
            Ok(None) => tracing::warn!("the process that watches for changes has ended: it is started again"),
            Err(error) => tracing::error!("cannot read from the process that watches for changes: {error}"),
        }
        // What it would have said next does not get lost: whoever replaces it looks anew.
        self.end();
        self.life = Life::Away { until: now + PAUSE };
        Heard::Nothing
    }

    /// Ends the process. It keeps nothing that would need an orderly end.
    pub(super) fn end(&mut self) {
        if let Life::Watching { mut process, .. } = std::mem::replace(&mut self.life, Life::Off) {
            // It can only fail if the process has ended already, which is what is wanted.
            let _ended = process.kill();
            self.killed.push(process);
        }
    }
}

impl Life {
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Life::Watching { pipe, .. } => Some(pipe.as_fd()),
            Life::Off | Life::Away { .. } => None,
        }
    }
}

fn start(command: Command) -> io::Result<Life> {
    let mut process = spawn::start_lookout(command)?;
    let pipe = process.stdout.take().ok_or_else(|| io::Error::other("it has no standard output"))?;
    let life = Life::Watching { process, pipe };
    spawn::set_non_blocking(life.descriptor())?;
    Ok(life)
}

/// `None`: its end of the pipe is closed.
fn listen(pipe: &mut ChildStdout) -> io::Result<Option<Heard>> {
    let mut heard = Heard::Nothing;
    let mut chunk = [0; 512];
    // What it says at once is one request. One that never stops is heard again in the next turn.
    for _ in 0..8 {
        match pipe.read(&mut chunk) {
            // Its last words first: its end is still there at the next look.
            Ok(0) if heard == Heard::Request => break,
            Ok(0) => return Ok(None),
            Ok(_) => heard = Heard::Request,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Some(heard))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn hear(lookout: &mut Lookout) -> Heard {
        let limit = Instant::now() + Duration::from_secs(20);
        while Instant::now() < limit {
            match lookout.hear(Instant::now()) {
                Heard::Nothing => std::thread::sleep(Duration::from_millis(2)),
                heard => return heard,
            }
        }
        panic!("nothing is heard of the lookout");
    }

    #[test]
    fn a_line_is_a_request_and_the_process_goes_on() {
        let mut lookout = Lookout::none();
        lookout.replace(Some(shell("echo; read never; sleep 60")), Instant::now());
        assert_eq!(hear(&mut lookout), Heard::Request);
        assert_eq!(lookout.hear(Instant::now()), Heard::Nothing);
        lookout.end();
        assert!(lookout.descriptor().is_none());
    }

    #[test]
    fn one_that_ends_is_due_after_a_pause() {
        let mut lookout = Lookout::none();
        lookout.replace(Some(shell("exit 3")), Instant::now());
        assert_eq!(hear(&mut lookout), Heard::Due);
        lookout.replace(Some(shell("echo")), Instant::now());
        assert_eq!(hear(&mut lookout), Heard::Request);
    }

    #[test]
    fn one_that_cannot_be_started_is_tried_again_later() {
        let mut lookout = Lookout::none();
        let now = Instant::now();
        lookout.replace(Some(Command::new("/nonexistent/lookout")), now);
        assert_eq!((lookout.hear(now), lookout.due_at()), (Heard::Nothing, Some(now + PAUSE)));
        assert_eq!(lookout.hear(now + PAUSE), Heard::Due);
    }

    #[test]
    fn where_there_is_none_nothing_is_due() {
        let mut lookout = Lookout::none();
        lookout.replace(None, Instant::now());
        assert_eq!((lookout.hear(Instant::now()), lookout.due_at()), (Heard::Nothing, None));
        assert!(lookout.descriptor().is_none());
    }
}
