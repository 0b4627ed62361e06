//! A guest whose paths do what the end-to-end tests need: answer, misbehave, and look around in the sandbox.
//!
//! Only the table of paths lives here; what the paths do is in the files beside. The tests know this guest by its
//! paths and query parameters, so each is documented where it is handled.

mod bodies;
mod exchange;
mod faults;
mod headers;
mod target;
mod world;

use exchange::Exchange;
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

struct Probe;

wasip2::http::proxy::export!(Probe);

impl Guest for Probe {
    fn handle(request: IncomingRequest, answer_to: ResponseOutparam) {
        let exchange = Exchange::new(request, answer_to);
        match exchange.path() {
            "/hello" => exchange.text(200, "hello\n"),
            "/status" => headers::status(exchange),
            "/method" | "/headers" => headers::describe(exchange),
            "/bad-header" => headers::bad_header(exchange),
            "/trailers" => headers::trailers(exchange),

            "/echo" => bodies::echo(exchange),
            "/big" => bodies::big(exchange),
            "/flood" => bodies::flood(exchange),
            "/ignore-body" => bodies::ignore(exchange),
            "/slow-read" => bodies::slow_read(exchange),
            "/poll-read" => bodies::poll_read(exchange),
            "/drip" => bodies::drip(exchange),

            "/trap" => faults::trap(),
            "/no-answer" => {}
            "/error" => faults::error(exchange),
            "/loop" => faults::spin_for_ever(),
            "/spin" => faults::spin(exchange),
            "/sleep" => faults::sleep(exchange),
            "/memory" => faults::eat_memory(),
            "/stack" => faults::overflow_stack(),
            "/half" => faults::break_off(exchange),
            "/long" => faults::exceed_length(exchange),
            "/short" => faults::fall_short(exchange),
            "/after" => faults::go_on_after_the_answer(exchange),
            "/exit" => faults::exit(exchange),

            "/env" => world::environment_variable(exchange),
            "/args" => world::arguments(exchange),
            "/read" => world::read_file(exchange),
            "/write" => world::write_file(exchange),
            "/list" => world::list_directory(exchange),
            "/stdout" => world::print(exchange, std::io::stdout()),
            "/stderr" => world::print(exchange, std::io::stderr()),
            "/fetch" => world::fetch(exchange),
            "/count" => world::count(exchange),
            "/instance" => world::instance(exchange),
            "/canary" => world::canary(exchange),

            path => {
                let text = format!("the probe has no path {path}\n");
                exchange.text(404, &text);
            }
        }
    }
}
