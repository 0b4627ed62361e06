//! Where each module runs: among the server's own children, or confined to a pool of its own. That follows from what
//! the module says of itself, what the operator says of it, and the MPM. Says also what of these does not go together.
//! Compiles nothing, creates nothing, and knows nothing of calls.

use std::path::Path;

use guesthouse_mpm::settings::Mpm;

use crate::config::{self, Config, Errors, Finding, Module, Route, Warning};
use crate::module::{Facts, Kind, WasmFile};
use crate::route::{self, Router};
use crate::runtime_dir;
use crate::script::Scripts;

/// Where a module runs, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// The last word: the operator's, else the module's own.
    pub thread_safe: bool,
    /// It needs a pool of its own.
    pub confined: bool,
    pub reuse: Reuse,
}

/// What must be known of a module's file to place it.
#[derive(Debug, Clone)]
pub struct Nature {
    pub kind: Kind,
    pub facts: Facts,
}

/// How far an instance of a module is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reuse {
    /// 0: it is never retired.
    pub max_requests_per_instance: u64,
    pub max_concurrent_requests_per_instance: usize,
}

/// Requests that one instance of `wasi:http/handler@0.3` serves, unless said: as many as with `wasmtime serve`.
const REQUESTS_OF_A_SHARED_INSTANCE: u64 = 128;

/// How many of them at once.
const REQUESTS_AT_ONCE: usize = 16;

impl Reuse {
    /// As the operator wants it, or else what suits a module of this kind; or what stands in the way.
    fn of(module: &Module, kind: Kind, thread_safe: bool) -> Result<Reuse, String> {
        let Module { max_requests_per_instance, max_concurrent_requests_per_instance, .. } = module;
        let (requests, at_once) = match (kind, thread_safe) {
            (Kind::HttpHandler, true) => (REQUESTS_OF_A_SHARED_INSTANCE, REQUESTS_AT_ONCE),
            (Kind::Command | Kind::CliComponent, _) | (_, true) => (1, 1),
            (_, false) => (0, 1),
        };
        let max_concurrent_requests_per_instance = max_concurrent_requests_per_instance.unwrap_or(at_once);
        if max_concurrent_requests_per_instance > 1 {
            if kind != Kind::HttpHandler {
                return Err(format!(
                    "a {kind} serves one request at a time: remove max_concurrent_requests_per_instance"
                ));
            }
            if !thread_safe {
                return Err(String::from(
                    "a module that is not thread-safe serves one request at a time: remove \
                     max_concurrent_requests_per_instance",
                ));
            }
        }
        let max_requests_per_instance = max_requests_per_instance.unwrap_or(requests);
        Ok(Reuse { max_requests_per_instance, max_concurrent_requests_per_instance })
    }
}

/// Something about a module, and on which line of the configuration that stands.
pub type Remark = (usize, String);

/// Looks at every module of the configuration that stands in the file at `config_path`.
///
/// # Errors
/// Every mistake, at most one for each module, and one for the directory of their sockets.
pub fn check_all(config: &Config, config_path: &Path) -> Result<Vec<Warning>, Errors> {
    let finding = |line, text| Finding { path: config_path.to_owned(), line, text };
    let mut warnings = Vec::new();
    let mut mistakes = Vec::new();
    let mut any_confined = false;
    for module in &config.modules {
        match check(module, config) {
            Ok((placement, warning)) => {
                any_confined |= placement.confined;
                warnings.extend(warning.map(|(line, text)| finding(Some(line), text)));
            }
            Err((line, text)) => mistakes.push(finding(Some(line), text)),
        }
    }
    if any_confined && let Err(problem) = runtime_dir::check_confined(&config.server.runtime_dir) {
        mistakes.push(finding(None, problem));
    }
    if mistakes.is_empty() { Ok(warnings) } else { Err(Errors::Mistakes(mistakes)) }
}

/// Reads a module's file, once: what is decided by its nature and what is compiled are the same.
///
/// # Errors
/// The file cannot be understood, or no server could run it.
pub fn read(module: &Module) -> Result<(WasmFile, Nature), Remark> {
    let Module { name, path, lines, .. } = module;
    let mistake = |what: String| (lines.path, format!("module {name:?}: {what}"));
    let file = WasmFile::read(path).map_err(|error| mistake(error.to_string()))?;
    let cannot_use = |error: &dyn std::fmt::Display| mistake(format!("cannot use {}: {error}", path.display()));
    let inspection = file.inspect().map_err(|error| cannot_use(&error))?;
    inspection.check_suitable().map_err(|error| cannot_use(&error))?;
    let nature = Nature { kind: inspection.kind, facts: inspection.facts.unwrap_or_default() };
    Ok((file, nature))
}

/// Decides about one module of `config`. Answers also with what the operator should know, if there is anything.
///
/// # Errors
/// What the operator wrote does not suit it.
pub fn place(module: &Module, nature: &Nature, config: &Config) -> Result<(Placement, Option<Remark>), Remark> {
    let Module { name, path, lines, .. } = module;
    let Nature { kind, ref facts } = *nature;
    let mistake = |line, what: String| (line, format!("module {name:?}: {what}"));
    let thread_safe = module.thread_safe.unwrap_or(facts.thread_safe);
    if let (true, Some(_)) = (thread_safe, &module.pool) {
        return Err(mistake(lines.pool.unwrap_or(lines.path), needs_no_pool(module)));
    }
    let reuse =
        Reuse::of(module, kind, thread_safe).map_err(|why| mistake(lines.concurrent.unwrap_or(lines.path), why))?;
    check_kind(module, kind, config).map_err(|(line, what)| mistake(line, what))?;
    if let Some(asked) = &module.health {
        health_route(module, asked, config).map_err(|what| mistake(lines.health.unwrap_or(lines.path), what))?;
    }
    let confined = needs_pool(thread_safe, config);
    if confined {
        runtime_dir::socket(&config.server.runtime_dir, name, 0).map_err(|problem| mistake(lines.path, problem))?;
    }
    let loosened = thread_safe && !facts.thread_safe;
    let warning = loosened.then(|| {
        let text = format!("thread_safe = true overrides {}, which says that it is not thread-safe", path.display());
        mistake(lines.thread_safe.unwrap_or(lines.path), text)
    });
    Ok((Placement { thread_safe, confined, reuse }, warning))
}

/// Reads and places a module, to see whether that can be done.
///
/// # Errors
/// As [`read`] and [`place`].
pub fn check(module: &Module, config: &Config) -> Result<(Placement, Option<Remark>), Remark> {
    let (_, nature) = read(module)?;
    place(module, &nature, config)
}

/// The route of a module's own that its health request for `target` comes by, whatever its host: the one that fits best.
///
/// # Errors
/// None of them fits, or there is no such path; what to do.
pub fn health_route<'a>(module: &'a Module, target: &str, config: &'a Config) -> Result<&'a Route, String> {
    let routes: Vec<&Route> = config.routes_of(module).collect();
    let of_any_host: Vec<Route> = routes.iter().map(|route| Route { host: None, ..(*route).clone() }).collect();
    match Router::new(&of_any_host).find("", route::path_of(target)) {
        Ok(Some(found)) => Ok(routes[found.route]),
        Ok(None) => {
            let paths: Vec<&str> = routes.iter().map(|route| route.path.as_str()).collect();
            let paths = if paths.is_empty() { String::from("none") } else { paths.join(", ") };
            Err(format!(
                "health is {target:?}, which leads to none of its routes ({paths}): write a path below one of them"
            ))
        }
        Err(bad) => Err(format!("health is {target:?}: {bad}: write a path below one of its routes")),
    }
}

/// What the operator wrote must suit the kind of guest.
fn check_kind(module: &Module, kind: Kind, config: &Config) -> Result<(), Remark> {
    let mut scripts = config.routes_of(module).filter_map(|route| route.scripts.as_ref());
    if kind.speaks_cgi() {
        check_program(module, scripts)
    } else {
        scripts.next().map_or(Ok(()), |it| Err(no_interpreter(module, kind, it)))
    }
}

/// A program runs once, and its scripts must be where they can be looked for.
fn check_program<'a>(module: &Module, mut scripts: impl Iterator<Item = &'a config::Scripts>) -> Result<(), Remark> {
    let Module { path, lines, max_requests_per_instance, .. } = module;
    if let Some(times) = max_requests_per_instance.filter(|times| *times != 1) {
        let text = format!(
            "max_requests_per_instance is {times}, but {} is a program that speaks CGI, which runs once for each request: \
             remove it",
            path.display()
        );
        return Err((lines.max_requests_per_instance.unwrap_or(lines.path), text));
    }
    scripts.try_for_each(|scripts| match Scripts::open(scripts) {
        Ok(_) => Ok(()),
        Err(error) => Err((scripts.line, format!("cannot look for scripts in {}: {error}", scripts.folder.display()))),
    })
}

fn no_interpreter(module: &Module, kind: Kind, scripts: &config::Scripts) -> Remark {
    let text = format!(
        "root is for interpreters that speak CGI, and {} is a {kind}: remove root, index and script_suffixes from its routes",
        module.path.display()
    );
    (scripts.line, text)
}

/// Whether a module needs a pool of its own under the MPM of `config`.
#[must_use]
pub fn needs_pool(thread_safe: bool, config: &Config) -> bool {
    !thread_safe && has_threads(&config.server_pool().mpm)
}

/// Whether requests of one child run beside each other. Where they do not, every child is as good as a pool's.
fn has_threads(mpm: &Mpm) -> bool {
    match mpm {
        Mpm::Prefork(_) => false,
        Mpm::Worker(_) | Mpm::Event(_) => true,
    }
}

fn needs_no_pool(module: &Module) -> String {
    match module.thread_safe {
        Some(_) => String::from(
            "the configuration says that it is thread-safe, and only a module that is not has a pool: remove \
             [module.pool], or thread_safe = true",
        ),
        None => format!(
            "{} is thread-safe by its own word, and only a module that is not has a pool: remove [module.pool], or \
             write thread_safe = false in its [[module]]",
            module.path.display()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOT_THREAD_SAFE: Option<&str> = Some("thread_safe = false");
    const POOL: &str = "[module.pool]\nmax_request_workers = 2";

    /// A component that looks like a handler, and says this of itself.
    fn file(facts: Option<&str>) -> String {
        let annotation = facts.map(|facts| format!("(@custom \"guesthouse\" \"{facts}\")")).unwrap_or_default();
        let export = "(instance $i) (export \"wasi:http/incoming-handler@0.2.0\" (instance $i))";
        format!("(component {annotation} {export})")
    }

    /// `line` is the configuration's line 7; line 6 names the file.
    fn text(mpm: &str, line: &str) -> String {
        format!("[server]\nmpm = \"{mpm}\"\naccess_log = \"off\"\n[[module]]\nname = \"a\"\npath = \"a.wat\"\n{line}\n")
    }

    /// The file says `facts` of itself.
    fn checked(mpm: &str, line: &str, facts: Option<&str>) -> Result<Vec<String>, Vec<String>> {
        checked_file(mpm, line, &file(facts))
    }

    fn checked_file(mpm: &str, line: &str, content: &str) -> Result<Vec<String>, Vec<String>> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.wat"), content).unwrap();
        let path = folder.path().join("guesthouse.toml");
        let (config, _) = crate::config::read_text(&text(mpm, line), &path).unwrap();
        let plain = |line: String| line.replace(&format!("{}/", folder.path().display()), "");
        match check_all(&config, &path) {
            Ok(warnings) => Ok(warnings.iter().map(|warning| plain(warning.to_string())).collect()),
            Err(mistakes) => Err(plain(mistakes.to_string()).lines().map(str::to_owned).collect()),
        }
    }

    #[test]
    fn a_thread_safe_module_is_served_under_every_mpm() {
        for mpm in ["prefork", "worker", "event"] {
            for facts in [None, Some(""), Some("thread_safe = true")] {
                for line in ["", "thread_safe = true"] {
                    assert_eq!(checked(mpm, line, facts), Ok(vec![]), "{mpm} {line} {facts:?}");
                }
            }
        }
    }

    #[test]
    fn a_module_that_is_not_thread_safe_is_right_under_every_mpm() {
        for mpm in ["prefork", "worker", "event"] {
            for (line, facts) in [("", NOT_THREAD_SAFE), ("thread_safe = false", None), (POOL, NOT_THREAD_SAFE)] {
                assert_eq!(checked(mpm, line, facts), Ok(vec![]), "{mpm} {line} {facts:?}");
            }
        }
    }

    #[test]
    fn a_module_that_is_not_thread_safe_is_confined_where_there_are_threads() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.wat"), file(NOT_THREAD_SAFE)).unwrap();
        let confined = |mpm: &str, line: &str| {
            let (config, _) =
                crate::config::read_text(&text(mpm, line), &folder.path().join("guesthouse.toml")).unwrap();
            check(&config.modules[0], &config).unwrap().0.confined
        };
        for (mpm, expected) in [("prefork", false), ("worker", true), ("event", true)] {
            assert_eq!(confined(mpm, ""), expected, "{mpm}");
            assert!(!confined(mpm, "thread_safe = true"), "{mpm}");
        }
    }

    #[test]
    fn a_pool_for_a_thread_safe_module_is_a_mistake_under_every_mpm() {
        let not_needed = "and only a module that is not has a pool: remove [module.pool], or";
        let own_word = format!(
            "module \"a\": a.wat is thread-safe by its own word, {not_needed} write thread_safe = false in its \
             [[module]]"
        );
        let operators_word =
            format!("module \"a\": the configuration says that it is thread-safe, {not_needed} thread_safe = true");
        for mpm in ["prefork", "worker", "event"] {
            assert_eq!(checked(mpm, POOL, None), Err(vec![format!("guesthouse.toml:7: {own_word}")]));
            let both = format!("thread_safe = true\n{POOL}");
            assert_eq!(checked(mpm, &both, NOT_THREAD_SAFE), Err(vec![format!("guesthouse.toml:8: {operators_word}")]));
        }
    }

    #[test]
    fn a_socket_with_too_long_a_path_is_a_mistake_where_there_is_one() {
        let long = "d".repeat(100);
        let path = |folder: &Path| folder.join(&long).join("guesthouse.toml");
        let mistakes = |mpm: &str| {
            let folder = tempfile::tempdir().unwrap();
            std::fs::create_dir(folder.path().join(&long)).unwrap();
            std::fs::write(folder.path().join("a.wat"), file(None)).unwrap();
            let text = text(mpm, "thread_safe = false").replace("a.wat", "../a.wat");
            let (config, _) = crate::config::read_text(&text, &path(folder.path())).unwrap();
            check_all(&config, &path(folder.path())).map_err(|errors| errors.to_string())
        };
        for mpm in ["worker", "event"] {
            let mistake = mistakes(mpm).unwrap_err();
            assert!(mistake.contains("guesthouse.toml:6: module \"a\": the socket "), "{mistake}");
            assert!(mistake.contains("no socket's path has more than 107: name a shorter runtime_dir"), "{mistake}");
        }
        assert!(mistakes("prefork").is_ok());
    }

    #[test]
    fn the_directory_of_the_sockets_is_looked_at_where_one_is_needed() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let confined = folder.path().join("run/confined");
        std::fs::create_dir_all(&confined).unwrap();
        std::fs::set_permissions(&confined, std::fs::Permissions::from_mode(0o770)).unwrap();
        std::fs::write(folder.path().join("a.wat"), file(None)).unwrap();
        let path = folder.path().join("guesthouse.toml");
        let checked = |line: &str| {
            let (config, _) = crate::config::read_text(&text("event", line), &path).unwrap();
            check_all(&config, &path).map_err(|errors| errors.to_string())
        };
        assert!(checked("").is_ok());
        let shown = confined.display();
        assert_eq!(
            checked("thread_safe = false").unwrap_err(),
            format!(
                "{}: others may write to {shown} (mode 0770): run `chmod go-w {shown}`, or name another runtime_dir",
                path.display()
            )
        );
    }

    #[test]
    fn only_guests_that_serve_many_requests_at_once_may_be_told_how_many() {
        let content = |interface: &str, facts: &str| {
            format!(
                "(component (@custom \"guesthouse\" \"{facts}\") (instance $i) (export \"{interface}\" (instance $i)))"
            )
        };
        let (one, many) = ("wasi:http/incoming-handler@0.2.0", "wasi:http/handler@0.3.0");
        let line = "max_concurrent_requests_per_instance = 2";
        assert_eq!(checked_file("event", line, &content(many, "")), Ok(vec![]));
        for (interface, facts, what) in [
            (one, "", "a component that answers requests (wasi:http/incoming-handler@0.2) serves"),
            (many, "thread_safe = false", "a module that is not thread-safe serves"),
        ] {
            let mistake = format!(
                "guesthouse.toml:7: module \"a\": {what} one request at a time: remove \
                 max_concurrent_requests_per_instance"
            );
            assert_eq!(checked_file("event", line, &content(interface, facts)), Err(vec![mistake]));
            let one = "max_concurrent_requests_per_instance = 1";
            assert_eq!(checked_file("event", one, &content(interface, facts)), Ok(vec![]));
        }
    }

    #[test]
    fn an_instance_is_used_as_far_as_its_kind_and_its_safety_allow() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.wat"), file(None)).unwrap();
        let path = folder.path().join("guesthouse.toml");
        let module = |line: &str| crate::config::read_text(&text("event", line), &path).unwrap().0;
        let reuse = |kind, thread_safe, line: &str| {
            let config = module(line);
            let reuse = Reuse::of(&config.modules[0], kind, thread_safe).unwrap();
            (reuse.max_requests_per_instance, reuse.max_concurrent_requests_per_instance)
        };
        assert_eq!(reuse(Kind::HttpIncomingHandler, true, ""), (1, 1));
        assert_eq!(reuse(Kind::HttpIncomingHandler, false, ""), (0, 1));
        assert_eq!(reuse(Kind::HttpHandler, true, ""), (128, 16));
        assert_eq!(reuse(Kind::HttpHandler, false, ""), (0, 1));
        let lines = "max_requests_per_instance = 7\nmax_concurrent_requests_per_instance = 3";
        assert_eq!(reuse(Kind::HttpHandler, true, lines), (7, 3));
    }

    #[test]
    fn to_loosen_what_a_module_says_of_itself_is_a_warning() {
        let warning = "guesthouse.toml:7: module \"a\": thread_safe = true overrides a.wat, which says that it is not \
                       thread-safe";
        for mpm in ["prefork", "worker", "event"] {
            assert_eq!(checked(mpm, "thread_safe = true", NOT_THREAD_SAFE), Ok(vec![warning.to_owned()]));
        }
    }

    #[test]
    fn to_tighten_it_is_not_worth_a_word() {
        assert_eq!(checked("prefork", "thread_safe = false", Some("thread_safe = true")), Ok(vec![]));
    }

    #[test]
    fn a_section_that_nobody_understands_is_a_mistake_even_where_it_would_be_overridden() {
        let mistakes = checked("event", "thread_safe = true", Some("threadsafe = false")).unwrap_err();
        let begin = "guesthouse.toml:6: module \"a\": cannot use a.wat: line 1 of its section \"guesthouse\" is wrong";
        assert!(mistakes.len() == 1 && mistakes[0].starts_with(begin), "{mistakes:?}");
    }

    #[test]
    fn a_program_runs_once() {
        let program = "(module (func (export \"_start\")))";
        for line in ["", "max_requests_per_instance = 1", "thread_safe = false"] {
            assert_eq!(checked_file("event", line, program), Ok(vec![]), "{line}");
        }
        for times in [0, 2] {
            let mistake = format!(
                "guesthouse.toml:7: module \"a\": max_requests_per_instance is {times}, but a.wat is a program that speaks \
                 CGI, which runs once for each request: remove it"
            );
            let line = format!("max_requests_per_instance = {times}");
            assert_eq!(checked_file("event", &line, program), Err(vec![mistake]));
        }
    }

    #[test]
    fn scripts_are_for_interpreters() {
        let route = "[[route]]\npath = \"/\"\nmodule = \"a\"\nroot = \".\"\nscript_suffixes = [\".php\"]";
        assert_eq!(checked_file("event", route, "(module (func (export \"_start\")))"), Ok(vec![]));
        let mistake = "guesthouse.toml:10: module \"a\": root is for interpreters that speak CGI, and a.wat is a component that \
                       answers requests (wasi:http/incoming-handler@0.2): remove root, index and script_suffixes from its \
                       routes";
        assert_eq!(checked_file("event", route, &file(None)), Err(vec![mistake.to_owned()]));
    }

    #[test]
    fn a_file_that_is_no_wasm_is_a_mistake() {
        let mistake = "guesthouse.toml:6: module \"a\": a.wat is not a Wasm file".to_owned();
        assert_eq!(checked_file("event", "", "no Wasm"), Err(vec![mistake]));
    }
}
