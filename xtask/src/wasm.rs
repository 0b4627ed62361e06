//! What it takes to make a guest, whichever toolchain does: the Rust compiler's part for Wasm, and how a file gets where servers
//! look for it.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::run::{exists, output, program, run};

/// Adds the compiler's part for a kind of Wasm, if it is missing.
pub fn ensure_target(target: &str) -> Result<()> {
    let sysroot = output(program("rustc").args(["--print", "sysroot"]))?;
    if Path::new(sysroot.trim()).join("lib/rustlib").join(target).exists() {
        return Ok(());
    }
    if !exists("rustup") {
        bail!("the Rust compiler lacks the target {target}, and there is no rustup to add it: see https://rustup.rs");
    }
    run(program("rustup").args(["target", "add", target]))
}

/// Copies a file to where a server may have mapped its predecessor: that one stays whole under its own inode.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    let beside = to.with_extension("new");
    std::fs::copy(from, &beside)
        .and_then(|_| std::fs::rename(&beside, to))
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}
