//! Names as they stand in the file: of hosts, modules and environment variables. Pure checks on text; each answers
//! with what is wrong, in the operator's words.

use std::net::{IpAddr, Ipv6Addr};

/// A host: a name in lower case, or an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Host {
    Name(String),
    Address(IpAddr),
}

/// Reads a host without port: a name, an IPv4 address, or an IPv6 address in brackets.
pub(super) fn host(written: &str) -> Result<Host, String> {
    if let Some(address) = written.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return match address.parse() {
            Ok(address) => Ok(Host::Address(IpAddr::V6(address))),
            Err(_) => Err(format!("{written:?} is no IPv6 address")),
        };
    }
    if written.parse::<Ipv6Addr>().is_ok() {
        return Err(format!("an IPv6 address stands in brackets: write \"[{written}]\""));
    }
    match written.parse() {
        Ok(address) => Ok(Host::Address(IpAddr::V4(address))),
        Err(_) => host_name(written).map(Host::Name),
    }
}

/// A host name (RFC 1123 2.1, and the underscore that many networks use) in lower case.
pub(super) fn host_name(written: &str) -> Result<String, String> {
    let bad = |why: &str| Err(format!("{written:?} is no host name: {why}"));
    if !written.is_ascii() {
        return bad("write its ASCII form (xn--...)");
    }
    if written.ends_with('.') {
        return bad("write it without the dot at its end");
    }
    if written.len() > 253 {
        return bad("it is longer than 253 characters");
    }
    for label in written.split('.') {
        if label.is_empty() || label.len() > 63 {
            return bad("each part between dots has 1 to 63 characters");
        }
        if !label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_') {
            return bad("it may have letters, digits, '-' and '.'");
        }
        if label.starts_with('-') || label.ends_with('-') {
            return bad("no part between dots begins or ends with '-'");
        }
    }
    // "127.1" and "0x7f000001" are addresses to many resolvers: no name may hide one.
    let last = written.rsplit('.').next().unwrap_or(written);
    if last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x") || last.starts_with("0X") {
        return bad("it looks like an address and is none");
    }
    Ok(written.to_ascii_lowercase())
}

/// Checks a module's name: it stands in logs, in the status page and in file names.
///
/// # Errors
/// It is none; what to write.
pub fn module(written: &str) -> Result<(), String> {
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let begins_well = written.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if begins_well && written.len() <= 64 && written.bytes().all(is_fit) {
        return Ok(());
    }
    Err(format!(
        "{written:?} is no module name: write 1 to 64 letters, digits, '-', '_' and '.', a letter or digit first"
    ))
}

/// Checks the name of an environment variable (POSIX.1-2024, 8.1).
pub(super) fn variable(written: &str) -> Result<(), String> {
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let begins_well = written.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
    if begins_well && written.bytes().all(is_fit) {
        return Ok(());
    }
    Err(format!("{written:?} is no name of a variable: write letters, digits and '_', no digit first"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_are_lower_cased_and_addresses_recognised() {
        assert_eq!(host("Example.ORG"), Ok(Host::Name(String::from("example.org"))));
        assert_eq!(host("localhost"), Ok(Host::Name(String::from("localhost"))));
        assert_eq!(host("a_b.internal"), Ok(Host::Name(String::from("a_b.internal"))));
        assert_eq!(host("127.0.0.1"), Ok(Host::Address("127.0.0.1".parse().unwrap())));
        assert_eq!(host("[::1]"), Ok(Host::Address("::1".parse().unwrap())));
    }

    #[test]
    fn what_is_no_host_is_told_why() {
        let long_label = "a".repeat(64);
        let long_name = ["abc"; 64].join(".");
        for (written, expected) in [
            ("::1", "an IPv6 address stands in brackets: write \"[::1]\""),
            ("[::g]", "\"[::g]\" is no IPv6 address"),
            ("", "\"\" is no host name: each part between dots has 1 to 63 characters"),
            ("a..b", "\"a..b\" is no host name: each part between dots has 1 to 63 characters"),
            ("münchen.de", "\"münchen.de\" is no host name: write its ASCII form (xn--...)"),
            ("a.b.", "\"a.b.\" is no host name: write it without the dot at its end"),
            ("a b", "\"a b\" is no host name: it may have letters, digits, '-' and '.'"),
            ("-a.b", "\"-a.b\" is no host name: no part between dots begins or ends with '-'"),
            ("127.1", "\"127.1\" is no host name: it looks like an address and is none"),
            ("1.2.3.256", "\"1.2.3.256\" is no host name: it looks like an address and is none"),
            ("0x7f000001", "\"0x7f000001\" is no host name: it looks like an address and is none"),
        ] {
            assert_eq!(host(written), Err(String::from(expected)));
        }
        assert!(host(&long_label).unwrap_err().ends_with("each part between dots has 1 to 63 characters"));
        assert!(host(&long_name).unwrap_err().ends_with("it is longer than 253 characters"));
    }

    #[test]
    fn module_names_fit_into_logs_and_file_names() {
        for good in ["hello", "a", "php8.3", "my_mod-2"] {
            assert_eq!(module(good), Ok(()));
        }
        for bad in ["", "../x", "-a", ".a", "a b", "a/b", "ä", &"a".repeat(65)] {
            assert!(module(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn variables_have_portable_names() {
        for good in ["GREETING", "_x", "a1"] {
            assert_eq!(variable(good), Ok(()));
        }
        for bad in ["", "1A", "A=B", "A-B", "Ä"] {
            assert!(variable(bad).is_err(), "{bad}");
        }
    }
}
