//! The demo that `guesthouse serve` runs where there is no configuration: files that are part of the program.

use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

const FILES: [(&str, &str); 2] =
    [("guesthouse.toml", include_str!("demo.toml")), ("hello.wat", include_str!("hello.wat"))];

/// Writes the demo into a directory of this user's below the system's temporary one, and says where its
/// configuration is.
///
/// # Errors
/// The directory cannot be made, or somebody else has made it.
pub fn unpack() -> Result<PathBuf> {
    let user = nix::unistd::Uid::effective();
    let folder = std::env::temp_dir().join(format!("guesthouse-demo-{user}"));
    let shown = folder.display();
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .with_context(|| format!("cannot make the directory {shown}"))?;
    let facts = folder.symlink_metadata().with_context(|| format!("cannot look at {shown}"))?;
    if !facts.is_dir() || facts.uid() != user.as_raw() || facts.mode() & 0o022 != 0 {
        bail!("{shown} is not a directory that only you can write to: remove it, or serve a file of your own");
    }
    for (name, text) in FILES {
        let path = folder.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(folder.join(FILES[0].0))
}
