//! The generations that a child serves its clients with: the one that is published, one that may be published next, and older
//! ones for as long as a request that began with them goes on. What one of them is made of is in [`site`](crate::site).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use arc_swap::ArcSwap;
use guesthouse_mpm::StartError;

use crate::deploy::Prepared;
use crate::site::{Ground, Site};

/// See the file's head.
///
/// ```text
///  adopt ──► next ──published──► current ──another is published──► older ──no request goes on──► gone
///              └──forget──► gone
/// ```
pub struct Sites {
    current: ArcSwap<Site>,
    next: Mutex<Next>,
    /// With their generations.
    older: Mutex<Vec<(u32, Weak<Site>)>>,
    /// Held while a generation is made ready: one after the other.
    adopting: Mutex<()>,
    ground: Ground,
}

/// What waits to be published.
#[derive(Default)]
struct Next {
    site: Option<Arc<Site>>,
    /// This generation, and all before it, will not be.
    forgotten: u32,
}

impl Sites {
    /// Begins with what was loaded last. Threads are started here: to be called in a child only.
    ///
    /// # Errors
    /// The engine or a module cannot be used, and why.
    pub fn start(prepared: &Prepared, ground: Ground) -> Result<Self, StartError> {
        let site = Arc::new(Site::start(prepared, &ground)?);
        let (next, older, adopting) = (Mutex::default(), Mutex::default(), Mutex::default());
        Ok(Self { current: ArcSwap::new(site), next, older, adopting, ground })
    }

    /// The generation for what begins now.
    pub(crate) fn current(&self) -> Arc<Site> {
        let site = self.current.load_full();
        let published = self.ground.child.scoreboard.published();
        if site.generation == published || !self.turn_to(published) { site } else { self.current.load_full() }
    }

    /// The same, for who has one already.
    pub(crate) fn refresh(&self, site: &mut Arc<Site>) {
        if site.generation != self.ground.child.scoreboard.published() {
            *site = self.current();
        }
    }

    /// Whether that generation is the current one now. It may not be known here: a child that is forked while the next one
    /// waits to be published begins with that, and one that is about to end is not told of others.
    fn turn_to(&self, published: u32) -> bool {
        let mut next = locked(&self.next);
        let before = next.site.take_if(|site| site.generation == published).map(|site| {
            // From the swap to the end, so that nobody finds it in neither place.
            let mut older = locked(&self.older);
            let before = self.current.swap(site);
            older.push((before.generation, Arc::downgrade(&before)));
            before
        });
        // Not under the lock: much may end with it.
        drop(next);
        drop(before);
        self.current.load().generation == published
    }

    /// Makes ready to serve another generation, beside the current one.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub(crate) fn adopt(&self, generation: u32, handover: &[u8]) -> Result<(), StartError> {
        let prepared: Prepared = serde_json::from_slice(handover)
            .map_err(|error| StartError(format!("cannot read what was handed over: {error}")))?;
        let _alone = locked(&self.adopting);
        let forgotten = || StartError(format!("generation {generation} was given up meanwhile"));
        if locked(&self.next).forgotten >= generation {
            return Err(forgotten());
        }
        let site = Arc::new(Site::followed_by(&self.current(), generation, &prepared, &self.ground)?);
        let mut next = locked(&self.next);
        if next.forgotten >= generation {
            // Not under the lock: much may end with it.
            drop(next);
            drop(site);
            return Err(forgotten());
        }
        let before = next.site.replace(site);
        drop(next);
        drop(before);
        Ok(())
    }

    /// That generation, and whatever was to be published before it, will not be.
    pub(crate) fn forget(&self, generation: u32) {
        let mut next = locked(&self.next);
        next.forgotten = next.forgotten.max(generation);
        let forgotten = next.site.take_if(|site| site.generation <= generation);
        drop(next);
        drop(forgotten);
    }

    /// The generations that requests go on with, and the current one.
    pub(crate) fn held(&self) -> Vec<u32> {
        let mut older = locked(&self.older);
        older.retain(|(_, site)| site.strong_count() > 0);
        older.iter().map(|(generation, _)| *generation).chain([self.current.load().generation]).collect()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is done under these locks cannot leave anything half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use guesthouse_mpm::ChildContext;
    use guesthouse_mpm::scoreboard::Scoreboard;

    use super::*;
    use crate::clock::Began;
    use crate::deploy::testing::prepared;
    use crate::tally::Counting;

    #[test]
    fn what_is_given_up_is_not_taken_over_any_more() {
        let child = ChildContext {
            slot: 0,
            generation: 0,
            pool: 0,
            pool_name: String::from("server"),
            threads: 1,
            requests_in_flight_max: 1,
            scoreboard: Scoreboard::new(1, 1).unwrap(),
            news: Waker::noop().clone(),
        };
        let began = Began::now();
        let prepared = prepared(&[]);
        let ground = Ground { child, began, counting: Counting::new().unwrap(), access_log: None };
        let sites = Sites::start(&prepared, ground).unwrap();
        let handover = serde_json::to_vec(&prepared).unwrap();
        let waiting = || locked(&sites.next).site.as_ref().map(|site| site.generation);
        sites.adopt(1, &handover).unwrap();
        assert_eq!(waiting(), Some(1));
        sites.forget(2);
        assert_eq!(waiting(), None);
        for given_up in [1, 2] {
            assert!(sites.adopt(given_up, &handover).is_err());
        }
        sites.adopt(3, &handover).unwrap();
        sites.forget(2);
        assert_eq!(waiting(), Some(3));
    }
}
