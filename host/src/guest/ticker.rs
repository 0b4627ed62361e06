//! The clock that cuts a guest's time into slices.
//!
//! A guest asks its engine's epoch at every loop and call whether its time is up; this thread moves the epoch on.
//! It knows nothing of guests: what a tick means is decided in `link`.
//!
//! ```text
//!             no guest was entered for IDLE_TICKS ticks
//!   ticking ───────────────────────────────────────────► parked
//!           ◄───────────────────────────────────────────
//!                         Ticker::touch()
//! ```
//! A server without requests does not wake up a thousand times a second, and a request costs one atomic addition
//! and one load, not a system call, unless it is the first after a pause.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::Duration;

use wasmtime::EngineWeak;

/// Ticks without a guest after which the thread parks. More than two, so that a guest that is entered just before
/// cannot be left without a clock: it yields after two ticks at most, and is entered again.
const IDLE_TICKS: u32 = 64;

/// Owner of the thread; dropping it ends the thread.
pub(super) struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
    join: Option<JoinHandle<()>>,
}

struct Shared {
    /// Held weakly, so that no engine is kept alive.
    engines: Mutex<Vec<EngineWeak>>,
    /// How often a guest was entered.
    entered: AtomicU64,
    parked: AtomicBool,
    stopping: AtomicBool,
}

impl Ticker {
    /// Starts the thread.
    pub(super) fn start(slice: Duration) -> std::io::Result<Ticker> {
        let shared = Arc::new(Shared {
            engines: Mutex::default(),
            entered: AtomicU64::new(0),
            parked: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
        });
        let theirs = Arc::clone(&shared);
        let join = thread::Builder::new().name("ticker".into()).spawn(move || theirs.run(slice))?;
        Ok(Ticker { shared, thread: join.thread().clone(), join: Some(join) })
    }

    /// From here on the epoch of this engine moves too.
    pub(super) fn drive(&self, engine: EngineWeak) {
        self.shared.engines().push(engine);
    }

    /// To be called before a guest is entered: the clock runs from here on.
    #[inline]
    pub(super) fn touch(&self) {
        // Sequentially consistent with the ticker's "parked = true, then look at entered": one of the two sees the
        // other, so a guest is never entered while the clock is about to stop.
        self.shared.entered.fetch_add(1, Ordering::SeqCst);
        if self.shared.parked.load(Ordering::SeqCst) {
            self.unpark();
        }
    }

    #[cold]
    fn unpark(&self) {
        self.shared.parked.store(false, Ordering::SeqCst);
        self.thread.unpark();
    }

    #[cfg(test)]
    fn is_parked(&self) -> bool {
        self.shared.parked.load(Ordering::SeqCst)
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        self.unpark();
        if let Some(join) = self.join.take() {
            // The thread cannot panic; and if it did, a destructor is no place to say so.
            let _ = join.join();
        }
    }
}

impl Shared {
    fn engines(&self) -> MutexGuard<'_, Vec<EngineWeak>> {
        self.engines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, slice: Duration) {
        let mut seen = self.entered.load(Ordering::SeqCst);
        let mut idle = 0;
        while !self.stopping.load(Ordering::SeqCst) {
            thread::sleep(slice);
            let mut engines = Vec::new();
            self.engines().retain(|engine| engine.upgrade().map(|engine| engines.push(engine)).is_some());
            engines.iter().for_each(wasmtime::Engine::increment_epoch);
            // Whoever lets go of one last has a pool of address space to give back: not under the lock.
            drop(engines);
            let entered = self.entered.load(Ordering::SeqCst);
            idle = if entered == seen { idle + 1 } else { 0 };
            seen = entered;
            if idle >= IDLE_TICKS {
                self.park(seen);
                idle = 0;
            }
        }
    }

    fn park(&self, seen: u64) {
        self.parked.store(true, Ordering::SeqCst);
        if self.entered.load(Ordering::SeqCst) != seen {
            self.parked.store(false, Ordering::SeqCst);
        }
        while self.parked.load(Ordering::SeqCst) && !self.stopping.load(Ordering::SeqCst) {
            thread::park();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !holds() {
            assert!(Instant::now() < deadline, "{what}");
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn the_clock_stops_when_no_guest_runs_and_starts_with_the_next_one() {
        let engine = wasmtime::Engine::default();
        let ticker = Ticker::start(Duration::from_millis(1)).unwrap();
        ticker.drive(engine.weak());
        wait_until("parks when idle", || ticker.is_parked());
        ticker.touch();
        assert!(!ticker.is_parked());
        wait_until("parks again", || ticker.is_parked());
    }

    #[test]
    fn a_parked_clock_can_be_dropped() {
        let engine = wasmtime::Engine::default();
        let ticker = Ticker::start(Duration::from_millis(1)).unwrap();
        ticker.drive(engine.weak());
        wait_until("parks when idle", || ticker.is_parked());
        let began = Instant::now();
        drop(ticker);
        assert!(began.elapsed() < Duration::from_secs(5));
    }
}
