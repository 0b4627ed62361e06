//! What a call shares with its guest: the alarm between them, the answer's place, and the CPU time that it has used.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use wasmtime::UpdateDeadline;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use super::alarm::Alarm;
use super::fault::{CpuSpent, Fault};
use super::stopwatch::{Stopwatch, nanoseconds};

/// What the guest has answered, or why that is none.
pub(super) type Answer = Result<http::Response<HyperOutgoingBody>, Fault>;

/// See the file's head.
pub(super) struct Link {
    pub(super) alarm: Alarm,
    /// Of a guest that serves nobody else meanwhile.
    pub(super) stopwatch: Stopwatch,
    answer: Mutex<Option<Answer>>,
    /// Nanoseconds of CPU time that the guest has used for this call.
    spent: AtomicU64,
    /// Nanoseconds of what was used for several calls, of which nobody knows whose they were.
    shares: AtomicU64,
    /// It may use so much.
    limit: Duration,
}

impl Link {
    pub(super) fn new(slice: Duration, limit: Duration) -> Arc<Link> {
        Arc::new(Link {
            alarm: Alarm::new(Waker::noop().clone()),
            stopwatch: Stopwatch::new(slice),
            answer: Mutex::new(None),
            spent: AtomicU64::new(0),
            shares: AtomicU64::new(0),
            limit,
        })
    }

    /// Keeps what the guest answered until the call picks it up.
    pub(super) fn answer(&self, answer: Answer) {
        *lock(&self.answer) = Some(answer);
    }

    /// The answer, once, when there is one.
    pub(super) fn take_answer(&self) -> Option<Answer> {
        lock(&self.answer).take()
    }

    /// The guest has used so much for this call.
    pub(super) fn charge(&self, used: Duration) {
        self.spent.fetch_add(nanoseconds(used), Ordering::Relaxed);
    }

    /// The guest has used so much for several calls, and this is one's part. It is told, but never ends the call.
    pub(super) fn share(&self, used: Duration) {
        self.shares.fetch_add(nanoseconds(used), Ordering::Relaxed);
    }

    /// CPU time used so far.
    pub(super) fn spent(&self) -> Duration {
        Duration::from_nanos(self.spent.load(Ordering::Relaxed) + self.shares.load(Ordering::Relaxed))
    }

    /// Whether the whole CPU time of the call is used up.
    pub(super) fn is_spent(&self) -> bool {
        Duration::from_nanos(self.spent.load(Ordering::Relaxed)) >= self.limit
    }

    /// Called inside the guest at a tick of the clock, when it serves nobody else: shall it go on?
    pub(super) fn tick(&self) -> wasmtime::Result<UpdateDeadline> {
        let now = Instant::now();
        self.charge(self.stopwatch.lap(now));
        if self.is_spent() {
            return Err(CpuSpent.into());
        }
        let yields = self.stopwatch.slice_is_over(now);
        Ok(if yields { UpdateDeadline::Yield(1) } else { UpdateDeadline::Continue(1) })
    }
}

impl Wake for Link {
    fn wake(self: Arc<Self>) {
        self.alarm.wake();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.alarm.wake();
    }
}

/// Nothing that holds the lock can leave the value half changed, so a poisoned one is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_after_the_slice_makes_the_guest_yield() {
        for (slice, expected) in [(Duration::from_secs(60), false), (Duration::ZERO, true)] {
            let link = Link::new(slice, Duration::from_secs(120));
            link.stopwatch.enter(Instant::now());
            assert_eq!(matches!(link.tick(), Ok(UpdateDeadline::Yield(1))), expected);
            assert_eq!(link.stopwatch.was_sliced(), expected);
        }
    }

    #[test]
    fn a_tick_after_the_limit_ends_the_guest() {
        let link = Link::new(Duration::from_secs(60), Duration::ZERO);
        link.stopwatch.enter(Instant::now());
        let error = link.tick().err().expect("the limit is passed");
        assert!(error.is::<CpuSpent>());
    }

    #[test]
    fn what_is_charged_adds_up() {
        let link = Link::new(Duration::from_millis(1), Duration::from_millis(5));
        link.charge(Duration::from_millis(2));
        assert!(!link.is_spent());
        link.charge(Duration::from_millis(3));
        assert!(link.spent() == Duration::from_millis(5) && link.is_spent());
    }

    #[test]
    fn a_share_of_what_others_may_have_used_is_told_and_ends_nothing() {
        let link = Link::new(Duration::from_millis(1), Duration::from_millis(5));
        link.share(Duration::from_millis(7));
        assert!(link.spent() == Duration::from_millis(7) && !link.is_spent());
    }
}
