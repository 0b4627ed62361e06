//! Why a call failed, sorted by who must act; and how the end of a guest is judged.
//!
//! The texts here are for the log. A client is told a status and nothing of the inside.

use std::any::Any;
use std::fmt::{self, Write as _};
use std::time::Duration;

use http::StatusCode;
use serde::{Deserialize, Serialize};
use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::p3::bindings::http::types::ErrorCode as ErrorCode03;

use super::cgi::head::BadHead;
use super::limits::{CallLimits, Refused};

/// Bytes of each text of a fault that is the guest's own: an error code may bring as much as one call into the host may,
/// and the name of a function as much as its file has.
const TEXT_BYTES: usize = 8 << 10;

/// A call that did not end well. It ends one request; the instance is gone, and nothing else notices.
///
/// A confined child tells it to the server child that asked, so that it is logged and answered like any other.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Fault {
    /// The guest hit a trap: `unreachable`, a memory access out of bounds, its stack overflowed, a panic...
    Trap {
        /// What happened, with the names of the causes.
        message: String,
        /// The guest's stack, innermost first, one frame a line; may be empty.
        backtrace: String,
    },
    /// The guest left through `wasi:cli/exit` with this status.
    Exited(i32),
    /// The guest returned without setting a response.
    NoAnswer,
    /// The guest set an error in place of a response.
    ErrorCode(String),
    /// The guest set a response that cannot be sent as it is.
    BadAnswer(String),
    /// The guest left its response half done.
    BrokenOff,
    /// The guest trapped after it was refused memory.
    OutOfMemory {
        /// Bytes.
        limit: u64,
        /// Bytes that the guest would have had.
        wanted: u64,
    },
    /// Another request that the same instance served has ended it; how.
    InstanceLost(String),
    /// `limits.wall` is passed.
    WallLimit(Duration),
    /// `limits.cpu` is passed.
    CpuLimit(Duration),
    /// The response is longer than `limits.response_body`, bytes.
    ResponseTooLong(u64),
    /// All slots of the pool are taken: more calls at once than the child was set up for.
    NoRoom,
    /// Every child of the module's pool is busy, and as many requests as it may have are waiting already.
    PoolFull,
    /// No child of the module's pool was free for so long.
    QueueTimeout(Duration),
    /// The module's pool cannot be reached.
    NoPool(String),
    /// The confined child ended before its answer did.
    ChildGone,
    /// The confined child said what makes no sense.
    BadHop(String),
    /// The host failed, not the guest.
    Host(String),
}

/// Who must act for a [`Fault`] not to come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The guest's author.
    Guest,
    /// The guest's author or the operator: a limit was hit.
    Limit,
    /// The server's authors, or the operator if the server is overloaded.
    Host,
}

/// The guest's CPU time is used up. Raised inside the guest, so that it unwinds like a trap.
#[derive(Debug, thiserror::Error)]
#[error("cpu time used up")]
pub(super) struct CpuSpent;

/// What a fault has of words that are not the server's own.
struct Texts<'a> {
    line: Option<&'a mut String>,
    /// One a line.
    frames: Option<&'a mut String>,
}

impl Fault {
    /// One word for the log.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Fault::Trap { .. } => "trap",
            Fault::Exited(_) => "exit",
            Fault::NoAnswer => "no-answer",
            Fault::ErrorCode(_) => "error-code",
            Fault::BadAnswer(_) => "bad-answer",
            Fault::BrokenOff => "broken-off",
            Fault::OutOfMemory { .. } => "memory-limit",
            Fault::InstanceLost(_) => "instance-lost",
            Fault::WallLimit(_) => "wall-limit",
            Fault::CpuLimit(_) => "cpu-limit",
            Fault::ResponseTooLong(_) => "response-limit",
            Fault::NoRoom => "no-room",
            Fault::PoolFull => "pool-full",
            Fault::QueueTimeout(_) => "queue-timeout",
            Fault::NoPool(_) => "no-pool",
            Fault::ChildGone => "child-gone",
            Fault::BadHop(_) => "bad-hop",
            Fault::Host(_) => "host",
        }
    }

    /// Who must act.
    #[must_use]
    pub fn blame(&self) -> Blame {
        match self {
            Fault::Trap { .. }
            | Fault::Exited(_)
            | Fault::NoAnswer
            | Fault::ErrorCode(_)
            | Fault::BadAnswer(_)
            | Fault::InstanceLost(_)
            | Fault::BrokenOff => Blame::Guest,
            Fault::OutOfMemory { .. }
            | Fault::WallLimit(_)
            | Fault::CpuLimit(_)
            | Fault::ResponseTooLong(_)
            | Fault::PoolFull
            | Fault::QueueTimeout(_) => Blame::Limit,
            Fault::NoRoom | Fault::NoPool(_) | Fault::ChildGone | Fault::BadHop(_) | Fault::Host(_) => Blame::Host,
        }
    }

    /// What a client is told that has not seen anything of the answer yet (RFC 9110, 15.6).
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Fault::WallLimit(_) | Fault::CpuLimit(_) => StatusCode::GATEWAY_TIMEOUT,
            Fault::NoRoom | Fault::PoolFull | Fault::QueueTimeout(_) | Fault::NoPool(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Fault::ChildGone | Fault::BadHop(_) => StatusCode::BAD_GATEWAY,
            Fault::Trap { .. }
            | Fault::Exited(_)
            | Fault::NoAnswer
            | Fault::ErrorCode(_)
            | Fault::BadAnswer(_)
            | Fault::BrokenOff
            | Fault::OutOfMemory { .. }
            | Fault::InstanceLost(_)
            | Fault::ResponseTooLong(_)
            | Fault::Host(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// As a confined child may tell it: with nothing in its texts that could forge a line of the log. `None`: it is not
    /// for such a child to say.
    #[must_use]
    pub fn as_told(mut self) -> Option<Fault> {
        if let Fault::PoolFull | Fault::QueueTimeout(_) | Fault::NoPool(_) | Fault::ChildGone | Fault::BadHop(_) = self
        {
            return None;
        }
        let Texts { line, frames } = self.texts();
        if let Some(line) = line {
            *line = printable(line);
        }
        if let Some(frames) = frames {
            *frames = frames.lines().map(printable).collect::<Vec<_>>().join("\n");
        }
        Some(self)
    }

    /// With texts of so many bytes at most.
    #[must_use]
    pub fn shortened(mut self, bytes_max: usize) -> Fault {
        let Texts { line, frames } = self.texts();
        for text in [line, frames].into_iter().flatten() {
            text.truncate(text.floor_char_boundary(bytes_max / 2));
        }
        self
    }

    fn texts(&mut self) -> Texts<'_> {
        match self {
            Fault::Trap { message, backtrace } => Texts { line: Some(message), frames: Some(backtrace) },
            Fault::ErrorCode(line)
            | Fault::BadAnswer(line)
            | Fault::InstanceLost(line)
            | Fault::NoPool(line)
            | Fault::BadHop(line)
            | Fault::Host(line) => Texts { line: Some(line), frames: None },
            Fault::Exited(_)
            | Fault::NoAnswer
            | Fault::BrokenOff
            | Fault::OutOfMemory { .. }
            | Fault::WallLimit(_)
            | Fault::CpuLimit(_)
            | Fault::ResponseTooLong(_)
            | Fault::NoRoom
            | Fault::PoolFull
            | Fault::QueueTimeout(_)
            | Fault::ChildGone => Texts { line: None, frames: None },
        }
    }

    /// A fault of ours, which was caught.
    pub(super) fn of_panic(panic: &(dyn Any + Send)) -> Fault {
        let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        Fault::Host(format!("panicked: {}", text.unwrap_or("without a message")))
    }

    /// What the guest handed over in place of a response.
    pub(super) fn from_error_code(code: &ErrorCode) -> Fault {
        Fault::ErrorCode(match code {
            ErrorCode::InternalError(Some(text)) => format!("internal-error: {}", printable(beginning(text))),
            other => at_most(format_args!("{other:?}")),
        })
    }

    /// The same of WASI 0.3.
    pub(super) fn from_error_code_03(code: &ErrorCode03) -> Fault {
        Fault::ErrorCode(match code {
            ErrorCode03::InternalError(Some(text)) => format!("internal-error: {}", printable(beginning(text))),
            other => at_most(format_args!("{other:?}")),
        })
    }
}

/// What the end of a guest means. `refused` is the growth of memory that it was denied, if any.
pub(super) fn judge(result: wasmtime::Result<()>, limits: &CallLimits, refused: Option<Refused>) -> Result<(), Fault> {
    let Err(error) = result else { return Ok(()) };
    if let Some(exit) = error.downcast_ref::<I32Exit>() {
        return if exit.0 == 0 { Ok(()) } else { Err(Fault::Exited(exit.0)) };
    }
    Err(if error.is::<CpuSpent>() {
        Fault::CpuLimit(limits.cpu)
    } else if let Some(bad) = error.downcast_ref::<BadHead>() {
        Fault::BadAnswer(bad.to_string())
    } else if error.is::<PoolConcurrencyLimitError>() {
        Fault::NoRoom
    } else if let Some(Refused { wanted }) = refused {
        Fault::OutOfMemory { limit: limits.memory, wanted }
    } else {
        trap(&error)
    })
}

fn trap(error: &wasmtime::Error) -> Fault {
    let backtrace = error.downcast_ref::<WasmBacktrace>().map(frames).unwrap_or_default();
    let message = match error.downcast_ref::<Trap>() {
        Some(trap) => trap.to_string(),
        // Not `{:#}`: the outermost text is the backtrace again.
        None => printable(&at_most(format_args!("{}", error.root_cause()))),
    };
    Fault::Trap { message, backtrace }
}

/// The stack as the log shows it: one frame a line, with the offset into the Wasm file and the function's name.
fn frames(backtrace: &WasmBacktrace) -> String {
    // Wasmtime's own text has readable names; its first line is a heading.
    let text = at_most(format_args!("{backtrace}"));
    let frames: Vec<String> = text.lines().skip(1).map(|line| printable(line.trim())).collect();
    frames.join("\n")
}

/// As much of a text as a fault keeps.
fn beginning(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_BYTES)]
}

/// The same of a text that is still to be written: the rest is never made.
fn at_most(text: fmt::Arguments<'_>) -> String {
    let mut bounded = Bounded(String::new());
    // An error says that there is more.
    let _ = bounded.write_fmt(text);
    bounded.0
}

/// Takes [`TEXT_BYTES`] of what is written to it.
struct Bounded(String);

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let fitting = text.floor_char_boundary(TEXT_BYTES - self.0.len());
        self.0.push_str(&text[..fitting]);
        if fitting < text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

/// What a guest says and what a Wasm file names may be anything; no control character of it may reach the log, least
/// of all one that ends a line.
fn printable(line: &str) -> String {
    line.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Trap { message, backtrace } if backtrace.is_empty() => write!(f, "the guest trapped: {message}"),
            Fault::Trap { message, backtrace } => write!(f, "the guest trapped: {message}\n{backtrace}"),
            Fault::Exited(status) => write!(f, "the guest exited with status {status}"),
            Fault::NoAnswer => f.write_str("the guest returned without setting a response"),
            Fault::ErrorCode(code) => write!(f, "the guest set an error in place of a response: {code}"),
            Fault::BadAnswer(reason) => write!(f, "the guest's response cannot be sent: {reason}"),
            Fault::BrokenOff => f.write_str("the guest left its response half done"),
            Fault::OutOfMemory { limit, wanted } => {
                write!(f, "the guest ran out of memory: it needs {wanted} bytes, limits.memory is {limit}")
            }
            Fault::InstanceLost(how) => write!(f, "another request of the same instance has ended it: {how}"),
            Fault::WallLimit(limit) => write!(f, "the guest took longer than limits.wall ({limit:?})"),
            Fault::CpuLimit(limit) => write!(f, "the guest used more than limits.cpu ({limit:?})"),
            Fault::ResponseTooLong(limit) => {
                write!(f, "the response is longer than limits.response_body ({limit} bytes)")
            }
            Fault::NoRoom => f.write_str("no slot is free for another instance"),
            Fault::PoolFull => f.write_str(
                "the module's pool is full: every child is busy and listen_backlog requests are waiting; raise \
                 max_request_workers in [module.pool] if the machine can bear it",
            ),
            Fault::QueueTimeout(limit) => write!(
                f,
                "no child of the module's pool was free within queue_timeout ({limit:?}): raise max_request_workers in \
                 [module.pool] if the machine can bear it"
            ),
            Fault::NoPool(cause) => write!(f, "cannot reach the module's pool: {cause}"),
            Fault::ChildGone => f.write_str("the confined child ended before its answer did"),
            Fault::BadHop(reason) => write!(f, "the confined child broke the rules: {reason}"),
            Fault::Host(message) => write!(f, "the server failed to run the guest: {message}"),
        }
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> CallLimits {
        CallLimits {
            memory: 10,
            table_elements: 1,
            wall: Duration::from_secs(1),
            cpu: Duration::from_secs(2),
            response_body: 1,
        }
    }

    #[test]
    fn a_guest_that_exits_with_zero_has_just_ended() {
        assert!(judge(Err(I32Exit(0).into()), &limits(), None).is_ok());
        assert!(matches!(judge(Err(I32Exit(3).into()), &limits(), None), Err(Fault::Exited(3))));
    }

    #[test]
    fn a_trap_after_a_refused_growth_is_told_as_out_of_memory() {
        let trap = || Err(Trap::UnreachableCodeReached.into());
        assert!(matches!(judge(trap(), &limits(), None), Err(Fault::Trap { .. })));
        let refused = Some(Refused { wanted: 11 });
        assert!(matches!(judge(trap(), &limits(), refused), Err(Fault::OutOfMemory { limit: 10, wanted: 11 })));
    }

    #[test]
    fn a_guest_cannot_forge_a_line_of_the_log() {
        let forged = "oops\n2026-11-21T10:00:00Z [1] INFO all is well\x1b[2J";
        let codes =
            [ErrorCode::InternalError(Some(forged.into())), ErrorCode::HttpResponseTransferCoding(Some(forged.into()))];
        for code in codes {
            let text = Fault::from_error_code(&code).to_string();
            assert!(text.contains("oops") && !text.contains(char::is_control), "{text:?}");
        }
        let told = judge(Err(wasmtime::Error::msg(forged)), &limits(), None).unwrap_err().to_string();
        assert!(told.contains("oops") && !told.contains(char::is_control), "{told:?}");
    }

    #[test]
    fn a_guest_cannot_fill_the_log_with_one_fault() {
        let long = "\u{e9}\n".repeat(TEXT_BYTES);
        let texts = [
            Fault::from_error_code(&ErrorCode::InternalError(Some(long.clone()))).to_string(),
            Fault::from_error_code(&ErrorCode::HttpResponseTransferCoding(Some(long.clone()))).to_string(),
            Fault::from_error_code_03(&ErrorCode03::InternalError(Some(long.clone()))).to_string(),
            Fault::from_error_code_03(&ErrorCode03::HttpResponseTransferCoding(Some(long.clone()))).to_string(),
            judge(Err(wasmtime::Error::msg(long)), &limits(), None).unwrap_err().to_string(),
        ];
        for text in texts {
            assert!((TEXT_BYTES / 2..TEXT_BYTES + 200).contains(&text.len()), "{} bytes", text.len());
        }
    }

    #[test]
    fn a_backtrace_is_as_long_as_the_log_bears_whatever_functions_are_called() {
        let named = format!("(module (func ${} (export \"f\") unreachable))", "x".repeat(3 * TEXT_BYTES));
        let engine = wasmtime::Engine::default();
        let mut store = wasmtime::Store::new(&engine, ());
        let instance = wasmtime::Module::new(&engine, named)
            .and_then(|module| wasmtime::Instance::new(&mut store, &module, &[]))
            .unwrap();
        let error = instance.get_typed_func::<(), ()>(&mut store, "f").unwrap().call(&mut store, ()).unwrap_err();
        let Fault::Trap { message, backtrace } = judge(Err(error), &limits(), None).unwrap_err() else {
            panic!("a trap")
        };
        assert!(message.contains("unreachable"), "{message}");
        assert!(backtrace.contains("xxx") && backtrace.len() <= TEXT_BYTES, "{} bytes", backtrace.len());
    }

    #[test]
    fn used_up_cpu_time_is_told_with_its_limit_and_not_as_a_trap() {
        let fault = judge(Err(CpuSpent.into()), &limits(), None).unwrap_err();
        assert!(matches!(fault, Fault::CpuLimit(limit) if limit == Duration::from_secs(2)));
        assert_eq!(fault.status(), StatusCode::GATEWAY_TIMEOUT);
    }
}
