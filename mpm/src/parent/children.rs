//! The table of children: the only source of pids that the parent signals and of slots that it hands out.
//! Nothing here forks or decides.

use std::fmt;
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::phase::Phase;
use super::plan::{Census, Member};
use crate::control::{Command, ControlParent, Report};
use crate::scoreboard::Scoreboard;
use crate::settings::ListenAddress;

/// A child that has closed its end and yet lives is not one that can be told anything.
const DEAF_LIMIT: Duration = Duration::from_secs(5);

/// Where a child comes from: a pool, from the generation on that brought it. Later ones may have the same. Known for as long
/// as the child lives, even when no generation has it any more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The generation that brought the pool.
    pub(super) generation: u32,
    /// Index of the pool in that generation.
    pub(super) pool: usize,
    pub(super) name: String,
    pub(super) listen: Vec<ListenAddress>,
}

impl Origin {
    /// Whether it is the server's own pool.
    pub(super) fn is_own(&self) -> bool {
        self.pool == 0
    }
}

/// As log lines begin that are about the pool: those about the server's own say nothing.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_own() { Ok(()) } else { write!(f, "pool {}: ", self.name) }
    }
}

/// A child that was forked and has not been waited for: its pid is its own until then.
#[derive(Debug)]
pub(crate) struct Child {
    pub(super) pid: Pid,
    pub(super) origin: Rc<Origin>,
    pub(super) phase: Phase,
    pub(super) link: Link,
    /// The generation that it began with.
    pub(super) born: u32,
    /// The generations that it still serves something of, and the latest that it can serve, as it says.
    pub(super) held: Vec<u32>,
    pub(super) latest: u32,
}

/// What connects the parent with a child.
#[derive(Debug)]
pub(crate) enum Link {
    Open(ControlParent),
    /// The child has closed its end: it has died, and will be waited for in a moment.
    Closed {
        since: Instant,
    },
}

impl Child {
    /// Takes one report.
    pub(super) fn receive(&mut self, now: Instant) -> Report {
        let Link::Open(control) = &self.link else { return Report::None };
        let report = control.receive();
        if report == Report::Gone {
            self.link = Link::Closed { since: now };
        }
        report
    }

    /// Tells the child to finish what is open and end.
    pub(super) fn drain(&mut self, command: &Command) {
        self.tell(command);
        self.phase = self.phase.drain();
    }

    /// Whether the child will hear of it. One that cannot be reached has died, or is about to, or does not listen.
    pub(super) fn tell(&self, command: &Command) -> bool {
        let Link::Open(control) = &self.link else { return false };
        let sent = control.send(command).inspect_err(|error| tracing::debug!("cannot reach {self}: {error}"));
        sent.is_ok()
    }

    /// Ends the child at once, by TERM.
    pub(super) fn terminate(&mut self, now: Instant) {
        if let Phase::Ending { .. } | Phase::Killed = self.phase {
            return;
        }
        self.phase = self.phase.end(now);
        self.signal(Signal::SIGTERM);
    }

    /// Ends the child by KILL.
    pub(super) fn kill(&mut self) {
        self.phase = Phase::Killed;
        self.signal(Signal::SIGKILL);
    }

    fn signal(&self, signal: Signal) {
        match kill(self.pid, signal) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => tracing::error!("cannot send {signal} to {self}: {error}"),
        }
    }

    /// When the child has been starting, ending or deaf for too long.
    pub(super) fn overdue_at(&self) -> Option<Instant> {
        let deaf = match (&self.link, self.phase) {
            (
                Link::Closed { since },
                Phase::Starting { .. } | Phase::Unneeded { .. } | Phase::Serving { .. } | Phase::Draining,
            ) => Some(*since + DEAF_LIMIT),
            (Link::Closed { .. }, Phase::Ending { .. } | Phase::Killed) | (Link::Open(_), _) => None,
        };
        self.phase.overdue_at().into_iter().chain(deaf).min()
    }
}

impl fmt::Display for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}child {}", self.origin, self.pid)
    }
}

/// All children, by slot: their line in the scoreboard.
#[derive(Debug)]
pub(crate) struct Children {
    slots: Vec<Option<Child>>,
}

impl Children {
    pub(super) fn new(slots: usize) -> Self {
        Self { slots: std::iter::repeat_with(|| None).take(slots).collect() }
    }

    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Makes the table as long as the scoreboard.
    pub(super) fn grow_to(&mut self, slots: usize) {
        self.slots.resize_with(slots.max(self.slots.len()), || None);
    }

    /// The lowest slot that is free.
    pub(super) fn free_slot(&self) -> Option<usize> {
        self.slots.iter().position(Option::is_none)
    }

    pub(super) fn insert(&mut self, slot: usize, child: Child) {
        let before = self.slots[slot].replace(child);
        assert!(before.is_none(), "slot {slot} has a child already");
    }

    pub(super) fn remove(&mut self, slot: usize) -> Option<Child> {
        self.slots[slot].take()
    }

    /// Has those that share an address with a child that has died look for a connection that it was woken for.
    pub(super) fn look_for(&self, dead: &Child) {
        let shares = |child: &Child| child.origin.listen.iter().any(|address| dead.origin.listen.contains(address));
        for (_, child) in self.iter().filter(|(_, child)| child.phase.is_active() && shares(child)) {
            if let Link::Open(control) = &child.link {
                // One that has so much to hear that nothing more fits is awake.
                let _awake = control.send(&Command::Look);
            }
        }
    }

    pub(super) fn at(&mut self, slot: usize) -> Option<&mut Child> {
        self.slots.get_mut(slot).and_then(Option::as_mut)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.iter().all(Option::is_none)
    }

    /// With their slots.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &Child)> {
        self.slots.iter().enumerate().filter_map(|(slot, child)| Some((slot, child.as_ref()?)))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (usize, &mut Child)> {
        self.slots.iter_mut().enumerate().filter_map(|(slot, child)| Some((slot, child.as_mut()?)))
    }

    /// Children of a pool, of whatever generation, dying ones included.
    pub(super) fn of_pool(&self, name: &str) -> usize {
        self.iter().filter(|(_, child)| child.origin.name == name).count()
    }

    /// Children of one pool and one generation that carry the load.
    pub(super) fn active(&self, origin: &Origin) -> usize {
        self.iter().filter(|(_, child)| *child.origin == *origin && child.phase.is_active()).count()
    }

    /// Counts a pool's children of one generation, which have `threads` threads each; the pool may have `slots` slots.
    /// Only the number of idle threads comes from the scoreboard, and whatever stands there, it is at most `threads`.
    pub(super) fn census(&self, origin: &Origin, slots: usize, threads: usize, scoreboard: &Scoreboard) -> Census {
        let members = self.iter().filter(|(_, child)| *child.origin == *origin).filter_map(|(slot, child)| {
            let (starting, idle_threads) = match child.phase {
                Phase::Starting { .. } => (true, threads),
                Phase::Serving { .. } => (false, scoreboard.idle_threads(slot, threads)),
                Phase::Unneeded { .. } | Phase::Draining | Phase::Ending { .. } | Phase::Killed => return None,
            };
            Some(Member { slot, starting, idle_threads })
        });
        Census { members: members.collect(), free_slots: slots.saturating_sub(self.of_pool(&origin.name)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control;
    use crate::scoreboard::Status;

    /// A row of the table that stands for no process: nothing in these tests signals.
    fn child(generation: u32, phase: Phase) -> Child {
        child_of(origin(generation, 0, "server"), phase)
    }

    fn child_of(origin: Origin, phase: Phase) -> Child {
        let (parent, _child) = control::pair().unwrap();
        let generation = origin.generation;
        Child {
            pid: Pid::from_raw(i32::MAX),
            origin: Rc::new(origin),
            phase,
            link: Link::Open(parent),
            born: generation,
            held: vec![generation],
            latest: generation,
        }
    }

    fn origin(generation: u32, pool: usize, name: &str) -> Origin {
        Origin { generation, pool, name: name.to_owned(), listen: vec![] }
    }

    #[test]
    fn the_census_counts_who_carries_the_load_of_one_pool_and_generation() {
        let now = Instant::now();
        let board = Scoreboard::new(8, 2).unwrap();
        let mut children = Children::new(8);
        children.insert(0, child(1, Phase::Serving { since: now }));
        children.insert(1, child(1, Phase::Starting { since: now }));
        children.insert(2, child(1, Phase::Draining));
        children.insert(3, child(0, Phase::Serving { since: now }));
        children.insert(5, child(1, Phase::Ending { since: now }));
        children.insert(6, child_of(origin(1, 1, "side"), Phase::Serving { since: now }));
        board.thread(0, 0).set_status(Status::BusyWrite);
        board.thread(1, 0).set_status(Status::BusyWrite);
        let expected =
            [Member { slot: 0, starting: false, idle_threads: 1 }, Member { slot: 1, starting: true, idle_threads: 2 }];
        let server = origin(1, 0, "server");
        assert_eq!(children.census(&server, 6, 2, &board), Census { members: expected.to_vec(), free_slots: 1 });
        assert_eq!(children.active(&server), 2);
        assert_eq!(children.free_slot(), Some(4));
    }

    #[test]
    fn a_pool_that_is_full_takes_no_slot_from_another_one() {
        let now = Instant::now();
        let board = Scoreboard::new(4, 1).unwrap();
        let mut children = Children::new(4);
        for slot in 0..3 {
            children.insert(slot, child_of(origin(0, 1, "side"), Phase::Draining));
        }
        let (server, side) = (origin(1, 0, "server"), origin(1, 1, "side"));
        assert_eq!(children.census(&side, 2, 1, &board).free_slots, 0);
        assert_eq!(children.census(&server, 2, 1, &board).free_slots, 2);
        children.grow_to(5);
        children.insert(3, child(0, Phase::Serving { since: now }));
        assert_eq!(children.census(&server, 2, 1, &board).free_slots, 1);
        assert_eq!(children.free_slot(), Some(4));
    }

    #[test]
    fn a_child_is_named_with_its_pool_unless_that_is_the_servers_own() {
        let pid = i32::MAX;
        assert_eq!(child(0, Phase::Draining).to_string(), format!("child {pid}"));
        let side = child_of(origin(0, 1, "side"), Phase::Draining);
        assert_eq!(side.to_string(), format!("pool side: child {pid}"));
    }

    #[test]
    fn no_scoreboard_makes_a_child_have_more_idle_threads_than_threads() {
        let board = Scoreboard::new(1, 8).unwrap();
        let mut children = Children::new(1);
        children.insert(0, child(0, Phase::Serving { since: Instant::now() }));
        assert_eq!(children.census(&origin(0, 0, "server"), 2, 3, &board).members[0].idle_threads, 3);
        assert_eq!(children.census(&origin(0, 0, "server"), 2, 100, &board).members[0].idle_threads, 8);
    }

    #[test]
    fn a_child_that_hung_up_is_overdue_after_a_while() {
        let now = Instant::now();
        let mut child = child(0, Phase::Serving { since: now });
        assert_eq!(child.overdue_at(), None);
        assert_eq!(child.receive(now), Report::Gone, "the other end was dropped");
        assert_eq!(child.overdue_at(), Some(now + DEAF_LIMIT));
        assert_eq!(child.receive(now), Report::None);
        child.phase = Phase::Killed;
        assert_eq!(child.overdue_at(), None);
    }

    #[test]
    #[should_panic(expected = "slot 0 has a child already")]
    fn a_slot_is_handed_out_once() {
        let mut children = Children::new(1);
        children.insert(0, child(0, Phase::Draining));
        children.insert(0, child(0, Phase::Draining));
    }
}
