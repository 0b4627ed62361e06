//! A handler that keeps state in plain `static` variables: how many requests it has seen, and texts by name.
//!
//! It says of itself that it is not thread-safe. Where an instance is given a process of its own and stays there, each
//! answer builds on the last; where every request has a fresh instance, nothing is ever kept.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};

use guesthouse_sdk::{Request, RequestExt, Response, Result, Router, StatusCode, handler, respond};
use serde::Serialize;

/// Bytes of all names and texts together; beyond that, something must be deleted first.
const BYTES_MAX: usize = 4 << 20;

static COUNT: AtomicU64 = AtomicU64::new(0);

static CACHE: LazyLock<Mutex<HashMap<String, String>>> = LazyLock::new(Mutex::default);

#[handler(thread_safe = false)]
async fn handle(request: Request) -> Result<Response> {
    COUNT.fetch_add(1, Ordering::Relaxed);
    Router::new()
        .get("/counter", count)
        .get("/counter/cache/{name}", get)
        .put("/counter/cache/{name}", put)
        .delete("/counter/cache/{name}", delete)
        .handle(request)
        .await
}

#[derive(Serialize)]
struct Count {
    requests: u64,
    cached: usize,
}

async fn count(_request: Request) -> Result<Response> {
    respond::json(&Count { requests: COUNT.load(Ordering::Relaxed), cached: with_cache(|cache| cache.len()) })
}

async fn get(request: Request) -> Result<Response> {
    let name: String = request.param("name")?;
    Ok(match with_cache(|cache| cache.get(&name).cloned()) {
        Some(text) => respond::text(text),
        None => respond::status(StatusCode::NOT_FOUND),
    })
}

async fn put(request: Request) -> Result<Response> {
    let name: String = request.param("name")?;
    let text = request.into_body().text().await?;
    let status = with_cache(|cache| {
        let others = cache.iter().filter(|(other, _)| **other != name).map(|(name, text)| name.len() + text.len());
        if others.sum::<usize>() + name.len() + text.len() > BYTES_MAX {
            return StatusCode::INSUFFICIENT_STORAGE;
        }
        match cache.insert(name, text) {
            Some(_) => StatusCode::NO_CONTENT,
            None => StatusCode::CREATED,
        }
    });
    Ok(respond::status(status))
}

async fn delete(request: Request) -> Result<Response> {
    let name: String = request.param("name")?;
    Ok(respond::status(match with_cache(|cache| cache.remove(&name)) {
        Some(_) => StatusCode::NO_CONTENT,
        None => StatusCode::NOT_FOUND,
    }))
}

/// Never held across an `await`.
fn with_cache<T>(look: impl FnOnce(&mut HashMap<String, String>) -> T) -> T {
    look(&mut CACHE.lock().unwrap_or_else(PoisonError::into_inner))
}

#[cfg(test)]
mod tests {
    use guesthouse_sdk::testing::Harness;

    use super::*;

    fn put(name: &str, text: String) -> u16 {
        let request = Request::put(format!("/counter/cache/{name}")).body(text).unwrap();
        Harness::new(handle).send(request).status().as_u16()
    }

    fn get(name: &str) -> (u16, String) {
        let answer = Harness::new(handle).get(&format!("/counter/cache/{name}"));
        (answer.status().as_u16(), answer.text().to_owned())
    }

    #[test]
    fn a_text_is_kept_until_it_is_deleted() {
        assert_eq!(put("a", "one".to_owned()), 201);
        assert_eq!(get("a"), (200, "one".to_owned()));
        assert_eq!(put("a", "two".to_owned()), 204);
        assert_eq!(get("a"), (200, "two".to_owned()));
        let delete = || Harness::new(handle).send(Request::delete("/counter/cache/a").body(()).unwrap());
        assert_eq!(delete().status(), 204);
        assert_eq!(get("a").0, 404);
        assert_eq!(delete().status(), 404);
    }

    #[test]
    fn the_cache_does_not_grow_without_end() {
        assert_eq!(put("large", "x".repeat(BYTES_MAX)), 507);
        assert_eq!(get("large").0, 404);
    }

    #[test]
    fn every_request_counts() {
        let count = || {
            let text = Harness::new(handle).get("/counter").text().to_owned();
            text.split([':', ',']).nth(1).and_then(|number| number.parse::<u64>().ok()).unwrap()
        };
        // Other tests count too.
        assert!(count() < count());
    }
}
