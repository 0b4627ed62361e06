//! What a child's main thread watches: the control line to the parent, and the news of its own threads. It turns
//! commands into orders; carrying them out is the business of the three MPMs.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::crew::{self, Crew, Orders};
use crate::control::{Command, ControlChild};
use crate::protocol::Protocol;

/// What is open when the parent dies has so long to finish.
const ORPHAN_GRACE: Duration = Duration::from_secs(1);

/// The control line, and what it has said.
pub(super) struct Watch {
    line: Line,
    /// The orders that were answered already.
    known: Orders,
    /// The publications that were told already.
    publications: u64,
    /// The generations that the parent knows to be held.
    held: Vec<u32>,
}

enum Line {
    Open(Arc<ControlChild>),
    /// The parent is gone; the child ends at this time whatever it is doing.
    Gone {
        end: Instant,
    },
}

impl Watch {
    /// Of a child that begins with this generation.
    pub(super) fn new(control: ControlChild, generation: u32) -> Self {
        Self { line: Line::Open(Arc::new(control)), known: Orders::Serve, publications: 0, held: vec![generation] }
    }

    /// Tells the parent that the child serves.
    pub(super) fn ready(&self) {
        if let Line::Open(control) = &self.line {
            control.ready();
        }
    }

    /// Tells the parent that the child cannot begin to serve.
    pub(super) fn failed(&self, reason: &str) {
        if let Line::Open(control) = &self.line {
            control.failed(reason);
        }
    }

    /// Takes the parent's commands, if any, and carries them out: most as orders for the crew. Tells the parent what the
    /// child has come to by itself since the last call. Says whether there is news for its threads: other orders, whoever
    /// gave them, or another generation.
    pub(super) fn heed<P: Protocol>(&mut self, crew: &Arc<Crew<P>>) -> bool {
        self.receive(crew);
        self.tell_held(crew);
        let has_published = crew.has_published(&mut self.publications);
        let orders = crew.orders();
        if orders == self.known {
            return has_published;
        }
        self.known = orders;
        if let (Orders::Retire | Orders::Sick, Line::Open(control)) = (orders, &self.line) {
            control.retiring();
        }
        true
    }

    fn tell_held<P: Protocol>(&mut self, crew: &Crew<P>) {
        let held = crew.protocol.held();
        if let Line::Open(control) = &self.line
            && !held.is_empty()
            && held != self.held
        {
            control.held(&held);
            self.held = held;
        }
    }

    fn receive<P: Protocol>(&mut self, crew: &Arc<Crew<P>>) {
        while let Line::Open(control) = &self.line {
            match control.receive() {
                Command::None => return,
                // Whoever waits for connections has been woken by it.
                Command::Look => {}
                Command::Adopt(generation, handover) => crew::adopt(crew, control, generation, handover),
                Command::Drop(generation) => crew.protocol.forget(generation),
                Command::Published(generation) => {
                    crew.protocol.published();
                    crew.child.set_generation(generation);
                    crew.count_publication();
                }
                Command::Drain => crew.order(Orders::Drain),
                Command::Stop => crew.order(Orders::Stop),
                Command::ParentGone => {
                    tracing::warn!("the parent is gone: finishing what is open");
                    self.line = Line::Gone { end: Instant::now() + ORPHAN_GRACE };
                    crew.order(Orders::ParentGone);
                }
            }
        }
    }

    /// What becomes readable when there is a command to [`heed`](Self::heed).
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.line {
            Line::Open(control) => Some(control.as_fd()),
            Line::Gone { .. } => None,
        }
    }

    /// When the child ends whatever it is doing.
    pub(super) fn end(&self) -> Option<Instant> {
        match self.line {
            Line::Open(_) => None,
            Line::Gone { end } => Some(end),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.end().is_some_and(|end| Instant::now() >= end)
    }

    /// Waits for a command, for news of the crew, for one of `others` to become readable, or for a time. Says which
    /// of the others are readable, in their order.
    pub(super) fn wait<'a, P>(
        &'a self,
        crew: &'a Crew<P>,
        others: impl Iterator<Item = BorrowedFd<'a>>,
        until: Option<Instant>,
    ) -> Vec<bool> {
        let own: Vec<_> = self.fd().into_iter().chain([crew.news.as_fd()]).collect();
        let mut fds: Vec<_> = own.iter().copied().chain(others).map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        wait(&mut fds, earliest(until, self.end()));
        // Silenced before what the news is about is looked at, which the callers do after every wait.
        crew.news.silence();
        fds[own.len()..].iter().map(has_spoken).collect()
    }
}

/// Waits until a descriptor is ready or a time has come (`None`: for ever). A failure counts as "nothing is ready".
pub(super) fn wait(fds: &mut [PollFd<'_>], until: Option<Instant>) {
    let timeout = until.map_or(PollTimeout::NONE, |until| timeout(until.saturating_duration_since(Instant::now())));
    match poll(fds, timeout) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => {
            tracing::error!("cannot wait for {} descriptors: {error}", fds.len());
            // Lack of memory in the kernel, at worst. It must not become a busy loop.
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Rounded up: a deadline must have passed when the wait for it ends.
fn timeout(duration: Duration) -> PollTimeout {
    PollTimeout::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(PollTimeout::MAX)
}

/// Flags that nix cannot name count as well.
pub(super) fn has_spoken(fd: &PollFd<'_>) -> bool {
    fd.revents().is_none_or(|flags| !flags.is_empty())
}

pub(super) fn earliest(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_never_ends_before_its_deadline() {
        assert_eq!(timeout(Duration::from_nanos(1)), PollTimeout::from(1u8));
        assert_eq!(timeout(Duration::from_millis(5)), PollTimeout::from(5u8));
        assert_eq!(timeout(Duration::ZERO), PollTimeout::ZERO);
        assert_eq!(timeout(Duration::from_secs(u64::MAX)), PollTimeout::MAX);
    }
}
