//! The files that a new project begins with. They are plain files in `templates/`, a folder for each language and two more
//! for Rust, and this program carries them along; here they are written, with the project's name in them.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use include_dir::{Dir, DirEntry, include_dir};

use super::name::Name;

static TEMPLATES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../templates");

/// The definitions of `wasi:http`, for toolchains that bring none along.
const WIT: &str = "wit/handler-0.2.wit";

/// What a project can be written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Language {
    Rust,
    #[value(alias = "javascript")]
    Js,
    #[value(alias = "typescript")]
    Ts,
    Python,
    Go,
    C,
    Zig,
    Php,
    Lua,
}

impl Language {
    /// Its folders in `templates/`, which make a project together. In Rust it is written against the SDK where that is at
    /// hand; it is not published, so elsewhere it is written against a library that is.
    fn folders(self, sdk: Option<&Path>) -> &'static [&'static str] {
        match (self, sdk) {
            (Language::Rust, Some(_)) => &["rust", "rust-sdk"],
            (Language::Rust, None) => &["rust", "rust-wstd"],
            (Language::Js, _) => &["js"],
            (Language::Ts, _) => &["ts"],
            (Language::Python, _) => &["python"],
            (Language::Go, _) => &["go"],
            (Language::C, _) => &["c"],
            (Language::Zig, _) => &["zig"],
            (Language::Php, _) => &["php"],
            (Language::Lua, _) => &["lua"],
        }
    }

    /// Whether it is compiled against the definitions of `wasi:http`. Rust's library has them; programs need none.
    fn needs_wit(self) -> bool {
        matches!(self, Language::Js | Language::Ts | Language::Python)
    }

    /// The interpreter that runs it, as a file of the project.
    fn interpreter(self) -> Option<&'static str> {
        match self {
            Language::Php => Some("php.wasm"),
            Language::Lua => Some("lua.wasm"),
            Language::Rust
            | Language::Js
            | Language::Ts
            | Language::Python
            | Language::Go
            | Language::C
            | Language::Zig => None,
        }
    }
}

/// Where guesthouse-sdk lies beside the sources that this program was built from.
const SDK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../guest-sdk");

/// Why there is no new project. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    #[error("cannot make the project: {} is there already: choose another name, or another folder", .0.display())]
    Exists(PathBuf),
    #[error("cannot write {}: {cause}", path.display())]
    Unwritable { path: PathBuf, cause: io::Error },
    #[error("cannot copy the interpreter {}: {cause}", path.display())]
    NoInterpreter { path: PathBuf, cause: io::Error },
    #[error("a project in this language has no interpreter: leave --interpreter out")]
    NotInterpreted,
}

/// Makes a folder `name` in `parent` with a project in it, and says where.
///
/// # Errors
/// Something of that name is there, whatever it is, or the folder cannot be written.
pub fn create(
    parent: &Path,
    name: &Name,
    language: Language,
    interpreter: Option<&Path>,
) -> Result<PathBuf, CreateError> {
    if interpreter.is_some() && language.interpreter().is_none() {
        return Err(CreateError::NotInterpreted);
    }
    let folder = parent.join(name.as_str());
    match std::fs::create_dir(&folder) {
        Ok(()) => {}
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => return Err(CreateError::Exists(folder)),
        Err(cause) => return Err(CreateError::Unwritable { path: folder, cause }),
    }
    match fill(&folder, name, language, interpreter) {
        Ok(()) => Ok(folder),
        Err(error) => {
            // It was made above, so all that is in it is from here. That it stays if it cannot be removed is seen.
            let _ = std::fs::remove_dir_all(&folder);
            Err(error)
        }
    }
}

fn fill(folder: &Path, name: &Name, language: Language, interpreter: Option<&Path>) -> Result<(), CreateError> {
    // Who has built this program from its sources, and still has them, gets the SDK that belongs to it.
    let sdk = Path::new(SDK).canonicalize().ok();
    for (path, text) in files(name, language, sdk.as_deref()) {
        write(&folder.join(path), &text)?;
    }
    if let (Some(from), Some(to)) = (interpreter, language.interpreter()) {
        std::fs::copy(from, folder.join(to))
            .map_err(|cause| CreateError::NoInterpreter { path: from.to_owned(), cause })?;
    }
    Ok(())
}

/// The files of a project, with their paths in it.
fn files(name: &Name, language: Language, sdk: Option<&Path>) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    for folder in language.folders(sdk) {
        let template = TEMPLATES.get_dir(folder).expect("each language has its templates");
        collect(template, template.path(), &mut files);
    }
    if language.needs_wit() {
        files.push(("wit/handler.wit".into(), text_of(WIT)));
    }
    for (_, text) in &mut files {
        *text = text
            .replace("{{name}}", name.as_str())
            .replace("{{name_with_underscores}}", &name.as_str().replace('-', "_"))
            .replace("{{sdk}}", &sdk.map_or_else(String::new, dependency));
    }
    files
}

fn collect(folder: &Dir<'_>, template: &Path, files: &mut Vec<(PathBuf, String)>) {
    for entry in folder.entries() {
        match entry {
            DirEntry::Dir(folder) => collect(folder, template, files),
            DirEntry::File(file) => {
                let path = file.path().strip_prefix(template).expect("it is in the template's folder");
                let text = file.contents_utf8().expect("templates are text");
                files.push((path.to_owned(), text.to_owned()));
            }
        }
    }
}

fn text_of(path: &str) -> String {
    let file = TEMPLATES.get_file(path).expect("the templates are complete");
    file.contents_utf8().expect("templates are text").to_owned()
}

/// The SDK as Cargo.toml has it.
fn dependency(sdk: &Path) -> String {
    format!("{{ path = {} }}", toml::Value::from(sdk.display().to_string()))
}

fn write(path: &Path, text: &str) -> Result<(), CreateError> {
    let written = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    let written =
        written.and_then(|()| std::fs::File::create_new(path)).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|cause| CreateError::Unwritable { path: path.to_owned(), cause })
}

#[cfg(test)]
mod tests {
    use super::super::manifest::{FILE, Manifest};
    use super::*;

    fn made(language: Language) -> (tempfile::TempDir, PathBuf) {
        let parent = tempfile::tempdir().unwrap();
        let folder = create(parent.path(), &"my-shop".parse().unwrap(), language, None).unwrap();
        (parent, folder)
    }

    #[test]
    fn every_language_has_a_handler_a_configuration_a_build_a_test_and_a_readme() {
        for language in Language::value_variants() {
            let (_parent, folder) = made(*language);
            for file in ["guesthouse.toml", FILE, "README.md", ".gitignore"] {
                assert!(folder.join(file).is_file(), "{language:?} has no {file}");
            }
            let has_test = files(&"my-shop".parse().unwrap(), *language, None).iter().any(|(path, text)| {
                path.display().to_string().contains("test") || text.contains("test \"") || text.contains("#[test]")
            });
            assert!(has_test, "{language:?} has no test");
        }
    }

    #[test]
    fn no_placeholder_is_left_over() {
        for language in Language::value_variants() {
            for (path, text) in files(&"my-shop".parse().unwrap(), *language, None) {
                assert!(!text.contains("{{") && !text.contains("}}"), "{}:\n{text}", path.display());
            }
        }
    }

    #[test]
    fn a_project_in_rust_names_only_what_is_to_be_had() {
        let manifest = |sdk: Option<&Path>| {
            let files = files(&"my-shop".parse().unwrap(), Language::Rust, sdk);
            let paths: Vec<_> = files.iter().map(|(path, _)| path.display().to_string()).collect();
            assert!(paths.contains(&"src/lib.rs".to_owned()) && paths.contains(&FILE.to_owned()), "{paths:?}");
            files.into_iter().find(|(path, _)| path.ends_with("Cargo.toml")).unwrap().1
        };
        let (beside, alone) = (manifest(Some(Path::new("/sources/guest-sdk"))), manifest(None));
        assert!(beside.contains("guesthouse-sdk = { path = \"/sources/guest-sdk\" }"), "{beside}");
        assert!(alone.contains("\nwstd = ") && !alone.contains("guesthouse-sdk"), "{alone}");
    }

    #[test]
    fn what_the_build_makes_is_what_the_configuration_names() {
        for language in Language::value_variants() {
            let (_parent, folder) = made(*language);
            let manifest = Manifest::read(&folder).unwrap();
            let configuration = std::fs::read_to_string(folder.join("guesthouse.toml")).unwrap();
            let path = format!("path = \"{}\"", manifest.output.display());
            assert!(configuration.contains(&path), "{path} is missing in\n{configuration}");
        }
    }

    #[test]
    fn the_configuration_of_a_new_project_is_accepted_when_it_is_built() {
        let compiled = Language::value_variants().iter().filter(|language| language.interpreter().is_none());
        for language in compiled {
            let (_parent, folder) = made(*language);
            let output = folder.join(Manifest::read(&folder).unwrap().output);
            std::fs::create_dir_all(output.parent().unwrap()).unwrap();
            std::fs::write(output, "").unwrap();
            let (_, warnings) = crate::config::read(&folder.join("guesthouse.toml")).unwrap();
            assert_eq!(warnings, []);
        }
    }

    #[test]
    fn what_is_there_is_never_overwritten() {
        let parent = tempfile::tempdir().unwrap();
        std::fs::write(parent.path().join("shop"), "mine").unwrap();
        let error = create(parent.path(), &"shop".parse().unwrap(), Language::C, None).unwrap_err();
        assert!(matches!(error, CreateError::Exists(_)), "{error}");
        assert_eq!(std::fs::read_to_string(parent.path().join("shop")).unwrap(), "mine");
    }

    #[test]
    fn an_interpreter_is_copied_and_what_fails_leaves_nothing() {
        let parent = tempfile::tempdir().unwrap();
        let file = parent.path().join("some.wasm");
        let name = "shop".parse().unwrap();
        let error = create(parent.path(), &name, Language::Php, Some(&file)).unwrap_err();
        assert!(matches!(error, CreateError::NoInterpreter { .. }), "{error}");
        assert!(!parent.path().join("shop").exists());

        std::fs::write(&file, "interpreter").unwrap();
        assert!(matches!(create(parent.path(), &name, Language::Go, Some(&file)), Err(CreateError::NotInterpreted)));
        let folder = create(parent.path(), &name, Language::Php, Some(&file)).unwrap();
        assert_eq!(std::fs::read_to_string(folder.join("php.wasm")).unwrap(), "interpreter");
    }

    #[test]
    fn a_folder_of_the_sdk_is_written_as_toml() {
        let dependency = dependency(Path::new("/a \"b\""));
        let parsed: toml::Table = format!("sdk = {dependency}").parse().unwrap();
        assert_eq!(parsed["sdk"]["path"].as_str(), Some("/a \"b\""));
    }
}
