//! Hints that something has happened in the folders of the sources. What has changed is decided by looking: a hint that is
//! lost, doubled or late does no harm.

use std::collections::BTreeSet;
use std::sync::mpsc::Sender;
use std::time::Instant;

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};

use super::Event;
use super::screen;
use super::settle::RESCAN;
use super::sources::Folder;
use crate::deploy::watch::is_mere_look;

/// Watches each folder by itself, since below what is no source there may be thousands.
pub(super) struct Watcher {
    kernel: Option<RecommendedWatcher>,
    watched: BTreeSet<Folder>,
}

impl Watcher {
    pub(super) fn new(events: Sender<Event>) -> Self {
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // What the kernel could not tell is found without it.
            if let Ok(event) = event
                && !is_mere_look(event.kind)
            {
                // Who no longer listens ends anyway.
                let _ = events.send(Event::Touched { paths: event.paths, at: Instant::now() });
            }
        });
        let watcher = watcher.inspect_err(|error| {
            screen::tell(&format!(
                "the kernel does not tell of changes ({error}): they are looked for every {RESCAN:?}"
            ));
        });
        Self { kernel: watcher.ok(), watched: BTreeSet::new() }
    }

    /// Watches these folders and no others.
    pub(super) fn follow(&mut self, folders: &BTreeSet<Folder>) {
        let Some(kernel) = &mut self.kernel else { return };
        for gone in self.watched.difference(folders) {
            // It may have gone by itself.
            let _ = kernel.unwatch(&gone.path);
        }
        for new in folders.difference(&self.watched) {
            if let Err(error) = kernel.watch(&new.path, RecursiveMode::NonRecursive) {
                screen::tell(&format!(
                    "cannot watch {}: {error}: it is looked at every {RESCAN:?}",
                    new.path.display()
                ));
            }
        }
        self.watched.clone_from(folders);
    }
}
