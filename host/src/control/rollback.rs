//! Bringing a version of a module back while a server runs: its file is put there, is deployed like any other, and is taken away
//! again where it would hold up others. Which version comes back, and why, is decided elsewhere.

use super::deploy::Change;
use super::desk::{Desk, Published};

/// Brings a version back, the one before if none is wanted, and waits for what becomes of it. `meanwhile` is done once a second.
/// Answers with the version's hash.
///
/// # Errors
/// There is no such version, or it is refused, and what serves now.
pub(super) fn roll_back(desk: &Desk, name: &str, wanted: Option<&str>, meanwhile: impl Fn()) -> Result<String, String> {
    let (hash, change) = Change::bring_back(&desk.published().prepared, name, wanted)?;
    let judge = |published: &Published, reload| change.outcome(published, reload);
    let published = desk.publish(judge, || {
        meanwhile();
        Ok(())
    });
    match published {
        Ok(_) => Ok(hash),
        Err(reason) => match change.take_back(&desk.published().prepared) {
            Ok(()) => Err(reason),
            Err(problem) => Err(format!("{reason}\n{problem}")),
        },
    }
}
