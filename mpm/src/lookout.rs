//! The line between the parent and the lookout, the process that watches over what should be served next: it asks for reloads
//! and for the server's end, and is told what becomes of them. When one of the two dies, the other one reads end-of-file.
//!
//! What a request means is written here; carrying it out is the business of `parent`, and why one asks that of the application.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::control::{Message, pair_of_sockets, printable, receive_message, send_message};
use crate::scoreboard::Scoreboard;

/// Bytes of a message at most: a note may be a path. What is longer is cut.
const MESSAGE_BYTES_MAX: usize = 8192;

const PUBLISH: u8 = b'P';
const RELOAD: u8 = b'R';
const RESTART: u8 = b'A';
const STOP: u8 = b'S';
const STOP_GRACEFULLY: u8 = b'G';

const BEGAN: u8 = b'B';
const SERVING: u8 = b'V';
const FAILED: u8 = b'F';
const STOPPING: u8 = b'E';

/// What a lookout asks of the parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// What is to be served has changed: the children take over what is there now while they serve, if they can.
    Publish,
    /// As USR1: the operator orders a graceful reload.
    Reload,
    /// As HUP.
    Restart,
    /// As TERM.
    Stop,
    /// As WINCH.
    StopGracefully,
}

impl Request {
    fn code(self) -> u8 {
        match self {
            Request::Publish => PUBLISH,
            Request::Reload => RELOAD,
            Request::Restart => RESTART,
            Request::Stop => STOP,
            Request::StopGracefully => STOP_GRACEFULLY,
        }
    }

    fn of(code: u8) -> Option<Self> {
        match code {
            PUBLISH => Some(Request::Publish),
            RELOAD => Some(Request::Reload),
            RESTART => Some(Request::Restart),
            STOP => Some(Request::Stop),
            STOP_GRACEFULLY => Some(Request::StopGracefully),
            _ => None,
        }
    }
}

/// Which request: later ones have greater tickets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

impl Ticket {
    /// The one with this number, counted from 1. Those that a [`LookoutLine`] gives out are numbered in this way.
    #[must_use]
    pub fn new(number: u64) -> Self {
        Self(number)
    }
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What serves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Serving {
    pub generation: u32,
    /// What [`Application::publish`](crate::Application::publish) has said of it.
    pub note: String,
}

/// What the parent tells a lookout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// A reload's preparation begins. It sees all that was there when the request with this ticket was made, and when those
    /// before it were. It ends with `Serving`, `Failed` or `Stopping`; or with another beginning, where children that serve
    /// could not take it over and new ones are tried.
    Began { heard: Ticket },
    /// What was loaded has come to serve.
    Serving(Serving),
    /// Nothing came of it, for this reason: what served before goes on.
    Failed(String),
    /// The server stops: no request is heard any more.
    Stopping,
    /// The parent has died, or needs no lookout any more.
    ParentGone,
}

/// A lookout, just forked, and what it got from the parent.
#[derive(Debug)]
pub struct Lookout {
    pub line: LookoutLine,
    /// What all children tell of themselves, to be read: those that have had a line since the lookout was forked.
    pub scoreboard: Scoreboard,
    /// What serves now.
    pub serving: Serving,
}

/// Makes the two ends. Messages keep their limits (`SOCK_SEQPACKET`), the parent's end never blocks.
pub(crate) fn pair() -> io::Result<(ParentLine, LookoutLine)> {
    let (parent, lookout) = pair_of_sockets()?;
    let lookout = LookoutLine { socket: lookout, tickets: AtomicU64::new(0) };
    Ok((ParentLine { socket: parent }, lookout))
}

/// The lookout's end. Any thread may send; one receives.
#[derive(Debug)]
pub struct LookoutLine {
    socket: OwnedFd,
    tickets: AtomicU64,
}

impl LookoutLine {
    /// Asks for something. What becomes of it is told by the [`News`]: a reload that [began](News::Began) when this ticket had
    /// been heard.
    ///
    /// # Errors
    /// The parent is gone.
    pub fn send(&self, request: Request) -> io::Result<Ticket> {
        // Where two threads ask at once, the later ticket may be heard first. It then counts for both, rightly: what the
        // earlier one is about was there before either was sent.
        let ticket = self.tickets.fetch_add(1, Relaxed) + 1;
        let mut message = vec![request.code()];
        message.extend_from_slice(&ticket.to_le_bytes());
        loop {
            match send_message(&self.socket, &[&message], None) {
                // The parent has not read the many before it yet.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait(&self.socket, PollFlags::POLLOUT)?,
                sent => return sent.map(|()| Ticket(ticket)),
            }
        }
    }

    /// Waits for news.
    pub fn receive(&self) -> News {
        let mut buffer = [0; MESSAGE_BYTES_MAX];
        loop {
            match receive_message(&self.socket, &mut buffer) {
                Message::None => {
                    if wait(&self.socket, PollFlags::POLLIN).is_err() {
                        return News::ParentGone;
                    }
                }
                Message::End => return News::ParentGone,
                Message::Here(message) => {
                    if let Some(news) = read_news(message) {
                        return news;
                    }
                }
            }
        }
    }
}

fn read_news(message: &[u8]) -> Option<News> {
    match message {
        [BEGAN, heard @ ..] => Some(News::Began { heard: Ticket(u64::from_le_bytes(heard.try_into().ok()?)) }),
        [SERVING, rest @ ..] => {
            let (generation, note) = rest.split_first_chunk()?;
            let note = String::from_utf8_lossy(note).into_owned();
            Some(News::Serving(Serving { generation: u32::from_le_bytes(*generation), note }))
        }
        [FAILED, reason @ ..] => Some(News::Failed(String::from_utf8_lossy(reason).into_owned())),
        [STOPPING] => Some(News::Stopping),
        _ => None,
    }
}

fn wait(socket: &OwnedFd, what: PollFlags) -> io::Result<()> {
    match poll(&mut [PollFd::new(socket.as_fd(), what)], PollTimeout::NONE) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// What the parent has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said {
    /// Nothing new.
    Nothing,
    Request(Request, Ticket),
    /// The lookout's end is closed: it has died or is about to.
    Gone,
}

/// The parent's end.
#[derive(Debug)]
pub(crate) struct ParentLine {
    socket: OwnedFd,
}

impl ParentLine {
    /// # Errors
    /// The lookout is gone, or has left so much unread that no more fits.
    pub(crate) fn tell(&self, news: &News) -> io::Result<()> {
        let mut message = match news {
            News::Began { heard } => [&[BEGAN], &heard.0.to_le_bytes()[..]].concat(),
            News::Serving(Serving { generation, note }) => {
                [&[SERVING], &generation.to_le_bytes()[..], note.as_bytes()].concat()
            }
            News::Failed(reason) => [&[FAILED], reason.as_bytes()].concat(),
            News::Stopping => vec![STOPPING],
            News::ParentGone => return Ok(()),
        };
        message.truncate(MESSAGE_BYTES_MAX);
        send_message(&self.socket, &[&message], None)
    }

    /// Takes one request. The lookout is distrusted: what is not a request is none.
    pub(crate) fn receive(&self) -> Said {
        let mut buffer = [0; 16];
        loop {
            match receive_message(&self.socket, &mut buffer) {
                Message::None => return Said::Nothing,
                Message::End => return Said::Gone,
                Message::Here([code, ticket @ ..]) => {
                    if let (Some(request), Ok(ticket)) = (Request::of(*code), ticket.try_into()) {
                        return Said::Request(request, Ticket(u64::from_le_bytes(ticket)));
                    }
                }
                Message::Here([]) => {}
            }
        }
    }
}

impl AsFd for ParentLine {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A reason as it may stand on a line.
pub(crate) fn on_one_line(reason: &impl fmt::Display) -> String {
    printable(reason.to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_reach_the_parent_with_their_tickets() {
        let (parent, lookout) = pair().unwrap();
        assert_eq!(parent.receive(), Said::Nothing);
        let all = [Request::Publish, Request::Reload, Request::Restart, Request::Stop, Request::StopGracefully];
        for (number, request) in (1..).zip(all) {
            let ticket = lookout.send(request).unwrap();
            assert_eq!(ticket, Ticket::new(number));
            assert_eq!(parent.receive(), Said::Request(request, ticket));
        }
        assert_eq!(parent.receive(), Said::Nothing);
    }

    #[test]
    fn news_keep_their_order_and_their_words() {
        let (parent, lookout) = pair().unwrap();
        let all = [
            News::Began { heard: Ticket(7) },
            News::Serving(Serving { generation: 3, note: String::from("a note") }),
            News::Failed(String::from("why")),
            News::Stopping,
        ];
        all.iter().for_each(|news| parent.tell(news).unwrap());
        all.into_iter().for_each(|news| assert_eq!(lookout.receive(), news));
    }

    #[test]
    fn each_end_notices_that_the_other_one_is_gone() {
        let (parent, lookout) = pair().unwrap();
        drop(parent);
        assert_eq!(lookout.receive(), News::ParentGone);
        assert!(lookout.send(Request::Publish).is_err());

        let (parent, lookout) = pair().unwrap();
        lookout.send(Request::Stop).unwrap();
        drop(lookout);
        assert_eq!(parent.receive(), Said::Request(Request::Stop, Ticket(1)));
        assert_eq!(parent.receive(), Said::Gone);
        assert!(parent.tell(&News::Stopping).is_err());
    }

    #[test]
    fn what_is_not_a_request_is_passed_over() {
        let (parent, lookout) = pair().unwrap();
        for nonsense in [&[0xff; 100][..], b"P", b"P1234567", b"Z12345678", b"P123456789"] {
            send_message(&lookout.socket, &[nonsense], None).unwrap();
        }
        lookout.send(Request::Reload).unwrap();
        assert_eq!(parent.receive(), Said::Request(Request::Reload, Ticket(1)));
    }

    #[test]
    fn one_that_reads_nothing_does_not_hold_the_parent_up() {
        let (parent, _lookout) = pair().unwrap();
        let long = News::Failed("why".repeat(MESSAGE_BYTES_MAX));
        assert!((0..100_000).any(|_| parent.tell(&long).is_err()), "at some point no more fits");
    }
}
