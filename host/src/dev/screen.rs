//! What a developer reads: one line for each thing that has happened, in colours where a terminal shows them. Decides how
//! lines look, and not which there are.

use std::io::Write as _;
use std::time::Duration;

use anstyle::{AnsiColor, Style};

use super::said::{Frame, Level, Request, Said};
use crate::status::terminal::plain;
use crate::status::units::duration;

const OWN: Style = AnsiColor::Cyan.on_default();
const GUEST: Style = AnsiColor::Magenta.on_default();
const GOOD: Style = AnsiColor::Green.on_default();
const WARNING: Style = AnsiColor::Yellow.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const QUIET: Style = Style::new().dimmed();

/// Functions whose names begin so are not the guest's author's, and seldom what a backtrace is read for.
const RUNTIME: [&str; 7] = ["std::", "core::", "alloc::", "__rustc::", "abort", "runtime.", "wasi_snapshot_preview1::"];

/// Prints what this program has to say itself.
pub(super) fn tell(text: &str) {
    for line in text.lines() {
        print(&format!("{OWN}dev:{OWN:#} {line}"));
    }
}

/// Prints a command that a build runs.
pub(super) fn tell_command(command: &str) {
    print(&format!("{QUIET}+ {command}{QUIET:#}"));
}

/// Prints a line as it is, but for colours that nobody would see.
pub(super) fn print(line: &str) {
    // Who does not read has seen enough.
    let _ = writeln!(anstream::stdout().lock(), "{line}");
}

/// "1.2 s", "30 ms".
pub(super) fn time(time: Duration) -> String {
    duration(time.as_secs_f64())
}

/// How a line of the server looks; `None`: it tells a developer nothing.
pub(super) fn line(said: &Said<'_>) -> Option<String> {
    Some(match said {
        Said::Request(request) => of_request(request),
        Said::Printed { module, text } => format!("{GUEST}{module} |{GUEST:#} {}", plain(text)),
        Said::OfGuest { module, level, text } => {
            let style = style(*level);
            format!("{GUEST}{module} |{GUEST:#} {style}{}{style:#}", plain(text))
        }
        Said::Frame(Frame::Function(name)) if RUNTIME.iter().any(|runtime| name.starts_with(runtime)) => {
            format!("    {QUIET}{}{QUIET:#}", plain(name))
        }
        Said::Frame(Frame::Function(name)) => format!("    {}", plain(name)),
        Said::Frame(Frame::Place(place)) => format!("        {QUIET}{}{QUIET:#}", plain(place)),
        // What it does is told by `dev` in its own words.
        Said::Server { level: Level::Info, .. } => return None,
        Said::Server { level, text } => {
            let style = style(*level);
            format!("{style}server:{style:#} {}", plain(text))
        }
        Said::Other("") => return None,
        Said::Other(text) => format!("{BAD}server:{BAD:#} {}", plain(text)),
    })
}

fn style(level: Level) -> Style {
    match level {
        Level::Error => BAD,
        Level::Warn => WARNING,
        Level::Info => Style::new(),
        Level::Debug => QUIET,
    }
}

fn of_request(Request { line, status, took, guest_cpu }: &Request<'_>) -> String {
    let style = match status {
        500.. => BAD,
        400.. => WARNING,
        _ => GOOD,
    };
    let cpu = guest_cpu.map_or_else(String::new, |cpu| format!(", {} of CPU", time(cpu)));
    format!("{} {style}{status}{style:#} {QUIET}{}{cpu}{QUIET:#}", plain(line), time(*took))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As it looks where there are no colours.
    fn shown(line_of_server: &str) -> Option<String> {
        line(&Said::read(line_of_server)).map(|line| anstream::adapter::strip_str(&line).to_string())
    }

    #[test]
    fn a_request_is_one_short_line() {
        let line = "127.0.0.1 - - [26/Nov/2026:14:46:41 +0000] \"GET /a HTTP/1.1\" 200 8 \"-\" \"-\" shop 2590 187";
        assert_eq!(shown(line).unwrap(), "GET /a 200 2.6 ms, 187 µs of CPU");
        assert_eq!(shown(&line.replace("shop", "-")).unwrap(), "GET /a 200 2.6 ms");
    }

    #[test]
    fn what_is_of_a_guest_names_it_and_what_is_of_a_backtrace_is_indented() {
        let line = |rest: &str| shown(&format!("2026-11-26T14:46:41.0Z [1] {rest}")).unwrap();
        assert_eq!(line("INFO module=shop request=5 stream=stdout: hello"), "shop | hello");
        assert_eq!(
            line("ERROR module=shop request=5 cause=trap: the guest trapped: oh"),
            "shop | the guest trapped: oh"
        );
        assert_eq!(shown("3: 0x5 - shop.wasm!shop::handle::h8523bae53211a963").unwrap(), "    shop::handle");
        assert_eq!(shown("at src/lib.rs:1:2").unwrap(), "        src/lib.rs:1:2");
    }

    #[test]
    fn of_the_server_only_what_went_wrong_is_shown() {
        let line = |rest: &str| shown(&format!("2026-11-26T14:46:41.0Z [1] {rest}"));
        assert_eq!(line("INFO generation 1 is ready"), None);
        assert_eq!(line("WARN beware").unwrap(), "server: beware");
        assert_eq!(shown("guesthouse.toml:3: unknown key").unwrap(), "server: guesthouse.toml:3: unknown key");
    }

    #[test]
    fn nothing_that_is_shown_can_command_a_terminal() {
        assert_eq!(shown("a\u{1b}[2Jb\u{7}").unwrap(), "server: a?[2Jb?");
    }
}
