//! Whether each module may run where the configuration puts it: what the module says of itself, what the operator says
//! of it, and what the MPM makes of both. Compiles nothing, and knows nothing of calls.

use std::path::Path;

use guesthouse_mpm::settings::Mpm;

use crate::config::{Config, Errors, Finding, Module, Warning};
use crate::module::WasmFile;

/// Looks at every module of the configuration that stands in the file at `config_path`.
///
/// # Errors
/// Every mistake, one for each module that cannot be served as it is.
pub fn check_all(config: &Config, config_path: &Path) -> Result<Vec<Warning>, Errors> {
    let found = |(line, text)| Finding { path: config_path.to_owned(), line: Some(line), text };
    let mut warnings = Vec::new();
    let mut mistakes = Vec::new();
    for module in &config.modules {
        match check(module, &config.server_pool().mpm) {
            Ok(warning) => warnings.extend(warning.map(found)),
            Err(mistake) => mistakes.push(found(mistake)),
        }
    }
    if mistakes.is_empty() { Ok(warnings) } else { Err(Errors::Mistakes(mistakes)) }
}

/// Looks at one module. Answers with what the operator should know, if there is anything, and on which line of the
/// configuration that stands.
///
/// # Errors
/// The file cannot be understood, or the MPM would run the module in a way that it does not bear.
pub fn check(module: &Module, mpm: &Mpm) -> Result<Option<(usize, String)>, (usize, String)> {
    let Module { name, path, lines, .. } = module;
    let line = lines.thread_safe.unwrap_or(lines.path);
    let file = WasmFile::read(path).map_err(|error| (lines.path, format!("module {name:?}: {error}")))?;
    let unusable = |error| (lines.path, format!("module {name:?}: cannot use {}: {error}", path.display()));
    let own_word = file.facts().map_err(unusable)?.is_none_or(|facts| facts.thread_safe);
    match (module.thread_safe.unwrap_or(own_word), mpm) {
        (true, _) if !own_word => Ok(Some((
            line,
            format!(
                "module {name:?}: thread_safe = true overrides {}, which says that it is not thread-safe",
                path.display()
            ),
        ))),
        (true, _) | (false, Mpm::Prefork(_)) => Ok(None),
        (false, Mpm::Worker(_)) => Err((line, refusal(module, "worker"))),
        (false, Mpm::Event(_)) => Err((line, refusal(module, "event"))),
    }
}

fn refusal(module: &Module, mpm: &str) -> String {
    let Module { name, path, thread_safe, .. } = module;
    let who = match thread_safe {
        Some(_) => "the configuration says".to_owned(),
        None => format!("{} says", path.display()),
    };
    format!(
        "module {name:?}: {who} that it is not thread-safe, and under mpm = \"{mpm}\" several threads would run it at \
         once: write mpm = \"prefork\" in [server], or thread_safe = true in its [[module]] if you know better"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOT_THREAD_SAFE: Option<&str> = Some("thread_safe = false");

    /// `line` stands in the configuration, as its line 7; the file, which line 6 names, says `facts` of itself.
    fn checked(mpm: &str, line: &str, facts: Option<&str>) -> Result<Vec<String>, Vec<String>> {
        let annotation = facts.map(|facts| format!("(@custom \"guesthouse\" \"{facts}\")")).unwrap_or_default();
        checked_file(mpm, line, &format!("(component {annotation})"))
    }

    fn checked_file(mpm: &str, line: &str, content: &str) -> Result<Vec<String>, Vec<String>> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.wat"), content).unwrap();
        let text = format!(
            "[server]\nmpm = \"{mpm}\"\naccess_log = \"off\"\n[[module]]\nname = \"a\"\npath = \"a.wat\"\n{line}\n"
        );
        let path = folder.path().join("guesthouse.toml");
        let (config, _) = crate::config::read_text(&text, &path).unwrap();
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
    fn a_module_that_is_not_thread_safe_is_served_under_prefork_alone() {
        assert_eq!(checked("prefork", "", NOT_THREAD_SAFE), Ok(vec![]));
        assert_eq!(checked("prefork", "thread_safe = false", None), Ok(vec![]));
        for mpm in ["worker", "event"] {
            let advice = format!(
                "that it is not thread-safe, and under mpm = \"{mpm}\" several threads would run it at once: write \
                 mpm = \"prefork\" in [server], or thread_safe = true in its [[module]] if you know better"
            );
            let own_word = format!("guesthouse.toml:6: module \"a\": a.wat says {advice}");
            assert_eq!(checked(mpm, "", NOT_THREAD_SAFE), Err(vec![own_word]));
            let operators_word = format!("guesthouse.toml:7: module \"a\": the configuration says {advice}");
            assert_eq!(checked(mpm, "thread_safe = false", None), Err(vec![operators_word]));
        }
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
    fn a_file_that_is_no_wasm_is_a_mistake() {
        let mistake = "guesthouse.toml:6: module \"a\": a.wat is not a Wasm file".to_owned();
        assert_eq!(checked_file("event", "", "no Wasm"), Err(vec![mistake]));
    }
}
