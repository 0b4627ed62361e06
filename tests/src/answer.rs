//! One answer as bytes mean it: a minimal reading of RFC 9112, strict where a server could go wrong.

use std::io::{self, BufRead, Read};

/// An answer that has arrived whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// "HTTP/1.1" or "HTTP/1.0".
    pub version: String,
    pub status: u16,
    /// In the order of arrival; names as they were sent.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
}

impl Answer {
    /// Reads one answer. `to_head`: the request was HEAD, so no body follows.
    ///
    /// # Errors
    /// The connection ends or times out inside the answer, or the bytes are no answer: `InvalidData`.
    pub fn read(from: &mut impl BufRead, to_head: bool) -> io::Result<Self> {
        let status_line = line(from)?;
        let mut words = status_line.splitn(3, ' ');
        let version = words.next().unwrap_or_default().to_owned();
        let status = words.next().and_then(|code| code.parse().ok());
        let Some(status) = status.filter(|_| version.starts_with("HTTP/1.")) else {
            return Err(invalid(format!("no status line: {status_line:?}")));
        };
        let headers = fields(from)?;
        let mut answer = Self { version, status, headers, body: Vec::new(), trailers: Vec::new() };
        if !(to_head || status < 200 || status == 204 || status == 304) {
            answer.read_body(from)?;
        }
        Ok(answer)
    }

    fn read_body(&mut self, from: &mut impl BufRead) -> io::Result<()> {
        match (self.header("transfer-encoding"), self.header("content-length")) {
            (Some("chunked"), None) => loop {
                let size_line = line(from)?;
                let size = size_line.split(';').next().and_then(|digits| usize::from_str_radix(digits, 16).ok());
                match size.ok_or_else(|| invalid(format!("no chunk size: {size_line:?}")))? {
                    0 => {
                        self.trailers = fields(from)?;
                        return Ok(());
                    }
                    size => self.read_chunk(from, size)?,
                }
            },
            (None, Some(length)) => {
                let length = length.parse().map_err(|_| invalid(format!("no content-length: {length:?}")))?;
                self.body = vec![0; length];
                from.read_exact(&mut self.body)
            }
            (None, None) => from.read_to_end(&mut self.body).map(|_| ()),
            (Some(coding), _) => Err(invalid(format!("framed as {coding:?} with or without a length"))),
        }
    }

    fn read_chunk(&mut self, from: &mut impl BufRead, size: usize) -> io::Result<()> {
        let begin = self.body.len();
        self.body.resize(begin + size, 0);
        from.read_exact(&mut self.body[begin..])?;
        match line(from)?.as_str() {
            "" => Ok(()),
            more => Err(invalid(format!("a chunk is longer than it says: {more:?}"))),
        }
    }

    /// The value of the header; the name in lower case.
    ///
    /// # Panics
    /// If the header is there twice.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
        let value = values.next().map(String::as_str);
        assert!(values.next().is_none(), "{name} is there twice: {self:?}");
        value
    }

    /// The body as text.
    ///
    /// # Panics
    /// If it is not text.
    #[must_use]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is text")
    }

    /// Whether the server said that it closes the connection.
    #[must_use]
    pub fn says_close(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

fn fields(from: &mut impl BufRead) -> io::Result<Vec<(String, String)>> {
    let mut fields = Vec::new();
    loop {
        let line = line(from)?;
        if line.is_empty() {
            return Ok(fields);
        }
        let (name, value) = line.split_once(':').ok_or_else(|| invalid(format!("no header: {line:?}")))?;
        fields.push((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()));
    }
}

/// A line without its CRLF, which must be there.
fn line(from: &mut impl BufRead) -> io::Result<String> {
    let mut bytes = Vec::new();
    from.take(1 << 20).read_until(b'\n', &mut bytes)?;
    match bytes.strip_suffix(b"\r\n") {
        Some(line) => String::from_utf8(line.to_vec()).map_err(|_| invalid("a head that is not text".to_owned())),
        None if bytes.is_empty() => Err(io::ErrorKind::UnexpectedEof.into()),
        None => Err(invalid(format!("a line without CRLF: {:?}", String::from_utf8_lossy(&bytes)))),
    }
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &str) -> io::Result<Answer> {
        Answer::read(&mut bytes.as_bytes(), false)
    }

    #[test]
    fn a_chunked_answer_is_put_together_with_its_trailers() {
        let bytes = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nX: y\r\n\r\n";
        let answer = read(bytes).unwrap();
        assert_eq!((answer.status, answer.text()), (200, "abcde"));
        assert_eq!(answer.trailers, [("X".to_owned(), "y".to_owned())]);
    }

    #[test]
    fn an_answer_that_is_cut_off_is_an_error() {
        assert!(read("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc").is_err());
        assert!(read("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").is_err());
    }

    #[test]
    fn two_framings_at_once_are_an_error() {
        assert!(read("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n").is_err());
    }
}
