//! Paths that open files as WASI 0.3 has it. What a Rust program opens by itself goes through WASI 0.2.

use wasip3::filesystem::preopens;
use wasip3::filesystem::types::{DescriptorFlags, OpenFlags, PathFlags};

use crate::exchange::{self, Exchange, Outcome};

/// `/open?name=&n=`: opens a file of the first directory so many times and keeps it open; how often it could.
pub async fn open(exchange: &Exchange) -> Outcome {
    let name = exchange.target.parameter("name").unwrap_or_default();
    let directories = preopens::get_directories();
    let Some((directory, _)) = directories.first() else { return exchange::text(403, "no directory is there\n") };
    let mut open = Vec::new();
    for _ in 0..exchange.target.number("n", 1) {
        let how = (PathFlags::empty(), OpenFlags::empty(), DescriptorFlags::READ);
        match directory.open_at(how.0, name.to_owned(), how.1, how.2).await {
            Ok(file) => open.push(file),
            Err(_) => break,
        }
    }
    exchange::text(200, &format!("{}\n", open.len()))
}
