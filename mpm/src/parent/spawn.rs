//! Making processes: the only file that forks. Nothing else happens here.

use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::process::CommandExt;
use std::process::{self, Command, Stdio};
use std::rc::Rc;
use std::time::Instant;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{ForkResult, fork};

use super::children::{Child, Link, Origin};
use super::phase::Phase;
use crate::control::{self, ControlChild};
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
    // SAFETY: a forked process may do anything only if no other thread was running, which could have held a lock.
    // The parent never starts one, and `serve` requires that none runs when it is called.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => {
            drop(child_end);
            Ok(Forked::Parent(Child {
                pid: child,
                origin: Rc::clone(origin),
                phase: Phase::Starting { since: now },
                link: Link::Open(parent_end),
                oldest: generation,
                latest: generation,
                superseded_by: None,
            }))
        }
        ForkResult::Child => {
            drop(parent_end);
            if let Err(error) = signal::reset_in_child() {
                // It would be a child that Ctrl-C kills: bad manners, but it serves.
                tracing::error!("cannot set the signals of a child: {error}");
            }
            Ok(Forked::Child(child_end))
        }
    }
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

/// Starts a lookout: as a preparation, but it may never end by itself, so it ends with its parent.
///
/// # Errors
/// As [`start_preparation`].
pub(super) fn start_lookout(mut command: Command) -> io::Result<process::Child> {
    // SAFETY: the closure makes one async-signal-safe system call and allocates nothing.
    unsafe {
        command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGKILL)?));
    }
    start_preparation(command)
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
