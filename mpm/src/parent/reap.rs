//! Waiting for children that have died, and saying how they did. What follows from a death is decided elsewhere.

use std::fmt;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::children::Children;
use crate::child::ChildExit;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Exit(i32),
    Signal {
        signal: Signal,
        core_dumped: bool,
    },
    /// Somebody else has waited for it, or its signal has no name.
    Unknown,
}

impl End {
    /// Whether the child ended by its own decision, all being well.
    pub(super) fn is_orderly(self) -> bool {
        self == End::Exit(0)
    }

    /// Whether the child found too few descriptors or too little memory to go on.
    pub(super) fn is_sick(self) -> bool {
        self == End::Exit(ChildExit::Sick.code().into())
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Exit(0) => f.write_str("ended"),
            End::Exit(_) if self.is_sick() => f.write_str("gave up for want of descriptors or memory"),
            End::Exit(status) => write!(f, "ended with exit status {status}"),
            End::Signal { signal, core_dumped: false } => write!(f, "was killed by {signal}"),
            End::Signal { signal, core_dumped: true } => write!(f, "was killed by {signal}, core dumped"),
            End::Unknown => f.write_str("has vanished"),
        }
    }
}

/// The slots of children that have died, and how. Each of our own children is asked about, and nobody else: other
/// processes that the application may have started are its own to wait for.
pub(super) fn dead(children: &Children) -> Vec<(usize, End)> {
    children.iter().filter_map(|(slot, child)| Some((slot, end_of(child.pid)?))).collect()
}

/// `None` while the process lives.
pub(super) fn end_of(pid: Pid) -> Option<End> {
    loop {
        match waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(_, status)) => return Some(End::Exit(status)),
            Ok(WaitStatus::Signaled(_, signal, core_dumped)) => return Some(End::Signal { signal, core_dumped }),
            Ok(_) => return None,
            Err(Errno::EINTR) => {}
            Err(_) => return Some(End::Unknown),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[expect(clippy::zombie_processes, reason = "it is `end_of` that waits for it")]
    fn end_of_shell(script: &str) -> End {
        let process = Command::new("sh").args(["-c", script]).spawn().unwrap();
        let pid = Pid::from_raw(process.id().cast_signed());
        // Waits without reaping, so that the death is there to be found.
        let dead = nix::sys::wait::waitid(nix::sys::wait::Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
        dead.unwrap();
        end_of(pid).expect("the process has died")
    }

    #[test]
    fn an_exit_and_a_signal_are_told_apart() {
        assert_eq!(end_of_shell("exit 0"), End::Exit(0));
        assert_eq!(end_of_shell("exit 7").to_string(), "gave up for want of descriptors or memory");
        assert_eq!(end_of_shell("exit 3").to_string(), "ended with exit status 3");
        let killed = end_of_shell("kill -KILL $$");
        assert_eq!(killed, End::Signal { signal: Signal::SIGKILL, core_dumped: false });
        assert_eq!(killed.to_string(), "was killed by SIGKILL");
        assert!(!killed.is_orderly());
    }

    #[test]
    fn a_process_that_lives_has_no_end() {
        let mut process = Command::new("sleep").arg("60").spawn().unwrap();
        assert_eq!(end_of(Pid::from_raw(process.id().cast_signed())), None);
        process.kill().unwrap();
        process.wait().unwrap();
    }
}
