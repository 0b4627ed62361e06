//! What a module says of itself: the custom section `guesthouse`, which holds TOML text.
//!
//! ```toml
//! thread_safe = false             # default: true
//! version = "1.2.0"
//! description = "counts visits"
//! ```
//!
//! In a component the section stands at the outermost level, where `guesthouse module tag` writes it. A compiler cannot
//! reach that level: what it writes ends up in the core module that the component is made around. So a component that
//! says nothing itself is spoken for by the core modules directly in it; those of components inside are their own affair.
//! Whether what is said is heeded is decided elsewhere.

use serde::{Deserialize, Serialize};

use super::sections::{Malformed, Sections, sections};

/// The name of the section.
pub(super) const SECTION: &str = "guesthouse";
/// Bytes of the section's text.
pub(super) const SIZE_MAX: usize = 64 << 10;

/// The facts that a module states.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// Instances may run at the same time, and each may serve one request only. `false`: the guest keeps state between
    /// requests, so that it must never run twice at once.
    #[serde(default = "thread_safe_unless_said")]
    pub thread_safe: bool,
    /// Of the module, in its author's own way of counting. One line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What the module is for. One line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

fn thread_safe_unless_said() -> bool {
    true
}

/// A module that says nothing.
impl Default for Facts {
    fn default() -> Self {
        Facts { thread_safe: thread_safe_unless_said(), version: None, description: None }
    }
}

/// Why the facts of a file cannot be told. For the module's author and for who deploys it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FactsError {
    /// The file ends too early, or is damaged.
    #[error("it is no whole Wasm file: {0}: build or copy it anew")]
    Malformed(#[from] Malformed),
    /// Nobody could say which of them counts.
    #[error("it has the section \"{SECTION}\" twice: {MEND}")]
    Twice,
    /// More than facts can be.
    #[error("its section \"{SECTION}\" has {0} bytes, more than {SIZE_MAX}: {MEND}")]
    TooLarge(usize),
    /// Not text.
    #[error("its section \"{SECTION}\" is not UTF-8 from byte {0} on: {MEND}")]
    NotUtf8(usize),
    /// Not TOML, an unknown key, or a value of the wrong type.
    #[error("line {line} of its section \"{SECTION}\" is wrong: {cause}: {MEND}")]
    Wrong {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        cause: String,
    },
    /// A text that logs and terminals could not show as it is.
    #[error("{0} in its section \"{SECTION}\" has a line break or another control character: {MEND}")]
    Unprintable(&'static str),
}

/// What to do about a section that cannot be used.
const MEND: &str = "write it anew with `guesthouse module tag FILE --thread-safe=true` (or =false)";

impl Facts {
    /// The facts in a file of the binary format; `None` without the section.
    pub(super) fn of(wasm: &[u8]) -> Result<Option<Self>, FactsError> {
        let text = match own_text(sections(wasm)?)? {
            Some(text) => Some(text),
            None => text_of_core_modules(sections(wasm)?)?,
        };
        text.map(Self::parse).transpose()
    }

    /// Reads the section's text.
    pub(super) fn parse(text: &[u8]) -> Result<Self, FactsError> {
        if text.len() > SIZE_MAX {
            return Err(FactsError::TooLarge(text.len()));
        }
        let text = std::str::from_utf8(text).map_err(|error| FactsError::NotUtf8(error.valid_up_to()))?;
        let facts: Self = toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = 1 + before.matches('\n').count();
            FactsError::Wrong { line, cause: error.message().replace('\n', "; ") }
        })?;
        for (key, value) in [("version", &facts.version), ("description", &facts.description)] {
            if value.as_ref().is_some_and(|value| value.contains(char::is_control)) {
                return Err(FactsError::Unprintable(key));
            }
        }
        Ok(facts)
    }

    /// The section's text; [`Facts::parse`] accepts it and reads the same.
    pub(super) fn to_text(&self) -> Result<String, FactsError> {
        let text = toml::to_string(self).expect("a truth and two texts can be written as TOML");
        Self::parse(text.as_bytes())?;
        Ok(text)
    }
}

/// What stands at the level of these sections.
fn own_text(sections: Sections<'_>) -> Result<Option<&[u8]>, FactsError> {
    let mut found = None;
    for section in sections {
        if let Some(text) = section?.custom(SECTION)?
            && found.replace(text).is_some()
        {
            return Err(FactsError::Twice);
        }
    }
    Ok(found)
}

/// What stands in the core modules among these sections.
fn text_of_core_modules(sections: Sections<'_>) -> Result<Option<&[u8]>, FactsError> {
    let mut found = None;
    for section in sections {
        if let Some(module) = section?.core_module()
            && let Some(text) = own_text(module?)?
            && found.replace(text).is_some()
        {
            return Err(FactsError::Twice);
        }
    }
    Ok(found)
}
