//! The health request: what a new version is asked before it serves, in an instance that serves nobody, in a process of its
//! own. Decides who is asked and what counts as well; what becomes of one that is not well is decided elsewhere.

use std::io::Read;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use guesthouse_mpm::Upkeep;
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, StatusCode, header};
use serde::{Deserialize, Serialize};

use super::errand::{self, Failure};
use super::{Prepared, PreparedModule, Refusal, published};
use crate::config::{Config, HostPattern, Module, Route};
use crate::guest::compile::limit_memory_of_this_process;
use crate::guest::{Call, CallFacts, Capacity, CgiFacts, Guests, Progress, RequestBody, Scheme, Shelf};
use crate::placement::health_route;
use crate::request_id::RequestIds;
use crate::route::{self, Router};
use crate::script::{self, Scripts};

/// How long the answer may take, unless `limits.wall` is shorter: everybody who deploys waits for it.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

/// How long the process may take beside that: to start, and to load the module.
const START_TIME_MAX: Duration = Duration::from_secs(60);

/// Bytes of a bad answer's body that are told.
const TOLD_BYTES_MAX: usize = 200;

/// Who asks, as the guest sees it.
const USER_AGENT: HeaderValue = HeaderValue::from_static("guesthouse-health");

/// What the process is told: what a child would know of the module.
#[derive(Serialize, Deserialize)]
struct Question {
    module: Module,
    prepared: PreparedModule,
    /// By which the request comes.
    route: Route,
    time_slice: Duration,
}

/// Asks a module, if it is to be asked and is not what serves already.
///
/// # Errors
/// It is not well, and how; or it could not be asked.
pub(crate) fn ask(
    module: &Module,
    prepared: &PreparedModule,
    config: &Config,
    published: Option<&Prepared>,
) -> Result<(), Refusal> {
    let Some(asked) = &module.health else { return Ok(()) };
    if published.is_some_and(|published| published::serves(published, module, prepared)) {
        return Ok(());
    }
    let question = Question {
        module: module.clone(),
        prepared: prepared.clone(),
        route: health_route(module, asked, config).map_err(Refusal::lasting)?.clone(),
        time_slice: config.time_slice,
    };
    let question = serde_json::to_vec(&question).expect("settings are plain data");
    let limit = answer_time_max(module) + START_TIME_MAX;
    let what = |failure| match failure {
        Failure::Said(what) | Failure::Hindered(what) => what,
        Failure::NotStarted(error) => format!("cannot start the process that asks: {error}"),
        Failure::Died(status) => format!("the process that asks has died: {status}"),
        Failure::TooLong(limit) => format!("the process that asks has not ended within {limit:?}"),
    };
    errand::run(["health"], &question, limit).map(drop).map_err(|failure| {
        let words = |what| format!("its health request, GET {asked}, failed: {what}");
        failure.refusal(what).map(words)
    })
}

fn answer_time_max(module: &Module) -> Duration {
    module.limits.wall.min(ANSWER_TIME_MAX)
}

/// Does the process's work. `question` comes from [`ask`].
///
/// # Errors
/// The module is not well, and how; or it cannot be asked.
pub fn answer(question: impl Read) -> Result<(), Refusal> {
    errand::end_with_parent();
    limit_memory_of_this_process().map_err(|error| Refusal::for_now(format!("cannot limit its memory: {error}")))?;
    let question: Question = serde_json::from_reader(question)
        .map_err(|error| Refusal::for_now(format!("cannot read what to ask: {error}")))?;
    question.put()
}

impl Question {
    fn put(&self) -> Result<(), Refusal> {
        let source = self.prepared.source(&self.module);
        let capacity = Capacity { calls_max: 1, threads: 1, spare: 0, time_slice: self.time_slice };
        // Memory, threads, folders: what the machine lacks is not the module's fault.
        let guests = Guests::start(&[source], capacity).map_err(|error| Refusal::for_now(error.to_string()))?;
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut shelf = guests.shelf(waker.clone());
        let facts = CallFacts {
            scheme: Scheme::Http,
            authority: HeaderValue::try_from(self.authority()).map_err(|error| Refusal::lasting(error.to_string()))?,
            request_id: RequestIds::new(0).issue(),
            cgi: self.cgi_facts()?,
        };
        let request = Request::get(self.asked()).header(header::USER_AGENT, USER_AGENT).body(RequestBody::empty());
        let request = request.map_err(|error| Refusal::lasting(error.to_string()))?;
        let call = guests.call(&mut shelf, 0, request, facts);
        let said = follow(call, &mut shelf, &waker, answer_time_max(&self.module)).map_err(Refusal::lasting)?;
        if said.status.is_success() {
            return Ok(());
        }
        let status = said.status.as_u16();
        let text = String::from_utf8_lossy(&said.beginning);
        let answered = format!("it answered {status}");
        Err(Refusal::lasting(if text.is_empty() { answered } else { format!("{answered}, {text:?}") }))
    }

    fn asked(&self) -> &str {
        self.module.health.as_deref().unwrap_or("/")
    }

    /// Whom the request is for: a host that the route is for.
    fn authority(&self) -> String {
        match &self.route.host {
            None => String::from("localhost"),
            Some(HostPattern::Exact(name)) => name.clone(),
            Some(HostPattern::Below(name)) => format!("www.{name}"),
        }
    }

    /// As for a request of a client over a Unix socket: there is no other end that has an address.
    fn cgi_facts(&self) -> Result<Option<Box<CgiFacts>>, Refusal> {
        if !self.prepared.kind.speaks_cgi() {
            return Ok(None);
        }
        let router = Router::new(&[Route { host: None, ..self.route.clone() }]);
        let found = router.find("", route::path_of(self.asked())).map_err(|bad| Refusal::lasting(bad.to_string()))?;
        let found = found.ok_or_else(|| Refusal::lasting("its path leads to no route"))?;
        let scripts = self.route.scripts.as_ref().map(Scripts::open).transpose();
        let scripts = scripts.map_err(|error| Refusal::for_now(format!("cannot look for scripts: {error}")))?;
        let query = self.asked().parse::<PathAndQuery>().ok();
        let query = query.as_ref().and_then(PathAndQuery::query);
        let facts = script::facts(&found, scripts.as_ref(), None, query);
        facts.map(Some).map_err(|fixed| {
            let status = fixed.status.as_u16();
            Refusal::lasting(format!("no script is there: it would be answered with {status}"))
        })
    }
}

/// What a guest has answered, whole.
struct Said {
    status: StatusCode,
    /// Of the body.
    beginning: Vec<u8>,
}

/// Rings the thread that asks.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn follow(mut call: Call, shelf: &mut Shelf, waker: &Waker, limit: Duration) -> Result<Said, String> {
    let until = Instant::now() + limit;
    let mut said = Said { status: StatusCode::OK, beginning: Vec::new() };
    loop {
        let now = Instant::now();
        if now >= until {
            return Err(if limit < call.wall() {
                format!("it has not answered within {limit:?}")
            } else {
                call.time_out().to_string()
            });
        }
        let upkeep = shelf.tend(now);
        match call.poll(&mut Context::from_waker(waker)) {
            Progress::Head(head, _) => said.status = head.status,
            Progress::Data(data) => {
                let room = TOLD_BYTES_MAX.saturating_sub(said.beginning.len()).min(data.len());
                said.beginning.extend_from_slice(&data[..room]);
            }
            Progress::End(_) | Progress::Done => return Ok(said),
            Progress::Pending => match upkeep {
                Upkeep::Done => thread::park_timeout(until - now),
                Upkeep::Wait(at) => thread::park_timeout(until.min(at).saturating_duration_since(now)),
                Upkeep::Yield(_) => {}
            },
            Progress::Sliced => {}
            Progress::Failed(fault) => return Err(fault.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;

    /// Of a module `a` on these paths, and another on `/b`.
    fn route(asked: &str, paths: &[&str]) -> Result<String, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.wasm"), "").unwrap();
        let mut text = String::from("server.access_log = \"off\"\n");
        for name in ["a", "b"] {
            text += &format!("[[module]]\nname = \"{name}\"\npath = \"a.wasm\"\n");
        }
        let of_a = paths.iter().map(|path| path.split_once(' ').unwrap_or((path, "")));
        for (path, host) in of_a {
            let host = if host.is_empty() { String::new() } else { format!("host = \"{host}\"\n") };
            text += &format!("[[route]]\npath = \"{path}\"\nmodule = \"a\"\n{host}");
        }
        text += "[[route]]\npath = \"/b\"\nmodule = \"b\"\n";
        let (config, _) = config::read_text(&text, &folder.path().join("guesthouse.toml")).unwrap();
        let route = health_route(&config.modules[0], asked, &config)?.clone();
        let (module, prepared) =
            (config.modules[0].clone(), super::super::testing::prepared(&[("a", "1")]).modules.remove(0));
        let authority = Question { module, prepared, route: route.clone(), time_slice: config.time_slice }.authority();
        Ok(format!("{} {authority}", route.path))
    }

    #[test]
    fn a_health_request_comes_by_the_modules_own_route_that_fits_best() {
        assert_eq!(route("/x/healthz?deep", &["/", "/x"]), Ok("/x localhost".into()));
        assert_eq!(route("/%78/../x", &["/", "/x"]), Ok("/x localhost".into()));
        assert_eq!(route("/b/healthz", &["/"]), Ok("/ localhost".into()), "the route of another does not count");
        assert_eq!(route("/", &["/ example.org"]), Ok("/ example.org".into()));
        assert_eq!(route("/", &["/ *.example.org"]), Ok("/ www.example.org".into()));
    }

    #[test]
    fn one_that_leads_elsewhere_is_a_mistake() {
        assert_eq!(
            route("/b/healthz", &["/x", "/y"]),
            Err("health is \"/b/healthz\", which leads to none of its routes (/x, /y): write a path below one of them"
                .into())
        );
        assert!(route("/", &[]).unwrap_err().contains("none of its routes (none)"));
        assert_eq!(
            route("/../x", &["/"]),
            Err("health is \"/../x\": the path leaves the root: write a path below one of its routes".into())
        );
    }

    #[test]
    fn an_answer_is_waited_for_as_long_as_the_module_may_take_but_not_for_ever() {
        let with_wall = |secs| {
            let text = format!(
                "server.access_log = \"off\"\n[[module]]\nname = \"a\"\npath = \"/proc/self/exe\"\nlimits.wall = \"{secs}s\"\n"
            );
            let module = config::read_text(&text, Path::new("/nowhere/guesthouse.toml")).unwrap().0.modules.remove(0);
            answer_time_max(&module).as_secs()
        };
        assert_eq!((with_wall(1), with_wall(30)), (1, 5));
    }
}
