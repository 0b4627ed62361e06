//! The figures as a bar plot: an SVG written by hand, a card for each row in two columns, and in it a group of bars for each
//! unit, on a scale of its own. Measures nothing.

use std::fmt::Write as _;

use crate::figures::{Figure, Measured, Unit, short};
use crate::machine::Machine;
use crate::rows::Row;

// In pixels, all of them.
const WIDTH: f64 = 940.0;
/// Around and between the cards.
const GAP: f64 = 16.0;
const CARD: f64 = (WIDTH - 3.0 * GAP) / 2.0;
/// Between a card's edge and what is in it.
const PADDING: f64 = 12.0;
/// The longest bar. What follows it is the value.
const BAR_MAX: f64 = CARD - 2.0 * PADDING - 52.0;
const BAR: f64 = 9.0;
/// Above the cards: what this is, where it was measured, and how to read it.
const HEAD: f64 = 92.0;

const OWN: &str = "#1f5f8b";
const PEER: &str = "#b9c6d3";
const SPREAD: &str = "#d9722e";
const TEXT: &str = "#1f2933";
const FAINT: &str = "#66727f";

/// The plot. The rows stand in their order, down the first column and then down the second.
pub fn svg(machine: &Machine, rows: &[(&Row, Measured)]) -> String {
    let measured = rows.iter().filter(|(_, measured)| !measured.figures.is_empty());
    let cards: Vec<Card> = measured.map(|(row, measured)| Card::new(row, &measured.figures)).collect();
    let (left, right) = cards.split_at(halfway(&cards));
    let mut body = head(machine);
    let ends = [(GAP, left), (2.0 * GAP + CARD, right)].map(|(x, column)| {
        column.iter().fold(HEAD, |y, card| {
            let _ = writeln!(body, "<g transform=\"translate({x} {y})\">\n{}</g>", card.body);
            y + card.height + GAP
        })
    });
    let height = ends[0].max(ends[1]);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"Helvetica, Arial, sans-serif\" font-size=\"12\" fill=\"{TEXT}\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#f4f6f8\"/>\n{body}</svg>\n"
    )
}

/// How many cards the first column has, so that both are about as long.
fn halfway(cards: &[Card]) -> usize {
    let half = cards.iter().map(|card| card.height).sum::<f64>() / 2.0;
    let mut above = 0.0;
    let is_left = |card: &&Card| {
        above += card.height;
        above - card.height / 2.0 <= half
    };
    cards.iter().take_while(is_left).count()
}

fn head(machine: &Machine) -> String {
    let mut head = format!(
        "<text x=\"{GAP}\" y=\"32\" font-size=\"18\" font-weight=\"bold\">Guesthouse beside other servers</text>\n\
         <text x=\"{GAP}\" y=\"52\" fill=\"{FAINT}\">{}</text>\n",
        escaped(&machine.described())
    );
    let mut x = GAP;
    for (colour, height, word, width) in [
        (OWN, BAR, "Guesthouse", 110.0),
        (PEER, BAR, "others", 80.0),
        (SPREAD, 2.0, "from the lowest to the highest turn; the bar ends at the median", 0.0),
    ] {
        let _ = writeln!(
            head,
            "<rect x=\"{x}\" y=\"{}\" width=\"20\" height=\"{height}\" rx=\"1\" fill=\"{colour}\"/>\n\
             <text x=\"{}\" y=\"76\" font-size=\"11\">{word}</text>",
            72.0 - height / 2.0,
            x + 26.0
        );
        x += width;
    }
    head
}

/// One row of the table, drawn as if it stood at the plot's corner.
struct Card {
    height: f64,
    body: String,
}

impl Card {
    fn new(row: &Row, figures: &[Figure]) -> Self {
        let mut bars = String::new();
        let mut y = 24.0;
        let _ = writeln!(
            bars,
            r#"<text x="{PADDING}" y="{y}" font-weight="bold">{}: {}</text>"#,
            row.number,
            escaped(row.title)
        );
        for (unit, figures) in by_unit(figures) {
            y += 19.0;
            let better = if unit.more_is_better() { "more is better" } else { "less is better" };
            let _ = writeln!(
                bars,
                r#"<text x="{PADDING}" y="{y}" font-size="11" fill="{FAINT}">{}, {better}</text>"#,
                unit.symbol()
            );
            y += 7.0;
            let highest = figures.iter().map(|figure| figure.max()).fold(f64::MIN_POSITIVE, f64::max);
            for figure in figures {
                bar(&mut bars, y, figure, BAR_MAX / highest);
                y += 32.0;
            }
        }
        let height = y + 5.0;
        let edge = format!(
            "<rect width=\"{CARD}\" height=\"{height}\" rx=\"6\" fill=\"white\" stroke=\"#dfe5ea\" stroke-width=\"1\"/>\n"
        );
        Self { height, body: edge + &bars }
    }
}

/// In the order in which the units first come.
fn by_unit(figures: &[Figure]) -> Vec<(Unit, Vec<&Figure>)> {
    let mut groups: Vec<(Unit, Vec<&Figure>)> = Vec::new();
    for figure in figures {
        match groups.iter_mut().find(|(unit, _)| *unit == figure.unit) {
            Some((_, group)) => group.push(figure),
            None => groups.push((figure.unit, vec![figure])),
        }
    }
    groups
}

/// A name, below it a bar, and behind that the value.
fn bar(body: &mut String, y: f64, figure: &Figure, scale: f64) {
    let x = |value: f64| PADDING + value.max(0.0) * scale;
    let colour = if is_peer(figure) { PEER } else { OWN };
    let (name, value) = (escaped(&figure.name), short(figure.median()));
    let (text, top) = (y + 11.0, y + 16.0);
    let (median, min, max) = (x(figure.median()), x(figure.min()), x(figure.max()));
    let _ = writeln!(
        body,
        r#"<text x="{PADDING}" y="{text}" font-size="11">{name}</text>
<rect x="{PADDING}" y="{top}" width="{:.1}" height="{BAR}" rx="1" fill="{colour}"/>
<rect x="{min:.1}" y="{:.1}" width="{:.1}" height="2" fill="{SPREAD}"/>
<text x="{:.1}" y="{}" font-weight="bold">{value}</text>"#,
        (median - PADDING).max(1.0),
        top + BAR / 2.0 - 1.0,
        max - min,
        max + 7.0,
        top + BAR,
    );
}

fn is_peer(figure: &Figure) -> bool {
    ["nginx", "Apache", "wasmtime"].iter().any(|peer| figure.name.starts_with(peer))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(height: f64) -> Card {
        Card { height, body: String::new() }
    }

    #[test]
    fn the_columns_are_about_as_long() {
        assert_eq!(halfway(&[10.0, 10.0, 10.0, 10.0].map(card)), 2);
        assert_eq!(halfway(&[30.0, 10.0, 10.0, 10.0].map(card)), 1);
        assert_eq!(halfway(&[10.0, 50.0, 10.0].map(card)), 2);
        assert_eq!(halfway(&[10.0].map(card)), 1);
        assert_eq!(halfway(&[]), 0);
    }

    #[test]
    fn figures_of_a_unit_share_a_scale_wherever_they_stand() {
        let figure = |name: &str, unit| Figure::new(name, unit, vec![1.0]);
        let figures = [
            figure("a", Unit::BytesPerConnection),
            figure("b", Unit::Microseconds),
            figure("c", Unit::BytesPerConnection),
        ];
        let groups = by_unit(&figures);
        let names = groups.iter().map(|(_, group)| group.iter().map(|figure| figure.name.as_str()).collect::<Vec<_>>());
        assert_eq!(names.collect::<Vec<_>>(), [vec!["a", "c"], vec!["b"]]);
    }
}
