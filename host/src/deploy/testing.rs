//! What the tests of this folder publish: modules that nobody compiles or runs.

use std::collections::BTreeMap;

use super::versions::hash;
use super::{Prepared, PreparedModule};
use super::{Snapshot, Sources, published};
use crate::config;
use crate::module::{Facts, Kind};
use crate::tally::Row;

/// With modules of these names, each from native code of that name, and from Wasm that is that name.
pub(crate) fn prepared(modules: &[(&str, &str)]) -> Prepared {
    let folder = tempfile::tempdir().unwrap();
    let table = |(name, _): &(&str, &str)| format!("[[module]]\nname = \"{name}\"\npath = \"guesthouse.toml\"\n");
    let text = format!("server.access_log = \"off\"\n{}", modules.iter().map(table).collect::<String>());
    let file = folder.path().join("guesthouse.toml");
    std::fs::write(&file, &text).unwrap();
    let (mut config, _) = config::read_text(&text, &file).unwrap();
    config.modules.iter_mut().for_each(|module| module.path = "a.wasm".into());
    let module = |(_, native): &(&str, &str)| PreparedModule {
        kind: Kind::Command,
        hash: hash(native.as_bytes()),
        native: native.into(),
        file: None,
        facts: Facts::default(),
        thread_safe: true,
        max_requests_per_instance: 1,
        max_concurrent_requests_per_instance: 1,
        pool: None,
        was_dropped_in: true,
        row: Row::default(),
        since: 0,
    };
    let modules = modules.iter().map(module).collect();
    let (sources, seen) = (Sources::default(), Snapshot::default());
    let (refused, versions) = (BTreeMap::new(), BTreeMap::new());
    Prepared { config, modules, sources, seen, refused, versions, made_by: published::made_by() }
}
