//! Small guests for the tests of this folder: a component around a few instructions of text, compiled and started
//! as in a server. Guests that need a toolchain belong to the end-to-end tests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, Method, Request};

use super::sandbox::{CallName, Grants};
use super::*;
use crate::config;
use crate::request_id::RequestIds;

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
        outbound: Vec::new(),
    }
}

/// What a module with these settings may do.
pub(super) fn grants(settings: &config::Module) -> Arc<Grants> {
    Arc::new(Grants {
        name: settings.name.as_str().into(),
        limits: limits::CallLimits::new(&settings.limits, engine::TABLE_ELEMENTS_MIN),
        env: settings.env.clone().into_iter().collect(),
        files: capabilities::open_dirs(&settings.dirs).unwrap(),
        outbound: settings.outbound.clone(),
        tls: outbound::tls().unwrap(),
    })
}

pub(super) fn call_name() -> CallName {
    CallName { request: RequestIds::new(0).issue() }
}

pub(super) fn child(body: &str) -> Child {
    child_with(body, &settings(), 4)
}

pub(super) fn child_with(body: &str, settings: &config::Module, calls_max: usize) -> Child {
    let dir = tempfile::tempdir().unwrap();
    let wasm = dir.path().join("test.wat");
    std::fs::write(&wasm, guest(body)).unwrap();
    let compiled = compile::compile(&wasm, &dir.path().join("cache")).unwrap();
    let capacity = Capacity { calls_max, time_slice: Duration::from_millis(1) };
    let guests = Guests::start(&[ModuleSource { settings, native: &compiled.native }], capacity).unwrap();
    Child { guests, _cache: dir }
}

impl Child {
    pub(super) fn call(&self, method: Method) -> Call {
        let request = Request::builder().method(method).uri("/").body(RequestBody::empty()).unwrap();
        let authority = HeaderValue::from_static("test.example");
        let request_id = call_name().request;
        self.guests.call(0, request, CallFacts { scheme: Scheme::Http, authority, request_id })
    }

    /// Calls the guest and follows it to its end.
    pub(super) fn get(&self) -> Told {
        follow(self.call(Method::GET))
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

pub(super) fn follow(mut call: Call) -> Told {
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

/// "hello", which is all that the guests here say.
pub(super) const HELLO: Bytes = Bytes::from_static(b"hello");
