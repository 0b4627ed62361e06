//! Which files in `modules_dir` are modules. Looks at names, and whether a file is there; opens nothing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A Wasm file that somebody has put there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Candidate {
    /// Of the module that it is to be.
    pub(crate) name: String,
    pub(crate) wasm: PathBuf,
    /// Where its settings are, if there are any.
    pub(crate) settings: PathBuf,
}

impl Candidate {
    /// Of the file `NAME.wasm`. Names that begin with a dot or a hash are those of editors and of programs that rename a file
    /// when they have written it; so are those with anything behind the suffix.
    fn of(path: &Path) -> Option<Candidate> {
        let name = path.file_name()?.to_str()?.strip_suffix(".wasm")?;
        let is_temporary = name.is_empty() || name.starts_with(['.', '#', '~']) || name.contains(char::is_control);
        let wasm = path.to_owned();
        (!is_temporary).then(|| Candidate { name: name.to_owned(), settings: wasm.with_extension("toml"), wasm })
    }
}

/// The candidates in the folder, by name. A link counts as what it leads to; one that leads nowhere at the moment is there too,
/// since only a file that is removed is withdrawn.
///
/// # Errors
/// The folder is not there or cannot be read.
pub(crate) fn candidates(folder: &Path) -> io::Result<Vec<Candidate>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if let Some(candidate) = Candidate::of(&path)
            && path.metadata().map_or(true, |facts| facts.is_file())
        {
            found.push(candidate);
        }
    }
    found.sort_unstable();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_module_is_named_after_its_file() {
        let candidate = Candidate::of(Path::new("/m/shop.v2.wasm")).unwrap();
        assert_eq!(candidate.name, "shop.v2");
        assert_eq!(candidate.settings, Path::new("/m/shop.v2.toml"));
    }

    #[test]
    fn what_editors_and_copying_programs_leave_is_no_module() {
        for name in [
            ".a.wasm",
            ".#a.wasm",
            "#a.wasm#",
            "a.wasm~",
            "~a.wasm",
            "a.wasm.tmp",
            "a.wasm.part",
            ".a.wasm.Xy12",
            "a.wat",
            "a.toml",
            ".wasm",
            "a.WASM.swp",
            "a\nb.wasm",
        ] {
            assert_eq!(Candidate::of(&Path::new("/m").join(name)), None, "{name}");
        }
    }

    #[test]
    fn folders_are_none_and_links_are_wherever_they_lead() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("folder.wasm")).unwrap();
        fs::write(path("b.wasm"), "").unwrap();
        fs::write(path("elsewhere"), "").unwrap();
        symlink("elsewhere", path("a.wasm")).unwrap();
        symlink("nowhere", path("c.wasm")).unwrap();
        let names: Vec<_> = candidates(folder.path()).unwrap().into_iter().map(|candidate| candidate.name).collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert!(candidates(&path("none")).is_err());
    }
}
