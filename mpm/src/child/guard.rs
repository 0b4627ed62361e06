//! Calls into the protocol that a panic does not get out of: it ends one connection, and is logged, and the thread
//! goes on. Nothing else catches panics.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use crate::error::StartError;
use crate::protocol::{Accepted, Next, Protocol, Turn, Upkeep};

/// [`Protocol::accept`]; `None` if it panicked.
pub(super) fn accept<P: Protocol>(protocol: &P, thread: &mut P::Thread, accepted: &Accepted) -> Option<P::Connection> {
    caught("accepting a connection", || protocol.accept(thread, accepted))
}

/// [`Protocol::advance`]; a connection whose turn panicked is closed.
pub(super) fn advance<P: Protocol>(
    protocol: &P,
    thread: &mut P::Thread,
    connection: &mut P::Connection,
    mut turn: Turn<'_>,
) -> Next {
    caught("serving a connection", || protocol.advance(thread, connection, &mut turn)).unwrap_or(Next::Close)
}

/// [`Protocol::tend`]; a thread whose own work panicked has none for now.
pub(super) fn tend<P: Protocol>(protocol: &P, thread: &mut P::Thread, now: Instant) -> Upkeep {
    caught("looking after a thread's own work", || protocol.tend(thread, now)).unwrap_or(Upkeep::Done)
}

/// [`Protocol::adopt`]; what panics is not adopted.
pub(super) fn adopt<P: Protocol>(protocol: &P, generation: u32, handover: &[u8]) -> Result<(), StartError> {
    caught("taking another generation over", || protocol.adopt(generation, handover))
        .unwrap_or_else(|| Err(StartError(String::from("it panicked, as the log says"))))
}

/// [`Protocol::turn_end`].
pub(super) fn turn_end<P: Protocol>(protocol: &P, thread: &mut P::Thread) {
    caught("ending a turn", || protocol.turn_end(thread));
}

/// Drops what a connection owns, which may be as faulty as its turns.
pub(super) fn close<C>(connection: C) {
    caught("closing a connection", || drop(connection));
}

// What a panic may have left half done: a connection, which is dropped unseen, and the thread's state, of which the
// contract says that any connection may end at any time.
fn caught<T>(doing: &str, call: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(call))
        .inspect_err(|panic| tracing::error!("panic while {doing}: {}", text(panic.as_ref())))
        .ok()
}

fn text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no text)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_none_and_its_text_is_found() {
        assert_eq!(caught("testing", || 1), Some(1));
        assert_eq!(caught("testing", || -> i32 { panic!("expected by a test: {}", 7) }), None);
        assert_eq!(text(&"static"), "static");
        assert_eq!(text(&"formatted".to_owned()), "formatted");
        assert_eq!(text(&7), "(no text)");
    }
}
