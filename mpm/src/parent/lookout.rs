//! The lookout as the parent sees it: a process of the application's that watches for what should be served next, and asks for
//! it over its line. It may end at any time and is started again. What it watches is not known here.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::reap;
use super::spawn::{self, ForkedLookout};
use crate::lookout::{LookoutLine, News, ParentLine, Request, Said, Ticket};

/// One that has ended is not started again before this: there may be something wrong with it.
const PAUSE: Duration = Duration::from_secs(1);

/// See the file's head.
#[derive(Debug)]
pub(crate) struct Lookout {
    life: Life,
    /// Ended or killed, and not waited for yet: one may look at a file system that does not answer, and the parent does not
    /// wait.
    ended: Vec<Pid>,
}

/// ```text
///          want              start           it has ended, or hears nothing
///  Off ───────────► Away ─────────► Watching ──────┐
///                    ▲                             │
///                    └──────── after PAUSE ────────┘
/// ```
/// From each of them `end` leads to `Off`.
#[derive(Debug)]
enum Life {
    /// There is none, and there is to be none.
    Off,
    /// There is to be one.
    Away { until: Instant },
    Watching {
        pid: Pid,
        line: ParentLine,
        /// The greatest ticket that was heard.
        heard: Ticket,
    },
}

impl Lookout {
    /// None yet.
    pub(super) fn none() -> Self {
        Self { life: Life::Off, ended: Vec::new() }
    }

    /// There is to be one, from now on.
    pub(super) fn want(&mut self, now: Instant) {
        self.life = Life::Away { until: now };
    }

    /// Whether it is time to start one.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.due_at().is_some_and(|due| due <= now)
    }

    /// Starts one. `Some`: this process is the lookout now.
    pub(super) fn start(&mut self, now: Instant) -> Option<LookoutLine> {
        match spawn::fork_lookout() {
            Ok(ForkedLookout::Lookout(line)) => return Some(line),
            Ok(ForkedLookout::Parent(pid, line)) => {
                tracing::debug!("lookout {pid} starts");
                self.life = Life::Watching { pid, line, heard: Ticket::default() };
            }
            Err(error) => {
                tracing::error!("cannot fork the process that watches for changes: {error}: it is tried again");
                self.life = Life::Away { until: now + PAUSE };
            }
        }
        None
    }

    /// It is not the time to start one.
    pub(super) fn put_off(&mut self, now: Instant) {
        if let Life::Away { until } = &mut self.life {
            *until = now + PAUSE;
        }
    }

    /// What to wait for.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match &self.life {
            Life::Watching { line, .. } => Some(line.as_fd()),
            Life::Off | Life::Away { .. } => None,
        }
    }

    /// When to look although nothing has happened.
    pub(super) fn due_at(&self) -> Option<Instant> {
        match &self.life {
            Life::Away { until } => Some(*until),
            Life::Off | Life::Watching { .. } => None,
        }
    }

    /// Takes one request, if there is one; never blocks.
    pub(super) fn hear(&mut self, now: Instant) -> Option<Request> {
        self.ended.retain(|pid| reap::end_of(*pid).is_none());
        let Life::Watching { line, heard, .. } = &mut self.life else { return None };
        match line.receive() {
            Said::Nothing => None,
            Said::Request(request, ticket) => {
                *heard = ticket.max(*heard);
                Some(request)
            }
            Said::Gone => {
                tracing::warn!("the process that watches for changes has ended: it is started again");
                self.replace(now);
                None
            }
        }
    }

    /// Tells it that a reload begins.
    pub(super) fn tell_beginning(&mut self, now: Instant) {
        if let Life::Watching { heard, .. } = self.life {
            self.tell(&News::Began { heard }, now);
        }
    }

    /// Tells it, if there is one. Another one, which looks anew, takes the place of one that cannot be told anything.
    pub(super) fn tell(&mut self, news: &News, now: Instant) {
        if let Life::Watching { line, .. } = &self.life
            && let Err(error) = line.tell(news)
        {
            tracing::warn!("the process that watches for changes hears nothing ({error}): it is started again");
            self.replace(now);
        }
    }

    fn replace(&mut self, now: Instant) {
        self.end();
        self.life = Life::Away { until: now + PAUSE };
    }

    /// Ends the process. It keeps nothing that would need an orderly end.
    pub(super) fn end(&mut self) {
        if let Life::Watching { pid, .. } = std::mem::replace(&mut self.life, Life::Off) {
            // It can only fail if the process has ended already, which is what is wanted. It was not waited for yet, so
            // the pid is still its own.
            let _ended = kill(pid, Signal::SIGKILL);
            self.ended.push(pid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lookout;

    /// One whose process is none of ours: nobody may end it.
    fn watching() -> (Lookout, LookoutLine) {
        let (line, other_end) = lookout::pair().unwrap();
        let life = Life::Watching { pid: Pid::from_raw(i32::MAX), line, heard: Ticket::default() };
        (Lookout { life, ended: Vec::new() }, other_end)
    }

    #[test]
    fn where_there_is_none_nothing_is_due() {
        let (mut lookout, now) = (Lookout::none(), Instant::now());
        assert_eq!((lookout.hear(now), lookout.due_at()), (None, None));
        assert!(lookout.descriptor().is_none());
        lookout.tell_beginning(now);
        lookout.want(now);
        assert!(lookout.is_due(now));
        lookout.end();
        assert!(!lookout.is_due(now));
    }

    #[test]
    fn a_reload_begins_with_what_was_heard_last() {
        let (mut lookout, line) = watching();
        let now = Instant::now();
        line.send(Request::Publish).unwrap();
        let last = line.send(Request::Reload).unwrap();
        assert_eq!(lookout.hear(now), Some(Request::Publish));
        assert_eq!(lookout.hear(now), Some(Request::Reload));
        assert_eq!(lookout.hear(now), None);
        lookout.tell_beginning(now);
        assert_eq!(line.receive(), News::Began { heard: last });
    }

    #[test]
    fn one_that_has_ended_is_due_after_a_pause() {
        let (mut lookout, line) = watching();
        drop(line);
        let now = Instant::now();
        assert_eq!((lookout.hear(now), lookout.due_at()), (None, Some(now + PAUSE)));
        assert!(!lookout.is_due(now) && lookout.is_due(now + PAUSE));
        lookout.put_off(now + PAUSE);
        assert!(!lookout.is_due(now + PAUSE));
    }

    #[test]
    fn one_that_hears_nothing_is_replaced() {
        let (mut lookout, line) = watching();
        let (now, long) = (Instant::now(), News::Failed("why".repeat(1000)));
        (0..100_000).for_each(|_| lookout.tell(&long, now));
        assert_eq!(lookout.due_at(), Some(now + PAUSE));
        assert!(lookout.descriptor().is_none());
        drop(line);
    }
}
