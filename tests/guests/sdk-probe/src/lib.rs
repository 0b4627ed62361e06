//! A guest on the SDK, of wasi:http 0.2. What its paths do is in `paths.rs`, which sdk-probe-p3 compiles too: one
//! source, two interfaces.

mod paths;

use guesthouse_sdk::{Request, Response, Result, handler};

#[handler]
async fn handle(request: Request) -> Result<Response> {
    paths::handle(request).await
}
