//! A streaming transform: answers with what it is sent, compressed with gzip. The stream may be of any size; a few
//! chunks of it are in memory at any time.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use guesthouse_sdk::http::header::{CONTENT_ENCODING, CONTENT_TYPE, VARY};
use guesthouse_sdk::{Body, HeaderValue, Request, Response, Result, handler};

#[handler]
async fn compress(request: Request) -> Result<Response> {
    let (head, body) = request.into_parts();
    let mut response = Response::new(Body::from_sender(|sender| compressed(body, sender)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    if let Some(content_type) = head.headers.get(CONTENT_TYPE) {
        headers.insert(CONTENT_TYPE, content_type.clone());
    }
    Ok(response)
}

async fn compressed(mut body: Body, mut sender: guesthouse_sdk::Sender) -> Result<()> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    while let Some(chunk) = body.chunk().await? {
        encoder.write_all(&chunk)?;
        // What is ready so far; the encoder keeps what it may still need.
        sender.send(std::mem::take(encoder.get_mut())).await;
    }
    sender.send(encoder.finish()?).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;
    use guesthouse_sdk::testing::{Answer, Harness};

    use super::*;

    fn decompressed(answer: &Answer) -> String {
        let mut text = String::new();
        GzDecoder::new(&answer.body()[..]).read_to_string(&mut text).expect("the answer is gzip to its end");
        text
    }

    #[test]
    fn what_is_sent_comes_back_compressed() {
        let text = "All work and no play makes Jack a dull boy.\n".repeat(1000);
        let request = Request::post("/").header("content-type", "text/plain").body(text.clone()).unwrap();
        let answer = Harness::new(compress).send(request);
        assert_eq!(
            (answer.header("content-encoding"), answer.header("content-type")),
            (Some("gzip"), Some("text/plain"))
        );
        assert!(answer.body().len() < text.len() / 10);
        assert!(decompressed(&answer) == text);
    }

    #[test]
    fn nothing_compressed_is_still_gzip() {
        assert_eq!(decompressed(&Harness::new(compress).get("/")), "");
    }

    #[test]
    fn a_body_that_breaks_off_is_not_made_whole() {
        let body = Body::from_sender(|mut sender| async move {
            sender.send("half").await;
            Err(std::io::Error::other("gone").into())
        });
        let answer = Harness::new(compress).send(Request::post("/").body(body).unwrap());
        assert!(!answer.is_whole());
    }
}
