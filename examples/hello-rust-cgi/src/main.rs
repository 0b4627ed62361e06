//! A plain program that speaks CGI: GET is greeted, POST gets its body back. Nothing in it knows of WebAssembly.

use std::io::{self, Write as _};

fn main() -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(b"Content-Type: text/plain\r\n\r\n")?;
    if std::env::var("REQUEST_METHOD").as_deref() == Ok("POST") {
        io::copy(&mut io::stdin().lock(), &mut out)?;
    } else {
        out.write_all(b"Hello, world!\n")?;
    }
    out.flush()
}
