//! `outbound` of a module: whom its guests may call. An entry is text, or a table that adds what the text cannot say:
//!
//! ```toml
//! outbound = ["api.example.com:443", { host = "db.internal:5432", private = true }]
//! ```

use super::OutboundHost;
use super::names::{self, Host};
use super::report::Wrong;
use super::table::Table;
use super::value::Value;

const WHAT: &str = "a host such as \"api.example.com:443\", or a table { host = \"...\", private = true }";

pub(super) fn read(value: Value<'_>) -> Vec<OutboundHost> {
    let Ok(elements) = value.array("hosts such as [\"api.example.com:443\"]") else { return Vec::new() };
    let mut hosts: Vec<(OutboundHost, usize)> = Vec::with_capacity(elements.len());
    for element in elements {
        let Ok(host) = read_entry(element) else { continue };
        match hosts.iter().find(|(earlier, _)| earlier.host == host.host && earlier.port == host.port) {
            None => hosts.push((host, element.line)),
            Some((_, line)) => {
                element.wrong(format_args!("{:?} stands already on line {line}: remove one of them", host.host));
            }
        }
    }
    hosts.into_iter().map(|(host, _)| host).collect()
}

fn read_entry(value: Value<'_>) -> Result<OutboundHost, Wrong> {
    if !value.is_table() {
        let (host, port) = read_host(value)?;
        return Ok(entry(host, port, Reach::AsNamed));
    }
    let mut table = Table::of("outbound", value)?;
    let host = table.required("host", "name whom guests may call", read_host);
    let reach = match table.value("private") {
        None => Ok(Reach::AsNamed),
        Some(value) => value.boolean().map(|private| if private { Reach::Private } else { Reach::Public(value) }),
    };
    table.finish();
    let ((host, port), reach) = (host?, reach?);
    if let (Reach::Public(value), true) = (&reach, host.is_private_by_name()) {
        return Err(value.wrong(format_args!(
            "false contradicts the host: {} names its addresses, whether private or not: remove private",
            host.text()
        )));
    }
    Ok(entry(host, port, reach))
}

/// What the operator said about addresses that are not public.
enum Reach<'d> {
    /// Nothing.
    AsNamed,
    Private,
    /// `private = false`, and where that stands.
    Public(Value<'d>),
}

/// The host of an entry, without port.
enum Callee {
    Host(Host),
    /// Every name below this one.
    Below(String),
}

impl Callee {
    /// Whoever writes an address or "localhost" means exactly that.
    fn is_private_by_name(&self) -> bool {
        match self {
            Callee::Host(Host::Address(_)) => true,
            Callee::Host(Host::Name(name)) => name == "localhost",
            Callee::Below(_) => false,
        }
    }

    fn text(&self) -> String {
        match self {
            Callee::Host(Host::Address(address)) => address.to_string(),
            Callee::Host(Host::Name(name)) => name.clone(),
            Callee::Below(name) => format!("*.{name}"),
        }
    }
}

fn entry(host: Callee, port: Option<u16>, reach: Reach<'_>) -> OutboundHost {
    let private = match reach {
        Reach::AsNamed => host.is_private_by_name(),
        Reach::Private => true,
        Reach::Public(_) => false,
    };
    OutboundHost { host: host.text(), port, private }
}

fn read_host(value: Value<'_>) -> Result<(Callee, Option<u16>), Wrong> {
    let written = value.text(WHAT)?;
    if written.contains('/') {
        let text =
            format_args!("{written:?} has a scheme or a path: write host and port alone, such as \"a.example:443\"");
        return Err(value.wrong(text));
    }
    let (host, port) = split_port(written);
    let port = match port.map(str::parse) {
        None => None,
        Some(Ok(0) | Err(_)) => {
            return Err(value.wrong(format_args!("{written:?} has no port from 1 to 65535 after its ':'")));
        }
        Some(Ok(port)) => Some(port),
    };
    let callee = match host.strip_prefix("*.") {
        Some(suffix) => names::host_name(suffix).map(Callee::Below),
        None if host == "*" => Err(String::from("\"*\" would allow every host: name those that are needed")),
        None => names::host(host).map(Callee::Host),
    };
    Ok((callee.map_err(|why| value.wrong(why))?, port))
}

/// Divides at the last ':', unless it belongs to an IPv6 address.
fn split_port(written: &str) -> (&str, Option<&str>) {
    match written.rsplit_once(':') {
        Some((host, port)) if host.ends_with(']') || !host.contains(':') => (host, Some(port)),
        _ => (written, None),
    }
}
