//! An [`Inspection`] as text for a terminal, and as JSON for programs. What a file calls its own is shown so that no
//! terminal obeys it.

use std::fmt;

use bytesize::ByteSize;
use serde::Serialize;

use super::inspect::{Import, Inspection, Kind, Memory};

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "kind         {}", self.kind)?;
        writeln!(f, "size         {}", size(self.size))?;
        let thread_safe = if self.thread_safe { "yes" } else { "no" };
        let source = if self.facts.is_some() { "" } else { " (it does not say)" };
        writeln!(f, "thread-safe  {thread_safe}{source}")?;
        if let Some(facts) = &self.facts {
            for (label, text) in [("version", &facts.version), ("description", &facts.description)] {
                if let Some(text) = text {
                    writeln!(f, "{label:<11}  {}", Visible(text))?;
                }
            }
        }
        list(f, "memory", self.memories.iter())?;
        list(f, "asks for", self.asks_for.iter().map(|ask| ask.words()))?;
        list(f, "imports", self.imports.iter())?;
        list(f, "exports", self.exports.iter().map(|export| Visible(&export.name)))?;
        match self.check_suitable() {
            Ok(()) => writeln!(f, "served       yes"),
            Err(unsuitable) => writeln!(f, "served       no: {unsuitable}"),
        }
    }
}

/// An [`Inspection`] as JSON, for programs.
#[derive(Serialize)]
pub struct Told<'a> {
    #[serde(flatten)]
    inspection: &'a Inspection,
    /// Why no server can run the file, and what to do about it.
    unsuitable: Option<String>,
}

impl<'a> From<&'a Inspection> for Told<'a> {
    fn from(inspection: &'a Inspection) -> Self {
        Self { inspection, unsuitable: inspection.check_suitable().err().map(|unsuitable| unsuitable.to_string()) }
    }
}

/// The label with the first entry, the others below it.
fn list<T: fmt::Display>(
    f: &mut fmt::Formatter<'_>,
    label: &str,
    entries: impl ExactSizeIterator<Item = T>,
) -> fmt::Result {
    if entries.len() == 0 {
        return writeln!(f, "{label:<11}  none");
    }
    for (index, entry) in entries.enumerate() {
        writeln!(f, "{:<11}  {entry}", if index == 0 { label } else { "" })?;
    }
    Ok(())
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::HttpIncomingHandler => "component that answers requests (wasi:http/incoming-handler@0.2)",
            Kind::HttpHandler => "component that answers requests (wasi:http/handler@0.3)",
            Kind::CliComponent => "component that runs as a command (wasi:cli/run)",
            Kind::OtherComponent => "component of another kind",
            Kind::Command => "core module that runs as a command (WASI preview 1, _start)",
            Kind::OtherCoreModule => "core module of another kind",
        })
    }
}

impl fmt::Display for Import {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(module) = &self.module {
            write!(f, "{} ", Visible(module))?;
        }
        write!(f, "{}", Visible(&self.name))
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at the start, ", size(self.initial))?;
        match self.maximum {
            Some(maximum) => write!(f, "at most {}", size(maximum))?,
            None => write!(f, "no maximum")?,
        }
        f.write_str(if self.is_imported { ", imported" } else { "" })
    }
}

fn size(bytes: u64) -> impl fmt::Display {
    ByteSize(bytes).display().iec()
}

/// Text with its control and other invisible characters written out.
pub(super) struct Visible<'a>(pub(super) &'a str);

impl fmt::Display for Visible<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        for letter in self.0.chars() {
            match letter {
                '"' | '\'' | '\\' => f.write_char(letter)?,
                _ => write!(f, "{}", letter.escape_debug())?,
            }
        }
        Ok(())
    }
}
