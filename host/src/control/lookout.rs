//! The lookout's threads: the main one hears the parent, another one watches the files that modules come from, a third one attends
//! to the control socket, and a fourth one looks whether new versions fail. It ends with the parent.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use guesthouse_mpm::Lookout;
use guesthouse_mpm::lookout::{News, Serving};
use nix::sys::prctl::set_pdeathsig;

use super::desk::{Board, Desk, Published};
use super::{serve, trials};
use crate::clock::Began;
use crate::deploy::watch::{Hints, RESCAN, SETTLED, Watch};
use crate::deploy::{Prepared, published};
use crate::error_log::ErrorLog;
use crate::tally::Counting;

/// When the server has ended, those who wait for that have so long to hear it.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What the lookout has from its parent, beside what serves.
#[derive(Debug)]
pub struct Inherited {
    /// What serves when the lookout begins.
    pub prepared: Prepared,
    pub error_log: ErrorLog,
    /// When the server did.
    pub began: Began,
    pub counting: Counting,
}

/// Does the lookout's work, and returns when the parent has gone, or when it cannot go on and another one is to begin anew.
pub fn look_out(lookout: Lookout, inherited: Inherited) {
    // It is told of the parent's end over its line, and has something to say then.
    if let Err(error) = set_pdeathsig(None) {
        tracing::warn!("the lookout ends with its parent, and cannot tell anybody ({error})");
    }
    let Lookout { line, scoreboard, serving: Serving { generation, note } } = lookout;
    let Inherited { prepared, error_log, began, counting } = inherited;
    let published = Published { prepared, generation, is_written: written_at(&note).is_some() };
    let desk = Arc::new(Desk::new(line, Board { scoreboard, began, counting }, published));
    let (wake, woken) = sync_channel(1);
    let (watched, attended, tried, hints) = (Arc::clone(&desk), Arc::clone(&desk), Arc::clone(&desk), wake.clone());
    let started = start("watch", move || watch(&watched, &hints, &woken))
        .and_then(|()| start("control", move || serve::attend(&attended)))
        .and_then(|()| start("trials", move || trials::hold(&tried)));
    if let Err(error) = started {
        return tracing::error!("cannot start the lookout's threads: {error}");
    }
    if let Some(path) = written_at(&note) {
        published::flush(path);
    }
    loop {
        match desk.line.receive() {
            News::Began { heard } => desk.began(heard),
            News::Serving(serving) => desk.serves(read(&desk.published(), serving, &error_log)),
            News::Failed(reason) => desk.failed(reason),
            News::Stopping => desk.stopping(),
            News::ParentGone => return desk.end(LAST_WORDS),
        }
        if let Err(TrySendError::Disconnected(())) = wake.try_send(()) {
            return tracing::error!("the lookout's thread that watches for changes has ended, and the lookout with it");
        }
    }
}

fn start(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.to_owned()).spawn(work).map(drop)
}

/// Where the parent has written down what serves, by its note.
fn written_at(note: &str) -> Option<&Path> {
    (!note.is_empty()).then(|| Path::new(note))
}

/// What serves now. If that could not be written down, what served before is the best that is known.
fn read(before: &Arc<Published>, serving: Serving, error_log: &ErrorLog) -> Published {
    let Serving { generation, note } = serving;
    let written = written_at(&note).and_then(|path| {
        published::flush(path);
        published::read(path)
    });
    let is_written = written.is_some();
    let prepared = written.unwrap_or_else(|| before.prepared.clone());
    if let Err(error) = error_log.reopen(&prepared.config.server.error_log) {
        tracing::error!("the lookout cannot open the error log anew: {error}");
    }
    Published { prepared, generation, is_written }
}

/// Watches the files of what serves, and asks for what has changed. Never returns.
fn watch(desk: &Desk, wake: &SyncSender<()>, woken: &Receiver<()>) {
    let mut watched: Option<Watched> = None;
    loop {
        let published = desk.published();
        if watched.as_ref().is_none_or(|watched| !Arc::ptr_eq(&watched.published, &published)) {
            watched = Some(Watched::new(published, watched, wake));
        }
        let files = watched.as_mut().and_then(|watched| watched.files.as_mut());
        let is_watching = files.is_some();
        if let Some((watch, _)) = files
            && desk.is_quiet()
            && watch.look()
        {
            desk.ask_if_quiet();
        }
        thread::sleep(SETTLED);
        let _hint = if is_watching { woken.recv_timeout(RESCAN).ok() } else { woken.recv().ok() };
    }
}

/// What is watched, for what serves.
struct Watched {
    published: Arc<Published>,
    /// `None`: nobody wants to know, or there is nothing to compare with.
    files: Option<(Watch, Hints)>,
}

impl Watched {
    /// Hints that come already are kept, so that none is missed between.
    fn new(published: Arc<Published>, before: Option<Watched>, wake: &SyncSender<()>) -> Self {
        let Prepared { config, sources, seen, .. } = &published.prepared;
        if !config.server.watch || !published.is_written {
            return Self { published, files: None };
        }
        let kept = before.and_then(|before| before.files).map(|(_, hints)| hints);
        let hints = kept.filter(|hints| hints.are_of(sources)).unwrap_or_else(|| Hints::of(sources, wake.clone()));
        let watch = Watch::new(sources.clone(), seen.clone());
        Self { published, files: Some((watch, hints)) }
    }
}
