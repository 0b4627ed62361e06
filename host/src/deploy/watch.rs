//! Watching the files that modules come from: whether one has changed, and has stopped changing, and whether to ask for it to be
//! taken over. Who asks, and what becomes of it, is not known here.
//!
//! What the kernel tells is only a reason to look: whether anything has changed is decided by comparing snapshots, so that no
//! event that is lost or comes twice does any harm.

use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

use super::{Snapshot, Sources};

/// Files that have not changed for so long are taken to be complete. One that is renamed into place always is; one that is
/// written in place may pause for longer, and is looked at again then. It is not looked more often either.
pub const SETTLED: Duration = Duration::from_millis(10);

/// Files that never stop changing are looked at after this.
const UNSETTLED_MAX: Duration = Duration::from_secs(30);

/// It is looked without a reason so often: some file systems tell nothing, and links may lead to anywhere.
pub const RESCAN: Duration = Duration::from_secs(1);

/// Nothing has come of what was asked for: it is asked again after this, and then ever more rarely.
const ASK_AGAIN: Duration = Duration::from_secs(2);
const ASK_AGAIN_MAX: Duration = Duration::from_secs(64);

/// What is known of the files that what serves comes from.
#[derive(Debug)]
pub struct Watch {
    sources: Sources,
    known: Snapshot,
    asked: Option<Asked>,
}

impl Watch {
    /// `seen`: how the files looked before they were read.
    #[must_use]
    pub fn new(sources: Sources, seen: Snapshot) -> Self {
        Self { sources, known: seen, asked: None }
    }

    /// Whether to ask for what is there now: it is something new, or nothing has come of it for a while. A file that changes
    /// is waited for.
    pub fn look(&mut self) -> bool {
        let now = self.sources.look();
        let due = self.asked.as_ref().is_some_and(|asked| asked.again <= Instant::now());
        if now == self.known && !due {
            return false;
        }
        let before = if now == self.known { self.asked.take() } else { None };
        self.known = settle(&self.sources, now);
        self.asked = Some(Asked::after(before));
        true
    }
}

/// When to ask again, if nothing comes of it.
#[derive(Debug)]
struct Asked {
    again: Instant,
    pause: Duration,
}

impl Asked {
    fn after(before: Option<Asked>) -> Asked {
        let pause = before.map_or(ASK_AGAIN, |before| (before.pause * 2).min(ASK_AGAIN_MAX));
        Asked { again: Instant::now() + pause, pause }
    }
}

fn settle(sources: &Sources, mut last: Snapshot) -> Snapshot {
    let until = Instant::now() + UNSETTLED_MAX;
    while Instant::now() < until {
        std::thread::sleep(SETTLED);
        let now = sources.look();
        if now == last {
            break;
        }
        last = now;
    }
    last
}

/// Gives hints for as long as it is kept.
#[derive(Debug)]
pub struct Hints {
    sources: Sources,
    /// `None`: there is none to be had.
    _watcher: Option<RecommendedWatcher>,
}

impl Hints {
    /// Something comes for whatever happens to the files that modules come from.
    #[must_use]
    pub fn of(sources: &Sources, sender: SyncSender<()>) -> Self {
        let of_interest = sources.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if event.is_ok_and(|event| is_of_no_interest(&event, &of_interest)) {
                return;
            }
            // One hint is as good as many; and who no longer listens needs none.
            let _ = sender.try_send(());
        });
        let mut watcher = match watcher {
            Ok(watcher) => watcher,
            Err(error) => {
                tracing::warn!("the kernel does not tell of changes ({error}): they are looked for every {RESCAN:?}");
                return Self { sources: sources.clone(), _watcher: None };
            }
        };
        for folder in sources.folders() {
            if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
                tracing::warn!("cannot watch {}: {error}: it is looked at every {RESCAN:?}", folder.display());
            }
        }
        Self { sources: sources.clone(), _watcher: Some(watcher) }
    }

    /// Whether they are about these.
    #[must_use]
    pub fn are_of(&self, sources: &Sources) -> bool {
        self.sources == *sources
    }
}

/// Looking is an access too, and must not be a reason to look.
pub(crate) fn is_mere_look(kind: EventKind) -> bool {
    matches!(kind, EventKind::Access(_)) && kind != EventKind::Access(AccessKind::Close(AccessMode::Write))
}

/// Nor are logs that lie beside modules.
fn is_of_no_interest(event: &Event, sources: &Sources) -> bool {
    let concerns = event.paths.is_empty() || event.paths.iter().any(|path| sources.concern(path));
    !event.need_rescan() && (is_mere_look(event.kind) || !concerns)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn watch(folder: &Path) -> Watch {
        let text = "[server]\naccess_log = \"off\"\nmodules_dir = \"m\"\n";
        let sources = Sources::of(&crate::config::read_text(text, &folder.join("guesthouse.toml")).unwrap().0);
        let seen = sources.look();
        Watch::new(sources, seen)
    }

    #[test]
    fn a_change_is_asked_for_once_and_then_after_ever_longer_pauses() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("m")).unwrap();
        let mut watch = watch(folder.path());
        assert!(!watch.look());
        fs::write(folder.path().join("m/a.wasm"), "one").unwrap();
        assert!(watch.look());
        let asked = watch.asked.as_mut().unwrap();
        assert_eq!(asked.pause, ASK_AGAIN);
        // As if it had passed.
        asked.again = Instant::now();
        assert!(watch.look());
        assert_eq!(watch.asked.as_ref().unwrap().pause, ASK_AGAIN * 2);
        fs::write(folder.path().join("m/a.wasm"), "another").unwrap();
        assert!(watch.look());
        let asked = watch.asked.as_mut().unwrap();
        assert_eq!(asked.pause, ASK_AGAIN, "a new change is a new beginning");
        // However slow the machine is.
        asked.again += Duration::from_secs(60 * 60);
        assert!(!watch.look());
    }
}
