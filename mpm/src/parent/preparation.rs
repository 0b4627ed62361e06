//! The preparation process: started, listened to, waited for; never blocks. What it writes is not looked at here.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{self, ChildStdout, Command, ExitStatus};

use super::spawn;
use crate::error::ServeError;

/// More than this is not a configuration.
const OUTPUT_BYTES_MAX: usize = 64 << 20;

/// A preparation that runs.
#[derive(Debug)]
pub(crate) struct Preparation {
    process: process::Child,
    /// `None` after its end.
    pipe: Option<ChildStdout>,
    output: Vec<u8>,
}

/// How far a preparation has come.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    Running,
    /// It has accepted the configuration; this is what it wrote.
    Accepted(Vec<u8>),
    /// It has not, and has said why on its standard error.
    Refused(ExitStatus),
}

impl Preparation {
    /// # Errors
    /// [`ServeError::CannotRun`].
    pub(super) fn start(command: Command) -> Result<Self, ServeError> {
        let what = command.get_program().to_string_lossy().into_owned();
        Self::try_start(command).map_err(|error| ServeError::CannotRun { what, error })
    }

    fn try_start(command: Command) -> io::Result<Self> {
        let mut process = spawn::start_preparation(command)?;
        let pipe = process.stdout.take();
        let mut preparation = Self { process, pipe, output: Vec::new() };
        if let Err(error) = spawn::set_non_blocking(preparation.descriptor()) {
            preparation.cancel();
            return Err(error);
        }
        Ok(preparation)
    }

    /// What to wait for, apart from the process's end; `None` after the end of its output.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    /// Reads what there is, and looks whether the process has ended. It is its exit that counts, not the end of its
    /// output: something that it has started may still hold the pipe.
    ///
    /// # Errors
    /// The output cannot be read, or there is no end of it. The process is ended, then.
    pub(super) fn advance(&mut self) -> io::Result<Progress> {
        // Before reading: what it wrote before it ended is in the pipe now.
        let ended = self.process.try_wait()?;
        if let Err(error) = self.read() {
            self.cancel();
            return Err(error);
        }
        Ok(match ended {
            None => Progress::Running,
            Some(status) if status.success() => Progress::Accepted(std::mem::take(&mut self.output)),
            Some(status) => Progress::Refused(status),
        })
    }

    fn read(&mut self) -> io::Result<()> {
        let Some(pipe) = &mut self.pipe else { return Ok(()) };
        let mut chunk = [0; 16 << 10];
        loop {
            match pipe.read(&mut chunk) {
                Ok(0) => break,
                Ok(length) => self.output.extend_from_slice(&chunk[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if self.output.len() > OUTPUT_BYTES_MAX {
                return Err(io::Error::other("the preparation writes without an end"));
            }
        }
        self.pipe = None;
        Ok(())
    }

    /// Ends the process. It keeps nothing that would need an orderly end: whatever it makes appears by a rename.
    pub(super) fn cancel(&mut self) {
        // It can only fail if the process has ended already, which is what is wanted.
        let _ended = self.process.kill();
        let _waited = self.process.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn shell(script: &str) -> Preparation {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Preparation::start(command).unwrap()
    }

    fn finish(mut preparation: Preparation) -> io::Result<Progress> {
        let limit = Instant::now() + Duration::from_secs(20);
        while Instant::now() < limit {
            match preparation.advance()? {
                Progress::Running => std::thread::sleep(Duration::from_millis(2)),
                done => return Ok(done),
            }
        }
        panic!("the preparation does not end");
    }

    #[test]
    fn all_that_it_writes_is_handed_on() {
        let Progress::Accepted(output) = finish(shell("seq 1 50000")).unwrap() else { panic!("refused") };
        let expected: String = (1..=50_000).map(|number| format!("{number}\n")).collect();
        assert_eq!(output, expected.as_bytes());
    }

    #[test]
    fn an_exit_status_other_than_zero_refuses() {
        assert!(
            matches!(finish(shell("echo half; exit 3")).unwrap(), Progress::Refused(status) if status.code() == Some(3))
        );
    }

    #[test]
    fn somebody_else_who_holds_the_pipe_is_not_waited_for() {
        let progress = finish(shell("echo all; sleep 5 & exit 0")).unwrap();
        assert_eq!(progress, Progress::Accepted(b"all\n".to_vec()));
    }

    #[test]
    fn output_without_an_end_is_cut_off() {
        assert!(finish(shell("exec cat /dev/zero")).unwrap_err().to_string().contains("without an end"));
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = Preparation::start(Command::new("/nonexistent/prepare")).unwrap_err().to_string();
        assert!(error.starts_with("cannot start /nonexistent/prepare: "), "{error}");
    }

    #[test]
    fn it_does_not_inherit_blocked_signals() {
        let mut blocked = nix::sys::signal::SigSet::empty();
        blocked.add(nix::sys::signal::Signal::SIGTERM);
        blocked.thread_block().unwrap();
        let progress = finish(shell("grep SigBlk /proc/self/status")).unwrap();
        assert_eq!(progress, Progress::Accepted(b"SigBlk:\t0000000000000000\n".to_vec()));
    }
}
