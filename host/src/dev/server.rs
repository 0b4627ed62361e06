//! The server that a developer's loop has started: its process and its output. When to start, reload and stop it is decided
//! elsewhere.

use std::collections::HashSet;
use std::io::{self, BufRead as _, BufReader, Read};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

use super::Event;
use super::said::{Level, Said};
use super::screen;
use super::settings::VARIABLE;
use crate::error_log::LEVEL_VARIABLE;
use crate::parent_death::end_with_this_process;

/// Of one line; the rest of a longer one is a line of its own.
const LINE_BYTES_MAX: u64 = 64 << 10;

/// A server that has ended may leave children that finish what is open: what they say is not waited for any longer.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// So many complaints are remembered.
const TOLD_MAX: usize = 256;

/// What a server has said that matters to the loop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Notice {
    /// Makes native code, which takes seconds where a module is large.
    Compiling,
    Listening(String),
    Ready,
    /// A module's new version serves.
    Deployed,
    /// What was to be served next is not.
    Refused,
}

/// A server that runs, or has ended and was not waited for.
#[derive(Debug)]
pub(super) struct Server {
    process: Child,
    told: Told,
}

/// What a server has complained of since the last change. It tries again what fails, and says the same each time.
#[derive(Debug, Clone, Default)]
struct Told(Arc<Mutex<HashSet<String>>>);

impl Server {
    /// Starts one on this configuration, for what is built at `output`. To be called by a thread that lives as long as this
    /// process, since the server, with its children, ends with the thread that has started it.
    ///
    /// # Errors
    /// Descriptors, processes or memory are out.
    pub(super) fn start(configuration: &Path, output: &Path, events: &Sender<Event>) -> io::Result<Self> {
        let mut command = Command::new("/proc/self/exe");
        command.arg("serve").arg(configuration).env(VARIABLE, output).env(LEVEL_VARIABLE, level());
        // Ctrl-C is for this process, which ends the server gracefully; a group of its own keeps it from the server.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
        end_with_this_process(&mut command);
        let mut process = command.spawn()?;
        let (pid, told) = (Pid::from_raw(process.id().cast_signed()), Told::default());
        let output = process.stderr.take().expect("it was piped");
        let silent = listen(output, told.clone(), events.clone());
        let events = events.clone();
        std::thread::spawn(move || {
            // It stays there to be waited for by its owner, so that its pid cannot become another's meanwhile.
            let _ended = waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
            // Its last words say why.
            let _all_is_said = silent.recv_timeout(LAST_WORDS);
            let _ = events.send(Event::ServerEnded);
        });
        Ok(Self { process, told })
    }

    /// To be called when something has changed: complaints are news again.
    pub(super) fn expect_news(&self) {
        self.told.forget();
    }

    pub(super) fn signal(&self, signal: Signal) {
        // It can only fail if the process has ended, which is told in another way.
        let _ = kill(Pid::from_raw(self.process.id().cast_signed()), signal);
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// None that `waitpid(2)` has for a child.
    pub(super) fn wait(mut self) -> io::Result<ExitStatus> {
        self.process.wait()
    }
}

impl Told {
    /// Whether it is new.
    fn is_news(&self, text: &str) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= TOLD_MAX {
            told.clear();
        }
        told.insert(text.to_owned())
    }

    fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// The level of the server's log: what it says at `info` is needed here, and who wants more gets it.
fn level() -> &'static str {
    match std::env::var(LEVEL_VARIABLE).as_deref() {
        Ok("debug") => "debug",
        Ok("trace") => "trace",
        Ok(_) | Err(_) => "info",
    }
}

/// Shows what the server says for as long as it does. The receiver hears of the end of that.
fn listen(output: ChildStderr, told: Told, events: Sender<Event>) -> Receiver<()> {
    let (end, silent) = channel();
    std::thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        while matches!(output.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line), Ok(1..)) {
            let text = String::from_utf8_lossy(&line);
            hear(text.trim_end_matches(['\n', '\r']), &told, &events);
            line.clear();
        }
        let _ = end.send(());
    });
    silent
}

fn hear(text: &str, told: &Told, events: &Sender<Event>) {
    let said = Said::read(text);
    let is_news = match &said {
        Said::Server { text, .. } | Said::Other(text) => told.is_news(text),
        Said::Request(_) | Said::Printed { .. } | Said::OfGuest { .. } | Said::Frame(_) => true,
    };
    if let Some(line) = screen::line(&said).filter(|_| is_news) {
        screen::print(&line);
    }
    if let Some(notice) = notice(&said).filter(|notice| is_news || *notice != Notice::Refused) {
        let _ = events.send(Event::Noticed { notice, at: Instant::now() });
    }
}

fn notice(said: &Said<'_>) -> Option<Notice> {
    let Said::Server { level, text } = said else { return None };
    match level {
        Level::Info if text.starts_with("compiling ") => Some(Notice::Compiling),
        Level::Info if *text == "ready" => Some(Notice::Ready),
        Level::Info if text.starts_with("module ") && text.contains(" is deployed") => Some(Notice::Deployed),
        Level::Info => text.strip_prefix("listening on ").map(|address| Notice::Listening(address.to_owned())),
        Level::Error if text.starts_with("reload failed") => Some(Notice::Refused),
        Level::Error | Level::Warn | Level::Debug => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deploy::published;
    use crate::deploy::testing::prepared;

    #[test]
    fn what_matters_to_the_loop_is_noticed() {
        let noticed = |rest: &str| notice(&Said::read(&format!("2026-11-26T14:46:41.0Z [1] {rest}")));
        assert_eq!(noticed("INFO listening on 127.0.0.1:8080"), Some(Notice::Listening("127.0.0.1:8080".into())));
        assert_eq!(noticed("INFO compiling a.wasm, in at most 300 s"), Some(Notice::Compiling));
        assert_eq!(noticed("INFO ready"), Some(Notice::Ready));
        let (before, now) = (prepared(&[("a", "1"), ("b", "1")]), prepared(&[("a", "2"), ("c", "1")]));
        let changes = published::changes(&before, &now);
        let noticed_of_changes: Vec<_> = changes.iter().map(|change| noticed(&format!("INFO {change}"))).collect();
        assert_eq!(noticed_of_changes, [Some(Notice::Deployed), Some(Notice::Deployed), None], "{changes:?}");
        assert_eq!(noticed("ERROR reload failed, generation 0 goes on serving: no"), Some(Notice::Refused));
        for other in ["INFO no longer listening on 127.0.0.1:8080", "INFO module=a request=1 stream=stdout: ready"] {
            assert_eq!(noticed(other), None, "{other}");
        }
    }

    #[test]
    fn a_complaint_is_news_once_until_something_changes() {
        let told = Told::default();
        assert!(told.is_news("no") && !told.is_news("no"));
        told.forget();
        assert!(told.is_news("no"));
        assert!((0..10 * TOLD_MAX).all(|number| told.is_news(&number.to_string())));
        assert!(told.0.lock().unwrap().len() <= TOLD_MAX);
    }
}
