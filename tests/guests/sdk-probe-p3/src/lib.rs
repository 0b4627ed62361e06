//! A guest on the SDK, of wasi:http 0.3. What its paths do is in the source of sdk-probe.

#[path = "../../sdk-probe/src/paths.rs"]
mod paths;

use guesthouse_sdk::{Request, Response, Result, handler};

#[handler(p3)]
async fn handle(request: Request) -> Result<Response> {
    paths::handle(request).await
}
