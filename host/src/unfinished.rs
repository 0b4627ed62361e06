//! Files that appear whole or not at all: each is written under a name of its own first. Flushes nothing, and decides nothing about
//! what stands in them.

use std::fs::Permissions;
use std::io::{self, Write as _};
use std::path::Path;

use tempfile::NamedTempFile;

/// What names of files end with that are not finished.
pub(crate) const SUFFIX: &str = ".unfinished";

/// Writes a file beside `path`, which is to be its name: who makes it appear calls [`NamedTempFile::persist`]. Otherwise it goes.
/// The name is nobody else's, whatever machine or container they are in, and none that a module has.
pub(crate) fn write(path: &Path, content: &[u8], permissions: Permissions) -> io::Result<NamedTempFile> {
    let folder = path.parent().unwrap_or(path);
    let mut unfinished = tempfile::Builder::new().prefix(".").suffix(SUFFIX).tempfile_in(folder)?;
    unfinished.write_all(content)?;
    unfinished.as_file().set_permissions(permissions)?;
    Ok(unfinished)
}
