//! The line between the parent and one child: a pair of sockets, over which the parent commands and the child
//! reports. When one of them dies, the other one reads end-of-file.
//!
//! What a command means is written here; carrying it out is the business of `child` and `parent`.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};

/// Bytes of a message at most; a longer reason is cut.
const MESSAGE_BYTES_MAX: usize = 4096;

const READY: u8 = b'R';
const RETIRING: u8 = b'X';
const FAILED: u8 = b'F';
const DRAIN: u8 = b'D';
const STOP: u8 = b'S';
const LOOK: u8 = b'L';

/// What a child is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    /// Nothing new.
    None,
    /// Other children take over (a reload, a smaller number of children): stop accepting at once, finish what is
    /// open, end.
    Drain,
    /// The server stops gracefully and nobody takes over: take what is waiting in the backlog already (no more than
    /// `listen_backlog`), then as `Drain`.
    Stop,
    /// A connection may wait for which another child was woken that has died: ask the listeners.
    Look,
    /// The parent has died: finish what is open within a second, end.
    ParentGone,
}

/// What a child says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Report {
    /// Nothing new.
    None,
    /// It accepts connections.
    Ready,
    /// By its own decision it accepts no more, and it ends when what is open is finished.
    Retiring,
    /// It cannot serve and ends, for this reason.
    Failed(String),
    /// Its end is closed: it has died or is about to.
    Gone,
}

/// Makes the two ends. Messages keep their limits (`SOCK_SEQPACKET`), neither end blocks.
pub(crate) fn pair() -> io::Result<(ControlParent, ControlChild)> {
    let (parent, child) = pair_of_sockets()?;
    Ok((ControlParent { socket: parent }, ControlChild { socket: child }))
}

/// Two sockets that are connected, of the kind that lines between the parent and another process of the server are of.
pub(crate) fn pair_of_sockets() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?)
}

/// The parent's end.
#[derive(Debug)]
pub(crate) struct ControlParent {
    socket: OwnedFd,
}

impl ControlParent {
    /// # Errors
    /// The child is gone, or has left so many commands unread that no more fit.
    pub(crate) fn send(&self, command: Command) -> io::Result<()> {
        let message = match command {
            Command::Drain => DRAIN,
            Command::Stop => STOP,
            Command::Look => LOOK,
            Command::None | Command::ParentGone => return Ok(()),
        };
        send_message(&self.socket, &[message])
    }

    /// Takes one report. The child is distrusted: what is not a report is no report.
    pub(crate) fn receive(&self) -> Report {
        let mut buffer = [0; MESSAGE_BYTES_MAX];
        loop {
            match receive_message(&self.socket, &mut buffer) {
                Message::None => return Report::None,
                Message::End => return Report::Gone,
                Message::Here([READY]) => return Report::Ready,
                Message::Here([RETIRING]) => return Report::Retiring,
                Message::Here([FAILED, reason @ ..]) => return Report::Failed(printable(reason)),
                Message::Here(_) => {}
            }
        }
    }
}

impl AsFd for ControlParent {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The child's end. To be read when it becomes readable.
#[derive(Debug)]
pub(crate) struct ControlChild {
    socket: OwnedFd,
}

impl ControlChild {
    /// All threads are there and connections are accepted.
    pub(crate) fn ready(&self) {
        self.report(&[READY]);
    }

    /// The child accepts no more connections, by its own decision (max_connections_per_child, or it is sick): the
    /// parent may start another one in its place while this one finishes what is open.
    pub(crate) fn retiring(&self) {
        self.report(&[RETIRING]);
    }

    /// The child cannot serve.
    pub(crate) fn failed(&self, reason: &str) {
        let mut message = vec![FAILED];
        message.extend_from_slice(&reason.as_bytes()[..reason.len().min(MESSAGE_BYTES_MAX - 1)]);
        self.report(&message);
    }

    /// A report that cannot be sent finds no parent who would want it: its end-of-file is what is read next.
    fn report(&self, message: &[u8]) {
        let _gone = send_message(&self.socket, message);
    }

    /// Takes one command; does not block.
    pub(crate) fn receive(&mut self) -> Command {
        let mut buffer = [0; 8];
        loop {
            match receive_message(&self.socket, &mut buffer) {
                Message::None => return Command::None,
                Message::End => return Command::ParentGone,
                Message::Here([DRAIN]) => return Command::Drain,
                Message::Here([STOP]) => return Command::Stop,
                Message::Here([LOOK]) => return Command::Look,
                Message::Here(_) => {}
            }
        }
    }
}

impl AsFd for ControlChild {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What was read from such a socket.
pub(crate) enum Message<'a> {
    None,
    Here(&'a [u8]),
    End,
}

pub(crate) fn send_message(socket: &OwnedFd, message: &[u8]) -> io::Result<()> {
    loop {
        match send(socket.as_raw_fd(), message, MsgFlags::MSG_NOSIGNAL) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

pub(crate) fn receive_message<'a>(socket: &OwnedFd, buffer: &'a mut [u8]) -> Message<'a> {
    loop {
        match recv(socket.as_raw_fd(), buffer, MsgFlags::empty()) {
            Ok(0) => return Message::End,
            Ok(length) => return Message::Here(&buffer[..length]),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Message::None,
            Err(_) => return Message::End,
        }
    }
}

/// A child's words as they may stand in a log: no line breaks and no terminal's commands.
pub(crate) fn printable(text: &[u8]) -> String {
    String::from_utf8_lossy(text).chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_reaches_the_child_once() {
        let (parent, mut child) = pair().unwrap();
        assert_eq!(child.receive(), Command::None);
        parent.send(Command::Look).unwrap();
        parent.send(Command::Drain).unwrap();
        parent.send(Command::Stop).unwrap();
        assert_eq!(child.receive(), Command::Look);
        assert_eq!(child.receive(), Command::Drain);
        assert_eq!(child.receive(), Command::Stop);
        assert_eq!(child.receive(), Command::None);
    }

    #[test]
    fn reports_keep_their_order_and_their_limits() {
        let (parent, child) = pair().unwrap();
        assert_eq!(parent.receive(), Report::None);
        child.ready();
        child.retiring();
        child.failed("no memory");
        assert_eq!(parent.receive(), Report::Ready);
        assert_eq!(parent.receive(), Report::Retiring);
        assert_eq!(parent.receive(), Report::Failed("no memory".to_owned()));
        assert_eq!(parent.receive(), Report::None);
    }

    #[test]
    fn each_end_notices_that_the_other_one_is_gone() {
        let (parent, mut child) = pair().unwrap();
        drop(parent);
        assert_eq!(child.receive(), Command::ParentGone);
        assert_eq!(child.receive(), Command::ParentGone);
        child.ready();

        let (parent, child) = pair().unwrap();
        child.failed("because");
        drop(child);
        assert_eq!(parent.receive(), Report::Failed("because".to_owned()));
        assert_eq!(parent.receive(), Report::Gone);
        assert!(parent.send(Command::Drain).is_err());
    }

    #[test]
    fn what_is_not_a_report_is_passed_over() {
        let (parent, child) = pair().unwrap();
        child.report(&[0xff; 100]);
        child.report(b"RR");
        child.report(&[DRAIN]);
        child.ready();
        assert_eq!(parent.receive(), Report::Ready);
    }

    #[test]
    fn a_reason_is_cut_to_size_and_made_printable() {
        let (parent, child) = pair().unwrap();
        child.failed("two\nlines\x1b[2J");
        assert_eq!(parent.receive(), Report::Failed("two lines [2J".to_owned()));
        child.failed(&"é".repeat(MESSAGE_BYTES_MAX));
        let Report::Failed(reason) = parent.receive() else { panic!("not a failure") };
        assert!(reason.starts_with("éé") && reason.len() <= MESSAGE_BYTES_MAX + 2);
    }
}
