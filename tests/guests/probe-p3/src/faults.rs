//! Paths that do what no guest should: trap, run on, eat memory, break off, lie about a length.

use std::hint::black_box;
use std::time::Instant;

use wasip3::http::types::ErrorCode;

use crate::exchange::{self, Exchange, Outcome};

/// `/trap`: panics, which ends in the instruction `unreachable`. Never inlined, so that the backtrace names it.
#[inline(never)]
pub fn trap() -> Outcome {
    panic!("the probe was asked to trap");
}

/// `/error`: answers with an error code of `wasi:http` in place of a response.
pub fn error() -> Outcome {
    Err(ErrorCode::InternalError(Some("asked for".into())))
}

/// `/loop`: computes for ever.
pub fn spin_for_ever() -> Outcome {
    loop {
        black_box(());
    }
}

/// `/spin?ms=`: computes for so long, then answers.
pub fn spin(exchange: &Exchange) -> Outcome {
    let (started, duration) = (Instant::now(), exchange.target.millis(200));
    while started.elapsed() < duration {
        (0..10_000).for_each(|turn| {
            black_box(turn);
        });
    }
    exchange::text(200, "spun\n")
}

/// `/sleep?ms=`: waits on the host's clock for so long, then answers.
pub async fn sleep(exchange: &Exchange) -> Outcome {
    exchange::sleep(exchange.target.millis(200)).await;
    exchange::text(200, "slept\n")
}

/// `/memory`: takes memory and uses it until there is no more, which traps.
pub fn eat_memory() -> Outcome {
    let mut taken = Vec::new();
    loop {
        taken.push(black_box(vec![1_u8; 1 << 20]));
    }
}

/// `/stack`: calls itself until the stack is full.
pub fn overflow_stack() -> Outcome {
    fn deeper(depth: u64) -> u64 {
        let frame = black_box([depth; 64]);
        // Never met: it keeps the compiler from seeing that this has no end.
        if depth == u64::MAX { 0 } else { deeper(depth + 1) + frame[0] }
    }
    black_box(deeper(0));
    exchange::text(200, "there is an end\n")
}

/// `/half?ms=`: announces 100 bytes, sends 50, waits, and traps.
pub fn break_off(exchange: &Exchange) -> Outcome {
    let pause = exchange.target.millis(0);
    exchange::answer(200, &[("content-length", "100")], async move |mut body| {
        body.write_all(vec![b'x'; 50]).await;
        exchange::sleep(pause).await;
        panic!("the probe was asked to break off");
    })
}

/// `/long`: announces 10 bytes and writes 20.
pub fn exceed_length() -> Outcome {
    exchange::answer(200, &[("content-length", "10")], async move |mut body| {
        body.write_all(vec![b'x'; 20]).await;
        None
    })
}

/// `/short`: announces 10 bytes and writes 5.
pub fn fall_short() -> Outcome {
    exchange::answer(200, &[("content-length", "10")], async move |mut body| {
        body.write_all(vec![b'x'; 5]).await;
        None
    })
}

/// `/after?ms=`: answers whole, goes on for so long, and says so on stderr.
pub fn go_on_after_the_answer(exchange: &Exchange) -> Outcome {
    let duration = exchange.target.millis(100);
    wit_bindgen::spawn_local(async move {
        exchange::sleep(duration).await;
        eprintln!("still here after the answer");
    });
    exchange::text(200, "answered\n")
}

/// `/exit?code=`: ends through `wasi:cli/exit` without an answer; any code but 0 is a failure.
pub fn exit(exchange: &Exchange) -> Outcome {
    let outcome = if exchange.target.number("code", 0) == 0 { Ok(()) } else { Err(()) };
    wasip3::cli::exit::exit(outcome);
    exchange::text(200, "still here\n")
}
