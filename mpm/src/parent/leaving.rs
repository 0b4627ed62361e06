//! Who is let go when nobody needs them any more: what older generations have left, and at a graceful stop the pools behind
//! the server's own. What begins a generation or a stop is in `reload` and `stop`.

use super::children::Child;
use super::reload::Reload;
use super::{Parent, Stage};
use crate::control::Command;
use crate::protocol::Application;

impl<A: Application> Parent<'_, A> {
    /// Tells children to drain whose time has come now that others have ended: those of pools that only the server's
    /// own children speak to.
    pub(super) fn let_go(&mut self) {
        match (&self.stage, &self.reload) {
            (Stage::Serving, Reload::Idle | Reload::Preparing { .. }) => self.let_go_of_older(),
            (Stage::Serving, Reload::Replacing { .. }) => self.let_go_of_unneeded(),
            (Stage::Finishing { .. }, _) if !self.children.iter().any(|(_, child)| child.origin.is_own()) => {
                for (_, child) in self.children.iter_mut().filter(|(_, child)| child.phase.is_active()) {
                    child.drain(&Command::Stop);
                }
                self.listeners.close();
            }
            (Stage::Opening | Stage::Finishing { .. } | Stage::Ending { .. }, _) => {}
        }
    }

    /// Drains what older generations have left: the server's own children at once, and those of other pools when
    /// nobody speaks to them any more, or children of the current generation answer at the same addresses.
    pub(super) fn let_go_of_older(&mut self) {
        let Self { children, current, leaving, .. } = self;
        leaving.retain(|leaving| !leaving.pool.origin.listen.iter().all(|address| current.listens_on(address)));
        let is_older = |child: &Child| child.phase.is_active() && child.origin.is_own() && !current.has(&child.origin);
        for (_, child) in children.iter_mut().filter(|(_, child)| is_older(child)) {
            child.drain(&Command::Drain);
        }
        self.let_go_of_unneeded();
        let Self { children, current, leaving, listeners, .. } = self;
        listeners.close_unless(|address| {
            let is_held = |child: &Child| child.phase.is_active() && child.origin.listen.contains(address);
            let is_leaving = leaving.iter().any(|leaving| leaving.pool.origin.listen.contains(address));
            is_leaving || current.listens_on(address) || children.iter().any(|(_, child)| is_held(child))
        });
    }

    /// Drains the pools that nobody speaks to any more.
    pub(super) fn let_go_of_unneeded(&mut self) {
        let Self { children, current, leaving, .. } = self;
        leaving.retain(|leaving| {
            let own = children.iter().map(|(_, child)| child).filter(|child| child.origin.is_own());
            own.flat_map(|child| &child.held).any(|held| leaving.is_needed_by(*held))
        });
        let leaves = |child: &Child| leaving.iter().any(|leaving| *leaving.pool.origin == *child.origin);
        let is_over = |child: &Child| {
            child.phase.is_active() && !child.origin.is_own() && !current.has(&child.origin) && !leaves(child)
        };
        for (_, child) in children.iter_mut().filter(|(_, child)| is_over(child)) {
            child.drain(&Command::Drain);
        }
    }

    /// What the current generation has does not leave.
    pub(super) fn keep_what_stays(&mut self) {
        let Self { current, leaving, .. } = self;
        leaving.retain(|leaving| !current.has(&leaving.pool.origin));
    }
}
