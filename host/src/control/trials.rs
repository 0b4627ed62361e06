//! `rollback_on_errors` while a server runs: which new versions are on trial, and what is done with one that fails. What is too
//! much is decided by [`Probation`]; the counters are read by whoever calls.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use guesthouse_mpm::lookout::Request;

use super::desk::Desk;
use super::modules::short;
use crate::deploy::probation::{Probation, Verdict};
use crate::deploy::versions::{self, BroughtBack};
use crate::preparation::{Prepared, PreparedModule};
use crate::tally::ModuleReading;

/// Between two looks at the counters of versions that are on trial.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// It is looked for a new version so often, if nobody tells of one.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// New versions that may be rolled back, by the module's name.
#[derive(Debug, Default)]
struct Trials(BTreeMap<String, Probation>);

/// One that has failed too often.
#[derive(Debug, PartialEq, Eq)]
struct Failure {
    module: String,
    failed: u64,
    requests: u64,
}

impl Trials {
    /// What is published now takes the place of what was before: new versions are on trial from now on, if there is one to go
    /// back to, and those that serve no more are not.
    fn advance(&mut self, before: &Prepared, now: &Prepared, reading: impl Fn(&PreparedModule) -> ModuleReading) {
        let first = |of: &Prepared, name: &str| of.versions.get(name)?.first().map(|version| version.hash.clone());
        self.0.retain(|name, _| first(before, name) == first(now, name));
        for (settings, module) in now.config.modules.iter().zip(&now.modules) {
            let name = &settings.name;
            let has_older = now.versions.get(name).is_some_and(|history| history.len() > 1);
            if let Some(share_max) = settings.rollback_on_errors
                && has_older
                && versions::is_new(name, now, before)
            {
                self.0.insert(name.clone(), Probation::begin(share_max, &reading(module)));
            }
        }
    }

    /// Those that have failed, which are on trial no more; nor are those that have passed.
    fn judge(&mut self, now: &Prepared, reading: impl Fn(&PreparedModule) -> ModuleReading) -> Vec<Failure> {
        let mut failures = Vec::new();
        self.0.retain(|name, probation| {
            let index = now.config.modules.iter().position(|module| module.name == *name);
            let Some(module) = index.and_then(|index| now.modules.get(index)) else { return false };
            match probation.judge(&reading(module)) {
                Verdict::Undecided => true,
                Verdict::Passed => false,
                Verdict::RollBack { failed, requests } => {
                    failures.push(Failure { module: name.clone(), failed, requests });
                    false
                }
            }
        });
        failures
    }
}

/// Looks at the counters of new versions, and brings back what served before one that fails. Never returns.
pub(super) fn hold(desk: &Desk) {
    let mut trials = Trials::default();
    let mut known = desk.published();
    loop {
        if trials.0.is_empty() {
            let _changed = desk.wait_for(WAIT_MAX, |_, now| (!std::ptr::eq(now, Arc::as_ptr(&known))).then_some(()));
        } else {
            thread::sleep(BETWEEN_LOOKS);
        }
        let now = desk.published();
        if !Arc::ptr_eq(&now, &known) {
            trials.advance(&known.prepared, &now.prepared, |module| desk.board.reading(module));
            known = now;
        }
        for failure in trials.judge(&known.prepared, |module| desk.board.reading(module)) {
            roll_back(desk, &known.prepared, &failure);
        }
    }
}

fn roll_back(desk: &Desk, published: &Prepared, Failure { module, failed, requests }: &Failure) {
    let told = format!(
        "module {module:?}: {failed} of the first {requests} requests to its new version failed, more than \
         rollback_on_errors allows"
    );
    match versions::bring_back(published, module, None) {
        Ok(BroughtBack { hash, .. }) => {
            tracing::error!("{told}: the version before is brought back, {}", short(&hash));
            if let Err(error) = desk.ask(Request::Publish) {
                tracing::error!("cannot ask for that to be published: {error}");
            }
        }
        Err(problem) => tracing::error!("{told}, but the version before cannot be brought back: {problem}"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::deploy::testing::prepared;
    use crate::tally::{ModuleTallies, ModuleTally, Outcome};

    /// A module `a`, of which the versions with these hashes are kept, the newest first.
    fn with_versions(hashes: &[&str], share_max: Option<u8>) -> Prepared {
        let mut prepared = prepared(&[("a", hashes[0])]);
        prepared.config.modules[0].rollback_on_errors = share_max;
        let version = |hash: &&str| versions::Version {
            hash: (*hash).to_owned(),
            published: 0,
            version: None,
            native: (*hash).into(),
        };
        prepared.versions.insert(String::from("a"), hashes.iter().map(version).collect());
        prepared
    }

    fn fail(tally: &ModuleTally, requests: u64) {
        let took = Duration::from_millis(1);
        let outcome = Outcome { status: 500, fault: Some("trap"), took, guest_cpu: took, bytes: 0 };
        (0..requests).for_each(|_| tally.request(&outcome));
    }

    #[test]
    fn a_new_version_that_fails_is_rolled_back_once() {
        let tally = ModuleTallies::new().unwrap().row(0);
        let reading = |_: &PreparedModule| tally.read();
        let (before, now) = (with_versions(&["1"], Some(20)), with_versions(&["2", "1"], Some(20)));
        fail(&tally, 50);
        let mut trials = Trials::default();
        trials.advance(&before, &now, reading);
        assert_eq!(trials.judge(&now, reading), [], "what the version before has done is not its own");
        fail(&tally, 10);
        let failure = Failure { module: String::from("a"), failed: 10, requests: 10 };
        assert_eq!(trials.judge(&now, reading), [failure]);
        fail(&tally, 10);
        assert_eq!(trials.judge(&now, reading), []);
    }

    #[test]
    fn nothing_else_is_on_trial() {
        let tally = ModuleTallies::new().unwrap().row(0);
        let reading = |_: &PreparedModule| tally.read();
        for (why, before, now) in [
            ("it is the first", prepared(&[]), with_versions(&["1"], Some(0))),
            ("nobody wants it", with_versions(&["1"], None), with_versions(&["2", "1"], None)),
            ("it was brought back", with_versions(&["2", "1"], Some(0)), with_versions(&["1", "2"], Some(0))),
            ("nothing is new", with_versions(&["2", "1"], Some(0)), with_versions(&["2", "1"], Some(0))),
        ] {
            let mut trials = Trials::default();
            trials.advance(&before, &now, reading);
            assert!(trials.0.is_empty(), "{why}");
        }
        let mut trials = Trials::default();
        let (one, two) = (with_versions(&["1"], Some(0)), with_versions(&["2", "1"], Some(0)));
        trials.advance(&one, &two, reading);
        trials.advance(&two, &two, reading);
        assert_eq!(trials.0.len(), 1, "another deployment does not end it");
        trials.advance(&two, &with_versions(&["1", "2"], Some(0)), reading);
        assert!(trials.0.is_empty(), "it serves no more");
    }
}
