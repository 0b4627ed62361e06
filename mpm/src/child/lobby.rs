//! Where accepted connections wait for a thread of the worker MPM, which is never long: Apache's rule is that one is
//! accepted only when a thread is idle.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::listener::Taken;
use crate::waker::Bell;

/// What a thread that waits is called for.
#[derive(Debug)]
pub(super) enum Called {
    Connection(Taken),
    /// It should look after its own work.
    Stirred,
    /// Nothing will ever come.
    Over,
}

/// Between the thread that accepts and those that serve.
pub(super) struct Lobby {
    state: Mutex<State>,
    /// A connection has come, or the lobby was closed.
    changed: Condvar,
}

struct State {
    waiting: VecDeque<Taken>,
    /// Threads that wait for a connection.
    idle: usize,
    /// How often all that wait were called to look after their own work.
    stirred: u64,
    door: Door,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Door {
    Open,
    /// What waits is still served.
    Closed,
}

impl Lobby {
    pub(super) fn new() -> Self {
        let state = State { waiting: VecDeque::new(), idle: 0, stirred: 0, door: Door::Open };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Waits for a connection. `news` is rung when a thread has become idle where none was; `stirred` is what the thread
    /// has been stirred for so far.
    pub(super) fn take(&self, news: &Bell, stirred: &mut u64) -> Called {
        let mut state = self.locked();
        state.idle += 1;
        if state.idle == state.waiting.len() + 1 {
            news.ring();
        }
        while state.waiting.is_empty() && state.door == Door::Open && state.stirred == *stirred {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.idle -= 1;
        let was_stirred = std::mem::replace(stirred, state.stirred) != state.stirred;
        match state.waiting.pop_front() {
            // It looks after its own work with each connection, too.
            Some(taken) => Called::Connection(taken),
            None if was_stirred => Called::Stirred,
            None => Called::Over,
        }
    }

    /// Has all threads that wait look after their own work.
    pub(super) fn stir(&self) {
        self.locked().stirred += 1;
        self.changed.notify_all();
    }

    /// Whether a thread is idle that nothing waits for.
    pub(super) fn has_idle(&self) -> bool {
        let state = self.locked();
        state.idle > state.waiting.len()
    }

    pub(super) fn hand_over(&self, taken: Taken) {
        self.locked().waiting.push_back(taken);
        self.changed.notify_one();
    }

    /// Nothing more will come.
    pub(super) fn close(&self) {
        self.locked().door = Door::Closed;
        self.changed.notify_all();
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic is done under the lock, apart from running out of memory.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::{Socket, Stream};
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;

    fn connection() -> Taken {
        (Stream::new(Socket::Unix(UnixStream::pair().unwrap().0)), None, None)
    }

    #[test]
    fn what_waits_when_the_lobby_closes_is_still_served() {
        let (lobby, news) = (Lobby::new(), Bell::new().unwrap());
        lobby.hand_over(connection());
        lobby.close();
        assert!(matches!(lobby.take(&news, &mut 0), Called::Connection(_)));
        assert!(matches!(lobby.take(&news, &mut 0), Called::Over));
        assert!(!lobby.has_idle());
    }

    #[test]
    fn a_thread_is_stirred_once_and_a_connection_goes_first() {
        let (lobby, news, mut stirred) = (Lobby::new(), Bell::new().unwrap(), 0);
        lobby.stir();
        assert!(matches!(lobby.take(&news, &mut stirred), Called::Stirred));
        lobby.stir();
        lobby.hand_over(connection());
        assert!(matches!(lobby.take(&news, &mut stirred), Called::Connection(_)));
        lobby.close();
        assert!(matches!(lobby.take(&news, &mut stirred), Called::Over));
    }

    #[test]
    fn a_waiting_thread_is_idle_until_something_waits_for_it() {
        let lobby = Arc::new(Lobby::new());
        let news = Arc::new(Bell::new().unwrap());
        let thread = std::thread::spawn({
            let (lobby, news) = (Arc::clone(&lobby), Arc::clone(&news));
            move || matches!(lobby.take(&news, &mut 0), Called::Connection(_))
        });
        super::super::watch::wait(
            &mut [nix::poll::PollFd::new(std::os::fd::AsFd::as_fd(&*news), nix::poll::PollFlags::POLLIN)],
            Some(std::time::Instant::now() + std::time::Duration::from_secs(5)),
        );
        assert!(news.is_rung() && lobby.has_idle());
        lobby.hand_over(connection());
        assert!(thread.join().unwrap());
        assert!(!lobby.has_idle());
    }
}
