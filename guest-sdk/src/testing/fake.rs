//! The host of the test harness: nothing in it is real, and time least of all. When everybody waits, its clock jumps to
//! where the first of them wakes up.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;

use anyhow::anyhow;
use futures_executor::{LocalPool, LocalSpawner};
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use futures_util::task::LocalSpawnExt as _;

use super::Function;
use crate::{Request, Response, Result};

pub(crate) struct Fake {
    outbound: Option<Function>,
    variables: Vec<(String, String)>,
    log: RefCell<String>,
    now: Cell<Duration>,
    /// Who waits, and until when.
    sleepers: RefCell<Vec<(Duration, Waker)>>,
    spawner: RefCell<Option<LocalSpawner>>,
    this: Weak<Fake>,
}

impl Fake {
    pub(super) fn new(outbound: Option<Function>, variables: Vec<(String, String)>) -> Rc<Self> {
        Rc::new_cyclic(|this| Self {
            outbound,
            variables,
            log: RefCell::default(),
            now: Cell::default(),
            sleepers: RefCell::default(),
            spawner: RefCell::default(),
            this: Weak::clone(this),
        })
    }

    pub(super) fn log(&self) -> String {
        self.log.borrow().clone()
    }

    /// Time that has passed since the start.
    pub(super) fn now(&self) -> Duration {
        self.now.get()
    }

    /// Lets time pass until the next one wakes up. Says `false` if nobody sleeps.
    fn pass_time(&self) -> bool {
        let Some(next) = self.sleepers.borrow().iter().map(|(until, _)| *until).min() else { return false };
        self.now.set(next);
        let due: Vec<_> = self.sleepers.borrow_mut().extract_if(.., |(until, _)| *until <= next).collect();
        due.into_iter().for_each(|(_, waker)| waker.wake());
        true
    }
}

/// What `host` asks for.
impl Fake {
    pub(crate) fn sleep(&self, duration: Duration) -> LocalBoxFuture<'static, ()> {
        let fake = self.this.upgrade().expect("whoever calls holds it");
        let until = fake.now.get().saturating_add(duration);
        poll_fn(move |context| {
            if fake.now.get() >= until {
                return Poll::Ready(());
            }
            fake.sleepers.borrow_mut().push((until, context.waker().clone()));
            Poll::Pending
        })
        .boxed_local()
    }

    pub(crate) fn send(&self, request: Request) -> LocalBoxFuture<'static, Result<Response>> {
        match &self.outbound {
            Some(answer) => answer(request),
            None => async { Err(anyhow!("there is no other server here: say what it answers with `outbound`")) }
                .boxed_local(),
        }
    }

    pub(crate) fn spawn(&self, task: LocalBoxFuture<'static, ()>) {
        let spawner = self.spawner.borrow().clone().expect("what spawns runs in `run`");
        spawner.spawn_local(task).expect("the pool is there as long as what runs in it");
    }

    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        // The last one counts, as in an environment.
        self.variables.iter().rfind(|(known, _)| known == name).map(|(_, value)| value.clone())
    }

    pub(crate) fn report(&self, text: &str) {
        *self.log.borrow_mut() += &format!("{text}\n");
    }
}

/// Runs a future, and what is spawned meanwhile, to the end.
pub(super) fn run<T: 'static>(fake: &Rc<Fake>, future: impl Future<Output = T> + 'static) -> T {
    let _restored = Installed::new(Rc::clone(fake));
    let mut pool = LocalPool::new();
    fake.spawner.replace(Some(pool.spawner()));
    let outcome = Rc::new(RefCell::new(None));
    let place = Rc::clone(&outcome);
    fake.spawn(async move { *place.borrow_mut() = Some(future.await) }.boxed_local());
    loop {
        pool.run_until_stalled();
        if !fake.pass_time() {
            break;
        }
    }
    match outcome.take() {
        Some(outcome) => outcome,
        None => panic!("the handler waits for what will never happen"),
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<Fake>>> = const { RefCell::new(None) };
}

/// The one that runs on this thread.
///
/// # Panics
/// None does: a handler runs on a host or in a test harness.
pub(crate) fn current() -> Rc<Fake> {
    let current = CURRENT.with_borrow(Clone::clone);
    current.expect("there is no host here: call the handler through `testing::Harness`")
}

/// The current one for as long as this lives; then the one before is it again.
struct Installed(Option<Rc<Fake>>);

impl Installed {
    fn new(fake: Rc<Fake>) -> Self {
        Self(CURRENT.replace(Some(fake)))
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}
