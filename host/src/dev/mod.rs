//! `guesthouse dev`: builds a project whenever its sources change, has the result served, and shows in one terminal what
//! becomes of it. A process of its own: it starts a server, and that watches the module's file by itself.
//!
//! ```text
//!  sources ──hints──► loop ──► build steps ──► a copy of what is good ──► server (watch = true)
//!             look ◄──┘ ▲                                                   │
//!                       └────────── ready, deployed, refused ───────────────┤
//!  terminal ◄── screen ◄─────────── requests, guest output, faults ─────────┘
//! ```
//!
//! [`plan`] decides, without a process or a clock; here what it decides is done.

mod build;
mod plan;
mod said;
mod screen;
mod server;
mod service;
mod settings;
mod settle;
mod sources;
mod watch;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use self::build::{Made, MakeError};
use self::plan::{Action, Change, Outcome, Plan};
use self::server::{Notice, Server};
use self::service::Service;
pub use self::settings::{VARIABLE, read};
use self::settle::Settle;
use self::sources::{CONFIGURATION, Difference, Look, Sources};
use self::watch::Watcher;
use crate::project::{self, Built, ManifestError};

/// A server that was asked to stop finishes what is open for so long.
const GRACE: Duration = Duration::from_secs(5);

/// One that was told to end at once has this long.
const END_MAX: Duration = Duration::from_secs(5);

/// So many names are told of what has changed.
const NAMES_MAX: usize = 3;

/// Why there is no loop.
#[derive(Debug, thiserror::Error)]
pub enum DevError {
    #[error(transparent)]
    NoProject(#[from] ManifestError),
    #[error("cannot find the folder {}: {cause}", folder.display())]
    NoFolder { folder: PathBuf, cause: io::Error },
    #[error("cannot take signals: {0}")]
    Signals(#[from] ctrlc::Error),
}

/// What the loop waits for.
#[derive(Debug)]
enum Event {
    /// Something has happened to these files.
    Touched {
        paths: Vec<PathBuf>,
        at: Instant,
    },
    Built {
        outcome: Result<Made, MakeError>,
        took: Duration,
    },
    Noticed {
        notice: Notice,
        at: Instant,
    },
    ServerEnded,
    /// Ctrl-C, or another signal to end.
    Stop,
}

/// Builds and serves the project in the folder until it is told to stop.
///
/// # Errors
/// There is no project, or nothing could tell the loop to stop.
pub fn run(folder: &Path) -> Result<(), DevError> {
    let folder = folder.canonicalize().map_err(|cause| DevError::NoFolder { folder: folder.to_owned(), cause })?;
    // What is wrong with it may be mended while this runs; that it is not there is a wrong folder.
    if let Err(error @ ManifestError::Unreadable { .. }) = project::Manifest::read(&folder) {
        return Err(error.into());
    }
    let (sender, events) = channel();
    let stop = sender.clone();
    ctrlc::set_handler(move || drop(stop.send(Event::Stop)))?;
    Loop::begin(folder, sender).go_on(&events);
    Ok(())
}

struct Loop {
    folder: PathBuf,
    sender: Sender<Event>,
    plan: Plan,
    sources: Sources,
    known: Look,
    watcher: Watcher,
    settle: Settle,
    /// When something last happened to what has not been looked at since.
    touched: HashMap<PathBuf, Instant>,
    /// What the last good build has made.
    good: Option<PathBuf>,
    /// What builds before it have made in other places, whose copies a server may still have.
    left: Vec<PathBuf>,
    service: Service,
    /// When what is built now was saved. `None`: it is not built for a change.
    saved: Option<Instant>,
    /// When what waits to be served was saved.
    waiting: Option<Instant>,
}

impl Loop {
    fn begin(folder: PathBuf, sender: Sender<Event>) -> Self {
        let mut sources = Sources::of(folder.clone(), sources::own_output());
        let mut watcher = Watcher::new(sender.clone());
        let known = sources.look(&Look::default());
        watcher.follow(&known.folders);
        let mut begun = Self {
            plan: Plan::begun(),
            sources,
            known,
            watcher,
            settle: Settle::Quiet { looked: Instant::now() },
            touched: HashMap::new(),
            good: None,
            left: Vec::new(),
            service: Service::Off,
            saved: None,
            waiting: None,
            folder,
            sender,
        };
        let count = begun.known.count();
        screen::tell(&format!("watching {count} files in {}: Ctrl-C ends this", begun.folder.display()));
        begun.build();
        begun
    }

    fn go_on(mut self, events: &Receiver<Event>) {
        loop {
            match self.next(events) {
                Some(Event::Touched { paths, at }) => {
                    self.settle.touched(at);
                    self.touched.extend(paths.into_iter().map(|path| (path, at)));
                }
                Some(Event::Built { outcome, took }) => self.built(outcome, took),
                Some(Event::Noticed { notice, at }) => self.noticed(notice, at),
                Some(Event::ServerEnded) => self.server_ended(),
                Some(Event::Stop) => return self.stop(events),
                None => self.look_for_changes(),
            }
        }
    }

    /// `None`: it is time to look at the sources.
    fn next(&self, events: &Receiver<Event>) -> Option<Event> {
        let received = if self.plan.is_building() {
            events.recv().map_err(RecvTimeoutError::from)
        } else {
            events.recv_timeout(self.settle.due_at().saturating_duration_since(Instant::now()))
        };
        match received {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => unreachable!("the loop holds a sender itself"),
        }
    }

    /// What is different since the last look.
    fn look(&mut self, counts: Difference) -> Change {
        let now = self.sources.look(&self.known);
        let (change, paths) = self.sources.differences(&self.known, &now, counts);
        self.watcher.follow(&now.folders);
        self.settle.looked(Instant::now());
        if now.folders != self.known.folders {
            // Something may have come into them before they were watched.
            self.settle.touched(Instant::now());
        }
        self.known = now;
        let touched = std::mem::take(&mut self.touched);
        if paths.is_empty() {
            return Change::default();
        }
        if change.sources {
            let saved = paths.iter().filter_map(|path| touched.get(&self.folder.join(path))).max();
            self.saved = Some(saved.copied().unwrap_or_else(Instant::now));
        }
        screen::tell(&changed(&paths));
        change
    }

    fn look_for_changes(&mut self) {
        let change = self.look(Difference::Saved);
        let actions = self.plan.changed(change);
        self.act(actions);
    }

    fn built(&mut self, outcome: Result<Made, MakeError>, took: Duration) {
        let saved = self.saved.take();
        let outcome = match outcome {
            Ok(Made::New(built)) => {
                self.waiting = saved;
                self.built_well(built, took, "")
            }
            Ok(Made::Same(built)) => self.built_well(built, took, ": it is as it was"),
            Err(error) => {
                screen::tell(&error.to_string());
                let what_now = if self.service.server().is_some() {
                    "the last good version goes on"
                } else {
                    "waiting for a change"
                };
                screen::tell(&format!("build failed: {what_now}"));
                Outcome::Failed
            }
        };
        let meanwhile = self.look(Difference::Content);
        let actions = self.plan.built(outcome, meanwhile);
        self.act(actions);
    }

    fn built_well(&mut self, Built { module, size }: Built, took: Duration, but: &str) -> Outcome {
        let name = module.strip_prefix(&self.folder).unwrap_or(&module).display();
        screen::tell(&format!("built {name}, {} KB, in {}{but}", size.div_ceil(1000), screen::time(took)));
        match self.good.replace(module) {
            Some(before) if self.good.as_ref() != Some(&before) => {
                self.left.push(before);
                Outcome::GoodElsewhere
            }
            Some(_) | None => Outcome::Good,
        }
    }

    fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Build => self.build(),
                Action::Start => self.start(),
                Action::End => {
                    screen::tell("the project builds its module in another place: the server starts anew");
                    if let Some(server) = self.service.server() {
                        server.signal(Signal::SIGTERM);
                    }
                }
                Action::Reload => {
                    screen::tell(&format!("the server reads {CONFIGURATION} again"));
                    if let Some(server) = self.service.server() {
                        server.expect_news();
                        server.signal(Signal::SIGUSR1);
                    }
                }
                Action::RefuseToFollow => screen::tell(
                    "sources change whenever they are built: not built again before the next change; name what the build \
                     writes in .gitignore",
                ),
            }
        }
    }

    /// In a thread of its own, since a build takes its time. There is never more than one.
    fn build(&mut self) {
        if let Some(server) = self.service.server() {
            server.expect_news();
        }
        let (folder, sender) = (self.folder.clone(), self.sender.clone());
        std::thread::spawn(move || {
            let began = Instant::now();
            let outcome = build::make(&folder);
            let _ = sender.send(Event::Built { outcome, took: began.elapsed() });
        });
    }

    fn start(&mut self) {
        self.clear_left();
        let output = self.good.as_deref().expect("a server starts after a good build");
        match Server::start(&self.folder.join(CONFIGURATION), output, &self.sender) {
            Ok(server) => self.service = Service::starting(server),
            Err(error) => {
                screen::tell(&format!("cannot start the server: {error}"));
                self.plan.not_started();
            }
        }
    }

    /// To be called when no server has what lies there. What is built there again is not left.
    fn clear_left(&mut self) {
        let good = self.good.as_ref();
        self.left.drain(..).filter(|left| Some(left) != good).for_each(|left| build::clear(&left));
    }

    fn noticed(&mut self, notice: Notice, at: Instant) {
        match notice {
            Notice::Compiling => screen::tell("compiling it for this machine"),
            Notice::Listening(address) => self.service.listening(address),
            Notice::Ready => {
                self.waiting = None;
                self.service.ready();
            }
            Notice::Deployed => {
                let since = self.waiting.take().map(|saved| screen::time(at.saturating_duration_since(saved)));
                let since = since.map_or_else(String::new, |time| format!(", {time} after it was saved"));
                screen::tell(&format!("the new version serves{since}"));
            }
            Notice::Refused => screen::tell("the server has refused that: the last good version goes on"),
        }
    }

    fn server_ended(&mut self) {
        let Some(server) = self.service.take() else { return };
        let how = server.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
        let actions = self.plan.server_ended();
        if actions.is_empty() {
            screen::tell(&format!("the server has ended ({how}): the next change starts it again"));
        }
        self.act(actions);
    }

    fn stop(mut self, events: &Receiver<Event>) {
        if let Some(server) = self.service.take() {
            screen::tell("stopping");
            stop(server, events);
        }
        self.clear_left();
        self.good.as_deref().into_iter().for_each(build::clear);
        screen::tell("stopped");
    }
}

/// Ends the server: what is open is finished, but not for ever, and not if there is a second word.
fn stop(server: Server, events: &Receiver<Event>) {
    // The first is Apache's for a graceful stop.
    for (signal, patience) in [(Signal::SIGWINCH, GRACE), (Signal::SIGTERM, END_MAX), (Signal::SIGKILL, END_MAX)] {
        server.signal(signal);
        if has_ended(events, Instant::now() + patience) {
            break;
        }
    }
    // After SIGKILL there is nothing to wait for but the kernel.
    let _ended = server.wait();
}

/// Whether the server ends before the deadline, or before somebody is out of patience.
fn has_ended(events: &Receiver<Event>, deadline: Instant) -> bool {
    loop {
        match events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Event::ServerEnded) => return true,
            Ok(Event::Stop) | Err(_) => return false,
            Ok(Event::Touched { .. } | Event::Built { .. } | Event::Noticed { .. }) => {}
        }
    }
}

/// "changed: a.rs, b.rs, c.rs and 4 more"
fn changed(paths: &[PathBuf]) -> String {
    let names: Vec<String> = paths.iter().take(NAMES_MAX).map(|path| path.display().to_string()).collect();
    match paths.len() - names.len() {
        0 => format!("changed: {}", names.join(", ")),
        others => format!("changed: {} and {others} more", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_changes_some_are_named() {
        let paths: Vec<PathBuf> = ["a", "b/c", "d", "e", "f"].map(PathBuf::from).into();
        assert_eq!(changed(&paths[..1]), "changed: a");
        assert_eq!(changed(&paths[..3]), "changed: a, b/c, d");
        assert_eq!(changed(&paths), "changed: a, b/c, d and 2 more");
    }
}
