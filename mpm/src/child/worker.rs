//! Worker: a child has many threads that serve one connection each, and its main thread accepts for them: it waits
//! for an idle thread *before* it accepts (Apache's rule), so that what cannot be served at once waits in the
//! backlog, where another child may take it.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Instant;

use super::blocking::{Attendant, Overseer};
use super::crew::{Crew, Orders, start, thread_slot};
use super::intake::Intake;
use super::lobby::{Called, Lobby};
use super::watch::Watch;
use super::{ChildExit, Post, await_connection, cannot_start, oversee};
use crate::protocol::Protocol;
use crate::scoreboard::Status;

/// Serves until told to end.
pub(super) fn run<P: Protocol>(crew: &Arc<Crew<P>>, post: Post, threads: usize, watch: Watch) -> ChildExit {
    let lobby = Arc::new(Lobby::new());
    let (scoreboard, slot, rooms) = (post.scoreboard, post.slot, vec![Arc::clone(&lobby); threads]);
    let started = start(crew, rooms, move |crew, index, lobby| {
        let attendant = Attendant::new(crew, index, thread_slot(&scoreboard, slot, index))?;
        let crew = Arc::clone(crew);
        Ok(move || serve(&crew, &lobby, attendant))
    });
    if let Err(error) = started {
        return cannot_start(&watch, &error);
    }
    watch.ready();
    crew.child.set_ready();
    crew.begin(true);
    let intake = Intake::new(post.listeners);
    let (crew, backlog) = (Arc::clone(crew), post.backlog);
    Worker { crew, intake, backlog, watch, lobby, threads, publications: 0 }.serve()
}

/// The child's main thread.
struct Worker<P> {
    crew: Arc<Crew<P>>,
    intake: Intake,
    backlog: u32,
    watch: Watch,
    lobby: Arc<Lobby>,
    threads: usize,
    /// The publications that idle threads were stirred for.
    publications: u64,
}

impl<P: Protocol> Worker<P> {
    fn serve(mut self) -> ChildExit {
        loop {
            self.obey();
            if self.intake.is_done() || self.watch.is_over() {
                self.lobby.close();
                return oversee(&self.crew, &mut self.watch, self.threads, &[]);
            }
            self.accept();
        }
    }

    fn obey(&mut self) {
        self.watch.heed(&self.crew);
        if self.crew.has_published(&mut self.publications) {
            self.lobby.stir();
        }
        if self.crew.running() < self.threads {
            // Threads end only after the lobby has closed: this one was lost to a fault of ours.
            self.crew.order(Orders::Sick);
        }
        self.intake.obey(self.crew.orders(), self.backlog, |_| {});
    }

    /// Takes a connection and hands it to a thread, or waits for one, or for a thread.
    fn accept(&mut self) {
        let now = Instant::now();
        let has_idle = self.lobby.has_idle();
        self.crew.child.set_accepting(has_idle);
        if has_idle && let Some(taken) = self.intake.take(now) {
            self.crew.count_accepted();
            self.lobby.hand_over(taken);
            return;
        }
        if self.intake.is_starved(now) && self.crew.open() == 0 {
            self.crew.order(Orders::Sick);
        }
        await_connection(&self.crew, &self.watch, &mut self.intake, has_idle, now);
    }
}

/// What a thread does until the lobby is closed and empty.
fn serve<P: Protocol>(crew: &Arc<Crew<P>>, lobby: &Lobby, mut attendant: Attendant<P>) {
    let mut stirred = 0;
    loop {
        let serving = crew.orders() == Orders::Serve;
        attendant.slot.set_status(if serving { Status::Ready } else { Status::Graceful });
        match lobby.take(&crew.news, &mut stirred) {
            Called::Connection(taken) => attendant.serve(taken, &mut Oversight::Listening(crew)),
            Called::Stirred => attendant.tend(),
            Called::Over => break,
        }
    }
    attendant.slot.set_status(Status::Dead);
}

/// The main thread hears the parent; the others are told that there are orders, once.
enum Oversight<'a, P> {
    Listening(&'a Crew<P>),
    Told,
}

impl<P> Overseer for Oversight<'_, P> {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Oversight::Listening(crew) => Some(crew.leave.as_fd()),
            Oversight::Told => None,
        }
    }

    fn heed(&mut self) {
        *self = Oversight::Told;
    }

    /// The main thread ends the process when that time has come.
    fn end(&self) -> Option<Instant> {
        None
    }
}
