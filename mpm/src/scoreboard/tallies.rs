//! Numbers that an application counts in all of its children, whatever they mean: they outlive children and reloads.
//! Nothing here decides anything, and like the scoreboard's lines they are only ever added up, never trusted.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::{Line, Lines};

/// Counters on one cache line.
const PER_LINE: usize = 64 / size_of::<AtomicU64>();

#[derive(Debug)]
#[repr(C, align(64))]
struct Counters([AtomicU64; PER_LINE]);

// SAFETY: atomic integers only.
unsafe impl Line for Counters {}

/// Counters, in columns, shared by the process that makes them and all that it forks while it has them. A handle:
/// copies speak of the same memory, which a process gives back when it drops the last of them.
///
/// Each column is the sum over its shards. Who counts with a shard of its own (a child with its
/// [slot](crate::ChildContext::slot)) does not slow the others down.
#[derive(Debug, Clone)]
pub struct Tallies {
    /// Those of the first shard, then those of the second...
    lines: Arc<Lines<Counters>>,
    columns: usize,
}

impl Tallies {
    /// How many shards there are.
    pub const SHARDS: usize = 16;

    /// So many columns, all 0. To be made in the parent, so that every child has them.
    ///
    /// # Errors
    /// The memory is not to be had; `InvalidInput` if so much cannot even be asked for.
    pub fn new(columns: usize) -> io::Result<Self> {
        let lines = columns.div_ceil(PER_LINE).checked_mul(Self::SHARDS).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Self { lines: Arc::new(Lines::new(lines)?), columns })
    }

    /// Counts so many more in a column; beyond `u64::MAX` it begins at 0 again. Any number is a shard.
    ///
    /// # Panics
    /// There is no such column.
    pub fn add(&self, shard: usize, column: usize, more: u64) {
        self.counter(shard % Self::SHARDS, column).fetch_add(more, Relaxed);
    }

    /// What all have counted in a column; beyond `u64::MAX` it begins at 0 again. Counters move while they are read:
    /// two columns that are counted together may differ by what happens just now.
    ///
    /// # Panics
    /// There is no such column.
    #[must_use]
    pub fn sum(&self, column: usize) -> u64 {
        (0..Self::SHARDS).map(|shard| self.counter(shard, column).load(Relaxed)).fold(0, u64::wrapping_add)
    }

    /// Begins to count anew. What is counted at this moment may fall on either side.
    pub fn reset(&self) {
        self.lines.iter().flat_map(|line| &line.0).for_each(|counter| counter.store(0, Relaxed));
    }

    /// Begins to count anew in these columns.
    ///
    /// # Panics
    /// One of them is not there.
    pub fn reset_columns(&self, columns: Range<usize>) {
        let counters = columns.flat_map(|column| (0..Self::SHARDS).map(move |shard| self.counter(shard, column)));
        counters.for_each(|counter| counter.store(0, Relaxed));
    }

    fn counter(&self, shard: usize, column: usize) -> &AtomicU64 {
        assert!(column < self.columns, "column {column} of {} is not counted", self.columns);
        let line = shard * self.columns.div_ceil(PER_LINE) + column / PER_LINE;
        &self.lines[line].0[column % PER_LINE]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_the_sum_of_its_shards_and_touches_no_other() {
        const COLUMNS: usize = 11;
        let tallies = Tallies::new(COLUMNS).unwrap();
        let mut expected = [0; COLUMNS];
        for shard in 0..3 * Tallies::SHARDS {
            for (column, expected) in expected.iter_mut().enumerate() {
                let more = (shard * 100 + column) as u64;
                tallies.add(shard, column, more);
                *expected += more;
            }
        }
        assert_eq!(std::array::from_fn(|column| tallies.sum(column)), expected);
        tallies.reset();
        assert_eq!(std::array::from_fn(|column| tallies.sum(column)), [0; COLUMNS]);
    }

    #[test]
    fn shards_share_no_cache_line() {
        let tallies = Tallies::new(3).unwrap();
        let line_of = |shard| std::ptr::from_ref(tallies.counter(shard, 0)).addr() / 64;
        let lines: std::collections::BTreeSet<_> = (0..Tallies::SHARDS).map(line_of).collect();
        assert_eq!(lines.len(), Tallies::SHARDS);
    }

    #[test]
    fn nothing_is_lost_when_many_count_at_once() {
        const EACH: u64 = 20_000;
        let tallies = Tallies::new(2).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let tallies = tallies.clone();
                // Two and two with the same shard.
                scope.spawn(move || (0..EACH).for_each(|_| tallies.add(thread / 2 * Tallies::SHARDS, 1, 1)));
            }
        });
        assert_eq!((tallies.sum(0), tallies.sum(1)), (0, 8 * EACH));
    }

    #[test]
    fn some_columns_begin_anew_and_the_others_do_not() {
        let tallies = Tallies::new(20).unwrap();
        (0..20).for_each(|column| (0..3).for_each(|shard| tallies.add(shard, column, 1)));
        tallies.reset_columns(7..9);
        let sums: Vec<_> = (0..20).map(|column| tallies.sum(column)).collect();
        assert_eq!(sums.iter().filter(|sum| **sum == 3).count(), 18);
        assert_eq!(sums[7..9], [0, 0]);
    }

    #[test]
    fn memory_full_of_ones_is_a_number_like_any_other() {
        let tallies = Tallies::new(1).unwrap();
        (0..Tallies::SHARDS).for_each(|shard| tallies.add(shard, 0, u64::MAX));
        assert_eq!(tallies.sum(0), u64::MAX - (Tallies::SHARDS as u64 - 1));
        tallies.add(0, 0, Tallies::SHARDS as u64);
        assert_eq!(tallies.sum(0), 0);
    }

    #[test]
    fn a_copy_counts_on_after_the_one_that_was_copied_is_gone() {
        let tallies = Tallies::new(1).unwrap();
        let copy = tallies.clone();
        tallies.add(0, 0, 1);
        drop(tallies);
        copy.add(1, 0, 1);
        assert_eq!(copy.sum(0), 2);
    }

    #[test]
    fn sizes_that_do_not_exist_are_refused_and_none_is_one() {
        Tallies::new(0).unwrap().reset();
        for columns in [usize::MAX, usize::MAX / 128] {
            assert_eq!(Tallies::new(columns).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
    }

    #[test]
    #[should_panic(expected = "column 2 of 2 is not counted")]
    fn a_column_that_is_not_there_does_not_get_its_neighbours() {
        Tallies::new(2).unwrap().add(0, 2, 1);
    }
}
