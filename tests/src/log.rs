//! The server's standard error, line by line, as it comes.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::patience::PATIENCE;

/// What the server has logged so far; gathered by a thread of its own, so that the server never waits for a test.
#[derive(Clone)]
pub struct Log(Arc<(Mutex<Gathered>, Condvar)>);

#[derive(Default)]
struct Gathered {
    lines: Vec<String>,
    has_ended: bool,
}

/// A point in the log, its beginning by default; what comes after it is new.
#[derive(Clone, Copy, Default)]
pub struct Mark(usize);

impl Log {
    /// Gathers from there until it ends.
    #[must_use]
    pub fn gather(from: impl Read + Send + 'static) -> Self {
        let log = Self(Arc::default());
        let gatherer = log.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
                gatherer.change(|gathered| gathered.lines.push(String::from_utf8_lossy(&line).into_owned()));
            }
            gatherer.change(|gathered| gathered.has_ended = true);
        });
        log
    }

    fn change(&self, change: impl FnOnce(&mut Gathered)) {
        change(&mut self.gathered());
        self.0.1.notify_all();
    }

    /// A test that fails in here does so with the log in its hands; that does no harm to the log.
    fn gathered(&self) -> MutexGuard<'_, Gathered> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first line that holds all of `words`, separated by "…", in this order.
    ///
    /// # Panics
    /// If there is none within [`PATIENCE`], or the log ends without.
    pub fn wait_for(&self, words: &str) -> String {
        self.wait_for_after(Mark::default(), words)
    }

    /// As [`wait_for`](Self::wait_for), among the lines after the mark.
    ///
    /// # Panics
    /// As [`wait_for`](Self::wait_for).
    pub fn wait_for_after(&self, mark: Mark, words: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut gathered = self.gathered();
        loop {
            if let Some(line) = gathered.lines[mark.0..].iter().find(|line| holds(line, words)) {
                return line.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero() && !gathered.has_ended,
                "waited in vain for a line with {words:?}; the log is\n{}",
                gathered.lines.join("\n")
            );
            gathered = self.0.1.wait_timeout(gathered, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The end of the log as it is now.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark(self.gathered().lines.len())
    }

    /// How many lines so far hold the words.
    #[must_use]
    pub fn count(&self, words: &str) -> usize {
        self.gathered().lines.iter().filter(|line| holds(line, words)).count()
    }

    /// Everything so far.
    #[must_use]
    pub fn text(&self) -> String {
        self.text_after(Mark::default())
    }

    /// Everything so far after the mark.
    #[must_use]
    pub fn text_after(&self, mark: Mark) -> String {
        self.gathered().lines[mark.0..].join("\n")
    }
}

fn holds(line: &str, words: &str) -> bool {
    let mut rest = Some(line);
    for word in words.split('…') {
        rest = rest.and_then(|rest| rest.split_once(word)).map(|(_, after)| after);
    }
    rest.is_some()
}
