//! The status as Apache's `?auto` has it: lines of `Key: value` with the keys of mod_status 2.4, for the tools that
//! read those. What Guesthouse has and Apache has not is not here; what Apache has and Guesthouse has not is left out.
//!
//! The keys speak of the server's own pool, as Apache has only one.

use std::fmt::Write as _;

use super::snapshot::{ChildStatus, Snapshot};
use super::units::{date_as_apache, duration};

/// The whole text.
#[must_use]
pub fn render(snapshot: &Snapshot) -> String {
    let Snapshot { server, .. } = snapshot;
    let mut lines = Lines(String::new());
    lines.add("ServerVersion", format_args!("Guesthouse/{}", server.version));
    lines.add("ServerMPM", &server.mpm);
    lines.add("CurrentTime", date_as_apache(server.taken_at_secs));
    lines.add("RestartTime", date_as_apache(server.started_at_secs));
    lines.add("ParentServerConfigGeneration", server.generation + 1);
    lines.add("ParentServerMPMGeneration", server.generation);
    let uptime = server.uptime_secs.floor();
    lines.add("ServerUptimeSeconds", uptime);
    lines.add("ServerUptime", duration(uptime));
    if let Some([one, five, fifteen]) = server.load {
        lines.add("Load1", format_args!("{one:.2}"));
        lines.add("Load5", format_args!("{five:.2}"));
        lines.add("Load15", format_args!("{fifteen:.2}"));
    }
    traffic(&mut lines, snapshot);
    lines.add("BusyWorkers", server.threads_busy);
    lines.add("GracefulWorkers", server.threads_draining);
    lines.add("IdleWorkers", server.threads_idle);
    lines.add("Processes", snapshot.own_children().count());
    let stopping = snapshot.own_children().filter(|child| child.status == ChildStatus::Draining);
    lines.add("Stopping", stopping.count());
    let open = &server.connections;
    lines.add("ConnsTotal", open.total());
    lines.add("ConnsAsyncWaitIO", open.waiting);
    lines.add("ConnsAsyncWriting", open.writing);
    lines.add("ConnsAsyncKeepAlive", open.keep_alive);
    lines.add("ConnsAsyncClosing", open.lingering);
    lines.add("Scoreboard", scoreboard(snapshot));
    lines.0
}

#[expect(clippy::cast_precision_loss, reason = "rates and means, told with a few digits")]
fn traffic(lines: &mut Lines, Snapshot { server, modules, .. }: &Snapshot) {
    let (requests, bytes) = (server.requests as f64, server.bytes as f64);
    let duration_ms = modules.iter().map(|module| module.latency.total_secs).sum::<f64>() * 1000.0;
    lines.add("Total Accesses", server.requests);
    lines.add("Total kBytes", server.bytes / 1024);
    lines.add("Total Duration", duration_ms.floor());
    lines.add("Uptime", server.uptime_secs.floor());
    if server.counted_secs > 0.0 {
        lines.add("ReqPerSec", requests / server.counted_secs);
        lines.add("BytesPerSec", bytes / server.counted_secs);
    }
    if server.requests > 0 {
        lines.add("BytesPerReq", bytes / requests);
        lines.add("DurationPerReq", duration_ms / requests);
    }
}

/// A letter for each thread of the children that live, and a point for each that the server might still start.
fn scoreboard(snapshot: &Snapshot) -> String {
    let mut letters: String = snapshot.own_children().map(|child| child.threads.as_str()).collect();
    if let Some(own) = snapshot.pools.first() {
        let free = own.children_max.saturating_sub(own.children.serving());
        letters.extend(std::iter::repeat_n('.', free * own.threads_per_child));
    }
    letters
}

struct Lines(String);

impl Lines {
    fn add(&mut self, key: &str, value: impl std::fmt::Display) {
        let _ = writeln!(self.0, "{key}: {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::testing::snapshot;

    #[test]
    fn every_line_is_a_key_of_mod_status_and_a_value() {
        let text = render(&snapshot());
        let lines: Vec<(&str, &str)> = text.lines().map(|line| line.split_once(": ").unwrap()).collect();
        let value = |key: &str| lines.iter().find(|(known, _)| *known == key).map(|(_, value)| *value).unwrap();
        assert_eq!(value("ServerVersion"), concat!("Guesthouse/", env!("CARGO_PKG_VERSION")));
        assert_eq!(value("CurrentTime"), "Saturday, 21-Nov-2026 10:00:00 UTC");
        assert_eq!((value("ServerUptimeSeconds"), value("Uptime")), ("3600", "3600"));
        assert_eq!((value("Load1"), value("Load15")), ("0.50", "0.10"));
        assert_eq!((value("Total Accesses"), value("Total kBytes")), ("1200", "3"));
        assert_eq!((value("BusyWorkers"), value("IdleWorkers")), ("2", "3"));
        assert_eq!((value("ConnsTotal"), value("ConnsAsyncKeepAlive")), ("8", "4"));
        assert_eq!((value("Processes"), value("Stopping")), ("3", "1"));
        assert_eq!(value("Scoreboard"), "_W__GR....", "two children, one that drains, and room for two more");
    }

    #[test]
    fn a_server_that_has_just_begun_divides_nothing_by_nothing() {
        let mut snapshot = snapshot();
        snapshot.server.requests = 0;
        snapshot.server.counted_secs = 0.0;
        snapshot.server.load = None;
        let text = render(&snapshot);
        assert!(!["NaN", "inf", "Load"].iter().any(|word| text.contains(word)), "{text}");
    }
}
