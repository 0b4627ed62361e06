//! Headers and trailers, between the types of `http` and the lists that both versions of `wasi:http` have for them.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::Result;

/// Names and values, in order.
pub(super) type Entries = Vec<(String, Vec<u8>)>;

/// What comes in.
pub(super) fn map_of(entries: Entries) -> Result<HeaderMap> {
    let mut headers = HeaderMap::with_capacity(entries.len());
    for (name, value) in entries {
        let value = HeaderValue::from_maybe_shared(Bytes::from(value));
        headers.append(HeaderName::from_bytes(name.as_bytes())?, value?);
    }
    Ok(headers)
}

/// What goes out.
pub(super) fn entries_of(headers: &HeaderMap) -> Entries {
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect()
}
