//! A thread that serves one connection at a time, from `accept` until it closes: what prefork and worker share.
//! The thread waits in `poll(2)` for whatever is missing: an edge of a socket, a wake, an order, a deadline.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use nix::libc;
use nix::poll::{PollFd, PollFlags};

use super::crew::{Crew, Orders};
use super::guard;
use super::watch::{self, earliest, has_spoken};
use crate::error::StartError;
use crate::listener::Taken;
use crate::protocol::{Accepted, Gate, Next, OwnWaker, Pass, Protocol, ThreadContext, Turn, Upkeep};
use crate::scoreboard::{Status, ThreadSlot};
use crate::stream::{Edge, Stream};
use crate::waker::Bell;

/// Peer has shut down its sending side; nix has no name for it.
const POLLRDHUP: PollFlags = PollFlags::from_bits_retain(libc::POLLRDHUP);

/// Where a thread hears of orders while it serves a connection.
pub(super) trait Overseer {
    /// What becomes readable when there is something to [`heed`](Self::heed).
    fn fd(&self) -> Option<BorrowedFd<'_>>;
    /// The descriptor is readable.
    fn heed(&mut self);
    /// When the connection is closed whatever it is doing.
    fn end(&self) -> Option<Instant>;
}

/// A thread that serves one connection at a time.
pub(super) struct Attendant<P: Protocol> {
    crew: Arc<Crew<P>>,
    pub(super) slot: ThreadSlot,
    thread: P::Thread,
    /// One connection has one request in flight.
    gate: Gate,
    /// What the thread's own work waits for.
    upkeep: Upkeep,
    bell: Arc<Bell>,
    /// Rings the bell. One for all connections, and for the thread's own work: a wake for one that is gone merely
    /// advances the next one once more.
    waker: Waker,
}

impl<P: Protocol> Attendant<P> {
    /// # Errors
    /// The protocol has no state for the thread, or no descriptor is to be had.
    pub(super) fn new(crew: &Arc<Crew<P>>, index: usize, slot: ThreadSlot) -> Result<Self, StartError> {
        let bell = Bell::new().map_err(|error| StartError(format!("cannot make an eventfd: {error}")))?;
        let bell = Arc::new(bell);
        let waker: Waker = Arc::clone(&bell).into();
        let thread = crew.protocol.thread(ThreadContext { index, waker: waker.clone(), slot: slot.clone() })?;
        Ok(Self { crew: Arc::clone(crew), slot, thread, gate: Gate::new(1), upkeep: Upkeep::Done, bell, waker })
    }

    /// Serves a connection until it closes.
    pub(super) fn serve(&mut self, (stream, peer, local): Taken, overseer: &mut impl Overseer) {
        self.slot.count_connection();
        self.slot.set_status(Status::BusyRead);
        let accepted = Accepted { peer, local, at: Instant::now() };
        if let Some(connection) = guard::accept(&self.crew.protocol, &mut self.thread, &accepted) {
            self.converse(stream, connection, overseer);
            self.finish(overseer);
        }
        guard::turn_end(&self.crew.protocol, &mut self.thread);
        self.crew.count_closed();
    }

    fn converse(&mut self, stream: Stream, mut connection: P::Connection, overseer: &mut impl Overseer) {
        let mut sockets = Sockets { stream, upstream: None };
        let mut pass = Pass::default();
        let mut next = Next::Read(Instant::now());
        while overseer.end().is_none_or(|end| Instant::now() < end) {
            let draining = self.crew.orders() != Orders::Serve;
            if matches!(next, Next::Idle(at) if draining || at <= Instant::now()) {
                sockets.stream.probe();
            }
            next = self.advance(&mut sockets, &mut connection, &mut pass, draining);
            let until = match next {
                Next::Close => break,
                Next::Begin | Next::Flush => continue,
                // Nobody else is served here, so nobody is waited for; but orders are looked for.
                Next::Yield(_) | Next::Admit(_) => Instant::now(),
                Next::Read(at) | Next::Write(at) | Next::Idle(at) | Next::Wait(at) | Next::Linger(at) => {
                    guard::turn_end(&self.crew.protocol, &mut self.thread);
                    at
                }
            };
            self.slot.set_status(if draining { Status::Graceful } else { status(next) });
            let until = self.upkeep_due().map_or(until, |due| due.min(until));
            if wait(&self.bell, Some(&mut sockets), overseer, until) || self.upkeep != Upkeep::Done {
                self.tend();
            }
        }
        self.gate.leave(&mut pass);
        guard::close(connection);
    }

    /// Finishes the thread's own work: while it waits for a connection nobody would look after that.
    fn finish(&mut self, overseer: &mut impl Overseer) {
        self.tend();
        while let Some(due) = self.upkeep_due()
            && overseer.end().is_none_or(|end| Instant::now() < end)
        {
            wait(&self.bell, None, overseer, due);
            self.tend();
        }
    }

    /// Looks after the thread's own work once.
    pub(super) fn tend(&mut self) {
        self.upkeep = guard::tend(&self.crew.protocol, &mut self.thread, Instant::now());
    }

    /// When to look after the thread's own work at the latest.
    fn upkeep_due(&self) -> Option<Instant> {
        match self.upkeep {
            Upkeep::Yield(_) => Some(Instant::now()),
            Upkeep::Done | Upkeep::Wait(_) => self.upkeep.deadline(),
        }
    }

    fn advance(
        &mut self,
        sockets: &mut Sockets,
        connection: &mut P::Connection,
        pass: &mut Pass,
        draining: bool,
    ) -> Next {
        let Sockets { stream, upstream } = sockets;
        let (now, gate) = (Instant::now(), &mut self.gate);
        let (waker, slot) = (OwnWaker::Thread(&self.waker), &self.slot);
        let turn = Turn { stream, now, draining, upstream, waker, company: None, gate, pass, slot };
        let next = guard::advance(&self.crew.protocol, &mut self.thread, connection, turn);
        self.slot.add_bytes(stream.take_bytes_written());
        next
    }
}

/// The sockets of a connection.
struct Sockets {
    stream: Stream,
    upstream: Option<Box<Stream>>,
}

/// Waits for an edge of a socket that is missing, a wake, an order or the deadline. Says whether it was woken.
fn wait(bell: &Bell, sockets: Option<&mut Sockets>, overseer: &mut impl Overseer, until: Instant) -> bool {
    let (stream, upstream) = sockets.map_or((None, None), |sockets| {
        let Sockets { stream, upstream } = sockets;
        (Some(stream), upstream.as_deref_mut())
    });
    let nothing = || PollFd::new(bell.as_fd(), PollFlags::empty());
    let no_socket = || [nothing(), nothing()];
    let [socket, end] = stream.as_deref().map_or_else(no_socket, |stream| entries(stream, nothing));
    let [upstream_socket, upstream_end] = upstream.as_deref().map_or_else(no_socket, |stream| entries(stream, nothing));
    let own = PollFd::new(bell.as_fd(), PollFlags::POLLIN);
    let orders = overseer.fd().map_or_else(nothing, |fd| PollFd::new(fd, PollFlags::POLLIN));
    let mut fds = [own, orders, socket, end, upstream_socket, upstream_end];
    let asked = fds.len() - if upstream.is_some() { 0 } else { 2 } - if stream.is_some() { 0 } else { 2 };
    watch::wait(&mut fds[..asked], earliest(Some(until), overseer.end()));
    let (rung, ordered) = (has_spoken(&fds[0]), has_spoken(&fds[1]));
    let (edge, upstream_edge) = (edge(&fds[2], &fds[3]), edge(&fds[4], &fds[5]));
    for (stream, edge) in [(stream, edge), (upstream, upstream_edge)] {
        if let Some(stream) = stream {
            stream.note(edge);
        }
    }
    if rung {
        bell.silence();
    }
    if ordered {
        overseer.heed();
    }
    rung
}

/// What asks the kernel for the edges that are missing; `nothing` takes the place of what is not needed, because the
/// kernel would report a socket that has hung up even if it is asked for nothing.
fn entries<'a>(stream: &'a Stream, nothing: impl Fn() -> PollFd<'a>) -> [PollFd<'a>; 2] {
    let missing = stream.missing();
    let mut wanted = PollFlags::empty();
    wanted.set(PollFlags::POLLIN, missing.readable);
    wanted.set(PollFlags::POLLOUT, missing.writable);
    [
        if wanted.is_empty() { nothing() } else { PollFd::new(stream.as_fd(), wanted) },
        // An entry of its own, because nix cannot decode an answer with this flag in it.
        if missing.peer_closed { PollFd::new(stream.as_fd(), POLLRDHUP) } else { nothing() },
    ]
}

/// What the kernel has answered to [`entries`].
fn edge(socket: &PollFd<'_>, end: &PollFd<'_>) -> Edge {
    let broken = PollFlags::POLLERR | PollFlags::POLLHUP | PollFlags::POLLNVAL;
    let said = socket.revents().unwrap_or_else(|| socket.events());
    Edge {
        readable: said.intersects(PollFlags::POLLIN | broken),
        writable: said.intersects(PollFlags::POLLOUT | broken),
        peer_closed: said.intersects(broken) || has_spoken(end),
    }
}

/// What the scoreboard shows of a thread whose only connection waits for this.
fn status(next: Next) -> Status {
    match next {
        Next::Read(_) => Status::BusyRead,
        Next::Begin | Next::Write(_) | Next::Flush | Next::Admit(_) | Next::Wait(_) | Next::Yield(_) => {
            Status::BusyWrite
        }
        Next::Idle(_) => Status::BusyKeepAlive,
        Next::Linger(_) | Next::Close => Status::Closing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::Socket;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    fn polled(stream: &Stream) -> Edge {
        let mut fds = entries(stream, || panic!("all is missing or asked for"));
        watch::wait(&mut fds, Some(Instant::now() + Duration::from_secs(5)));
        edge(&fds[0], &fds[1])
    }

    #[test]
    fn poll_reports_the_missing_edges_as_the_poller_does() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut stream = Stream::new(Socket::Unix(ours));
        assert!(stream.read(&mut [0; 8]).is_err());
        theirs.write_all(b"x").unwrap();
        assert_eq!(polled(&stream), Edge { readable: true, ..Edge::default() });
        drop(theirs);
        let edge = polled(&stream);
        assert!(edge.peer_closed);
        assert!(stream.note(edge));
        assert!(!stream.missing().readable && !stream.missing().peer_closed, "nothing is left to ask for");
    }

    struct Nobody;

    impl Overseer for Nobody {
        fn fd(&self) -> Option<BorrowedFd<'_>> {
            None
        }

        fn heed(&mut self) {}

        fn end(&self) -> Option<Instant> {
            None
        }
    }

    #[test]
    fn a_ring_that_comes_late_is_heard_once() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut sockets = Sockets { stream: Stream::new(Socket::Unix(ours)), upstream: None };
        let bell = Bell::new().unwrap();
        bell.ring_late();
        wait(&bell, Some(&mut sockets), &mut Nobody, Instant::now() + Duration::from_secs(60));
        let deadline = Instant::now() + Duration::from_millis(20);
        wait(&bell, Some(&mut sockets), &mut Nobody, deadline);
        assert!(Instant::now() >= deadline, "nobody has rung again");
    }

    #[test]
    fn the_end_of_an_upstream_ends_one_wait_and_not_the_next() {
        let pair = || {
            let (ours, theirs) = UnixStream::pair().unwrap();
            ours.set_nonblocking(true).unwrap();
            (Stream::new(Socket::Unix(ours)), theirs)
        };
        let ((stream, _client), (mut upstream, theirs)) = (pair(), pair());
        assert!(upstream.read(&mut [0; 8]).is_err());
        let mut sockets = Sockets { stream, upstream: Some(Box::new(upstream)) };
        let bell = Bell::new().unwrap();
        drop(theirs);
        let far = Instant::now() + Duration::from_secs(60);
        wait(&bell, Some(&mut sockets), &mut Nobody, far);
        assert!(Instant::now() < far && sockets.upstream.as_deref().is_some_and(Stream::peer_closed));
        let deadline = Instant::now() + Duration::from_millis(20);
        wait(&bell, Some(&mut sockets), &mut Nobody, deadline);
        assert!(Instant::now() >= deadline, "there is nothing new");
    }
}
