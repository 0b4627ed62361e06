//! The outermost level of a Wasm file, section by section: where each begins and ends. Of what is in them only the
//! names of custom sections are read; what is nested in a section is entered only where somebody asks for it.
//!
//! Core modules and components share this much: eight bytes that say which of the two it is, then sections of one
//! byte for the id, the length, and that many bytes (Core specification 5.5; component model, Binary.md).

use std::fmt;
use std::ops::Range;

use wasmparser::BinaryReader;

/// How every Wasm file begins.
pub(super) const MAGIC: &[u8] = b"\0asm";

/// What follows the magic number: version and layer.
const CORE: [u8; 4] = [1, 0, 0, 0];
const COMPONENT: [u8; 4] = [13, 0, 1, 0];
const PREAMBLE: usize = 8;

/// The id of custom sections, in both layers.
const CUSTOM: u8 = 0;
/// The id of core modules, in components.
const CORE_MODULE: u8 = 1;

/// Where and how a file breaks the rules of Wasm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// Offset in the file, in bytes.
    pub offset: usize,
    /// What is wrong there.
    pub what: String,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (at byte {})", self.what, self.offset)
    }
}

impl std::error::Error for Malformed {}

impl From<wasmparser::Error> for Malformed {
    fn from(error: wasmparser::Error) -> Self {
        Malformed { offset: error.offset(), what: error.message().to_owned() }
    }
}

/// A section of the outermost level.
#[derive(Debug)]
pub(super) struct Section<'a> {
    id: u8,
    is_in_component: bool,
    /// The whole of it in the file, id and length included.
    pub(super) range: Range<usize>,
    contents: BinaryReader<'a>,
}

impl<'a> Section<'a> {
    /// The contents after the name, if this is the custom section of that name.
    pub(super) fn custom(&self, name: &str) -> Result<Option<&'a [u8]>, Malformed> {
        if self.id != CUSTOM {
            return Ok(None);
        }
        let mut contents = self.contents.clone();
        if contents.read_string()? != name {
            return Ok(None);
        }
        Ok(Some(contents.read_bytes(contents.bytes_remaining())?))
    }

    /// The sections of the core module that this section of a component is, if it is one.
    pub(super) fn core_module(&self) -> Option<Result<Sections<'a>, Malformed>> {
        (self.is_in_component && self.id == CORE_MODULE).then(|| Sections::of(self.contents.clone()))
    }
}

/// The sections of a file, in order. Ends after the first error.
pub(super) struct Sections<'a> {
    rest: BinaryReader<'a>,
    is_component: bool,
}

/// Begins to read a file of the binary format.
pub(super) fn sections(wasm: &[u8]) -> Result<Sections<'_>, Malformed> {
    Sections::of(BinaryReader::new(wasm, 0))
}

impl<'a> Sections<'a> {
    fn of(mut rest: BinaryReader<'a>) -> Result<Self, Malformed> {
        let begin = rest.original_position();
        let preamble = rest.read_bytes(PREAMBLE)?;
        match preamble.strip_prefix(MAGIC) {
            Some(version) if version == CORE => Ok(Sections { rest, is_component: false }),
            Some(version) if version == COMPONENT => Ok(Sections { rest, is_component: true }),
            Some(_) => {
                Err(Malformed { offset: begin + MAGIC.len(), what: "unknown version of the binary format".to_owned() })
            }
            None => Err(Malformed { offset: begin, what: "it does not begin as a Wasm file does".to_owned() }),
        }
    }

    fn read(&mut self) -> Result<Section<'a>, Malformed> {
        let begin = self.rest.original_position();
        let id = self.rest.read_u8()?;
        let contents = self.rest.read_reader()?;
        let range = begin..self.rest.original_position();
        Ok(Section { id, is_in_component: self.is_component, range, contents })
    }
}

impl<'a> Iterator for Sections<'a> {
    type Item = Result<Section<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.eof() {
            return None;
        }
        let section = self.read();
        if section.is_err() {
            self.rest = BinaryReader::new(&[], 0);
        }
        Some(section)
    }
}
