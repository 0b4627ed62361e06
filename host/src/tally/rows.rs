//! Which row of the table of counters each module has, and each version that is counted by itself. Counts nothing.

use std::collections::{BTreeMap, VecDeque};

use super::MODULES_MAX;

/// So many rows rest before one of them is used again, so that not each new version takes memory of its own.
const RESTING: usize = 256;

/// Which row of the [`ModuleTallies`](super::ModuleTallies) each module counts in, or each version: the same for as long as it is
/// there. Belongs to the parent.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    taken: BTreeMap<Counted, usize>,
    /// Of what is gone, the longest gone first.
    left: VecDeque<usize>,
    /// Rows that were never used begin here.
    unused: usize,
}

/// A module's name, and a hash if it is that version alone.
pub type Counted = (String, Option<String>);

impl Rows {
    /// The row of what is counted, and whether somebody else has counted there before.
    ///
    /// # Errors
    /// There are too many modules.
    pub fn of(&mut self, counted: Counted) -> Result<(usize, bool), TooManyModules> {
        if let Some(row) = self.taken.get(&counted) {
            return Ok((*row, false));
        }
        let fresh = (self.unused < MODULES_MAX && self.left.len() < RESTING).then_some(self.unused);
        self.unused += usize::from(fresh.is_some());
        let (row, was_used) = match fresh {
            Some(row) => (row, false),
            None => (self.left.pop_front().ok_or(TooManyModules)?, true),
        };
        self.taken.insert(counted, row);
        Ok((row, was_used))
    }

    /// Those of what is not to be kept may be used by others.
    pub fn keep_only(&mut self, is_kept: impl Fn(&Counted) -> bool) {
        let left = &mut self.left;
        self.taken.retain(|counted, row| {
            let kept = is_kept(counted);
            if !kept {
                left.push_back(*row);
            }
            kept
        });
    }
}

/// There are more modules than can be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "there are more modules than can be counted, {MODULES_MAX}, of which those with rollback_on_errors are three each: remove some"
)]
pub struct TooManyModules;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_keeps_its_row_and_one_that_has_gone_leaves_it_when_no_other_is_left() {
        let (mut rows, module) = (Rows::default(), |name: &str| (name.to_owned(), None));
        let mut of = |name: &str| rows.of(module(name));
        assert_eq!([of("a"), of("b"), of("a")], [Ok((0, false)), Ok((1, false)), Ok((0, false))]);
        rows.keep_only(|counted| *counted == module("b"));
        let mut of = |name: &str| rows.of(module(name));
        assert_eq!([of("c"), of("b")], [Ok((2, false)), Ok((1, false))]);
        for number in 3..MODULES_MAX {
            assert_eq!(of(&format!("m{number}")), Ok((number, false)));
        }
        assert_eq!(of("a"), Ok((0, true)), "where it was, but nobody knows what has counted there since");
        assert_eq!(of("one too many"), Err(TooManyModules));
    }

    #[test]
    fn a_row_that_has_rested_is_used_before_more_memory_is() {
        let mut rows = Rows::default();
        let taken = (0..=RESTING).map(|number| {
            rows.keep_only(|_| false);
            rows.of((String::from("a"), Some(format!("version {number}")))).unwrap()
        });
        let taken: Vec<_> = taken.collect();
        assert_eq!((taken[RESTING - 1], taken[RESTING]), ((RESTING - 1, false), (0, true)));
    }
}
