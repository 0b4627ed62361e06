//! Paths that do what no handler should. Each ends its own request, and that is all it ends.

use std::hint::black_box;
use std::io::Write;
use std::time::Duration;

use crate::exchange::Exchange;
use crate::world::pause;

/// `/trap`: panics, which ends in the instruction `unreachable`. Never inlined, so that the log's backtrace names it.
#[inline(never)]
pub fn trap() {
    panic!("the lab was asked to trap");
}

/// `/loop`: computes for ever.
pub fn run_for_ever() {
    loop {
        black_box(());
    }
}

/// `/memory`: takes memory and writes to it until there is no more, at which Rust gives up.
pub fn eat_memory() {
    let mut taken = Vec::new();
    loop {
        taken.push(black_box(vec![1_u8; 1 << 20]));
    }
}

/// `/stack`: calls itself until the stack is full.
pub fn overflow_stack() {
    fn deeper(depth: u64) -> u64 {
        let frame = black_box([depth; 64]);
        // Never met: it keeps the compiler from seeing that this has no end.
        if depth == u64::MAX { 0 } else { deeper(depth + 1) + frame[0] }
    }
    black_box(deeper(0));
}

/// `/half`: announces a text, sends half of it, and is done. It pauses after the half, which lets the server send what
/// it has: an answer that has not begun would be replaced by a 500.
pub fn answer_half(exchange: Exchange) {
    const TEXT: &str = "Here is the first half. Here is the second.";
    const HALF: usize = TEXT.len() / 2;
    let length = TEXT.len().to_string();
    let mut answer = exchange.answer(200, &[("content-type", "text/plain"), ("content-length", &length)]);
    let _ = answer.write_all(&TEXT.as_bytes()[..HALF]).and_then(|()| answer.flush());
    pause(Duration::from_millis(1));
    answer.finish();
}
