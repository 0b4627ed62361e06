//! Paths that show what the guest sees of a request's head, and that answer with heads of all kinds.

use std::fmt::Write as _;

use wasip3::http::types::Fields;

use crate::exchange::{self, Exchange, Outcome};

/// `/status?code=&text=&length=`: an answer with that status and nothing but this text and this `content-length`.
pub fn status(exchange: &Exchange) -> Outcome {
    let code = u16::try_from(exchange.target.number("code", 200)).expect("a status has three digits");
    let text = exchange.target.parameter("text").unwrap_or_default().as_bytes().to_vec();
    let length = exchange.target.parameter("length");
    let headers: Vec<(&str, &str)> = length.into_iter().map(|length| ("content-length", length)).collect();
    exchange::answer(code, &headers, async move |mut body| {
        body.write_all(text).await;
        None
    })
}

/// `/method`, `/headers`: the request as the guest sees it, one fact a line, headers in the host's order.
pub fn describe(exchange: &Exchange) -> Outcome {
    let request = &exchange.request;
    let mut text = String::new();
    let mut line = |name: &str, value: &str| writeln!(text, "{name}: {value}").expect("a string takes any text");
    line("method", &format!("{:?}", request.get_method()));
    line("target", request.get_path_with_query().as_deref().unwrap_or("(none)"));
    line("authority", request.get_authority().as_deref().unwrap_or("(none)"));
    line("scheme", &format!("{:?}", request.get_scheme()));
    for (name, value) in request.get_headers().copy_all() {
        line(&format!("header {name}"), &String::from_utf8_lossy(&value));
    }
    exchange::text(200, &text)
}

/// `/bad-header?name=&value=&times=`: tries to set that header so often (once unless said). If the host's interface refuses
/// it, the body says how; otherwise the answer carries it and the body says "set".
pub fn bad_header(exchange: &Exchange) -> Outcome {
    let fields = Fields::new();
    let name = exchange.target.parameter("name").unwrap_or_default();
    let value = exchange.target.parameter("value").unwrap_or_default();
    let set = (0..exchange.target.number("times", 1)).try_for_each(|_| fields.append(name, value.as_bytes()));
    let text = match set {
        Ok(()) => "set\n".to_owned(),
        Err(refused) => format!("refused: {refused:?}\n"),
    };
    exchange::answer_with(200, fields, async move |mut body| {
        body.write_all(text.into_bytes()).await;
        None
    })
}

/// `/trailers`: a body of two writes and the trailer `x-checksum: 42`.
pub fn trailers() -> Outcome {
    exchange::answer(200, &[("content-type", "text/plain"), ("trailer", "x-checksum")], async move |mut body| {
        body.write_all(b"first\n".to_vec()).await;
        body.write_all(b"second\n".to_vec()).await;
        let trailers = Fields::new();
        trailers.append("x-checksum", b"42").expect("the trailer is well-formed");
        Some(trailers)
    })
}
