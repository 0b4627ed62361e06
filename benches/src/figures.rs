//! What is known after measuring: figures with their spread, and how they stand to the targets. No I/O.

/// One thing that was measured several times.
#[derive(Debug, Clone)]
pub struct Figure {
    /// Whose it is.
    pub name: String,
    pub unit: Unit,
    /// One for each turn; never empty.
    samples: Vec<f64>,
    /// Whatever helps to read it.
    pub note: String,
}

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// CPU time per request.
    MicrosecondsPerRequest,
    /// Of time that passes.
    Microseconds,
    Milliseconds,
    RequestsPerSecond,
    Mebibytes,
    MebibytesPerProcess,
    BytesPerConnection,
}

impl Unit {
    pub fn symbol(self) -> &'static str {
        match self {
            Self::MicrosecondsPerRequest => "µs CPU/request",
            Self::Microseconds => "µs",
            Self::Milliseconds => "ms",
            Self::RequestsPerSecond => "requests/s",
            Self::Mebibytes => "MiB",
            Self::MebibytesPerProcess => "MiB/process",
            Self::BytesPerConnection => "B/connection",
        }
    }

    pub fn more_is_better(self) -> bool {
        self == Self::RequestsPerSecond
    }
}

impl Figure {
    /// # Panics
    /// If there is no sample.
    pub fn new(name: impl Into<String>, unit: Unit, mut samples: Vec<f64>) -> Self {
        assert!(!samples.is_empty(), "a figure has been measured at least once");
        samples.sort_by(f64::total_cmp);
        Self { name: name.into(), unit, samples, note: String::new() }
    }

    pub fn with_note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    /// Of an even number of samples, the mean of the two in the middle.
    pub fn median(&self) -> f64 {
        median_of_sorted(&self.samples)
    }

    pub fn min(&self) -> f64 {
        self.samples[0]
    }

    pub fn max(&self) -> f64 {
        self.samples[self.samples.len() - 1]
    }

    /// Sorted.
    pub fn samples(&self) -> &[f64] {
        &self.samples
    }
}

/// The value below which `share` (0 to 1) of all samples are.
///
/// # Panics
/// If there is no sample.
pub fn quantile(samples: &mut [f64], share: f64) -> f64 {
    samples.sort_by(f64::total_cmp);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    let index = (samples.len() as f64 * share) as usize;
    samples[index.min(samples.len() - 1)]
}

fn median_of_sorted(samples: &[f64]) -> f64 {
    let middle = samples.len() / 2;
    if samples.len() % 2 == 1 { samples[middle] } else { f64::midpoint(samples[middle - 1], samples[middle]) }
}

/// A value with three digits that matter.
pub fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// A target and what was reached.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// What the value is, for instance a ratio to a peer.
    pub what: String,
    pub value: f64,
    pub must: Option<Bound>,
    pub go_for: Option<Bound>,
}

/// How far a value may go.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Bound {
    pub fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(bound) => value <= bound,
            Self::AtLeast(bound) => value >= bound,
        }
    }
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtMost(bound) => write!(f, "≤ {bound}"),
            Self::AtLeast(bound) => write!(f, "≥ {bound}"),
        }
    }
}

/// All of one row.
#[derive(Debug, Default)]
pub struct Measured {
    pub figures: Vec<Figure>,
    pub verdicts: Vec<Verdict>,
    /// What was not measured, and why.
    pub missing: Vec<String>,
}

impl Measured {
    /// Holds the ratio of two medians against a target; nothing if one of the two was not measured.
    pub fn ratio(&mut self, of: &str, to: &str, must: Option<f64>, go_for: Option<f64>) {
        let median = |name| self.figures.iter().find(|figure| figure.name == name).map(Figure::median);
        if let (Some(own), Some(other)) = (median(of), median(to)) {
            self.verdicts.push(Verdict {
                what: format!("{of} / {to}"),
                value: own / other,
                must: must.map(Bound::AtMost),
                go_for: go_for.map(Bound::AtMost),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_whatever_the_order() {
        assert!((Figure::new("x", Unit::Milliseconds, vec![9.0, 1.0, 2.0]).median() - 2.0).abs() < 1e-9);
        assert!((Figure::new("x", Unit::Milliseconds, vec![9.0, 1.0, 2.0, 4.0]).median() - 3.0).abs() < 1e-9);
    }

    #[test]
    fn a_quantile_of_few_samples_is_one_of_them() {
        let mut samples = [3.0, 1.0, 2.0];
        assert!((quantile(&mut samples, 0.99) - 3.0).abs() < 1e-9);
        assert!((quantile(&mut samples, 0.5) - 2.0).abs() < 1e-9);
    }

    #[test]
    fn a_ratio_needs_both_figures() {
        let mut measured = Measured::default();
        measured.figures.push(Figure::new("a", Unit::Milliseconds, vec![1.0]));
        measured.ratio("a", "b", Some(0.5), None);
        assert!(measured.verdicts.is_empty());

        measured.figures.push(Figure::new("b", Unit::Milliseconds, vec![4.0]));
        measured.ratio("a", "b", Some(0.5), Some(0.2));
        let verdict = &measured.verdicts[0];
        assert!((verdict.value - 0.25).abs() < 1e-9);
        assert!(verdict.must.unwrap().holds(verdict.value) && !verdict.go_for.unwrap().holds(verdict.value));
    }
}
