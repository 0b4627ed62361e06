//! A guest's standard output and error on their way to the server's log: line by line, bounded, harmless.
//!
//! What a guest prints can contain anything; what reaches the log is valid UTF-8 without control characters, in
//! lines of bounded length that name the module and the request. An instance that serves several requests prints
//! within each as if it were alone.

use std::fmt::Write as _;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

use super::grants::CallName;

/// Longer lines are logged in parts of this many bytes.
const LINE_BYTES: usize = 8 << 10;

/// Bytes of both streams together that one request may bring to the log; the rest is dropped, and one line says so.
const REQUEST_BYTES: usize = 1 << 20;

/// Bytes that a guest may print with one write: what the stream permits, and what [`within_permit`] holds it to.
const WRITE_BYTES: usize = 64 << 10;

/// Which stream; the number is its index in what belongs to both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout = 0,
    Stderr = 1,
}

/// Where finished lines go.
pub(super) trait Lines: Send + 'static {
    /// Takes one line, without its end, that was printed within the call.
    fn line(&self, call: CallName, stream: Stream, line: &str);
}

/// Both streams of one instance, as the host sees them: it tells them which request they belong to.
pub(super) struct Console(Arc<Mutex<Printed>>);

/// One stream of an instance; every handle that the guest opens on it is a clone.
#[derive(Clone)]
pub(super) struct Output {
    stream: Stream,
    printed: Arc<Mutex<Printed>>,
}

/// Cuts what is written into lines.
struct Printed {
    lines: Box<dyn Lines>,
    /// The call that the guest is in.
    call: CallName,
    /// Bytes that may still be logged within it.
    left: usize,
    /// The lines that are not finished yet, of each stream; shorter than [`LINE_BYTES`].
    begun: [Vec<u8>; 2],
}

impl Console {
    /// For an instance that begins with this call.
    pub(super) fn new(lines: impl Lines, call: CallName) -> Console {
        let begun = [Vec::new(), Vec::new()];
        Console(Arc::new(Mutex::new(Printed { lines: Box::new(lines), call, left: REQUEST_BYTES, begun })))
    }

    pub(super) fn stdout(&self) -> Output {
        Output { stream: Stream::Stdout, printed: Arc::clone(&self.0) }
    }

    pub(super) fn stderr(&self) -> Output {
        Output { stream: Stream::Stderr, printed: Arc::clone(&self.0) }
    }

    /// What is printed from now on belongs to this call, which has a budget of its own.
    pub(super) fn begin_request(&self, call: CallName) {
        let mut printed = lock(&self.0);
        printed.call = call;
        printed.left = REQUEST_BYTES;
    }

    /// A line that the guest has begun is not continued by another request.
    pub(super) fn end_request(&self) {
        lock(&self.0).finish_lines();
    }
}

/// Holds a write against what its stream permits at the moment. WASI 0.2 asks a guest to stay within that, and Wasmtime
/// leaves it to each stream to see to it.
pub(super) fn within_permit(permit: StreamResult<usize>, bytes: &[u8]) -> StreamResult<()> {
    if bytes.len() > permit? {
        return Err(StreamError::trap("the guest writes more at once than the stream takes"));
    }
    Ok(())
}

/// What is printed holds only text, so it is good even if a thread died while it held the lock.
fn lock(printed: &Mutex<Printed>) -> MutexGuard<'_, Printed> {
    printed.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Printed {
    fn write(&mut self, stream: Stream, bytes: &[u8]) {
        let Some(bytes) = self.within_the_budget(stream, bytes) else { return };
        let mut lines = bytes.split(|byte| *byte == b'\n').peekable();
        while let Some(part) = lines.next() {
            self.extend(stream, part);
            if lines.peek().is_some() {
                self.finish_line(stream);
            }
        }
    }

    /// As much of `bytes` as may still be logged; says so once when the budget ends.
    fn within_the_budget<'a>(&mut self, stream: Stream, bytes: &'a [u8]) -> Option<&'a [u8]> {
        if self.left == 0 || bytes.is_empty() {
            return None;
        }
        let taken = bytes.len().min(self.left);
        self.left -= taken;
        if self.left > 0 {
            return Some(bytes);
        }
        self.write_last(stream, &bytes[..taken]);
        None
    }

    fn write_last(&mut self, stream: Stream, bytes: &[u8]) {
        for part in bytes.split(|byte| *byte == b'\n') {
            self.extend(stream, part);
            self.finish_line(stream);
        }
        let note = format!("(the guest has printed {REQUEST_BYTES} bytes; the rest of this request is not logged)");
        self.lines.line(self.call, stream, &note);
    }

    fn extend(&mut self, stream: Stream, mut part: &[u8]) {
        loop {
            let begun = &mut self.begun[stream as usize];
            if begun.len() + part.len() < LINE_BYTES {
                begun.extend_from_slice(part);
                return;
            }
            let (now, later) = part.split_at(LINE_BYTES - begun.len());
            begun.extend_from_slice(now);
            part = later;
            // A character that the cut went through waits for its other half.
            let whole = whole_characters(begun);
            let rest = begun.split_off(whole);
            self.finish_line(stream);
            self.begun[stream as usize] = rest;
        }
    }

    fn finish_line(&mut self, stream: Stream) {
        let begun = &mut self.begun[stream as usize];
        let line = begun.strip_suffix(b"\r").unwrap_or(begun);
        self.lines.line(self.call, stream, &harmless(line));
        begun.clear();
    }

    fn finish_lines(&mut self) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            if !self.begun[stream as usize].is_empty() {
                self.finish_line(stream);
            }
        }
    }
}

impl Drop for Printed {
    fn drop(&mut self) {
        self.finish_lines();
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
    /// What a guest of WASI 0.3 writes to.
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        within_permit(self.check_write(), &bytes)?;
        lock(&self.printed).write(self.stream, &bytes);
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

impl AsyncWrite for Output {
    /// What is beyond the permit is written next, after other tasks had their turn.
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let taken = bytes.len().min(WRITE_BYTES);
        lock(&self.printed).write(self.stream, &bytes[..taken]);
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::super::testing::call_name;
    use super::*;
    use crate::request_id::RequestId;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<(RequestId, Stream, String)>>>);

    impl Lines for Kept {
        fn line(&self, call: CallName, stream: Stream, line: &str) {
            self.0.lock().unwrap().push((call.request.unwrap(), stream, line.to_owned()));
        }
    }

    impl Kept {
        fn all(&self) -> Vec<(RequestId, Stream, String)> {
            std::mem::take(&mut self.0.lock().unwrap())
        }

        fn text(&self) -> Vec<String> {
            self.all().into_iter().map(|(_, _, line)| line).collect()
        }
    }

    fn console() -> (Console, Kept) {
        let kept = Kept::default();
        (Console::new(kept.clone(), call_name()), kept)
    }

    fn write(output: &mut Output, bytes: &[u8]) {
        output.write(Bytes::copy_from_slice(bytes)).unwrap();
    }

    fn print(writes: &[&[u8]]) -> Vec<String> {
        let (console, kept) = console();
        let mut stdout = console.stdout();
        for bytes in writes {
            write(&mut stdout, bytes);
        }
        drop((stdout, console));
        kept.text()
    }

    #[test]
    fn a_line_is_logged_when_it_ends_however_it_was_written() {
        assert_eq!(print(&[b"one\ntw", b"o\n\nthree"]), ["one", "two", "", "three"]);
    }

    #[test]
    fn the_streams_are_told_apart() {
        let (console, kept) = console();
        write(&mut console.stdout(), b"out, ");
        write(&mut console.stderr(), b"err\n");
        write(&mut console.stdout(), b"by two handles\n");
        let lines = kept.all().into_iter().map(|(_, stream, line)| (stream, line)).collect::<Vec<_>>();
        assert_eq!(lines, [(Stream::Stderr, "err".to_owned()), (Stream::Stdout, "out, by two handles".to_owned())]);
    }

    #[test]
    fn a_guest_of_wasi_0_3_prints_as_one_of_0_2() {
        let (console, kept) = console();
        let mut stream = Box::into_pin(console.stderr().async_stream());
        let text = [b"x".repeat(WRITE_BYTES - 1).as_slice(), b"\nthe rest\n"].concat();
        let mut left = text.as_slice();
        while !left.is_empty() {
            let Poll::Ready(written) = stream.as_mut().poll_write(&mut Context::from_waker(Waker::noop()), left) else {
                panic!("the log takes everything at once")
            };
            left = &left[written.unwrap()..];
        }
        let lines = kept.all();
        assert!(lines.iter().all(|(_, stream, _)| *stream == Stream::Stderr));
        assert_eq!(lines.last().unwrap().2, "the rest");
        assert_eq!(lines.iter().map(|(_, _, line)| line.len()).sum::<usize>(), text.len() - 2);
    }

    #[test]
    fn a_line_belongs_to_the_request_that_began_it_and_ends_with_it() {
        let (console, kept) = console();
        let (mut stdout, mut stderr) = (console.stdout(), console.stderr());
        write(&mut stdout, b"half");
        write(&mut stderr, b"other half");
        console.end_request();
        let [(first, Stream::Stdout, half), (also_first, Stream::Stderr, other)] = &kept.all()[..] else {
            panic!("both lines are finished")
        };
        assert_eq!((half.as_str(), other.as_str(), first), ("half", "other half", also_first));
        let second = CallName { request: Some(crate::request_id::RequestIds::new(9).issue()) };
        console.begin_request(second);
        write(&mut stdout, b"whole\n");
        console.end_request();
        assert_eq!(kept.all(), [(second.request.unwrap(), Stream::Stdout, "whole".to_owned())]);
    }

    #[test]
    fn every_request_of_an_instance_has_the_whole_budget() {
        let (console, kept) = console();
        let mut stdout = console.stdout();
        let line = [b"x".repeat(1023).as_slice(), b"\n"].concat();
        for _ in 0..=REQUEST_BYTES / line.len() {
            write(&mut stdout, &line);
        }
        assert!(kept.text().last().unwrap().contains("not logged"));
        console.end_request();
        console.begin_request(call_name());
        write(&mut stdout, b"heard\n");
        assert_eq!(kept.text(), ["heard"]);
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
