//! A child, from the moment after the fork until it ends: what it is told ([`Role`]) and how it ends ([`ChildExit`]).
//! The three ways to serve are its siblings; nothing here forks, and nothing here ends the process.

mod blocking;
mod connections;
mod crew;
mod doorstep;
mod event;
mod guard;
mod intake;
mod lobby;
mod prefork;
mod share;
mod watch;
mod worker;

use std::sync::Arc;
use std::time::Instant;

use crate::control::ControlChild;
use crate::error::StartError;
use crate::listener::Listener;
use crate::protocol::{Application, ChildContext, Protocol};
use crate::scoreboard::Scoreboard;
use crate::settings::{Event, Mpm, Pool};
use crate::waker::{Bell, Inbox};
use crew::{Crew, Orders};
use intake::Intake;
use watch::Watch;

/// What a child is, and what it got from the parent.
pub(crate) struct Role {
    /// Index of the child's line in the scoreboard.
    pub(crate) slot: usize,
    /// Which reading of the configuration it serves to begin with.
    pub(crate) generation: u32,
    /// Which of the pools in that reading it belongs to.
    pub(crate) pool: usize,
    pub(crate) settings: Pool,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) control: ControlChild,
    pub(crate) scoreboard: Scoreboard,
}

/// Why a child ended by itself. The parent reads it as an exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChildExit {
    /// It was told to end, and what was open is finished.
    Drained,
    /// It has accepted as many connections as `max_connections_per_child` allows.
    Retired,
    /// The application or a thread could not begin; the reason went to the parent. Apache's `APEXIT_CHILDFATAL`.
    CannotStart,
    /// Descriptors or memory have been lacking for too long. Apache's `APEXIT_CHILDSICK`.
    Sick,
    /// The parent died, and what was open has had its second.
    ParentGone,
}

impl ChildExit {
    /// The exit status of the child's process.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            ChildExit::Drained | ChildExit::Retired | ChildExit::ParentGone => 0,
            ChildExit::Sick => 0x07,
            ChildExit::CannotStart => 0x0f,
        }
    }
}

/// What the three MPMs need of a [`Role`], apart from the control line.
struct Post {
    slot: usize,
    scoreboard: Scoreboard,
    listeners: Arc<[Listener]>,
    /// Connections taken at most at the order to stop (ListenBacklog).
    backlog: u32,
}

/// Serves until told to end. What is left of the child's threads when this returns ends with the process.
pub(crate) fn run<A: Application>(application: &A, role: Role) -> ChildExit {
    let Role { slot, generation, pool, settings, listeners, control, scoreboard } = role;
    let line = scoreboard.child(slot);
    line.begin(generation, if pool == 0 { Pool::OWN_KEY } else { settings.key() });
    let Pool { name, mpm, .. } = settings;
    let watch = Watch::new(control, generation);
    let no_bell = |error| StartError(format!("cannot make an eventfd: {error}"));
    let news = match Bell::new().map(Arc::new).map_err(no_bell) {
        Ok(news) => news,
        Err(error) => return cannot_start(&watch, &error),
    };
    let threads = mpm.threads_per_child();
    let requests_in_flight_max = match &mpm {
        // One for each connection, and one connection for each thread.
        Mpm::Prefork(_) | Mpm::Worker(_) => threads,
        Mpm::Event(event) => threads * bounds(event).requests_in_flight_max,
    };
    let context = ChildContext {
        slot,
        generation,
        pool,
        pool_name: name,
        threads,
        requests_in_flight_max,
        scoreboard: scoreboard.clone(),
        news: Arc::clone(&news).into(),
    };
    let protocol = match application.start(&context) {
        Ok(protocol) => protocol,
        Err(error) => return cannot_start(&watch, &error),
    };
    let common = mpm.common();
    let crew = match Crew::new(protocol, line, common, news).map_err(no_bell) {
        Ok(crew) => crew,
        Err(error) => return cannot_start(&watch, &error),
    };
    let post = Post { slot, scoreboard, listeners: listeners.into(), backlog: common.listen_backlog };
    match &mpm {
        Mpm::Prefork(_) => prefork::run(&crew, post, watch),
        Mpm::Worker(_) => worker::run(&crew, post, threads, watch),
        Mpm::Event(event) => event::run(&crew, post, threads, bounds(event), watch),
    }
}

/// The server's bounds in equal parts, rounded down, but at least one each.
fn bounds(event: &Event) -> event::Bounds {
    let threads = (event.start_servers * event.threads_per_child).max(1);
    event::Bounds {
        connections_max: (event.max_connections / threads).max(1),
        requests_in_flight_max: (event.max_requests_in_flight / threads).max(1),
    }
}

fn cannot_start(watch: &Watch, error: &StartError) -> ChildExit {
    watch.failed(&error.to_string());
    ChildExit::CannotStart
}

/// What is left to do for a main thread while its `threads` threads serve by themselves, or finish what is open: it
/// hears the parent, passes orders on to `inboxes`, and returns when the threads have ended.
fn oversee<P: Protocol>(crew: &Arc<Crew<P>>, watch: &mut Watch, threads: usize, inboxes: &[Arc<Inbox>]) -> ChildExit {
    loop {
        // In this order: a thread that has ended because it was told to has made its orders visible.
        if crew.running() < threads && crew.orders() == Orders::Serve {
            // Threads end only when they are told to: this one was lost to a fault of ours.
            crew.order(Orders::Sick);
        }
        if watch.heed(crew) {
            inboxes.iter().for_each(|inbox| inbox.ring());
        }
        if crew.running() == 0 || watch.is_over() {
            return crew.orders().exit();
        }
        watch.wait(crew, std::iter::empty(), None);
    }
}

/// Waits for a connection to take or, if `may_take` is not, for a reason to ask again: news of the crew, the parent.
fn await_connection<P>(crew: &Crew<P>, watch: &Watch, intake: &mut Intake, may_take: bool, now: Instant) {
    // While descriptors are out the listeners stay ready: they are left alone until the pause has passed.
    let pause_end = if may_take { intake.ready_at(now) } else { None };
    let listeners = if may_take && pause_end.is_none() { Some(intake.fds()) } else { None };
    let ready = watch.wait(crew, listeners.into_iter().flatten(), pause_end);
    for index in ready.iter().enumerate().filter_map(|(index, ready)| ready.then_some(index)) {
        intake.note(index);
    }
}

#[cfg(test)]
mod tests;
