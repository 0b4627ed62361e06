//! A socket that remembers what it can do, accepted from a client or connected to an upstream: the one type through
//! which connections read and write.
//!
//! The kernel is asked for *edges* (mio's poller) or for those edges only that are still missing (the blocking
//! MPMs), so the two answers "readable" and "writable" are kept here: an edge sets them, an operation that would
//! block or that came back short clears them, and an operation without its flag does not reach the kernel.
//! Nothing here waits or knows a poller.

use std::io::{self, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use socket2::{Domain, SockAddr, SockRef, Type};

use crate::settings::ListenAddress;

/// A non-blocking TCP or Unix stream socket.
#[derive(Debug)]
pub struct Stream {
    socket: Socket,
    readable: bool,
    writable: bool,
    /// The peer has sent its last byte (FIN), or the connection is broken; what came before may still be unread.
    peer_closed: bool,
    bytes_written: u64,
}

#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// What the kernel has just said about a socket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Edge {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    pub(crate) peer_closed: bool,
}

impl Stream {
    /// A socket that was just accepted or connected: assumed to be readable and writable until the kernel says otherwise.
    /// It must be non-blocking.
    pub(crate) fn new(socket: Socket) -> Self {
        Self { socket, readable: true, writable: true, peer_closed: false, bytes_written: 0 }
    }

    /// Connects to the Unix socket of another pool, without waiting: the kernel puts the connection into the backlog at
    /// once or not at all. It is writable; that it is readable the kernel will say, since nobody has accepted it yet.
    ///
    /// # Errors
    /// What `connect(2)` says: `WouldBlock` is a full backlog, `ConnectionRefused` and `NotFound` mean that nobody
    /// listens. `Unsupported`: not the address of a Unix socket.
    pub(crate) fn connect(address: &ListenAddress) -> io::Result<Self> {
        let ListenAddress::Unix(path) = address else {
            let text = format!("cannot connect to {address}: upstreams are Unix sockets");
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        };
        let address = SockAddr::unix(path)?;
        // Born as it is to be: most requests of a confined module come by here, and two system calls less count.
        let socket = socket2::Socket::new_raw(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)?;
        socket.connect(&address)?;
        Ok(Self { readable: false, ..Self::new(Socket::Unix(OwnedFd::from(socket).into())) })
    }

    /// Remembers what the kernel has said. Whether that is news: what is known already (a socket just accepted is
    /// assumed to be readable and writable) is no reason to advance a connection that waits nevertheless.
    pub(crate) fn note(&mut self, edge: Edge) -> bool {
        let before = self.missing();
        self.peer_closed |= edge.peer_closed;
        // A closed or broken socket answers every operation at once: let the next one find out how.
        self.readable |= edge.readable || edge.peer_closed;
        self.writable |= edge.writable;
        before != self.missing()
    }

    /// The edges that have not come yet: what a blocking MPM asks the kernel for.
    pub(crate) fn missing(&self) -> Edge {
        Edge { readable: !self.readable, writable: !self.writable, peer_closed: !self.peer_closed }
    }

    /// Lets the next read ask the kernel, though no edge has come: a connection that seems to be idle and may be closed
    /// now (a drain, its deadline, room for another one) looks for a request that has just arrived.
    pub(crate) fn probe(&mut self) {
        self.readable = true;
    }

    /// Whether a read may give something: the last one did not come back short, or the kernel has spoken since.
    #[must_use]
    pub fn readable(&self) -> bool {
        self.readable
    }

    /// Whether a write may take something.
    #[must_use]
    pub fn writable(&self) -> bool {
        self.writable
    }

    /// Whether the peer is known to have sent its last byte, or to be gone. Unread bytes may remain.
    #[must_use]
    pub fn peer_closed(&self) -> bool {
        self.peer_closed
    }

    /// Whether the peer has sent its last byte and none is unread. Asks the kernel, though no edge has come: for a
    /// connection that has waited, unseen, until it was accepted.
    #[must_use]
    pub fn at_end(&self) -> bool {
        matches!(socket2::SockRef::from(self).peek(&mut [MaybeUninit::uninit()]), Ok(0))
    }

    /// The address of this side; `None` on a Unix socket. Asks the kernel: connections are many, and few have use for it
    /// after they were accepted.
    #[must_use]
    pub fn local_address(&self) -> Option<SocketAddr> {
        match &self.socket {
            Socket::Tcp(socket) => socket.local_addr().ok(),
            Socket::Unix(_) => None,
        }
    }

    /// Ends the sending side; the peer reads end-of-file after what was written.
    ///
    /// # Errors
    /// What `shutdown(2)` says, `NotConnected` among them.
    pub fn shutdown_write(&self) -> io::Result<()> {
        match &self.socket {
            Socket::Tcp(socket) => socket.shutdown(Shutdown::Write),
            Socket::Unix(socket) => socket.shutdown(Shutdown::Write),
        }
    }

    /// Chooses what the peer sees when this socket is closed, by whomever and for whatever reason: a reset, which
    /// tells it that something is missing, or the usual end-of-file. A reset drops what is not sent yet. A Unix
    /// socket knows no reset; nothing changes for it.
    ///
    /// # Errors
    /// What `setsockopt(2)` says of SO_LINGER.
    pub fn reset_on_close(&self, reset: bool) -> io::Result<()> {
        SockRef::from(self).set_linger(reset.then_some(Duration::ZERO))
    }

    /// Bytes written since this was last asked, for the scoreboard.
    pub(crate) fn take_bytes_written(&mut self) -> u64 {
        std::mem::take(&mut self.bytes_written)
    }

    fn noted_read(&mut self, wanted: usize, result: io::Result<usize>) -> io::Result<usize> {
        match &result {
            // A short read has emptied the socket: the next byte makes an edge. Not so when the peer has closed:
            // its end makes no second edge, and must still be read.
            Ok(read) if *read < wanted && !self.peer_closed => self.readable = false,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
            _ => {}
        }
        result
    }

    fn noted_write(&mut self, result: io::Result<usize>) -> io::Result<usize> {
        match &result {
            Ok(written) => self.bytes_written += *written as u64,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable = false,
            Err(_) => {}
        }
        result
    }
}

impl Read for Stream {
    /// Reads what is there. `WouldBlock`: nothing is, and the connection is advanced when something comes.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if !self.readable {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let result = match &mut self.socket {
            Socket::Tcp(socket) => socket.read(into),
            Socket::Unix(socket) => socket.read(into),
        };
        self.noted_read(into.len(), result)
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    /// Writes what the socket takes. `WouldBlock`: nothing, and the connection is advanced when it takes more.
    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if !self.writable {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        // One piece, as most answers are, takes the kernel less time to send than a list of one.
        let result = match (&mut self.socket, slices) {
            (Socket::Tcp(socket), [one]) => socket.write(one),
            (Socket::Unix(socket), [one]) => socket.write(one),
            (Socket::Tcp(socket), several) => socket.write_vectored(several),
            (Socket::Unix(socket), several) => socket.write_vectored(several),
        };
        self.noted_write(result)
    }

    /// Nothing is buffered here.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Socket::Tcp(socket) => socket.as_fd(),
            Socket::Unix(socket) => socket.as_fd(),
        }
    }
}

impl AsRawFd for Stream {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::Listener;

    fn pair() -> (Stream, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (Stream::new(Socket::Unix(ours)), theirs)
    }

    #[test]
    fn a_read_that_came_back_short_makes_the_next_one_wait_for_an_edge() {
        let (mut stream, mut theirs) = pair();
        theirs.write_all(b"abc").unwrap();
        let mut buffer = [0; 8];
        assert_eq!(stream.read(&mut buffer).unwrap(), 3);
        theirs.write_all(b"def").unwrap();
        assert_eq!(stream.read(&mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert!(stream.note(Edge { readable: true, ..Edge::default() }));
        assert_eq!(stream.read(&mut buffer).unwrap(), 3);
    }

    fn address(name: &str) -> ListenAddress {
        ListenAddress::Unix(std::env::temp_dir().join(format!("mpm-stream-{}-{name}", std::process::id())))
    }

    fn file_of(address: &ListenAddress) -> &std::path::Path {
        let ListenAddress::Unix(path) = address else { panic!("not a Unix socket") };
        path
    }

    #[test]
    fn a_connected_stream_can_be_written_to_before_anybody_accepts_it() {
        let address = address("connected");
        let listener = Listener::bind(&address, 8).unwrap();
        let mut stream = Stream::connect(&address).unwrap();
        assert_eq!(stream.missing(), Edge { readable: true, writable: false, peer_closed: true });
        // The kernel is asked once that it has spoken, and not before.
        stream.probe();
        assert_eq!(stream.read(&mut [0; 8]).unwrap_err().kind(), io::ErrorKind::WouldBlock, "it would not block");
        stream.write_all(b"hello").unwrap();
        let (mut theirs, _, _) = listener.accept().unwrap().expect("it waits in the backlog");
        let mut heard = [0; 8];
        assert_eq!(theirs.read(&mut heard).unwrap(), 5);
        let flags = nix::fcntl::fcntl(&stream, nix::fcntl::FcntlArg::F_GETFD).unwrap();
        assert_eq!(flags, nix::libc::FD_CLOEXEC);
        listener.remove_file();
    }

    #[test]
    fn a_full_backlog_is_an_answer_and_not_a_wait() {
        let address = address("full");
        let listener = Listener::bind(&address, 2).unwrap();
        let mut held = Vec::new();
        let refusal = loop {
            match Stream::connect(&address) {
                Ok(stream) if held.len() < 16 => held.push(stream),
                Ok(_) => panic!("the backlog has no end"),
                Err(error) => break error,
            }
        };
        assert_eq!(refusal.kind(), io::ErrorKind::WouldBlock);
        assert!(listener.accept().unwrap().is_some());
        assert!(Stream::connect(&address).is_ok(), "there is room again");
        listener.remove_file();
    }

    #[test]
    fn where_nobody_listens_the_reason_is_kept() {
        let address = address("nobody");
        let kind = |address: &ListenAddress| Stream::connect(address).unwrap_err().kind();
        assert_eq!(kind(&address), io::ErrorKind::NotFound);
        // As a server leaves it that was killed.
        drop(Listener::bind(&address, 8).unwrap());
        assert_eq!(kind(&address), io::ErrorKind::ConnectionRefused);
        std::fs::remove_file(file_of(&address)).unwrap();
        assert_eq!(kind(&ListenAddress::Unix("x".repeat(200).into())), io::ErrorKind::InvalidInput);
        assert_eq!(kind(&ListenAddress::Tcp(([127, 0, 0, 1], 1).into())), io::ErrorKind::Unsupported);
    }

    #[test]
    fn what_is_known_already_is_no_news() {
        let (mut stream, _theirs) = pair();
        assert!(!stream.note(Edge { readable: true, writable: true, peer_closed: false }));
        assert!(stream.note(Edge { peer_closed: true, ..Edge::default() }));
        assert!(!stream.note(Edge { readable: true, writable: true, peer_closed: true }));
    }

    #[test]
    fn the_end_of_the_peer_stays_readable_until_it_is_read() {
        let (mut stream, mut theirs) = pair();
        theirs.write_all(b"abc").unwrap();
        drop(theirs);
        stream.note(Edge { readable: true, writable: true, peer_closed: true });
        let mut buffer = [0; 8];
        assert_eq!(stream.read(&mut buffer).unwrap(), 3);
        assert_eq!(stream.read(&mut buffer).unwrap(), 0);
    }

    #[test]
    fn the_end_of_a_peer_is_found_before_any_edge_and_not_before_all_is_read() {
        let (mut stream, mut theirs) = pair();
        assert!(!stream.at_end());
        theirs.write_all(b"abc").unwrap();
        drop(theirs);
        assert!(!stream.at_end());
        assert_eq!(stream.read(&mut [0; 8]).unwrap(), 3);
        assert!(!stream.readable() && stream.at_end());
    }

    #[test]
    fn a_socket_of_tcp_knows_its_address_also_when_the_peer_is_gone() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let theirs = TcpStream::connect(address).unwrap();
        let ours = Stream::new(Socket::Tcp(listener.accept().unwrap().0));
        socket2::SockRef::from(&theirs).set_linger(Some(Duration::ZERO)).unwrap();
        drop(theirs);
        assert_eq!(ours.local_address(), Some(address));
        assert_eq!(pair().0.local_address(), None);
    }

    #[test]
    fn a_peer_can_tell_a_reset_from_an_end() {
        let read_by_the_peer = |reset: &[bool]| {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let mut theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let mut ours = Stream::new(Socket::Tcp(listener.accept().unwrap().0));
            ours.write_all(b"half").unwrap();
            assert_eq!(theirs.read(&mut [0; 8]).unwrap(), 4);
            for reset in reset {
                ours.reset_on_close(*reset).unwrap();
            }
            drop(ours);
            theirs.read(&mut [0; 8])
        };
        assert_eq!(read_by_the_peer(&[true]).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(read_by_the_peer(&[true, false]).unwrap(), 0);
    }

    #[test]
    fn a_full_socket_is_written_to_again_only_after_an_edge() {
        let (mut stream, theirs) = pair();
        while stream.write(&[0; 65536]).is_ok() {}
        assert_eq!(stream.missing(), Edge { readable: false, writable: true, peer_closed: true });
        assert!(stream.take_bytes_written() > 0);
        drop(theirs);
        assert_eq!(stream.write(b"x").unwrap_err().kind(), io::ErrorKind::WouldBlock);
        stream.note(Edge { writable: true, peer_closed: true, ..Edge::default() });
        assert_eq!(stream.write(b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
