//! Native code of a guest: a component or a core module, as its kind has it. Made and loaded here, instantiated nowhere.

use std::path::Path;

use wasmtime::component::Component;
use wasmtime::{Engine, Module, ResourcesRequired};

use crate::module::Kind;

/// Code that an engine has loaded.
pub(super) enum Code {
    Component(Component),
    Module(Module),
}

/// What a kind's file holds.
enum Form {
    Component,
    Module,
}

impl Form {
    fn of(kind: Kind) -> Form {
        match kind {
            Kind::HttpIncomingHandler | Kind::HttpHandler | Kind::CliComponent | Kind::OtherComponent => {
                Form::Component
            }
            Kind::Command | Kind::OtherCoreModule => Form::Module,
        }
    }
}

impl Code {
    /// Compiles a file of this kind.
    pub(super) fn compile(engine: &Engine, kind: Kind, wasm: &[u8]) -> wasmtime::Result<Vec<u8>> {
        match Form::of(kind) {
            Form::Component => engine.precompile_component(wasm),
            Form::Module => engine.precompile_module(wasm),
        }
    }

    /// # Safety
    /// The bytes must be what [`Code::compile`] returned, unchanged.
    pub(super) unsafe fn load(engine: &Engine, kind: Kind, code: &[u8]) -> wasmtime::Result<Code> {
        match Form::of(kind) {
            // SAFETY: as this function's.
            Form::Component => unsafe { Component::deserialize(engine, code) }.map(Code::Component),
            // SAFETY: as this function's.
            Form::Module => unsafe { Module::deserialize(engine, code) }.map(Code::Module),
        }
    }

    /// Maps a file into memory.
    ///
    /// # Safety
    /// The file's content must be what [`Code::compile`] returned, and stay so.
    pub(super) unsafe fn map(engine: &Engine, kind: Kind, file: &Path) -> wasmtime::Result<Code> {
        match Form::of(kind) {
            // SAFETY: as this function's.
            Form::Component => unsafe { Component::deserialize_file(engine, file) }.map(Code::Component),
            // SAFETY: as this function's.
            Form::Module => unsafe { Module::deserialize_file(engine, file) }.map(Code::Module),
        }
    }

    /// Makes the image that memories start as, so that the first request need not.
    pub(super) fn make_image(&self) -> wasmtime::Result<()> {
        match self {
            Code::Component(component) => component.initialize_copy_on_write_image(),
            Code::Module(module) => module.initialize_copy_on_write_image(),
        }
    }

    /// What an instance takes; `None` for a component that imports core modules, since that depends on them.
    pub(super) fn resources(&self) -> Option<ResourcesRequired> {
        match self {
            Code::Component(component) => component.resources_required(),
            Code::Module(module) => Some(module.resources_required()),
        }
    }
}
