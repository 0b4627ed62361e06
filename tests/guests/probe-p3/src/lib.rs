//! The probe for WASI 0.3: the same paths as the probe for 0.2, as far as the interface has what they need, and those
//! that show what many requests in one instance do to each other.
//!
//! Only the table of paths lives here; what the paths do is in the files beside.

#![expect(clippy::unnecessary_wraps, reason = "every path ends as a handler does")]

mod bodies;
mod exchange;
mod faults;
mod files;
mod headers;
mod print;
#[path = "../../probe/src/target.rs"]
mod target;
mod world;

use exchange::{Exchange, Outcome};
use wasip3::http::types::{ErrorCode, Request, Response};

struct Probe;

wasip3::http::service::export!(Probe);

impl wasip3::exports::http::handler::Guest for Probe {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        answer(Exchange::new(request)).await
    }
}

async fn answer(exchange: Exchange) -> Outcome {
    match exchange.target.path() {
        "/hello" => exchange::text(200, "hello\n"),
        "/status" => headers::status(&exchange),
        "/method" | "/headers" => headers::describe(&exchange),
        "/bad-header" => headers::bad_header(&exchange),
        "/trailers" => headers::trailers(),

        "/echo" => bodies::echo(exchange),
        "/big" => bodies::big(&exchange),
        "/flood" => bodies::flood(),
        "/ignore-body" => exchange::text(200, "ignored\n"),
        "/slow-read" => bodies::slow_read(exchange).await,
        "/answer-first" => bodies::answer_first(exchange),
        "/drip" => bodies::drip(&exchange),

        "/trap" => faults::trap(),
        "/error" => faults::error(),
        "/loop" => faults::spin_for_ever(),
        "/spin" => faults::spin(&exchange),
        "/sleep" => faults::sleep(&exchange).await,
        "/memory" => faults::eat_memory(),
        "/stack" => faults::overflow_stack(),
        "/half" => faults::break_off(&exchange),
        "/long" => faults::exceed_length(),
        "/short" => faults::fall_short(),
        "/after" => faults::go_on_after_the_answer(&exchange),
        "/exit" => faults::exit(&exchange),

        "/env" => world::environment_variable(&exchange),
        "/read" => world::read_file(&exchange),
        "/stdout" => world::print(&exchange, std::io::stdout()),
        "/stderr" => world::print(&exchange, std::io::stderr()),
        "/open" => files::open(&exchange).await,
        "/print-out" => print::print(&exchange, wasip3::cli::stdout::write_via_stream).await,
        "/print-err" => print::print(&exchange, wasip3::cli::stderr::write_via_stream).await,
        "/fetch" => world::fetch(&exchange).await,
        "/count" => world::count(),
        "/instance" => world::instance(&exchange).await,

        path => exchange::text(404, &format!("the probe has no path {path}\n")),
    }
}
