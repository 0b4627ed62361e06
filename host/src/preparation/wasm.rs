//! What the preparation knows of a module's Wasm: it reads a file and looks into it, unless the file is as it was when that was done
//! for what is published. Then all that would come of it is known, and a start does not take longer for a large module. Decides
//! nothing about settings.

use std::path::Path;

use crate::config::Module;
use crate::deploy::{Prepared, PreparedModule, versions};
use crate::guest::compile::{CompileError, Compiled, compile, find_compiled};
use crate::identity::Identity;
use crate::module::WasmFile;
use crate::placement::{self, Nature, Remark};

/// The Wasm of one module.
pub(super) enum Wasm {
    /// As it was read for what is published, and as it lies there still; so does all that was made of it.
    Known { nature: Nature, hash: String, identity: Identity, compiled: Compiled },
    /// Read now.
    Read { nature: Nature, hash: String, file: WasmFile },
}

impl Wasm {
    /// What is known of a module's file, or what is in it.
    ///
    /// # Errors
    /// The file cannot be understood, or no server could run it.
    pub(super) fn of(
        module: &Module,
        runtime_dir: &Path,
        cache_dir: &Path,
        published: Option<&Prepared>,
    ) -> Result<Self, Remark> {
        match published.and_then(|published| Self::known(module, runtime_dir, cache_dir, published)) {
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
    fn known(module: &Module, runtime_dir: &Path, cache_dir: &Path, published: &Prepared) -> Option<Self> {
        let is_its = |(settings, prepared): (&Module, &PreparedModule)| {
            let identity = prepared.file.filter(|_| settings.path == module.path)?;
            identity.is_of(&module.path).then(|| (identity, prepared.clone()))
        };
        let (identity, prepared) = published.config.modules.iter().zip(&published.modules).find_map(is_its)?;
        let PreparedModule { kind, facts, hash, native, .. } = prepared;
        let is_all_there = native.parent() == Some(cache_dir) && versions::is_kept(runtime_dir, &hash);
        let compiled = find_compiled(&native).filter(|_| is_all_there)?;
        Some(Self::Known { nature: Nature { kind, facts }, hash, identity, compiled })
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

    /// See [`WasmFile::identity`].
    pub(super) fn identity(&self) -> Option<Identity> {
        match self {
            Self::Known { identity, .. } => Some(*identity),
            Self::Read { file, .. } => file.identity(),
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
            let file = folder.path().join("a.wat").metadata().unwrap();
            published.modules[0].file = Some(Identity::of(&file));
            Self { folder, published }
        }

        fn is_known(&self) -> bool {
            let crate::config::Server { runtime_dir, cache_dir, .. } = &self.published.config.server;
            let wasm = Wasm::of(&self.published.config.modules[0], runtime_dir, cache_dir, Some(&self.published));
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
        let undo: [fn(&mut Served); 4] = [
            |served| {
                let (path, other) = (served.folder.path().join("a.wat"), served.folder.path().join("b.wat"));
                fs::copy(&path, &other).unwrap();
                fs::rename(&other, &path).unwrap();
            },
            |served| fs::remove_file(&served.published.modules[0].native).unwrap(),
            |served| fs::remove_dir_all(served.folder.path().join("run/versions")).unwrap(),
            |served| served.published.config.server.cache_dir = served.folder.path().join("another"),
        ];
        for (index, undo) in undo.iter().enumerate() {
            let mut served = Served::new();
            undo(&mut served);
            assert!(!served.is_known(), "case {index}");
        }
    }
}
