//! What a guest is built from, as one hash: its sources, the definitions, the pinned versions, and the recipe. Builds
//! nothing.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{Toolchain, WIT_02, WIT_03};
use crate::run::root;

/// What tools leave in a folder of sources, and what a guest is only given when it runs.
const NOT_SOURCES: [&str; 5] = ["__pycache__", "target", "www", "data", "guesthouse.toml"];

/// Changes when the guest in the folder has to be built again.
pub fn of(toolchain: &Toolchain, source: &Path) -> Result<String> {
    let pins = root().join("xtask/languages");
    let mut files: Vec<PathBuf> = toolchain.pins.iter().map(|pin| pins.join(pin)).collect();
    files.extend([WIT_02, WIT_03].map(|wit| root().join(wit)));
    collect(source, &mut files)?;
    files.sort();

    let mut hash = blake3::Hasher::new();
    hash.update(toolchain.recipe.as_bytes());
    for file in files {
        let text = std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let name = file.strip_prefix(root()).unwrap_or(&file);
        hash.update(format!("\0{}\0{}\0", name.display(), text.len()).as_bytes()).update(&text);
    }
    Ok(hash.finalize().to_hex().to_string())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = folder.read_dir().with_context(|| format!("cannot list the folder {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if NOT_SOURCES.iter().any(|name| path.ends_with(name)) {
            continue;
        }
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_none_or(|extension| extension != "md") {
            files.push(path);
        }
    }
    Ok(())
}
