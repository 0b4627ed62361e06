//! This program once more, for one piece of work that may go wrong in any way: in a process of its own, which is waited for so
//! long and no longer. What the work is, is elsewhere.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

use super::Refusal;
use super::refusal::PASSING;

/// Bytes of what a process has to say that are listened to.
const SAID_MAX: u64 = 64 << 10;

/// How an errand failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// There is no such process.
    NotStarted(io::Error),
    /// It has found something wrong, and said what.
    Said(String),
    /// Something that may pass has hindered it, and it said what.
    Hindered(String),
    /// It ended without a word.
    Died(ExitStatus),
    /// It was ended when it had not done in so long.
    TooLong(Duration),
}

impl Failure {
    /// Why what it was about is refused.
    pub(super) fn refusal(self, words: impl FnOnce(Failure) -> String) -> Refusal {
        if self.is_lasting() { Refusal::lasting(words(self)) } else { Refusal::for_now(words(self)) }
    }

    /// Whether it would be the same again. Who is killed had no part in it; a process that dies by itself, or never ends, does so
    /// because of what it was given, and is not started for that again and again.
    fn is_lasting(&self) -> bool {
        const FROM_OUTSIDE: [Signal; 2] = [Signal::SIGKILL, Signal::SIGTERM];
        match self {
            Failure::NotStarted(_) | Failure::Hindered(_) => false,
            Failure::Died(status) => FROM_OUTSIDE.iter().all(|signal| status.signal() != Some(*signal as i32)),
            Failure::Said(_) | Failure::TooLong(_) => true,
        }
    }
}

/// To be called first in the process that does the work: who waits for it may be given up, and then nobody needs it.
pub(super) fn end_with_parent() {
    let _best_effort = set_pdeathsig(Signal::SIGKILL);
}

/// Starts this program with `arguments` and `input` at its standard input, and waits until it has ended. Answers with what it
/// says on its standard output; or that is what is wrong, and it ends with another status than 0.
pub(super) fn run(
    arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
    input: &[u8],
    limit: Duration,
) -> Result<String, Failure> {
    // The program that runs, even if another has taken its place on the disk by now.
    let mut command = Command::new("/proc/self/exe");
    let input = in_memory(input).map_err(Failure::NotStarted)?;
    command.args(arguments).stdin(input).stdout(Stdio::piped()).stderr(Stdio::inherit());
    wait_for(command, limit)
}

/// A pipe would have to be written while the process reads.
fn in_memory(content: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create(c"input", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(content)?;
    file.rewind()?;
    Ok(file)
}

fn wait_for(mut command: Command, limit: Duration) -> Result<String, Failure> {
    let mut process = command.spawn().map_err(Failure::NotStarted)?;
    let output = process.stdout.take().expect("it was piped");
    let (sender, said) = sync_channel(1);
    // It is over when the process has ended, or been ended.
    thread::spawn(move || {
        let mut text = Vec::new();
        let read = output.take(SAID_MAX).read_to_end(&mut text);
        let _nobody_listens_any_more = sender.send(read.map(|_| text));
    });
    let said = said.recv_timeout(limit);
    if said.is_err() {
        // It can only fail if the process has ended by now.
        let _ended = process.kill();
    }
    let status = process.wait().map_err(Failure::NotStarted)?;
    let Ok(said) = said else { return Err(Failure::TooLong(limit)) };
    let said = said.map(|text| String::from_utf8_lossy(&text).trim_end().to_owned());
    match (said, status.code()) {
        (Ok(text), Some(0)) => Ok(text),
        // It has said why, in one text.
        (Ok(text), Some(code)) if !text.is_empty() => {
            Err(if code == i32::from(PASSING) { Failure::Hindered(text) } else { Failure::Said(text) })
        }
        _ => Err(Failure::Died(status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// For what must not be decided by how fast the machine is.
    const LONG: Duration = Duration::from_secs(60);

    fn shell(script: &str, limit: Duration) -> Result<String, Failure> {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(in_memory(b"input").unwrap()).stdout(Stdio::piped());
        wait_for(command, limit)
    }

    #[test]
    fn a_process_that_succeeds_may_say_something() {
        assert_eq!(shell("echo whatever", LONG).unwrap(), "whatever");
        assert!(shell("test \"$(cat)\" = input", LONG).is_ok());
    }

    #[test]
    fn what_is_wrong_is_what_it_says() {
        assert!(matches!(shell("echo it is bad; exit 1", LONG), Err(Failure::Said(text)) if text == "it is bad"));
    }

    #[test]
    fn what_may_pass_is_told_from_what_would_be_the_same_again() {
        for (script, is_lasting) in [
            ("echo it is bad; exit 1", true),
            ("echo the disk is full; exit 75", false),
            ("kill -9 $$", false),
            ("kill -TERM $$", false),
            ("kill -ABRT $$", true),
            ("exit 3", true),
        ] {
            assert_eq!(shell(script, LONG).unwrap_err().is_lasting(), is_lasting, "{script}");
        }
        assert!(!Failure::NotStarted(io::ErrorKind::WouldBlock.into()).is_lasting());
        assert!(Failure::TooLong(LONG).is_lasting());
    }

    #[test]
    fn one_that_dies_has_said_nothing_that_counts() {
        assert!(matches!(shell("exit 3", LONG), Err(Failure::Died(status)) if status.code() == Some(3)));
        let killed = shell("echo half; kill -9 $$", LONG);
        assert!(matches!(killed, Err(Failure::Died(status)) if status.signal() == Some(9)), "{killed:?}");
    }

    #[test]
    fn one_that_hangs_is_ended() {
        let limit = Duration::from_millis(20);
        assert!(matches!(shell("exec sleep 1000", limit), Err(Failure::TooLong(told)) if told == limit));
    }

    #[test]
    fn one_that_never_stops_talking_is_not_listened_to() {
        let killed = shell("exec cat /dev/zero", LONG);
        assert!(
            matches!(killed, Err(Failure::Died(status)) if status.signal() == Some(Signal::SIGPIPE as i32)),
            "{killed:?}"
        );
    }
}
