//! The fix-ups: directives that do not fit each other are corrected, and the operator is told, as Apache does it
//! (`check_config` of prefork.c, worker.c and event.c). Pure.

use std::fmt::Display;

use super::{Common, Correction, Event, ListenAddress, Mpm, Prefork, Settings, Worker, defaults};
use crate::error::LoadError;

/// Apache's MAX_SERVER_LIMIT and MAX_THREAD_LIMIT.
const PREFORK_SERVER_LIMIT_MAX: usize = 200_000;
const SERVER_LIMIT_MAX: usize = 20_000;
const WORKER_THREAD_LIMIT_MAX: usize = 20_000;
const EVENT_THREAD_LIMIT_MAX: usize = 100_000;

impl Settings {
    /// Makes the directives fit each other, and says what had to be changed. Correcting twice changes nothing more.
    #[must_use]
    pub fn corrected(mut self) -> (Self, Vec<Correction>) {
        let mut corrections = Vec::new();
        let mut thread_limit = usize::MAX;
        for (index, pool) in self.pools.iter_mut().enumerate() {
            let mut log = Log::default();
            log.unique(&mut pool.listen);
            log.lower_thread_limit(&mut pool.mpm, thread_limit);
            pool.mpm.correct(&mut log);
            if index == 0 {
                thread_limit = pool.mpm.thread_limit();
                corrections.append(&mut log.corrections);
            } else {
                let named = |correction: Correction| Correction(format!("pool {}: {correction}", pool.name));
                corrections.extend(log.corrections.into_iter().map(named));
            }
        }
        (self, corrections)
    }

    /// Looks whether these are settings that can be served at all.
    ///
    /// # Errors
    /// There is no pool, one has no address, two have a name or an address in common, or the server's own starts on
    /// demand.
    pub(crate) fn check(&self) -> Result<(), LoadError> {
        match self.pools.first() {
            None => return Err(LoadError("there is no pool of children".to_owned())),
            Some(own) if own.mpm.on_demand() => {
                return Err(LoadError("the server's own pool cannot start on demand".to_owned()));
            }
            Some(_) => {}
        }
        for (index, pool) in self.pools.iter().enumerate() {
            if pool.listen.is_empty() {
                let whose = if index == 0 { String::new() } else { format!(" of pool {}", pool.name) };
                return Err(LoadError(format!("no address to listen on{whose}: name at least one in listen")));
            }
            for other in &self.pools[..index] {
                if other.name == pool.name {
                    return Err(LoadError(format!("there are two pools {}", pool.name)));
                }
                if let Some(both) = pool.listen.iter().find(|address| other.listen.contains(address)) {
                    return Err(LoadError(format!("pools {} and {} both listen on {both}", other.name, pool.name)));
                }
            }
        }
        Ok(())
    }

    /// Keeps what cannot change while a server runs as it is in `running`, and says what was kept: the pid file and,
    /// of the server's own pool, the MPM, server_limit and thread_limit. Both have passed [`check`](Self::check).
    #[must_use]
    pub(crate) fn kept_from(mut self, running: &Settings) -> (Self, Vec<Correction>) {
        let mut log = Log::default();
        match (&mut self.pools[0].mpm, &running.pools[0].mpm) {
            (Mpm::Prefork(new), Mpm::Prefork(old)) => {
                log.keep("server_limit", &mut new.server_limit, old.server_limit);
            }
            (Mpm::Worker(new), Mpm::Worker(old)) => {
                log.keep("server_limit", &mut new.server_limit, old.server_limit);
                log.keep("thread_limit", &mut new.thread_limit, old.thread_limit);
            }
            (Mpm::Event(new), Mpm::Event(old)) => {
                log.keep("server_limit", &mut new.server_limit, old.server_limit);
                log.keep("thread_limit", &mut new.thread_limit, old.thread_limit);
            }
            (new, old) => {
                log.kept("mpm", new.name(), old.name());
                *new = old.clone();
            }
        }
        if self.pid_file != running.pid_file {
            log.kept("the pid file", shown(&self), shown(running));
            self.pid_file.clone_from(&running.pid_file);
        }
        (self, log.corrections)
    }
}

impl Mpm {
    /// As [`Settings::corrected`], for one way to serve.
    #[must_use]
    pub fn corrected(mut self) -> (Self, Vec<Correction>) {
        let mut log = Log::default();
        self.correct(&mut log);
        (self, log.corrections)
    }

    fn correct(&mut self, log: &mut Log) {
        match self {
            Mpm::Prefork(prefork) => correct_prefork(prefork, log),
            Mpm::Worker(worker) => correct_worker(worker, log),
            Mpm::Event(event) => correct_event(event, log),
        }
    }
}

fn shown(settings: &Settings) -> String {
    settings.pid_file.as_deref().map_or_else(|| "none".to_owned(), |path| path.display().to_string())
}

fn correct_common(common: &mut Common, log: &mut Log) {
    if common.listen_backlog == 0 {
        common.listen_backlog = defaults::LISTEN_BACKLOG;
        log.note(format!("listen_backlog is 0 but must be at least 1: {} is used", defaults::LISTEN_BACKLOG));
    }
}

fn correct_prefork(prefork: &mut Prefork, log: &mut Log) {
    correct_common(&mut prefork.common, log);
    let Prefork { on_demand, start_servers, min_spare_servers, max_spare_servers, .. } = prefork;
    let Prefork { server_limit, max_request_workers, .. } = prefork;
    let least = usize::from(!*on_demand);
    log.at_least("server_limit", server_limit, 1);
    log.at_most("server_limit", server_limit, PREFORK_SERVER_LIMIT_MAX, "is possible");
    log.at_least("max_request_workers", max_request_workers, 1);
    log.at_most("max_request_workers", max_request_workers, *server_limit, "server_limit allows");
    log.at_least("start_servers", start_servers, least);
    log.at_most("start_servers", start_servers, *max_request_workers, "max_request_workers allows");
    log.at_least("min_spare_servers", min_spare_servers, least);
    // With as many, ending one child would make one start. Without a minimum nothing is started for want of spares.
    let above_min = if *min_spare_servers == 0 { 0 } else { min_spare_servers.saturating_add(1) };
    if *max_spare_servers < above_min {
        log.note(format!(
            "max_spare_servers is {max_spare_servers} but min_spare_servers is {min_spare_servers}: \
             max_spare_servers {above_min} is used"
        ));
        *max_spare_servers = above_min;
    }
}

fn correct_worker(worker: &mut Worker, log: &mut Log) {
    correct_common(&mut worker.common, log);
    let threads = (&mut worker.threads_per_child, &mut worker.thread_limit);
    correct_limits(&mut worker.server_limit, threads, WORKER_THREAD_LIMIT_MAX, log);
    correct_max_request_workers(worker, log);
    let Worker { start_servers, min_spare_threads, max_spare_threads, threads_per_child, .. } = worker;
    log.at_least("start_servers", start_servers, 1);
    let children_max = worker.max_request_workers / *threads_per_child;
    log.at_most("start_servers", start_servers, children_max, "max_request_workers allows");
    log.at_least("min_spare_threads", min_spare_threads, 1);
    // With less between them, ending one child would make one start.
    let above_min = min_spare_threads.saturating_add(*threads_per_child);
    if *max_spare_threads < above_min {
        log.note(format!(
            "max_spare_threads is {max_spare_threads} but must be at least min_spare_threads + threads_per_child: \
             {above_min} is used"
        ));
        *max_spare_threads = above_min;
    }
}

/// A whole number of children, at least one.
fn correct_max_request_workers(worker: &mut Worker, log: &mut Log) {
    let Worker { server_limit, threads_per_child, max_request_workers, .. } = worker;
    let most = server_limit.saturating_mul(*threads_per_child);
    let written = *max_request_workers;
    if written < *threads_per_child {
        *max_request_workers = *threads_per_child;
        log.note(format!(
            "max_request_workers is {written} but must be at least threads_per_child: {threads_per_child} is used"
        ));
    } else if written > most {
        *max_request_workers = most;
        log.note(format!(
            "max_request_workers is {written} but server_limit x threads_per_child allows {most}: {most} is used"
        ));
    } else if written % *threads_per_child != 0 {
        *max_request_workers -= written % *threads_per_child;
        log.note(format!(
            "max_request_workers is {written} but must be a multiple of threads_per_child ({threads_per_child}): \
             {max_request_workers} is used"
        ));
    }
}

fn correct_event(event: &mut Event, log: &mut Log) {
    correct_common(&mut event.common, log);
    let threads = (&mut event.threads_per_child, &mut event.thread_limit);
    correct_limits(&mut event.server_limit, threads, EVENT_THREAD_LIMIT_MAX, log);
    log.at_least("start_servers", &mut event.start_servers, 1);
    log.at_most("start_servers", &mut event.start_servers, event.server_limit, "server_limit allows");
    // The bounds are split over the threads, and a thread without a share would serve nothing.
    let threads = event.start_servers * event.threads_per_child;
    for (name, value) in
        [("max_connections", &mut event.max_connections), ("max_requests_in_flight", &mut event.max_requests_in_flight)]
    {
        if *value < threads {
            log.note(format!(
                "{name} is {value} but each of start_servers x threads_per_child threads needs one: {threads} is used"
            ));
            *value = threads;
        }
    }
}

/// ServerLimit, ThreadLimit and ThreadsPerChild. `threads` is (threads_per_child, thread_limit).
fn correct_limits(server_limit: &mut usize, threads: (&mut usize, &mut usize), thread_limit_max: usize, log: &mut Log) {
    let (threads_per_child, thread_limit) = threads;
    log.at_least("server_limit", server_limit, 1);
    log.at_most("server_limit", server_limit, SERVER_LIMIT_MAX, "is possible");
    log.at_least("thread_limit", thread_limit, 1);
    log.at_most("thread_limit", thread_limit, thread_limit_max, "is possible");
    log.at_least("threads_per_child", threads_per_child, 1);
    log.at_most("threads_per_child", threads_per_child, *thread_limit, "thread_limit allows");
}

/// Corrects values and remembers it in words.
#[derive(Default)]
struct Log {
    corrections: Vec<Correction>,
}

impl Log {
    fn note(&mut self, words: String) {
        self.corrections.push(Correction(words));
    }

    fn at_least(&mut self, name: &str, value: &mut usize, min: usize) {
        if *value < min {
            self.note(format!("{name} is {value} but must be at least {min}: {min} is used"));
            *value = min;
        }
    }

    fn at_most(&mut self, name: &str, value: &mut usize, max: usize, why: &str) {
        if *value > max {
            self.note(format!("{name} is {value} but at most {max} {why}: {max} is used"));
            *value = max;
        }
    }

    /// The scoreboard has so many lines for each child, whatever its pool.
    fn lower_thread_limit(&mut self, mpm: &mut Mpm, lines: usize) {
        let thread_limit = match mpm {
            Mpm::Prefork(_) => return,
            Mpm::Worker(worker) => &mut worker.thread_limit,
            Mpm::Event(event) => &mut event.thread_limit,
        };
        self.at_most("thread_limit", thread_limit, lines, "the server's own pool allows");
    }

    fn unique(&mut self, addresses: &mut Vec<ListenAddress>) {
        let mut seen = Vec::with_capacity(addresses.len());
        for address in addresses.drain(..) {
            if seen.contains(&address) {
                self.note(format!("listen names {address} twice: it is used once"));
            } else {
                seen.push(address);
            }
        }
        *addresses = seen;
    }

    fn keep(&mut self, name: &str, new: &mut usize, old: usize) {
        if *new != old {
            self.kept(name, *new, old);
            *new = old;
        }
    }

    fn kept(&mut self, name: &str, new: impl Display, old: impl Display) {
        self.note(format!("{name} cannot change from {old} to {new} while the server runs: {old} is kept"));
    }
}

#[cfg(test)]
mod tests;
