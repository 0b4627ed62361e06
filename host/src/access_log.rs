//! The access log: one line for each answered request, refused ones included, in Apache's combined format followed by
//! the module, the microseconds that the request took, and the microseconds of CPU time that its guest took.
//!
//! ```text
//! 192.0.2.7 - - [21/Nov/2026:10:00:00 +0000] "GET /hello HTTP/1.1" 200 6 "-" "curl/8.5.0" hello 412 31
//! ```
//!
//! Lines of one turn of an event loop leave in one write before the thread waits; several processes append to one
//! file, so a write holds whole lines only. What went wrong inside is not here: that is the error log's.

use std::fs::File;
use std::io::Write;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method, Version};

/// More gathered bytes than this are written at once.
const GATHERED_BYTES_MAX: usize = 32 * 1024;

/// One thread's end of the access log.
#[derive(Debug)]
pub struct AccessLog {
    file: Arc<File>,
    gathered: Vec<u8>,
    failing: bool,
}

/// What a line tells about a request.
#[derive(Debug)]
pub struct Entry<'a> {
    pub client: Option<IpAddr>,
    pub request: RequestLine<'a>,
    pub referer: Option<&'a HeaderValue>,
    pub user_agent: Option<&'a HeaderValue>,
    pub status: u16,
    /// Of the answer's body, as handed to the socket before framing.
    pub body_bytes: u64,
    /// `None`: the server answered by itself.
    pub module: Option<&'a str>,
    pub took: Duration,
    pub guest_cpu: Duration,
}

/// What a line tells of the request's first line.
#[derive(Debug)]
pub enum RequestLine<'a> {
    /// The request was understood.
    Read {
        method: &'a Method,
        /// Path and query as the client wrote them.
        target: &'a str,
        /// HTTP/1.0 or 1.1.
        version: Version,
    },
    /// It was refused: what came of the line, as it came; may be nothing.
    Refused(&'a [u8]),
}

impl AccessLog {
    #[must_use]
    pub fn new(file: Arc<File>) -> Self {
        Self { file, gathered: Vec::new(), failing: false }
    }

    /// Gathers a line. `date` is the time of the answer as Apache's `%t` without brackets.
    pub fn add(&mut self, entry: &Entry<'_>, date: &str) {
        let line = &mut self.gathered;
        match entry.client {
            Some(client) => write!(line, "{client}").expect("writing to memory does not fail"),
            None => push(line, "-"),
        }
        push(line, " - - [");
        push(line, date);
        push(line, "] \"");
        match entry.request {
            RequestLine::Read { method, target, version } => {
                push(line, method.as_str());
                push(line, " ");
                push_escaped(line, target.as_bytes());
                push(line, if version == Version::HTTP_10 { " HTTP/1.0" } else { " HTTP/1.1" });
            }
            RequestLine::Refused([]) => push(line, "-"),
            RequestLine::Refused(came) => push_escaped(line, came),
        }
        push(line, "\" ");
        push_number(line, u64::from(entry.status));
        push(line, " ");
        match entry.body_bytes {
            0 => push(line, "-"),
            bytes => push_number(line, bytes),
        }
        for field in [entry.referer, entry.user_agent] {
            push(line, " \"");
            push_escaped(line, field.map_or(b"-", HeaderValue::as_bytes));
            push(line, "\"");
        }
        push(line, " ");
        push(line, entry.module.unwrap_or("-"));
        for time in [entry.took, entry.guest_cpu] {
            push(line, " ");
            push_number(line, u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
        }
        push(line, "\n");
        if line.len() > GATHERED_BYTES_MAX {
            self.write();
        }
    }

    /// Writes what was gathered. A full disk must not cost a request: the first failure is logged, the lines are
    /// dropped, and the next turn tries again.
    pub fn write(&mut self) {
        if self.gathered.is_empty() {
            return;
        }
        let result = (&*self.file).write_all(&self.gathered);
        self.gathered.clear();
        match result {
            Ok(()) => self.failing = false,
            Err(error) if !self.failing => {
                self.failing = true;
                tracing::error!("cannot write the access log: {error}; lines are dropped until it works again");
            }
            Err(_) => {}
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.write();
    }
}

/// Every request has a line, and most of it is text as it is: no format string is worth its time here.
fn push(line: &mut Vec<u8>, text: &str) {
    line.extend_from_slice(text.as_bytes());
}

fn push_number(line: &mut Vec<u8>, number: u64) {
    push(line, itoa::Buffer::new().format(number));
}

/// As Apache escapes: a quotation mark and a backslash behind a backslash, what is not printable as `\xHH`. A
/// client cannot end a field or a line.
fn push_escaped(line: &mut Vec<u8>, text: &[u8]) {
    let is_plain = |byte: &u8| matches!(byte, 0x20..=0x7e) && !matches!(byte, b'"' | b'\\');
    for piece in text.chunk_by(|one, next| is_plain(one) && is_plain(next)) {
        match *piece {
            [byte @ (b'"' | b'\\')] => line.extend_from_slice(&[b'\\', byte]),
            [byte] if !is_plain(&byte) => write!(line, "\\x{byte:02x}").expect("writing to memory does not fail"),
            _ => line.extend_from_slice(piece),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek};

    use super::*;

    fn written(entries: &[Entry<'_>]) -> String {
        let file = Arc::new(tempfile::tempfile().unwrap());
        let mut log = AccessLog::new(file.clone());
        for entry in entries {
            log.add(entry, "21/Nov/2026:10:00:00 +0000");
        }
        drop(log);
        let mut text = String::new();
        let mut file = &*file;
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        text
    }

    fn entry() -> Entry<'static> {
        Entry {
            client: Some("192.0.2.7".parse().unwrap()),
            request: RequestLine::Read { method: &Method::GET, target: "/hello?a=b", version: Version::HTTP_11 },
            referer: None,
            user_agent: None,
            status: 200,
            body_bytes: 6,
            module: Some("hello"),
            took: Duration::from_micros(412),
            guest_cpu: Duration::from_micros(31),
        }
    }

    #[test]
    fn a_line_is_combined_plus_module_and_times() {
        let agent = HeaderValue::from_static("curl/8.5.0");
        assert_eq!(
            written(&[Entry { user_agent: Some(&agent), ..entry() }]),
            "192.0.2.7 - - [21/Nov/2026:10:00:00 +0000] \"GET /hello?a=b HTTP/1.1\" 200 6 \"-\" \"curl/8.5.0\" \
             hello 412 31\n"
        );
    }

    #[test]
    fn what_is_not_there_is_a_dash() {
        let line = written(&[Entry { client: None, body_bytes: 0, module: None, ..entry() }]);
        assert_eq!(line, "- - - [21/Nov/2026:10:00:00 +0000] \"GET /hello?a=b HTTP/1.1\" 200 - \"-\" \"-\" - 412 31\n");
    }

    #[test]
    fn a_refused_request_is_told_by_what_came_of_its_first_line() {
        let refused = |came| Entry { request: RequestLine::Refused(came), status: 400, module: None, ..entry() };
        assert!(written(&[refused(b"GET /\xe9\r\" \n")]).contains(r#"] "GET /\xe9\x0d\" \x0a" 400 6 "#));
        assert!(written(&[refused(b"")]).contains("] \"-\" 400 6 "));
    }

    #[test]
    fn a_client_cannot_forge_a_line() {
        let agent = HeaderValue::from_bytes(b"x\" 200 \\ \xff\ty").unwrap();
        let line = written(&[Entry { user_agent: Some(&agent), ..entry() }]);
        assert!(line.contains(r#" "x\" 200 \\ \xff\x09y" "#), "{line}");
        assert_eq!(line.matches('\n').count(), 1);
    }
}
