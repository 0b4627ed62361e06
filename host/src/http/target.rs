//! Request targets and authorities: RFC 9112 section 3.2, RFC 3986 section 3.2.
//!
//! Which of target and Host a request is for is decided in `head`; nothing is decoded or normalised anywhere.

use std::net::Ipv6Addr;

use bytes::Bytes;
use http::Method;
use http::uri::PathAndQuery;

use super::grammar::{decimal, is_path_and_query, is_reg_name};
use super::refusal::Refusal;

/// The form in which the client wrote the request target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// "/path?query".
    Origin,
    /// `http://host/path?query`; the scheme is as said there.
    Absolute(Scheme),
    /// "*", with OPTIONS only: the server as a whole.
    Asterisk,
}

/// The scheme of an absolute-form target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// "http".
    Http,
    /// "https".
    Https,
}

/// A request target, taken apart.
#[derive(Debug)]
pub(super) struct ParsedTarget {
    pub(super) form: Target,
    /// Of the absolute form; checked.
    pub(super) authority: Option<Bytes>,
    pub(super) path_and_query: PathAndQuery,
}

/// Takes a request target apart. `target` has at least one byte and no space.
pub(super) fn parse(method: &Method, target: Bytes) -> Result<ParsedTarget, Refusal> {
    match &target[..] {
        _ if method == Method::CONNECT => {
            // The one method with authority-form (RFC 9112 section 3.2.3): a valid one is merely not supported.
            let refusal =
                if is_host_and_port(&target) { Refusal::ConnectUnsupported } else { Refusal::TargetMalformed };
            Err(refusal)
        }
        [b'/', ..] if is_path_and_query(&target) => {
            Ok(ParsedTarget { form: Target::Origin, authority: None, path_and_query: path_and_query(target)? })
        }
        b"*" if method == Method::OPTIONS => {
            Ok(ParsedTarget { form: Target::Asterisk, authority: None, path_and_query: PathAndQuery::from_static("*") })
        }
        _ => parse_absolute(method, &target),
    }
}

fn parse_absolute(method: &Method, target: &Bytes) -> Result<ParsedTarget, Refusal> {
    let (scheme, start) = scheme(target).ok_or(Refusal::TargetMalformed)?;
    let rest = target.slice(start..);
    let end = rest.iter().position(|&byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    let authority = rest.slice(..end);
    let tail = rest.slice(end..);
    if !is_authority(&authority) {
        return Err(Refusal::HostInvalid);
    }
    if !is_path_and_query(&tail) {
        return Err(Refusal::TargetMalformed);
    }
    let authority = Some(authority);
    // RFC 9112 section 3.2.4: OPTIONS for an absolute URI without path and query means "*".
    if tail.is_empty() && method == Method::OPTIONS {
        let path_and_query = PathAndQuery::from_static("*");
        return Ok(ParsedTarget { form: Target::Asterisk, authority, path_and_query });
    }
    // RFC 9110 section 4.2.3: an empty path is the same as "/".
    let tail = if tail.starts_with(b"/") { tail } else { Bytes::from([b"/", &tail[..]].concat()) };
    Ok(ParsedTarget { form: Target::Absolute(scheme), authority, path_and_query: path_and_query(tail)? })
}

/// The scheme of an absolute URI, and where what follows "://" begins.
fn scheme(target: &[u8]) -> Option<(Scheme, usize)> {
    let begins_with =
        |prefix: &str| target.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()));
    [(Scheme::Http, "http://"), (Scheme::Https, "https://")]
        .into_iter()
        .find_map(|(scheme, prefix)| begins_with(prefix).then_some((scheme, prefix.len())))
}

/// `text` holds nothing but bytes of a path and a query, all of which the type takes; so the only fault left is its
/// length.
fn path_and_query(text: Bytes) -> Result<PathAndQuery, Refusal> {
    PathAndQuery::from_maybe_shared(text).map_err(|_| Refusal::RequestLineTooLong)
}

/// Whether this is `host [":" port]` with a host that is not empty (RFC 9110 section 4.2.1). User information is
/// refused, as RFC 9110 section 4.2.4 advises: it serves only to deceive.
pub(super) fn is_authority(text: &[u8]) -> bool {
    split_authority(text).is_some()
}

fn is_host_and_port(text: &[u8]) -> bool {
    matches!(split_authority(text), Some([_, ..]))
}

/// The port of a valid authority; empty if it has none.
fn split_authority(text: &[u8]) -> Option<&[u8]> {
    let (host_is_valid, tail) = if let Some(rest) = text.strip_prefix(b"[") {
        let end = rest.iter().position(|&byte| byte == b']')?;
        (is_ip_literal(&rest[..end]), &rest[end + 1..])
    } else {
        let end = text.iter().position(|&byte| byte == b':').unwrap_or(text.len());
        (end > 0 && is_reg_name(&text[..end]), &text[end..])
    };
    if !host_is_valid {
        return None;
    }
    match tail {
        [] | [b':'] => Some(&[]),
        [b':', port @ ..] => decimal(port).is_some_and(|number| u16::try_from(number).is_ok()).then_some(port),
        _ => None,
    }
}

/// RFC 3986 section 3.2.2: what stands between the brackets.
fn is_ip_literal(text: &[u8]) -> bool {
    match text {
        [b'v' | b'V', rest @ ..] => {
            let dot = rest.iter().position(|&byte| byte == b'.').unwrap_or(0);
            let (version, address) = rest.split_at(dot);
            let address = address.get(1..).unwrap_or_default();
            !version.is_empty()
                && version.iter().all(u8::is_ascii_hexdigit)
                && !address.is_empty()
                && address.iter().all(|&byte| byte == b':' || (byte != b'%' && is_reg_name(&[byte])))
        }
        _ => str::from_utf8(text).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(method: &Method, text: &str) -> Result<(Target, Option<String>, String), Refusal> {
        let parsed = parse(method, Bytes::copy_from_slice(text.as_bytes()))?;
        let authority = parsed.authority.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap());
        Ok((parsed.form, authority, parsed.path_and_query.as_str().to_owned()))
    }

    #[test]
    fn an_origin_form_target_is_kept_as_received() {
        let plain = ["/", "//", "/a/../b", "/%2e%2E/%00", "/a?b=c&d", "/?", "/a;b=1,(c)'*!$@:~", "/a?b?c/d"];
        let browsers = ["/[a]|b", "/?a[]=1&a[]=2", "/?{b}|^\\`"];
        for text in plain.into_iter().chain(browsers) {
            assert_eq!(target(&Method::GET, text), Ok((Target::Origin, None, text.to_owned())));
        }
    }

    #[test]
    fn an_absolute_form_target_names_authority_path_and_query() {
        use Scheme::{Http, Https};
        for (text, scheme, authority, path) in [
            ("http://a.example/b?c", Http, "a.example", "/b?c"),
            ("HTTP://a.example:8080", Http, "a.example:8080", "/"),
            ("https://[::1]:443?q", Https, "[::1]:443", "/?q"),
            ("hTTps://127.0.0.1//x", Https, "127.0.0.1", "//x"),
        ] {
            let expected = (Target::Absolute(scheme), Some(authority.to_owned()), path.to_owned());
            assert_eq!(target(&Method::GET, text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn an_asterisk_is_only_for_options() {
        assert_eq!(target(&Method::OPTIONS, "*"), Ok((Target::Asterisk, None, "*".to_owned())));
        let absolute = Ok((Target::Asterisk, Some("a.example".to_owned()), "*".to_owned()));
        assert_eq!(target(&Method::OPTIONS, "http://a.example"), absolute);
        assert_eq!(target(&Method::GET, "*"), Err(Refusal::TargetMalformed));
        assert_eq!(target(&Method::OPTIONS, "*/"), Err(Refusal::TargetMalformed));
    }

    #[test]
    fn connect_is_not_supported() {
        assert_eq!(target(&Method::CONNECT, "a.example:443"), Err(Refusal::ConnectUnsupported));
        for text in ["a.example", "a.example:", "/", "http://a.example:1/", "*"] {
            assert_eq!(target(&Method::CONNECT, text), Err(Refusal::TargetMalformed), "{text}");
        }
        assert_eq!(target(&Method::GET, "a.example:443"), Err(Refusal::TargetMalformed));
    }

    #[test]
    fn a_malformed_target_is_refused() {
        for text in [
            "a", "?a", "/a#b", "/\"", "/<", "/a\\b", "/{", "/^", "/`", "/é", "/\u{7f}", "/%", "/%4", "/?\"", "/?<",
            "/?>", "/?#", "/?é", "/?%4",
        ] {
            assert_eq!(target(&Method::GET, text), Err(Refusal::TargetMalformed), "{text}");
        }
        for text in ["ftp://a/", "http:/a/", "http:a", "://a/", "http://a/#b", "http://a/\""] {
            assert_eq!(target(&Method::GET, text), Err(Refusal::TargetMalformed), "{text}");
        }
        for text in ["http://", "http:///b", "http://u@a/", "http://u:p@a/", "http://a:b/", "http://a#b/"] {
            assert_eq!(target(&Method::GET, text), Err(Refusal::HostInvalid), "{text}");
        }
    }

    #[test]
    fn a_target_that_is_too_long_for_a_uri_is_refused() {
        let text = format!("/{}", "a".repeat(70_000));
        assert_eq!(target(&Method::GET, &text), Err(Refusal::RequestLineTooLong));
    }

    #[test]
    fn an_authority_is_host_and_port() {
        for text in [
            "a",
            "a.example",
            "a.example:80",
            "a:",
            "a:0",
            "a:65535",
            "127.0.0.1",
            "[::1]",
            "[::1]:80",
            "[::ffff:1.2.3.4]",
            "[v1.a:b]",
            "a_b",
            "a%20b",
            "xn--a",
        ] {
            assert!(is_authority(text.as_bytes()), "{text}");
        }
        for text in [
            "",
            ":80",
            "a:65536",
            "a:-1",
            "a:+1",
            "a:8x",
            "a:80:80",
            "u@a",
            "a b",
            "a/b",
            "a?b",
            "a#b",
            "[::1",
            "::1",
            "[::1]x",
            "[::1%25eth0]",
            "[]",
            "[v.a]",
            "[v1.]",
            "[v1]",
            "[127.0.0.1]",
            "a%2",
            "a\\b",
            "a\"",
            "é",
            "a\tb",
        ] {
            assert!(!is_authority(text.as_bytes()), "{text}");
        }
    }
}
