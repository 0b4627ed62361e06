//! A guest that misbehaves at the push of a button, and serves the page with the buttons.
//!
//! Only the table of paths lives here. The lab serves this one file as three modules that differ in nothing but how
//! long an instance lives and with whom it shares a process; the guest itself does not know which of them it is.

mod exchange;
mod faults;
mod memory;
mod page;
mod world;

use exchange::Exchange;
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

struct Lab;

wasip2::http::proxy::export!(Lab);

impl Guest for Lab {
    fn handle(request: IncomingRequest, answer_to: ResponseOutparam) {
        let exchange = Exchange::new(&request, answer_to);
        memory::count_this_request();
        match exchange.name() {
            "count" => exchange.json(200, &memory::state()),
            "secret" => memory::secret(exchange),

            "trap" => faults::trap(),
            "loop" => faults::run_for_ever(),
            "memory" => faults::eat_memory(),
            "stack" => faults::overflow_stack(),
            "half" => faults::answer_half(exchange),

            "files" => world::try_files(exchange),
            "call-out" => world::call_out(exchange),
            "sleep" => world::sleep(exchange),

            name => match page::asset(name) {
                Some(asset) => exchange.asset(asset),
                None => exchange.json(404, &serde_json::json!({ "error": "the lab has no such path" })),
            },
        }
    }
}
