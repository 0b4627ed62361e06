//! What runs in an instance that serves many requests at once: which of its tasks is whose, and what each has used.
//! Read and written inside the guest's polls only, so nothing here waits.

use std::sync::Arc;
use std::time::Instant;

use wasmtime::component::GuestTaskId;
use wasmtime::{StoreContextMut, UpdateDeadline};

use super::fault::CpuSpent;
use super::link::Link;
use super::sandbox::Sandbox;
use super::stopwatch::Stopwatch;

/// The tasks of one instance, by the call that each was begun for.
pub(super) struct Tasks {
    stopwatch: Arc<Stopwatch>,
    begun: Vec<(GuestTaskId, Arc<Link>)>,
    /// Whose task used the last of what it may.
    culprit: Option<Arc<Link>>,
}

impl Tasks {
    /// `stopwatch`: the instance's.
    pub(super) fn new(stopwatch: Arc<Stopwatch>) -> Tasks {
        Tasks { stopwatch, begun: Vec::new(), culprit: None }
    }

    pub(super) fn begin(&mut self, task: GuestTaskId, link: Arc<Link>) {
        // The number of a task that has ended is used again, so there are never more than the instance's table was large.
        self.begun.retain(|(other, _)| *other != task);
        self.begun.push((task, link));
    }

    /// Whose task is to blame for the end of the instance, if that is known.
    pub(super) fn culprit(&self) -> Option<&Arc<Link>> {
        self.culprit.as_ref()
    }

    fn link_of(&self, task: Option<GuestTaskId>) -> Option<&Arc<Link>> {
        self.begun.iter().find(|(other, _)| Some(*other) == task).map(|(_, link)| link)
    }

    /// Remembers whose task runs, when it will never run again.
    pub(super) fn blame(store: &mut StoreContextMut<'_, Sandbox>) {
        let task = running(store);
        let Some(tasks) = store.data_mut().tasks() else { return };
        if tasks.culprit.is_none() {
            tasks.culprit = tasks.link_of(task).cloned();
        }
    }

    /// Called inside the guest at a tick of the clock: shall it go on?
    pub(super) fn tick(mut store: StoreContextMut<'_, Sandbox>) -> wasmtime::Result<UpdateDeadline> {
        let task = running(&mut store);
        let Some(tasks) = store.data_mut().tasks() else { return Ok(UpdateDeadline::Continue(1)) };
        let now = Instant::now();
        if let Some(link) = tasks.link_of(task) {
            link.charge(tasks.stopwatch.lap(now));
            if link.is_spent() {
                tasks.culprit = Some(Arc::clone(link));
                return Err(CpuSpent.into());
            }
        }
        let yields = tasks.stopwatch.slice_is_over(now);
        Ok(if yields { UpdateDeadline::Yield(1) } else { UpdateDeadline::Continue(1) })
    }
}

/// The task that was begun from outside and in which, or for which, the guest runs at the moment.
fn running(store: &mut StoreContextMut<'_, Sandbox>) -> Option<GuestTaskId> {
    store.async_call_stack().ok()?.last()
}
