//! Paths that do what no guest should: trap, run on, eat memory, break off, lie about a length.

use std::hint::black_box;
use std::io::Write;
use std::time::Instant;

use wasip2::http::types::{ErrorCode, ResponseOutparam};

use crate::exchange::{self, Exchange};

/// `/trap`: panics, which ends in the instruction `unreachable`. Never inlined, so that the backtrace names it.
#[inline(never)]
pub fn trap() {
    panic!("the probe was asked to trap");
}

/// `/error`: answers with an error code of `wasi:http` in place of a response.
pub fn error(exchange: Exchange) {
    ResponseOutparam::set(exchange.into_answer_to(), Err(ErrorCode::InternalError(Some("asked for".into()))));
}

/// `/loop`: computes for ever.
pub fn spin_for_ever() {
    loop {
        black_box(());
    }
}

/// `/spin?ms=`: computes for so long, then answers.
pub fn spin(exchange: Exchange) {
    let (started, duration) = (Instant::now(), exchange.millis(200));
    while started.elapsed() < duration {
        (0..10_000).for_each(|turn| {
            black_box(turn);
        });
    }
    exchange.text(200, "spun\n");
}

/// `/sleep?ms=`: waits on the host's clock for so long, then answers.
pub fn sleep(exchange: Exchange) {
    exchange::sleep(exchange.millis(200));
    exchange.text(200, "slept\n");
}

/// `/memory`: takes memory and uses it until there is no more, which traps.
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

/// `/half?ms=`: announces 100 bytes, sends 50, waits, and traps.
pub fn break_off(exchange: Exchange) {
    let pause = exchange.millis(0);
    let mut answer = exchange.answer(200, &[("content-length", "100")]);
    let _ = answer.write_all(&[b'x'; 50]).and_then(|()| answer.flush());
    exchange::sleep(pause);
    panic!("the probe was asked to break off");
}

/// `/long`: announces 10 bytes and writes 20.
pub fn exceed_length(exchange: Exchange) {
    let mut answer = exchange.answer(200, &[("content-length", "10")]);
    let _ = answer.write_all(&[b'x'; 20]).and_then(|()| answer.flush());
    answer.finish(None);
}

/// `/short`: announces 10 bytes, writes 5, and ends as if that were all.
pub fn fall_short(exchange: Exchange) {
    let mut answer = exchange.answer(200, &[("content-length", "10")]);
    let _ = answer.write_all(&[b'x'; 5]).and_then(|()| answer.flush());
    answer.finish(None);
}

/// `/after?ms=`: answers whole, goes on for so long, and says so on stderr.
pub fn go_on_after_the_answer(exchange: Exchange) {
    let duration = exchange.millis(100);
    exchange.text(200, "answered\n");
    exchange::sleep(duration);
    eprintln!("still here after the answer");
}

/// `/exit?code=`: ends through `wasi:cli/exit` without an answer; any code but 0 is a failure.
pub fn exit(exchange: Exchange) {
    let outcome = if exchange.number("code", 0) == 0 { Ok(()) } else { Err(()) };
    wasip2::cli::exit::exit(outcome);
}
