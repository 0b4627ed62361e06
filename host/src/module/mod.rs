//! Wasm files as files: what one is, what it says of itself, and how that is written into it.
//!
//! Reads and writes bytes only. Never compiles or runs anything, never names wasmtime, and knows neither the
//! configuration nor the server. What is read here comes from anybody: every count has a limit, and no file makes this
//! panic or take more memory than a few times its own size.
//!
//! ```text
//! sections     the outermost level of a file, section by section
//! facts        the custom section `guesthouse`: thread_safe, version, description
//! inspect      kind, imports, exports, memories, and what the guest will ask for (asks)
//! suitable     whether a server can run it
//! report       all of it as text for a terminal, and as JSON
//! tag          puts the section into a file
//! ```

mod asks;
mod facts;
mod inspect;
mod report;
mod sections;
mod suitable;
mod tag;

use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

pub use self::asks::Ask;
pub use self::facts::{Facts, FactsError};
pub use self::inspect::{Export, Import, InspectError, Inspection, Kind, Memory};
pub use self::report::Told;
pub use self::sections::Malformed;
pub use self::suitable::Unsuitable;
pub use self::tag::{Change, TagError, tag};
use crate::clock::epoch_secs;
use crate::identity::Sighting;

/// Bytes of a file: ten times what the largest interpreters take.
pub const FILE_SIZE_MAX: u64 = 512 << 20;
/// Bytes of a file in the text format. Its syntax tree takes many times its size; real modules are binary.
const TEXT_SIZE_MAX: usize = 4 << 20;

/// Why a file is not read at all.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file system says so.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// More than any module has.
    #[error("cannot read {}: it has more than {} MiB", path.display(), limit >> 20)]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Bytes.
        limit: u64,
    },
    /// Neither the binary nor the text format.
    #[error("{} is not a Wasm file", .0.display())]
    NotWasm(PathBuf),
    /// The text format, with a mistake.
    #[error("cannot read {} as WebAssembly text: {cause}", path.display())]
    Text {
        /// The file.
        path: PathBuf,
        /// Where, and what is wrong.
        cause: String,
    },
}

/// A Wasm file in memory: it begins as one does, and nothing else is known of it.
#[derive(Debug)]
pub struct WasmFile {
    /// The binary format, also where the file has the text format.
    binary: Vec<u8>,
    /// Bytes on the disk.
    size: u64,
    is_text: bool,
    sighting: Option<Sighting>,
}

impl WasmFile {
    /// Reads a file in the binary or in the text format, as the server does when it compiles it.
    ///
    /// # Errors
    /// It cannot be read, is too large, or is not Wasm.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        Self::read_at(path, epoch_secs())
    }

    /// `now`: in seconds since the Unix epoch.
    fn read_at(path: &Path, now: u64) -> Result<Self, FileError> {
        let read_error = |source| FileError::Read { path: path.to_owned(), source };
        // A pipe without a writer is not waited for.
        let file = OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path).map_err(read_error)?;
        let metadata = file.metadata().map_err(read_error)?;
        if !metadata.is_file() {
            return Err(read_error(io::Error::other("it is not a regular file")));
        }
        let sighting = Sighting::of(&metadata, now);
        // At once, since growing costs more than reading; one more, so that the end is seen without it.
        let expected = usize::try_from(metadata.len().min(FILE_SIZE_MAX)).unwrap_or_default() + 1;
        let mut bytes = Vec::with_capacity(expected);
        let size = file.take(FILE_SIZE_MAX + 1).read_to_end(&mut bytes).map_err(read_error)? as u64;
        if size > FILE_SIZE_MAX {
            return Err(FileError::TooLarge { path: path.to_owned(), limit: FILE_SIZE_MAX });
        }
        if bytes.starts_with(sections::MAGIC) {
            return Ok(Self { binary: bytes, size, is_text: false, sighting });
        }
        if !is_text(&bytes) {
            return Err(FileError::NotWasm(path.to_owned()));
        }
        if bytes.len() > TEXT_SIZE_MAX {
            return Err(FileError::TooLarge { path: path.to_owned(), limit: TEXT_SIZE_MAX as u64 });
        }
        let binary = wat::parse_bytes(&bytes)
            .map_err(|error| FileError::Text { path: path.to_owned(), cause: on_one_line(&error.to_string()) })?;
        Ok(Self { binary: binary.into_owned(), size, is_text: true, sighting })
    }

    /// The binary format of the module.
    #[must_use]
    pub fn binary(&self) -> &[u8] {
        &self.binary
    }

    /// How the file looked, if one that looks the same later is the same.
    #[must_use]
    pub(crate) fn sighting(&self) -> Option<&Sighting> {
        self.sighting.as_ref()
    }

    /// What the file says of itself; `None` if it says nothing.
    ///
    /// # Errors
    /// The file or its section is not as it should be.
    pub fn facts(&self) -> Result<Option<Facts>, FactsError> {
        Facts::of(&self.binary)
    }

    /// All that can be told without compiling it.
    ///
    /// # Errors
    /// As [`WasmFile::facts`], or what would tell it is damaged.
    pub fn inspect(&self) -> Result<Inspection, InspectError> {
        inspect::inspect(&self.binary, self.size)
    }
}

/// What the parser of text says: what is wrong, and where; a picture of the place, which follows, is left out.
fn on_one_line(told: &str) -> String {
    let what = told.lines().next().unwrap_or_default();
    let what = what.split(" at <anon>:").next().unwrap_or(what);
    match told.split("<anon>:").nth(1).and_then(|place| place.split(':').next()) {
        Some(line) => format!("line {line}: {what}"),
        None => what.to_owned(),
    }
}

/// Text that begins, after white space and comments, with a parenthesis.
fn is_text(bytes: &[u8]) -> bool {
    let Ok(mut text) = std::str::from_utf8(bytes) else { return false };
    loop {
        text = text.trim_start();
        text = match text.strip_prefix(";;") {
            Some(comment) => comment.split_once('\n').map_or("", |(_, rest)| rest),
            None => return text.starts_with('('),
        };
    }
}

#[cfg(test)]
mod tests;
