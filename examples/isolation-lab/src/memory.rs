//! What an instance keeps in its memory, so that the page can tell one instance from another and see what is left of
//! the request before.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use wasip2::random::random::get_random_u64;

use crate::exchange::Exchange;

/// Drawn once in the life of an instance. It is the only name that an instance has.
static INSTANCE: LazyLock<u64> = LazyLock::new(get_random_u64);

/// Requests that have reached this instance.
static COUNT: AtomicU64 = AtomicU64::new(0);

static SECRET: Mutex<Option<String>> = Mutex::new(None);

pub fn count_this_request() {
    COUNT.fetch_add(1, Ordering::Relaxed);
}

/// `/secret?set=WORD`: keeps the word. `/secret`: tells what is there now.
pub fn secret(exchange: Exchange) {
    if let Some(word) = exchange.parameter("set") {
        *kept_secret() = Some(word);
    }
    exchange.json(200, &state());
}

/// `/count`, and a part of every answer in JSON: the instance, how many requests it has seen, and its secret.
pub fn state() -> Value {
    json!({
        "instance": format!("{:016x}", *INSTANCE),
        "count": COUNT.load(Ordering::Relaxed),
        "secret": *kept_secret(),
    })
}

fn kept_secret() -> MutexGuard<'static, Option<String>> {
    SECRET.lock().unwrap_or_else(PoisonError::into_inner)
}
