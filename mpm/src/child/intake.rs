//! Taking connections from the listeners: which one next, when not at all, and for how long.
//! Who serves what was taken is the business of the three MPMs; nothing here waits.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::crew::Orders;
use crate::listener::{Listener, Taken};

/// How long to leave the listeners alone when descriptors or memory are out. A connection that closes ends it.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(100);
/// A child that has no connection and yet cannot accept one for so long is sick.
const SICK_AFTER: Duration = Duration::from_secs(10);

/// Whether connections are taken.
///
/// ```text
/// Open ── Retire, Sick, Drain, ParentGone ──► Closed, nothing left
///   └──── Stop ─────────────────────────────► Closed, what was waiting is left to be served
/// ```
pub(super) enum Intake {
    Open(Door),
    /// The listeners are closed: when nobody else has them open either, a client is refused instead of left waiting.
    Closed {
        /// Accepted when the server stopped, for want of anybody else who would; not served yet.
        left: VecDeque<Taken>,
    },
}

/// The listeners, as one thread sees them.
pub(super) struct Door {
    listeners: Arc<[Listener]>,
    /// Which of them may have connections: set by readiness, cleared by an accept that would block.
    ready: Vec<bool>,
    /// The listener to ask first: they take turns.
    first: usize,
    shortage: Option<Shortage>,
}

#[derive(Debug, Clone, Copy)]
struct Shortage {
    since: Instant,
    pause_end: Instant,
}

impl Intake {
    /// All listeners count as ready until they say otherwise.
    pub(super) fn new(listeners: Arc<[Listener]>) -> Self {
        let ready = vec![true; listeners.len()];
        Intake::Open(Door { listeners, ready, first: 0, shortage: None })
    }

    /// Follows the orders. What is open closes at the first one that is not `Serve`, however busy the thread is: a
    /// client that comes later must not wait for a thread that will never take it. At `Stop` what is waiting, at most
    /// `backlog` connections, is taken first. `closing` is shown the listeners before they are closed.
    pub(super) fn obey(&mut self, orders: Orders, backlog: u32, closing: impl FnOnce(&[Listener])) {
        let Intake::Open(door) = self else { return };
        let left = match orders {
            Orders::Serve => return,
            Orders::Stop => door.take_waiting(backlog),
            Orders::Retire | Orders::Sick | Orders::Drain | Orders::ParentGone => VecDeque::new(),
        };
        closing(&door.listeners);
        *self = Intake::Closed { left };
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self, Intake::Open(_))
    }

    /// Nothing will be taken any more.
    pub(super) fn is_done(&self) -> bool {
        matches!(self, Intake::Closed { left } if left.is_empty())
    }

    /// The listener of this index may have connections.
    pub(super) fn note(&mut self, index: usize) {
        if let Some(ready) = self.door_mut().and_then(|door| door.ready.get_mut(index)) {
            *ready = true;
        }
    }

    /// Any listener may have connections.
    pub(super) fn note_all(&mut self) {
        if let Some(door) = self.door_mut() {
            door.ready.fill(true);
        }
    }

    /// When [`take`](Self::take) may take something: a time that has passed or is yet to come; `None`: not before
    /// a listener becomes ready.
    pub(super) fn ready_at(&self, now: Instant) -> Option<Instant> {
        match self {
            Intake::Open(door) if door.ready.contains(&true) => {
                Some(door.shortage.map_or(now, |shortage| shortage.pause_end))
            }
            Intake::Closed { left } if !left.is_empty() => Some(now),
            Intake::Open(_) | Intake::Closed { .. } => None,
        }
    }

    /// Takes one connection. `None`: there is none, or none can be taken now.
    pub(super) fn take(&mut self, now: Instant) -> Option<Taken> {
        match self {
            Intake::Open(door) => door.take(now),
            Intake::Closed { left } => left.pop_front(),
        }
    }

    /// A connection has closed: there is a descriptor again.
    pub(super) fn end_pause(&mut self, now: Instant) {
        if let Some(shortage) = self.door_mut().and_then(|door| door.shortage.as_mut()) {
            shortage.pause_end = now;
        }
    }

    /// Nothing could be accepted for so long that, if the child has no connection, it is sick.
    pub(super) fn is_starved(&self, now: Instant) -> bool {
        self.door().and_then(|door| door.shortage).is_some_and(|shortage| now >= shortage.since + SICK_AFTER)
    }

    pub(super) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.door().into_iter().flat_map(|door| door.listeners.iter().map(AsFd::as_fd))
    }

    fn door(&self) -> Option<&Door> {
        match self {
            Intake::Open(door) => Some(door),
            Intake::Closed { .. } => None,
        }
    }

    fn door_mut(&mut self) -> Option<&mut Door> {
        match self {
            Intake::Open(door) => Some(door),
            Intake::Closed { .. } => None,
        }
    }
}

impl Door {
    /// Takes all that is waiting, at most so many.
    fn take_waiting(&self, most: u32) -> VecDeque<Taken> {
        let mut waiting = VecDeque::new();
        for listener in &*self.listeners {
            while waiting.len() < most as usize {
                match listener.accept() {
                    Ok(Some(taken)) => waiting.push_back(taken),
                    Ok(None) => break,
                    Err(error) => {
                        tracing::error!("cannot accept what still waits on {}: {error}", listener.address());
                        break;
                    }
                }
                // The other children have heard the order as well: each is to get its part.
                std::thread::yield_now();
            }
        }
        waiting
    }

    fn take(&mut self, now: Instant) -> Option<Taken> {
        if self.shortage.is_some_and(|shortage| now < shortage.pause_end) {
            return None;
        }
        for turn in 0..self.listeners.len() {
            let index = (self.first + turn) % self.listeners.len();
            if !self.ready[index] {
                continue;
            }
            match self.listeners[index].accept() {
                Ok(Some(taken)) => {
                    self.first = index + 1;
                    self.shortage = None;
                    return Some(taken);
                }
                Ok(None) => self.ready[index] = false,
                Err(error) => {
                    self.pause(now, index, &error);
                    return None;
                }
            }
        }
        None
    }

    fn pause(&mut self, now: Instant, index: usize, error: &std::io::Error) {
        let since = self.shortage.map_or(now, |shortage| shortage.since);
        if self.shortage.is_none() {
            let address = self.listeners[index].address();
            tracing::error!("cannot accept a connection on {address}, new ones wait: {error}");
        }
        self.shortage = Some(Shortage { since, pause_end: now + SHORTAGE_PAUSE });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::ListenAddress;
    use std::net::{Ipv4Addr, TcpStream};

    fn listener() -> (Arc<[Listener]>, ListenAddress) {
        let listener = Listener::bind(&ListenAddress::Tcp((Ipv4Addr::LOCALHOST, 0).into()), 8).unwrap();
        let address = listener.address();
        ([listener].into(), address)
    }

    fn connect(address: &ListenAddress) -> TcpStream {
        let ListenAddress::Tcp(address) = address else { panic!("not a TCP address") };
        TcpStream::connect(address).unwrap()
    }

    #[test]
    fn a_listener_is_asked_until_it_has_nothing_and_then_when_it_is_ready_again() {
        let (listeners, address) = listener();
        let (mut intake, now) = (Intake::new(listeners), Instant::now());
        let _one = connect(&address);
        assert_eq!(intake.ready_at(now), Some(now));
        assert!(intake.take(now).is_some());
        assert!(intake.take(now).is_none());
        assert_eq!(intake.ready_at(now), None);
        let _two = connect(&address);
        assert!(intake.take(now).is_none(), "nobody has said that it is ready");
        intake.note(0);
        assert!(intake.take(now).is_some());
    }

    #[test]
    fn a_shortage_pauses_the_intake_until_its_time_is_over_or_a_connection_closes() {
        let (listeners, address) = listener();
        let (mut intake, now) = (Intake::new(listeners), Instant::now());
        let _one = connect(&address);
        let Intake::Open(door) = &mut intake else { panic!("new and not open") };
        door.pause(now, 0, &std::io::ErrorKind::OutOfMemory.into());
        assert_eq!(intake.ready_at(now), Some(now + SHORTAGE_PAUSE));
        assert!(intake.take(now).is_none());
        assert!(!intake.is_starved(now) && intake.is_starved(now + SICK_AFTER));
        intake.end_pause(now);
        assert!(intake.take(now).is_some());
        assert!(!intake.is_starved(now + SICK_AFTER), "a success ends the shortage");
    }

    #[test]
    fn an_order_to_stop_takes_what_is_waiting_within_its_limit_and_closes_at_once() {
        let (listeners, address) = listener();
        let (mut intake, now) = (Intake::new(listeners), Instant::now());
        let _three = [connect(&address), connect(&address), connect(&address)];
        let mut closed = 0;
        intake.obey(Orders::Stop, 2, |listeners| closed = listeners.len());
        assert_eq!((closed, intake.fds().count()), (1, 0));
        let ListenAddress::Tcp(address) = address else { panic!("not a TCP address") };
        assert!(TcpStream::connect(address).is_err(), "nobody has the listener open any more");
        assert!(!intake.is_done() && intake.ready_at(now) == Some(now));
        intake.obey(Orders::ParentGone, 2, |_| panic!("closed already"));
        assert!(intake.take(now).is_some() && intake.take(now).is_some());
        assert!(intake.is_done() && intake.take(now).is_none() && intake.ready_at(now).is_none());
    }

    #[test]
    fn an_order_to_drain_closes_at_once() {
        let (listeners, address) = listener();
        let mut intake = Intake::new(listeners);
        let _one = connect(&address);
        intake.obey(Orders::Drain, 8, |_| {});
        assert!(intake.is_done() && intake.take(Instant::now()).is_none());
        assert_eq!(intake.fds().count(), 0);
    }
}
