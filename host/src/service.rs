//! What a child serves, by its pool: clients ([`Site`]), or the server children that have requests for a confined module
//! ([`Cell`]). Only chooses between the two.

use guesthouse_mpm::{Accepted, Next, Protocol, StartError, ThreadContext, Turn};

use crate::confined::{Cell, Conversation, Desk};
use crate::connection;
use crate::site::{self, Site};

/// One child's protocol.
pub enum Service {
    Site(Box<Site>),
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
            Service::Site(site) => site.thread(context).map(Box::new).map(Thread::Site),
            Service::Cell(cell) => cell.thread(context).map(Thread::Cell),
        }
    }

    fn accept(&self, thread: &mut Thread, accepted: &Accepted) -> Connection {
        match (self, thread) {
            (Service::Site(site), Thread::Site(thread)) => Connection::Client(site.accept(thread, accepted)),
            (Service::Cell(cell), Thread::Cell(desk)) => Connection::ServerChild(Box::new(cell.accept(desk, accepted))),
            _ => unreachable!("{ONE_OF_TWO}"),
        }
    }

    fn advance(&self, thread: &mut Thread, connection: &mut Connection, turn: &mut Turn<'_>) -> Next {
        match (self, thread, connection) {
            (Service::Site(site), Thread::Site(thread), Connection::Client(connection)) => {
                site.advance(thread, connection, turn)
            }
            (Service::Cell(cell), Thread::Cell(desk), Connection::ServerChild(conversation)) => {
                cell.advance(desk, conversation, turn)
            }
            _ => unreachable!("{ONE_OF_TWO}"),
        }
    }

    fn turn_end(&self, thread: &mut Thread) {
        match (self, thread) {
            (Service::Site(site), Thread::Site(thread)) => site.turn_end(thread),
            (Service::Cell(cell), Thread::Cell(desk)) => cell.turn_end(desk),
            _ => unreachable!("{ONE_OF_TWO}"),
        }
    }
}
