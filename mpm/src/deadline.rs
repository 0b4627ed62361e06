//! Which deadline comes next, for many connections, at next to no cost for a deadline that only moves later.
//!
//! A connection's deadline changes with almost every request and hardly ever fires. So the queue holds *when to look
//! again* for each key, at or before the real deadline, and corrects itself when that time comes: a deadline that
//! moves later costs a comparison, one that moves earlier costs an insertion. Nothing here reads a clock.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

/// Superseded entries that are tolerated before they are swept out, apart from one for each key.
const SLACK: usize = 64;

/// For a key that has no entry: later than any deadline.
const NEVER: u64 = u64::MAX;

/// The queue. Keys are small numbers that are used again (places in a slab); a key that is used again inherits the
/// entry of its predecessor, which is merely corrected when it fires.
///
/// A time in it is so many nanoseconds after `origin`, which takes half of what an [`Instant`] does.
#[derive(Debug)]
pub(crate) struct DeadlineQueue {
    origin: Instant,
    heap: BinaryHeap<Reverse<(u64, u32)>>,
    /// For each key the time of its valid entry in the heap; all its others are superseded.
    queued: Vec<u64>,
}

impl DeadlineQueue {
    /// Memory of one key.
    #[cfg(test)]
    pub(crate) const BYTES_EACH: usize = size_of::<Reverse<(u64, u32)>>() + size_of::<u64>();

    /// What is earlier than `origin` counts as just then.
    pub(crate) fn new(origin: Instant) -> Self {
        Self { origin, heap: BinaryHeap::new(), queued: Vec::new() }
    }

    /// The key's deadline is now `deadline`. Must be called whenever it moves earlier, may be called at any time.
    pub(crate) fn set(&mut self, key: u32, deadline: Instant) {
        self.set_at(key, since(self.origin, deadline));
    }

    fn set_at(&mut self, key: u32, deadline: u64) {
        let place = key as usize;
        if place >= self.queued.len() {
            self.queued.resize(place + 1, NEVER);
        }
        if self.queued[place] <= deadline {
            return;
        }
        self.queued[place] = deadline;
        self.heap.push(Reverse((deadline, key)));
        self.sweep();
    }

    /// When to ask [`pop_expired`](Self::pop_expired) again: never later than the earliest deadline.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| self.origin + Duration::from_nanos(*at))
    }

    /// Takes out the key with the earliest deadline if that has come. It is not reported again until it is
    /// [`set`](Self::set) again. `deadline_of` tells a key's real deadline; `None`: it has none.
    pub(crate) fn pop_expired(&mut self, now: Instant, deadline_of: impl Fn(u32) -> Option<Instant>) -> Option<u32> {
        self.pop(since(self.origin, now), deadline_of)
    }

    /// Takes out the key with the earliest deadline, whenever that is.
    pub(crate) fn pop_earliest(&mut self, deadline_of: impl Fn(u32) -> Option<Instant>) -> Option<u32> {
        self.pop(NEVER, deadline_of)
    }

    fn pop(&mut self, until: u64, deadline_of: impl Fn(u32) -> Option<Instant>) -> Option<u32> {
        while let Some(&Reverse((at, key))) = self.heap.peek() {
            if at > until {
                return None;
            }
            self.heap.pop();
            let valid = &mut self.queued[key as usize];
            if *valid != at {
                continue;
            }
            *valid = NEVER;
            match deadline_of(key).map(|deadline| since(self.origin, deadline)) {
                Some(deadline) if deadline <= at => return Some(key),
                Some(later) => self.set_at(key, later),
                None => {}
            }
        }
        None
    }

    /// Keeps the heap in proportion to the keys, whatever the order in which deadlines move.
    fn sweep(&mut self) {
        if self.heap.len() > 2 * self.queued.len() + SLACK {
            let queued = &self.queued;
            self.heap.retain(|Reverse((at, key))| queued[*key as usize] == *at);
        }
    }
}

/// What is more than five centuries ahead counts as then.
fn since(origin: Instant, time: Instant) -> u64 {
    let nanoseconds = time.saturating_duration_since(origin).as_nanos();
    u64::try_from(nanoseconds).unwrap_or(NEVER).min(NEVER - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[derive(Debug, Clone)]
    enum Step {
        Set { key: u32, in_ms: u64 },
        Remove { key: u32 },
        Pass { ms: u64 },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0u32..8, 0u64..300).prop_map(|(key, in_ms)| Step::Set { key, in_ms }),
            1 => (0u32..8).prop_map(|key| Step::Remove { key }),
            2 => (0u64..100).prop_map(|ms| Step::Pass { ms }),
        ];
        proptest::collection::vec(step, 1..400)
    }

    /// Takes everything out that has expired, and forgets it.
    fn expire(queue: &mut DeadlineQueue, real: &mut HashMap<u32, Instant>, now: Instant) -> Vec<u32> {
        let mut expired = Vec::new();
        while let Some(key) = queue.pop_expired(now, |key| real.get(&key).copied()) {
            real.remove(&key);
            expired.push(key);
        }
        expired.sort_unstable();
        expired
    }

    proptest! {
        #[test]
        fn exactly_the_expired_keys_come_out(steps in steps()) {
            let mut now = Instant::now();
            let mut queue = DeadlineQueue::new(now);
            let mut real = HashMap::new();
            for step in steps {
                match step {
                    Step::Set { key, in_ms } => {
                        let deadline = now + Duration::from_millis(in_ms);
                        real.insert(key, deadline);
                        queue.set(key, deadline);
                    }
                    Step::Remove { key } => {
                        real.remove(&key);
                    }
                    Step::Pass { ms } => now += Duration::from_millis(ms),
                }
                let mut expected: Vec<u32> =
                    real.iter().filter(|(_, at)| **at <= now).map(|(key, _)| *key).collect();
                expected.sort_unstable();
                prop_assert_eq!(expire(&mut queue, &mut real, now), expected);
                if let Some(earliest) = real.values().min() {
                    prop_assert!(queue.next().is_some_and(|next| next <= *earliest));
                }
                prop_assert!(queue.heap.len() <= 2 * queue.queued.len() + SLACK);
            }
        }
    }

    #[test]
    fn the_earliest_key_is_found_whatever_was_corrected() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut queue = DeadlineQueue::new(start);
        for (key, ms) in [(0, 1), (1, 2), (2, 50)] {
            queue.set(key, at(ms));
        }
        let real = [at(60), at(40), at(50)];
        let order: Vec<u32> = std::iter::from_fn(|| queue.pop_earliest(|key| Some(real[key as usize]))).collect();
        assert_eq!(order, [1, 2, 0]);
    }

    #[test]
    fn a_deadline_that_moves_later_adds_nothing() {
        let start = Instant::now();
        let mut queue = DeadlineQueue::new(start);
        for ms in 0..1000 {
            queue.set(0, start + Duration::from_millis(ms));
        }
        assert_eq!(queue.heap.len(), 1);
    }

    #[test]
    fn a_deadline_in_a_thousand_years_does_not_come_and_is_found() {
        let start = Instant::now();
        let ages = start + Duration::from_hours(24 * 365 * 1000);
        let mut queue = DeadlineQueue::new(start);
        queue.set(0, start);
        queue.set(1, ages);
        let century = start + Duration::from_hours(24 * 365 * 100);
        assert_eq!(queue.pop_expired(century, |_| Some(ages)), None);
        assert_eq!([(); 3].map(|()| queue.pop_earliest(|_| Some(ages))), [Some(0), Some(1), None]);
    }
}
