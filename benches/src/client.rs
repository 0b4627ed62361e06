//! The smallest client: one keep-alive connection that asks and reads one answer at a time.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use socket2::{Domain, Socket, Type};

/// A server that says nothing for so long is taken for dead.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Client(TcpStream);

impl Client {
    /// A new connection, from a given address of this machine if there is one. Such a connection ends by a reset: the ports
    /// of one address are few, and are to be free again at once.
    pub fn connect(to: SocketAddr, from: Option<IpAddr>) -> std::io::Result<Self> {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
        if let Some(from) = from {
            socket.bind(&SocketAddr::new(from, 0).into())?;
            socket.set_linger(Some(Duration::ZERO))?;
        }
        socket.connect(&to.into())?;
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(stream))
    }

    /// Asks for `path`, and answers with the body of a 200.
    pub fn get(&mut self, path: &str) -> Result<Vec<u8>> {
        self.0.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes())?;
        let mut received = Vec::with_capacity(512);
        loop {
            if let Some((head, rest)) = split(&received) {
                let head = String::from_utf8_lossy(head).to_ascii_lowercase();
                if !head.starts_with("http/1.1 200") {
                    bail!("{path} was answered with {}", head.lines().next().unwrap_or_default());
                }
                if let Some(body) = body(&head, rest)? {
                    return Ok(body);
                }
            }
            let mut buffer = [0; 4096];
            match self.0.read(&mut buffer) {
                Ok(0) => bail!("the server closed the connection instead of answering {path}"),
                Ok(bytes) => received.extend_from_slice(&buffer[..bytes]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).with_context(|| format!("no answer to {path}")),
            }
        }
    }
}

fn split(received: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = received.windows(4).position(|window| window == b"\r\n\r\n")?;
    Some((&received[..end], &received[end + 4..]))
}

/// The whole body, or `None` if something is missing yet. `head` is in lower case.
fn body(head: &str, rest: &[u8]) -> Result<Option<Vec<u8>>> {
    if head.contains("\r\ntransfer-encoding: chunked") {
        return chunks(rest);
    }
    let length =
        head.lines().find_map(|line| line.strip_prefix("content-length:")).context("the answer has no length")?;
    let length: usize = length.trim().parse()?;
    Ok(rest.get(..length).map(<[u8]>::to_vec))
}

fn chunks(mut rest: &[u8]) -> Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    loop {
        let Some(end) = rest.windows(2).position(|window| window == b"\r\n") else { return Ok(None) };
        let size = usize::from_str_radix(&String::from_utf8_lossy(&rest[..end]), 16).context("not a chunk's size")?;
        // With the line ends after the size and after the data.
        let Some(chunk) = rest.get(end + 2..end + 2 + size + 2) else { return Ok(None) };
        if size == 0 {
            return Ok(Some(body));
        }
        body.extend_from_slice(&chunk[..size]);
        rest = &rest[end + 2 + size + 2..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_complete_when_it_is_as_long_as_announced() {
        let head = "http/1.1 200 ok\r\ncontent-length: 5";
        assert_eq!(body(head, b"hell").unwrap(), None);
        assert_eq!(body(head, b"hello").unwrap(), Some(b"hello".to_vec()));
    }

    #[test]
    fn a_chunked_body_is_complete_after_the_last_chunk() {
        let head = "http/1.1 200 ok\r\ntransfer-encoding: chunked";
        let whole = b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n";
        for end in 0..whole.len() {
            assert_eq!(body(head, &whole[..end]).unwrap(), None, "after {end} bytes");
        }
        assert_eq!(body(head, whole).unwrap(), Some(b"hello".to_vec()));
    }

    #[test]
    fn an_answer_without_a_length_is_an_error() {
        assert!(body("http/1.1 200 ok\r\nserver: x", b"").is_err());
    }
}
