//! Calls of guests that misbehave, and of some that do not.

use super::super::testing::{HELLO, Told, child, child_with, follow, poll_once, settings};
use super::*;

fn fault_of(body: &str) -> Fault {
    child(body).get().fault.expect("the call fails")
}

#[test]
fn a_guest_that_answers_at_once_is_told_piece_by_piece_without_waiting() {
    let child = child("(call $answer) (call $hello) (call $end)");
    let mut call = child.call(Method::GET);
    assert!(matches!(poll_once(&mut call), Progress::Head(head, Some(5)) if head.status == 200));
    assert!(matches!(poll_once(&mut call), Progress::Data(data) if data == HELLO));
    assert!(matches!(poll_once(&mut call), Progress::End(None)));
    assert!(matches!(poll_once(&mut call), Progress::Done));
    assert!(call.cpu() > Duration::ZERO);
}

#[test]
fn the_length_of_a_body_that_head_does_not_get_stays_unknown() {
    let silent = child("(call $answer) (call $end)");
    assert!(matches!(poll_once(&mut silent.call(Method::HEAD)), Progress::Head(_, None)));
    assert!(matches!(poll_once(&mut silent.call(Method::GET)), Progress::Head(_, Some(0))));
}

#[test]
fn a_guest_waits_for_who_reads_its_answer() {
    let hellos = "(call $hello) ".repeat(100);
    let child = child(&format!("(call $answer) {hellos} (call $end)"));
    let mut call = child.call(Method::GET);
    assert!(matches!(poll_once(&mut call), Progress::Head(_, None)));
    let cpu = call.cpu();
    assert!(matches!(poll_once(&mut call), Progress::Data(_)));
    assert_eq!(call.cpu(), cpu, "a chunk that waits is told before the guest runs on");
    let Told { body, ended, fault, .. } = follow(&mut call);
    assert!(ended && fault.is_none());
    assert_eq!(body, b"hello".repeat(99));
}

#[test]
fn a_trap_is_told_with_its_backtrace() {
    let Fault::Trap { message, backtrace } = fault_of("unreachable") else { panic!("a trap") };
    assert!(message.contains("unreachable"), "{message}");
    assert!(backtrace.contains("handle"), "{backtrace}");
}

#[test]
fn endless_recursion_is_a_trap_and_not_the_end_of_the_thread() {
    let Fault::Trap { message, .. } = fault_of("(call $recurse)") else { panic!("a trap") };
    assert!(message.contains("stack"), "{message}");
}

#[test]
fn a_guest_that_says_nothing_has_no_answer() {
    assert!(matches!(fault_of("nop"), Fault::NoAnswer));
}

#[test]
fn an_error_set_in_place_of_a_response_is_named() {
    let Fault::ErrorCode(code) = fault_of("(call $refuse)") else { panic!("an error code") };
    assert!(code.contains("LoopDetected"), "{code}");
}

#[test]
fn a_body_left_unfinished_is_never_told_as_complete() {
    assert!(matches!(fault_of("(call $answer) (call $hello)"), Fault::BrokenOff));
}

#[test]
fn a_guest_that_traps_half_way_through_a_told_answer_fails_the_call() {
    let told = child("(call $answer) (call $hello) (call $hello) (call $hello) (call $hello) unreachable").get();
    assert_eq!(told.status, Some(200));
    assert!(!told.ended);
    assert!(matches!(told.fault, Some(Fault::Trap { .. })), "{told:?}");
}

#[test]
fn a_guest_that_traps_after_its_answer_has_answered() {
    let told = child("(call $answer) (call $hello) (call $end) unreachable").get();
    assert_eq!((told.status, told.ended), (Some(200), true));
    assert_eq!(told.body, HELLO);
    assert!(matches!(told.fault, Some(Fault::Trap { .. })));
}

#[test]
fn a_loop_yields_after_each_slice_and_ends_at_the_cpu_limit() {
    let mut settings = settings();
    settings.limits.cpu = Duration::from_millis(50);
    let told = child_with("(call $forever)", &settings, 1).get();
    assert!(matches!(told.fault, Some(Fault::CpuLimit(_))), "{told:?}");
    assert!(told.slices >= 2, "{told:?}");
}

#[test]
fn memory_beyond_the_limit_is_refused_and_blamed() {
    let fault = fault_of("(if (i32.eq (memory.grow (i32.const 100)) (i32.const -1)) (then unreachable))");
    assert!(matches!(fault, Fault::OutOfMemory { limit: 1_048_576, wanted: 6_619_136 }), "{fault}");
}

#[test]
fn an_answer_longer_than_the_limit_fails() {
    let mut settings = settings();
    settings.limits.response_body = 12;
    let child = child_with("(call $answer) (call $hello) (call $hello) (call $hello) (call $end)", &settings, 1);
    let told = child.get();
    assert!(matches!(told.fault, Some(Fault::ResponseTooLong(12))), "{told:?}");
    assert!(told.body.len() <= 12);
}

#[test]
fn a_call_that_timed_out_is_over() {
    let child = child_with("(call $forever)", &settings(), 1);
    let mut call = child.call(Method::GET);
    assert!(matches!(poll_once(&mut call), Progress::Sliced));
    assert!(matches!(call.time_out(), Fault::WallLimit(limit) if limit == call.wall()));
    assert!(matches!(poll_once(&mut call), Progress::Done));
}

#[test]
fn one_call_more_than_there_are_slots_fails_alone_and_frees_nothing_of_the_others() {
    let child = child_with("(call $forever)", &settings(), 1);
    let mut first = child.call(Method::GET);
    assert!(matches!(poll_once(&mut first), Progress::Sliced));
    assert!(matches!(poll_once(&mut child.call(Method::GET)), Progress::Failed(Fault::NoRoom)));
    assert!(matches!(poll_once(&mut first), Progress::Sliced));
    drop(first);
    assert!(matches!(poll_once(&mut child.call(Method::GET)), Progress::Sliced));
}

#[test]
fn a_fresh_instance_sees_nothing_of_the_one_before() {
    // Traps unless its memory is as it was at the start, and then changes it.
    let child = child(
        "(if (i32.load (i32.const 1024)) (then unreachable)) (i32.store (i32.const 1024) (i32.const 7))
         (call $answer) (call $end)",
    );
    for _ in 0..20 {
        assert_eq!(child.get().status, Some(200));
    }
}
