//! Since when each module has been served as it is now. Pure: what was published, and when, is handed in.

use std::collections::BTreeMap;

use crate::deploy::Prepared;
use crate::deploy::published::serves;

/// Seconds since the Unix epoch, by the module's name. It begins anew with the server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Since(BTreeMap<String, u64>);

impl Since {
    /// What is published now takes the place of what was `before`, at this time.
    pub fn advance(&mut self, before: Option<&Prepared>, now: &Prepared, at: u64) {
        let modules = now.config.modules.iter().zip(&now.modules).map(|(module, prepared)| {
            let same = before.is_some_and(|before| serves(before, module, prepared));
            let known = self.0.get(&module.name).copied().filter(|_| same);
            (module.name.clone(), known.unwrap_or(at))
        });
        self.0 = modules.collect();
    }

    /// `None` if there is no such module.
    #[must_use]
    pub fn of(&self, module: &str) -> Option<u64> {
        self.0.get(module).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deploy::testing::prepared;

    #[test]
    fn only_what_changes_begins_anew() {
        let (first, second) = (prepared(&[("a", "1"), ("b", "2")]), prepared(&[("b", "3"), ("a", "1"), ("c", "4")]));
        let mut since = Since::default();
        since.advance(None, &first, 10);
        assert_eq!((since.of("a"), since.of("b"), since.of("c")), (Some(10), Some(10), None));
        since.advance(Some(&first), &second, 20);
        assert_eq!((since.of("a"), since.of("b"), since.of("c")), (Some(10), Some(20), Some(20)));
        since.advance(Some(&second), &first, 30);
        assert_eq!((since.of("a"), since.of("b"), since.of("c")), (Some(10), Some(30), None));
    }
}
