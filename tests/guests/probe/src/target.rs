//! What a request to a probe asks for: its path and the parameters of its query.

use std::time::Duration;

/// A request's target.
pub struct Target {
    path: String,
    query: Vec<(String, String)>,
}

impl Target {
    pub fn new(path_with_query: &str) -> Self {
        let (path, query) = path_with_query.split_once('?').unwrap_or((path_with_query, ""));
        let query = query.split('&').filter(|pair| !pair.is_empty()).map(parameter).collect();
        Self { path: path.to_owned(), query }
    }

    /// The last segment of the path, so that the probe can be mounted under any prefix.
    pub fn path(&self) -> &str {
        self.path.rfind('/').map_or("", |slash| &self.path[slash..])
    }

    /// The value of a query parameter, percent-decoded.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A query parameter that is a number, or what the path does without it.
    pub fn number(&self, name: &str, default: u64) -> u64 {
        self.parameter(name).map_or(default, |value| value.parse().expect("the tests write numbers"))
    }

    /// A query parameter in milliseconds.
    pub fn millis(&self, default: u64) -> Duration {
        Duration::from_millis(self.number("ms", default))
    }
}

fn parameter(pair: &str) -> (String, String) {
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    (name.to_owned(), percent_decode(value))
}

/// Takes what is no escape for itself: the tests write escapes only where they need them.
fn percent_decode(text: &str) -> String {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let escape = if *first == b'%' { after.get(..2) } else { None };
        let byte = escape.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        decoded.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}
