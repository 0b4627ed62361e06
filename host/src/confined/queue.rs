//! The requests of one thread that wait for a child of one pool.
//!
//! ```text
//! wait() ─► Waiting ──called──► Outside ──a child has begun──► Inside ──► over
//!      └───────────────────────────▲
//! ```
//!
//! A few stand outside, in the pool's own queue, which is the backlog of its socket: every child that is idle finds them.
//! The others wait here, so that the connection of a request that is over can be given to the next instead of being
//! made anew. Whenever a child says that it has taken one from outside, the next goes there. Nothing here knows a socket.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::task::Waker;

use guesthouse_mpm::ConnectionId;
use guesthouse_mpm::settings::ListenAddress;

/// Requests of one thread that stand outside. A child says that it has begun when its guest waits, answers, or has computed
/// for a time slice, so that of those which only compute no more than these have children at once in their first slices: more
/// than there are cores, if there is a thread for each core.
const OUTSIDE_MAX: usize = 4;

/// One thread's queues, by the address of the pool.
#[derive(Default)]
pub struct Queues(HashMap<ListenAddress, Queue<ConnectionId>>);

/// One thread's queue for one pool. `I` names a connection.
#[derive(Debug)]
pub(super) struct Queue<I> {
    state: Rc<RefCell<State<I>>>,
}

#[derive(Debug)]
struct State<I> {
    outside: usize,
    /// By their numbers.
    waiting: VecDeque<Waiter<I>>,
    waiting_max: usize,
    /// Of the next that enters.
    number: u64,
}

#[derive(Debug)]
struct Waiter<I> {
    number: u64,
    connection: I,
    waker: Waker,
    called: Rc<Cell<bool>>,
}

/// A request's place. Leaves when it is dropped.
#[derive(Debug)]
pub(super) struct Ticket<I> {
    queue: Queue<I>,
    number: u64,
    stage: Stage,
    has_waited: bool,
}

#[derive(Debug)]
enum Stage {
    /// Until it is called.
    Waiting(Rc<Cell<bool>>),
    Outside,
    Inside,
}

/// As many wait already as may.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Queues {
    /// The queue for a pool, for so many requests.
    pub(super) fn of(&mut self, address: &ListenAddress, length_max: usize) -> &Queue<ConnectionId> {
        if !self.0.contains_key(address) {
            self.0.insert(address.clone(), Queue::new(length_max));
        }
        &self.0[address]
    }

    /// Forgets those where nobody stands: their pools may be gone.
    pub(crate) fn clear_up(&mut self) {
        self.0.retain(|_, queue| queue.is_in_use());
    }
}

impl<I> Clone for Queue<I> {
    fn clone(&self) -> Self {
        Self { state: Rc::clone(&self.state) }
    }
}

impl<I: Copy> Queue<I> {
    /// For so many requests of the thread, those that the pool's own queue holds included.
    pub(super) fn new(length_max: usize) -> Self {
        let waiting_max = length_max.saturating_sub(OUTSIDE_MAX);
        Self { state: Rc::new(RefCell::new(State { outside: 0, waiting: VecDeque::new(), waiting_max, number: 0 })) }
    }

    /// Takes a place for the request of a connection; `None`: of the only one of its thread.
    pub(super) fn enter(&self, connection: Option<I>, waker: &Waker) -> Result<Ticket<I>, Full> {
        let mut state = self.state.borrow_mut();
        let number = state.number;
        state.number += 1;
        // Also if there is room outside: somebody may have stepped back.
        let must_wait = state.outside >= OUTSIDE_MAX || !state.waiting.is_empty();
        let stage = match connection {
            Some(connection) if must_wait && state.waiting_max > 0 => {
                if state.waiting.len() >= state.waiting_max {
                    return Err(Full);
                }
                Stage::Waiting(state.wait(number, connection, waker))
            }
            _ => {
                state.outside += 1;
                Stage::Outside
            }
        };
        Ok(Ticket { queue: self.clone(), number, has_waited: matches!(stage, Stage::Waiting(_)), stage })
    }
}

impl<I> Queue<I> {
    /// Whether a request has a place here.
    pub(super) fn is_in_use(&self) -> bool {
        Rc::strong_count(&self.state) > 1
    }
}

impl<I> State<I> {
    /// Who came before waits before.
    fn wait(&mut self, number: u64, connection: I, waker: &Waker) -> Rc<Cell<bool>> {
        let called = Rc::new(Cell::new(false));
        let place = self.waiting.partition_point(|other| other.number < number);
        self.waiting.insert(place, Waiter { number, connection, waker: waker.clone(), called: Rc::clone(&called) });
        called
    }

    /// Calls the one who has waited longest.
    fn call(&mut self) -> Option<Waiter<I>> {
        let next = self.waiting.pop_front()?;
        self.outside += 1;
        next.called.set(true);
        Some(next)
    }

    /// One stands outside no longer.
    fn leave_outside(&mut self) {
        self.outside -= 1;
        // More than that have been given connections; fewer, if some have stepped back.
        while self.outside < OUTSIDE_MAX
            && let Some(next) = self.call()
        {
            next.waker.wake();
        }
    }
}

impl<I> Ticket<I> {
    /// Whether the request may go, or has gone, to the pool's own queue.
    pub(super) fn is_called(&mut self) -> bool {
        if matches!(&self.stage, Stage::Waiting(called) if called.get()) {
            self.stage = Stage::Outside;
        }
        !matches!(self.stage, Stage::Waiting(_))
    }

    /// Waits on, before all that came later, if the pool's own queue has no room for one that has waited for it already.
    /// Only while others of the thread stand outside: one of them will make room.
    pub(super) fn step_back(&mut self, connection: Option<I>, waker: &Waker) -> bool {
        let mut state = self.queue.state.borrow_mut();
        let Some(connection) = connection.filter(|_| self.has_waited && state.outside > 1) else { return false };
        state.outside -= 1;
        self.stage = Stage::Waiting(state.wait(self.number, connection, waker));
        true
    }

    /// Whether others of the thread wait for a child, beside this one.
    pub(super) fn others_wait(&self) -> bool {
        let state = self.queue.state.borrow();
        state.outside + state.waiting.len() > 1
    }

    /// A child has taken the request.
    pub(super) fn begin(&mut self) {
        if matches!(std::mem::replace(&mut self.stage, Stage::Inside), Stage::Outside) {
            self.queue.state.borrow_mut().leave_outside();
        }
    }

    /// Leaves the connection of a request that is over to the one who has waited longest.
    pub(super) fn hand_over(self) -> Option<I> {
        self.queue.state.borrow_mut().call().map(|next| next.connection)
    }
}

impl<I> Drop for Ticket<I> {
    fn drop(&mut self) {
        let mut state = self.queue.state.borrow_mut();
        match &self.stage {
            Stage::Waiting(called) if !called.get() => state.waiting.retain(|other| !Rc::ptr_eq(&other.called, called)),
            Stage::Waiting(_) | Stage::Outside => state.leave_outside(),
            Stage::Inside => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A queue, and who stands in it.
    struct Hall {
        queue: Queue<u32>,
        outside: Vec<Ticket<u32>>,
        waiting: Vec<Ticket<u32>>,
        calls: Arc<Count>,
    }

    impl Hall {
        /// Of this length, with as many outside as may be, and so many that wait.
        fn of(length_max: usize, waiting: u32) -> Self {
            let queue = Queue::new(length_max);
            let calls = Arc::new(Count::default());
            let waker = Waker::from(Arc::clone(&calls));
            let enter = |id| queue.enter(Some(id), &waker).unwrap();
            let outside = (0..OUTSIDE_MAX as u32).map(|_| enter(0)).collect();
            let waiting = (1..=waiting).map(enter).collect();
            Self { queue, outside, waiting, calls }
        }

        /// Which of those who waited have been called, and how many were woken.
        fn called(&mut self) -> (Vec<bool>, usize) {
            (called(&mut self.waiting), self.calls.0.load(Ordering::Relaxed))
        }
    }

    fn called(tickets: &mut [Ticket<u32>]) -> Vec<bool> {
        tickets.iter_mut().map(Ticket::is_called).collect()
    }

    #[test]
    fn a_few_stand_outside_and_the_next_follows_when_one_is_taken() {
        let mut hall = Hall::of(64, 3);
        assert_eq!(called(&mut hall.outside), [true; OUTSIDE_MAX]);
        assert_eq!(hall.called(), (vec![false; 3], 0));
        hall.outside[1].begin();
        assert_eq!(hall.called(), (vec![true, false, false], 1));
        // One that has begun makes no room a second time.
        hall.outside[1].begin();
        hall.outside.remove(1);
        assert_eq!(hall.called(), (vec![true, false, false], 1));
        // One that gives up does.
        hall.outside.remove(0);
        assert_eq!(hall.called(), (vec![true, true, false], 2));
    }

    #[test]
    fn who_gives_up_is_not_called() {
        let mut hall = Hall::of(64, 3);
        hall.waiting.remove(0);
        hall.outside[0].begin();
        assert_eq!(hall.called(), (vec![true, false], 1));
        // Called, and gone before it has heard of it: its call goes to the next.
        let mut hall = Hall::of(64, 2);
        hall.outside[0].begin();
        hall.waiting.remove(0);
        assert_eq!(hall.called(), (vec![true], 2));
    }

    #[test]
    fn who_was_called_too_early_is_called_again_before_all_others() {
        let mut hall = Hall::of(64, 3);
        hall.outside[0].begin();
        hall.outside[1].begin();
        assert_eq!(hall.called(), (vec![true, true, false], 2));
        for number in [0, 1] {
            assert!(hall.waiting[number].step_back(Some(9), Waker::noop()));
        }
        assert_eq!(hall.called(), (vec![false; 3], 2));
        // There is room outside, and yet a newcomer does not pass.
        let mut newcomer = hall.queue.enter(Some(9), Waker::noop()).unwrap();
        assert!(!newcomer.is_called());
        hall.outside[2].begin();
        assert_eq!((hall.called().0, newcomer.is_called()), (vec![true; 3], false));
        drop(newcomer);
        // Nobody would call the last one, and who has not waited is told at once.
        assert!(!hall.outside[3].step_back(Some(0), Waker::noop()));
        hall.outside.clear();
        hall.waiting.truncate(1);
        assert!(!hall.waiting[0].step_back(Some(1), Waker::noop()));
    }

    #[test]
    fn a_connection_goes_to_the_one_who_has_waited_longest() {
        let mut hall = Hall::of(64, 4);
        let mut over = hall.outside.remove(0);
        over.begin();
        assert_eq!(hall.called(), (vec![true, false, false, false], 1));
        assert_eq!(over.hand_over(), Some(2));
        // It is advanced by who hands it over, and need not be woken.
        assert_eq!(hall.called(), (vec![true, true, false, false], 1));
        // It was taken from here: nobody need take its place outside.
        hall.waiting[1].begin();
        assert_eq!(hall.called(), (vec![true, true, false, false], 1));
        assert_eq!(hall.waiting.remove(1).hand_over(), Some(3));
    }

    #[test]
    fn a_queue_has_an_end() {
        let Hall { queue, outside, waiting, .. } = Hall::of(OUTSIDE_MAX + 2, 2);
        assert_eq!(queue.enter(Some(9), Waker::noop()).unwrap_err(), Full);
        // Not for the only connection of its thread, which nobody could follow; the pool's own queue has an end as well.
        assert!(queue.enter(None, Waker::noop()).is_ok());
        assert!(queue.is_in_use());
        drop((outside, waiting));
        assert!(!queue.is_in_use());
        // Where the pool's own queue is shorter, it alone decides.
        let short = Hall::of(2, 0);
        assert!(short.queue.enter(Some(9), Waker::noop()).unwrap().is_called());
    }

    #[test]
    fn one_alone_has_nobody_behind_it() {
        let queue = Queue::new(64);
        let mut first = queue.enter(Some(1), Waker::noop()).unwrap();
        assert!(!first.others_wait());
        let second = queue.enter(Some(2), Waker::noop()).unwrap();
        assert!(first.others_wait() && second.others_wait());
        first.begin();
        assert!(!second.others_wait());
        assert_eq!(first.hand_over(), None);
    }
}
