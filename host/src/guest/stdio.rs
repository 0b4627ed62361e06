//! A guest's standard output and error on their way to the server's log: line by line, bounded, harmless.
//!
//! What a guest prints can contain anything; what reaches the log is valid UTF-8 without control characters, in
//! lines of bounded length that name the module and the request.

use std::fmt::Write as _;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

/// Longer lines are logged in parts of this many bytes.
const LINE_BYTES: usize = 8 << 10;

/// Bytes of both streams together that one request may bring to the log; the rest is dropped, and one line says so.
const REQUEST_BYTES: usize = 1 << 20;

/// Bytes that a guest may write at once.
const WRITE_BYTES: usize = 64 << 10;

/// Which stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

/// Where finished lines go.
pub(super) trait Lines: Send + Sync + 'static {
    /// Takes one line without its end.
    fn line(&self, stream: Stream, line: &str);
}

/// Both streams of one call.
pub(super) fn streams(lines: impl Lines) -> (Output, Output) {
    let shared = Arc::new(Shared { lines: Box::new(lines), left: AtomicUsize::new(REQUEST_BYTES) });
    (Output::new(Stream::Stdout, Arc::clone(&shared)), Output::new(Stream::Stderr, shared))
}

struct Shared {
    lines: Box<dyn Lines>,
    /// Bytes that may still be logged.
    left: AtomicUsize,
}

/// One stream of a call; every handle that the guest opens on it is a clone.
#[derive(Clone)]
pub(super) struct Output(Arc<Mutex<Cutter>>);

/// Cuts what is written into lines.
struct Cutter {
    stream: Stream,
    shared: Arc<Shared>,
    /// The line that is not finished yet; shorter than [`LINE_BYTES`].
    begun: Vec<u8>,
}

impl Output {
    fn new(stream: Stream, shared: Arc<Shared>) -> Output {
        Output(Arc::new(Mutex::new(Cutter { stream, shared, begun: Vec::new() })))
    }

    /// A cutter holds only text, so it is good even if a thread died while it held the lock.
    fn lock(&self) -> MutexGuard<'_, Cutter> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cutter {
    fn write(&mut self, bytes: &[u8]) {
        let Some(bytes) = self.within_the_budget(bytes) else { return };
        let mut lines = bytes.split(|byte| *byte == b'\n').peekable();
        while let Some(part) = lines.next() {
            self.extend(part);
            if lines.peek().is_some() {
                self.finish_line();
            }
        }
    }

    /// As much of `bytes` as may still be logged; says so once when the budget ends.
    fn within_the_budget<'a>(&mut self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let left = self.shared.left.load(Ordering::Relaxed);
        if left == 0 || bytes.is_empty() {
            return None;
        }
        let taken = bytes.len().min(left);
        self.shared.left.store(left - taken, Ordering::Relaxed);
        if left > taken {
            return Some(bytes);
        }
        self.write_last(&bytes[..taken]);
        None
    }

    fn write_last(&mut self, bytes: &[u8]) {
        for part in bytes.split(|byte| *byte == b'\n') {
            self.extend(part);
            self.finish_line();
        }
        let note = format!("(the guest has printed {REQUEST_BYTES} bytes; the rest of this request is not logged)");
        self.shared.lines.line(self.stream, &note);
    }

    fn extend(&mut self, mut part: &[u8]) {
        while self.begun.len() + part.len() >= LINE_BYTES {
            let (now, later) = part.split_at(LINE_BYTES - self.begun.len());
            self.begun.extend_from_slice(now);
            part = later;
            // A character that the cut went through waits for its other half.
            let whole = whole_characters(&self.begun);
            let rest = self.begun.split_off(whole);
            self.finish_line();
            self.begun = rest;
        }
        self.begun.extend_from_slice(part);
    }

    fn finish_line(&mut self) {
        let line = self.begun.strip_suffix(b"\r").unwrap_or(&self.begun);
        self.shared.lines.line(self.stream, &harmless(line));
        self.begun.clear();
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        if !self.begun.is_empty() {
            self.finish_line();
        }
    }
}

/// How many bytes at the front end with a whole character (or with something that is none anyway).
fn whole_characters(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        _ => bytes.len(),
    }
}

/// The bytes as text that can do no harm in a terminal or to who reads the log line by line.
fn harmless(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut clean = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            let _ = write!(clean, "{}", character.escape_default());
        } else {
            clean.push(character);
        }
    }
    clean
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    /// Only WASI 0.3 asks for this.
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.lock().write(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES)
    }
}

impl Pollable for Output {
    fn ready<'a, 'b>(&'a mut self) -> Pin<Box<dyn Future<Output = ()> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        // The log always takes a line; what is too much is dropped.
        Box::pin(std::future::ready(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<(Stream, String)>>>);

    impl Lines for Kept {
        fn line(&self, stream: Stream, line: &str) {
            self.0.lock().unwrap().push((stream, line.to_owned()));
        }
    }

    impl Kept {
        fn text(&self) -> Vec<String> {
            self.0.lock().unwrap().iter().map(|(_, line)| line.clone()).collect()
        }
    }

    fn print(writes: &[&[u8]]) -> Vec<String> {
        let kept = Kept::default();
        let (mut stdout, stderr) = streams(kept.clone());
        for bytes in writes {
            stdout.write(Bytes::copy_from_slice(bytes)).unwrap();
        }
        drop((stdout, stderr));
        kept.text()
    }

    #[test]
    fn a_line_is_logged_when_it_ends_however_it_was_written() {
        assert_eq!(print(&[b"one\ntw", b"o\n\nthree"]), ["one", "two", "", "three"]);
    }

    #[test]
    fn the_streams_are_told_apart() {
        let kept = Kept::default();
        let (mut stdout, mut stderr) = streams(kept.clone());
        stdout.write(Bytes::from_static(b"out\n")).unwrap();
        stderr.write(Bytes::from_static(b"err\n")).unwrap();
        let lines = kept.0.lock().unwrap().clone();
        assert_eq!(lines, [(Stream::Stdout, "out".to_owned()), (Stream::Stderr, "err".to_owned())]);
    }

    #[test]
    fn control_characters_cannot_reach_a_terminal() {
        assert_eq!(print(&[b"a\x1b[2Jb\tc\r\n"]), ["a\\u{1b}[2Jb\\tc"]);
    }

    #[test]
    fn what_is_no_text_is_replaced() {
        assert_eq!(print(&[b"a\xffb\n"]), ["a\u{fffd}b"]);
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let mut long = "x".repeat(LINE_BYTES - 1);
        long.push_str("\u{e9}tail");
        let lines = print(&[long.as_bytes()]);
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0].len(), LINE_BYTES - 1);
        assert_eq!(lines[1], "\u{e9}tail");
    }

    #[test]
    fn a_request_cannot_fill_the_log() {
        let line = [b'x'; 1023].iter().copied().chain([b'\n']).collect::<Vec<_>>();
        let writes = vec![line.as_slice(); 3 * REQUEST_BYTES / 1024];
        let lines = print(&writes);
        assert!(lines.iter().map(String::len).sum::<usize>() <= REQUEST_BYTES + 200);
        assert_eq!(lines.iter().filter(|line| line.contains("not logged")).count(), 1);
    }
}
