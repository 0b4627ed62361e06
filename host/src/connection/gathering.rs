//! How requests of several connections meet, so that a thread does the same work for one after the other. When they are
//! advanced is the MPM's ([`Next::Begin`](guesthouse_mpm::Next::Begin)); who moves on from a crowd is the guests'.

use super::Scope;
use super::wire::Wire;
use crate::http::{RequestBody, RequestHead};
use crate::site::Place;

/// What a request waits for before its guest runs.
pub(super) enum Gathering {
    /// Nothing.
    None,
    /// It begins when those of the other connections that are ready have been read.
    Read,
    /// It has begun, in an instance that serves several at once, which runs when the others have begun as well.
    Begun,
}

impl Gathering {
    /// Of a request for a module (an index into the configuration's).
    pub(super) fn of(request: &RequestHead, module: usize, wire: &Wire, scope: &Scope<'_, '_>) -> Self {
        // A client that sends requests without waiting for answers is served as long as its turn lasts.
        let is_pipelined = request.body == RequestBody::None && !wire.input.is_empty();
        match scope.site.places[module] {
            // The earlier it is there the better.
            Place::Confined(_) => Self::None,
            Place::Here(_) if is_pipelined => Self::None,
            Place::Here(guest) if scope.site.guests.gathers(guest) => Self::Begun,
            Place::Here(_) => Self::Read,
        }
    }
}
