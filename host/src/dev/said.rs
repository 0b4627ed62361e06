//! What a line of a server's output says: the access log, the error log, and what its processes print, which all come by one
//! pipe. Reads text and prints nothing.

use std::time::Duration;

/// A line, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said<'a> {
    /// A request was answered: a line of the access log.
    Request(Request<'a>),
    /// A guest has printed a line.
    Printed { module: &'a str, text: &'a str },
    /// Something went wrong with a guest, or is told of one.
    OfGuest { module: &'a str, level: Level, text: &'a str },
    /// A frame of the backtrace of what went wrong before it.
    Frame(Frame<'a>),
    /// The server speaks of itself.
    Server { level: Level, text: &'a str },
    /// None of these: mistakes in the configuration, for instance.
    Other(&'a str),
}

/// As the error log has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Error,
    Warn,
    Info,
    /// And what is below it.
    Debug,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request<'a> {
    /// Method and target; of one that was refused, what came.
    pub(super) line: &'a str,
    pub(super) status: u16,
    pub(super) took: Duration,
    /// `None`: no module has answered.
    pub(super) guest_cpu: Option<Duration>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    /// Without what a compiler adds to it.
    Function(String),
    /// Where in the source.
    Place(&'a str),
}

/// What a line of the error log says besides.
#[derive(Debug, Default)]
struct Fields<'a> {
    module: Option<&'a str>,
    stream: Option<&'a str>,
}

impl<'a> Said<'a> {
    /// Of a line without its end.
    pub(super) fn read(line: &'a str) -> Self {
        read_request(line)
            .map(Said::Request)
            .or_else(|| read_event(line))
            .or_else(|| read_frame(line).map(Said::Frame))
            .unwrap_or(Said::Other(line))
    }
}

/// `CLIENT - - [DATE] "METHOD TARGET VERSION" STATUS BYTES "REFERER" "AGENT" MODULE MICROSECONDS MICROSECONDS`; no field has
/// a quotation mark of its own but behind a backslash.
fn read_request(line: &str) -> Option<Request<'_>> {
    let (client, rest) = line.split_once(" - - [")?;
    if client.contains(' ') {
        return None;
    }
    let (_date, rest) = rest.split_once("] \"")?;
    let (request, rest) = rest.split_once("\" ")?;
    let status = rest.split(' ').next()?.parse().ok()?;
    let mut from_the_end = rest.rsplit(' ');
    let mut micros = || from_the_end.next()?.parse().ok().map(Duration::from_micros);
    let (guest_cpu, took) = (micros()?, micros()?);
    let module = from_the_end.next()?;
    let line = request.rsplit_once(" HTTP/").map_or(request, |(line, _version)| line);
    Some(Request { line, status, took, guest_cpu: (module != "-").then_some(guest_cpu) })
}

/// `TIME [PID] LEVEL name=value name=value: TEXT`, with fields or without.
fn read_event(line: &str) -> Option<Said<'_>> {
    let (_time, rest) = line.split_once(" [")?;
    let (pid, rest) = rest.split_once("] ")?;
    pid.parse::<u32>().ok()?;
    let (level, rest) = rest.split_once(' ')?;
    let level = match level {
        "ERROR" => Level::Error,
        "WARN" => Level::Warn,
        "INFO" => Level::Info,
        "DEBUG" | "TRACE" => Level::Debug,
        _ => return None,
    };
    let (Fields { module, stream }, text) = read_fields(rest);
    Some(match (module, stream) {
        (Some(module), Some(_)) => Said::Printed { module, text },
        (Some(module), None) => Said::OfGuest { module, level, text },
        (None, _) => Said::Server { level, text },
    })
}

fn read_fields(rest: &str) -> (Fields<'_>, &str) {
    let mut fields = Fields::default();
    let Some((written, text)) = rest.split_once(": ") else { return (fields, rest) };
    for field in written.split(' ') {
        // A text may have a colon too.
        let Some((name, value)) = field.split_once('=') else { return (Fields::default(), rest) };
        match name {
            "module" => fields.module = Some(value),
            "stream" => fields.stream = Some(value),
            _ => {}
        }
    }
    (fields, text)
}

/// `NUMBER: OFFSET - FILE!FUNCTION`, or `at PLACE` behind it where the module has what it takes.
fn read_frame(line: &str) -> Option<Frame<'_>> {
    if let Some(place) = line.strip_prefix("at ") {
        return Some(Frame::Place(place));
    }
    let (number, rest) = line.split_once(':')?;
    number.parse::<u32>().ok()?;
    let (offset, name) = rest.trim_start().split_once(" - ")?;
    let is_offset = offset.starts_with("0x") || offset == "<unknown>";
    // In a module of one file, which is most of them, its name tells nothing.
    let function = name.split_once('!').map_or(name, |(_file, function)| function);
    is_offset.then(|| Frame::Function(without_hashes(function)))
}

/// `std[d123b7a1a2ed1472]::process::abort` as `std::process::abort`, and `shop::handle::h8523bae53211a963` as `shop::handle`.
fn without_hashes(function: &str) -> String {
    let is_hash = |text: &str| text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let function = match function.rsplit_once("::h") {
        Some((name, hash)) if is_hash(hash) => name,
        _ => function,
    };
    let mut name = String::with_capacity(function.len());
    for (index, part) in function.split('[').enumerate() {
        match part.split_once(']') {
            Some((hash, rest)) if index > 0 && is_hash(hash) => name.push_str(rest),
            _ if index > 0 => name.extend(["[", part]),
            _ => name.push_str(part),
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_from_its_line_of_the_access_log() {
        let line = "127.0.0.1 - - [26/Nov/2026:14:46:41 +0000] \"GET /a?b=c HTTP/1.1\" 200 8 \"-\" \"x \\\" 500\" shop 2590 187";
        let (took, cpu) = (Duration::from_micros(2590), Duration::from_micros(187));
        let request = Request { line: "GET /a?b=c", status: 200, took, guest_cpu: Some(cpu) };
        assert_eq!(Said::read(line), Said::Request(request.clone()));
        let by_the_server = line.replace(" shop ", " - ");
        assert_eq!(Said::read(&by_the_server), Said::Request(Request { guest_cpu: None, ..request.clone() }));
        let refused = line.replace("GET /a?b=c HTTP/1.1", "\\x16\\x03").replace("200", "400");
        assert_eq!(Said::read(&refused), Said::Request(Request { line: "\\x16\\x03", status: 400, ..request }));
    }

    #[test]
    fn what_a_guest_prints_is_its_own_whatever_it_is() {
        for text in ["hi: there", "", "127.0.0.1 - - [x] \"GET / HTTP/1.1\" 200 8 \"-\" \"-\" shop 1 1"] {
            let line =
                format!("2026-11-26T14:46:41.038863Z [6667] INFO module=shop request=58f5 stream=stdout: {text}");
            assert_eq!(Said::read(&line), Said::Printed { module: "shop", text });
        }
    }

    #[test]
    fn a_fault_names_its_module_and_a_backtrace_follows() {
        let line =
            "2026-11-26T14:46:41.032551Z [6667] ERROR module=shop request=58f5 cause=trap: the guest trapped: oh";
        let text = "the guest trapped: oh";
        assert_eq!(Said::read(line), Said::OfGuest { module: "shop", level: Level::Error, text });
        for (line, function) in [
            ("0:  0x1c074 - shop.wasm!abort", "abort"),
            ("1:  0x17d9e - shop.wasm!std[d123b7a1a2ed1472]::process::abort", "std::process::abort"),
            ("11:  0x118fa - shop.wasm!shop::faults::trap::h8523bae53211a963", "shop::faults::trap"),
            ("12: 0x1 - <unknown>!<wasm function 3>", "<wasm function 3>"),
            ("13: 0x1 - shop.wasm!<[u8]>::len", "<[u8]>::len"),
        ] {
            assert_eq!(Said::read(line), Said::Frame(Frame::Function(function.into())), "{line}");
        }
        assert_eq!(Said::read("at src/lib.rs:10:5"), Said::Frame(Frame::Place("src/lib.rs:10:5")));
    }

    #[test]
    fn the_server_speaks_of_itself_with_fields_or_without() {
        let server = |level, text| Said::Server { level, text };
        for (line, said) in [
            ("2026-11-26T14:46:40.9Z [6650] INFO ready", server(Level::Info, "ready")),
            (
                "2026-11-26T14:46:40.9Z [6650] ERROR reload failed: a.toml:1: no",
                server(Level::Error, "reload failed: a.toml:1: no"),
            ),
            ("2026-11-26T14:46:40.9Z [6650] DEBUG request=7: gone", server(Level::Debug, "gone")),
            ("2026-11-26T14:46:40.9Z [6650] WARN module \"a\": b", server(Level::Warn, "module \"a\": b")),
        ] {
            assert_eq!(Said::read(line), said);
        }
    }

    #[test]
    fn what_is_none_of_these_is_left_as_it_is() {
        for line in
            ["", "guesthouse.toml:3: unknown key \"a\"", "cannot bind 127.0.0.1:80: permission denied", "1: one"]
        {
            assert_eq!(Said::read(line), Said::Other(line));
        }
    }
}
