//! Readiness of many sockets at once: the only file that names mio.
//!
//! Every source is registered once, for edges in both directions, and never touched again: what a socket can do is
//! remembered by its [`Stream`], so no request costs an `epoll_ctl`. Closing a socket ends its registration. Only an
//! upstream that another connection takes over is given another name.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest};

use crate::stream::{Edge, Stream};

/// Events taken from the kernel by one call.
const EVENTS_MAX: usize = 256;

// A token is a place and its generation, both packed into what the kernel carries for us.
const _: () = assert!(usize::BITS == 64, "the poller needs 64-bit tokens");
const DOORBELL: usize = usize::MAX;
const LISTENERS: usize = (u32::MAX as usize) << 32;
const BOTH: Interest = Interest::READABLE.add(Interest::WRITABLE);
/// The bit by which a connection's upstream is told from the connection itself: the highest one of a place.
const UPSTREAM: usize = 1 << 31;

/// Names one connection of one thread, for ever: the place is used again, the pair is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token {
    /// At most [`Token::INDEX_MAX`].
    pub(crate) index: u32,
    /// Below `u32::MAX`, see [`Token::next_generation`].
    pub(crate) generation: u32,
}

impl Token {
    /// More places than the kernel lets a process have descriptors.
    pub(crate) const INDEX_MAX: u32 = (UPSTREAM - 1) as u32;

    /// The generation after `generation`. The highest one is never used: it marks what is not a connection.
    pub(crate) fn next_generation(generation: u32) -> u32 {
        if generation >= u32::MAX - 1 { 0 } else { generation + 1 }
    }

    fn pack(self) -> usize {
        (self.generation as usize) << 32 | self.index as usize
    }

    fn unpack(packed: usize) -> Self {
        Self { index: packed as u32, generation: (packed >> 32) as u32 }
    }
}

/// What the kernel has told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// Somebody rang the [`Doorbell`].
    Doorbell,
    /// The listener of this index may have connections.
    Listener(usize),
    Connection(Token, Edge),
    /// The upstream of this connection.
    Upstream(Token, Edge),
}

/// The poller of one thread.
pub(crate) struct Poller {
    poll: mio::Poll,
    events: Events,
}

/// Ends the poller's wait, from any thread.
#[derive(Debug)]
pub(crate) struct Doorbell(mio::Waker);

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { poll: mio::Poll::new()?, events: Events::with_capacity(EVENTS_MAX) })
    }

    /// The poller's doorbell; it has one.
    pub(crate) fn doorbell(&self) -> io::Result<Doorbell> {
        mio::Waker::new(self.poll.registry(), mio::Token(DOORBELL)).map(Doorbell)
    }

    /// Watches a listening socket, which other threads and processes may watch as well. One that has connections
    /// already is reported at once.
    pub(crate) fn watch_listener(&self, listener: &impl AsFd, index: usize) -> io::Result<()> {
        let fd = listener.as_fd().as_raw_fd();
        self.poll.registry().register(&mut SourceFd(&fd), mio::Token(LISTENERS + index), Interest::READABLE)
    }

    /// Watches a listening socket no longer.
    pub(crate) fn unwatch_listener(&self, listener: &impl AsFd) -> io::Result<()> {
        let fd = listener.as_fd().as_raw_fd();
        self.poll.registry().deregister(&mut SourceFd(&fd))
    }

    /// Watches a connection until it is closed.
    pub(crate) fn watch(&self, stream: &Stream, token: Token) -> io::Result<()> {
        self.register(stream, token.pack())
    }

    /// Watches the upstream of a connection until it is closed.
    pub(crate) fn watch_upstream(&self, upstream: &Stream, token: Token) -> io::Result<()> {
        self.register(upstream, token.pack() | UPSTREAM)
    }

    /// The upstream of one connection has become that of another. An edge that is there already is told once more.
    pub(crate) fn rename_upstream(&self, upstream: &Stream, token: Token) -> io::Result<()> {
        let fd = upstream.as_raw_fd();
        self.poll.registry().reregister(&mut SourceFd(&fd), mio::Token(token.pack() | UPSTREAM), BOTH)
    }

    fn register(&self, stream: &Stream, token: usize) -> io::Result<()> {
        let fd = stream.as_raw_fd();
        self.poll.registry().register(&mut SourceFd(&fd), mio::Token(token), BOTH)
    }

    /// Waits for events, at most for so long (`None`: for ever; rounded up to milliseconds), and puts them into
    /// `into`, which is emptied first. A signal ends the wait without an event.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>, into: &mut Vec<Event>) -> io::Result<()> {
        into.clear();
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        into.extend(self.events.iter().map(decode));
        Ok(())
    }
}

impl Doorbell {
    pub(crate) fn ring(&self) {
        if let Err(error) = self.0.wake() {
            tracing::error!("cannot wake a thread: {error}");
        }
    }
}

fn decode(event: &mio::event::Event) -> Event {
    match event.token().0 {
        DOORBELL => Event::Doorbell,
        listener @ LISTENERS.. => Event::Listener(listener - LISTENERS),
        packed if packed & UPSTREAM == 0 => Event::Connection(Token::unpack(packed), edge(event)),
        packed => Event::Upstream(Token::unpack(packed & !UPSTREAM), edge(event)),
    }
}

fn edge(event: &mio::event::Event) -> Edge {
    Edge {
        readable: event.is_readable(),
        // A broken socket answers every write at once: let the next one find out how.
        writable: event.is_writable() || event.is_error(),
        peer_closed: event.is_read_closed() || event.is_error(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::Socket;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    const LONG: Option<Duration> = Some(Duration::from_secs(5));
    const TOKEN: Token = Token { index: 7, generation: 3 };

    fn watched() -> (Poller, Stream, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let stream = Stream::new(Socket::Unix(ours));
        let poller = Poller::new().unwrap();
        poller.watch(&stream, TOKEN).unwrap();
        (poller, stream, theirs)
    }

    fn next_edge(poller: &mut Poller) -> Edge {
        let mut events = Vec::new();
        poller.wait(LONG, &mut events).unwrap();
        match events[..] {
            [Event::Connection(TOKEN, edge)] => edge,
            ref other => panic!("expected one event of the connection, got {other:?}"),
        }
    }

    #[test]
    fn a_byte_makes_an_edge_and_then_silence() {
        let (mut poller, mut stream, mut theirs) = watched();
        assert!(next_edge(&mut poller).writable);
        let mut buffer = [0; 16];
        assert_eq!(stream.read(&mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        theirs.write_all(b"x").unwrap();
        let edge = next_edge(&mut poller);
        assert!(edge.readable && !edge.peer_closed);
        assert!(stream.note(edge), "readable again is news");
        let mut events = vec![Event::Doorbell];
        poller.wait(Some(Duration::ZERO), &mut events).unwrap();
        assert_eq!(events, []);
    }

    #[test]
    fn the_end_of_the_peer_is_an_edge_of_its_own() {
        let (mut poller, mut stream, theirs) = watched();
        next_edge(&mut poller);
        drop(theirs);
        let edge = next_edge(&mut poller);
        assert!(stream.note(edge));
        assert!(stream.peer_closed() && stream.readable());
    }

    #[test]
    fn the_doorbell_ends_a_wait() {
        let mut poller = Poller::new().unwrap();
        let doorbell = poller.doorbell().unwrap();
        let ringer = std::thread::spawn(move || {
            doorbell.ring();
            doorbell
        });
        let mut events = Vec::new();
        poller.wait(LONG, &mut events).unwrap();
        assert_eq!(events, [Event::Doorbell]);
        ringer.join().unwrap();
    }

    fn watched_upstream(poller: &Poller) -> (Stream, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let upstream = Stream::new(Socket::Unix(ours));
        poller.watch_upstream(&upstream, TOKEN).unwrap();
        (upstream, theirs)
    }

    #[test]
    fn an_upstream_has_edges_of_its_own_under_the_token_of_its_connection() {
        let (mut poller, _stream, _client) = watched();
        next_edge(&mut poller);
        let (_upstream, mut theirs) = watched_upstream(&poller);
        let mut events = Vec::new();
        let mut edge_of_upstream = |poller: &mut Poller| {
            poller.wait(LONG, &mut events).unwrap();
            match events[..] {
                [Event::Upstream(TOKEN, edge)] => edge,
                ref other => panic!("expected one event of the upstream, got {other:?}"),
            }
        };
        assert!(edge_of_upstream(&mut poller).writable);
        theirs.write_all(b"x").unwrap();
        assert!(edge_of_upstream(&mut poller).readable);
        drop(theirs);
        assert!(edge_of_upstream(&mut poller).peer_closed);
    }

    #[test]
    fn nothing_is_heard_of_a_socket_that_was_closed_before_the_wait() {
        let (mut poller, _stream, _client) = watched();
        next_edge(&mut poller);
        let (upstream, mut theirs) = watched_upstream(&poller);
        theirs.write_all(b"x").unwrap();
        drop((upstream, theirs));
        let mut events = vec![Event::Doorbell];
        poller.wait(Some(Duration::ZERO), &mut events).unwrap();
        assert_eq!(events, []);
    }

    #[test]
    fn a_token_survives_the_kernel() {
        let last = Token { index: Token::INDEX_MAX, generation: u32::MAX - 1 };
        for token in [TOKEN, last, Token { index: 0, generation: 0 }] {
            assert_eq!(Token::unpack(token.pack()), token);
            assert_eq!(token.pack() & UPSTREAM, 0);
            assert!(token.pack() | UPSTREAM < LISTENERS);
        }
    }
}
