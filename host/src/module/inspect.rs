//! What can be told of a module without compiling it: kind, imports, exports, memories, facts, and what its guest will
//! ask for. Pure: bytes in, [`Inspection`] out.
//!
//! Only the sections that tell something are read, and nothing is validated: that is the compiler's affair, in a process
//! that may die of it. A few megabytes of types can take gigabytes to validate, and types within types recurse without a
//! limit while they are read.

use serde::{Deserialize, Serialize};
use wasmparser::{
    ComponentExternalKind, ComponentTypeRef, Encoding, ExternalKind, Import as CoreImport, Imports, MemoryType, Parser,
    Payload, TypeRef, WasmFeatures,
};

use super::asks::Ask;
use super::facts::{Facts, FactsError};
use super::sections::Malformed;

/// Levels of components within components. Toolchains make about three.
const LEVELS_MAX: usize = 32;
/// Imports, exports and memories together. A real module has a few hundred.
const ITEMS_MAX: usize = 100_000;

/// Why a file cannot be inspected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InspectError {
    /// It breaks the rules of Wasm where it was looked at.
    #[error("it is not valid Wasm: {0}: build or copy it anew")]
    Invalid(#[from] Malformed),
    /// Nobody writes such a file but to do harm.
    #[error("it has more than {LEVELS_MAX} levels of components within components")]
    TooDeep,
    /// Likewise.
    #[error("it has more than {ITEMS_MAX} imports, exports and memories")]
    TooMany,
    /// What it says of itself.
    #[error(transparent)]
    Facts(#[from] FactsError),
}

impl From<wasmparser::Error> for InspectError {
    fn from(error: wasmparser::Error) -> Self {
        InspectError::Invalid(error.into())
    }
}

/// A module, looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Inspection {
    pub kind: Kind,
    /// Bytes of the file.
    pub size: u64,
    /// `None`: the file says nothing of itself.
    pub facts: Option<Facts>,
    /// What the file says, or what holds where it says nothing.
    pub thread_safe: bool,
    /// Each once, in the order of [`Ask`].
    pub asks_for: Vec<Ask>,
    /// Of the outermost level.
    pub imports: Vec<Import>,
    /// Of the outermost level.
    pub exports: Vec<Export>,
    /// That the file defines, at any level, and that a core module imports.
    pub memories: Vec<Memory>,
    /// It has exceptions, which need memory of the engine's own at run time.
    #[serde(skip)]
    pub throws: bool,
}

/// What kind of guest is in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A component that exports `wasi:http/incoming-handler@0.2`.
    HttpIncomingHandler,
    /// A component that exports `wasi:http/handler@0.3`.
    HttpHandler,
    /// A component that exports `wasi:cli/run`.
    CliComponent,
    OtherComponent,
    /// A core module that exports the function `_start`: a command of WASI preview 1.
    Command,
    OtherCoreModule,
}

impl Kind {
    /// Its name where programs read it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::HttpIncomingHandler => "http-incoming-handler",
            Kind::HttpHandler => "http-handler",
            Kind::CliComponent => "cli-component",
            Kind::OtherComponent => "other-component",
            Kind::Command => "command",
            Kind::OtherCoreModule => "other-core-module",
        }
    }

    /// Whether guests of this kind are programs that speak CGI.
    #[must_use]
    pub fn speaks_cgi(self) -> bool {
        match self {
            Kind::Command | Kind::CliComponent => true,
            Kind::HttpIncomingHandler | Kind::HttpHandler | Kind::OtherComponent | Kind::OtherCoreModule => false,
        }
    }

    fn of(encoding: Encoding, exports: &[Export]) -> Kind {
        let has = |interface: &str| exports.iter().any(|export| export.name.starts_with(interface));
        match encoding {
            Encoding::Component if has("wasi:http/incoming-handler@0.2.") => Kind::HttpIncomingHandler,
            Encoding::Component if has("wasi:http/handler@0.3.") => Kind::HttpHandler,
            Encoding::Component if has("wasi:cli/run@") => Kind::CliComponent,
            Encoding::Component => Kind::OtherComponent,
            Encoding::Module if exports.iter().any(|export| export.name == "_start" && export.kind == "func") => {
                Kind::Command
            }
            Encoding::Module => Kind::OtherCoreModule,
        }
    }
}

/// Something that the module needs from outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Import {
    /// Of a core module's import, such as `wasi_snapshot_preview1`; components have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub module: Option<String>,
    pub name: String,
    /// "func", "instance", "memory"...
    pub kind: &'static str,
}

/// Something that the module offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Export {
    pub name: String,
    /// As in [`Import`].
    pub kind: &'static str,
}

/// A linear memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Bytes at the start.
    pub initial: u64,
    /// Bytes to which it may grow; `None`: as far as the address space reaches.
    pub maximum: Option<u64>,
    pub is_imported: bool,
}

impl Memory {
    fn of(ty: &MemoryType, is_imported: bool) -> Memory {
        // Pages are 64 KiB unless said; what does not fit is more than there can be.
        let page = 1_u64.checked_shl(ty.page_size_log2.unwrap_or(16)).unwrap_or(u64::MAX);
        let bytes = |pages: u64| pages.saturating_mul(page);
        Memory { initial: bytes(ty.initial), maximum: ty.maximum.map(bytes), is_imported }
    }
}

/// Looks at a file of the binary format; `size` is what the file has on the disk.
pub(super) fn inspect(wasm: &[u8], size: u64) -> Result<Inspection, InspectError> {
    // First: this also checks that the outermost level is whole.
    let facts = Facts::of(wasm)?;
    let mut look = Look::default();
    let encoding = look.take(wasm)?;
    let Look { imports, exports, memories, mut asks_for, throws, .. } = look;
    asks_for.sort_unstable();
    asks_for.dedup();
    Ok(Inspection {
        kind: Kind::of(encoding, &exports),
        size,
        thread_safe: facts.as_ref().unwrap_or(&Facts::default()).thread_safe,
        facts,
        asks_for,
        imports,
        exports,
        memories,
        throws,
    })
}

/// What was seen so far.
#[derive(Default)]
struct Look {
    imports: Vec<Import>,
    exports: Vec<Export>,
    memories: Vec<Memory>,
    asks_for: Vec<Ask>,
    throws: bool,
    items: usize,
}

impl Look {
    fn take(&mut self, wasm: &[u8]) -> Result<Encoding, InspectError> {
        let mut parser = Parser::new(0);
        parser.set_features(WasmFeatures::all());
        let mut outermost = Encoding::Module;
        let mut level = 0;
        for payload in parser.parse_all(wasm) {
            match payload? {
                Payload::Version { encoding, .. } => {
                    level += 1;
                    if level > LEVELS_MAX {
                        return Err(InspectError::TooDeep);
                    }
                    if level == 1 {
                        outermost = encoding;
                    }
                }
                Payload::End(_) => level -= 1,
                Payload::MemorySection(memories) => {
                    for memory in memories {
                        self.count()?;
                        self.memories.push(Memory::of(&memory?, false));
                    }
                }
                Payload::TagSection(_) => self.throws = true,
                outer if level == 1 => self.take_outermost(outer)?,
                _ => {}
            }
        }
        Ok(outermost)
    }

    fn take_outermost(&mut self, payload: Payload<'_>) -> Result<(), InspectError> {
        match payload {
            Payload::ImportSection(imports) => {
                for group in imports {
                    self.take_group(group?)?;
                }
            }
            Payload::ExportSection(exports) => {
                for export in exports {
                    let export = export?;
                    self.export(export.name, name_of_kind(export.kind))?;
                }
            }
            Payload::ComponentImportSection(imports) => {
                for import in imports {
                    let import = import?;
                    self.count()?;
                    let name = import.name.name.to_owned();
                    self.asks_for.extend(Ask::of_interface(&name));
                    self.imports.push(Import { module: None, name, kind: name_of_type(import.ty) });
                }
            }
            Payload::ComponentExportSection(exports) => {
                for export in exports {
                    let export = export?;
                    self.export(export.name.name, name_of_component_kind(export.kind))?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Imports of a core module: each for itself, or several that share their beginning.
    fn take_group(&mut self, group: Imports<'_>) -> Result<(), InspectError> {
        match group {
            Imports::Single(_, import) => self.core_import(import),
            Imports::Compact1 { module, items } => {
                for item in items {
                    let item = item?;
                    self.core_import(CoreImport { module, name: item.name, ty: item.ty })?;
                }
                Ok(())
            }
            Imports::Compact2 { module, ty, names } => {
                for name in names {
                    self.core_import(CoreImport { module, name: name?, ty })?;
                }
                Ok(())
            }
        }
    }

    fn core_import(&mut self, import: CoreImport<'_>) -> Result<(), InspectError> {
        self.count()?;
        let kind = match import.ty {
            TypeRef::Func(_) | TypeRef::FuncExact(_) => "func",
            TypeRef::Table(_) => "table",
            TypeRef::Memory(memory) => {
                self.memories.push(Memory::of(&memory, true));
                "memory"
            }
            TypeRef::Global(_) => "global",
            TypeRef::Tag(_) => "tag",
        };
        self.asks_for.extend(Ask::of_function(import.module, import.name));
        self.imports.push(Import { module: Some(import.module.to_owned()), name: import.name.to_owned(), kind });
        Ok(())
    }

    fn export(&mut self, name: &str, kind: &'static str) -> Result<(), InspectError> {
        self.count()?;
        self.exports.push(Export { name: name.to_owned(), kind });
        Ok(())
    }

    fn count(&mut self) -> Result<(), InspectError> {
        self.items += 1;
        if self.items > ITEMS_MAX { Err(InspectError::TooMany) } else { Ok(()) }
    }
}

fn name_of_kind(kind: ExternalKind) -> &'static str {
    match kind {
        ExternalKind::Func | ExternalKind::FuncExact => "func",
        ExternalKind::Table => "table",
        ExternalKind::Memory => "memory",
        ExternalKind::Global => "global",
        ExternalKind::Tag => "tag",
    }
}

fn name_of_component_kind(kind: ComponentExternalKind) -> &'static str {
    match kind {
        ComponentExternalKind::Module => "module",
        ComponentExternalKind::Func => "func",
        ComponentExternalKind::Value => "value",
        ComponentExternalKind::Type => "type",
        ComponentExternalKind::Instance => "instance",
        ComponentExternalKind::Component => "component",
    }
}

fn name_of_type(ty: ComponentTypeRef) -> &'static str {
    match ty {
        ComponentTypeRef::Module(_) => "module",
        ComponentTypeRef::Func(_) => "func",
        ComponentTypeRef::Value(_) => "value",
        ComponentTypeRef::Type(_) => "type",
        ComponentTypeRef::Instance(_) => "instance",
        ComponentTypeRef::Component(_) => "component",
    }
}
