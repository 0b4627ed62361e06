//! `rollback_on_errors` while a server runs: which versions are on trial, and what is done with one that fails. What is too much
//! is decided by [`probation`]; the counters are read by whoever calls.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::desk::{Desk, Published};
use super::rollback;
use crate::config::Module;
use crate::deploy::probation::{self, Verdict};
use crate::deploy::versions::{self, short};
use crate::deploy::{Prepared, PreparedModule, Version};
use crate::tally::ModuleReading;

/// Between two looks at the counters of versions that are on trial; ever longer where nobody asks anything of them.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// It is looked for a new version so often, if nobody tells of one.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// The versions that have not passed. All others have, or were never on trial.
#[derive(Debug, Default)]
struct Trials {
    /// By the module's name and the version's hash.
    standings: BTreeMap<(String, String), Standing>,
    /// Of all that are on trial, at the last look.
    requests: u64,
}

/// ```text
///             more errors than are allowed
///   Unjudged ──────────────────────────────► Failed
///      │ they cannot be acted on now           ▲
///      ▼                                       │
///   PutOff ────────────────────────────────────┘
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// On trial whenever it serves.
    Unjudged,
    /// So is this one. It was told that it fails, and why it is not rolled back.
    PutOff,
    Failed,
}

/// What the counters tell.
#[derive(Debug, Default, PartialEq, Eq)]
struct Look {
    failures: Vec<Failure>,
    /// Some version has had a request.
    has_news: bool,
}

/// A version that has failed too often.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Failure {
    module: String,
    hash: String,
    failed: u64,
    requests: u64,
}

impl Trials {
    /// Those of a lookout that begins, in place of another one perhaps: a version that came since the server did, and has not had
    /// all the requests that it is judged by, is on trial.
    fn resume(now: &Prepared, server_began: u64, reading: impl Fn(&PreparedModule) -> Option<ModuleReading>) -> Self {
        let mut trials = Self::default();
        for (settings, module) in wanted(now) {
            let Some([first, older @ ..]) = now.versions.get(&settings.name).map(Vec::as_slice) else { continue };
            // One that was brought back came before others.
            let is_newest = older.iter().all(|version| version.published < first.published);
            let is_new = first.published >= server_began && is_newest && !older.is_empty();
            if is_new && reading(module).is_some_and(|reading| !probation::is_over(&reading)) {
                trials.begin(settings, first);
            }
        }
        trials
    }

    /// What is published now takes the place of what was before: new versions are on trial from now on, if there is one to go
    /// back to.
    fn advance(&mut self, before: &Prepared, now: &Prepared) {
        let is_kept = |name: &str, hash: &str| {
            now.versions.get(name).is_some_and(|history| history.iter().any(|version| version.hash == hash))
        };
        self.standings.retain(|(name, hash), _| is_kept(name, hash));
        for settings in &now.config.modules {
            let Some(first) = now.versions.get(&settings.name).and_then(|history| history.first()) else { continue };
            if settings.rollback_on_errors.is_none() {
                // Nobody wants to know any more.
                self.standings.remove(&(settings.name.clone(), first.hash.clone()));
            } else {
                versions::newly_published(&settings.name, now, before)
                    .for_each(|version| self.begin(settings, version));
            }
        }
    }

    fn begin(&mut self, settings: &Module, version: &Version) {
        self.standings.insert((settings.name.clone(), version.hash.clone()), Standing::Unjudged);
    }

    fn standing(&self, name: &str, hash: &str) -> Option<Standing> {
        self.standings.get(&(name.to_owned(), hash.to_owned())).copied()
    }

    /// What is on trial now, with the share that may fail.
    fn on_trial<'a>(&self, now: &'a Prepared) -> impl Iterator<Item = (u8, &'a Module, &'a PreparedModule)> {
        let on_trial = wanted(now).filter(|(settings, module)| {
            matches!(self.standing(&settings.name, &module.hash), Some(Standing::Unjudged | Standing::PutOff))
        });
        on_trial.filter_map(|(settings, module)| Some((settings.rollback_on_errors?, settings, module)))
    }

    /// Looks at the counters. What has passed is on trial no more; what becomes of those that fail is decided by the caller.
    fn judge(&mut self, now: &Prepared, reading: impl Fn(&PreparedModule) -> Option<ModuleReading>) -> Look {
        let (mut failures, mut passed, mut requests) = (Vec::new(), Vec::new(), 0);
        for (share_max, settings, module) in self.on_trial(now) {
            let Some(reading) = reading(module) else { continue };
            requests += reading.requests;
            let (module, hash) = (settings.name.clone(), module.hash.clone());
            match probation::judge(share_max, &reading) {
                Verdict::Undecided => {}
                Verdict::Passed => passed.push((module, hash)),
                Verdict::RollBack { failed, requests } => failures.push(Failure { module, hash, failed, requests }),
            }
        }
        self.standings.retain(|version, _| !passed.contains(version));
        let before = std::mem::replace(&mut self.requests, requests);
        Look { failures, has_news: before != requests }
    }

    /// A version is to be rolled back. Answers with the hash of the one to go back to: the newest that has passed, or else the
    /// newest that was not judged, which is on trial again; `None` if all have failed.
    fn failed<'a>(&mut self, now: &'a Prepared, Failure { module, hash, .. }: &Failure) -> Option<&'a str> {
        self.standings.insert((module.clone(), hash.clone()), Standing::Failed);
        let older = || now.versions.get(module).into_iter().flatten().map(|version| version.hash.as_str()).skip(1);
        let passed = older().find(|hash| self.standing(module, hash).is_none());
        passed.or_else(|| older().find(|hash| self.standing(module, hash) != Some(Standing::Failed)))
    }

    /// Whether it is news that a version fails and is not rolled back.
    fn put_off(&mut self, Failure { module, hash, .. }: &Failure) -> bool {
        self.standings.insert((module.clone(), hash.clone()), Standing::PutOff) != Some(Standing::PutOff)
    }
}

/// The modules whose versions are to be judged.
fn wanted(now: &Prepared) -> impl Iterator<Item = (&Module, &PreparedModule)> {
    now.config.modules.iter().zip(&now.modules).filter(|(settings, _)| settings.rollback_on_errors.is_some())
}

/// Looks at the counters of new versions, and brings back what served before one that fails. Never returns.
pub(super) fn hold(desk: &Desk) {
    let mut known = desk.published();
    let reading = |module: &PreparedModule| desk.board.reading_of_version(module);
    let mut trials = Trials::resume(&known.prepared, desk.board.began.epoch_secs, reading);
    let mut pause = PAUSE;
    loop {
        let is_idle = trials.on_trial(&known.prepared).next().is_none();
        let longest = if is_idle { WAIT_MAX } else { pause };
        let _changed = desk.wait_for(longest, |_, now| (!Arc::ptr_eq(now, &known)).then_some(()));
        let now = desk.published();
        if !Arc::ptr_eq(&now, &known) {
            trials.advance(&known.prepared, &now.prepared);
            known = now;
        }
        let Look { failures, has_news } = trials.judge(&known.prepared, reading);
        pause = if has_news { PAUSE } else { (pause * 2).min(PAUSE_MAX) };
        for failure in failures {
            roll_back(desk, &known, &mut trials, &failure);
        }
    }
}

fn roll_back(desk: &Desk, published: &Published, trials: &mut Trials, failure: &Failure) {
    let Failure { module, failed, requests, .. } = failure;
    let told = format!(
        "module {module:?}: {failed} of the first {requests} requests to its new version failed, more than \
         rollback_on_errors allows"
    );
    if let Some(why) = hindrance(published, module) {
        if trials.put_off(failure) {
            tracing::error!("{told}, but {why}");
        }
        return;
    }
    let Some(version) = trials.failed(&published.prepared, failure) else {
        return tracing::error!("{told}, but so did those of all others that are kept: deploy one that is good");
    };
    match rollback::roll_back(desk, module, Some(version), || {}) {
        Ok(hash) => tracing::error!("{told}: the version before is brought back, {}", short(&hash)),
        Err(problem) => tracing::error!("{told}, but the version before cannot be brought back: {problem}"),
    }
}

/// Why a module cannot be rolled back now, and what to do.
fn hindrance(Published { prepared, is_written, .. }: &Published, module: &str) -> Option<&'static str> {
    if !is_written {
        return Some(
            "the server could not write into its runtime_dir what serves, so nobody knows whether this version still does: mend \
             that, and reload",
        );
    }
    // What somebody has just put there is not to be lost, and may be better.
    let is_untouched = |settings: &Module| prepared.seen.is_as_on_disk(&settings.path);
    let is_as_served = prepared.module(module).is_some_and(|(settings, _)| is_untouched(settings));
    (!is_as_served || prepared.refused.contains_key(module))
        .then_some("its file has been changed meanwhile: what is there is to be deployed first")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::deploy::testing::prepared;
    use crate::tally::{ModuleTallies, ModuleTally, Outcome};

    /// A module `a`, of which the versions with these names are kept, the newest first. Each was first published in the second that
    /// its name says.
    fn with_versions(names: &[&str], share_max: Option<u8>) -> Prepared {
        let mut prepared = prepared(&[("a", names[0])]);
        prepared.config.modules[0].rollback_on_errors = share_max;
        let version = |name: &&str| Version {
            hash: versions::hash(name.as_bytes()),
            published: name.parse().unwrap(),
            version: None,
            native: (*name).into(),
        };
        prepared.versions.insert(String::from("a"), names.iter().map(version).collect());
        prepared
    }

    fn fail(tally: &ModuleTally, requests: u64) {
        let took = Duration::from_millis(1);
        let outcome = Outcome { status: 500, fault: Some("trap"), took, guest_cpu: took, bytes: 0 };
        (0..requests).for_each(|_| tally.request(&outcome));
    }

    /// Trials of what serves now, which has failed so often.
    fn judged(trials: &mut Trials, now: &Prepared, failed: u64) -> Vec<Failure> {
        let tally = ModuleTallies::new().unwrap().row(0);
        fail(&tally, failed);
        trials.judge(now, |_| Some(tally.read())).failures
    }

    fn is_on_trial(trials: &Trials, now: &Prepared) -> bool {
        trials.on_trial(now).next().is_some()
    }

    #[test]
    fn a_new_version_that_fails_is_rolled_back_once() {
        let (before, now) = (with_versions(&["1"], Some(20)), with_versions(&["2", "1"], Some(20)));
        let mut trials = Trials::default();
        trials.advance(&before, &now);
        assert_eq!(judged(&mut trials, &now, 9), []);
        let hash = versions::hash(b"2");
        let failure = Failure { module: String::from("a"), hash, failed: 10, requests: 10 };
        assert_eq!(judged(&mut trials, &now, 10), std::slice::from_ref(&failure));
        assert!(trials.put_off(&failure) && !trials.put_off(&failure), "it is told once");
        assert_eq!(judged(&mut trials, &now, 10), std::slice::from_ref(&failure), "it waits for its file");
        assert_eq!(trials.failed(&now, &failure), Some(versions::hash(b"1").as_str()));
        assert_eq!(judged(&mut trials, &now, 20), []);
    }

    #[test]
    fn nothing_else_is_on_trial() {
        for (why, before, now) in [
            ("it is the first", prepared(&[]), with_versions(&["1"], Some(0))),
            ("nobody wants it", with_versions(&["1"], None), with_versions(&["2", "1"], None)),
            ("it was brought back", with_versions(&["2", "1"], Some(0)), with_versions(&["1", "2"], Some(0))),
            ("nothing is new", with_versions(&["2", "1"], Some(0)), with_versions(&["2", "1"], Some(0))),
        ] {
            let mut trials = Trials::default();
            trials.advance(&before, &now);
            assert!(!is_on_trial(&trials, &now), "{why}");
        }
        let mut trials = Trials::default();
        let (one, two, back) =
            (with_versions(&["1"], Some(0)), with_versions(&["2", "1"], Some(0)), with_versions(&["1", "2"], Some(0)));
        trials.advance(&one, &two);
        trials.advance(&two, &two);
        assert!(is_on_trial(&trials, &two), "another deployment does not end it");
        trials.advance(&two, &back);
        assert!(!is_on_trial(&trials, &back), "it serves no more");
    }

    #[test]
    fn what_the_settings_say_now_is_what_counts() {
        let (one, strict) = (with_versions(&["1"], Some(0)), with_versions(&["2", "1"], Some(0)));
        let (lenient, off) = (with_versions(&["2", "1"], Some(99)), with_versions(&["2", "1"], None));
        let tally = ModuleTallies::new().unwrap().row(0);
        let took = Duration::from_millis(1);
        (0..10).for_each(|_| tally.request(&Outcome { status: 200, fault: None, took, guest_cpu: took, bytes: 0 }));
        fail(&tally, 10);
        let mut trials = Trials::default();
        trials.advance(&one, &strict);
        trials.advance(&strict, &lenient);
        assert_eq!(trials.judge(&lenient, |_| Some(tally.read())), Look { failures: vec![], has_news: true });
        trials.advance(&lenient, &strict);
        let look = trials.judge(&strict, |_| Some(tally.read()));
        assert_eq!((look.failures.len(), look.has_news), (1, false));
        trials.advance(&strict, &off);
        trials.advance(&off, &strict);
        assert!(!is_on_trial(&trials, &strict), "it was taken as it is");
    }

    #[test]
    fn what_comes_back_has_passed_or_is_judged_itself() {
        let mut trials = Trials::default();
        let turns = [&["1"][..], &["2", "1"], &["3", "2", "1"]].map(|names| with_versions(names, Some(0)));
        turns.windows(2).for_each(|two| trials.advance(&two[0], &two[1]));
        let failure = |name: &str| Failure {
            module: String::from("a"),
            hash: versions::hash(name.as_bytes()),
            failed: 10,
            requests: 10,
        };
        // Version 2 had not been judged when version 3 came.
        assert_eq!(trials.failed(&turns[2], &failure("3")), Some(versions::hash(b"1").as_str()));
        // If no other is kept, it is judged now.
        let [three, two] = [&["3", "2"], &["2", "3"]].map(|names| with_versions(names, Some(0)));
        assert_eq!(trials.failed(&three, &failure("3")), Some(versions::hash(b"2").as_str()));
        trials.advance(&three, &two);
        assert!(is_on_trial(&trials, &two));
        assert_eq!(trials.failed(&two, &failure("2")), None);
    }

    #[test]
    fn a_lookout_that_begins_goes_on_with_the_trials_of_the_one_before() {
        let is_resumed = |names: &[&str], server_began, requests| {
            let now = with_versions(names, Some(20));
            let tally = ModuleTallies::new().unwrap().row(0);
            fail(&tally, requests);
            is_on_trial(&Trials::resume(&now, server_began, |_| Some(tally.read())), &now)
        };
        assert!(is_resumed(&["7", "3"], 5, 99));
        assert!(!is_resumed(&["7"], 5, 0), "there is none to go back to");
        assert!(!is_resumed(&["7", "3"], 8, 0), "it was there when the server came");
        assert!(!is_resumed(&["7", "9"], 5, 0), "it was brought back");
        assert!(!is_resumed(&["7", "3"], 5, 100), "it has had its requests");
    }
}
