//! Processes that end when the one that has started them does, however that happens. Starts and ends none itself.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getpid, getppid};

/// Has what `command` starts end in an orderly way (`SIGTERM`) when this process does. In truth it ends with the *thread* that
/// starts it: that has to live for as long as it is needed.
pub(crate) fn end_with_this_process(command: &mut Command) {
    let own = getpid();
    // SAFETY: the closure makes two async-signal-safe system calls and allocates nothing.
    unsafe {
        command.pre_exec(move || end_with(own));
    }
}

/// In the process that was started.
fn end_with(parent: Pid) -> io::Result<()> {
    set_pdeathsig(Signal::SIGTERM)?;
    // It may have died before that.
    if getppid() == parent { Ok(()) } else { Err(io::ErrorKind::NotConnected.into()) }
}
