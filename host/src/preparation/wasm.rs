//! What the preparation knows of a module's Wasm: it reads a file and looks into it, unless the file is as it was when that was done
//! for what is published. Then all that would come of it is known, and a start does not take longer for a large module. Decides
//! nothing about settings.

use std::path::Path;

use crate::config::{self, Module};
use crate::deploy::{Prepared, PreparedModule, versions};
use crate::guest::compile::{CompileError, Compiled, compile, find_compiled};
use crate::identity::Sighting;
use crate::module::WasmFile;
use crate::placement::{self, Nature, Remark};

/// The Wasm of one module.
pub(super) enum Wasm {
    /// As it was read for what is published, and as it lies there still; so does all that was made of it.
    Known { nature: Nature, hash: String, sighting: Sighting, compiled: Compiled },
    /// Read now.
    Read { nature: Nature, hash: String, file: WasmFile },
}

impl Wasm {
    /// What is known of a module's file, or what is in it.
    ///
    /// # Errors
    /// The file cannot be understood, or no server could run it.
    pub(super) fn of(module: &Module, server: &config::Server, published: Option<&Prepared>) -> Result<Self, Remark> {
        match published.and_then(|published| Self::known(module, server, published)) {
            Some(known) => Ok(known),
            None => Self::read(module),
        }
    }

    /// Reads it, whatever is known.
    ///
    /// # Errors
    /// As [`Wasm::of`].
    pub(super) fn read(module: &Module) -> Result<Self, Remark> {
        let (file, nature) = placement::read(module)?;
        Ok(Self::Read { nature, hash: versions::hash(file.binary()), file })
    }

    /// `None`: the file has changed, or something that was made of it is gone.
    fn known(module: &Module, server: &config::Server, published: &Prepared) -> Option<Self> {
        let mut all = published.config.modules.iter().zip(&published.modules);
        let (prepared, sighting) = all.find_map(|(settings, prepared)| {
            let sighting = prepared.file.as_ref().filter(|_| settings.path == module.path)?;
            sighting.is_of(&module.path).then_some((prepared, sighting))
        })?;
        let PreparedModule { kind, facts, hash, native, .. } = prepared;
        if native.parent() != Some(&server.cache_dir) || !versions::is_kept(&server.runtime_dir, hash) {
            return None;
        }
        let (nature, compiled) = (Nature { kind: *kind, facts: facts.clone() }, find_compiled(native)?);
        Some(Self::Known { nature, hash: hash.clone(), sighting: sighting.clone(), compiled })
    }

    pub(super) fn nature(&self) -> &Nature {
        match self {
            Self::Known { nature, .. } | Self::Read { nature, .. } => nature,
        }
    }

    /// Names the version.
    pub(super) fn hash(&self) -> &str {
        match self {
            Self::Known { hash, .. } | Self::Read { hash, .. } => hash,
        }
    }

    /// See [`WasmFile::sighting`].
    pub(super) fn sighting(&self) -> Option<&Sighting> {
        match self {
            Self::Known { sighting, .. } => Some(sighting),
            Self::Read { file, .. } => file.sighting(),
        }
    }

    /// Its native code. `path` is where it is from, for what is told of it.
    ///
    /// # Errors
    /// As [`compile`].
    pub(super) fn compiled(&self, path: &Path, cache_dir: &Path) -> Result<Compiled, CompileError> {
        match self {
            Self::Known { compiled, .. } => Ok(compiled.clone()),
            Self::Read { nature, file, .. } => compile(file, nature.kind, path, cache_dir),
        }
    }

    /// Keeps it as a version, if it is not kept already.
    ///
    /// # Errors
    /// As [`versions::keep`].
    pub(super) fn keep(&self, runtime_dir: &Path) -> Result<(), String> {
        match self {
            Self::Known { .. } => Ok(()),
            Self::Read { hash, file, .. } => versions::keep(runtime_dir, hash, file.binary()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::prepare;
    use super::super::testing::{UNSAFE, prepared};
    use super::*;
    use crate::deploy::published;

    /// A server's folder, and what is published there: a module whose file has not changed for long when it was read.
    struct Served {
        folder: tempfile::TempDir,
        published: Prepared,
    }

    impl Served {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let mut published = prepared(folder.path(), "event", UNSAFE, "");
            published.modules[0].file = Some(Sighting::settled(&folder.path().join("a.wat")));
            Self { folder, published }
        }

        fn is_known(&self) -> bool {
            let config = &self.published.config;
            let wasm = Wasm::of(&config.modules[0], &config.server, Some(&self.published));
            matches!(wasm.unwrap(), Wasm::Known { .. })
        }
    }

    #[test]
    fn a_file_that_is_as_it_was_is_not_read_again_and_all_that_was_known_is() {
        let served = Served::new();
        assert!(served.is_known());
        published::write(&served.folder.path().join("run"), &serde_json::to_vec(&served.published).unwrap()).unwrap();
        let again = prepare(&served.folder.path().join("guesthouse.toml")).unwrap();
        assert_eq!(again.modules, served.published.modules);
        assert_eq!(again.config, served.published.config);
    }

    #[test]
    fn a_file_that_had_just_been_changed_is_read_again() {
        let mut served = Served::new();
        served.published.modules[0].file = None;
        assert!(!served.is_known());
    }

    #[test]
    fn a_file_is_read_again_when_it_is_another_or_what_was_made_of_it_is_gone() {
        let undo: [fn(&mut Served); 5] = [
            |served| {
                let (path, other) = (served.folder.path().join("a.wat"), served.folder.path().join("b.wat"));
                fs::copy(&path, &other).unwrap();
                fs::rename(&other, &path).unwrap();
            },
            |served| fs::remove_file(&served.published.modules[0].native).unwrap(),
            |served| fs::remove_dir_all(served.folder.path().join("run/versions")).unwrap(),
            |served| {
                let file = served.published.modules[0].file.take();
                served.published.modules[0].file = file.map(Sighting::of_another_boot);
            },
            |served| served.published.config.server.cache_dir = served.folder.path().join("another"),
        ];
        for (index, undo) in undo.iter().enumerate() {
            let mut served = Served::new();
            undo(&mut served);
            assert!(!served.is_known(), "case {index}");
        }
    }
}
