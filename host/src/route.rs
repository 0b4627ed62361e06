//! Which requests go where: the routes of the configuration, looked up by host and path.
//!
//! Looks at nothing but host and path. What a handler sees of the path is what the client sent; only the look-up
//! works on a normalised form, so that `/%61dmin` and `/x/../admin` go where `/admin` goes.

use std::borrow::Cow;
use std::collections::HashMap;

use ipnet::IpNet;

use crate::config::{HostPattern, Route, Target};
use crate::respond::{self, Fixed};

/// The routes, ready to be looked up.
#[derive(Debug)]
pub struct Router {
    exact: HashMap<String, Paths>,
    /// The longest suffix first.
    below: Vec<(String, Paths)>,
    any: Paths,
}

/// Paths and who answers there, the longest path first.
#[derive(Debug, Default)]
struct Paths(Vec<Place>);

#[derive(Debug)]
struct Place {
    path: String,
    responder: Responder,
    /// Index into the configuration's routes.
    route: usize,
}

/// Who answers a request, and by which route.
#[derive(Debug, PartialEq, Eq)]
pub struct Found<'a> {
    pub responder: &'a Responder,
    /// Index into the configuration's routes.
    pub route: usize,
    /// The route's own path: what `path` begins with.
    pub prefix: &'a str,
    /// The request's path as it was looked up: decoded but for slashes (see [`with_slashes_encoded`]), without dots.
    pub path: Cow<'a, str>,
}

/// Who answers.
#[derive(Debug, PartialEq, Eq)]
pub enum Responder {
    /// Index into the configuration's modules.
    Module(usize),
    Fixed(Fixed),
    /// The server itself, to clients in these networks.
    ServerStatus {
        allow: Vec<IpNet>,
    },
    /// The same.
    Metrics {
        allow: Vec<IpNet>,
    },
}

impl From<&Target> for Responder {
    fn from(target: &Target) -> Self {
        match target {
            Target::Module(index) => Self::Module(*index),
            Target::Text { status, text } => Self::Fixed(respond::text(*status, text)),
            Target::ServerStatus { allow } => Self::ServerStatus { allow: allow.clone() },
            Target::Metrics { allow } => Self::Metrics { allow: allow.clone() },
        }
    }
}

/// The path of a request that cannot be routed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    #[error("the path has an incomplete percent-encoding")]
    Encoding,
    #[error("the path has a NUL byte")]
    Nul,
    #[error("the path leaves the root")]
    AboveRoot,
}

impl Router {
    #[must_use]
    pub fn new(routes: &[Route]) -> Self {
        let mut router = Self { exact: HashMap::new(), below: Vec::new(), any: Paths::default() };
        for (index, route) in routes.iter().enumerate() {
            let place = Place { path: route.path.clone(), responder: Responder::from(&route.target), route: index };
            router.paths_mut(route.host.as_ref()).0.push(place);
        }
        router.below.sort_by_key(|(suffix, _)| std::cmp::Reverse(suffix.len()));
        let Self { exact, below, any } = &mut router;
        for paths in exact.values_mut().chain(below.iter_mut().map(|(_, paths)| paths)).chain([any]) {
            paths.0.sort_by_key(|place| std::cmp::Reverse(place.path.len()));
        }
        router
    }

    fn paths_mut(&mut self, host: Option<&HostPattern>) -> &mut Paths {
        match host {
            None => &mut self.any,
            Some(HostPattern::Exact(name)) => self.exact.entry(name.clone()).or_default(),
            Some(HostPattern::Below(suffix)) => {
                let known = self.below.iter().position(|(other, _)| other == suffix);
                let index = known.unwrap_or_else(|| {
                    self.below.push((suffix.clone(), Paths::default()));
                    self.below.len() - 1
                });
                &mut self.below[index].1
            }
        }
    }

    /// Who answers a request, or `None` if no route is for it. `authority` is `host[:port]` as the request has
    /// it, `path` without the query.
    ///
    /// A route for the very host goes before one for `*.…` (the longest first), and that before one for any host;
    /// among those, the longest path that is a prefix on segment boundaries wins.
    ///
    /// # Errors
    /// The path means nothing (400).
    pub fn find<'a>(&'a self, authority: &str, path: &'a str) -> Result<Option<Found<'a>>, BadPath> {
        let path = normal_path(path)?;
        let place = self.place(authority, &path);
        Ok(place.map(|Place { path: prefix, responder, route }| Found { responder, route: *route, prefix, path }))
    }

    fn place(&self, authority: &str, path: &str) -> Option<&Place> {
        if self.exact.is_empty() && self.below.is_empty() {
            return self.any.find(path);
        }
        let host = host_name(authority);
        let below = self.below.iter().filter(|(suffix, _)| is_below(&host, suffix)).map(|(_, paths)| paths);
        let mut candidates = self.exact.get(host.as_ref()).into_iter().chain(below).chain([&self.any]);
        candidates.find_map(|paths| paths.find(path))
    }
}

/// A request's target without its query.
#[must_use]
pub fn path_of(target: &str) -> &str {
    target.split('?').next().unwrap_or(target)
}

impl Paths {
    fn find(&self, path: &str) -> Option<&Place> {
        self.0.iter().find(|place| is_prefix(&place.path, path))
    }
}

fn is_prefix(prefix: &str, path: &str) -> bool {
    match path.strip_prefix(prefix) {
        Some(rest) => rest.is_empty() || rest.starts_with('/') || prefix.ends_with('/'),
        None => false,
    }
}

fn is_below(host: &str, suffix: &str) -> bool {
    host.strip_suffix(suffix).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
}

/// The host without port, brackets kept, lower case, without the dot that may end a full name.
fn host_name(authority: &str) -> Cow<'_, str> {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

/// Percent-decodes once (an encoded slash stays encoded: it is data, not a separator) and resolves `.` and `..`
/// (RFC 3986 5.2.4); empty segments vanish.
fn normal_path(path: &str) -> Result<Cow<'_, str>, BadPath> {
    if !path.contains('%') && !path.contains("/.") && !path.contains("//") {
        return Ok(Cow::Borrowed(path));
    }
    let mut segments: Vec<String> = Vec::new();
    for written in path.split('/').skip(1) {
        let segment = decoded_segment(written)?;
        match segment.as_str() {
            "" | "." => {}
            ".." => _ = segments.pop().ok_or(BadPath::AboveRoot)?,
            _ => segments.push(segment),
        }
    }
    let mut normal = String::with_capacity(path.len());
    for segment in &segments {
        normal.push('/');
        normal.push_str(segment);
    }
    if normal.is_empty() || path.ends_with('/') {
        normal.push('/');
    }
    Ok(Cow::Owned(normal))
}

fn decoded_segment(segment: &str) -> Result<String, BadPath> {
    let mut well_formed = segment.split('%').skip(1).map(|after| {
        let digits = after.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    });
    if !well_formed.all(|yes| yes) {
        return Err(BadPath::Encoding);
    }
    let decoded = percent_encoding::percent_decode_str(segment).decode_utf8_lossy();
    if decoded.contains('\0') {
        return Err(BadPath::Nul);
    }
    Ok(with_slashes_encoded(&decoded))
}

/// A segment with its slashes as `%2F`. Where it has `%2F` as text, the percent sign stays encoded, `%252F`, and so on
/// however often that is repeated: no two segments become the same.
fn with_slashes_encoded(segment: &str) -> String {
    let mut encoded = String::with_capacity(segment.len());
    for (at, character) in segment.char_indices() {
        match character {
            '/' => encoded.push_str("%2F"),
            '%' if ends_an_encoded_slash(&segment[at + 1..]) => encoded.push_str("%25"),
            other => encoded.push(other),
        }
    }
    encoded
}

/// Whether a percent sign before this would begin a slash that was encoded, once or more often.
fn ends_an_encoded_slash(mut text: &str) -> bool {
    while let Some(rest) = text.strip_prefix("25") {
        text = rest;
    }
    text.starts_with("2F") || text.starts_with("2f")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &str) -> Target {
        Target::Text { status: 200, text: name.to_owned() }
    }

    fn route(host: Option<&str>, path: &str) -> Route {
        let pattern = |host: &str| match host.strip_prefix("*.") {
            Some(suffix) => HostPattern::Below(suffix.to_owned()),
            None => HostPattern::Exact(host.to_owned()),
        };
        Route {
            host: host.map(pattern),
            path: path.to_owned(),
            target: text(&format!("{}{path}", host.unwrap_or_default())),
            scripts: None,
        }
    }

    fn found(router: &Router, authority: &str, path: &str) -> String {
        match router.find(authority, path).map(|found| found.map(|found| found.responder)) {
            Ok(Some(Responder::Fixed(answer))) => String::from_utf8(answer.body.to_vec()).unwrap(),
            Ok(other) => format!("{other:?}"),
            Err(bad) => bad.to_string(),
        }
    }

    #[test]
    fn a_prefix_ends_at_a_segment_and_the_longest_wins() {
        let router = Router::new(&[route(None, "/"), route(None, "/a"), route(None, "/a/b")]);
        for (path, expected) in [
            ("/", "/"),
            ("/a", "/a"),
            ("/a/", "/a"),
            ("/ab", "/"),
            ("/a/b", "/a/b"),
            ("/a/b/c", "/a/b"),
            ("/a/bc", "/a"),
            ("/x", "/"),
        ] {
            assert_eq!(found(&router, "h", path), expected, "{path}");
        }
    }

    #[test]
    fn a_path_is_looked_up_as_it_is_meant() {
        let router = Router::new(&[route(None, "/"), route(None, "/admin")]);
        for (path, expected) in [
            ("/%61dmin", "/admin"),
            ("/x/../admin", "/admin"),
            ("/x/%2e%2e/admin/y", "/admin"),
            ("//admin", "/admin"),
            ("/./admin", "/admin"),
            ("/x%2Fadmin", "/"),
            ("/admin%2Fx", "/"),
            ("/../admin", "the path leaves the root"),
            ("/%6", "the path has an incomplete percent-encoding"),
            ("/%zz", "the path has an incomplete percent-encoding"),
            ("/a%00b", "the path has a NUL byte"),
        ] {
            assert_eq!(found(&router, "h", path), expected, "{path}");
        }
    }

    #[test]
    fn no_two_paths_are_looked_up_as_the_same_unless_they_mean_the_same() {
        for (path, normal) in [
            ("/a%2Fb", "/a%2Fb"),
            ("/a%2fb", "/a%2Fb"),
            ("/a%252Fb", "/a%252Fb"),
            ("/a%252fb", "/a%252fb"),
            ("/a%25252Fb", "/a%25252Fb"),
            ("/100%25", "/100%"),
            ("/100%2525", "/100%25"),
            ("/%252/2F", "/%2/2F"),
            ("/%25%2F", "/%%2F"),
            ("/%25%2532F", "/%%32F"),
        ] {
            assert_eq!(normal_path(path).as_deref(), Ok(normal), "{path}");
        }
    }

    #[test]
    fn the_more_special_host_goes_first_and_falls_back_to_any() {
        let router = Router::new(&[
            route(None, "/"),
            route(Some("example.org"), "/a"),
            route(Some("*.example.org"), "/a"),
            route(Some("*.deep.example.org"), "/a"),
        ]);
        for (authority, path, expected) in [
            ("example.org", "/a", "example.org/a"),
            ("EXAMPLE.org.:8080", "/a", "example.org/a"),
            ("www.example.org", "/a", "*.example.org/a"),
            ("x.deep.example.org:80", "/a", "*.deep.example.org/a"),
            ("notexample.org", "/a", "/"),
            (".example.org", "/a", "/"),
            ("example.org", "/b", "/"),
            ("[::1]:8080", "/a", "/"),
            ("", "/a", "/"),
        ] {
            assert_eq!(found(&router, authority, path), expected, "{authority} {path}");
        }
    }

    #[test]
    fn without_a_route_there_is_no_target() {
        let router = Router::new(&[route(None, "/a")]);
        assert_eq!(router.find("h", "/b"), Ok(None));
        assert_eq!(router.find("h", "/"), Ok(None));
    }
}
