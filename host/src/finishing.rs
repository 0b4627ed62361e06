//! A guest whose client is gone: one whose instance is to serve others goes on for nobody, for a moment, because to end it
//! would end the instance and all that it remembers. Any other is ended at once.

use std::task::Context;
use std::time::{Duration, Instant};

use guesthouse_mpm::{Next, Turn};

use crate::guest::{Call, Progress, Shelf};

/// How long a guest may go on for nobody.
const FINISHING_MAX: Duration = Duration::from_secs(1);

/// See the file's head. Dropping it ends the guest.
pub(crate) struct Finishing {
    call: Call,
    until: Instant,
}

impl Finishing {
    /// `None`: the guest was ended.
    pub(crate) fn of(mut call: Call, now: Instant) -> Option<Self> {
        if !call.outlives() {
            return None;
        }
        call.discard();
        Some(Self { call, until: now + FINISHING_MAX })
    }

    /// Lets the guest go on. `None`: it has ended, well or not; then the request's place was given back.
    pub(crate) fn advance(mut self, shelf: &mut Shelf, turn: &mut Turn<'_>) -> Option<(Self, Next)> {
        if turn.now < self.until {
            match self.call.poll(&mut Context::from_waker(turn.waker())) {
                Progress::Pending => {
                    let next = Next::Wait(self.until);
                    return Some((self, next));
                }
                Progress::Sliced => {
                    let next = Next::Yield(self.until);
                    return Some((self, next));
                }
                Progress::Done => self.call.finish(shelf),
                Progress::Failed(fault) => {
                    tracing::debug!(cause = fault.kind(), "a guest whose client was gone has failed: {fault}");
                }
                Progress::Head(..) | Progress::Data(_) | Progress::End(_) => {
                    unreachable!("what a discarded call says is thrown away")
                }
            }
        }
        turn.end_request();
        None
    }
}
