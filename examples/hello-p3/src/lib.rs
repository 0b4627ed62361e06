//! The smallest handler of wasi:http 0.3: answers every request with one line of plain text.

use guesthouse_sdk::{Request, Response, Result, handler, respond};

#[handler(p3)]
async fn hello(_request: Request) -> Result<Response> {
    Ok(respond::text("Hello, world!\n"))
}

#[cfg(test)]
mod tests {
    use guesthouse_sdk::testing::Harness;

    use super::hello;

    #[test]
    fn everybody_is_greeted() {
        let answer = Harness::new(hello).get("/whoever/asks");
        assert_eq!((answer.status().as_u16(), answer.text()), (200, "Hello, world!\n"));
    }
}
