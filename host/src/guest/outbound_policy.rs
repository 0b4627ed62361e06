//! Whom a guest may call: pure decisions on names, ports and addresses.
//!
//! Nothing is resolved or connected here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::config::OutboundHost;

/// What the configuration says to one destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Permission {
    /// No entry names it.
    Denied,
    /// It may be called at addresses of the public Internet.
    Public,
    /// It may be called wherever it is.
    Anywhere,
}

/// Looks a destination up in the module's `outbound` list.
///
/// `host` is a name or an address literal without brackets, in any case.
pub(super) fn permission(list: &[OutboundHost], host: &str, port: u16, default_port: u16) -> Permission {
    let host = host.to_ascii_lowercase();
    // "example.com." is the same name, spelt from the root.
    let host = host.strip_suffix('.').unwrap_or(&host);
    list.iter()
        .filter(|entry| entry.port.unwrap_or(default_port) == port && names(&entry.host, host))
        .map(|entry| if reaches_private(entry) { Permission::Anywhere } else { Permission::Public })
        .max_by_key(|permission| *permission == Permission::Anywhere)
        .unwrap_or(Permission::Denied)
}

fn names(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(parent) => {
            // An address has no names below it: "*.0.0.1" must not match 127.0.0.1.
            host.parse::<IpAddr>().is_err()
                && host.strip_suffix(parent).and_then(|below| below.strip_suffix('.')).is_some_and(|b| !b.is_empty())
        }
        None => match (pattern.parse::<IpAddr>(), host.parse::<IpAddr>()) {
            (Ok(pattern), Ok(host)) => pattern == host,
            (Err(_), Err(_)) => pattern == host,
            _ => false,
        },
    }
}

/// An entry that names an address, or this machine, or says so, means what it says.
fn reaches_private(entry: &OutboundHost) -> bool {
    entry.private || entry.host == "localhost" || entry.host.parse::<IpAddr>().is_ok()
}

/// Whether an address belongs to the public Internet (the IANA special-purpose registries, RFC 6890): everything
/// else could be a machine that trusts whoever reaches it.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = a == 0 // "this network", RFC 791
        || a == 10 || (a == 172 && (16..32).contains(&b)) || (a == 192 && b == 168) // private, RFC 1918
        || (a == 100 && (64..128).contains(&b)) // carrier-grade NAT, RFC 6598
        || a == 127
        || (a == 169 && b == 254) // link-local, and the metadata services of clouds
        || (a == 192 && b == 0 && (c == 0 || c == 2)) // IETF protocols, documentation
        || (a == 192 && b == 88 && c == 99) // 6to4 relays, RFC 7526
        || (a == 198 && (b == 18 || b == 19)) // benchmarks, RFC 2544
        || (a == 198 && b == 51 && c == 100)
        || (a == 203 && b == 0 && c == 113) // documentation, RFC 5737
        || a >= 224; // multicast, reserved, broadcast
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    // Only 2000::/3 is given out; that leaves out ::, ::1, fc00::/7, fe80::/10, ff00::/8, ::ffff:0:0/96 and
    // 64:ff9b::/96, behind which any IPv4 address may hide.
    let segments = address.segments();
    let global = segments[0] & 0xe000 == 0x2000;
    let special = matches!(
        segments,
        [0x2001, 0..0x0200 | 0x0db8, ..] // Teredo and other IETF protocols, RFC 2928; documentation, RFC 3849
            | [0x3fff, 0..0x1000, ..] // documentation, RFC 9637
            | [0x2002, ..] // 6to4: an IPv4 address in disguise
    );
    global && !special
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(host: &str, port: Option<u16>, private: bool) -> OutboundHost {
        OutboundHost { host: host.into(), port, private }
    }

    #[test]
    fn an_empty_list_denies_everything() {
        assert_eq!(permission(&[], "example.com", 443, 443), Permission::Denied);
    }

    #[test]
    fn an_entry_without_a_port_means_the_scheme_s_own() {
        let list = [entry("example.com", None, false)];
        assert_eq!(permission(&list, "example.com", 443, 443), Permission::Public);
        assert_eq!(permission(&list, "example.com", 80, 80), Permission::Public);
        assert_eq!(permission(&list, "example.com", 8443, 443), Permission::Denied);
    }

    #[test]
    fn case_and_the_final_dot_of_a_name_do_not_matter() {
        let list = [entry("example.com", Some(443), false)];
        assert_eq!(permission(&list, "EXAMPLE.com.", 443, 443), Permission::Public);
    }

    #[test]
    fn a_pattern_means_the_names_below_and_nothing_else() {
        let list = [entry("*.example.com", Some(443), false)];
        assert_eq!(permission(&list, "a.example.com", 443, 443), Permission::Public);
        assert_eq!(permission(&list, "a.b.example.com", 443, 443), Permission::Public);
        for host in ["example.com", ".example.com", "badexample.com", "example.com.evil.org"] {
            assert_eq!(permission(&list, host, 443, 443), Permission::Denied, "{host}");
        }
        assert_eq!(permission(&[entry("*.0.0.1", Some(80), true)], "127.0.0.1", 80, 80), Permission::Denied);
    }

    #[test]
    fn private_addresses_need_naming() {
        assert_eq!(permission(&[entry("db.internal", Some(80), false)], "db.internal", 80, 80), Permission::Public);
        assert_eq!(permission(&[entry("db.internal", Some(80), true)], "db.internal", 80, 80), Permission::Anywhere);
        assert_eq!(permission(&[entry("127.0.0.1", Some(80), false)], "127.0.0.1", 80, 80), Permission::Anywhere);
        assert_eq!(permission(&[entry("localhost", Some(80), false)], "localhost", 80, 80), Permission::Anywhere);
        assert_eq!(permission(&[entry("127.0.0.1", Some(80), false)], "localhost", 80, 80), Permission::Denied);
    }

    #[test]
    fn an_address_matches_however_it_is_spelt() {
        assert_eq!(permission(&[entry("::1", Some(80), false)], "0:0::1", 80, 80), Permission::Anywhere);
    }

    #[test]
    fn special_addresses_are_not_public() {
        for address in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "192.0.2.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "2002:7f00:1::",
        ] {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn ordinary_addresses_are_public() {
        for address in ["8.8.8.8", "172.32.0.1", "100.128.0.1", "192.0.1.1", "2606:4700::1111", "2a00:1450::1"] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }
}
