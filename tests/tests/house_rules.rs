//! The house rules, checked by reading the sources: which dependency may be named where, who imports whom, and how a
//! file begins. A violation is reported as `file:line: text`.
//!
//! ARCHITECTURE.md says why these rules are there. Nothing here looks at what the code does.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Where something may be named; folders and files from the root of the workspace.
enum Door {
    /// In one file of this folder, whichever.
    OneFileOf(&'static str),
    /// In any file below these folders, or in these files.
    Below(&'static [&'static str]),
}

#[test]
fn each_dependency_has_one_door() {
    for (dependency, door) in [
        ("mio::", Door::OneFileOf("mpm/src")),
        ("fork()", Door::OneFileOf("mpm/src/parent")),
        ("mmap_anonymous(", Door::OneFileOf("mpm/src")),
        ("mmap(", Door::OneFileOf("mpm/src")),
        ("httparse::", Door::OneFileOf("host/src/http")),
        ("wasmtime::", Door::Below(&["host/src/guest"])),
        ("wasmtime_wasi::", Door::Below(&["host/src/guest"])),
        ("wasmtime_wasi_http::", Door::Below(&["host/src/guest"])),
        ("tokio::", Door::Below(&["host/src/guest"])),
        ("wasmparser::", Door::Below(&["host/src/module"])),
        ("wat::", Door::Below(&["host/src/module"])),
        ("process::exit", Door::Below(&["host/src/main.rs", "tests/guests/cgi-probe"])),
        ("ExitCode", Door::Below(&["host/src/main.rs", "mpm/examples"])),
    ] {
        let places = places_of(dependency, |_| true);
        match door {
            Door::OneFileOf(folder) => {
                assert_none(&format!("{dependency} belongs into {folder}"), outside(&places, &[folder]));
                let first = places.first().map(|place| place.file.clone());
                let others = places.into_iter().filter(|place| Some(&place.file) != first.as_ref());
                assert_none(&format!("{dependency} belongs into one file of {folder}"), others.collect());
            }
            Door::Below(paths) => {
                assert_none(&format!("{dependency} belongs into {}", paths.join(", ")), outside(&places, paths));
            }
        }
    }
}

#[test]
fn http_and_guests_do_not_know_each_other() {
    let below = |folder: &'static str| move |file: &Path| file.starts_with(folder);
    assert_none("host/http must not know host/guest", places_of("crate::guest", below("host/src/http")));
    assert_none("host/guest must not know host/http", places_of("crate::http", below("host/src/guest")));
}

#[test]
fn mpm_knows_no_http_and_no_wasm() {
    for dependency in ["http::", "httparse::", "wasmtime::", "guesthouse::"] {
        assert_none("mpm serves bytes of any kind", places_of(dependency, |file| file.starts_with("mpm/src")));
    }
}

#[test]
fn http_does_no_io_and_reads_no_clock() {
    for forbidden in ["std::fs", "TcpStream", "Instant::now", "SystemTime::now", "std::thread"] {
        let places = places_of(forbidden, |file| file.starts_with("host/src/http"));
        let outside_tests = places.into_iter().filter(|place| !place.in_tests).collect();
        assert_none("bytes and time are handed to host/http", outside_tests);
    }
}

#[test]
fn every_source_file_says_first_what_lives_there() {
    let silent = sources().into_iter().filter(|file| !read(file).starts_with("//! ")).map(|file| Place {
        line: 1,
        text: "does not begin with //!".into(),
        file,
        in_tests: false,
    });
    assert_none("every file begins with what lives there", silent.collect());
}

#[test]
fn every_unsafe_block_says_why_it_is_sound() {
    /// How far above the block the comment may begin.
    const LINES_ABOVE: usize = 8;
    let unexplained = places_of("unsafe {", |_| true).into_iter().chain(places_of("unsafe impl", |_| true));
    let unexplained = unexplained.filter(|place| {
        let text = read(&place.file);
        let before: Vec<&str> = text.lines().take(place.line).collect();
        !before.iter().rev().take(LINES_ABOVE + 1).any(|line| line.contains("SAFETY:"))
    });
    assert_none("unsafe needs a comment that begins with SAFETY:", unexplained.collect());
}

#[test]
fn the_process_that_starts_others_is_the_parent() {
    let wrong = ["master", "Master"].into_iter().flat_map(|word| places_of(word, |_| true));
    assert_none("the word is parent", wrong.collect());
}

#[test]
fn no_file_mentions_a_path_of_the_machine_it_was_written_on() {
    // Put together here, so that this file does not mention them.
    let paths = ["work", "root"].map(|folder| format!("/{folder}/"));
    let mut places = Vec::new();
    for file in files(&["rs", "md", "toml", "sh", "js", "py", "json", "txt", "wat"]) {
        for (index, line) in read(&file).lines().enumerate() {
            if paths.iter().any(|path| line.contains(path.as_str())) {
                let (file, text) = (file.clone(), line.to_owned());
                places.push(Place { file, line: index + 1, text, in_tests: false });
            }
        }
    }
    assert_none("the project knows no machine", places);
}

#[test]
fn only_dates_are_told_by_the_systems_clock() {
    // What answers, logs and the scoreboard tell; deadlines live on the monotonic clock.
    let dates = ["host/src/clock.rs", "mpm/src/scoreboard.rs"];
    let places = places_of("SystemTime::now", |file| file.starts_with("host/src") || file.starts_with("mpm/src"));
    let outside_tests: Vec<Place> = places.into_iter().filter(|place| !place.in_tests).collect();
    assert_none("the system's clock may jump", outside(&outside_tests, &dates));
}

#[test]
fn every_test_that_the_specification_names_exists() {
    let specification = read(Path::new("SPECIFICATION.md"));
    let named = specification.split('`').skip(1).step_by(2).filter(|name| name.contains("::") && !name.contains('…'));
    let mut count = 0;
    let missing: Vec<&str> = named.inspect(|_| count += 1).filter(|name| !is_a_test(name)).collect();
    assert!(missing.is_empty(), "the specification names tests that are not there: {missing:#?}");
    assert!(count > 40, "the specification names tests");
}

/// `CRATE::…::FUNCTION`, as the specification writes it.
fn is_a_test(name: &str) -> bool {
    let (home, function) = name.rsplit_once("::").expect("looked for above");
    let folder = match home {
        "host" | "mpm" => home.to_owned(),
        "house_rules" => "tests/tests/house_rules.rs".to_owned(),
        _ => format!("tests/tests/{}.rs", home.replace("::", "/")),
    };
    let definition = format!("fn {function}(");
    let mut homes = sources().into_iter().filter(|file| file.starts_with(&folder));
    homes.any(|file| read(&file).contains(&definition))
}

struct Place {
    /// From the root of the workspace.
    file: PathBuf,
    line: usize,
    text: String,
    /// Below `mod tests` of its file, or in a file of tests.
    in_tests: bool,
}

fn assert_none(rule: &str, violations: Vec<Place>) {
    let mut report = String::new();
    for place in &violations {
        let _ = writeln!(report, "{}:{}: {}", place.file.display(), place.line, place.text.trim());
    }
    assert!(violations.is_empty(), "{rule}, but:\n{report}");
}

fn outside<'a>(places: &'a [Place], paths: &[&str]) -> Vec<Place> {
    let is_outside = |place: &&'a Place| !paths.iter().any(|path| place.file.starts_with(path));
    let copy = |place: &Place| Place { file: place.file.clone(), text: place.text.clone(), ..*place };
    places.iter().filter(is_outside).map(copy).collect()
}

/// Every line of code that names `what`, as a word of its own; comments and texts do not count.
fn places_of(what: &str, file_counts: impl Fn(&Path) -> bool) -> Vec<Place> {
    let mut places = Vec::new();
    for file in sources().into_iter().filter(|file| file_counts(file)) {
        let mut in_tests = file.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs");
        for (index, line) in read(&file).lines().enumerate() {
            in_tests |= line.starts_with("#[cfg(test)]");
            if names(&code_of(line), what) {
                places.push(Place { file: file.clone(), line: index + 1, text: line.to_owned(), in_tests });
            }
        }
    }
    places
}

/// Whether the word is there and does not merely end a longer one. `crate::http::x` does not name the crate `http`.
fn names(code: &str, what: &str) -> bool {
    code.match_indices(what).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        !before
            .is_some_and(|before| before.is_alphanumeric() || before == '_' || (before == ':' && what.ends_with("::")))
    })
}

/// The line without its comment and without what stands in quotation marks.
fn code_of(line: &str) -> String {
    let mut code = String::new();
    let mut rest = line;
    while let Some(at) = rest.find(['"', '/']) {
        code.push_str(&rest[..at]);
        rest = &rest[at..];
        if rest.starts_with("//") {
            return code;
        }
        let quoted = rest.strip_prefix('"');
        rest = quoted.map_or(&rest[1..], |quoted| after_quotation(quoted));
    }
    code + rest
}

fn after_quotation(quoted: &str) -> &str {
    let mut escaped = false;
    for (at, letter) in quoted.char_indices() {
        match letter {
            '"' if !escaped => return &quoted[at + 1..],
            _ => escaped = letter == '\\' && !escaped,
        }
    }
    ""
}

fn sources() -> Vec<PathBuf> {
    files(&["rs"])
}

/// The project's own files, sorted, from the root of the workspace.
fn files(extensions: &[&str]) -> Vec<PathBuf> {
    let mut files = Vec::new();
    collect(Path::new(""), extensions, &mut files);
    files.sort();
    assert!(!files.is_empty(), "there are no sources to read");
    files
}

fn collect(folder: &Path, extensions: &[&str], files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(root().join(folder)).expect("a folder of the workspace can be listed") {
        let name = entry.expect("a folder of the workspace can be listed").file_name();
        let path = folder.join(&name);
        let is_folder = root().join(&path).is_dir();
        let is_ours = !name.to_string_lossy().starts_with('.') && name != "target" && name != "node_modules";
        if is_folder && is_ours {
            collect(&path, extensions, files);
        } else if path.extension().is_some_and(|extension| extensions.iter().any(|wanted| extension == *wanted)) {
            files.push(path);
        }
    }
}

fn read(file: &Path) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("cannot read {}: {error}", file.display()))
}

fn root() -> PathBuf {
    // As cargo says when it runs the test: a folder of build outputs may serve several checkouts.
    let tests = std::env::var_os("CARGO_MANIFEST_DIR").map_or(env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    tests.parent().expect("the tests are a folder of the workspace").to_owned()
}

#[test]
fn the_reader_of_code_skips_comments_and_texts() {
    assert_eq!(code_of("let a = \"mio::\"; // mio::"), "let a = ; ");
    assert_eq!(code_of("a(\"\\\"wasm\") / b"), "a()  b");
    assert!(names("use mio::Poll;", "mio::") && !names("use amio::Poll;", "mio::"));
    assert!(!names("crate::http::X", "http::") && names("<http::X>", "http::"));
}
