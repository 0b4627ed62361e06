//! Programs of a few instructions, through whole calls.

use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};

use super::super::testing::{Child, Told, facts, follow, of_kind, poll_once, poll_said, settings};
use super::super::{Capacity, Fault, Progress, body_channel};
use super::*;
use crate::config;
use crate::module::Kind;

/// A program that runs `body`, core instructions that may use what is defined here.
fn program(body: &str) -> String {
    let import = |name: &str, ty: &str| format!("(import \"wasi_snapshot_preview1\" \"{name}\" (func ${name} {ty}))");
    let imports = [
        import("fd_write", "(param i32 i32 i32 i32) (result i32)"),
        import("fd_read", "(param i32 i32 i32 i32) (result i32)"),
        import("proc_exit", "(param i32)"),
        import("sock_send", "(param i32 i32 i32 i32 i32) (result i32)"),
    ];
    format!(
        "(module {}
            (tag $oops (param i64 i64 i64 i64 i64 i64 i64 i64))
            (table $caught 20000 exnref)
            (memory (export \"memory\") 1)
            (data (i32.const 64) \"Content-Type: a/b\\n\\nhello\")
            (func $say (param $from i32) (param $length i32)
                (i32.store (i32.const 0) (local.get $from))
                (i32.store (i32.const 4) (local.get $length))
                (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
            (func $head (call $say (i32.const 64) (i32.const 19)))
            (func $hello (call $say (i32.const 83) (i32.const 5)))
            (func $page (call $say (i32.const 1024) (i32.const 16384)))
            (func $throw
                (throw $oops (i64.const 1) (i64.const 2) (i64.const 3) (i64.const 4)
                    (i64.const 5) (i64.const 6) (i64.const 7) (i64.const 8)))
            (func $catch
                (block $caught (try_table (catch_all $caught) (call $throw)) (unreachable)))
            (func $keep (param $index i32)
                (table.set $caught (local.get $index)
                    (block $caught (result exnref)
                        (try_table (catch_all_ref $caught) (call $throw))
                        (unreachable))))
            (func (export \"_start\") (local $count i32) {body}))",
        imports.concat()
    )
}

fn child_with(body: &str, settings: &config::Module, calls_max: usize) -> Child {
    child_of(Kind::Command, program(body), settings, calls_max)
}

fn child_of(kind: Kind, text: String, settings: &config::Module, calls_max: usize) -> Child {
    // A machine that is merely busy does not cut the guest into slices.
    let capacity = Capacity { calls_max, threads: 2, spare: 0, time_slice: Duration::from_millis(250) };
    of_kind(kind, &[(text, 1)], settings, capacity)
}

fn child(body: &str) -> Child {
    child_with(body, &settings(), 4)
}

fn told(body: &str) -> Told {
    child(body).get()
}

/// What a component comes to that runs `body`, core instructions that may use what `testing.wat` defines.
fn told_by_component(body: &str) -> Told {
    let text = include_str!("testing.wat").replace("(; BODY ;)", body);
    child_of(Kind::CliComponent, text, &settings(), 1).get()
}

#[test]
fn what_a_program_writes_is_its_answer() {
    let told = told("(call $head) (call $hello)");
    assert_eq!((told.status, told.length, told.ended), (Some(200), Some(5), true));
    assert_eq!(told.body, b"hello");
    assert!(told.fault.is_none(), "{told:?}");
}

#[test]
fn an_exit_is_an_end_whatever_its_status() {
    for status in [0, 1, 125, 126, 255, -1] {
        let told = told(&format!("(call $head) (call $hello) (call $proc_exit (i32.const {status}))"));
        assert!(told.ended && told.fault.is_none(), "{status}: {told:?}");
        assert_eq!(told.body, b"hello");
    }
}

#[test]
fn a_program_that_ends_before_its_head_is_complete_has_no_answer() {
    for body in ["", "(call $proc_exit (i32.const 255))", "(call $say (i32.const 64) (i32.const 18))"] {
        let told = told(body);
        assert!(matches!(told.fault, Some(Fault::NoAnswer)), "{body}: {told:?}");
    }
}

#[test]
fn a_head_that_cannot_be_sent_ends_the_program() {
    let told = told("(call $hello) (call $say (i32.const 81) (i32.const 2)) (loop $for_ever (br $for_ever))");
    let Some(Fault::BadAnswer(why)) = told.fault else { panic!("{told:?}") };
    assert!(why.contains("line 1 of its head is no field: write NAME: VALUE in place of \"hello\""), "{why}");
}

#[test]
fn a_trap_before_the_answer_is_told_makes_it_none() {
    let told = told("(call $head) (call $hello) unreachable");
    assert!(matches!(told.fault, Some(Fault::Trap { .. })), "{told:?}");
    assert_eq!(told.status, None);
}

#[test]
fn a_trap_within_the_content_is_never_told_as_its_end() {
    let told = told(&format!("(call $head) {} unreachable", "(call $page) ".repeat(9)));
    assert_eq!((told.status, told.ended), (Some(200), false));
    assert!(matches!(told.fault, Some(Fault::Trap { .. })), "{told:?}");
}

#[test]
fn a_program_waits_for_who_reads_its_answer() {
    let pages = 40;
    let child = child(&format!("(call $head) {}", "(call $page) ".repeat(pages)));
    let mut call = child.call(Method::GET);
    assert!(matches!(poll_said(&mut call), Progress::Head(_, None)));
    let cpu = call.cpu();
    let Progress::Data(first) = poll_once(&mut call) else { panic!("some of it waits") };
    assert!(first.len() <= 128 << 10, "{}", first.len());
    assert_eq!(call.cpu(), cpu, "what waits is told before the guest runs on");
    let Told { body, ended, fault, .. } = follow(&mut call);
    assert!(ended && fault.is_none());
    assert_eq!(first.len() + body.len(), pages * 16384);
}

#[test]
fn a_program_that_writes_on_while_nobody_reads_is_ended() {
    let told = told_by_component("(call $head) (call $say (i32.const 5))");
    assert_eq!((told.status, told.length, told.ended), (Some(200), Some(5), true), "{told:?}");
    let for_long = "(loop $more
        (call $say (i32.const 65536))
        (local.set $count (i32.add (local.get $count) (i32.const 1)))
        (br_if $more (i32.lt_u (local.get $count) (i32.const 8))))";
    let more_than_a_chunk = "(call $say (i32.const 65537))";
    for beyond in [&format!("(call $head) {for_long}"), &format!("(call $head) {more_than_a_chunk}"), more_than_a_chunk]
    {
        let told = told_by_component(beyond);
        let Some(Fault::Trap { message, .. }) = &told.fault else { panic!("{beyond}: {:?}", told.fault) };
        assert!(message.contains("than the stream takes"), "{message}");
    }
}

#[test]
fn a_program_that_prints_too_much_at_once_is_ended() {
    assert!(told_by_component("(call $print (i32.const 65536)) (call $head)").fault.is_none());
    let told = told_by_component("(call $print (i32.const 65537)) (call $head)");
    assert!(matches!(told.fault, Some(Fault::Trap { .. })), "{told:?}");
}

#[test]
fn the_request_is_on_standard_input() {
    // Reads up to 64 bytes to 1024, and writes as many as came; twice, the second time there is nothing.
    let echo = "(i32.store (i32.const 16) (i32.const 1024)) (i32.store (i32.const 20) (i32.const 64))
                (drop (call $fd_read (i32.const 0) (i32.const 16) (i32.const 1) (i32.const 24)))
                (call $say (i32.const 1024) (i32.load (i32.const 24)))";
    let child = child(&format!("(call $head) {echo} {echo}"));
    let (mut sender, body) = body_channel();
    sender.send(Bytes::from_static(b"sent"));
    sender.end(None);
    let request = Request::post("/").body(body).unwrap();
    let told = follow(&mut child.guests.call(&mut child.guests.shelf(Waker::noop().clone()), 0, request, facts()));
    assert_eq!(told.body, b"sent");
    assert!(told.ended && told.fault.is_none(), "{told:?}");
}

#[test]
fn sockets_are_not_supported_and_nobody_is_told() {
    let send = "(call $sock_send (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 8))";
    let told = told(&format!("(if (i32.ne {send} (i32.const 58)) (then unreachable)) (call $head)"));
    assert!(told.ended && told.fault.is_none(), "{told:?}");
}

#[test]
fn every_request_has_a_program_of_its_own() {
    let once =
        "(if (i32.load (i32.const 2048)) (then unreachable)) (i32.store (i32.const 2048) (i32.const 1)) (call $head)";
    let child = child(once);
    for _ in 0..9 {
        assert_eq!(child.get().status, Some(200));
    }
}

#[test]
fn a_program_may_throw_exceptions_in_every_slot() {
    let child = child_with("(call $catch) (call $head) (loop $for_ever (br $for_ever))", &settings(), 3);
    let mut calls: Vec<_> = (0..3).map(|_| child.call(Method::GET)).collect();
    for call in &mut calls {
        assert!(matches!(poll_said(call), Progress::Head(..)));
    }
    assert!(matches!(poll_said(&mut child.call(Method::GET)), Progress::Failed(Fault::NoRoom)));
    drop(calls);
    assert!(matches!(poll_said(&mut child.call(Method::GET)), Progress::Head(..)));
}

#[test]
fn an_exception_that_nobody_catches_is_a_trap() {
    assert!(matches!(told("(call $head) (call $throw)").fault, Some(Fault::Trap { .. })));
}

#[test]
fn exceptions_that_are_kept_count_as_memory() {
    let keep = "(loop $more
        (call $keep (local.get $count))
        (local.set $count (i32.add (local.get $count) (i32.const 1)))
        (br_if $more (i32.lt_u (local.get $count) (i32.const 20000))))
        (call $head)";
    let told = told(keep);
    assert!(matches!(told.fault, Some(Fault::OutOfMemory { limit: 1_048_576, .. })), "{told:?}");
    let mut larger = settings();
    larger.limits.memory = 16 << 20;
    assert_eq!(child_with(keep, &larger, 1).get().status, Some(200));
}

#[test]
fn a_program_cannot_compute_or_answer_for_ever() {
    let mut settings = settings();
    settings.limits.cpu = Duration::from_millis(50);
    let told = child_with("(call $head) (loop $for_ever (br $for_ever))", &settings, 1).get();
    assert!(matches!(told.fault, Some(Fault::CpuLimit(_))), "{told:?}");
    let mut settings = super::super::testing::settings();
    settings.limits.response_body = 100_000;
    let told = child_with("(call $head) (loop $for_ever (call $page) (br $for_ever))", &settings, 1).get();
    assert!(matches!(told.fault, Some(Fault::ResponseTooLong(100_000))), "{told:?}");
    assert!(told.body.len() <= 100_000);
}

#[test]
fn a_start_that_takes_something_is_refused_before_it_is_called() {
    let engine = super::super::engine::for_compiler(super::super::source::Concurrency::One).unwrap();
    let linkers = super::super::engine::linkers(&engine, super::super::source::Concurrency::One).unwrap();
    let module = Module::new(&engine, "(module (func (export \"_start\") (param i32)))").unwrap();
    let error = prepare_command(&linkers.modules, &module).err().expect("it cannot be called").to_string();
    assert!(error.contains("_start"), "{error}");
}
