//! Writes the section `guesthouse` into a Wasm file. Every other byte of the file stays as it is.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::facts::{Facts, FactsError, SECTION};
use super::sections::sections;
use super::{FileError, WasmFile};
use crate::unfinished;

/// What to state anew. `None` leaves it as the file says; an empty text removes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    pub thread_safe: Option<bool>,
    pub version: Option<String>,
    pub description: Option<String>,
}

/// Why a file was not tagged. It is then as it was.
#[derive(Debug, thiserror::Error)]
pub enum TagError {
    #[error(transparent)]
    File(#[from] FileError),
    /// There are no sections in text.
    #[error(
        "{} is WebAssembly text: write the section there, as (@custom \"{SECTION}\" \"thread_safe = false\")",
        .0.display()
    )]
    Text(PathBuf),
    /// What it says now, or would say.
    #[error("cannot tag {}: {cause}", path.display())]
    Facts {
        /// The file.
        path: PathBuf,
        /// What is wrong with its facts.
        cause: FactsError,
    },
    /// Writing failed.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file to be.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Changes what the file at `path` says of itself, in place, or writes the changed file to `out`. Answers with what
/// it says then.
///
/// # Errors
/// Nothing was written: the file cannot be read or written, is not Wasm, or says what nobody understands; in that last
/// case it is written anew if `change` says whether the module is thread-safe.
pub fn tag(path: &Path, change: Change, out: Option<&Path>) -> Result<Facts, TagError> {
    let file = WasmFile::read(path)?;
    if file.is_text {
        return Err(TagError::Text(path.to_owned()));
    }
    let facts_error = |cause| TagError::Facts { path: path.to_owned(), cause };
    let (tagged, facts) = tagged(&file.binary, change).map_err(facts_error)?;
    let out = out.unwrap_or(path);
    write_whole(out, path, &tagged).map_err(|source| TagError::Write { path: out.to_owned(), source })?;
    Ok(facts)
}

/// The file after the change, and what it says then.
pub(super) fn tagged(wasm: &[u8], change: Change) -> Result<(Vec<u8>, Facts), FactsError> {
    let before = match Facts::of(wasm) {
        Ok(facts) => facts.unwrap_or_default(),
        Err(malformed @ FactsError::Malformed(_)) => return Err(malformed),
        // Without a new word, what may have been `false` would silently become `true`.
        Err(unusable) if change.thread_safe.is_none() => return Err(unusable),
        Err(_) => Facts::default(),
    };
    let facts = change.of(before);
    let section = section(&facts.to_text()?);
    Ok((replaced(wasm, &section)?, facts))
}

impl Change {
    fn of(self, before: Facts) -> Facts {
        let text = |new: Option<String>, old| match new {
            Some(text) if text.is_empty() => None,
            Some(text) => Some(text),
            None => old,
        };
        Facts {
            thread_safe: self.thread_safe.unwrap_or(before.thread_safe),
            version: text(self.version, before.version),
            description: text(self.description, before.description),
        }
    }
}

/// The file with `section` where its first section of that name stood, else at its end.
fn replaced(wasm: &[u8], section: &[u8]) -> Result<Vec<u8>, FactsError> {
    let mut tagged = Vec::with_capacity(wasm.len() + section.len());
    let mut taken = 0;
    let mut is_written = false;
    for ours in sections(wasm)? {
        let ours = ours?;
        if ours.custom(SECTION)?.is_some() {
            tagged.extend_from_slice(&wasm[taken..ours.range.start]);
            if !is_written {
                tagged.extend_from_slice(section);
                is_written = true;
            }
            taken = ours.range.end;
        }
    }
    tagged.extend_from_slice(&wasm[taken..]);
    if !is_written {
        tagged.extend_from_slice(section);
    }
    Ok(tagged)
}

/// A custom section: id 0, length, name, contents.
fn section(text: &str) -> Vec<u8> {
    let mut contents = length(SECTION.len());
    contents.extend_from_slice(SECTION.as_bytes());
    contents.extend_from_slice(text.as_bytes());
    let mut section = vec![0];
    section.extend(length(contents.len()));
    section.extend(contents);
    section
}

/// A number as Wasm writes lengths: LEB128, seven bits to a byte, the lowest first.
fn length(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// Writes a file so that it appears whole or not at all, with the permissions of the file that it replaces, or of
/// `model` where there is none, but for what the process's umask takes away then.
fn write_whole(out: &Path, model: &Path, content: &[u8]) -> io::Result<()> {
    // A link goes on to name the file that it names: deployments switch versions by links.
    let (target, permissions) = match fs::metadata(out) {
        Ok(there) if there.is_file() => (out.canonicalize()?, there.permissions()),
        Ok(_) => return Err(io::Error::other("it is not an ordinary file: name another with -o")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => (out.to_owned(), fs::metadata(model)?.permissions()),
        Err(error) => return Err(error),
    };
    // Whatever set-user-id means for a Wasm file, a copy of ours must not have it.
    let unfinished = unfinished::write(&target, content, permissions.mode() & 0o777)?;
    unfinished::put_in_place(unfinished, &target).map(drop)
}
