//! `[[route]]`: which host and path belongs to which module, fixed answer or handler of the server's own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::module::Modules;
use super::names::{self, Host};
use super::report::Wrong;
use super::surroundings::Surroundings;
use super::table::{Table, nearest};
use super::value::Value;
use super::{HostPattern, Route, SCRIPTS_GUEST_PATH, Scripts, Target};

/// Final statuses (RFC 9110 15).
const STATUSES: std::ops::RangeInclusive<u64> = 200..=599;
/// Values of `handler`, as Apache's SetHandler has the first.
const SERVER_STATUS: &str = "server-status";
const METRICS: &str = "metrics";

/// What a route is for, and the line it stands on.
struct Seen {
    host: Option<HostPattern>,
    path: String,
    line: Option<usize>,
}

pub(super) fn read_all(tables: Vec<Table<'_>>, surroundings: Surroundings<'_>, modules: &mut Modules) -> Vec<Route> {
    let mut routes = Vec::with_capacity(tables.len());
    // Apart from the routes, since one whose target is wrong counts here too.
    let mut seen: Vec<Seen> = Vec::with_capacity(tables.len());
    for mut table in tables {
        let host = table.value("host").map(read_host).transpose();
        let path = table.required("path", "write \"/\" for every path", read_path);
        let target = read_target(&mut table, modules);
        let scripts = read_scripts(&mut table, &target, surroundings, modules);
        if let (Ok(host), Ok(path)) = (host, path) {
            match seen.iter().find(|earlier| earlier.host == host && earlier.path == path) {
                None => seen.push(Seen { host: host.clone(), path: path.clone(), line: table.line() }),
                Some(earlier) => {
                    let line = earlier.line.map(|line| format!(" on line {line}")).unwrap_or_default();
                    let what = described(host.as_ref(), &path);
                    table.wrong(format_args!("{what} has a route already{line}: remove one of them"));
                }
            }
            if let (Ok(target), Ok(scripts)) = (target, scripts) {
                routes.push(Route { host, path, target, scripts });
            }
        }
        table.finish();
    }
    routes
}

/// The routes of a module that stands alone in its file: those that it names, or everything below a path of its name.
pub(super) fn read_of_module(
    table: &mut Table<'_>,
    surroundings: Surroundings<'_>,
    modules: &mut Modules,
) -> Vec<Route> {
    const WHAT: &str = "paths such as [\"/hello\"], or tables such as [{ host = \"example.org\", path = \"/hello\" }]";
    let Some(value) = table.value("routes") else { return default_route(modules).into_iter().collect() };
    let Ok(elements) = value.array(WHAT) else { return Vec::new() };
    let mut routes: Vec<Route> = Vec::with_capacity(elements.len());
    for element in elements {
        let route =
            if element.is_table() { read_table(element, surroundings, modules) } else { read_path(element).map(plain) };
        let Ok(route) = route else { continue };
        if routes.iter().any(|earlier| earlier.host == route.host && earlier.path == route.path) {
            element
                .wrong(format_args!("{} stands there twice: remove one", described(route.host.as_ref(), &route.path)));
        }
        routes.push(route);
    }
    routes
}

fn read_table(element: Value<'_>, surroundings: Surroundings<'_>, modules: &mut Modules) -> Result<Route, Wrong> {
    let mut table = Table::of("routes", element)?;
    let host = table.value("host").map(read_host).transpose();
    let path = table.required("path", "write \"/\" for every path", read_path);
    let scripts = read_scripts(&mut table, &Ok(Target::Module(0)), surroundings, modules);
    table.finish();
    Ok(Route { host: host?, path: path?, target: Target::Module(0), scripts: scripts? })
}

/// Of the module that stands alone: index 0.
fn plain(path: String) -> Route {
    Route { host: None, path, target: Target::Module(0), scripts: None }
}

fn default_route(modules: &Modules) -> Option<Route> {
    modules.read.first().map(|module| plain(format!("/{}", module.name)))
}

pub(super) fn described(host: Option<&HostPattern>, path: &str) -> String {
    match host {
        None => format!("path {path:?}"),
        Some(HostPattern::Exact(name)) => format!("path {path:?} of host {name:?}"),
        Some(HostPattern::Below(name)) => format!("path {path:?} of host \"*.{name}\""),
    }
}

fn read_host(value: Value<'_>) -> Result<HostPattern, Wrong> {
    let written = value.text("a host such as \"example.org\" or \"*.example.org\"")?;
    let pattern = match written.strip_prefix("*.") {
        Some(suffix) => names::host_name(suffix).map(HostPattern::Below),
        None if written == "*" => Err(String::from("\"*\" is no host: leave host out for a route of every host")),
        None if has_port(written) => Err(format!("{written:?} has a port: routes know the host alone")),
        None => names::host(written).map(|host| {
            HostPattern::Exact(match host {
                Host::Name(name) => name,
                Host::Address(IpAddr::V4(address)) => address.to_string(),
                // As it stands in a Host field (RFC 9110 7.2).
                Host::Address(IpAddr::V6(address)) => format!("[{address}]"),
            })
        }),
    };
    pattern.map_err(|why| value.wrong(why))
}

fn has_port(written: &str) -> bool {
    written.rsplit_once(':').is_some_and(|(host, port)| {
        !port.is_empty()
            && port.bytes().all(|byte| byte.is_ascii_digit())
            && (host.ends_with(']') || !host.contains(':'))
    })
}

/// A path as it reads decoded: the look-up decodes what the client sent.
fn read_path(value: Value<'_>) -> Result<String, Wrong> {
    let written = value.text("a path such as \"/hello\"")?;
    let bad = |why: &str| Err(value.wrong(format_args!("{written:?} {why}")));
    let Some(rest) = written.strip_prefix('/') else {
        return bad(&format!("does not begin with \"/\": write \"/{written}\""));
    };
    if written.contains(['?', '#']) {
        return bad("has a query or a fragment: write the path alone");
    }
    if written.contains('*') {
        return bad("has a \"*\": a route is for everything below its path anyway");
    }
    if written.contains('%') {
        return bad("has a percent-encoding: write the path decoded");
    }
    if written.chars().any(char::is_control) {
        return bad("has a control character");
    }
    let path = rest.strip_suffix('/').unwrap_or(rest);
    if !path.is_empty() && path.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return bad("has an empty, \".\" or \"..\" segment: write it without");
    }
    Ok(format!("/{path}"))
}

fn read_target(table: &mut Table<'_>, modules: &Modules) -> Result<Target, Wrong> {
    let (module, text, handler) = (table.value("module"), table.value("text"), table.value("handler"));
    let (status, allow) = (table.value("status"), table.value("allow"));
    match (module, text, handler) {
        (Some(module), None, None) => {
            let rest = only_with("text", status).and(only_with("handler", allow));
            rest.and(read_module(module, modules).map(Target::Module))
        }
        (None, Some(text), None) => only_with("handler", allow).and(read_answer(text, status)),
        (None, None, Some(handler)) => only_with("text", status).and(read_handler(handler, allow)),
        (None, None, None) => Err(table
            .wrong("who answers is missing: write module = \"NAME\", text = \"...\" or handler = \"server-status\"")),
        (module, text, handler) => {
            let keys: Vec<_> = [module, text, handler].into_iter().flatten().map(|value| value.key).collect();
            Err(table.wrong(format_args!("it has {}: keep one of them", keys.join(" and "))))
        }
    }
}

fn only_with(key: &str, value: Option<Value<'_>>) -> Result<(), Wrong> {
    value.map_or(Ok(()), |value| Err(value.wrong(format_args!("it goes with {key} only: remove it"))))
}

fn read_module(value: Value<'_>, modules: &Modules) -> Result<usize, Wrong> {
    let name = value.text("the name of a module")?;
    modules.index_of(name).ok_or_else(|| {
        let known: Vec<&str> = modules.names().map(|(_, name, _)| name).collect();
        let hint =
            if known.is_empty() { String::from("write a [[module]] of that name") } else { nearest(name, &known) };
        value.wrong(format_args!("there is no module {name:?}: {hint}"))
    })
}

/// `root`, `index` and `script_suffixes`, of a route to a module that is an interpreter.
fn read_scripts(
    table: &mut Table<'_>,
    target: &Result<Target, Wrong>,
    surroundings: Surroundings<'_>,
    modules: &mut Modules,
) -> Result<Option<Scripts>, Wrong> {
    let (root, index, suffixes) = (table.value("root"), table.value("index"), table.value("script_suffixes"));
    let module = match target {
        Ok(Target::Module(module)) => Some(*module),
        // Which keys go with it shows when that is mended.
        Err(_) => return Ok(None),
        Ok(_) => None,
    };
    let Some(module) = module else {
        return only_with("module", root)
            .and(only_with("module", index))
            .and(only_with("module", suffixes))
            .map(|()| None);
    };
    let Some(root) = root else {
        return only_with("root", index).and(only_with("root", suffixes)).map(|()| None);
    };
    let folder = surroundings.directory(root);
    let suffixes =
        match suffixes {
            Some(suffixes) => read_suffixes(suffixes),
            None => Err(root
                .wrong("script_suffixes is missing beside it: say how the names of scripts end, such as [\".php\"]")),
        };
    let index = match (index, &suffixes) {
        (Some(index), _) => read_index(index, suffixes.as_deref().unwrap_or_default()),
        (None, Ok(suffixes)) => Ok(suffixes.iter().map(|suffix| format!("index{suffix}")).collect()),
        (None, Err(Wrong)) => Err(Wrong),
    };
    let (folder, suffixes, index) = (folder?, suffixes?, index?);
    // A module that is wrong itself is not there.
    let Some(module) = modules.read.get_mut(module) else { return Ok(None) };
    if module.dirs.iter().any(|dir| dir.guest == SCRIPTS_GUEST_PATH) {
        return Err(root.wrong(format_args!(
            "the guest sees this folder as {SCRIPTS_GUEST_PATH:?}, but a [[module.dir]] of its module stands there: \
             choose another path for that"
        )));
    }
    let known = module.roots.iter().position(|known| *known == folder);
    let number = known.unwrap_or_else(|| {
        module.roots.push(folder.clone());
        module.roots.len() - 1
    });
    Ok(Some(Scripts { root: number, folder, index, suffixes, line: root.line }))
}

fn read_suffixes(value: Value<'_>) -> Result<Vec<String>, Wrong> {
    const WHAT: &str = "ends of names such as [\".php\"]";
    read_names(value, WHAT, |written| {
        let good = written.len() > 1 && written.starts_with('.') && !written.contains('/');
        if good { Ok(()) } else { Err(format!("{written:?} is no end of a file's name: write one such as \".php\"")) }
    })
}

fn read_index(value: Value<'_>, suffixes: &[String]) -> Result<Vec<String>, Wrong> {
    read_names(value, "names of files such as [\"index.php\"]", |written| {
        if written.contains('/') || written.is_empty() {
            return Err(format!("{written:?} is no name of a file: write one such as \"index.php\""));
        }
        if !suffixes.is_empty() && !suffixes.iter().any(|suffix| written.ends_with(suffix.as_str())) {
            return Err(format!("{written:?} is no script: no suffix in script_suffixes is its end"));
        }
        Ok(())
    })
}

fn read_names(value: Value<'_>, what: &str, check: impl Fn(&str) -> Result<(), String>) -> Result<Vec<String>, Wrong> {
    let elements = value.array(what)?;
    if elements.is_empty() {
        return Err(value.wrong(format_args!("it is empty: write {what}")));
    }
    // Each is read, so that each mistake is told.
    let read: Vec<_> = elements
        .into_iter()
        .map(|element| {
            let written = element.text(what)?;
            check(written).map(|()| written.to_owned()).map_err(|why| element.wrong(why))
        })
        .collect();
    read.into_iter().collect()
}

fn read_answer(text: Value<'_>, status: Option<Value<'_>>) -> Result<Target, Wrong> {
    let read = text.text("text such as \"ok\\n\"");
    let status_read = status.map_or(Ok(200), |value| value.number(&STATUSES));
    let (read, number) = (read?, status_read?);
    if let (Some(status), 204 | 205 | 304, false) = (status, number, read.is_empty()) {
        return Err(status.wrong(format_args!("an answer of status {number} has no content: write text = \"\"")));
    }
    let number = u16::try_from(number).expect("a status is at most 599");
    Ok(Target::Text { status: number, text: read.to_owned() })
}

fn read_handler(handler: Value<'_>, allow: Option<Value<'_>>) -> Result<Target, Wrong> {
    let name = handler.text("\"server-status\" or \"metrics\"");
    let allow = allow.map_or_else(|| Ok(this_machine()), read_allow);
    match name? {
        SERVER_STATUS => Ok(Target::ServerStatus { allow: allow? }),
        METRICS => Ok(Target::Metrics { allow: allow? }),
        other => {
            let hint = nearest(other, &[SERVER_STATUS, METRICS]);
            Err(handler.wrong(format_args!("there is no handler {other:?}: {hint}")))
        }
    }
}

/// The loopback addresses.
fn this_machine() -> Vec<IpNet> {
    let v4 = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);
    vec![IpNet::V4(v4), IpNet::V6(Ipv6Net::from(Ipv6Addr::LOCALHOST))]
}

fn read_allow(value: Value<'_>) -> Result<Vec<IpNet>, Wrong> {
    let elements = value.array("addresses and networks such as [\"127.0.0.1\", \"10.0.0.0/8\"]")?;
    if elements.is_empty() {
        return Err(value.wrong("nobody: name an address or a network, or remove the route"));
    }
    // Each is read, so that each mistake is told.
    let networks: Vec<_> = elements.into_iter().map(read_network).collect();
    networks.into_iter().collect()
}

/// A network, or an address as the network that has no other.
fn read_network(value: Value<'_>) -> Result<IpNet, Wrong> {
    const WHAT: &str = "an address such as \"127.0.0.1\" or \"::1\", or a network such as \"10.0.0.0/8\"";
    let written = value.text(WHAT)?;
    let network: IpNet = match written.parse::<IpAddr>() {
        Ok(address) => address.into(),
        Err(_) => written.parse().map_err(|_| value.wrong(format_args!("expected {WHAT}, found {written:?}")))?,
    };
    if network != network.trunc() {
        let (whole, address) = (network.trunc(), network.addr());
        return Err(value.wrong(format_args!(
            "{written:?} is no network: write \"{whole}\" for the network, or \"{address}\" for the address"
        )));
    }
    // A client is known by its IPv4 address if it has one, also where the socket is one of IPv6.
    if let IpNet::V6(mapped) = network
        && let Some(address) = mapped.addr().to_ipv4_mapped()
        && let Some(prefix) = mapped.prefix_len().checked_sub(96)
        && let Ok(plain) = Ipv4Net::new(address, prefix)
    {
        return Err(value.wrong(format_args!("{written:?} stands for addresses of IPv4: write \"{plain}\"")));
    }
    Ok(network)
}
