//! The status for a terminal: what `guesthouse status` prints.
//!
//! What a module says of itself comes from anybody; no control character of it reaches the terminal.

use std::fmt::Write as _;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};

use self::Heading::{Left, Right};
use super::snapshot::{Connections, Module, Snapshot};
use super::units::{bytes, date, duration};

/// In place of what there is not.
const NONE: &str = "-";

/// The whole text.
#[must_use]
pub fn render(snapshot: &Snapshot) -> String {
    let mut text = String::new();
    summary(&mut text, snapshot);
    for table in [pools(snapshot), modules(snapshot), children(snapshot)].into_iter().flatten() {
        text.push('\n');
        for line in table.lines() {
            let _ = writeln!(text, "{}", line.trim_end());
        }
    }
    text
}

fn summary(text: &mut String, Snapshot { server, .. }: &Snapshot) {
    let _ = writeln!(
        text,
        "Guesthouse {}, {}, generation {}",
        plain(&server.version),
        plain(&server.mpm),
        server.generation
    );
    let uptime = duration(server.uptime_secs.floor());
    let _ = writeln!(text, "up           {uptime}, since {}", date(server.started_at_secs));
    if let Some([one, five, fifteen]) = server.load {
        let _ = writeln!(text, "load         {one:.2} {five:.2} {fifteen:.2}");
    }
    let _ = writeln!(text, "requests     {}, {} sent", server.requests, bytes(server.bytes));
    let _ = writeln!(text, "connections  {}", connections(&server.connections));
    let _ = writeln!(
        text,
        "threads      {} busy, {} idle, {} draining",
        server.threads_busy, server.threads_idle, server.threads_draining
    );
}

fn connections(open: &Connections) -> String {
    let states = open.by_state().into_iter().filter(|(_, count)| *count > 0);
    let told: Vec<String> = states.map(|(state, count)| format!("{state} {count}")).collect();
    if told.is_empty() { "0".to_owned() } else { format!("{} ({})", open.total(), told.join(", ")) }
}

fn pools(snapshot: &Snapshot) -> Option<Table> {
    let rows = snapshot.pools.iter().map(|pool| {
        let counts = pool.children;
        let numbers = [counts.busy, counts.idle, counts.starting, counts.draining, pool.children_max];
        let texts = [pool.name.clone(), pool.mpm.clone()];
        texts.into_iter().chain(numbers.map(|number| number.to_string())).collect()
    });
    let headings =
        [Left("POOL"), Left("MPM"), Right("BUSY"), Right("IDLE"), Right("STARTING"), Right("DRAINING"), Right("MAX")];
    table(&headings, rows)
}

fn modules(snapshot: &Snapshot) -> Option<Table> {
    let rows = snapshot.modules.iter().map(|module| {
        vec![
            module.name.clone(),
            module.version.clone().unwrap_or_else(|| NONE.to_owned()),
            module.runs.word().to_owned(),
            module.requests.to_string(),
            errors(module),
            module.instances_made.to_string(),
            module.instances_reused.to_string(),
            duration(module.guest_cpu_secs),
            optional(module.latency.p50_secs, duration),
            optional(module.latency.p99_secs, duration),
        ]
    });
    let headings = [
        Left("MODULE"),
        Left("VERSION"),
        Left("RUNS"),
        Right("REQUESTS"),
        Left("ERRORS"),
        Right("MADE"),
        Right("REUSED"),
        Right("GUEST CPU"),
        Right("P50"),
        Right("P99"),
    ];
    table(&headings, rows)
}

fn errors(module: &Module) -> String {
    let causes: Vec<String> = module.errors.iter().map(|(cause, count)| format!("{cause} {count}")).collect();
    if causes.is_empty() { "0".to_owned() } else { causes.join(", ") }
}

#[expect(clippy::cast_precision_loss, reason = "an age, told with a few digits")]
fn children(snapshot: &Snapshot) -> Option<Table> {
    let rows = snapshot.children.iter().map(|child| {
        vec![
            child.pid.to_string(),
            child.pool.clone().unwrap_or_else(|| "(earlier)".to_owned()),
            child.generation.to_string(),
            duration(child.age_secs as f64),
            child.status.word().to_owned(),
            child.threads.clone(),
            child.connections.total().to_string(),
            child.requests.to_string(),
            optional(child.memory, |memory| bytes(memory.private)),
        ]
    });
    let headings = [
        Right("PID"),
        Left("POOL"),
        Right("GENERATION"),
        Right("AGE"),
        Left("STATUS"),
        Left("THREADS"),
        Right("OPEN"),
        Right("REQUESTS"),
        Right("MEMORY"),
    ];
    table(&headings, rows)
}

/// A heading, named for the side on which its column is flush.
#[derive(Clone, Copy)]
pub(crate) enum Heading {
    Left(&'static str),
    Right(&'static str),
}

/// `None` without a row.
pub(crate) fn table(headings: &[Heading], rows: impl Iterator<Item = Vec<String>>) -> Option<Table> {
    let rows: Vec<Vec<String>> = rows.map(|row| row.iter().map(|text| plain(text)).collect()).collect();
    if rows.is_empty() {
        return None;
    }
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(headings.iter().map(|heading| match heading {
        Left(text) | Right(text) => *text,
    }));
    table.add_rows(rows);
    for (column, heading) in table.column_iter_mut().zip(headings) {
        column.set_padding((0, 2));
        column.set_cell_alignment(match heading {
            Left(_) => CellAlignment::Left,
            Right(_) => CellAlignment::Right,
        });
    }
    Some(table)
}

fn optional<T>(value: Option<T>, tell: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| NONE.to_owned(), tell)
}

/// Without control characters.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::testing::snapshot;

    #[test]
    fn pools_modules_and_children_have_a_line_each() {
        let text = render(&snapshot());
        let has = |words: &[&str]| text.lines().any(|line| words.iter().all(|word| line.contains(word)));
        assert!(has(&["Guesthouse", "event", "generation 1"]), "{text}");
        assert!(has(&["connections", "8 (reading 1, writing 2, keep-alive 4, waiting 1)"]), "{text}");
        assert!(has(&["counter", "prefork", "1", "5"]), "{text}");
        assert!(has(&["hello", "shared", "trap 3, wall-limit 1", "412 µs", "12 ms"]), "{text}");
        assert!(has(&["4002", "(earlier)", "draining", "GR", "3.0 MiB"]), "{text}");
    }

    #[test]
    fn no_control_character_of_a_module_reaches_the_terminal() {
        let text = render(&snapshot());
        assert!(text.contains("<script>") && !text.contains('\u{1b}'), "{text}");
        assert!(text.lines().any(|line| line.contains("# TYPE") && line.contains("hello")), "it stays on its line");
    }

    #[test]
    fn a_server_without_modules_has_no_empty_table() {
        let mut snapshot = snapshot();
        snapshot.modules.clear();
        assert!(!render(&snapshot).contains("MODULE"));
    }
}
