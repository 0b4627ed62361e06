//! What the tests of this folder prepare.

use std::path::Path;

use super::prepare;
use crate::deploy::Prepared;

pub(super) const UNSAFE: &str = "thread_safe = false\nversion = '1.2'\ndescription = 'counts'";

/// What is prepared of a module `a`, whose file says `facts` of itself.
pub(super) fn prepared(dir: &Path, mpm: &str, facts: &str, lines: &str) -> Prepared {
    let guest = include_str!("../guest/testing.wat").replace("(; BODY ;)", "nop");
    let facts = facts.replace('\n', "\\n");
    let guest = guest.replacen("(component", &format!("(component (@custom \"guesthouse\" \"{facts}\")"), 1);
    std::fs::write(dir.join("a.wat"), guest).unwrap();
    let file = dir.join("guesthouse.toml");
    let server = format!("[server]\nmpm = \"{mpm}\"\naccess_log = \"off\"\n");
    std::fs::write(&file, format!("{server}[[module]]\npath = \"a.wat\"\nname = \"a\"\n{lines}\n")).unwrap();
    let prepared = prepare(&file).unwrap();
    // As the parent receives it.
    serde_json::from_slice(&serde_json::to_vec(&prepared).unwrap()).unwrap()
}
