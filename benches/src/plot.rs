//! The figures as a bar plot: an SVG written by hand, one group of bars for each row and unit, each group on a scale
//! of its own. Measures nothing.

use std::fmt::Write as _;

use crate::figures::{Figure, Measured};
use crate::machine::Machine;
use crate::rows::Row;

const WIDTH: f64 = 900.0;
/// Where the bars begin; names stand left of it.
const LEFT: f64 = 300.0;
/// The longest bar. What follows it is the value.
const BAR_MAX: f64 = 400.0;
const LINE: f64 = 22.0;

/// The plot. Guesthouse's bars are dark, the others light; the thin line is from the lowest to the highest turn.
pub fn svg(machine: &Machine, rows: &[(&Row, Measured)]) -> String {
    let mut body = String::new();
    let mut y = 20.0;
    let _ = writeln!(body, r##"<text x="10" y="{y}" fill="#555">{}</text>"##, escaped(&machine.described()));
    for (row, measured) in rows {
        y += 2.0 * LINE;
        let title = escaped(row.title);
        let _ = writeln!(body, r#"<text x="10" y="{y}" font-weight="bold">{}: {title}</text>"#, row.number);
        for figure in &measured.figures {
            y += LINE;
            bar(&mut body, y, figure, &measured.figures);
        }
    }
    let height = y + LINE;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"white\"/>\n{body}</svg>\n"
    )
}

/// One bar. Figures of the same unit in the same row share a scale.
fn bar(body: &mut String, y: f64, figure: &Figure, row: &[Figure]) {
    let alike = row.iter().filter(|other| other.unit == figure.unit);
    let scale = BAR_MAX / alike.map(Figure::max).fold(f64::MIN_POSITIVE, f64::max);
    let x = |value: f64| LEFT + value.max(0.0) * scale;
    let colour =
        if figure.name.starts_with("nginx") || figure.name.starts_with("Apache") || figure.name.starts_with("wasm") {
            "#b9c6d3"
        } else {
            "#1f5f8b"
        };
    let middle = y - 4.0;
    let _ = writeln!(
        body,
        r#"<text x="{}" y="{y}" text-anchor="end">{}</text>
<rect x="{LEFT}" y="{}" width="{:.1}" height="14" fill="{colour}"/>
<line x1="{:.1}" y1="{middle}" x2="{:.1}" y2="{middle}" stroke="black"/>
<text x="{:.1}" y="{y}">{:.1} {}</text>"#,
        LEFT - 8.0,
        escaped(&figure.name),
        y - 11.0,
        x(figure.median()) - LEFT,
        x(figure.min()),
        x(figure.max()),
        x(figure.max()) + 8.0,
        figure.median(),
        figure.unit.symbol(),
    );
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
