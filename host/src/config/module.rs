//! `[[module]]`: the Wasm files, and what their guests may take and reach.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::uri::PathAndQuery;

use super::report::Wrong;
use super::server::TIMEOUTS;
use super::surroundings::Surroundings;
use super::table::Table;
use super::value::Value;
use super::{Dir, Limits, Module, ModuleLines, Placed, SERVER_POOL, mpm, names, outbound};

const MIB: u64 = 1 << 20;
/// From one page of Wasm to all that 32 bits address.
const MEMORY: RangeInclusive<u64> = 1 << 16..=1 << 32;
/// Requests of one instance; 0: any number.
const REQUESTS: RangeInclusive<u64> = 0..=1_000_000_000;
/// Requests that one instance serves at once.
const CONCURRENT: RangeInclusive<u64> = 1..=1024;
/// Bodies; the upper end is there to stay clear of overflow.
const BODY: RangeInclusive<u64> = 0..=1 << 60;

/// A module's name. It stands here also if other settings of the module are wrong: routes may name it all the same.
struct Named {
    name: String,
    /// Where the name stands.
    line: usize,
    /// Index into the modules as read.
    index: usize,
}

/// The modules as read, and the names that routes may use.
#[derive(Default)]
pub(super) struct Modules {
    pub(super) read: Vec<Module>,
    named: Vec<Named>,
}

impl Modules {
    /// Index of the module called `name`.
    pub(super) fn index_of(&self, name: &str) -> Option<usize> {
        self.named.iter().find(|module| module.name == name).map(|module| module.index)
    }

    /// Index, name and line of each, in the order of the file.
    pub(super) fn names(&self) -> impl Iterator<Item = (usize, &str, usize)> {
        self.named.iter().map(|module| (module.index, module.name.as_str(), module.line))
    }

    fn line_of(&self, name: &str) -> Option<usize> {
        self.named.iter().find(|module| module.name == name).map(|module| module.line)
    }
}

pub(super) fn read_all(tables: Vec<Table<'_>>, surroundings: Surroundings<'_>, placed: Placed<'_>) -> Modules {
    let mut modules = Modules::default();
    for mut table in tables {
        let name = table.required("name", "routes and logs use it", |value| read_name(value, &modules));
        if let Ok((name, line)) = &name {
            // Entered before the rest is read, so that a mistake there brings no second one where a route names it.
            modules.named.push(Named { name: name.clone(), line: *line, index: modules.read.len() });
        }
        let path_line = table.line_of("path").unwrap_or_default();
        let path = table.required("path", "name the .wasm file", |value| surroundings.file(value, placed));
        let path = path.map(|path| (path, path_line));
        let module = read_settings(&mut table, name.map(|(name, _)| name), path, surroundings);
        table.finish();
        modules.read.extend(module);
    }
    modules
}

/// A module that stands alone in its file, beside the Wasm file that it is named after.
pub(super) fn read_alone(table: &mut Table<'_>, name: &str, path: &Path, surroundings: Surroundings<'_>) -> Modules {
    let module = read_settings(table, Ok(name.to_owned()), Ok((path.to_owned(), 1)), surroundings);
    let named = vec![Named { name: name.to_owned(), line: 1, index: 0 }];
    Modules { read: module.into_iter().collect(), named }
}

/// What a module is beside its name and its file; `None` if one of these is wrong. `path` comes with its line.
fn read_settings(
    table: &mut Table<'_>,
    name: Result<String, Wrong>,
    path: Result<(PathBuf, usize), Wrong>,
    surroundings: Surroundings<'_>,
) -> Option<Module> {
    let mut lines = ModuleLines {
        path: path.as_ref().map_or(0, |(_, line)| *line),
        thread_safe: table.line_of("thread_safe"),
        concurrent: table.line_of("max_concurrent_requests_per_instance"),
        pool: table.line_of("pool"),
        memory: None,
        max_requests_per_instance: table.line_of("max_requests_per_instance"),
        health: table.line_of("health"),
    };
    let thread_safe = table.field("thread_safe", None, |value| value.boolean().map(Some)).value;
    let max_requests_per_instance =
        table.field("max_requests_per_instance", None, |value| value.number(&REQUESTS).map(Some)).value;
    let max_concurrent_requests_per_instance = table
        .field("max_concurrent_requests_per_instance", None, |value| value.number(&CONCURRENT).map(Some))
        .value
        .map(|number| usize::try_from(number).expect("it is at most 1024"));
    let pool = table.value("pool").and_then(|value| Table::of("[module.pool]", value).ok()).map(mpm::read_pool);
    let limits = table.table("limits", "[module.limits]");
    lines.memory = limits.line_of("memory");
    let limits = read_limits(limits);
    let env = read_env(&table.table("env", "[module.env]"));
    let dirs = read_dirs(table.tables("dir", "[[module.dir]]"), surroundings);
    let outbound = table.value("outbound").map(outbound::read).unwrap_or_default();
    let health = table.field("health", None, |value| read_health(value).map(Some)).value;
    let rollback_on_errors = table.field("rollback_on_errors", None, |value| read_share(value).map(Some)).value;
    let (Ok(name), Ok((path, _))) = (name, path) else { return None };
    Some(Module {
        name,
        path,
        lines,
        thread_safe,
        max_requests_per_instance,
        max_concurrent_requests_per_instance,
        pool,
        limits,
        env,
        dirs,
        roots: Vec::new(),
        outbound,
        health,
        rollback_on_errors,
    })
}

fn read_name(value: Value<'_>, modules: &Modules) -> Result<(String, usize), Wrong> {
    let name = value.text("a name such as \"hello\"")?;
    names::module(name).map_err(|why| value.wrong(why))?;
    if name == SERVER_POOL {
        return Err(
            value.wrong(format_args!("{name:?} is what the server's own children are called: choose another name"))
        );
    }
    match modules.line_of(name) {
        None => Ok((name.to_owned(), value.line)),
        Some(line) => {
            Err(value.wrong(format_args!("module {name:?} stands already on line {line}: choose another name")))
        }
    }
}

/// What a client would ask for. Whether that leads to the module shows when its routes are known.
fn read_health(value: Value<'_>) -> Result<String, Wrong> {
    let written = value.text("a path such as \"/shop/healthz\"")?;
    if !written.starts_with('/') {
        return Err(value.wrong(format_args!("{written:?} does not begin with \"/\": write \"/{written}\"")));
    }
    // What follows a "#" is never sent.
    if written.contains('#') || written.parse::<PathAndQuery>().is_err() {
        let why = "is not what a client may ask for: write it percent-encoded, and without \"#\"";
        return Err(value.wrong(format_args!("{written:?} {why}")));
    }
    Ok(written.to_owned())
}

/// A share of requests, in per cent.
fn read_share(value: Value<'_>) -> Result<u8, Wrong> {
    const WHAT: &str = "a share from \"0%\" to \"99%\"";
    let written = value.text(WHAT)?;
    let number = written.strip_suffix('%').and_then(|number| number.trim().parse().ok());
    number
        .filter(|share| *share < 100)
        .ok_or_else(|| value.wrong(format_args!("expected {WHAT}, found the text {written:?}")))
}

fn read_limits(mut table: Table<'_>) -> Limits {
    let limits = Limits {
        memory: table.size("memory", &MEMORY, 64 * MIB),
        wall: table.duration("wall", &TIMEOUTS, Duration::from_secs(30)).value,
        cpu: table.duration("cpu", &TIMEOUTS, Duration::from_secs(5)).value,
        request_body: table.size("request_body", &BODY, 16 * MIB),
        response_body: table.size("response_body", &BODY, 64 * MIB),
    };
    table.finish();
    limits
}

fn read_env(table: &Table<'_>) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    for value in table.entries() {
        if let Err(why) = names::variable(value.key) {
            value.report.mistake(value.line, format_args!("[module.env]: {why}"));
        }
        if let Ok(text) = value.text("text such as \"hi\"") {
            env.insert(value.key.to_owned(), text.to_owned());
        }
    }
    env
}

fn read_dirs(tables: Vec<Table<'_>>, surroundings: Surroundings<'_>) -> Vec<Dir> {
    let mut dirs: Vec<(Dir, Option<usize>)> = Vec::with_capacity(tables.len());
    for mut table in tables {
        let host = table.required("host", "name the directory", |value| surroundings.directory(value));
        let guest = table.required("guest", "say where the guest sees it, such as \"/data\"", |value| {
            let guest = read_guest_path(value)?;
            match dirs.iter().find(|(earlier, _)| earlier.guest == guest) {
                None => Ok(guest),
                Some((_, line)) => {
                    let line = line.unwrap_or(value.line);
                    Err(value.wrong(format_args!("{guest:?} stands already on line {line}: choose another path")))
                }
            }
        });
        let write = table.field("write", false, |value| value.boolean()).value;
        let line = table.line_of("guest");
        table.finish();
        if let (Ok(host), Ok(guest)) = (host, guest) {
            dirs.push((Dir { host, guest, write }, line));
        }
    }
    dirs.into_iter().map(|(dir, _)| dir).collect()
}

/// An absolute path without detours; a slash at its end is dropped.
fn read_guest_path(value: Value<'_>) -> Result<String, Wrong> {
    let written = value.text("an absolute path such as \"/data\"")?;
    let Some(rest) = written.strip_prefix('/') else {
        return Err(value.wrong(format_args!("{written:?} is not absolute: write \"/{written}\"")));
    };
    let path = rest.strip_suffix('/').unwrap_or(rest);
    if !path.is_empty() && path.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return Err(value.wrong(format_args!("{written:?} has an empty, \".\" or \"..\" segment: write it without")));
    }
    Ok(format!("/{path}"))
}
