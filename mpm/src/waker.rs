//! Waking a thread that waits, from any thread: [`Bell`] for threads that wait in `poll(2)`, [`Inbox`] for threads
//! that wait in a [`Poller`](crate::poller::Poller).
//!
//! Both coalesce: however often something is woken before it is looked at, it costs one message and at most one
//! system call. A wake that comes while the thread is awake costs no system call at all.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::poller::{Doorbell, Token};

/// A descriptor that becomes readable when somebody rings.
#[derive(Debug)]
pub(crate) struct Bell {
    event: EventFd,
    rung: AtomicBool,
}

impl Bell {
    pub(crate) fn new() -> io::Result<Self> {
        let event = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
        Ok(Self { event, rung: AtomicBool::new(false) })
    }

    pub(crate) fn ring(&self) {
        if self.rung.swap(true, Ordering::AcqRel) {
            return;
        }
        // A full counter (EAGAIN) is readable already.
        if let Err(error) = self.event.write(1)
            && error != Errno::EAGAIN
        {
            tracing::error!("cannot wake a thread: {error}");
        }
    }

    /// Whether it was rung since the last [`silence`](Self::silence).
    #[cfg(test)]
    pub(crate) fn is_rung(&self) -> bool {
        self.rung.load(Ordering::Acquire)
    }

    /// Rings as one does who was interrupted between the flag and the counter, while the bell was silenced.
    #[cfg(test)]
    pub(crate) fn ring_late(&self) {
        self.event.write(1).unwrap();
    }

    /// Makes it ready to be rung again. What the ringing was about must be looked at *after* this. To be called
    /// whenever the descriptor is readable, whatever the flag says: the counter of a ring may come late.
    pub(crate) fn silence(&self) {
        // First the counter, then the flag: a ring in between writes nothing, and is seen by the caller's look. The
        // other way round its write would be swallowed here, and the flag would stay up for ever.
        match self.event.read() {
            Ok(_) | Err(Errno::EAGAIN) => {}
            Err(error) => tracing::error!("cannot read an eventfd: {error}"),
        }
        self.rung.swap(false, Ordering::AcqRel);
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ring();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ring();
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

/// What an event thread is to look at: connections that were woken, its own work, and the doorbell that ends its sleep.
pub(crate) struct Inbox {
    woken: Mutex<Vec<Arc<Ring>>>,
    /// The thread sleeps or is about to. Raised by the thread, taken by who rings.
    asleep: AtomicBool,
    doorbell: Doorbell,
}

/// The waker of one connection, or of the thread's own work.
struct Ring {
    inbox: Arc<Inbox>,
    wakes: Wakes,
    /// In the inbox already.
    queued: AtomicBool,
}

/// Who is woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wakes {
    Connection(Token),
    /// The work of the thread that belongs to no connection.
    Thread,
}

impl Inbox {
    pub(crate) fn new(doorbell: Doorbell) -> Arc<Self> {
        Arc::new(Self { woken: Mutex::default(), asleep: AtomicBool::new(false), doorbell })
    }

    /// A waker that puts `wakes` into this inbox.
    pub(crate) fn waker(self: &Arc<Self>, wakes: Wakes) -> Waker {
        Arc::new(Ring { inbox: Arc::clone(self), wakes, queued: AtomicBool::new(false) }).into()
    }

    /// Makes the thread look up, whatever it is doing: something other than a connection has changed.
    pub(crate) fn ring(&self) {
        self.asleep.store(false, Ordering::SeqCst);
        self.doorbell.ring();
    }

    /// Whether the thread may sleep. From here on until [`wake_up`](Self::wake_up) a wake rings the doorbell.
    pub(crate) fn fall_asleep(&self) -> bool {
        self.asleep.store(true, Ordering::SeqCst);
        // Who pushed before we looked is seen here; who pushes after it sees the flag, by the order of the lock.
        let empty = self.locked().is_empty();
        if !empty {
            self.wake_up();
        }
        empty
    }

    pub(crate) fn wake_up(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }

    /// Moves those that were woken to `into`, which is emptied first.
    pub(crate) fn take(&self, into: &mut Vec<Wakes>) {
        into.clear();
        for ring in self.locked().drain(..) {
            // Lowered before the connection is advanced: a wake during that counts again. An exchange, because it
            // must see what those did who found the flag up and left: a store would not.
            ring.queued.swap(false, Ordering::AcqRel);
            into.push(ring.wakes);
        }
    }

    fn locked(&self) -> MutexGuard<'_, Vec<Arc<Ring>>> {
        // Nothing that can panic is done under the lock, apart from running out of memory.
        self.woken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Ring {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Never a mere look at the flag: what the wake is about could become visible after it, to a thread that has
        // lowered the flag in between and found nothing.
        if self.queued.swap(true, Ordering::AcqRel) {
            return;
        }
        self.inbox.locked().push(Arc::clone(self));
        if self.inbox.asleep.swap(false, Ordering::SeqCst) {
            self.inbox.doorbell.ring();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::poller::Poller;
    use nix::poll::{PollFd, PollFlags, poll};
    use std::time::Duration;

    const WAKES: Wakes = Wakes::Connection(Token { index: 1, generation: 9 });

    fn is_readable(bell: &Bell) -> bool {
        poll(&mut [PollFd::new(bell.as_fd(), PollFlags::POLLIN)], 0u8).unwrap() == 1
    }

    #[test]
    fn a_bell_rung_twice_is_silenced_once_and_rings_again() {
        let bell = Bell::new().unwrap();
        bell.ring();
        bell.ring();
        assert!(is_readable(&bell) && bell.is_rung());
        bell.silence();
        assert!(!is_readable(&bell) && !bell.is_rung());
        bell.ring();
        assert!(is_readable(&bell));
    }

    #[test]
    fn wakes_of_one_connection_are_coalesced() {
        let poller = Poller::new().unwrap();
        let inbox = Inbox::new(poller.doorbell().unwrap());
        let waker = inbox.waker(WAKES);
        waker.wake_by_ref();
        waker.wake_by_ref();
        let mut woken = Vec::new();
        inbox.take(&mut woken);
        assert_eq!(woken, [WAKES]);
        inbox.take(&mut woken);
        assert_eq!(woken, []);
        waker.wake();
        inbox.take(&mut woken);
        assert_eq!(woken, [WAKES]);
    }

    #[test]
    fn a_thread_with_mail_does_not_fall_asleep() {
        let mut poller = Poller::new().unwrap();
        let inbox = Inbox::new(poller.doorbell().unwrap());
        inbox.waker(WAKES).wake();
        assert!(!inbox.fall_asleep());
        let mut events = Vec::new();
        poller.wait(Some(Duration::ZERO), &mut events).unwrap();
        assert_eq!(events, [], "no bell for a thread that is awake");
    }

    /// The race that matters: a wake between the last look into the inbox and the sleep.
    #[test]
    fn no_wake_is_lost_between_looking_and_sleeping() {
        const TIMES: usize = 2000;
        let mut poller = Poller::new().unwrap();
        let inbox = Inbox::new(poller.doorbell().unwrap());
        let (heard, next) = std::sync::mpsc::sync_channel::<()>(0);
        let waker = inbox.waker(WAKES);
        let other = std::thread::spawn(move || {
            for _ in 0..TIMES {
                waker.wake_by_ref();
                next.recv().unwrap();
            }
        });
        let (mut events, mut woken) = (Vec::new(), Vec::new());
        for _ in 0..TIMES {
            loop {
                inbox.take(&mut woken);
                if !woken.is_empty() {
                    break;
                }
                if inbox.fall_asleep() {
                    poller.wait(Some(Duration::from_secs(10)), &mut events).unwrap();
                    assert!(!events.is_empty(), "slept through a wake");
                    inbox.wake_up();
                }
            }
            heard.send(()).unwrap();
        }
        other.join().unwrap();
    }
}
