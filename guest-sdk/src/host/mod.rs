//! What a handler runs on: a host of wasi:http 0.2 or 0.3, or the test harness. Nothing else in this crate knows which
//! of them it is.
//!
//! A module is built for one of the two, but the crate may have both in it: with the feature `p3`, each call looks at
//! who is active. That is known only at run time, and still costs a module nothing: what a flag that is never set would
//! choose is left out by the optimiser, imports included, so that a module imports what its handler uses and no more.
//! That is what makes the feature additive: with it a handler of 0.2 stays the same.

#[cfg(target_os = "wasi")]
mod fields;
#[cfg(target_os = "wasi")]
pub mod p2;
#[cfg(all(target_os = "wasi", feature = "p3"))]
pub mod p3;

use std::time::Duration;

use futures_util::future::LocalBoxFuture;

use crate::{Request, Response, Result};

/// Calls the function of that name of whoever is active.
#[cfg(target_os = "wasi")]
macro_rules! on_host {
    ($function:ident($argument:expr)) => {{
        #[cfg(feature = "p3")]
        if p3::ACTIVE.get() {
            return p3::$function($argument);
        } else if !p2::ACTIVE.get() {
            unreachable!("one of the two has called the handler");
        }
        p2::$function($argument)
    }};
}

/// The same under test.
#[cfg(not(target_os = "wasi"))]
macro_rules! on_host {
    ($function:ident($argument:expr)) => {
        crate::testing::current().$function($argument)
    };
}

/// Ends when the time has passed.
pub(crate) fn sleep(duration: Duration) -> LocalBoxFuture<'static, ()> {
    on_host!(sleep(duration))
}

/// Sends a request to another server, and ends when the head of the answer is there. The URI is whole.
pub(crate) fn send(request: Request) -> LocalBoxFuture<'static, Result<Response>> {
    on_host!(send(request))
}

/// Runs beside the handler, and goes on when that has answered.
pub(crate) fn spawn(task: LocalBoxFuture<'static, ()>) {
    on_host!(spawn(task));
}

/// A variable of the environment.
#[cfg(target_os = "wasi")]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The same under test.
#[cfg(not(target_os = "wasi"))]
pub(crate) fn variable(name: &str) -> Option<String> {
    on_host!(variable(name))
}

/// Tells whoever runs the module.
#[cfg(target_os = "wasi")]
pub(crate) fn report(text: &str) {
    eprintln!("{text}");
}

/// The same under test.
#[cfg(not(target_os = "wasi"))]
pub(crate) fn report(text: &str) {
    on_host!(report(text));
}

/// Whether a host has called the handler of this instance.
#[cfg(target_os = "wasi")]
pub(crate) struct Active(std::sync::atomic::AtomicBool);

#[cfg(target_os = "wasi")]
impl Active {
    pub(crate) const fn new() -> Self {
        Self(std::sync::atomic::AtomicBool::new(false))
    }

    pub(crate) fn set(&self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }

    #[cfg(feature = "p3")]
    pub(crate) fn get(&self) -> bool {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }
}
