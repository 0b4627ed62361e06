//! What is wrong with a configuration, and where: collected while the file is read, so that the operator sees every
//! mistake at once. Prints nothing and decides nothing.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// One remark about the configuration. Displays as `guesthouse.toml:12: what is wrong: what to write instead`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The file as the operator named it.
    pub path: PathBuf,
    /// Counted from 1; `None`: about the file as a whole.
    pub line: Option<usize>,
    pub text: String,
}

/// Something that was read and is used, though the operator should know.
pub type Warning = Finding;

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.path.display(), self.text),
            None => write!(f, "{}: {}", self.path.display(), self.text),
        }
    }
}

/// Why there is no configuration.
#[derive(Debug)]
pub enum Errors {
    /// The file could not be read at all.
    Unreadable { path: PathBuf, cause: String },
    /// The file was read and is wrong: every mistake, in the order of the file; never empty.
    Mistakes(Vec<Finding>),
}

impl Errors {
    pub(super) fn unreadable(path: &Path, error: &io::Error) -> Self {
        Errors::Unreadable { path: path.to_owned(), cause: cause(error) }
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Errors::Unreadable { path, cause } => write!(f, "cannot read {}: {cause}", path.display()),
            Errors::Mistakes(findings) => {
                for (index, finding) in findings.iter().enumerate() {
                    let newline = if index == 0 { "" } else { "\n" };
                    write!(f, "{newline}{finding}")?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for Errors {}

/// Token: a value was wrong, and the report already says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wrong;

/// The remarks collected so far. Shared by all readers of one file, hence the cells.
pub(super) struct Report<'d> {
    path: &'d Path,
    /// Offset of the first byte of each line.
    line_starts: Vec<usize>,
    mistakes: RefCell<Vec<Finding>>,
    warnings: RefCell<Vec<Warning>>,
}

impl<'d> Report<'d> {
    pub(super) fn new(path: &'d Path, text: &str) -> Self {
        let after_newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(offset, _)| offset + 1);
        Self {
            path,
            line_starts: std::iter::once(0).chain(after_newlines).collect(),
            mistakes: RefCell::default(),
            warnings: RefCell::default(),
        }
    }

    /// The line, counted from 1, that holds the byte at `offset`.
    pub(super) fn line_at(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset)
    }

    pub(super) fn mistake(&self, line: impl Into<Option<usize>>, text: impl fmt::Display) -> Wrong {
        self.mistakes.borrow_mut().push(self.finding(line.into(), text));
        Wrong
    }

    pub(super) fn warning(&self, line: impl Into<Option<usize>>, text: impl fmt::Display) {
        self.warnings.borrow_mut().push(self.finding(line.into(), text));
    }

    pub(super) fn mistakes(&self) -> usize {
        self.mistakes.borrow().len()
    }

    fn finding(&self, line: Option<usize>, text: impl fmt::Display) -> Finding {
        Finding { path: self.path.to_owned(), line, text: text.to_string() }
    }

    /// The mistakes of a text that is not even TOML. The parser goes on as well as it can; of each line only what it
    /// says first is worth telling, since the rest follows from that.
    pub(super) fn conclude_syntax(self, errors: &[toml::de::Error]) -> Errors {
        let line = |error: &toml::de::Error| error.span().map(|span| self.line_at(span.start));
        let mut errors: Vec<_> = errors.iter().map(|error| (error.span().map(|span| span.start), error)).collect();
        errors.sort_by_key(|(start, _)| *start);
        errors.dedup_by_key(|(_, error)| line(error));
        let finding =
            |(_, error): (_, &toml::de::Error)| self.finding(line(error), error.message().replace('\n', "; "));
        Errors::Mistakes(errors.into_iter().map(finding).collect())
    }

    /// `value` with the warnings, or, if there is any, every mistake.
    pub(super) fn conclude<T>(self, value: T) -> Result<(T, Vec<Warning>), Errors> {
        let in_order = |mut findings: Vec<Finding>| {
            findings.sort_by_key(|finding| finding.line);
            findings
        };
        let mistakes = in_order(self.mistakes.into_inner());
        if mistakes.is_empty() {
            Ok((value, in_order(self.warnings.into_inner())))
        } else {
            Err(Errors::Mistakes(mistakes))
        }
    }
}

/// The cause in the words of our errors: "permission denied" for "Permission denied (os error 13)".
pub(super) fn cause(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => String::from("unknown cause"),
    }
}
