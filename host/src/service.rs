//! What a child serves, behind the [`Protocol`] that the MPMs drive: clients, or, in the pool of a confined module, the
//! server children that have requests for it.
//!
//! An MPM accepts a socket and calls [`Service::accept`], which makes a connection; from then on it calls
//! [`Service::advance`], and the connection goes on as far as that is possible without waiting. Only chooses between the
//! two.

use std::time::Instant;

use guesthouse_mpm::{Accepted, Next, Protocol, StartError, ThreadContext, Turn, Upkeep};

use crate::confined::{Cell, Conversation, Desk};
use crate::connection;
use crate::site;
use crate::sites::Sites;

/// One child's protocol.
pub enum Service {
    Sites(Box<Sites>),
    Cell(Box<Cell>),
}

/// What a thread of that child owns.
pub enum Thread {
    Site(Box<site::Thread>),
    Cell(Desk),
}

/// What a connection to that child owns. Not boxed for a client: there may be thousands, and each is boxed by the MPM.
#[expect(clippy::large_enum_variant, reason = "a confined child has one connection at a time")]
pub enum Connection {
    Client(connection::Connection),
    ServerChild(Box<Conversation>),
}

const ONE_OF_TWO: &str = "a child, its threads and its connections are all of one kind";

impl Protocol for Service {
    type Thread = Thread;
    type Connection = Connection;

    fn thread(&self, context: ThreadContext) -> Result<Thread, StartError> {
        match self {
            Service::Sites(sites) => Ok(Thread::Site(Box::new(site::Thread::new(&sites.current(), &context)))),
            Service::Cell(cell) => Ok(Thread::Cell(Desk::new(cell, &context))),
        }
    }

    fn accept(&self, _thread: &mut Thread, accepted: &Accepted) -> Connection {
        match self {
            Service::Sites(sites) => {
                let timing = &sites.current().config.server.timing;
                Connection::Client(connection::Connection::new(accepted.peer, accepted.at, timing))
            }
            Service::Cell(_) => Connection::ServerChild(Box::new(Conversation::new(accepted.at))),
        }
    }

    fn advance(&self, thread: &mut Thread, connection: &mut Connection, turn: &mut Turn<'_>) -> Next {
        match (self, thread, connection) {
            (Service::Sites(sites), Thread::Site(thread), Connection::Client(connection)) => {
                connection.advance(sites, thread, turn)
            }
            (Service::Cell(cell), Thread::Cell(desk), Connection::ServerChild(conversation)) => {
                conversation.advance(cell, desk, turn)
            }
            _ => unreachable!("{ONE_OF_TWO}"),
        }
    }

    fn tend(&self, thread: &mut Thread, now: Instant) -> Upkeep {
        match (self, thread) {
            (Service::Sites(sites), Thread::Site(thread)) => {
                thread.keep_guests_of(&sites.current());
                thread.tend(now)
            }
            (Service::Cell(_), Thread::Cell(desk)) => desk.tend(now),
            _ => unreachable!("{ONE_OF_TWO}"),
        }
    }

    fn adopt(&self, generation: u32, handover: &[u8]) -> Result<(), StartError> {
        match self {
            Service::Sites(sites) => sites.adopt(generation, handover),
            Service::Cell(_) => Err(StartError(String::from("a confined child serves one version of its module"))),
        }
    }

    fn forget(&self, generation: u32) {
        if let Service::Sites(sites) = self {
            sites.forget(generation);
        }
    }

    fn published(&self) {
        if let Service::Sites(sites) = self {
            // Which looks, and drops what nobody needs any more.
            drop(sites.current());
        }
    }

    fn held(&self) -> Vec<u32> {
        match self {
            Service::Sites(sites) => sites.held(),
            Service::Cell(_) => Vec::new(),
        }
    }

    fn turn_end(&self, thread: &mut Thread) {
        match thread {
            Thread::Site(thread) => thread.turn_end(),
            // It gathers nothing.
            Thread::Cell(_) => {}
        }
    }
}
