//! The results as a table for people and as JSON for programs. Measures nothing.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::Bench;
use crate::figures::{Bound, Measured, Verdict, short};
use crate::machine::Machine;
use crate::rows::Row;

/// The table, for a terminal of 110 columns.
pub fn text(machine: &Machine, bench: &Bench, rows: &[(&Row, Measured)]) -> String {
    let mut text = format!("\n{}\nmedians of {} rounds\n", machine.described(), bench.effort.rounds);
    for (row, measured) in rows {
        let _ = writeln!(text, "\n{:>2}  {}", row.number, row.title);
        for figure in &measured.figures {
            let spread = format!("{} - {}", short(figure.min()), short(figure.max()));
            let _ = writeln!(
                text,
                "      {:<46}{:>9} {:<16}{spread:>18}   {}",
                figure.name,
                short(figure.median()),
                figure.unit.symbol(),
                figure.note
            );
        }
        for missing in &measured.missing {
            let _ = writeln!(text, "      ({missing})");
        }
        for verdict in &measured.verdicts {
            let _ = writeln!(text, "    > {:<56}{:>9}   {}", verdict.what, short(verdict.value), held(verdict));
        }
    }
    text
}

fn held(verdict: &Verdict) -> String {
    let one = |word: &str, bound: Option<Bound>| {
        let bound = bound?;
        let outcome = if bound.holds(verdict.value) { "met" } else { "missed" };
        Some(format!("{word} {bound}: {outcome}"))
    };
    let parts = [one("must", verdict.must), one("go for", verdict.go_for)];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// Everything, each sample included.
pub fn json(machine: &Machine, bench: &Bench, rows: &[(&Row, Measured)]) -> String {
    let rows: Vec<Value> = rows
        .iter()
        .map(|(row, measured)| {
            let figures: Vec<Value> = measured
                .figures
                .iter()
                .map(|figure| {
                    json!({
                        "name": figure.name,
                        "unit": figure.unit.symbol(),
                        "median": figure.median(),
                        "min": figure.min(),
                        "max": figure.max(),
                        "samples": figure.samples(),
                        "note": figure.note,
                    })
                })
                .collect();
            let verdicts: Vec<Value> = measured.verdicts.iter().map(verdict_json).collect();
            json!({
                "row": row.number,
                "title": row.title,
                "figures": figures,
                "targets": verdicts,
                "missing": measured.missing,
            })
        })
        .collect();
    let all = json!({
        "date": machine.date,
        "cores": machine.cores,
        "processor": machine.processor,
        "kernel": machine.kernel,
        "load_before": machine.load_before,
        "rounds": bench.effort.rounds,
        "seconds_per_turn": bench.effort.turn.as_secs(),
        "wasmtime": bench.tools.wasmtime.as_ref().map(|wasmtime| &wasmtime.version),
        "rows": rows,
    });
    format!("{all:#}\n")
}

fn verdict_json(verdict: &Verdict) -> Value {
    let bound = |bound: Option<Bound>| {
        bound.map(|bound| json!({ "bound": bound.to_string(), "met": bound.holds(verdict.value) }))
    };
    json!({
        "what": verdict.what,
        "value": verdict.value,
        "must": bound(verdict.must),
        "go_for": bound(verdict.go_for),
    })
}
