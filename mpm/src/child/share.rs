//! Whether a thread has more than its fair share of the connections, so that others should accept the next one.
//! Read from the scoreboard, which every thread writes anyway; a reader that is misled is only less fair.

use crate::scoreboard::{Connections, Scoreboard};

/// Connections above the fair share that do not matter, as a part of it.
const TOLERANCE: usize = 16;

/// The view of one thread.
pub(super) struct Share {
    pub(super) scoreboard: Scoreboard,
    /// The thread's own child.
    pub(super) slot: usize,
    /// The thread's own index.
    pub(super) thread: usize,
    /// Threads of every child.
    pub(super) threads: usize,
}

impl Share {
    /// Whether `own` connections are more than other threads that accept have on the average.
    pub(super) fn is_exceeded(&self, own: usize) -> bool {
        let (others, threads) = self.others();
        exceeds(own, others + own, threads + 1)
    }

    /// How many connections all others have, and how many others there are: threads of the same pool and
    /// generation in children that accept.
    fn others(&self) -> (usize, usize) {
        let own = self.scoreboard.child(self.slot).read();
        let (mut connections, mut threads) = (0, 0);
        for slot in 0..self.scoreboard.slots() {
            let child = self.scoreboard.child(slot).read();
            let is_sibling = child.accepting && (child.generation, child.pool) == (own.generation, own.pool);
            if slot != self.slot && !is_sibling {
                continue;
            }
            for thread in (0..self.threads).filter(|thread| (slot, *thread) != (self.slot, self.thread)) {
                connections += sum(self.scoreboard.thread(slot, thread).read().open);
                threads += 1;
            }
        }
        (connections, threads)
    }
}

fn exceeds(own: usize, all: usize, threads: usize) -> bool {
    let fair = all.div_ceil(threads);
    own > fair + fair / TOLERANCE
}

fn sum(open: Connections) -> usize {
    [open.reading, open.writing, open.idle, open.waiting, open.lingering].map(|count| count as usize).iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(scoreboard: &Scoreboard, slot: usize, thread: usize) -> Share {
        Share { scoreboard: scoreboard.clone(), slot, thread, threads: 2 }
    }

    fn idle(count: u32) -> Connections {
        Connections { idle: count, ..Connections::default() }
    }

    #[test]
    fn a_thread_alone_never_exceeds_its_share() {
        assert!((0..1000).all(|own| !exceeds(own, own, 1)));
    }

    #[test]
    fn two_threads_that_take_turns_stay_level() {
        let mut own = [0usize; 2];
        for _ in 0..32 {
            // The first one is always faster, and steps back when it has too many.
            let taker = usize::from(exceeds(own[0], own[0] + own[1], 2));
            own[taker] += 1;
        }
        assert!(own[0].abs_diff(own[1]) <= 2, "{own:?}");
    }

    #[test]
    fn only_threads_that_could_accept_count() {
        let board = Scoreboard::new(3, 2).unwrap();
        board.thread(0, 0).set_connections(idle(10));
        board.thread(0, 1).set_connections(idle(10));
        board.child(1).begin(0, 0);
        assert!(!share(&board, 0, 0).is_exceeded(10), "the other child does not accept");
        board.child(1).set_accepting(true);
        assert!(share(&board, 0, 0).is_exceeded(10));
        for (generation, pool) in [(1, 0), (0, 1)] {
            board.child(1).begin(generation, pool);
            board.child(1).set_accepting(true);
            assert!(!share(&board, 0, 0).is_exceeded(10), "the other child has other connections to take");
        }
    }
}
