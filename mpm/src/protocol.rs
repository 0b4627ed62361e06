//! The contract between an MPM and what it serves: what a [`Protocol`] must do, and what it answers with ([`Next`]).
//!
//! Nothing here knows what a byte means, and nothing here waits: waiting is what the three MPMs differ in.

use std::io;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use crate::error::{LoadError, StartError};
use crate::lookout::Lookout;
use crate::poller::{Poller, Token};
use crate::scoreboard::{Scoreboard, ThreadSlot};
use crate::settings::{ListenAddress, Settings};
use crate::stream::Stream;
use crate::waker::{Inbox, Wakes};

/// A point in time on the monotonic clock at which a waiting connection is advanced whatever else happens.
pub type Deadline = Instant;

/// What a server serves: read in the parent, started in every child.
///
/// One value lives in the parent for as long as the server does; every child gets the copy that `fork` made.
pub trait Application {
    type Protocol: Protocol;

    /// The process that makes ready what [`load`](Self::load) needs: it may read, check and compile whatever it
    /// likes, for as long as it likes, because the parent does not wait for it. Runs at the start and again before
    /// every reload. Its standard output is handed to `load`; exit status 0 means "go on".
    ///
    /// `None`: there is nothing to make ready.
    fn preparation(&mut self) -> Option<Command>;

    /// Reads what the preparation wrote and says how to serve it, in the generation with this number. Runs in the parent, so it
    /// must not block.
    ///
    /// # Errors
    /// At the start the server does not start; at a reload the previous generation goes on serving.
    fn load(&mut self, generation: u32, prepared: &[u8]) -> Result<Settings, LoadError>;

    /// Takes the latest [`load`](Self::load) back: its generation could not begin (a pool's children could not
    /// start, an address could not be bound), and its number may be used again. Runs in the parent, after a `load` that
    /// succeeded and before the next one, never at the start.
    fn abandon(&mut self);

    /// What the server's own children need, to serve the latest [`load`](Self::load) beside what they have, and then in its
    /// place ([`Protocol::adopt`]). Asked for when a lookout has asked for the reload. `None`: only new children can serve
    /// it. Runs in the parent, so it must not block.
    fn handover(&self) -> Option<Vec<u8>> {
        None
    }

    /// A restart (HUP) is complete, and the counters of the scoreboard begin anew: so do those that the application
    /// keeps over reloads (see [`Tallies`](crate::scoreboard::Tallies)). Runs in the parent, so it must not block.
    fn reset_counters(&mut self);

    /// What was loaded last is about to be published, and nothing can come between any more: the time to write that down, if it
    /// is to be known to who starts the server next. What it answers is told the lookout: a short text, such as where it was
    /// written. Runs in the parent, so it must not block.
    fn publish(&mut self) -> String {
        String::new()
    }

    /// It is published: whatever begins is served by it. The time to tell. Runs in the parent, so it must not block.
    fn published(&mut self) {}

    /// Whether the server has a lookout. Asked once, when it has come to serve.
    fn has_lookout(&self) -> bool {
        false
    }

    /// Does the work of the lookout, a process of its own that asks the parent for reloads. It is forked as a child is, when
    /// the server has come to serve, so it has what the application had then, and may start threads. It is to return when the
    /// parent has gone ([`News::ParentGone`](crate::lookout::News::ParentGone)); one that ends before is started again after a
    /// pause. It ends with the parent, unless it asks the kernel for a moment more.
    fn look_out(&self, lookout: Lookout) {
        drop(lookout);
    }

    /// Makes the protocol of one child, in the freshly forked child: from here on threads may be started.
    /// It serves what was [loaded](Self::load) for its generation: the latest that was not abandoned, or, in a pool that only
    /// older requests speak to any more, one before that.
    ///
    /// # Errors
    /// The child exits without having served. The reason reaches the parent, which gives up the generation (at a
    /// reload) or the server (at the start).
    fn start(&self, child: &ChildContext) -> Result<Self::Protocol, StartError>;
}

/// What a child is told about itself.
#[derive(Debug, Clone)]
pub struct ChildContext {
    /// Index of the child's line in the scoreboard.
    pub slot: usize,
    /// Which reading of the configuration the child serves to begin with; 0 is the first.
    pub generation: u32,
    /// Index of the child's pool in [`Settings::pools`] of that reading; 0 is the server's own.
    pub pool: usize,
    pub pool_name: String,
    /// Threads of this child that will call [`Protocol::advance`].
    pub threads: usize,
    /// Requests that the whole child may have in flight at once.
    pub requests_in_flight_max: usize,
    /// What all children tell of themselves, to be read: those that have had a line since this child was forked. What
    /// is written there is for the MPM.
    pub scoreboard: Scoreboard,
    /// Has the MPM ask for [`Protocol::held`] again when it is woken, from any thread.
    pub news: Waker,
}

/// What a thread of a child is told about itself.
#[derive(Debug, Clone)]
pub struct ThreadContext {
    /// Index of the thread in its child, from 0.
    pub index: usize,
    /// Has the thread's own work looked after ([`Protocol::tend`]) when it is woken, from any thread.
    pub waker: Waker,
    /// The thread's line in the scoreboard.
    pub slot: ThreadSlot,
}

/// One protocol, in one child. Shared by the child's threads; what changes belongs to a thread or a connection.
pub trait Protocol: Send + Sync + 'static {
    /// What one thread owns: buffers that connections borrow, log lines of this turn.
    type Thread: 'static;
    /// What one connection owns, apart from its sockets.
    type Connection: 'static;

    /// Makes a thread's state, on that thread, before it serves.
    ///
    /// # Errors
    /// As for [`Application::start`].
    fn thread(&self, context: ThreadContext) -> Result<Self::Thread, StartError>;

    /// Makes a connection from a socket that was just accepted. [`advance`](Self::advance) is called right after.
    fn accept(&self, thread: &mut Self::Thread, accepted: &Accepted) -> Self::Connection;

    /// Does what can be done without blocking and says what to wait for next.
    ///
    /// An MPM may call it at any time, also when nothing has changed. Before answering with a `Next` that waits,
    /// it must have seen either a read that would block ([`Stream`] remembers), or have a reason not to read; so with
    /// its upstream, if it has one.
    fn advance(&self, thread: &mut Self::Thread, connection: &mut Self::Connection, turn: &mut Turn<'_>) -> Next;

    /// Looks after the work of a thread that belongs to none of its connections, without blocking: what many of them
    /// share, or what goes on after one has closed. Called when [`ThreadContext::waker`] was woken, when the deadline
    /// of the answer before has passed, and at any other time an MPM likes.
    ///
    /// A thread that serves one connection at a time does this work while that one waits, and finishes it before it
    /// takes the next. No thread ends before it is done.
    fn tend(&self, thread: &mut Self::Thread, now: Instant) -> Upkeep {
        let _ = (thread, now);
        Upkeep::Done
    }

    /// Makes ready to serve another generation beside the present one, from what [`Application::handover`] gave. It serves
    /// nobody before it stands on the scoreboard as [published](Scoreboard::published); from then on whatever begins is
    /// served by it, in all children at once, and what has begun goes on as it was. Called on a thread of its own, which may
    /// take its time; in the server's own pool only.
    ///
    /// # Errors
    /// Why not. The generation comes to nothing in all children, and it is tried once more with new ones.
    fn adopt(&self, generation: u32, handover: &[u8]) -> Result<(), StartError> {
        let _ = handover;
        Err(StartError(format!("generation {generation} is for new children")))
    }

    /// A generation that was adopted is never published.
    fn forget(&self, generation: u32) {
        let _ = generation;
    }

    /// What stands on the scoreboard as published has changed, though no connection may have noticed. Every thread is asked
    /// to [`tend`](Self::tend) its work after this.
    fn published(&self) {}

    /// The generations that something is still served by, in ascending order. Empty: the one that the child began with, for
    /// ever. A pool of a generation before is there for as long as one of the server's own children holds that one.
    fn held(&self) -> Vec<u32> {
        Vec::new()
    }

    /// The thread is about to wait, or has served all that was ready: hand over what was gathered (log lines).
    fn turn_end(&self, thread: &mut Self::Thread);
}

/// What the work of a thread that belongs to none of its connections waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upkeep {
    /// There is none.
    Done,
    /// The thread's waker will tell; it is looked after at the deadline at the latest.
    Wait(Deadline),
    /// It has used a time slice up and would go on, after everything that is ready.
    Yield(Deadline),
}

impl Upkeep {
    /// When to look after it at the latest; `None` if there is nothing to look after.
    #[must_use]
    pub fn deadline(&self) -> Option<Deadline> {
        match *self {
            Upkeep::Done => None,
            Upkeep::Wait(at) | Upkeep::Yield(at) => Some(at),
        }
    }
}

/// Facts about a socket that was just accepted.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// `None` on a Unix socket.
    pub peer: Option<SocketAddr>,
    /// `None` on a Unix socket.
    pub local: Option<SocketAddr>,
    pub at: Instant,
}

/// One call of [`Protocol::advance`]: the sockets and the circumstances.
pub struct Turn<'a> {
    /// Non-blocking, and it remembers whether it can be read or written.
    pub stream: &'a mut Stream,
    /// The time of this turn.
    pub now: Instant,
    /// The child is to end as soon as all its connections have. Every connection is advanced once when this becomes
    /// true, and what becomes of it is decided here: a connection that still waits is waited for until its deadline,
    /// an idle one too. So ask the peer to close, and let what is idle end soon, but not before a request that is on
    /// its way already has been answered. (When the parent has died, all that is open has one second.)
    pub draining: bool,
    /// Boxed, because most connections never have one.
    pub(crate) upstream: &'a mut Option<Box<Stream>>,
    pub(crate) waker: OwnWaker<'a>,
    /// `None`: the thread serves one connection at a time, and asks for its edges when it waits.
    pub(crate) company: Option<Company<'a>>,
    pub(crate) gate: &'a mut Gate,
    pub(crate) pass: &'a mut Pass,
    pub(crate) slot: &'a ThreadSlot,
}

/// The waker of a connection.
pub(crate) enum OwnWaker<'a> {
    /// That of the thread, which serves no other.
    Thread(&'a Waker),
    /// Made when it is first asked for: most connections are idle most of the time, and their wakers would take a tenth of their
    /// memory.
    OnDemand { made: &'a mut Option<Waker>, inbox: &'a Arc<Inbox>, token: Token },
}

/// What a connection has in common with the others of its thread.
pub(crate) struct Company<'a> {
    /// Where an upstream is to be watched.
    pub(crate) poller: &'a Poller,
    /// This connection.
    pub(crate) token: Token,
    /// Upstreams that this connection has handed to others.
    pub(crate) handed: &'a mut Vec<(Token, Box<Stream>)>,
}

/// Names one connection among those of its thread, for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionId(Token);

impl Turn<'_> {
    /// Advances this connection when it is woken, from any thread, during a turn or after it.
    pub fn waker(&mut self) -> &Waker {
        match &mut self.waker {
            OwnWaker::Thread(waker) => waker,
            OwnWaker::OnDemand { made, inbox, token } => {
                made.get_or_insert_with(|| inbox.waker(Wakes::Connection(*token)))
            }
        }
    }

    /// Names this connection; `None`: its thread serves no other at the same time.
    #[must_use]
    pub fn id(&self) -> Option<ConnectionId> {
        self.company.as_ref().map(|company| ConnectionId(company.token))
    }

    /// Takes one of the thread's places for requests in flight, unless this connection has one already.
    /// `false`: there is none now, answer with [`Next::Admit`].
    pub fn begin_request(&mut self) -> bool {
        self.gate.enter(self.pass)
    }

    /// Counts one request served that has taken no place: one that somebody else bounds.
    pub fn count_request(&self) {
        self.slot.count_request();
    }

    /// Gives the place back and counts one request served.
    pub fn end_request(&mut self) {
        if self.gate.leave(self.pass) {
            self.slot.count_request();
        }
    }

    /// Opens the connection's second socket, its *upstream*, to an address on which another pool of this server
    /// listens. From here on the connection is advanced at every new readiness of that socket as well. It closes with
    /// the connection, unless it was handed to another. There is one at a time: the one before is closed, also if there will be no other.
    ///
    /// It counts as writable, and as readable when the kernel says so. What is written to it does not count as sent to
    /// clients.
    ///
    /// # Errors
    /// Never waits: `WouldBlock` means that as many connections as it may hold (ListenBacklog) wait for the pool
    /// already. `ConnectionRefused`, `NotFound`: nobody listens there. `Unsupported`: not the address of a Unix socket.
    /// Anything else: descriptors or memory are out.
    pub fn connect(&mut self, address: &ListenAddress) -> io::Result<()> {
        self.disconnect();
        let upstream = Stream::connect(address)?;
        if let Some(Company { poller, token, .. }) = self.company {
            poller.watch_upstream(&upstream, token)?;
        }
        *self.upstream = Some(Box::new(upstream));
        Ok(())
    }

    /// The second socket, if there is one.
    pub fn upstream(&mut self) -> Option<&mut Stream> {
        self.upstream.as_deref_mut()
    }

    /// Makes the second socket that of another connection of this thread, in the place of what that has. It is
    /// advanced right after this turn. If it is gone, or cannot watch the socket, the socket closes.
    pub fn hand_upstream_to(&mut self, ConnectionId(other): ConnectionId) {
        if let Some(company) = &mut self.company {
            company.handed.extend(self.upstream.take().map(|upstream| (other, upstream)));
        }
    }

    /// Closes the second socket, if there is one.
    pub fn disconnect(&mut self) {
        *self.upstream = None;
    }
}

/// Bounds the requests that a thread has in flight.
#[derive(Debug)]
pub(crate) struct Gate {
    in_flight: usize,
    in_flight_max: usize,
}

/// A connection's place behind a [`Gate`], held or not. One for each connection, kept by the MPM, which calls
/// [`Gate::leave`] when the connection closes.
#[derive(Debug, Default)]
pub(crate) struct Pass {
    held: bool,
}

impl Gate {
    pub(crate) fn new(in_flight_max: usize) -> Self {
        Self { in_flight: 0, in_flight_max }
    }

    fn enter(&mut self, pass: &mut Pass) -> bool {
        if !pass.held && self.in_flight < self.in_flight_max {
            self.in_flight += 1;
            pass.held = true;
        }
        pass.held
    }

    /// Says whether there was a place to give back.
    pub(crate) fn leave(&mut self, pass: &mut Pass) -> bool {
        let held = std::mem::take(&mut pass.held);
        self.in_flight -= usize::from(held);
        held
    }

    pub(crate) fn is_full(&self) -> bool {
        self.in_flight >= self.in_flight_max
    }
}

/// What a connection waits for. Whatever it is, the connection is advanced at the latest at the deadline; and while
/// it waits it is advanced at every new readiness of its sockets (see [`Stream`]) and whenever its waker is woken.
/// What the variants differ in is what they mean to an MPM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// A request has begun to arrive; more of it is needed.
    Read(Deadline),
    /// A request has been read, and a guest is to answer it: advance the connection again soon, before the thread waits.
    /// Where a thread has many connections, those that are ready are read first, so that guests run one after the other
    /// with nothing in between, which takes less time: the processor finds more of their code where it left it.
    Begin,
    /// An answer is under way; the socket takes no more at the moment.
    Write(Deadline),
    /// An answer is whole, and its last bytes are still to be written: advance it again soon, before the thread waits.
    /// Where a thread has many connections, those that are ready come first, so that the answers of one turn leave
    /// together: a client with several connections is woken once for them, and waking it costs more than writing.
    Flush,
    /// Between two requests: nothing has begun, and the connection may be closed to make room for another one, after
    /// it was advanced once more. Not the answer of a connection that has just been accepted: its first request is on
    /// its way, so it is `Read`.
    Idle(Deadline),
    /// A whole request is here and [`Turn::begin_request`] found no place: advance it when there is one.
    Admit(Deadline),
    /// Something other than the socket is awaited; the waker will tell.
    Wait(Deadline),
    /// A guest has used its time slice up and would go on: advance it again after everything that is ready.
    Yield(Deadline),
    /// All is said; the sending side is shut down and the peer's end is awaited.
    Linger(Deadline),
    /// Drop the connection.
    Close,
}

impl Next {
    /// When to advance the connection at the latest; `None` if that is at once, or it is over.
    #[must_use]
    pub fn deadline(&self) -> Option<Deadline> {
        match *self {
            Next::Read(at)
            | Next::Write(at)
            | Next::Idle(at)
            | Next::Admit(at)
            | Next::Wait(at)
            | Next::Yield(at)
            | Next::Linger(at) => Some(at),
            Next::Begin | Next::Flush | Next::Close => None,
        }
    }
}
