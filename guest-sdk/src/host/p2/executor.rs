//! Runs futures that wait for pollables: the executor of `futures`, and what it does when all of them wait.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use futures_executor::{LocalPool, LocalSpawner};
use futures_util::future::LocalBoxFuture;
use futures_util::task::LocalSpawnExt as _;
use wasip2::io::poll::{self, Pollable};

thread_local! {
    /// What waits, and whom to wake for it.
    static WAITING: RefCell<Vec<(Rc<Pollable>, Waker)>> = const { RefCell::new(Vec::new()) };
    static SPAWNER: RefCell<Option<LocalSpawner>> = const { RefCell::new(None) };
}

/// Runs a future, and what is spawned meanwhile, until all have ended, or wait for nothing that could still happen.
pub(super) fn run(root: impl Future<Output = ()> + 'static) {
    let mut pool = LocalPool::new();
    SPAWNER.set(Some(pool.spawner()));
    pool.spawner().spawn_local(root).expect("the pool is there");
    loop {
        pool.run_until_stalled();
        if !wait_for_one() {
            return;
        }
    }
}

/// Runs a future beside the one that spawns it.
pub(super) fn spawn(task: LocalBoxFuture<'static, ()>) {
    let spawner = SPAWNER.with_borrow(Clone::clone).expect("what spawns runs in `run`");
    spawner.spawn_local(task).expect("the pool is there as long as what runs in it");
}

/// Blocks until something is ready, and wakes who waits for it. Says `false` if nobody waits.
fn wait_for_one() -> bool {
    let ready = WAITING.with_borrow(|waiting| {
        let pollables: Vec<&Pollable> = waiting.iter().map(|(pollable, _)| &**pollable).collect();
        if pollables.is_empty() { Vec::new() } else { poll::poll(&pollables) }
    });
    // Taken out before anybody is woken, and the last first: the places of the others stay.
    let mut ready = ready;
    ready.sort_unstable();
    let woken: Vec<Waker> = WAITING
        .with_borrow_mut(|waiting| ready.iter().rev().map(|&index| waiting.swap_remove(index as usize).1).collect());
    woken.iter().for_each(Waker::wake_by_ref);
    !woken.is_empty()
}

/// A pollable that futures can wait for. It must be dropped before what it was made of.
pub(super) struct Readiness {
    pollable: Rc<Pollable>,
    is_waiting: Cell<bool>,
}

impl Readiness {
    pub(super) fn of(pollable: Pollable) -> Self {
        Self { pollable: Rc::new(pollable), is_waiting: Cell::new(false) }
    }

    pub(super) async fn wait(&self) {
        poll_fn(|context| self.poll(context)).await;
    }

    /// Ready when the host has said so once since the first time that this was pending. Who asks looks itself before
    /// it asks: the host is not asked twice.
    pub(super) fn poll(&self, context: &mut Context<'_>) -> Poll<()> {
        WAITING.with_borrow_mut(|waiting| {
            match waiting.iter_mut().find(|(pollable, _)| Rc::ptr_eq(pollable, &self.pollable)) {
                Some((_, waker)) => waker.clone_from(context.waker()),
                None if self.is_waiting.take() => return Poll::Ready(()),
                None => waiting.push((Rc::clone(&self.pollable), context.waker().clone())),
            }
            self.is_waiting.set(true);
            Poll::Pending
        })
    }
}

impl Drop for Readiness {
    fn drop(&mut self) {
        if self.is_waiting.get() {
            WAITING.with_borrow_mut(|waiting| waiting.retain(|(pollable, _)| !Rc::ptr_eq(pollable, &self.pollable)));
        }
    }
}
