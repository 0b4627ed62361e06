//! Prefork: a child serves one connection at a time, with one thread that does everything: it waits for a
//! connection, serves it until it closes, and looks for orders in between and meanwhile.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Instant;

use super::blocking::{Attendant, Overseer};
use super::crew::{Crew, Orders, thread_slot};
use super::doorstep::Doorstep;
use super::intake::Intake;
use super::watch::Watch;
use super::{ChildExit, Post, await_connection, cannot_start};
use crate::protocol::Protocol;
use crate::scoreboard::Status;

/// Serves until told to end.
pub(super) fn run<P: Protocol>(crew: &Arc<Crew<P>>, post: Post, watch: Watch) -> ChildExit {
    let slot = thread_slot(&post.scoreboard, post.slot, 0);
    let attendant = match Attendant::new(crew, 0, slot) {
        Ok(attendant) => attendant,
        Err(error) => return cannot_start(&watch, &error),
    };
    watch.ready();
    crew.child.set_ready();
    crew.child.set_accepting(true);
    let intake = Intake::new(post.listeners);
    let doorstep = Doorstep::new(intake.fds(), watch.fd().into_iter().chain([crew.news.as_fd()]))
        .inspect_err(|error| tracing::warn!("cannot wait beside other children without being woken with them: {error}"))
        .ok();
    let (crew, backlog) = (Arc::clone(crew), post.backlog);
    Prefork { crew, intake, doorstep, backlog, watch, attendant, publications: 0 }.serve()
}

/// The child's only thread.
struct Prefork<P: Protocol> {
    crew: Arc<Crew<P>>,
    intake: Intake,
    /// `None` when nothing more is taken.
    doorstep: Option<Doorstep>,
    backlog: u32,
    watch: Watch,
    attendant: Attendant<P>,
    /// The publications that the thread has looked after its own work for.
    publications: u64,
}

impl<P: Protocol> Prefork<P> {
    fn serve(mut self) -> ChildExit {
        loop {
            self.obey();
            if self.intake.is_done() || self.watch.is_over() {
                return self.crew.orders().exit();
            }
            if !self.accept() {
                self.wait();
                // Before any order is heard: nobody else was woken for what this one was woken for.
                self.accept();
            }
        }
    }

    fn obey(&mut self) {
        self.watch.heed(&self.crew);
        if self.crew.has_published(&mut self.publications) {
            self.attendant.tend();
        }
        let doorstep = &mut self.doorstep;
        self.intake.obey(self.crew.orders(), self.backlog, |_| *doorstep = None);
    }

    /// Takes a connection and serves it to its end, if there is one.
    fn accept(&mut self) -> bool {
        let Some(taken) = self.intake.take(Instant::now()) else { return false };
        self.crew.count_accepted();
        if self.crew.orders() != Orders::Serve {
            // It was the last one: somebody else is to take the next one now, not when this one ends.
            self.obey();
        }
        let Self { crew, intake, doorstep, backlog, watch, attendant, .. } = self;
        attendant.serve(taken, &mut Oversight { crew, intake, doorstep, backlog: *backlog, watch });
        true
    }

    /// Waits for a connection or an order.
    fn wait(&mut self) {
        let now = Instant::now();
        if self.intake.is_starved(now) {
            self.crew.order(Orders::Sick);
        }
        self.attendant.slot.set_status(Status::Ready);
        // Listeners that are left alone for a while, because descriptors are out, stay ready all the time.
        let is_idle = self.intake.ready_at(now).is_none();
        let Some(doorstep) = self.doorstep.as_ref().filter(|_| is_idle) else {
            return await_connection(&self.crew, &self.watch, &mut self.intake, true, now);
        };
        match doorstep.wait() {
            Ok(Some(ready)) => ready.into_iter().for_each(|index| self.intake.note(index)),
            Ok(None) => self.intake.note_all(),
            Err(error) => {
                tracing::error!("cannot wait for connections as one of many: {error}");
                self.doorstep = None;
            }
        }
        // Silenced before what the news is about is looked at, which is next.
        self.crew.news.silence();
    }
}

/// The only thread is its own overseer: while it serves it hears the parent itself.
struct Oversight<'a, P> {
    crew: &'a Arc<Crew<P>>,
    intake: &'a mut Intake,
    doorstep: &'a mut Option<Doorstep>,
    backlog: u32,
    watch: &'a mut Watch,
}

impl<P: Protocol> Overseer for Oversight<'_, P> {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.watch.fd()
    }

    fn heed(&mut self) {
        self.watch.heed(self.crew);
        self.intake.obey(self.crew.orders(), self.backlog, |_| *self.doorstep = None);
    }

    fn end(&self) -> Option<Instant> {
        self.watch.end()
    }
}
