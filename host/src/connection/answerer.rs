//! Who answers a request: a guest in this child, or one in a child of its module's pool. An exchange need not know which.

use std::task::Context;
use std::time::{Duration, Instant};

use http::Request;

use super::Scope;
use crate::config::Limits;
use crate::confined::{Bounds, Hop};
use crate::deploy::ConfinedPool;
use crate::finishing::Finishing;
use crate::guest::{Call, CallFacts, Fault, Progress, RequestBody};
use crate::site::Place;

/// See the file's head.
pub(super) enum Answerer {
    /// A guest of this child (an index into its guests). By then it must have finished.
    Here(Call, usize, Instant),
    Confined(Hop),
}

impl Answerer {
    /// Hands a request over to a module (an index into the configuration's).
    pub(super) fn begin(
        module: usize,
        request: Request<RequestBody>,
        facts: CallFacts,
        scope: &mut Scope<'_, '_>,
    ) -> Answerer {
        let site = scope.site;
        let Limits { wall, response_body, .. } = site.config.modules[module].limits;
        match &site.places[module] {
            Place::Here(guest) => {
                let call = site.guests.call(&mut scope.thread.shelf, *guest, request, facts);
                Answerer::Here(call, *guest, scope.turn.now + wall)
            }
            Place::Confined(pool) => {
                let ConfinedPool { address, queue_timeout: queue, queue_length, .. } = pool;
                let bounds = Bounds { queue: *queue, queue_length: *queue_length, wall, response_body };
                let queues = &mut scope.thread.queues;
                Answerer::Confined(Hop::begin(scope.turn, queues, address, request, facts, bounds))
            }
        }
    }

    pub(super) fn poll(&mut self, scope: &mut Scope<'_, '_>) -> Progress {
        match self {
            Answerer::Here(call, guest, _) => {
                scope.site.guests.move_on(&mut scope.thread.shelf, *guest, call);
                call.poll(&mut Context::from_waker(scope.turn.waker()))
            }
            Answerer::Confined(hop) => hop.poll(scope.turn, &mut scope.thread.scratch),
        }
    }

    /// To be called before the request's body is fed, by who polls next anyway.
    pub(super) fn rouse(&self) {
        match self {
            Answerer::Here(call, ..) => call.rouse(),
            Answerer::Confined(_) => {}
        }
    }

    /// CPU time of the guest so far; of a confined one it is known at the end.
    pub(super) fn cpu(&self) -> Duration {
        match self {
            Answerer::Here(call, ..) => call.cpu(),
            Answerer::Confined(hop) => hop.cpu(),
        }
    }

    /// Whether an instance serves that had served before; `None`: none has been found yet.
    pub(super) fn is_reused(&self) -> Option<bool> {
        match self {
            Answerer::Here(call, ..) => Some(call.is_reused()),
            Answerer::Confined(hop) => hop.is_reused(),
        }
    }

    /// Whether its time is over.
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        match self {
            Answerer::Here(.., wall) => now >= *wall,
            Answerer::Confined(hop) => hop.is_overdue(now),
        }
    }

    /// When to poll at the latest; `None`: all is said.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Answerer::Here(.., wall) => Some(*wall),
            Answerer::Confined(hop) => hop.deadline(),
        }
    }

    /// Ends a request whose time is over.
    pub(super) fn time_out(&mut self, scope: &mut Scope<'_, '_>) -> Fault {
        match self {
            Answerer::Here(call, ..) => call.time_out(),
            Answerer::Confined(hop) => hop.time_out(scope.turn),
        }
    }

    /// All is said, well or not: what may serve again is kept, and another request may have the place of this one.
    pub(super) fn finish(self, scope: &mut Scope<'_, '_>) {
        match self {
            Answerer::Here(call, ..) => {
                call.finish(&mut scope.thread.shelf);
                scope.turn.end_request();
            }
            Answerer::Confined(hop) => leave(hop, scope),
        }
    }

    /// Nobody waits for the answer any more; `Some`: the guest goes on all the same, and the request keeps its place.
    pub(super) fn abandon(self, scope: &mut Scope<'_, '_>) -> Option<Finishing> {
        match self {
            Answerer::Here(call, ..) => {
                let finishing = Finishing::of(call, scope.turn.now);
                if finishing.is_none() {
                    scope.turn.end_request();
                }
                finishing
            }
            // The confined child notices, and does the same.
            Answerer::Confined(hop) => {
                leave(hop, scope);
                None
            }
        }
    }
}

/// It had no place: its pool bounds what it takes.
fn leave(mut hop: Hop, scope: &mut Scope<'_, '_>) {
    hop.end(scope.turn);
    scope.turn.count_request();
}
