//! What one child serves its clients with in one generation: routes, guests, counters and logs ([`Site`]), and what each of its
//! threads lends to the connection that it advances ([`Thread`]). Nothing here knows a connection, and nothing here waits.

use std::fs::File;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use guesthouse_mpm::{ChildContext, StartError, ThreadContext, Upkeep};

use crate::access_log::AccessLog;
use crate::clock::{Began, Clock};
use crate::config::{self, Config, RequestLimits};
use crate::confined::Queues;
use crate::deploy::{ConfinedPool, Prepared};
use crate::guest::{Capacity, CgiFacts, Ends, Guests, GuestsError, ModuleSource, Shelf};
use crate::http;
use crate::request_id::RequestIds;
use crate::respond::Fixed;
use crate::route::{Found, Router};
use crate::script::{self, Scripts};
use crate::status::{Observer, Snapshot};
use crate::tally::{Counters, Counting};

/// One child's view of one reading of the configuration. Shared by its threads and by the requests that began with it; never
/// changes.
pub struct Site {
    pub(crate) generation: u32,
    /// Woken when it is gone.
    news: Waker,
    pub(crate) config: Config,
    pub(crate) limits: http::Limits,
    pub(crate) router: Router,
    /// Of each route.
    scripts: Vec<Option<Scripts>>,
    /// Of each module: whether its guests speak CGI.
    speak_cgi: Vec<bool>,
    /// Those that run here.
    pub(crate) guests: Guests,
    /// Where each module of the configuration runs.
    pub(crate) places: Vec<Place>,
    pub(crate) counters: Counters,
    access_log: Option<Arc<File>>,
    observer: Observer,
}

/// What all generations of a child have in common.
pub struct Ground {
    pub(crate) child: ChildContext,
    /// When the server did.
    pub(crate) began: Began,
    pub(crate) counting: Counting,
    pub(crate) access_log: Option<Arc<File>>,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.news.wake_by_ref();
    }
}

/// Where a module runs.
pub(crate) enum Place {
    /// On the threads of this child; an index into its guests.
    Here(usize),
    /// In the children of a pool of its own.
    Confined(ConfinedPool),
}

/// What one thread lends to the connection that it advances.
pub struct Thread {
    /// Whose instances it keeps.
    generation: u32,
    pub(crate) clock: Clock,
    pub(crate) request_ids: RequestIds,
    /// Instances that serve again.
    pub(crate) shelf: Shelf,
    /// Requests that wait for confined modules.
    pub(crate) queues: Queues,
    pub(crate) access_log: Option<AccessLog>,
    /// Where a read puts its bytes before they are appended to a connection's input.
    pub(crate) scratch: Box<[u8]>,
}

/// How long a connection goes on before others have their turn. Not the guests' `time_slice`: what is bounded here is
/// a client that never pauses, and a guest that never uses up a slice but always has more to say.
pub(crate) const TURN_TIME: Duration = Duration::from_millis(1);

/// Bytes that one read takes at most.
const READ_BYTES_MAX: usize = 64 * 1024;

/// Instances for which each thread has room at least beyond those of the modules that a child begins with.
const SPARE_INSTANCES: usize = 8;

/// What the operator allows a request head, in the words of `http`.
pub(crate) fn head_limits(limits: &RequestLimits) -> http::Limits {
    http::Limits {
        request_line: limits.limit_request_line,
        fields: limits.limit_request_fields,
        field_size: limits.limit_request_field_size,
    }
}

impl Site {
    /// The first of a child: loads every module's native code. Threads are started here: to be called in a child only.
    ///
    /// # Errors
    /// The engine or a module cannot be used, and why.
    pub(crate) fn start(prepared: &Prepared, ground: &Ground) -> Result<Self, StartError> {
        Self::make(ground.child.generation, prepared, ground, Guests::start)
    }

    /// The one after this, in the same child: what has not changed is taken over from it.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub(crate) fn followed_by(
        &self,
        generation: u32,
        prepared: &Prepared,
        ground: &Ground,
    ) -> Result<Self, StartError> {
        Self::make(generation, prepared, ground, |sources, capacity| self.guests.followed_by(sources, capacity))
    }

    fn make(
        generation: u32,
        Prepared { config, modules, .. }: &Prepared,
        Ground { child, began, counting, access_log }: &Ground,
        guests: impl FnOnce(&[ModuleSource<'_>], Capacity) -> Result<Guests, GuestsError>,
    ) -> Result<Self, StartError> {
        let mut sources = Vec::new();
        let mut places = Vec::new();
        for (settings, prepared) in config.modules.iter().zip(modules) {
            if let Some(pool) = &prepared.pool {
                places.push(Place::Confined(pool.clone()));
                continue;
            }
            places.push(Place::Here(sources.len()));
            sources.push(prepared.source(settings));
        }
        let capacity = Capacity {
            calls_max: child.requests_in_flight_max,
            threads: child.threads,
            spare: SPARE_INSTANCES,
            time_slice: config.time_slice,
        };
        let guests = guests(&sources, capacity).map_err(|error| StartError(error.to_string()))?;
        let scripts = config.routes.iter().map(|route| route.scripts.as_ref().map(open_scripts).transpose());
        let counters = counting.of(modules.iter().map(|module| module.row));
        Ok(Self {
            generation,
            news: child.news.clone(),
            scripts: scripts.collect::<Result<_, _>>()?,
            speak_cgi: modules.iter().map(|module| module.kind.speaks_cgi()).collect(),
            limits: head_limits(&config.server.request_limits),
            router: Router::new(&config.routes),
            config: config.clone(),
            guests,
            places,
            counters: counters.of_slot(child.slot),
            access_log: access_log.clone(),
            observer: Observer::new(child.scoreboard.clone(), generation, *began, modules.clone()),
        })
    }

    /// What the guest of `module` is told of a request's path, and of the `ends` of its connection, if it speaks CGI.
    ///
    /// # Errors
    /// The answer, if no script is there.
    pub(crate) fn cgi_facts(
        &self,
        module: usize,
        found: &Found<'_>,
        ends: impl FnOnce() -> Option<Ends>,
        query: Option<&str>,
    ) -> Result<Option<Box<CgiFacts>>, Box<Fixed>> {
        if !self.speak_cgi[module] {
            return Ok(None);
        }
        script::facts(found, self.scripts[found.route].as_ref(), ends(), query).map(Some)
    }

    /// The whole server, as far as this child can see it.
    pub(crate) fn snapshot(&self, now: Instant) -> Snapshot {
        self.observer.snapshot(&self.config, &self.counters, now)
    }
}

fn open_scripts(scripts: &config::Scripts) -> Result<Scripts, StartError> {
    let folder = scripts.folder.display();
    Scripts::open(scripts).map_err(|error| StartError(format!("cannot look for scripts in {folder}: {error}")))
}

impl Thread {
    /// To be made on the thread itself, before it serves.
    pub(crate) fn new(site: &Site, context: &ThreadContext) -> Self {
        Self {
            generation: site.generation,
            clock: Clock::new(Instant::now()),
            request_ids: RequestIds::new(context.index),
            shelf: site.guests.shelf(context.waker.clone()),
            queues: Queues::default(),
            access_log: site.access_log.clone().map(AccessLog::new),
            scratch: vec![0; READ_BYTES_MAX].into_boxed_slice(),
        }
    }

    /// From here on instances of the guests of this generation are kept, and of no other.
    pub(crate) fn keep_guests_of(&mut self, site: &Site) {
        if std::mem::replace(&mut self.generation, site.generation) != site.generation {
            site.guests.stock(&mut self.shelf);
            self.queues.clear_up();
        }
    }

    /// Looks after the guests that go on without a connection.
    pub(crate) fn tend(&mut self, now: Instant) -> Upkeep {
        self.shelf.tend(now)
    }

    /// The thread is about to wait.
    pub(crate) fn turn_end(&mut self) {
        if let Some(log) = &mut self.access_log {
            log.write();
        }
    }
}
