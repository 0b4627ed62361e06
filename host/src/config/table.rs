//! One table of the file, read key by key. It remembers which keys were asked for, and so knows at the end which of
//! the operator's keys mean nothing.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::de::DeTable;

use super::report::{Report, Wrong};
use super::value::Value;

/// A table that is being read.
pub(super) struct Table<'d> {
    /// As the operator would write it: "[server]", "[[module]]", "the file".
    name: &'static str,
    /// Of its header; `None`: the file itself, or a table that is not in it.
    line: Option<usize>,
    written: Option<&'d DeTable<'d>>,
    asked: Vec<&'static str>,
    report: &'d Report<'d>,
}

/// A value with where it comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field<T> {
    pub(super) value: T,
    pub(super) origin: Origin,
}

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// The operator wrote nothing.
    Default,
    /// The operator wrote it on this line.
    Line(usize),
    /// What the operator wrote is wrong and reported; the value is the default and means nothing.
    Wrong,
}

impl<'d> Table<'d> {
    pub(super) fn document(written: &'d DeTable<'d>, report: &'d Report<'d>) -> Self {
        Self { name: "the file", line: None, written: Some(written), asked: Vec::new(), report }
    }

    /// A table that the operator did not write: every key has its default.
    pub(super) fn absent(name: &'static str, report: &'d Report<'d>) -> Self {
        Self { name, line: None, written: None, asked: Vec::new(), report }
    }

    pub(super) fn of(name: &'static str, value: Value<'d>) -> Result<Self, Wrong> {
        let written = value.table()?;
        Ok(Self { name, line: Some(value.line), written: Some(written), asked: Vec::new(), report: value.report })
    }

    pub(super) fn line(&self) -> Option<usize> {
        self.line
    }

    pub(super) fn report(&self) -> &'d Report<'d> {
        self.report
    }

    /// Complains about the table as a whole.
    pub(super) fn wrong(&self, text: impl Display) -> Wrong {
        self.report.mistake(self.line, format_args!("{}: {text}", self.name))
    }

    /// What stands at `key`, if anything.
    pub(super) fn value(&mut self, key: &'static str) -> Option<Value<'d>> {
        self.asked.push(key);
        self.written?.get(key).map(|spanned| Value::new(key, spanned, self.report))
    }

    /// The line of `key`, if the operator wrote it.
    pub(super) fn line_of(&self, key: &str) -> Option<usize> {
        let (key, _) = self.written?.get_key_value(key)?;
        Some(self.report.line_at(key.span().start))
    }

    /// What stands at `key` as `read` understands it, or `default` if nothing does.
    pub(super) fn field<T>(
        &mut self,
        key: &'static str,
        default: T,
        read: impl FnOnce(Value<'d>) -> Result<T, Wrong>,
    ) -> Field<T> {
        let Some(value) = self.value(key) else {
            return Field { value: default, origin: Origin::Default };
        };
        match read(value) {
            Ok(read) => Field { value: read, origin: Origin::Line(value.line) },
            Err(Wrong) => Field { value: default, origin: Origin::Wrong },
        }
    }

    /// What stands at `key` as `read` understands it; nothing is a mistake, and `why` says what is missing.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        why: &str,
        read: impl FnOnce(Value<'d>) -> Result<T, Wrong>,
    ) -> Result<T, Wrong> {
        match self.value(key) {
            Some(value) => read(value),
            None => Err(self.wrong(format_args!("{key} is missing: {why}"))),
        }
    }

    pub(super) fn size(&mut self, key: &'static str, range: &RangeInclusive<u64>, default: u64) -> u64 {
        self.field(key, default, |value| value.size(range)).value
    }

    pub(super) fn duration(
        &mut self,
        key: &'static str,
        range: &RangeInclusive<Duration>,
        default: Duration,
    ) -> Field<Duration> {
        self.field(key, default, |value| value.duration(range))
    }

    /// A whole number; `T` holds every number of `range`.
    pub(super) fn number<T: TryFrom<u64>>(&mut self, key: &'static str, range: &RangeInclusive<u64>, default: T) -> T {
        let read = |value: Value<'d>| match T::try_from(value.number(range)?) {
            Ok(number) => Ok(number),
            Err(_) => unreachable!("{key} has a type that is too small for its range"),
        };
        self.field(key, default, read).value
    }

    /// The tables of an array of tables such as `[[module]]`; none if the operator wrote none.
    pub(super) fn tables(&mut self, key: &'static str, name: &'static str) -> Vec<Table<'d>> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let Ok(elements) = value.array(&format!("tables that begin with {name}")) else { return Vec::new() };
        elements.into_iter().filter_map(|element| Table::of(name, element).ok()).collect()
    }

    /// The table at `key`, such as `[server]`.
    pub(super) fn table(&mut self, key: &'static str, name: &'static str) -> Table<'d> {
        let written = self.value(key).and_then(|value| Table::of(name, value).ok());
        written.unwrap_or_else(|| Table::absent(name, self.report))
    }

    /// Every key with its value, in the order of the file: for tables whose keys are the operator's own.
    pub(super) fn entries(&self) -> Vec<Value<'d>> {
        let entries = self.written.into_iter().flat_map(DeTable::iter);
        let mut entries: Vec<_> = entries.map(|(key, value)| Value::new(key.get_ref(), value, self.report)).collect();
        entries.sort_by_key(|value| value.line);
        entries
    }

    /// Complains about every key that nobody asked for.
    pub(super) fn finish(self) {
        for (key, _) in self.written.into_iter().flat_map(DeTable::iter) {
            let (line, key) = (self.report.line_at(key.span().start), key.get_ref().as_ref());
            if !self.asked.contains(&key) {
                let hint = nearest(key, &self.asked);
                self.report.mistake(line, format_args!("unknown key {key:?} in {}: {hint}", self.name));
            }
        }
    }
}

/// "did you mean X?", or what there is.
pub(super) fn nearest(key: &str, known: &[&str]) -> String {
    /// Below this, two words have little more in common than letters.
    const ALIKE: f64 = 0.8;
    let likeness = |name: &&&str| strsim::jaro_winkler(key, name);
    match known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b))) {
        Some(name) if likeness(&name) >= ALIKE => format!("did you mean {name}?"),
        _ => format!("known are {}", known.join(", ")),
    }
}
