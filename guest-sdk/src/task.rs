//! Work beside the handler.

use futures_util::FutureExt as _;

use crate::host;

/// Runs a future beside the handler. It goes on when the handler has answered, for as long as the server allows that;
/// the instance then waits for it.
///
/// ```
/// use guesthouse_sdk::{Request, Response, Result, StatusCode, fetch, handler, respond, spawn};
///
/// #[handler]
/// async fn order(request: Request) -> Result<Response> {
///     let order = request.into_body().bytes().await?;
///     spawn(async {
///         let told = fetch(Request::post("http://warehouse.example/orders").body(order).expect("it is well-formed"));
///         if let Err(error) = told.await {
///             eprintln!("the warehouse was not told: {error:#}");
///         }
///     });
///     Ok(respond::status(StatusCode::ACCEPTED))
/// }
/// # let harness = guesthouse_sdk::testing::Harness::new(order)
/// #     .outbound(|_| async { Ok(respond::status(StatusCode::OK)) });
/// # assert_eq!(harness.send(Request::post("/").body("three").unwrap()).status(), 202);
/// ```
pub fn spawn(future: impl Future<Output = ()> + 'static) {
    host::spawn(future.boxed_local());
}
