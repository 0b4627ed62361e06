//! The lookout: waits until a file that a module comes from has changed, and has stopped changing, and says so.
//!
//! What the kernel tells is only a reason to look: whether anything has changed is decided by comparing snapshots, so that no
//! event that is lost or comes twice does any harm.

use std::io::{self, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

use super::published;
use super::{Snapshot, Sources};

/// Files that have not changed for so long are taken to be complete. One that is renamed into place always is; one that is
/// written in place may pause for longer, and is looked at again then. It is not looked more often either.
const SETTLED: Duration = Duration::from_millis(10);

/// Files that never stop changing are looked at after this.
const UNSETTLED_MAX: Duration = Duration::from_secs(30);

/// It is looked without a reason so often: some file systems tell nothing, and links may lead to anywhere.
const RESCAN: Duration = Duration::from_secs(1);

/// What was asked for has not been done, since this process still lives: it is asked again after this, and then ever more
/// rarely.
const ASK_AGAIN: Duration = Duration::from_secs(2);
const ASK_AGAIN_MAX: Duration = Duration::from_secs(64);

/// Does the lookout's work, until it is killed. A line goes to `tell` for each change of the files that `published_json` has
/// seen.
///
/// # Errors
/// There is no such file, or nobody listens any more.
pub fn watch(published_json: &Path, mut tell: impl Write) -> io::Result<()> {
    let published = published::read(published_json)
        .ok_or_else(|| io::Error::other(format!("cannot read {}", published_json.display())))?;
    let (sources, mut known) = (published.sources, published.seen);
    let (hints, _watcher) = hints(&sources);
    let mut asked: Option<Asked> = None;
    loop {
        let now = sources.look();
        let due = asked.as_ref().is_some_and(|asked| asked.again <= Instant::now());
        if now != known || due {
            let before = if now == known { asked } else { None };
            known = settle(&sources, now);
            asked = Some(Asked::after(before));
            writeln!(tell, "changed")?;
            tell.flush()?;
        }
        std::thread::sleep(SETTLED);
        match hints.recv_timeout(RESCAN) {
            Ok(()) | Err(RecvTimeoutError::Timeout) => {}
            // There was no watcher to be had.
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(RESCAN),
        }
    }
}

/// When to ask again, if nothing comes of it.
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

/// Something comes for whatever happens to the files that modules come from.
fn hints(sources: &Sources) -> (Receiver<()>, Option<RecommendedWatcher>) {
    let (sender, hints) = sync_channel(1);
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
            return (hints, None);
        }
    };
    for folder in sources.folders() {
        if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
            tracing::warn!("cannot watch {}: {error}: it is looked at every {RESCAN:?}", folder.display());
        }
    }
    (hints, Some(watcher))
}

/// Looking is an access too, and must not be a reason to look; nor are logs that lie beside modules.
fn is_of_no_interest(event: &Event, sources: &Sources) -> bool {
    let is_access = matches!(event.kind, EventKind::Access(_))
        && event.kind != EventKind::Access(AccessKind::Close(AccessMode::Write));
    let concerns = event.paths.is_empty() || event.paths.iter().any(|path| sources.concern(path));
    !event.need_rescan() && (is_access || !concerns)
}
