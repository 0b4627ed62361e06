//! Who asks, as a guest is told it: in the fields that proxies use, of which no word is the client's own.

use std::net::IpAddr;

use http::header::{FORWARDED, HeaderName};
use http::{HeaderMap, HeaderValue};

/// Tells the guest who asks: the client's address as this server sees it (RFC 7239 and the customary field), never
/// what the client says of itself.
pub(super) fn say_who_asks(headers: &mut HeaderMap, client: Option<IpAddr>, authority: &str) {
    for name in CLIENT_CLAIMS {
        headers.remove(*name);
    }
    let Some(client) = client.map(|client| client.to_canonical()) else { return };
    let node = match client {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("\"[{address}]\""),
    };
    let forwarded = match authority {
        "" => format!("for={node};proto=http"),
        authority => format!("for={node};host=\"{authority}\";proto=http"),
    };
    let fields =
        [(FORWARDED, forwarded), (X_FORWARDED_FOR, client.to_string()), (X_FORWARDED_PROTO, "http".to_owned())];
    for (name, value) in fields {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
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
        say_who_asks(&mut headers, Some(client.parse().unwrap()), authority);
        headers
    }

    #[test]
    fn a_guest_is_told_the_address_that_the_server_sees() {
        let headers = told("192.0.2.7", "example.org:80", &[]);
        assert_eq!(headers["forwarded"], "for=192.0.2.7;host=\"example.org:80\";proto=http");
        assert_eq!(headers["x-forwarded-for"], "192.0.2.7");
        assert_eq!(told("2001:db8::1", "h", &[])["forwarded"], "for=\"[2001:db8::1]\";host=\"h\";proto=http");
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
