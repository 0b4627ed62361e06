//! A handler that answers late: `?ms=` says after how many milliseconds. One instance serves many such requests at
//! once, and each answer says how many were in the instance when it came, and how many there have been at most.
//!
//! The waiting costs no thread and no process; a request that waits is a few kilobytes of the instance's memory.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use guesthouse_sdk::{Request, RequestExt, Response, Result, handler, respond, sleep};
use serde::Serialize;

/// Without a number in the query.
const WAIT: Duration = Duration::from_millis(500);

/// Requests that this instance is serving now, and the most that it has served at once.
static INSIDE: AtomicU32 = AtomicU32::new(0);
static INSIDE_MAX: AtomicU32 = AtomicU32::new(0);

#[derive(Serialize)]
struct Company {
    waited_ms: u64,
    inside: u32,
    inside_max: u32,
}

#[handler(p3)]
async fn answer_late(request: Request) -> Result<Response> {
    let wait = request.query("ms")?.map_or(WAIT, Duration::from_millis);
    let visit = Visit::begin();
    sleep(wait).await;
    respond::json(&Company {
        waited_ms: u64::try_from(wait.as_millis())?,
        inside: visit.inside,
        inside_max: INSIDE_MAX.load(Ordering::Relaxed),
    })
}

/// A request's time in the instance. It ends also where the client has gone away, and the request with it.
struct Visit {
    /// With this one.
    inside: u32,
}

impl Visit {
    fn begin() -> Self {
        let inside = INSIDE.fetch_add(1, Ordering::Relaxed) + 1;
        INSIDE_MAX.fetch_max(inside, Ordering::Relaxed);
        Self { inside }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        INSIDE.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use guesthouse_sdk::testing::Harness;

    use super::*;

    #[test]
    fn requests_wait_beside_each_other() {
        let requests = (0..100).map(|_| Request::get("/?ms=1000").body(()).unwrap());
        let answers = Harness::new(answer_late).send_all(requests);
        assert!(answers.iter().all(|answer| answer.took() == Duration::from_secs(1)));
        assert!(answers[99].text().contains("\"inside_max\":100"), "{}", answers[99].text());
    }

    #[test]
    fn a_wait_that_is_no_number_is_refused() {
        assert_eq!(Harness::new(answer_late).get("/?ms=soon").status(), 400);
    }
}
