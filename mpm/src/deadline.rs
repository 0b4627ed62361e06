//! Which deadline comes next, for many connections, at next to no cost for a deadline that only moves later.
//!
//! A connection's deadline changes with almost every request and hardly ever fires. So the queue holds *when to look
//! again* for each key, at or before the real deadline, and corrects itself when that time comes: a deadline that
//! moves later costs a comparison, one that moves earlier costs an insertion. Nothing here reads a clock.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// Superseded entries that are tolerated before they are swept out, apart from one for each key.
const SLACK: usize = 64;

/// The queue. Keys are small numbers that are used again (places in a slab); a key that is used again inherits the
/// entry of its predecessor, which is merely corrected when it fires.
#[derive(Debug, Default)]
pub(crate) struct DeadlineQueue {
    heap: BinaryHeap<Reverse<(Instant, u32)>>,
    /// For each key the time of its valid entry in the heap; all its others are superseded.
    queued: Vec<Option<Instant>>,
}

impl DeadlineQueue {
    /// Memory of one key.
    #[cfg(test)]
    pub(crate) const BYTES_EACH: usize = size_of::<Reverse<(Instant, u32)>>() + size_of::<Option<Instant>>();

    /// The key's deadline is now `deadline`. Must be called whenever it moves earlier, may be called at any time.
    pub(crate) fn set(&mut self, key: u32, deadline: Instant) {
        let place = key as usize;
        if place >= self.queued.len() {
            self.queued.resize(place + 1, None);
        }
        if self.queued[place].is_some_and(|queued| queued <= deadline) {
            return;
        }
        self.queued[place] = Some(deadline);
        self.heap.push(Reverse((deadline, key)));
        self.sweep();
    }

    /// When to ask [`pop_expired`](Self::pop_expired) again: never later than the earliest deadline.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes out the key with the earliest deadline if that has come. It is not reported again until it is
    /// [`set`](Self::set) again. `deadline_of` tells a key's real deadline; `None`: it has none.
    pub(crate) fn pop_expired(&mut self, now: Instant, deadline_of: impl Fn(u32) -> Option<Instant>) -> Option<u32> {
        self.pop(Some(now), deadline_of)
    }

    /// Takes out the key with the earliest deadline, whenever that is.
    pub(crate) fn pop_earliest(&mut self, deadline_of: impl Fn(u32) -> Option<Instant>) -> Option<u32> {
        self.pop(None, deadline_of)
    }

    fn pop(&mut self, until: Option<Instant>, deadline_of: impl Fn(u32) -> Option<Instant>) -> Option<u32> {
        while let Some(&Reverse((at, key))) = self.heap.peek() {
            if until.is_some_and(|until| at > until) {
                return None;
            }
            self.heap.pop();
            let valid = &mut self.queued[key as usize];
            if *valid != Some(at) {
                continue;
            }
            *valid = None;
            match deadline_of(key) {
                Some(deadline) if deadline <= at => return Some(key),
                Some(later) => self.set(key, later),
                None => {}
            }
        }
        None
    }

    /// Keeps the heap in proportion to the keys, whatever the order in which deadlines move.
    fn sweep(&mut self) {
        if self.heap.len() > 2 * self.queued.len() + SLACK {
            let queued = &self.queued;
            self.heap.retain(|Reverse((at, key))| queued[*key as usize] == Some(*at));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;
    use std::time::Duration;

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
            let mut queue = DeadlineQueue::default();
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
        let mut queue = DeadlineQueue::default();
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
        let mut queue = DeadlineQueue::default();
        for ms in 0..1000 {
            queue.set(0, start + Duration::from_millis(ms));
        }
        assert_eq!(queue.heap.len(), 1);
    }
}
