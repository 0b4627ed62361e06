//! Where an idle process waits for a connection beside others that wait for the same one: the kernel wakes one of them
//! (`EPOLLEXCLUSIVE`) and not all. Only waits; what is taken, and by whom, is decided elsewhere.
//!
//! The one that was woken must accept, because nobody else will be woken for that connection; one that is told to take nothing
//! new at that moment still takes this one. If it dies before it accepts, whoever takes its place asks the listeners before it
//! waits, and the parent has all others ask as well ([`Command::Look`](crate::control::Command::Look)). A process that is busy
//! is passed over, because it does not wait here.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// What is no listener.
const OTHER: u64 = u64::MAX;
/// Events taken from the kernel by one call; more are told by the next.
const EVENTS_MAX: usize = 16;

/// The listeners of one process, and what else may end its wait. To be dropped when the listeners are closed: other
/// processes have them open too, so the kernel would go on choosing this one.
pub(super) struct Doorstep(Epoll);

impl Doorstep {
    /// `others` end the wait too, and are not shared with other processes.
    pub(super) fn new<'a>(
        listeners: impl Iterator<Item = BorrowedFd<'a>>,
        others: impl Iterator<Item = BorrowedFd<'a>>,
    ) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        for (index, listener) in listeners.enumerate() {
            let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLEXCLUSIVE;
            epoll.add(listener.as_fd(), EpollEvent::new(flags, index as u64))?;
        }
        for other in others {
            epoll.add(other, EpollEvent::new(EpollFlags::EPOLLIN, OTHER))?;
        }
        Ok(Self(epoll))
    }

    /// Waits for ever, and answers with the indices of the listeners that may have connections; `None`: something else has
    /// ended the wait as well, so that any may.
    ///
    /// # Errors
    /// What `epoll_wait(2)` says, interruption aside.
    pub(super) fn wait(&self) -> io::Result<Option<Vec<usize>>> {
        let mut events = [EpollEvent::empty(); EVENTS_MAX];
        let count = match self.0.wait(&mut events, EpollTimeout::NONE) {
            Err(Errno::EINTR) => 0,
            result => result?,
        };
        let ready = events.into_iter().take(count).map(|event| event.data());
        Ok(ready.map(|data| (data != OTHER).then(|| usize::try_from(data).ok()).flatten()).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use super::*;

    fn sleeps(thread: nix::unistd::Pid) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")).unwrap();
        stat.rsplit_once(") ").is_some_and(|(_, after_name)| after_name.starts_with('S'))
    }

    #[test]
    fn one_connection_wakes_one_of_many() {
        let address = SocketAddr::from_abstract_name(format!("guesthouse-doorstep-{}", std::process::id())).unwrap();
        let listener = UnixListener::bind_addr(&address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let (says, heard) = mpsc::channel();
        let (says_who, who) = mpsc::channel();
        let mut enders = Vec::new();
        let waiters: Vec<_> = (0..4)
            .map(|_| {
                let (ender, end) = UnixStream::pair().unwrap();
                enders.push(ender);
                let doorstep = Doorstep::new([listener.as_fd()].into_iter(), [end.as_fd()].into_iter()).unwrap();
                let (says, says_who) = (says.clone(), says_who.clone());
                thread::spawn(move || {
                    says_who.send(nix::unistd::gettid()).unwrap();
                    let woken = doorstep.wait().unwrap().unwrap_or_default();
                    drop(end);
                    says.send(woken).unwrap();
                })
            })
            .collect();
        // All of them must be waiting, or the late ones would find the connection by themselves.
        let threads: Vec<_> = who.iter().take(4).collect();
        while !threads.iter().all(|thread| sleeps(*thread)) {
            thread::yield_now();
        }
        let _client = UnixStream::connect_addr(&address).unwrap();
        assert_eq!(heard.recv_timeout(Duration::from_secs(20)).unwrap(), [0]);
        assert!(heard.recv_timeout(Duration::from_millis(100)).is_err(), "another one was woken");
        for ender in &mut enders {
            let _ = ender.write_all(b"x");
        }
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
    }
}
