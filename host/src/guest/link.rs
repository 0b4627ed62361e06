//! What a call shares with its running guest: the waker between them, the answer's place, and the meter of CPU time.
//!
//! A guest is polled by the thread that owns the connection, and most of what wakes it happens inside that very
//! poll: it frees a place in a channel, it yields. Such a wake must not ring the thread's poller, so the guest gets
//! a waker of its own, which rings only when nobody is polling:
//!
//! ```text
//!   asleep ──wake: ring──► woken ──poll begins──► polling ──poll ends with Pending──► asleep
//!                            ▲                       │ wake: remember
//!                            └───────────────────────┘ poll ends with anything else
//! ```

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use wasmtime::UpdateDeadline;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

/// What the guest handed to `response-outparam.set`.
pub(super) type Answer = Result<http::Response<HyperOutgoingBody>, ErrorCode>;

/// The guest's CPU time is used up. Raised inside the guest, so that it unwinds like a trap.
#[derive(Debug, thiserror::Error)]
#[error("cpu time used up")]
pub(super) struct CpuSpent;

const ASLEEP: u8 = 0;
const POLLING: u8 = 1;
const WOKEN: u8 = 2;

/// See the file's head.
pub(super) struct Link {
    /// One of the three above.
    wakefulness: AtomicU8,
    ring: Mutex<Waker>,
    answer: Mutex<Option<Answer>>,
    meter: Meter,
}

/// CPU time of one call: what was spent in polls that are over, and since when the present one runs.
struct Meter {
    start: Instant,
    slice: Duration,
    limit: Duration,
    /// Nanoseconds spent in polls that are over.
    spent: AtomicU64,
    /// Nanoseconds from `start` to the beginning of the present poll.
    entered: AtomicU64,
    /// The present poll ended because the slice was used up.
    sliced: AtomicBool,
}

impl Link {
    /// A new call's: it counts as woken, since nobody has polled it yet.
    pub(super) fn new(slice: Duration, limit: Duration) -> Arc<Link> {
        Arc::new(Link {
            wakefulness: AtomicU8::new(WOKEN),
            ring: Mutex::new(Waker::noop().clone()),
            answer: Mutex::new(None),
            meter: Meter {
                start: Instant::now(),
                slice,
                limit,
                spent: AtomicU64::new(0),
                entered: AtomicU64::new(0),
                sliced: AtomicBool::new(false),
            },
        })
    }

    /// Whom to ring from now on.
    pub(super) fn rings(&self, waker: &Waker) {
        lock(&self.ring).clone_from(waker);
    }

    /// The call is being polled from here on: nobody is rung. Returns whether the guest was woken before.
    pub(super) fn begin_poll(&self) -> bool {
        self.wakefulness.swap(POLLING, Ordering::AcqRel) == WOKEN
    }

    /// Whether the guest was woken since the poll began or since this was last asked.
    pub(super) fn woken(&self) -> bool {
        self.wakefulness.compare_exchange(WOKEN, POLLING, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The poll ends with nothing more to do: the next wake rings. Fails if the guest was woken meanwhile; then the
    /// poll has to go on.
    pub(super) fn fall_asleep(&self) -> bool {
        self.wakefulness.compare_exchange(POLLING, ASLEEP, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The poll ends, and the owner will poll again of its own accord: nobody needs to be rung.
    pub(super) fn stay_awake(&self) {
        self.wakefulness.store(WOKEN, Ordering::Release);
    }

    /// Keeps what the guest answered until the call picks it up.
    pub(super) fn answer(&self, answer: Answer) {
        *lock(&self.answer) = Some(answer);
    }

    /// The answer, once, when there is one.
    pub(super) fn take_answer(&self) -> Option<Answer> {
        lock(&self.answer).take()
    }

    /// The guest is about to run.
    pub(super) fn enter(&self, now: Instant) {
        self.meter.sliced.store(false, Ordering::Relaxed);
        self.meter.entered.store(nanoseconds(now - self.meter.start), Ordering::Relaxed);
    }

    /// The guest has stopped running.
    pub(super) fn leave(&self, now: Instant) {
        let ran = nanoseconds(now - self.meter.start).saturating_sub(self.meter.entered.load(Ordering::Relaxed));
        self.meter.spent.fetch_add(ran, Ordering::Relaxed);
    }

    /// Whether the guest stopped because its slice was used up and not because it waits for something.
    pub(super) fn was_sliced(&self) -> bool {
        self.meter.sliced.load(Ordering::Relaxed)
    }

    /// CPU time spent so far.
    pub(super) fn spent(&self) -> Duration {
        Duration::from_nanos(self.meter.spent.load(Ordering::Relaxed))
    }

    /// Whether the whole CPU time of the call is used up.
    pub(super) fn is_spent(&self) -> bool {
        self.spent() >= self.meter.limit
    }

    /// Called inside the guest at a tick of the clock: shall it go on?
    ///
    /// A guest whose poll began between two ticks has not had its slice at the first of them, so the elapsed time
    /// decides, and not the number of ticks: what ends within a slice never yields.
    pub(super) fn tick(&self) -> wasmtime::Result<UpdateDeadline> {
        let entered = self.meter.entered.load(Ordering::Relaxed);
        let ran = Duration::from_nanos(nanoseconds(self.meter.start.elapsed()).saturating_sub(entered));
        if self.spent() + ran >= self.meter.limit {
            return Err(CpuSpent.into());
        }
        if ran < self.meter.slice {
            return Ok(UpdateDeadline::Continue(1));
        }
        self.meter.sliced.store(true, Ordering::Relaxed);
        Ok(UpdateDeadline::Yield(1))
    }
}

impl Wake for Link {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.wakefulness.swap(WOKEN, Ordering::AcqRel) == ASLEEP {
            let ring = lock(&self.ring).clone();
            ring.wake();
        }
    }
}

/// Nothing that holds one of these locks can leave the value half changed, so a poisoned one is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Bell(AtomicUsize);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn linked() -> (Arc<Link>, Arc<Bell>) {
        let bell = Arc::new(Bell::default());
        let link = Link::new(Duration::from_millis(1), Duration::from_secs(1));
        link.rings(&Waker::from(Arc::clone(&bell)));
        (link, bell)
    }

    #[test]
    fn a_wake_inside_a_poll_is_remembered_and_rings_nobody() {
        let (link, bell) = linked();
        assert!(link.begin_poll(), "a new call counts as woken");
        link.wake_by_ref();
        assert!(!link.fall_asleep(), "has to go on");
        assert!(link.woken());
        assert!(!link.woken(), "asked once");
        assert!(link.fall_asleep());
        assert_eq!(bell.0.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn a_wake_between_polls_rings_once_however_often_it_comes() {
        let (link, bell) = linked();
        link.begin_poll();
        assert!(link.fall_asleep());
        link.wake_by_ref();
        link.wake_by_ref();
        assert_eq!(bell.0.load(Ordering::SeqCst), 1);
        assert!(link.begin_poll());
    }

    #[test]
    fn a_guest_that_nobody_woke_need_not_be_polled() {
        let (link, _) = linked();
        link.begin_poll();
        assert!(link.fall_asleep());
        assert!(!link.begin_poll());
    }

    #[test]
    fn a_call_that_will_be_polled_anyway_rings_nobody() {
        let (link, bell) = linked();
        link.begin_poll();
        link.stay_awake();
        link.wake_by_ref();
        assert_eq!(bell.0.load(Ordering::SeqCst), 0);
        assert!(link.begin_poll());
    }

    #[test]
    fn a_tick_within_the_slice_lets_the_guest_go_on() {
        let link = Link::new(Duration::from_secs(60), Duration::from_secs(120));
        link.enter(Instant::now());
        assert!(matches!(link.tick(), Ok(UpdateDeadline::Continue(1))));
        assert!(!link.was_sliced());
    }

    #[test]
    fn a_tick_after_the_slice_makes_the_guest_yield() {
        let link = Link::new(Duration::ZERO, Duration::from_secs(120));
        link.enter(Instant::now());
        assert!(matches!(link.tick(), Ok(UpdateDeadline::Yield(1))));
        assert!(link.was_sliced());
    }

    #[test]
    fn a_tick_after_the_limit_ends_the_guest() {
        let link = Link::new(Duration::from_secs(60), Duration::ZERO);
        link.enter(Instant::now());
        let error = link.tick().err().expect("the limit is passed");
        assert!(error.is::<CpuSpent>());
    }

    #[test]
    fn time_between_polls_is_not_cpu_time() {
        let link = Link::new(Duration::from_millis(1), Duration::from_secs(1));
        let start = Instant::now();
        link.enter(start);
        link.leave(start + Duration::from_millis(3));
        link.enter(start + Duration::from_secs(50));
        link.leave(start + Duration::from_secs(50) + Duration::from_millis(4));
        assert_eq!(link.spent(), Duration::from_millis(7));
    }
}
