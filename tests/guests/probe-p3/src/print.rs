//! Paths that print as WASI 0.3 has it. What a Rust program prints by itself goes through WASI 0.2.

use wasip3::cli::types::ErrorCode;
use wasip3::wit_stream;
use wit_bindgen::{FutureReader, StreamReader};

use crate::exchange::{self, Exchange, Outcome};

/// `/print?text=`: prints the text as a line, to what `to` hands a stream over to.
pub async fn print(
    exchange: &Exchange,
    to: impl FnOnce(StreamReader<u8>) -> FutureReader<Result<(), ErrorCode>>,
) -> Outcome {
    let (mut writer, printed) = wit_stream::new();
    let outcome = to(printed);
    let line = format!("{}\n", exchange.target.parameter("text").unwrap_or("line"));
    let left = writer.write_all(line.into_bytes()).await;
    drop(writer);
    match outcome.await {
        Ok(()) if left.is_empty() => exchange::text(200, "printed\n"),
        _ => exchange::text(500, "not printed\n"),
    }
}
