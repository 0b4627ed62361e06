//! Paths that read and write bodies: fast, slow, large or endless.

use wasip3::http::types::{Fields, Response};

use crate::exchange::{self, Exchange, Outcome, sleep};

/// Bytes written at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// `/echo`: sends the body back while it arrives, with content type and trailers.
pub fn echo(exchange: Exchange) -> Outcome {
    let content_type = exchange.request.get_headers().get("content-type");
    let headers = Fields::new();
    headers.set("content-type", &content_type).expect("what a client sent is well-formed");
    let (contents, trailers) = exchange.into_body();
    let (response, _sent) = Response::new(headers, Some(contents), trailers);
    Ok(response)
}

/// `/big?n=`: n bytes, the letters a to z over and over.
pub fn big(exchange: &Exchange) -> Outcome {
    let wanted = exchange.target.number("n", 1 << 20);
    let mut left = usize::try_from(wanted).expect("the tests ask for what a guest can count");
    exchange::answer(200, &[("content-type", "text/plain")], async move |mut body| {
        let alphabet: Vec<u8> = (b'a'..=b'z').cycle().take(26 * 2048).collect();
        while left > 0 {
            let now = left.min(alphabet.len());
            if !body.write_all(alphabet[..now].to_vec()).await.is_empty() {
                break;
            }
            left -= now;
        }
        None
    })
}

/// `/flood`: zeros without end.
pub fn flood() -> Outcome {
    exchange::answer(200, &[], async move |mut body| {
        while body.write_all(vec![0; CHUNK_BYTES]).await.is_empty() {}
        None
    })
}

/// `/slow-read?ms=`: reads the body with a pause before each read, then answers with its length.
pub async fn slow_read(exchange: Exchange) -> Outcome {
    let pause = exchange.target.millis(10);
    let (mut contents, trailers) = exchange.into_body();
    let mut length = 0;
    loop {
        sleep(pause).await;
        let (_, chunk) = contents.read(Vec::with_capacity(4096)).await;
        if chunk.is_empty() {
            break;
        }
        length += chunk.len();
    }
    // A body that broke off is no body.
    trailers.await?;
    exchange::text(200, &format!("{length}\n"))
}

/// `/answer-first`: answers at once, reads the body after that, and says on stderr whether it was whole.
pub fn answer_first(exchange: Exchange) -> Outcome {
    let (mut contents, trailers) = exchange.into_body();
    wit_bindgen::spawn_local(async move {
        while !contents.read(Vec::with_capacity(4096)).await.1.is_empty() {}
        let is_whole = trailers.await.is_ok();
        eprintln!("the rest of the body has ended, whole: {is_whole}");
    });
    exchange::text(200, "answered\n")
}

/// `/drip?n=&ms=`: n lines with a pause after each.
pub fn drip(exchange: &Exchange) -> Outcome {
    let (pause, lines) = (exchange.target.millis(100), exchange.target.number("n", 10));
    exchange::answer(200, &[("content-type", "text/plain")], async move |mut body| {
        for line in 0..lines {
            if !body.write_all(format!("{line}\n").into_bytes()).await.is_empty() {
                break;
            }
            sleep(pause).await;
        }
        None
    })
}
