//! Waiting. The host's clock is used, so that a guest that waits takes no thread.

use std::time::Duration;

use anyhow::bail;
use futures_util::future::{Either, select};

use crate::{Result, host};

/// Waits.
///
/// ```
/// use std::time::Duration;
///
/// use guesthouse_sdk::{Request, Response, Result, handler, respond, sleep};
///
/// #[handler]
/// async fn late(_request: Request) -> Result<Response> {
///     sleep(Duration::from_secs(3)).await;
///     Ok(respond::text("sorry to be late\n"))
/// }
/// # // In the harness nobody really waits.
/// # let answer = guesthouse_sdk::testing::Harness::new(late).get("/");
/// # assert_eq!(answer.took(), Duration::from_secs(3));
/// ```
pub async fn sleep(duration: Duration) {
    host::sleep(duration).await;
}

/// Waits for a future, but only for so long; then it is dropped.
///
/// ```
/// use std::time::Duration;
///
/// use guesthouse_sdk::{Request, Response, Result, fetch, handler, timeout};
///
/// #[handler]
/// async fn relay(_request: Request) -> Result<Response> {
///     let request = Request::get("http://slow.example/").body(())?;
///     timeout(Duration::from_secs(5), fetch(request)).await?
/// }
/// # let harness = guesthouse_sdk::testing::Harness::new(relay).outbound(|_| std::future::pending());
/// # let answer = harness.get("/");
/// # assert!(answer.took() == Duration::from_secs(5) && answer.log().contains("within 5s"));
/// ```
///
/// # Errors
/// It has not ended in time.
pub async fn timeout<T>(duration: Duration, future: impl Future<Output = T>) -> Result<T> {
    match select(std::pin::pin!(future), std::pin::pin!(sleep(duration))).await {
        Either::Left((outcome, _)) => Ok(outcome),
        Either::Right(((), _)) => bail!("what was waited for has not come within {duration:?}"),
    }
}
