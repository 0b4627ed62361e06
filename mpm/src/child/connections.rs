//! The connections of one event thread: where each one is, what it waits for, and whose turn is next.
//! Pure: no socket, no clock and no protocol; what a connection is made of is a type parameter.

mod places;

use std::collections::VecDeque;
use std::time::Instant;

use self::places::Places;
use crate::deadline::DeadlineQueue;
use crate::poller::Token;
use crate::protocol::Next;
use crate::scoreboard::Connections as Tally;

/// Entries of connections that are gone are tolerated in the queue for admission up to twice the connections, plus
/// this.
const SLACK: usize = 64;

/// Connections by token, and the queues they stand in.
///
/// ```text
///             wake, edge, deadline             Next::Begin, Flush, Yield
///   parked ─────────────────────────► Run::Ready   ┌───────────────► Run::Begin, Flush, Yield
///     ▲                                   │        │                     │
///     └──── any other Next ◄────── advanced ◄──────┴─────────────────────┘
/// ```
pub(super) struct Connections<T> {
    places: Places<Seat<T>>,
    /// By [`Run`].
    runs: [VecDeque<Token>; 4],
    /// Those that were told to wait for admission, oldest first, and others that have moved on.
    admission: VecDeque<Token>,
    /// Those that are idle, by deadline: the earliest has been idle longest.
    idle: DeadlineQueue,
    deadlines: DeadlineQueue,
    tally: Tally,
    /// Connections that wait for admission.
    unadmitted: usize,
}

struct Seat<T> {
    value: T,
    next: Next,
    /// Where it stands, if it is not parked: in one queue at most, so that it is advanced once however much happens to it.
    run: Option<Run>,
    is_in_admission: bool,
}

/// The queues of those that are to be advanced, in the order in which they have their turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Run {
    /// Something has happened to them.
    Ready,
    /// With a request that is to begin.
    Begin,
    /// With an answer that is to leave, before the thread waits.
    Flush,
    /// One at a time, when nobody else is to be advanced.
    Yield,
}

impl<T> Connections<T> {
    /// Memory of one connection in here: its place, and its entries in the two queues of deadlines.
    #[cfg(test)]
    pub(super) const BYTES_EACH: usize = Places::<Seat<T>>::BYTES_EACH + 2 * DeadlineQueue::BYTES_EACH;

    /// `origin`: no deadline is earlier.
    pub(super) fn new(origin: Instant) -> Self {
        Self {
            places: Places::new(),
            runs: Default::default(),
            admission: VecDeque::new(),
            idle: DeadlineQueue::new(origin),
            deadlines: DeadlineQueue::new(origin),
            tally: Tally::default(),
            unadmitted: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.places.occupied()
    }

    /// Connections by what they wait for.
    pub(super) fn tally(&self) -> Tally {
        self.tally
    }

    /// Adds a connection, which counts as reading until it is [`settle`](Self::settle)d.
    pub(super) fn insert(&mut self, now: Instant, value: T) -> Token {
        let next = Next::Read(now);
        *count_of(&mut self.tally, next) += 1;
        self.places.insert(Seat { value, next, run: None, is_in_admission: false })
    }

    /// `None`: it is gone.
    pub(super) fn get_mut(&mut self, token: Token) -> Option<&mut T> {
        self.places.get_mut(token).map(|seat| &mut seat.value)
    }

    pub(super) fn is_idle(&mut self, token: Token) -> bool {
        self.places.get_mut(token).is_some_and(|seat| matches!(seat.next, Next::Idle(_)))
    }

    pub(super) fn remove(&mut self, token: Token) -> Option<T> {
        let seat = self.places.remove(token)?;
        *count_of(&mut self.tally, seat.next) -= 1;
        self.unadmitted -= usize::from(matches!(seat.next, Next::Admit(_)));
        self.sweep();
        Some(seat.value)
    }

    /// The connection was advanced, and this is what it waits for now.
    pub(super) fn settle(&mut self, token: Token, next: Next) {
        let Some(seat) = self.places.get_mut(token) else { return };
        let before = std::mem::replace(&mut seat.next, next);
        *count_of(&mut self.tally, before) -= 1;
        *count_of(&mut self.tally, next) += 1;
        self.unadmitted -= usize::from(matches!(before, Next::Admit(_)));
        self.unadmitted += usize::from(matches!(next, Next::Admit(_)));
        match next {
            Next::Begin => self.enqueue(token, Run::Begin),
            Next::Flush => self.enqueue(token, Run::Flush),
            Next::Yield(_) => self.enqueue(token, Run::Yield),
            Next::Admit(_) if !std::mem::replace(&mut seat.is_in_admission, true) => self.admission.push_back(token),
            Next::Idle(at) => self.idle.set(token.index, at),
            Next::Admit(_) | Next::Read(_) | Next::Write(_) | Next::Wait(_) | Next::Linger(_) | Next::Close => {}
        }
        if let Some(deadline) = next.deadline() {
            self.deadlines.set(token.index, deadline);
        }
    }

    /// Something has happened to the connection: it is to be advanced, unless it stands in a run queue already.
    pub(super) fn schedule(&mut self, token: Token) {
        self.enqueue(token, Run::Ready);
    }

    fn enqueue(&mut self, token: Token, run: Run) {
        if let Some(seat) = self.places.get_mut(token)
            && seat.run.is_none()
        {
            seat.run = Some(run);
            self.runs[run as usize].push_back(token);
        }
    }

    /// Schedules those whose deadlines have come; `idle` is shown those of them that are idle.
    pub(super) fn schedule_expired(&mut self, now: Instant, mut idle: impl FnMut(&mut T)) {
        loop {
            let places = &self.places;
            let deadline_of = |index| places.at(index).and_then(|(_, seat)| seat.next.deadline());
            let Some(index) = self.deadlines.pop_expired(now, deadline_of) else { return };
            self.schedule_at(index, &mut idle);
        }
    }

    /// Schedules all; `idle` is shown those that are idle.
    pub(super) fn schedule_all(&mut self, mut idle: impl FnMut(&mut T)) {
        for index in 0..self.places.len() {
            self.schedule_at(index, &mut idle);
        }
    }

    fn schedule_at(&mut self, index: u32, idle: &mut impl FnMut(&mut T)) {
        let Some((token, _)) = self.places.at(index) else { return };
        if let Some(seat) = self.places.get_mut(token)
            && matches!(seat.next, Next::Idle(_))
        {
            idle(&mut seat.value);
        }
        self.schedule(token);
    }

    /// How many stand in this queue now. Who comes to it while they are served has another round.
    pub(super) fn run_len(&self, run: Run) -> usize {
        self.runs[run as usize].len()
    }

    pub(super) fn has_runnable(&self) -> bool {
        self.runs.iter().any(|run| !run.is_empty())
    }

    /// The first in this queue, which is parked from here on. `None` also for one that is gone.
    pub(super) fn pop(&mut self, run: Run) -> Option<Token> {
        let token = self.runs[run as usize].pop_front()?;
        self.places.get_mut(token)?.run = None;
        Some(token)
    }

    /// How many wait for admission.
    pub(super) fn unadmitted(&self) -> usize {
        self.unadmitted
    }

    /// The one that has waited longest for admission.
    pub(super) fn pop_unadmitted(&mut self) -> Option<Token> {
        while let Some(token) = self.admission.pop_front() {
            if let Some(seat) = self.places.get_mut(token) {
                seat.is_in_admission = false;
                if matches!(seat.next, Next::Admit(_)) {
                    return Some(token);
                }
            }
        }
        None
    }

    /// The one that has been idle longest.
    pub(super) fn pop_oldest_idle(&mut self) -> Option<Token> {
        let places = &self.places;
        let idle_until = |index| {
            let (_, seat) = places.at(index)?;
            if matches!(seat.next, Next::Idle(_)) { seat.next.deadline() } else { None }
        };
        let index = self.idle.pop_earliest(idle_until)?;
        self.places.at(index).map(|(token, _)| token)
    }

    /// When to look for expired deadlines again.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// Keeps the queue of which members are taken out only when it is popped in proportion to the connections.
    fn sweep(&mut self) {
        if self.admission.len() > 2 * self.len() + SLACK {
            let places = &self.places;
            self.admission.retain(|token| places.at(token.index).is_some_and(|(now, _)| now == *token));
        }
    }
}

fn count_of(tally: &mut Tally, next: Next) -> &mut u32 {
    match next {
        Next::Read(_) => &mut tally.reading,
        Next::Write(_) | Next::Flush => &mut tally.writing,
        Next::Idle(_) => &mut tally.idle,
        Next::Begin | Next::Admit(_) | Next::Wait(_) | Next::Yield(_) => &mut tally.waiting,
        Next::Linger(_) | Next::Close => &mut tally.lingering,
    }
}

#[cfg(test)]
mod tests;
