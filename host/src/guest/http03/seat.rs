//! A call's place in an instance that it shares: what it asks of the instance, and what becomes of that when it leaves.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use super::super::body::Recall;
use super::super::fault::Fault;
use super::super::link::Link;
use super::{ABANDONED_GRACE, Driven, Life, Shared};

/// One request in the instance; lives as long as a call waits for it or its task has not answered.
pub(super) struct Place {
    pub(super) link: Arc<Link>,
    /// When it must be over.
    pub(super) ends: Cell<Instant>,
    /// A call waits.
    pub(super) is_seated: Cell<bool>,
}

/// A call's place in an instance. Leaving it does not end the task.
pub struct Seat {
    pub(super) shared: Rc<Shared>,
    pub(super) place: Rc<Place>,
    pub(super) body: Recall,
    /// Tells the guest that its answer has been passed on.
    pub(super) sent: Option<oneshot::Sender<()>>,
    pub(super) ordinal: u64,
}

impl Seat {
    /// Which of the instance's requests this is, from 1.
    pub fn ordinal(&self) -> u64 {
        self.ordinal
    }

    /// Moves to another instance, if in this one the request has not begun and would have to wait.
    pub fn move_on(&mut self, other: impl FnOnce() -> Rc<Shared>) {
        let Some(arrival) = self.shared.give_back(&self.place) else { return };
        let left = std::mem::replace(&mut self.shared, other());
        left.was_left();
        self.ordinal = self.shared.take_in(arrival, Instant::now());
    }

    /// See [`Shared::drive`].
    pub fn drive(&self, link: &Link) -> Driven {
        self.shared.drive(Some(link))
    }

    /// The answer has been passed on, whole.
    pub fn passed_on(&mut self) {
        if let Some(sent) = self.sent.take() {
            // Most guests do not ask.
            let _ = sent.send(());
        }
    }

    /// The call's time is over. The task goes on, and so do those beside it, but no other request joins them.
    pub fn time_out(&self) {
        self.shared.retired.set(true);
    }

    /// Why this call's instance is over.
    pub fn fault(&self) -> Fault {
        let Life::Over(end) = &*self.shared.life.borrow() else {
            return Fault::Host("an instance that runs is over".into());
        };
        end.is_told.set(true);
        if end.culprit.as_ref().is_some_and(|culprit| Arc::ptr_eq(culprit, &self.place.link)) {
            end.fault.clone()
        } else {
            Fault::InstanceLost(end.fault.to_string().lines().next().unwrap_or_default().to_owned())
        }
    }

    /// Whether what is left of the answer can be told from an answer that is whole.
    pub fn is_honest(&self) -> bool {
        match &*self.shared.life.borrow() {
            Life::Running(_) => true,
            Life::Over(end) => end.store.is_some(),
        }
    }

    /// Rings the thread, if there is something to do for the instance: the call that was polled may not be again soon.
    pub fn pass_on(&self) {
        if self.shared.pulse.alarm.is_due() {
            self.shared.pulse.alarm.ring();
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Place { ends, is_seated, .. } = &*self.place;
        let Shared { ends: all_end, ends_late, .. } = &*self.shared;
        is_seated.set(false);
        self.body.take_back();
        let was_answered = self.sent.take().is_none();
        if !was_answered {
            ends.set(ends.get().min(Instant::now() + ABANDONED_GRACE));
        }
        ends_late.set(was_answered);
        all_end.set(ends.get().max(all_end.get()));
        self.shared.was_left();
    }
}
