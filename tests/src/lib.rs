//! The harness of the end-to-end tests: it starts the real server, speaks bytes to it, sends it signals and reads its
//! log. It shares no code with the server, so that a mistake there cannot hide behind the same mistake here.
//!
//! A test reads like this, and [`under_every_mpm!`] makes three of it:
//!
//! ```ignore
//! fn a_trap_is_answered_with_500(mpm: Mpm) {
//!     let server = Setup::new(mpm).start();
//!     assert_eq!(server.get("/trap").status, 500);
//!     server.log.wait_for("the probe was asked to trap");
//! }
//! ```

pub mod answer;
pub mod client;
pub mod deployment;
pub mod dev;
pub mod load;
pub mod log;
pub mod patience;
pub mod processes;
pub mod second_host;
pub mod server;
pub mod setup;
pub mod upstream;

pub use answer::Answer;
pub use client::Client;
pub use load::Load;
pub use nix::sys::signal::Signal;
pub use server::Server;
pub use setup::{Mpm, Setup};

/// As [`under_every_mpm!`], and a fourth test of each, `confined::name`: what a client can see is the same for a module
/// that is confined.
#[macro_export]
macro_rules! under_every_mpm_and_confined {
    ($($test:ident),* $(,)?) => {
        $crate::under_every_mpm!($($test),*);
        $crate::under_every_mpm!(@one confined Confined $($test)*);
    };
}

/// Three more tests of each function named, one under each MPM, in which the probe is one of WASI 0.3: what a client can
/// see is the same.
#[macro_export]
macro_rules! with_wasi_0_3_too {
    ($($test:ident),* $(,)?) => {
        $crate::under_every_mpm!(@one prefork_0_3 Prefork03 $($test)*);
        $crate::under_every_mpm!(@one worker_0_3 Worker03 $($test)*);
        $crate::under_every_mpm!(@one event_0_3 Event03 $($test)*);
    };
}

/// As [`with_wasi_0_3_too!`], and a fourth test of each, `confined_0_3::name`.
#[macro_export]
macro_rules! with_wasi_0_3_and_confined_too {
    ($($test:ident),* $(,)?) => {
        $crate::with_wasi_0_3_too!($($test),*);
        $crate::under_every_mpm!(@one confined_0_3 Confined03 $($test)*);
    };
}

/// Makes three tests of each function named, one under each MPM: `prefork::name`, `worker::name`, `event::name`.
/// A function that is not named is unused, which the compiler reports.
#[macro_export]
macro_rules! under_every_mpm {
    ($($test:ident),* $(,)?) => {
        $crate::under_every_mpm!(@one prefork Prefork $($test)*);
        $crate::under_every_mpm!(@one worker Worker $($test)*);
        $crate::under_every_mpm!(@one event Event $($test)*);
    };
    (@one $module:ident $mpm:ident $($test:ident)*) => {
        mod $module {
            $(
                #[test]
                fn $test() {
                    super::$test($crate::Mpm::$mpm);
                }
            )*
        }
    };
}
