//! The status as a page for people: one document with everything in it, and the part of it that changes, which its
//! script fetches every few seconds. What stands where is in the templates beside this file.
//!
//! All texts are escaped by the template engine; style and script are let through by their hashes and nothing else is
//! (`Content-Security-Policy`), so that what a module says of itself cannot act.

use std::sync::LazyLock;

use askama::Template;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use sha2::{Digest as _, Sha256};

use super::snapshot::{Child, Connections, Latency, Module, Pool, Snapshot};
use super::units;
use crate::tally::latency;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// In place of a number that there is not.
const NONE: &str = "\u{2013}";

/// Squares for children that are not there that are drawn of one pool.
const FREE_SQUARES_MAX: usize = 512;

/// What the page may do, and with what: its own style and script, and asking the same server again.
pub static CONTENT_SECURITY_POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = |text: &str| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)));
    let policy = format!(
        "default-src 'none'; style-src {}; script-src {}; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        hash(STYLE),
        hash(SCRIPT)
    );
    HeaderValue::try_from(policy).expect("base64 is fit for a header")
});

/// How the page is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Seconds between two looks of a page.
    pub refresh_secs: u32,
    /// Lists in place of tables.
    pub without_tables: bool,
}

/// The whole document.
#[must_use]
pub fn page(snapshot: &Snapshot, options: Options) -> String {
    let Options { refresh_secs, without_tables } = options;
    written(&Page { snapshot, refresh_secs, without_tables, style: STYLE, script: SCRIPT })
}

/// The part that changes.
#[must_use]
pub fn fragment(snapshot: &Snapshot, options: Options) -> String {
    written(&Fragment { snapshot, without_tables: options.without_tables })
}

fn written(template: &impl Template) -> String {
    template.render().expect("writing to a string does not fail, and no value refuses to be shown")
}

#[derive(Template)]
#[template(path = "page.html")]
struct Page<'a> {
    snapshot: &'a Snapshot,
    refresh_secs: u32,
    without_tables: bool,
    style: &'static str,
    script: &'static str,
}

#[derive(Template)]
#[template(path = "fragment.html")]
struct Fragment<'a> {
    snapshot: &'a Snapshot,
    without_tables: bool,
}

/// What the letters of the scoreboard mean, in the order of the legend. Each has a colour in the style.
const LEGEND: [(char, &str); 9] = [
    ('_', "waits for a connection"),
    ('S', "starts"),
    ('R', "reads a request"),
    ('W', "makes or writes an answer"),
    ('K', "keep-alive: waits for the next request"),
    ('C', "waits for the client to close"),
    ('G', "finishes what is open"),
    ('I', "ends, for want of work"),
    ('.', "not started"),
];

/// A letter of the scoreboard as the legend has it; a letter that it has not is shown as nobody.
fn square(letter: char) -> (char, &'static str, String) {
    let (letter, meaning) = LEGEND.into_iter().find(|(known, _)| *known == letter).unwrap_or(('.', "not started"));
    let class = match letter {
        '_' => "ready".to_owned(),
        '.' => "none".to_owned(),
        letter => letter.to_ascii_lowercase().to_string(),
    };
    (letter, meaning, class)
}

/// The children of a pool, and those of earlier generations behind the last one.
fn children_of<'a>(snapshot: &'a Snapshot, pool: Option<&'a Pool>) -> Vec<&'a Child> {
    let name = pool.map(|pool| pool.name.as_str());
    snapshot.children.iter().filter(|child| child.pool.as_deref() == name).collect()
}

/// How many squares stand for threads of children that the pool might still start.
fn free_squares(pool: &Pool) -> usize {
    let free = pool.children_max.saturating_sub(pool.children.serving()) * pool.threads_per_child;
    free.min(FREE_SQUARES_MAX)
}

/// Requests a second since counting began.
#[expect(clippy::cast_precision_loss, reason = "a mean, told with a few digits")]
fn mean_rate(snapshot: &Snapshot) -> String {
    let server = &snapshot.server;
    if server.counted_secs <= 0.0 {
        return "0".to_owned();
    }
    let rate = server.requests as f64 / server.counted_secs;
    if rate < 10.0 { format!("{rate:.1}") } else { format!("{rate:.0}") }
}

fn uptime(snapshot: &Snapshot) -> String {
    units::duration(snapshot.server.uptime_secs.floor())
}

#[expect(clippy::cast_precision_loss, reason = "an age, told with a few digits")]
fn age(child: &Child) -> String {
    units::duration(child.age_secs as f64)
}

fn errors_total(snapshot: &Snapshot) -> u64 {
    snapshot.modules.iter().fold(0, |sum, module| sum.saturating_add(module.errors_total()))
}

/// A part of a whole for people.
#[expect(clippy::cast_precision_loss, reason = "a percentage")]
fn percent(part: u64, whole: u64) -> String {
    if part == 0 || whole == 0 {
        return "0 %".to_owned();
    }
    let percent = part as f64 * 100.0 / whole as f64;
    match percent {
        ..0.1 => "< 0.1 %".to_owned(),
        ..10.0 => format!("{percent:.1} %"),
        _ => format!("{percent:.0} %"),
    }
}

/// Guest CPU for each request.
#[expect(clippy::cast_precision_loss, reason = "a mean, told with a few digits")]
fn cpu_each(module: &Module) -> String {
    match module.requests {
        0 => "none".to_owned(),
        requests => units::duration(module.guest_cpu_secs / requests as f64),
    }
}

fn optional_time(secs: Option<f64>) -> String {
    secs.map_or_else(|| NONE.to_owned(), units::duration)
}

/// Parts of a horizontal bar, a thousand units wide.
struct Part {
    x: u64,
    width: u64,
    class: &'static str,
    label: &'static str,
    count: u64,
}

fn bar<const N: usize>(parts: [(&'static str, &'static str, u64); N]) -> Vec<Part> {
    let total = parts.iter().fold(0u128, |sum, (_, _, count)| sum + u128::from(*count));
    let share = |sum: u128| (sum * 1000).checked_div(total).unwrap_or(0) as u64;
    let mut before = 0u128;
    parts
        .into_iter()
        .map(|(class, label, count)| {
            let x = share(before);
            before += u128::from(count);
            Part { x, width: share(before) - x, class, label, count }
        })
        .collect()
}

fn connections_bar(open: &Connections) -> Vec<Part> {
    bar([
        ("r", "reading", open.reading),
        ("w", "writing", open.writing),
        ("k", "keep-alive", open.keep_alive),
        ("s", "waiting", open.waiting),
        ("c", "closing", open.lingering),
    ])
}

fn threads_bar(snapshot: &Snapshot) -> Vec<Part> {
    let server = &snapshot.server;
    bar([
        ("w", "busy", server.threads_busy),
        ("ready", "idle", server.threads_idle),
        ("g", "draining", server.threads_draining),
    ])
}

fn pool_bar(pool: &Pool) -> Vec<Part> {
    let count = |count: usize| count as u64;
    bar([
        ("w", "busy", count(pool.children.busy)),
        ("ready", "idle", count(pool.children.idle + pool.children.starting)),
        ("none", "not started", count(pool.children_max.saturating_sub(pool.children.serving()))),
    ])
}

/// One column of the drawing of how long requests took.
struct Column {
    x: usize,
    /// Units of the drawing, from the bottom; at least 1 where there is a request.
    height: u64,
    title: String,
}

/// Width of a column and height of the drawing, in its own units.
const COLUMN_WIDTH: usize = 6;
const COLUMNS_HEIGHT: u64 = 28;
/// The drawing begins here: nothing is answered sooner.
const FIRST_COLUMN: usize = 6;
const COLUMN_COUNT: usize = (latency::BUCKET_COUNT - FIRST_COLUMN) / 2;

/// Three columns for each decade from 10 µs to 50 s, what lies beyond in the outermost. Heights go with the square root
/// of the counts, so that a few slow requests among many quick ones are seen.
#[expect(clippy::cast_precision_loss, clippy::cast_sign_loss, reason = "a drawing")]
fn columns(latency: &Latency) -> Vec<Column> {
    let mut counts = [0u64; COLUMN_COUNT];
    for bucket in &latency.buckets {
        let upper = bucket.up_to_secs.unwrap_or(f64::INFINITY);
        let index = (0..COLUMN_COUNT - 1).find(|index| upper <= column_bound(*index)).unwrap_or(COLUMN_COUNT - 1);
        counts[index] = counts[index].saturating_add(bucket.requests);
    }
    let most = counts.iter().copied().max().unwrap_or(0).max(1) as f64;
    let column = |(index, count): (usize, u64)| Column {
        x: index * COLUMN_WIDTH,
        height: ((count as f64 / most).sqrt() * COLUMNS_HEIGHT as f64).ceil() as u64,
        title: column_title(index, count),
    };
    counts.into_iter().enumerate().filter(|(_, count)| *count > 0).map(column).collect()
}

fn column_title(index: usize, count: u64) -> String {
    let bound = |index| units::duration(column_bound(index));
    let range = match index {
        0 => format!("up to {}", bound(0)),
        index if index == COLUMN_COUNT - 1 => format!("more than {}", bound(index - 1)),
        index => format!("{} to {}", bound(index - 1), bound(index)),
    };
    format!("{range}: {}", units::number(count))
}

fn column_bound(index: usize) -> f64 {
    latency::bound(FIRST_COLUMN + 2 * index).map_or(f64::INFINITY, |bound| bound.as_secs_f64())
}

/// Whether the page shows a heading of its own for the pool.
fn has_children(snapshot: &Snapshot, pool: &Pool) -> bool {
    free_squares(pool) > 0 || !children_of(snapshot, Some(pool)).is_empty()
}

/// Whether children of former configurations are still there.
fn has_earlier(snapshot: &Snapshot) -> bool {
    snapshot.children.iter().any(|child| child.pool.is_none())
}

/// What a child's connections wait for, as far as there are any.
fn open_states(child: &Child) -> impl Iterator<Item = (&'static str, u64)> {
    child.connections.by_state().into_iter().filter(|(_, count)| *count > 0)
}

fn private_memory(child: &Child) -> String {
    child.memory.map_or_else(|| NONE.to_owned(), |memory| units::bytes(memory.private))
}

fn resident_memory(child: &Child) -> String {
    child.memory.map_or_else(|| NONE.to_owned(), |memory| units::bytes(memory.resident))
}

#[cfg(test)]
mod tests {
    use super::super::snapshot::Bucket;
    use super::*;
    use crate::status::testing::snapshot;

    const OPTIONS: Options = Options { refresh_secs: 2, without_tables: false };

    #[test]
    fn what_a_module_says_of_itself_is_escaped_in_every_form() {
        let snapshot = snapshot();
        for without_tables in [false, true] {
            let page = page(&snapshot, Options { without_tables, ..OPTIONS });
            assert!(page.contains("alert(") && !page.contains("<script>alert("), "{page}");
        }
    }

    #[test]
    fn style_and_script_are_let_through_as_they_stand_on_the_page() {
        let page = page(&snapshot(), OPTIONS);
        for (tag, directive) in [("style", "style-src"), ("script", "script-src")] {
            let (_, after) = page.split_once(&format!("<{tag}>")).unwrap();
            let (text, _) = after.split_once(&format!("</{tag}>")).unwrap();
            let hash = STANDARD.encode(Sha256::digest(text));
            let policy = CONTENT_SECURITY_POLICY.to_str().unwrap();
            assert!(policy.contains(&format!("{directive} 'sha256-{hash}'")), "{policy}");
        }
        assert!(!page.contains("style=\""), "an attribute would be ignored");
    }

    #[test]
    fn the_fragment_stands_on_the_page_as_it_is() {
        let snapshot = snapshot();
        assert!(page(&snapshot, OPTIONS).contains(&fragment(&snapshot, OPTIONS)));
    }

    #[test]
    fn children_of_former_configurations_have_a_place_of_their_own() {
        let mut snapshot = snapshot();
        assert!(fragment(&snapshot, OPTIONS).contains("<h3>(earlier)"));
        snapshot.children.retain(|child| child.pool.is_some());
        assert!(!fragment(&snapshot, OPTIONS).contains("<h3>(earlier)"));
    }

    #[test]
    fn every_letter_has_a_square_with_a_colour_of_its_own() {
        for (letter, meaning) in LEGEND {
            let (told, means, class) = square(letter);
            assert_eq!((told, means), (letter, meaning));
            assert!(STYLE.contains(&format!(".sq.{class} {{ background")), "{letter}");
        }
        assert_eq!(square('?').0, '.');
    }

    #[test]
    fn the_parts_of_a_bar_fill_it() {
        let parts = bar([("a", "a", 1), ("b", "b", u64::MAX), ("c", "c", 2)]);
        assert_eq!(parts.iter().map(|part| part.width).sum::<u64>(), 1000);
        assert!(bar([("a", "a", 0), ("b", "b", 0)]).iter().all(|part| part.width == 0));
    }

    #[test]
    fn few_slow_requests_among_many_are_drawn() {
        let bucket = |up_to_secs, requests| Bucket { up_to_secs, requests };
        let buckets =
            vec![bucket(Some(0.000_001), 5), bucket(Some(0.001), 1_000_000), bucket(Some(100.0), 1), bucket(None, 1)];
        let drawn = columns(&Latency { buckets, ..Latency::default() });
        let heights: Vec<u64> = drawn.iter().map(|column| column.height).collect();
        assert_eq!(heights, [1, COLUMNS_HEIGHT, 1]);
        assert_eq!(drawn[0].title, "up to 10 µs: 5");
        assert_eq!(drawn[1].title, "500 µs to 1.0 ms: 1\u{202f}000\u{202f}000");
        assert_eq!(drawn[2].title, "more than 50 s: 2");
    }

    #[test]
    fn a_part_is_told_in_percent() {
        for (part, whole, text) in
            [(0, 0, "0 %"), (0, 9, "0 %"), (1, 100_000, "< 0.1 %"), (24, 1000, "2.4 %"), (1, 2, "50 %")]
        {
            assert_eq!(percent(part, whole), text);
        }
    }
}
