//! The error log: where lines of `tracing` go, in parent and children alike. One line for each event, with the time,
//! the process and the level; each leaves in one write, so that in a file the lines of several processes never mix (in a
//! pipe, those of more than PIPE_BUF bytes may).
//!
//! Who says what stands where it happens; nothing here decides what is logged but for the level
//! (`GUESTHOUSE_LOG=debug`; default `info`).

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, RwLock};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::config::LogTarget;

/// The environment variable that sets the level: off, error, warn, info, debug or trace.
pub const LEVEL_VARIABLE: &str = "GUESTHOUSE_LOG";

/// The one error log of this process, and of those that it forks.
#[derive(Debug, Clone)]
pub struct ErrorLog(Arc<RwLock<Sink>>);

#[derive(Debug)]
enum Sink {
    StandardError,
    File(Arc<File>),
}

impl ErrorLog {
    /// Sends every event of `tracing` to standard error until [`reopen`](Self::reopen) says otherwise.
    ///
    /// # Panics
    /// If called twice in a process.
    #[must_use]
    pub fn install() -> Self {
        let log = Self(Arc::new(RwLock::new(Sink::StandardError)));
        let level = std::env::var(LEVEL_VARIABLE).ok().and_then(|level| level.parse().ok());
        let writer = log.clone();
        tracing_subscriber::fmt()
            .with_max_level(level.unwrap_or(LevelFilter::INFO))
            .event_format(Line)
            .with_writer(move || writer.writer())
            .init();
        log
    }

    /// Opens the target anew: a log file that was moved away is made again.
    ///
    /// # Errors
    /// The file cannot be opened for appending; the log stays where it was.
    ///
    /// # Panics
    /// Never: no thread panics while it holds the log.
    pub fn reopen(&self, target: &LogTarget) -> io::Result<()> {
        let sink = match target {
            LogTarget::StandardError => Sink::StandardError,
            LogTarget::File(path) => Sink::File(Arc::new(append_to(path)?)),
        };
        *self.0.write().expect("no thread panics with the log in its hands") = sink;
        Ok(())
    }

    fn writer(&self) -> Box<dyn Write> {
        match &*self.0.read().expect("no thread panics with the log in its hands") {
            Sink::StandardError => Box::new(io::stderr()),
            Sink::File(file) => Box::new(Arc::clone(file)),
        }
    }
}

/// Opens a log file for appending, made with mode 0640 if it is not there. A named pipe is never waited for: without a
/// reader it is an error, and what a slow reader does not take is dropped.
///
/// # Errors
/// What `open(2)` says.
pub fn append_to(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new().append(true).create(true).mode(0o640).custom_flags(nix::libc::O_NONBLOCK).open(path)
}

/// `TIME [PID] LEVEL name=value name=value: text`. The names come first, because a text may go on over several
/// lines (the backtrace of a guest).
struct Line;

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        SystemTime.format_time(&mut to)?;
        write!(to, " [{}] {}", std::process::id(), event.metadata().level())?;
        let mut fields = Fields::default();
        event.record(&mut fields);
        match fields.names.as_str() {
            "" => writeln!(to, " {}", fields.text),
            names => writeln!(to, "{names}: {}", fields.text),
        }
    }
}

/// An event's fields, sorted into what names it and what it says.
#[derive(Default)]
struct Fields {
    names: String,
    text: String,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        use fmt::Write;
        let written = match field.name() {
            "message" => write!(self.text, "{value:?}"),
            name => write!(self.names, " {name}={value:?}"),
        };
        written.expect("writing to memory does not fail");
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_pipe_without_a_reader_is_an_error_and_not_a_wait() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("error.log");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(append_to(&pipe).is_err());
    }
}
