//! The line between the parent and one child: a pair of sockets, over which the parent commands and the child
//! reports. When one of them dies, the other one reads end-of-file.
//!
//! What a command means is written here; carrying it out is the business of `child` and `parent`.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Write as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, recv, recvmsg, sendmsg,
    socketpair,
};

use crate::error::StartError;

/// Bytes of a message at most; a longer reason is cut.
const MESSAGE_BYTES_MAX: usize = 4096;

const READY: u8 = b'R';
const RETIRING: u8 = b'X';
const FAILED: u8 = b'F';
const DRAIN: u8 = b'D';
const STOP: u8 = b'S';
const LOOK: u8 = b'L';
const ADOPT: u8 = b'A';
const DROP: u8 = b'O';
const PUBLISHED: u8 = b'P';
const ADOPTED: u8 = b'a';
const NOT_ADOPTED: u8 = b'n';
const HELD: u8 = b'h';

/// What a child is to do.
#[derive(Debug)]
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
    /// Make ready to serve another generation beside the present one, from what stands in here. `None`: it has got lost on its
    /// way, because descriptors are out.
    Adopt(u32, Option<Handover>),
    /// That generation comes to nothing.
    Drop(u32),
    /// This generation, which the child has adopted, stands on the scoreboard as published.
    Published(u32),
    /// The parent has died: finish what is open within a second, end.
    ParentGone,
}

/// What children need to serve another generation: written once by the parent, for all of them, into memory that only its
/// descriptor leads to.
#[derive(Debug)]
pub(crate) struct Handover(File);

impl Handover {
    /// # Errors
    /// Descriptors or memory are out.
    pub(crate) fn write(text: &[u8]) -> io::Result<Self> {
        let mut file = File::from(memfd_create(c"handover", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?);
        file.write_all(text)?;
        // Every child has it open, and none is to say what the others serve.
        let seals = SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_SEAL;
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
        Ok(Self(file))
    }

    /// All of it.
    ///
    /// # Errors
    /// What `read(2)` says.
    pub(crate) fn read(&self) -> io::Result<Vec<u8>> {
        let mut text = vec![0; usize::try_from(self.0.metadata()?.len()).map_err(io::Error::other)?];
        // Whoever has the descriptor shares its position, so nobody uses that.
        self.0.read_exact_at(&mut text, 0)?;
        Ok(text)
    }
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
    /// It can serve that generation as soon as it is published.
    Adopted(u32),
    /// It cannot, for this reason, and goes on with what it has.
    NotAdopted(u32, String),
    /// It still serves something of these generations and of no others.
    Held(Vec<u32>),
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
    pub(crate) fn send(&self, command: &Command) -> io::Result<()> {
        match command {
            Command::Drain => send_message(&self.socket, &[&[DRAIN]], None),
            Command::Stop => send_message(&self.socket, &[&[STOP]], None),
            Command::Look => send_message(&self.socket, &[&[LOOK]], None),
            Command::Adopt(generation, handover) => {
                let descriptor = handover.as_ref().map(|Handover(file)| file.as_fd());
                send_message(&self.socket, &[&[ADOPT], &generation.to_ne_bytes()], descriptor)
            }
            Command::Drop(generation) => send_message(&self.socket, &[&[DROP], &generation.to_ne_bytes()], None),
            Command::Published(generation) => {
                send_message(&self.socket, &[&[PUBLISHED], &generation.to_ne_bytes()], None)
            }
            Command::None | Command::ParentGone => Ok(()),
        }
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
                Message::Here(&[ADOPTED, a, b, c, d]) => return Report::Adopted(u32::from_ne_bytes([a, b, c, d])),
                Message::Here(&[NOT_ADOPTED, a, b, c, d, ref reason @ ..]) => {
                    return Report::NotAdopted(u32::from_ne_bytes([a, b, c, d]), printable(reason));
                }
                Message::Here([HELD, generations @ ..]) => {
                    let (generations, _) = generations.as_chunks();
                    return Report::Held(generations.iter().map(|bytes| u32::from_ne_bytes(*bytes)).collect());
                }
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
        self.report(&[&[READY]]);
    }

    /// The child accepts no more connections, by its own decision (max_connections_per_child, or it is sick): the
    /// parent may start another one in its place while this one finishes what is open.
    pub(crate) fn retiring(&self) {
        self.report(&[&[RETIRING]]);
    }

    /// The child cannot serve.
    pub(crate) fn failed(&self, reason: &str) {
        self.report(&[&[FAILED], cut(reason)]);
    }

    /// The child can serve this generation, or cannot, and why.
    pub(crate) fn adopted(&self, generation: u32, outcome: &Result<(), StartError>) {
        let number = generation.to_ne_bytes();
        match outcome {
            Ok(()) => self.report(&[&[ADOPTED], &number]),
            Err(StartError(reason)) => self.report(&[&[NOT_ADOPTED], &number, cut(reason)]),
        }
    }

    /// The child still serves something of these generations and of no others. Of very many only the first ones are told.
    pub(crate) fn held(&self, generations: &[u32]) {
        let told = generations.iter().take(MESSAGE_BYTES_MAX / size_of::<u32>() - 1);
        let bytes: Vec<u8> = told.flat_map(|generation| generation.to_ne_bytes()).collect();
        self.report(&[&[HELD], &bytes]);
    }

    /// A report that cannot be sent finds no parent who would want it: its end-of-file is what is read next.
    fn report(&self, message: &[&[u8]]) {
        let _gone = send_message(&self.socket, message, None);
    }

    /// Takes one command; does not block.
    pub(crate) fn receive(&self) -> Command {
        let mut buffer = [0; 8];
        loop {
            let (message, descriptor) = receive_command(&self.socket, &mut buffer);
            match (message, descriptor) {
                (Message::None, _) => return Command::None,
                (Message::End, _) => return Command::ParentGone,
                (Message::Here([DRAIN]), _) => return Command::Drain,
                (Message::Here([STOP]), _) => return Command::Stop,
                (Message::Here([LOOK]), _) => return Command::Look,
                (Message::Here(&[ADOPT, a, b, c, d]), descriptor) => {
                    let handover = descriptor.map(|descriptor| Handover(descriptor.into()));
                    return Command::Adopt(u32::from_ne_bytes([a, b, c, d]), handover);
                }
                (Message::Here(&[DROP, a, b, c, d]), _) => return Command::Drop(u32::from_ne_bytes([a, b, c, d])),
                (Message::Here(&[PUBLISHED, a, b, c, d]), _) => {
                    return Command::Published(u32::from_ne_bytes([a, b, c, d]));
                }
                (Message::Here(_), _) => {}
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

pub(crate) fn send_message(socket: &OwnedFd, parts: &[&[u8]], descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let parts: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
    let descriptor = descriptor.map(|descriptor| [descriptor.as_raw_fd()]);
    let attached: Vec<_> = descriptor.iter().map(|descriptor| ControlMessage::ScmRights(descriptor)).collect();
    loop {
        match sendmsg::<UnixAddr>(socket.as_raw_fd(), &parts, &attached, MsgFlags::MSG_NOSIGNAL, None) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// A message without what may be attached to it: nobody has descriptors for who reads in this way.
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

/// A message, and the descriptor that came with it.
fn receive_command<'a>(socket: &OwnedFd, buffer: &'a mut [u8]) -> (Message<'a>, Option<OwnedFd>) {
    let mut space = nix::cmsg_space!([std::os::fd::RawFd; 1]);
    let (length, descriptor) = loop {
        let mut parts = [IoSliceMut::new(buffer)];
        match recvmsg::<UnixAddr>(socket.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC) {
            Ok(message) => break (message.bytes, message.cmsgs().ok().and_then(descriptor_of)),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return (Message::None, None),
            Err(_) => return (Message::End, None),
        }
    };
    let message = if length == 0 { Message::End } else { Message::Here(&buffer[..length]) };
    (message, descriptor)
}

fn descriptor_of(mut attached: impl Iterator<Item = ControlMessageOwned>) -> Option<OwnedFd> {
    attached.find_map(|attached| match attached {
        // SAFETY: the kernel has just made this descriptor for us, and nobody else knows of it.
        ControlMessageOwned::ScmRights(descriptors) => {
            descriptors.first().map(|descriptor| unsafe { OwnedFd::from_raw_fd(*descriptor) })
        }
        _ => None,
    })
}

/// As much of a reason as a message holds.
fn cut(reason: &str) -> &[u8] {
    &reason.as_bytes()[..reason.len().min(MESSAGE_BYTES_MAX - 5)]
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
        let (parent, child) = pair().unwrap();
        assert!(matches!(child.receive(), Command::None));
        for command in [Command::Look, Command::Published(9), Command::Drop(7), Command::Drain, Command::Stop] {
            parent.send(&command).unwrap();
        }
        assert!(matches!(child.receive(), Command::Look));
        assert!(matches!(child.receive(), Command::Published(9)));
        assert!(matches!(child.receive(), Command::Drop(7)));
        assert!(matches!(child.receive(), Command::Drain));
        assert!(matches!(child.receive(), Command::Stop));
        assert!(matches!(child.receive(), Command::None));
    }

    #[test]
    fn what_is_handed_over_reaches_every_child_whole() {
        let text: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_ne_bytes).collect();
        let handover = Handover::write(&text).unwrap();
        let ends = [pair().unwrap(), pair().unwrap()];
        let command = Command::Adopt(3, Some(handover));
        for (parent, _) in &ends {
            parent.send(&command).unwrap();
        }
        drop(command);
        for (_, child) in &ends {
            let Command::Adopt(3, Some(mut handover)) = child.receive() else { panic!("not handed over") };
            assert!(handover.read().unwrap() == text);
            assert!(
                handover.0.write_all(b"other").is_err() && handover.0.set_len(3).is_err(),
                "it is nobody's to change"
            );
        }
    }

    #[test]
    fn what_was_not_handed_over_is_noticed() {
        let (parent, child) = pair().unwrap();
        parent.send(&Command::Adopt(1, None)).unwrap();
        assert!(matches!(child.receive(), Command::Adopt(1, None)));
    }

    #[test]
    fn reports_keep_their_order_and_their_limits() {
        let (parent, child) = pair().unwrap();
        assert_eq!(parent.receive(), Report::None);
        child.ready();
        child.retiring();
        child.adopted(1, &Ok(()));
        child.adopted(2, &Err(StartError("no room".to_owned())));
        child.held(&[3, u32::MAX]);
        child.held(&vec![7; MESSAGE_BYTES_MAX]);
        child.failed("no memory");
        assert_eq!(parent.receive(), Report::Ready);
        assert_eq!(parent.receive(), Report::Retiring);
        assert_eq!(parent.receive(), Report::Adopted(1));
        assert_eq!(parent.receive(), Report::NotAdopted(2, "no room".to_owned()));
        assert_eq!(parent.receive(), Report::Held(vec![3, u32::MAX]));
        assert!(matches!(parent.receive(), Report::Held(many) if many.len() > 1000));
        assert_eq!(parent.receive(), Report::Failed("no memory".to_owned()));
        assert_eq!(parent.receive(), Report::None);
    }

    #[test]
    fn each_end_notices_that_the_other_one_is_gone() {
        let (parent, child) = pair().unwrap();
        drop(parent);
        assert!(matches!(child.receive(), Command::ParentGone));
        assert!(matches!(child.receive(), Command::ParentGone));
        child.ready();

        let (parent, child) = pair().unwrap();
        child.failed("because");
        drop(child);
        assert_eq!(parent.receive(), Report::Failed("because".to_owned()));
        assert_eq!(parent.receive(), Report::Gone);
        assert!(parent.send(&Command::Drain).is_err());
    }

    #[test]
    fn what_is_not_a_report_is_passed_over() {
        let (parent, child) = pair().unwrap();
        child.report(&[&[0xff; 100]]);
        child.report(&[b"RR"]);
        child.report(&[&[DRAIN]]);
        child.report(&[&[ADOPTED, 1, 2, 3]]);
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
