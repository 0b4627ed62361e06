//! `guesthouse modules`: what there is to say of each module, and how a terminal shows it. Looks at nothing itself.

use super::desk::Published;
use super::protocol::{KeptVersion, ModuleTold, State};
use crate::deploy::versions::short;
use crate::deploy::{Prepared, PreparedModule, Version};
use crate::status::snapshot::Runs;
use crate::status::terminal::{Heading, table};
use crate::status::units;
use crate::tally::ModuleReading;

/// In place of what there is not.
const NONE: &str = "-";

/// All modules by name. `reading`: what is counted of one.
pub(super) fn tell(published: &Published, reading: impl Fn(&PreparedModule) -> ModuleReading) -> Vec<ModuleTold> {
    let Published { prepared: Prepared { config, modules, refused, versions, .. }, .. } = published;
    let kept = |name: &str, served: &str| {
        let history = versions.get(name).into_iter().flatten().filter(|version| version.hash != served);
        let kept = history.map(|Version { hash, version, published, .. }| KeptVersion {
            hash: hash.clone(),
            version: version.clone(),
            published_secs: *published,
        });
        kept.collect()
    };
    let reason = |name: &str| refused.get(name).map(|refusal| refusal.problem().to_owned());
    let serving = config.modules.iter().zip(modules).map(|(module, prepared)| {
        let (reason, reading) = (reason(&module.name), reading(prepared));
        ModuleTold {
            name: module.name.clone(),
            state: if reason.is_some() { State::ServingEarlier } else { State::Serving },
            hash: Some(prepared.hash.clone()),
            reason,
            version: prepared.facts.version.clone(),
            since_secs: Some(prepared.since),
            requests: Some(reading.requests),
            errors: Some(reading.errors_total()),
            runs: Some(Runs::of(prepared)),
            kept: kept(&module.name, &prepared.hash),
        }
    });
    let never_served = refused.keys().filter(|name| config.modules.iter().all(|module| module.name != **name));
    let never_served = never_served.map(|name| ModuleTold {
        name: name.clone(),
        state: State::Refused,
        reason: reason(name),
        hash: None,
        version: None,
        since_secs: None,
        requests: None,
        errors: None,
        runs: None,
        kept: Vec::new(),
    });
    let mut told: Vec<ModuleTold> = serving.chain(never_served).collect();
    told.sort_by(|one, other| one.name.cmp(&other.name));
    told
}

/// For a terminal. What is long stands below the table: versions that are kept, and reasons.
pub(super) fn render(modules: &[ModuleTold]) -> String {
    let text = |value: Option<String>| value.unwrap_or_else(|| NONE.to_owned());
    let number = |value: Option<u64>| text(value.map(|value| value.to_string()));
    let rows = modules.iter().map(|module| {
        vec![
            module.name.clone(),
            word(module.state).to_owned(),
            text(module.hash.as_ref().map(|hash| short(hash).to_owned())),
            text(module.version.clone()),
            text(module.since_secs.map(units::date)),
            number(module.requests),
            number(module.errors),
            module.runs.map_or(NONE, Runs::word).to_owned(),
        ]
    });
    let headings = [
        Heading::Left("MODULE"),
        Heading::Left("STATE"),
        Heading::Left("HASH"),
        Heading::Left("VERSION"),
        Heading::Left("SINCE"),
        Heading::Right("REQUESTS"),
        Heading::Right("ERRORS"),
        Heading::Left("RUNS"),
    ];
    let Some(table) = table(&headings, rows) else { return String::from("no modules\n") };
    let mut rendered: String = table.lines().map(|line| format!("{}\n", line.trim_end())).collect();
    for module in modules.iter().filter(|module| !module.kept.is_empty()) {
        let earlier = module.kept.iter().map(|KeptVersion { hash, version, published_secs }| {
            let version = version.as_ref().map(|version| format!("{version}, ")).unwrap_or_default();
            format!("{} ({version}{})", short(hash), units::date(*published_secs))
        });
        rendered += &format!("\nearlier versions of {}: {}\n", module.name, earlier.collect::<Vec<_>>().join(", "));
    }
    for (module, reason) in modules.iter().filter_map(|module| Some((module, module.reason.as_ref()?))) {
        let plain = reason.replace(|c: char| c.is_control() && c != '\n', "?");
        rendered += &format!("\n{}: {}\n", module.name, plain.replace('\n', "\n  "));
    }
    rendered
}

fn word(state: State) -> &'static str {
    match state {
        State::Serving => "serving",
        State::ServingEarlier => "serving an earlier version",
        State::Refused => "refused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deploy::Refusal;
    use crate::deploy::testing::prepared;
    use crate::tally::ModuleTallies;

    #[test]
    fn a_module_is_told_with_what_became_of_its_file() {
        let mut prepared = prepared(&[("good", "1"), ("bad", "2")]);
        prepared.refused.insert(String::from("bad"), Refusal::lasting("it is bad"));
        prepared.refused.insert(String::from("never"), Refusal::lasting("it never was\ngood\u{1b}"));
        prepared.modules[0].facts.version = Some(String::from("1.2"));
        let version = |hash: &str, version: Option<&str>| Version {
            hash: hash.repeat(64),
            published: 1_795_251_600,
            version: version.map(str::to_owned),
            native: "native".into(),
        };
        let served = Version { hash: prepared.modules[0].hash.clone(), ..version("0", None) };
        let history = vec![served, version("a", Some("1.1")), version("b", None)];
        prepared.versions.insert(String::from("good"), history);
        prepared.modules[0].since = 1_795_251_600;
        let published = Published { prepared, generation: 0, is_written: true };
        let told = tell(&published, |_| ModuleTallies::new().unwrap().row(0).read());
        let states: Vec<_> = told.iter().map(|module| (module.name.as_str(), module.state)).collect();
        assert_eq!(states, [("bad", State::ServingEarlier), ("good", State::Serving), ("never", State::Refused)]);
        assert_eq!((told[2].hash.as_deref(), told[1].version.as_deref()), (None, Some("1.2")));
        let hash = told[1].hash.as_ref().unwrap();
        let text = render(&told);
        let has = |words: &[&str]| text.lines().any(|line| words.iter().all(|word| line.contains(word)));
        assert!(has(&["good", "serving", short(hash), "1.2", "2026-11-21", "shared"]), "{text}");
        let earlier = "earlier versions of good: aaaaaaaaaaaa (1.1, 2026-11-21 09:00:00 UTC), bbbbbbbbbbbb (2026-11-21 09:00:00 UTC)";
        assert!(has(&[earlier]), "{text}");
        assert!(has(&["bad: it is bad"]) && has(&["never: it never was"]) && !text.contains('\u{1b}'), "{text}");
        assert_eq!(render(&[]), "no modules\n");
    }
}
