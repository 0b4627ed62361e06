//! Paths that show what the guest sees of a request's head, and that answer with heads of all kinds.

use std::fmt::Write as _;
use std::io::Write as _;

use wasip2::http::types::Fields;

use crate::exchange::Exchange;

/// `/status?code=&text=&length=`: an answer with that status and nothing but this text and this `content-length`.
pub fn status(exchange: Exchange) {
    let code = u16::try_from(exchange.number("code", 200)).expect("a status has three digits");
    let text = exchange.parameter("text").unwrap_or_default().to_owned();
    let fields = Fields::new();
    if let Some(length) = exchange.parameter("length") {
        fields.append("content-length", length.as_bytes()).expect("the tests ask for numbers");
    }
    let mut answer = exchange.answer_with(code, fields);
    let _ = answer.write_all(text.as_bytes());
    answer.finish(None);
}

/// `/method`, `/headers`: the request as the guest sees it, one fact a line, headers in the host's order.
pub fn describe(exchange: Exchange) {
    let request = &exchange.request;
    let mut text = String::new();
    let mut line = |name: &str, value: &str| writeln!(text, "{name}: {value}").expect("a string takes any text");
    line("method", &format!("{:?}", request.method()));
    line("target", request.path_with_query().as_deref().unwrap_or("(none)"));
    line("authority", request.authority().as_deref().unwrap_or("(none)"));
    line("scheme", &format!("{:?}", request.scheme()));
    for (name, value) in request.headers().entries() {
        line(&format!("header {name}"), &String::from_utf8_lossy(&value));
    }
    exchange.text(200, &text);
}

/// `/bad-header?name=&value=&times=`: tries to set that header so often (once unless said). If the host's interface refuses
/// it, the body says how; otherwise the answer carries it and the body says "set".
pub fn bad_header(exchange: Exchange) {
    let fields = Fields::new();
    let name = exchange.parameter("name").unwrap_or_default();
    let value = exchange.parameter("value").unwrap_or_default();
    let set = (0..exchange.number("times", 1)).try_for_each(|_| fields.append(name, value.as_bytes()));
    let text = match set {
        Ok(()) => "set\n".to_owned(),
        Err(refused) => format!("refused: {refused:?}\n"),
    };
    let mut answer = exchange.answer_with(200, fields);
    let _ = answer.write_all(text.as_bytes());
    answer.finish(None);
}

/// `/trailers`: a body of two writes and the trailer `x-checksum: 42`.
pub fn trailers(exchange: Exchange) {
    let mut answer = exchange.answer(200, &[("content-type", "text/plain"), ("trailer", "x-checksum")]);
    let _ = answer.write_all(b"first\n").and_then(|()| answer.flush());
    let _ = answer.write_all(b"second\n");
    let trailers = Fields::new();
    trailers.append("x-checksum", b"42").expect("the trailer is well-formed");
    answer.finish(Some(trailers));
}
