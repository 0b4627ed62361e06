//! What the server tells about itself: Apache's mod_status for this world.
//!
//! ```text
//! scoreboard, tallies, configuration, /proc ──gather──► Snapshot ──► html      for people
//!                                                          │    ├──► JSON      for programs, and for `guesthouse status`
//!                                                          │    ├──► auto      as Apache's ?auto
//!                                                          │    └──► metrics   for Prometheus
//!                                                          └────────► terminal
//! ```
//! The child that has the request answers it, from what it can see: nobody is asked and nothing is waited for. Here is
//! decided who may look, and what is wanted; counting is [`tally`](crate::tally)'s.

use std::net::IpAddr;

use http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use ipnet::IpNet;

use crate::http::RequestHead;
use crate::respond::Fixed;

pub mod ask;
mod auto;
mod gather;
mod html;
mod metrics;
pub mod snapshot;
pub mod terminal;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod units;

pub use gather::Observer;
pub use snapshot::Snapshot;

/// Apache's, for `?refresh` without a number.
const REFRESH_SECS_AS_ASKED: u32 = 10;

/// How often the page looks by itself.
const REFRESH_SECS: u32 = 2;

/// How often the page may be asked to look.
const REFRESH_SECS_RANGE: std::ops::RangeInclusive<u32> = 1..=86_400;

/// What a route shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// `handler = "server-status"`.
    Status,
    /// `handler = "metrics"`.
    Metrics,
}

/// A rendering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Page(html::Options),
    Fragment(html::Options),
    Json,
    Auto,
    Metrics,
}

/// Answers a request for a view. `client`: `None` on a Unix socket, which only this machine can reach.
#[must_use]
pub fn answer(
    view: View,
    allow: &[IpNet],
    request: &RequestHead,
    client: Option<IpAddr>,
    observe: impl FnOnce() -> Snapshot,
) -> Fixed {
    if !may_look(allow, client) {
        return plain(StatusCode::FORBIDDEN, "This is not for everybody.\n");
    }
    if request.method != Method::GET && request.method != Method::HEAD {
        let mut refused = plain(StatusCode::METHOD_NOT_ALLOWED, "This can only be read.\n");
        refused.headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    let form = match view {
        View::Status => wanted(request.path_and_query.query(), &request.headers),
        View::Metrics => Form::Metrics,
    };
    render(form, observe())
}

/// An address that came through an IPv6 socket is the IPv4 address that it is.
fn may_look(allow: &[IpNet], client: Option<IpAddr>) -> bool {
    client.is_none_or(|client| allow.iter().any(|net| net.contains(&client.to_canonical())))
}

/// As Apache has it, an option is in the query or not; what is no option is overlooked.
fn wanted(query: Option<&str>, headers: &HeaderMap) -> Form {
    let options: Vec<(&str, &str)> =
        query.unwrap_or_default().split('&').map(|option| option.split_once('=').unwrap_or((option, ""))).collect();
    let value = |name: &str| options.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    let has = |name: &str| value(name).is_some();
    if has("auto") {
        return Form::Auto;
    }
    if has("json") {
        return Form::Json;
    }
    let options = html::Options {
        refresh_secs: value("refresh").map_or(REFRESH_SECS, refresh_secs),
        without_tables: has("notable"),
    };
    if has("fragment") {
        Form::Fragment(options)
    } else if query.is_none() && accepts_json_rather_than_html(headers) {
        Form::Json
    } else {
        Form::Page(options)
    }
}

fn refresh_secs(written: &str) -> u32 {
    let number: u32 = written.parse().unwrap_or(REFRESH_SECS_AS_ASKED);
    number.clamp(*REFRESH_SECS_RANGE.start(), *REFRESH_SECS_RANGE.end())
}

/// Browsers name HTML; who names JSON and not HTML is a program.
fn accepts_json_rather_than_html(headers: &HeaderMap) -> bool {
    let fields = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let ranges: Vec<&str> =
        fields.flat_map(|field| field.split(',')).filter_map(|range| range.split(';').next()).map(str::trim).collect();
    let names = |media_type: &str| ranges.iter().any(|range| range.eq_ignore_ascii_case(media_type));
    names("application/json") && !names("text/html")
}

fn render(form: Form, snapshot: Snapshot) -> Fixed {
    let (content_type, body) = match form {
        Form::Page(options) => ("text/html; charset=utf-8", html::page(&snapshot, options)),
        Form::Fragment(options) => ("text/html; charset=utf-8", html::fragment(&snapshot, options)),
        Form::Json => ("application/json", json(&snapshot)),
        Form::Auto => ("text/plain; charset=utf-8", auto::render(&snapshot)),
        Form::Metrics => (metrics::CONTENT_TYPE, metrics::render(snapshot)),
    };
    let mut headers = headers(content_type);
    if let Form::Page(_) | Form::Fragment(_) = form {
        headers.insert(CONTENT_SECURITY_POLICY, html::CONTENT_SECURITY_POLICY.clone());
    }
    Fixed { status: StatusCode::OK, headers, body: body.into() }
}

fn json(snapshot: &Snapshot) -> String {
    let mut text = serde_json::to_string_pretty(snapshot).expect("a snapshot is plain data");
    text.push('\n');
    text
}

fn plain(status: StatusCode, body: &'static str) -> Fixed {
    Fixed { status, headers: headers("text/plain; charset=utf-8"), body: body.into() }
}

/// What is told is true now and for nobody else, and is what it says it is.
fn headers(content_type: &'static str) -> HeaderMap {
    HeaderMap::from_iter([
        (CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(written: &[&str]) -> Vec<IpNet> {
        written.iter().map(|net| net.parse().unwrap()).collect()
    }

    fn form(query: Option<&str>, accept: Option<&'static str>) -> Form {
        let accept = accept.map(|accept| (ACCEPT, HeaderValue::from_static(accept)));
        wanted(query, &HeaderMap::from_iter(accept))
    }

    fn page(refresh_secs: u32, without_tables: bool) -> Form {
        Form::Page(html::Options { refresh_secs, without_tables })
    }

    #[test]
    fn only_clients_of_the_networks_named_may_look() {
        let allow = nets(&["127.0.0.0/8", "::1/128"]);
        for (client, may) in
            [("127.0.0.1", true), ("::1", true), ("::ffff:127.0.0.1", true), ("192.0.2.1", false), ("::2", false)]
        {
            assert_eq!(may_look(&allow, Some(client.parse().unwrap())), may, "{client}");
        }
        assert!(may_look(&allow, None), "a Unix socket is local");
        assert!(!may_look(&[], Some("127.0.0.1".parse().unwrap())));
    }

    #[test]
    fn the_query_says_what_is_wanted() {
        for (query, expected) in [
            (None, page(2, false)),
            (Some(""), page(2, false)),
            (Some("x=1&y"), page(2, false)),
            (Some("auto"), Form::Auto),
            (Some("refresh=5&auto"), Form::Auto),
            (Some("json"), Form::Json),
            (Some("notable"), page(2, true)),
            (Some("refresh=30&notable"), page(30, true)),
            (Some("refresh"), page(10, false)),
            (Some("refresh=0"), page(1, false)),
            (Some("refresh=99999999"), page(86_400, false)),
            (Some("refresh=99999999999"), page(10, false)),
            (Some("refresh=\"><script>"), page(10, false)),
        ] {
            assert_eq!(form(query, None), expected, "{query:?}");
        }
        assert!(matches!(form(Some("fragment&notable"), None), Form::Fragment(options) if options.without_tables));
    }

    #[test]
    fn a_program_gets_json_and_a_browser_the_page() {
        assert_eq!(form(None, Some("application/json")), Form::Json);
        assert_eq!(form(None, Some("application/problem+json, Application/JSON;q=0.9")), Form::Json);
        assert_eq!(form(None, Some("text/html,application/json;q=0.9,*/*;q=0.8")), page(2, false));
        assert_eq!(form(None, Some("*/*")), page(2, false));
    }

    #[test]
    fn a_snapshot_survives_its_json() {
        let snapshot = testing::snapshot();
        assert_eq!(serde_json::from_str::<Snapshot>(&json(&snapshot)).unwrap(), snapshot);
    }

    #[test]
    fn no_answer_is_kept_or_guessed_at() {
        for form in [page(2, false), Form::Json, Form::Auto, Form::Metrics] {
            let answer = render(form, testing::snapshot());
            assert_eq!(answer.headers["cache-control"], "no-store");
            assert_eq!(answer.headers["x-content-type-options"], "nosniff");
        }
    }
}
