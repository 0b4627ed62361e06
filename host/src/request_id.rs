//! Names for requests, so that the lines of the logs that belong together can be found.

use std::fmt;
use std::hash::{BuildHasher, RandomState};

use serde::{Deserialize, Serialize};

/// One request. Written as 16 hexadecimal digits.
///
/// A thread begins at a random number and counts: ids do not repeat over its life, and hardly ever over those of
/// all threads and processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RequestId(u64);

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Where one thread gets its ids.
#[derive(Debug)]
pub struct RequestIds(u64);

impl RequestIds {
    /// Begins at a random number; `thread` tells the threads of a process apart.
    #[must_use]
    pub fn new(thread: usize) -> Self {
        // The keys of a `RandomState` come from the system, once for each thread, and are then counted up: after a
        // fork they alone would be those of the parent.
        Self(RandomState::new().hash_one((thread, std::process::id())))
    }

    /// A name that this thread has not given yet.
    pub fn issue(&mut self) -> RequestId {
        self.0 = self.0.wrapping_add(1);
        RequestId(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_a_thread_and_of_two_threads_differ() {
        let (mut one, mut other) = (RequestIds::new(0), RequestIds::new(1));
        let ids = [one.issue(), one.issue(), other.issue(), other.issue()];
        let distinct: std::collections::HashSet<_> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len());
    }

    #[test]
    fn an_id_is_sixteen_digits() {
        assert_eq!(RequestId(0x1f).to_string(), "000000000000001f");
    }
}
