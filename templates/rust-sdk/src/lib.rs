//! Says what it was asked for.

use guesthouse_sdk::{Request, Response, Result, handler, respond};

#[handler]
async fn handle(request: Request) -> Result<Response> {
    Ok(respond::text(format!("Hello from {{name}}. You asked for {}\n", request.uri().path())))
}

#[cfg(test)]
mod tests {
    use guesthouse_sdk::testing::Harness;

    use super::handle;

    #[test]
    fn the_path_is_in_the_answer() {
        let answer = Harness::new(handle).get("/there");
        assert_eq!((answer.status().as_u16(), answer.text()), (200, "Hello from {{name}}. You asked for /there\n"));
    }
}
