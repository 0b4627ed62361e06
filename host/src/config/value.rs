//! One value as the operator wrote it, read as what it should be: text, number, size, duration, path. Every reader
//! reports what is wrong, with the line and what to write instead, and answers [`Wrong`].
//!
//! Knows no key and no default.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use bytesize::ByteSize;
use toml::Spanned;
use toml::de::DeValue;

use super::report::{Report, Wrong};

/// A value, with what is needed to complain about it.
#[derive(Clone, Copy)]
pub(super) struct Value<'d> {
    /// The key it stands at, as in the operator's file.
    pub(super) key: &'d str,
    /// Counted from 1.
    pub(super) line: usize,
    pub(super) report: &'d Report<'d>,
    written: &'d DeValue<'d>,
}

impl<'d> Value<'d> {
    pub(super) fn new(key: &'d str, spanned: &'d Spanned<DeValue<'d>>, report: &'d Report<'d>) -> Self {
        Self { key, line: report.line_at(spanned.span().start), report, written: spanned.get_ref() }
    }

    /// Complains about this value: `key: text`.
    pub(super) fn wrong(&self, text: impl Display) -> Wrong {
        self.report.mistake(self.line, format_args!("{}: {text}", self.key))
    }

    fn expected(&self, what: impl Display) -> Wrong {
        self.wrong(format_args!("expected {what}, found {}", self.found()))
    }

    fn found(&self) -> String {
        match self.written {
            DeValue::String(text) => format!("the text {text:?}"),
            DeValue::Integer(number) => format!("the number {number}"),
            DeValue::Float(number) => format!("the number {number}"),
            DeValue::Boolean(truth) => truth.to_string(),
            DeValue::Datetime(_) => String::from("a date"),
            DeValue::Array(_) => String::from("an array"),
            DeValue::Table(_) => String::from("a table"),
        }
    }

    pub(super) fn is_table(&self) -> bool {
        self.written.is_table()
    }

    pub(super) fn table(&self) -> Result<&'d toml::de::DeTable<'d>, Wrong> {
        self.written.as_table().ok_or_else(|| self.expected(format_args!("a table [{}]", self.key)))
    }

    /// The elements of an array; `what` says what it should be, with an example.
    pub(super) fn array(&self, what: &str) -> Result<Vec<Value<'d>>, Wrong> {
        let elements = self.written.as_array().ok_or_else(|| self.expected(what))?;
        Ok(elements.iter().map(|element| Value::new(self.key, element, self.report)).collect())
    }

    /// Text without NUL; `what` says what it should be, with an example.
    pub(super) fn text(&self, what: &str) -> Result<&'d str, Wrong> {
        match self.written {
            // No name, path or environment variable may hold one: they end at it in C.
            DeValue::String(text) if text.contains('\0') => Err(self.wrong("the text has a NUL character: remove it")),
            DeValue::String(text) => Ok(text),
            _ => Err(self.expected(what)),
        }
    }

    pub(super) fn boolean(&self) -> Result<bool, Wrong> {
        self.written.as_bool().ok_or_else(|| self.expected("true or false"))
    }

    /// A whole number within `range`.
    pub(super) fn number(&self, range: &RangeInclusive<u64>) -> Result<u64, Wrong> {
        let wanted = || format!("a whole number from {} to {}", range.start(), range.end());
        let DeValue::Integer(number) = self.written else {
            return Err(self.expected(wanted()));
        };
        match u64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) if range.contains(&number) => Ok(number),
            _ => Err(self.expected(wanted())),
        }
    }

    /// A number of bytes, written with its unit: "64MiB", "8KB", "100B".
    pub(super) fn size(&self, range: &RangeInclusive<u64>) -> Result<u64, Wrong> {
        let text = match self.written {
            DeValue::String(text) => text.trim(),
            DeValue::Integer(number) => {
                return Err(
                    self.expected_with_unit("a size such as \"64MiB\"", format_args!("\"{number}B\" for bytes"))
                );
            }
            _ => return Err(self.expected("a size such as \"64MiB\"")),
        };
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(self.expected_with_unit("a size such as \"64MiB\"", format_args!("\"{text}B\" for bytes")));
        }
        match text.parse::<ByteSize>() {
            Ok(ByteSize(bytes)) if range.contains(&bytes) => Ok(bytes),
            Ok(_) => Err(self.expected(format_args!(
                "a size from \"{}\" to \"{}\"",
                written_size(*range.start()),
                written_size(*range.end())
            ))),
            Err(_) => Err(self.expected("a size such as \"64MiB\"")),
        }
    }

    /// A length of time, written with its unit: "500ms", "10s", "1m 30s".
    pub(super) fn duration(&self, range: &RangeInclusive<Duration>) -> Result<Duration, Wrong> {
        let text = match self.written {
            DeValue::String(text) => text.trim(),
            DeValue::Integer(number) => {
                return Err(
                    self.expected_with_unit("a time such as \"10s\"", format_args!("\"{number}s\" for seconds"))
                );
            }
            _ => return Err(self.expected("a time such as \"10s\"")),
        };
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(self.expected_with_unit("a time such as \"10s\"", format_args!("\"{text}s\" for seconds")));
        }
        if !is_summable(text) {
            return Err(self.expected_within(range));
        }
        match humantime::parse_duration(text) {
            Ok(duration) if range.contains(&duration) => Ok(duration),
            Ok(_) => Err(self.expected_within(range)),
            Err(_) => Err(self.expected("a time such as \"10s\"")),
        }
    }

    fn expected_within(&self, range: &RangeInclusive<Duration>) -> Wrong {
        let written = |duration: &Duration| humantime::format_duration(*duration).to_string();
        self.expected(format_args!("a time from \"{}\" to \"{}\"", written(range.start()), written(range.end())))
    }

    fn expected_with_unit(&self, what: &str, instead: impl Display) -> Wrong {
        self.wrong(format_args!("expected {what}, found {}: write {instead}", self.found()))
    }
}

/// Whether the parts of a duration add up well below 2^64 seconds: humantime panics where they just reach it. A few
/// numbers of at most nine digits cannot, whatever their units.
fn is_summable(text: &str) -> bool {
    let digits: String = text.chars().filter(|letter| !letter.is_whitespace()).collect();
    text.len() <= 100 && digits.split(|letter: char| !letter.is_ascii_digit()).all(|number| number.len() <= 9)
}

/// `bytes` as an operator would write it: in the largest unit that needs no fraction.
pub(super) fn written_size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let thousands = if bytes == 0 { 0 } else { bytes.trailing_zeros() / 10 };
    format!("{}{}", bytes >> (10 * thousands), UNITS[thousands as usize])
}
