//! Small guests for the tests of this folder: a component around a few instructions of text, compiled and started
//! as in a server. Guests that need a toolchain belong to the end-to-end tests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, Method, Request};

use super::grants::{CallName, Grants};
use super::*;
use crate::config;
use crate::module::{Kind, WasmFile};
use crate::request_id::RequestIds;

/// What [`guest`] makes.
const KIND: Kind = Kind::HttpIncomingHandler;

/// A component whose handler is `body`, core instructions that may use what is defined below.
pub(super) fn guest(body: &str) -> String {
    include_str!("testing.wat").replace("(; BODY ;)", body)
}

/// A child with one module, and the directory that its native code lies in.
pub(super) struct Child {
    pub(super) guests: Guests,
    _cache: tempfile::TempDir,
}

pub(super) fn settings() -> config::Module {
    config::Module {
        name: "test".into(),
        path: "test.wat".into(),
        lines: config::ModuleLines { path: 1, ..config::ModuleLines::default() },
        thread_safe: None,
        max_requests_per_instance: None,
        max_concurrent_requests_per_instance: None,
        pool: None,
        limits: config::Limits {
            memory: 1 << 20,
            wall: Duration::from_secs(10),
            cpu: Duration::from_secs(5),
            request_body: 1 << 20,
            response_body: 1 << 20,
        },
        env: BTreeMap::new(),
        dirs: Vec::new(),
        roots: Vec::new(),
        outbound: Vec::new(),
        health: None,
        rollback_on_errors: None,
    }
}

/// What a module with these settings may do.
pub(super) fn grants(settings: &config::Module) -> Arc<Grants> {
    Arc::new(Grants {
        name: settings.name.as_str().into(),
        limits: limits::CallLimits::new(&settings.limits, engine::TABLE_ELEMENTS_MIN),
        env: settings.env.clone().into_iter().collect(),
        files: capabilities::open_dirs(&settings.dirs).unwrap(),
        roots: Vec::new(),
        outbound: settings.outbound.clone(),
        tls: outbound::tls().unwrap(),
        resolver: resolver::LookUps::new().of_a_module(),
    })
}

pub(super) fn call_name() -> CallName {
    CallName { request: Some(RequestIds::new(0).issue()) }
}

/// A child whose guest is not cut into slices by a machine that is merely busy.
pub(super) fn child(body: &str) -> Child {
    sliced(&[(body, 1)], &settings(), 4, Duration::from_millis(250))
}

pub(super) fn child_with(body: &str, settings: &config::Module, calls_max: usize) -> Child {
    child_of(&[(body, 1)], settings, calls_max)
}

/// A child with a module for each body, whose instances serve so many requests; two threads may call.
pub(super) fn child_of(modules: &[(&str, u64)], settings: &config::Module, calls_max: usize) -> Child {
    sliced(modules, settings, calls_max, Duration::from_millis(1))
}

fn sliced(modules: &[(&str, u64)], settings: &config::Module, calls_max: usize, time_slice: Duration) -> Child {
    let texts: Vec<_> = modules.iter().map(|(body, requests)| (guest(body), *requests)).collect();
    of_kind(KIND, &texts, settings, Capacity { calls_max, threads: 2, spare: 0, time_slice })
}

/// A child with a module for each text, of this kind, whose instances serve so many requests.
pub(super) fn of_kind(kind: Kind, modules: &[(String, u64)], settings: &config::Module, capacity: Capacity) -> Child {
    let dir = tempfile::tempdir().unwrap();
    let natives: Vec<_> = modules
        .iter()
        .enumerate()
        .map(|(index, (text, _))| {
            let wasm = dir.path().join(format!("test-{index}.wat"));
            std::fs::write(&wasm, text).unwrap();
            compile::compile(&WasmFile::read(&wasm).unwrap(), kind, &wasm, &dir.path().join("cache")).unwrap().native
        })
        .collect();
    let sources: Vec<_> = modules
        .iter()
        .zip(&natives)
        .map(|((_, requests), native)| ModuleSource {
            settings,
            kind,
            native,
            max_requests_per_instance: *requests,
            max_concurrent_requests_per_instance: 1,
        })
        .collect();
    Child { guests: Guests::start(&sources, capacity).unwrap(), _cache: dir }
}

impl Child {
    /// A call of the first module, whose instance serves no other.
    pub(super) fn call(&self, method: Method) -> Call {
        let request = Request::builder().method(method).uri("/").body(RequestBody::empty()).unwrap();
        self.guests.call(&mut self.guests.shelf(Waker::noop().clone()), 0, request, facts())
    }

    /// Calls the guest and follows it to its end.
    pub(super) fn get(&self) -> Told {
        follow(&mut self.call(Method::GET))
    }

    /// One of its threads, which keeps instances.
    pub(super) fn thread(&self) -> Caller<'_> {
        Caller { guests: &self.guests, shelf: self.guests.shelf(Waker::noop().clone()) }
    }
}

pub(super) fn facts() -> CallFacts {
    let authority = HeaderValue::from_static("test.example");
    CallFacts { scheme: Scheme::Http, authority, request_id: RequestIds::new(0).issue(), cgi: None }
}

/// What a thread of a child has for its calls.
pub(super) struct Caller<'a> {
    guests: &'a Guests,
    pub(super) shelf: Shelf,
}

impl Caller<'_> {
    /// Begins a call of the first module.
    pub(super) fn begin(&mut self) -> Call {
        self.begin_of(0)
    }

    /// Begins a call of a module.
    pub(super) fn begin_of(&mut self, module: usize) -> Call {
        self.begin_module(module, facts(), RequestBody::empty())
    }

    fn begin_module(&mut self, module: usize, facts: CallFacts, body: RequestBody) -> Call {
        self.guests.call(&mut self.shelf, module, Request::get("/").body(body).unwrap(), facts)
    }

    /// Follows a call to its end, and gives back its instance.
    pub(super) fn end(&mut self, mut call: Call) -> Told {
        let told = follow(&mut call);
        call.finish(&mut self.shelf);
        told
    }

    /// Calls the first module.
    pub(super) fn get(&mut self) -> Told {
        let call = self.begin();
        self.end(call)
    }

    /// Calls the first module, which answers well: its body.
    pub(super) fn body(&mut self) -> String {
        self.body_of(0)
    }

    /// Calls a module that answers well: its body.
    pub(super) fn body_of(&mut self, module: usize) -> String {
        let call = self.begin_of(module);
        let told = self.end(call);
        assert!(told.ended && told.fault.is_none(), "{told:?}");
        String::from_utf8(told.body).unwrap()
    }

    /// Calls the first module under a name, for the log.
    pub(super) fn get_as(&mut self, name: CallName) -> Told {
        let call =
            self.begin_module(0, CallFacts { request_id: name.request.unwrap(), ..facts() }, RequestBody::empty());
        self.end(call)
    }

    /// Calls the first module with a body.
    pub(super) fn send(&mut self, body: RequestBody) -> Told {
        let call = self.begin_module(0, facts(), body);
        self.end(call)
    }
}

/// All that a call had to tell.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) status: Option<u16>,
    pub(super) length: Option<u64>,
    pub(super) body: Vec<u8>,
    pub(super) ended: bool,
    pub(super) slices: usize,
    pub(super) fault: Option<Fault>,
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

pub(super) fn follow(call: &mut Call) -> Told {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut told = Told::default();
    loop {
        assert!(Instant::now() < deadline, "the call ends in time: {told:?}");
        match call.poll(&mut Context::from_waker(&waker)) {
            Progress::Head(head, length) => (told.status, told.length) = (Some(head.status.as_u16()), length),
            Progress::Data(data) => told.body.extend_from_slice(&data),
            Progress::End(_) => told.ended = true,
            Progress::Pending => thread::park_timeout(Duration::from_secs(1)),
            Progress::Sliced => told.slices += 1,
            Progress::Done => return told,
            Progress::Failed(fault) => {
                told.fault = Some(fault);
                return told;
            }
        }
    }
}

/// A poll that must not have to wait for anything.
pub(super) fn poll_once(call: &mut Call) -> Progress {
    call.poll(&mut Context::from_waker(Waker::noop()))
}

/// The same, however many slices it takes.
pub(super) fn poll_said(call: &mut Call) -> Progress {
    loop {
        match poll_once(call) {
            Progress::Sliced => {}
            said => return said,
        }
    }
}

/// "hello", which is all that the guests here say.
pub(super) const HELLO: Bytes = Bytes::from_static(b"hello");
