//! Signals: which ones the parent takes, what they mean, and what a child does with them instead.
//!
//! The parent blocks them and reads them from a descriptor, so that no handler ever runs; what to do about an
//! order is decided in the parent's loop, not here.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::signal::{SigHandler, SigSet, Signal, signal};
use nix::sys::signalfd::{SfdFlags, SignalFd, siginfo};

/// What a signal asks of the parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// CHLD: a child has died.
    ChildDied,
    /// HUP: read the configuration again and replace all children at once.
    Restart,
    /// USR1: read the configuration again; children finish what is open.
    Reload,
    /// TERM, INT: end now.
    Stop,
    /// WINCH: take nothing new, finish what is open, end.
    StopGracefully,
}

const TAKEN: [Signal; 6] =
    [Signal::SIGCHLD, Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGTERM, Signal::SIGINT, Signal::SIGWINCH];

/// What the parent acts on and what a child therefore must not die of: a terminal's Ctrl-C and a `kill` of the
/// whole process group reach children, too, but it is the parent who tells them what to do.
const IGNORED_IN_CHILD: [Signal; 5] =
    [Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGWINCH, Signal::SIGPIPE];

/// The parent's signals. They stay blocked when this is dropped: a child unblocks them by [`reset_in_child`].
#[derive(Debug)]
pub(crate) struct Signals {
    descriptor: SignalFd,
}

impl Signals {
    /// Blocks the parent's signals in this thread (the only one) and opens the descriptor that they are read from.
    /// Whoever started us may ignore CHLD, and a process that does is not told of its children's deaths.
    ///
    /// # Errors
    /// What `signalfd(2)` says.
    pub(crate) fn take() -> io::Result<Self> {
        let taken: SigSet = TAKEN.into_iter().collect();
        taken.thread_block()?;
        // SAFETY: no handler is installed, so no code runs that could be unfit for a signal.
        unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl)? };
        let descriptor = SignalFd::with_flags(&taken, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(Self { descriptor })
    }

    /// The next order that has arrived; `None` if there is none. The kernel merges equal signals.
    ///
    /// # Errors
    /// What `read(2)` says.
    pub(crate) fn next(&self) -> io::Result<Option<Order>> {
        loop {
            match self.descriptor.read_signal() {
                Ok(Some(info)) => {
                    if let Some(order) = meaning(&info) {
                        return Ok(Some(order));
                    }
                }
                Ok(None) => return Ok(None),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

fn meaning(info: &siginfo) -> Option<Order> {
    // Positive codes are the kernel's own signals. A terminal that is resized says so with WINCH, and that must not
    // stop a server that runs in it (Apache with -DFOREGROUND does stop).
    let by_kernel = info.ssi_code > 0;
    match Signal::try_from(info.ssi_signo.cast_signed()).ok()? {
        Signal::SIGCHLD => Some(Order::ChildDied),
        Signal::SIGHUP => Some(Order::Restart),
        Signal::SIGUSR1 => Some(Order::Reload),
        Signal::SIGTERM | Signal::SIGINT => Some(Order::Stop),
        Signal::SIGWINCH if !by_kernel => Some(Order::StopGracefully),
        _ => None,
    }
}

/// Gives a freshly forked child its own manners: TERM ends it at once, which is how the parent ends it hard;
/// everything else of the parent's is ignored; nothing is blocked.
///
/// # Errors
/// None that `sigaction(2)` has for signals that exist.
pub(crate) fn reset_in_child() -> io::Result<()> {
    for ignored in IGNORED_IN_CHILD {
        // SAFETY: no handler is installed, so no code runs that could be unfit for a signal.
        unsafe { signal(ignored, SigHandler::SigIgn)? };
    }
    for default in [Signal::SIGTERM, Signal::SIGCHLD] {
        // SAFETY: as above.
        unsafe { signal(default, SigHandler::SigDfl)? };
    }
    unblock_all()
}

/// Blocks no signal in this thread. Async-signal-safe: one system call and no memory.
///
/// # Errors
/// None that `pthread_sigmask(3)` has for a valid set.
pub(crate) fn unblock_all() -> io::Result<()> {
    Ok(SigSet::empty().thread_set_mask()?)
}
