//! Before the first fork: the first preparation, the first load, the pid file and the listeners. What goes wrong here
//! stops the server before it has begun.

use std::io;
use std::os::fd::AsFd;
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::children::Children;
use super::generation::Generation;
use super::listeners::Listeners;
use super::lookout::Lookout;
use super::preparation::{Preparation, Progress};
use super::reload::{How, Reload, fit};
use super::{Parent, Stage};
use crate::error::ServeError;
use crate::lookout::Serving;
use crate::pid_file::PidFile;
use crate::protocol::Application;
use crate::scoreboard::Scoreboard;
use crate::signal::{Order, Signals};

/// What the first preparation came to.
enum Prepared {
    Output(Vec<u8>),
    /// The server was told to stop before it had started.
    Stopped,
}

/// Makes everything that the parent's loop works on; `None` if told to stop meanwhile.
pub(super) fn start<A: Application>(application: &mut A) -> Result<Option<Parent<'_, A>>, ServeError> {
    let signals = Signals::take().map_err(|error| ServeError::System { what: "take signals", error })?;
    let mut reload_next = None;
    let output = match application.preparation() {
        None => Vec::new(),
        Some(command) => match wait_for(Preparation::start(command)?, &signals, &mut reload_next)? {
            Prepared::Output(output) => output,
            Prepared::Stopped => return Ok(None),
        },
    };
    let settings = fit(application.load(0, &output)?, None)?;
    let generation = Generation::first(&settings, Instant::now());
    let children = Children::new(generation.slots_needed(&Children::new(0), &[]));
    let scoreboard = Scoreboard::new(children.slots(), generation.own().mpm.thread_limit())
        .map_err(|error| ServeError::System { what: "make a scoreboard of this size", error })?;
    let pid_file = settings.pid_file.as_deref().map(PidFile::write).transpose()?;
    let mut listeners = Listeners::default();
    if let Err(error) = listeners.open_missing(&settings) {
        if let Some(pid_file) = pid_file {
            pid_file.remove();
        }
        return Err(error);
    }
    for pool in &generation.pools {
        tracing::info!("{}serving with {}", pool.origin, pool.mpm);
    }
    Ok(Some(Parent {
        application,
        signals,
        children,
        scoreboard,
        listeners,
        pid_file,
        current: generation,
        leaving: Vec::new(),
        last_number: 0,
        stage: Stage::Opening,
        reload: Reload::Idle,
        reload_next,
        lookout: Lookout::none(),
        serving: Serving::default(),
    }))
}

/// Waits for the first preparation and for signals. There is nothing else to do yet.
fn wait_for(
    mut preparation: Preparation,
    signals: &Signals,
    reload_next: &mut Option<How>,
) -> Result<Prepared, ServeError> {
    let failed = |error| ServeError::System { what: "wait for the preparation", error };
    loop {
        match preparation.advance().map_err(failed)? {
            Progress::Accepted(output) => return Ok(Prepared::Output(output)),
            Progress::Refused(_) => return Err(ServeError::Preparation),
            Progress::Running => {}
        }
        wait_for_either(&preparation, signals).map_err(failed)?;
        while let Some(order) = signals.next().map_err(failed)? {
            match order {
                Order::ChildDied => {}
                // The preparation may have read what was changed just now.
                Order::Reload => *reload_next = (*reload_next).max(Some(How::Gracefully)),
                Order::Restart => *reload_next = (*reload_next).max(Some(How::AtOnce)),
                Order::Stop | Order::StopGracefully => {
                    preparation.cancel();
                    return Ok(Prepared::Stopped);
                }
            }
        }
    }
}

fn wait_for_either(preparation: &Preparation, signals: &Signals) -> io::Result<()> {
    let descriptors = [signals.as_fd()].into_iter().chain(preparation.descriptor());
    let mut descriptors: Vec<_> = descriptors.map(|descriptor| PollFd::new(descriptor, PollFlags::POLLIN)).collect();
    match poll(&mut descriptors, PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
