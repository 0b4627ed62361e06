//! Who asks, as a guest is told it: in the fields that proxies use, of which no word is the client's own.

use std::fmt::Write as _;
use std::net::IpAddr;

use bytes::Bytes;
use http::header::{FORWARDED, HeaderName};
use http::{HeaderMap, HeaderValue};

/// Tells the guest who asks: the client's address as this server sees it (RFC 7239 and the customary field), never
/// what the client says of itself.
pub(super) fn say_who_asks(headers: &mut HeaderMap, client: Option<IpAddr>, authority: &HeaderValue) {
    if headers.keys().any(|name| CLIENT_CLAIMS.contains(&name.as_str())) {
        for name in CLIENT_CLAIMS {
            headers.remove(*name);
        }
    }
    let (Some(client), Ok(authority)) = (client, authority.to_str()) else { return };
    let Told { forwarded, forwarded_for } = Told::of(client.to_canonical(), authority);
    let fields = [(FORWARDED, forwarded), (X_FORWARDED_FOR, forwarded_for)];
    for (name, value) in fields {
        if let Ok(value) = HeaderValue::from_maybe_shared(value) {
            headers.insert(name, value);
        }
    }
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("http"));
}

/// The fields' values. Every request needs them, and the address stands in both: they share one text.
struct Told {
    forwarded: Bytes,
    forwarded_for: Bytes,
}

impl Told {
    fn of(client: IpAddr, authority: &str) -> Self {
        /// Of all but the authority.
        const LENGTH_MAX: usize = "for=\"[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]\";host=\"\";proto=http".len();
        let (before, behind) = if client.is_ipv6() { ("for=\"[", "]\"") } else { ("for=", "") };
        let mut text = String::with_capacity(LENGTH_MAX + authority.len());
        text += before;
        write!(text, "{client}").expect("a string takes everything");
        let address = before.len()..text.len();
        text += behind;
        if !authority.is_empty() {
            text += ";host=\"";
            text += authority;
            text += "\"";
        }
        text += ";proto=http";
        let forwarded = Bytes::from(text);
        Self { forwarded_for: forwarded.slice(address), forwarded }
    }
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Fields in which proxies tell whom they speak for: a client's word for it is worth nothing.
const CLIENT_CLAIMS: &[&str] = &[
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-forwarded-server",
    "x-real-ip",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn told(client: &str, authority: &str, sent: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in sent {
            headers.append(*name, HeaderValue::from_static(value));
        }
        say_who_asks(&mut headers, Some(client.parse().unwrap()), &authority.parse().unwrap());
        headers
    }

    #[test]
    fn a_guest_is_told_the_address_that_the_server_sees() {
        let headers = told("192.0.2.7", "example.org:80", &[]);
        assert_eq!(headers["forwarded"], "for=192.0.2.7;host=\"example.org:80\";proto=http");
        assert_eq!(headers["x-forwarded-for"], "192.0.2.7");
        assert_eq!(headers["x-forwarded-proto"], "http");
        let headers = told("2001:db8::1", "h", &[]);
        assert_eq!(headers["forwarded"], "for=\"[2001:db8::1]\";host=\"h\";proto=http");
        assert_eq!(headers["x-forwarded-for"], "2001:db8::1");
        assert_eq!(told("::ffff:192.0.2.7", "", &[])["forwarded"], "for=192.0.2.7;proto=http");
    }

    #[test]
    fn what_a_client_claims_of_itself_is_dropped() {
        let sent =
            [("x-forwarded-for", "10.0.0.1"), ("forwarded", "for=10.0.0.1"), ("x-real-ip", "10.0.0.1"), ("x", "y")];
        let headers = told("192.0.2.7", "h", &sent);
        assert_eq!(headers.get_all("x-forwarded-for").iter().count(), 1);
        assert!(headers.get("x-real-ip").is_none());
        assert!(!format!("{headers:?}").contains("10.0.0.1"), "{headers:?}");
        assert_eq!(headers["x"], "y");
    }
}
