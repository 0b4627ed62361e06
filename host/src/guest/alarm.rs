//! The waker between a guest and whoever polls it.
//!
//! A guest is polled by the thread that serves its request, and most of what wakes it happens inside that very poll: it
//! frees a place in a channel, it yields. Such a wake must not ring the thread's poller, so the guest gets a waker of its
//! own, which rings only when nobody is polling:
//!
//! ```text
//!   asleep ──wake: ring──► woken ──poll begins──► polling ──poll ends with Pending──► asleep
//!                            ▲                       │ wake: remember
//!                            └───────────────────────┘ poll ends with anything else
//! ```

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::Waker;

const ASLEEP: u8 = 0;
const POLLING: u8 = 1;
const WOKEN: u8 = 2;

/// See the file's head.
pub(super) struct Alarm {
    /// One of the three above.
    wakefulness: AtomicU8,
    ring: Mutex<Waker>,
}

impl Alarm {
    /// What nobody has polled yet counts as woken.
    pub(super) fn new(ring: Waker) -> Alarm {
        Alarm { wakefulness: AtomicU8::new(WOKEN), ring: Mutex::new(ring) }
    }

    /// Whom to ring from now on.
    pub(super) fn rings(&self, waker: &Waker) {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner).clone_from(waker);
    }

    /// It is being polled from here on: nobody is rung. Returns whether it was woken before.
    pub(super) fn begin_poll(&self) -> bool {
        self.wakefulness.swap(POLLING, Ordering::AcqRel) == WOKEN
    }

    /// Whether it was woken since the poll began or since this was last asked.
    pub(super) fn woken(&self) -> bool {
        self.wakefulness.compare_exchange(WOKEN, POLLING, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Whether it is to be polled: it was woken, and nobody has polled since.
    pub(super) fn is_due(&self) -> bool {
        self.wakefulness.load(Ordering::Acquire) == WOKEN
    }

    /// The poll ends with nothing more to do: the next wake rings. Fails if it was woken meanwhile; then the poll has to
    /// go on.
    pub(super) fn fall_asleep(&self) -> bool {
        self.wakefulness.compare_exchange(POLLING, ASLEEP, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The poll ends, and the owner will poll again of its own accord: nobody needs to be rung.
    pub(super) fn stay_awake(&self) {
        self.wakefulness.store(WOKEN, Ordering::Release);
    }

    /// Something that it waits for has happened.
    pub(super) fn wake(&self) {
        if self.wakefulness.swap(WOKEN, Ordering::AcqRel) == ASLEEP {
            self.ring();
        }
    }

    /// Has it polled by whom it rings, whether it was woken or not.
    pub(super) fn ring(&self) {
        // Nothing that holds this lock can leave the waker half changed, so a poisoned one is as good as any.
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner).clone();
        ring.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Bell(AtomicUsize);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn with_a_bell() -> (Alarm, Arc<Bell>) {
        let bell = Arc::new(Bell::default());
        (Alarm::new(Waker::from(Arc::clone(&bell))), bell)
    }

    #[test]
    fn a_wake_inside_a_poll_is_remembered_and_rings_nobody() {
        let (alarm, bell) = with_a_bell();
        assert!(alarm.begin_poll(), "what is new counts as woken");
        alarm.wake();
        assert!(!alarm.fall_asleep(), "has to go on");
        assert!(alarm.woken());
        assert!(!alarm.woken(), "asked once");
        assert!(alarm.fall_asleep());
        assert_eq!(bell.0.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn a_wake_between_polls_rings_once_however_often_it_comes() {
        let (alarm, bell) = with_a_bell();
        alarm.begin_poll();
        assert!(alarm.fall_asleep() && !alarm.is_due());
        alarm.wake();
        alarm.wake();
        assert_eq!(bell.0.load(Ordering::SeqCst), 1);
        assert!(alarm.is_due() && alarm.begin_poll());
    }

    #[test]
    fn what_nobody_woke_need_not_be_polled() {
        let (alarm, _) = with_a_bell();
        alarm.begin_poll();
        assert!(alarm.fall_asleep());
        assert!(!alarm.begin_poll());
    }

    #[test]
    fn what_will_be_polled_anyway_rings_nobody() {
        let (alarm, bell) = with_a_bell();
        alarm.begin_poll();
        alarm.stay_awake();
        alarm.wake();
        assert_eq!(bell.0.load(Ordering::SeqCst), 0);
        assert!(alarm.begin_poll());
    }
}
