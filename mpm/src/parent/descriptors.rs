//! The descriptors that a child may have open: the limit is raised as far as the settings need it and the machine
//! allows it, and the operator hears of it where that is not enough. Children inherit the limit; none is lowered.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::settings::{Mpm, Settings};

/// For listeners, logs, the control line, and what the application opens for all requests together.
const COMMON: usize = 256;
/// Pollers and bells of a thread.
const PER_THREAD: usize = 4;
/// What one request may have open at the most; the application sees to it that none has more. Few have that much, so the
/// limit is raised for it where the machine allows, but nobody is warned where it does not.
const PER_REQUEST_MAX: usize = 160;

/// What a child needs descriptors for.
#[derive(Debug, PartialEq, Eq)]
struct Need {
    connections: usize,
    /// Requests in flight: each may have something open itself, such as an upstream, a file, or an outbound connection.
    requests: usize,
    other: usize,
}

impl Need {
    fn of(mpm: &Mpm) -> Self {
        let threads = mpm.threads_per_child();
        let (connections, requests) = match mpm {
            Mpm::Prefork(_) | Mpm::Worker(_) => (threads, threads),
            Mpm::Event(event) => {
                let children = event.start_servers.max(1);
                (event.max_connections.div_ceil(children), event.max_requests_in_flight.div_ceil(children))
            }
        };
        Self { connections, requests, other: COMMON + PER_THREAD * threads }
    }

    /// With one for each request.
    fn all(&self) -> usize {
        self.connections.saturating_add(self.requests).saturating_add(self.other)
    }

    /// With all that requests may have open.
    fn most(&self) -> usize {
        self.all().saturating_add(self.requests.saturating_mul(PER_REQUEST_MAX - 1))
    }
}

/// Raises the soft limit towards the hard one, as far as the pool needs that needs most.
pub(super) fn provide(settings: &Settings) {
    let Some((own, others)) = settings.pools.split_first() else { return };
    // A request for another pool has a second socket, until it is served or refused.
    let upstreams = others.iter().map(|pool| pool.mpm.children_max() + pool.mpm.common().listen_backlog as usize + 1);
    provide_for(&own.mpm, upstreams.sum());
    others.iter().for_each(|pool| provide_for(&pool.mpm, 0));
}

fn provide_for(mpm: &Mpm, upstreams: usize) {
    let (soft, hard) = match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok(limits) => limits,
        Err(error) => return tracing::warn!("cannot read the limit of open descriptors: {error}"),
    };
    // What waits at a graceful stop is taken at once, on top of what is open.
    let backlog = mpm.common().listen_backlog as usize;
    let wanted = Need::of(mpm).most().saturating_add(backlog).saturating_add(upstreams) as u64;
    let raised = wanted.min(hard);
    if raised > soft {
        match setrlimit(Resource::RLIMIT_NOFILE, raised, hard) {
            Ok(()) => tracing::debug!("the limit of open descriptors is raised from {soft} to {raised}"),
            Err(error) => {
                tracing::warn!("cannot raise the limit of open descriptors from {soft} to {raised}: {error}");
            }
        }
    }
    if let Some(warning) = shortfall(mpm, usize::try_from(hard).unwrap_or(usize::MAX)) {
        tracing::warn!("{warning}");
    }
}

/// What the operator is told if `hard` descriptors are not enough.
fn shortfall(mpm: &Mpm, hard: usize) -> Option<String> {
    let need = Need::of(mpm);
    let all = need.all();
    if hard >= all {
        return None;
    }
    let Need { connections, requests, other } = need;
    let other = other + requests;
    let fitting = hard.saturating_sub(other);
    let lower = match mpm {
        Mpm::Prefork(_) => None,
        Mpm::Worker(_) => Some(("threads_per_child", fitting)),
        Mpm::Event(event) => Some(("max_connections", fitting * event.start_servers.max(1))),
    };
    let lower = lower.filter(|(_, fitting)| *fitting > 0);
    let lower = lower.map_or(String::new(), |(name, fitting)| format!(", or lower {name} to {fitting}"));
    Some(format!(
        "a child may have {hard} descriptors open but needs {all} ({connections} for connections, {other} for all else): \
         when they are out, new connections wait; raise the hard limit (ulimit -Hn, LimitNOFILE of systemd) to {all} \
         or more{lower}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Event, Prefork, Worker};

    fn event(start_servers: usize, max_connections: usize) -> Mpm {
        let max_requests_in_flight = 100 * start_servers;
        Mpm::Event(Event {
            start_servers,
            threads_per_child: 2,
            max_connections,
            max_requests_in_flight,
            ..Event::default()
        })
    }

    #[test]
    fn a_child_needs_its_part_of_the_connections() {
        assert_eq!(Need::of(&event(4, 16_384)), Need { connections: 4096, requests: 100, other: 256 + 8 });
        assert_eq!(Need::of(&Mpm::Prefork(Prefork::default())), Need { connections: 1, requests: 1, other: 256 + 4 });
        assert_eq!(Need::of(&Mpm::Worker(Worker::default())), Need { connections: 25, requests: 25, other: 256 + 100 });
    }

    #[test]
    fn a_request_that_opens_all_it_may_leaves_a_child_what_it_needs() {
        let Need { connections, requests, other } = Need::of(&Mpm::Worker(Worker::default()));
        let most = Need::of(&Mpm::Worker(Worker::default())).most();
        assert_eq!(most, connections + other + requests * PER_REQUEST_MAX);
    }

    #[test]
    fn what_fits_is_not_worth_a_word() {
        assert_eq!(shortfall(&event(1, 1000), 1364), None);
        assert_eq!(shortfall(&Mpm::Worker(Worker::default()), 1024), None);
    }

    #[test]
    fn what_does_not_fit_is_told_with_its_remedies() {
        let warning = shortfall(&event(2, 2000), 1363).unwrap();
        for words in ["have 1363 descriptors", "needs 1364 (1000 for", "to 1364 or more", "max_connections to 1998"] {
            assert!(warning.contains(words), "{words:?} is missing: {warning}");
        }
        let warning = shortfall(&event(2, 2000), 100).unwrap();
        assert!(warning.ends_with("or more"), "nothing that could be lowered would help: {warning}");
    }
}
