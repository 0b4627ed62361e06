//! Says what it was asked for.

use wstd::http::{Body, Request, Response, Result};

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>> {
    let response = Response::builder().header("content-type", "text/plain; charset=utf-8");
    Ok(response.body(answer(request.uri().path()).into())?)
}

/// Apart from the handler, so that a test can call it where no server is.
fn answer(path: &str) -> String {
    format!("Hello from {{name}}. You asked for {path}\n")
}

#[cfg(test)]
mod tests {
    use super::answer;

    #[test]
    fn the_path_is_in_the_answer() {
        assert_eq!(answer("/there"), "Hello from {{name}}. You asked for /there\n");
    }
}
