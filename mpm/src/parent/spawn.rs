//! Making processes: the only file that forks. Nothing else happens here.

use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::process::CommandExt;
use std::process::{self, Command, Stdio};
use std::rc::Rc;
use std::time::Instant;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::prctl::{set_name, set_pdeathsig};
use nix::sys::signal::Signal;
use nix::unistd::{ForkResult, Pid, fork};

use super::children::{Child, Link, Origin};
use super::phase::Phase;
use crate::control::{self, ControlChild};
use crate::lookout::{self, LookoutLine, ParentLine};
use crate::signal;

/// The two sides of a fork.
pub(crate) enum Forked {
    Parent(Child),
    /// This process is the child now.
    Child(ControlChild),
}

/// Forks a child of a pool, to serve this generation.
///
/// In the child the signals are a child's already, and the parent's state is there as a copy: the caller drops it,
/// and with it every descriptor that is none of a child's business.
///
/// # Errors
/// Descriptors, processes or memory are out. Only the parent returns these.
pub(super) fn fork_child(origin: &Rc<Origin>, generation: u32, now: Instant) -> io::Result<Forked> {
    let (parent_end, child_end) = control::pair()?;
    match fork_process()? {
        ForkResult::Parent { child } => {
            drop(child_end);
            Ok(Forked::Parent(Child {
                pid: child,
                origin: Rc::clone(origin),
                phase: Phase::Starting { since: now },
                link: Link::Open(parent_end),
                born: generation,
                held: vec![generation],
                latest: generation,
            }))
        }
        ForkResult::Child => {
            drop(parent_end);
            Ok(Forked::Child(child_end))
        }
    }
}

/// The two sides of the fork of a lookout.
pub(crate) enum ForkedLookout {
    Parent(Pid, ParentLine),
    /// This process is the lookout now.
    Lookout(LookoutLine),
}

/// Forks a lookout, as a child is forked. It has a name of its own among the processes, and the kernel ends it with its parent,
/// unless the application sees to that itself.
///
/// # Errors
/// As [`fork_child`].
pub(super) fn fork_lookout() -> io::Result<ForkedLookout> {
    let (parent_end, lookout_end) = lookout::pair()?;
    match fork_process()? {
        ForkResult::Parent { child } => {
            drop(lookout_end);
            Ok(ForkedLookout::Parent(child, parent_end))
        }
        ForkResult::Child => {
            drop(parent_end);
            if let Err(error) = set_name(c"lookout").and_then(|()| set_pdeathsig(Signal::SIGKILL)) {
                tracing::error!("cannot set up the lookout: {error}");
            }
            Ok(ForkedLookout::Lookout(lookout_end))
        }
    }
}

fn fork_process() -> io::Result<ForkResult> {
    // SAFETY: a forked process may do anything only if no other thread was running, which could have held a lock.
    // The parent never starts one, and `serve` requires that none runs when it is called.
    let forked = unsafe { fork() }?;
    if let ForkResult::Child = forked
        && let Err(error) = signal::reset_in_child()
    {
        // It would be a child that Ctrl-C kills: bad manners, but it serves.
        tracing::error!("cannot set the signals of a child: {error}");
    }
    Ok(forked)
}

/// Starts a preparation: standard output into a pipe, nothing on standard input.
///
/// # Errors
/// The program is not to be found or executed, or descriptors, processes or memory are out.
pub(super) fn start_preparation(mut command: Command) -> io::Result<process::Child> {
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    // SAFETY: the closure makes one async-signal-safe system call and allocates nothing.
    unsafe {
        // The parent's mask would be inherited, and the preparation could not be ended by TERM.
        command.pre_exec(signal::unblock_all);
    }
    command.spawn()
}

/// What is read from a process must not hold the parent up.
///
/// # Errors
/// What `fcntl(2)` says.
pub(super) fn set_non_blocking(descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
    if let Some(descriptor) = descriptor {
        fcntl(descriptor, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    }
    Ok(())
}
