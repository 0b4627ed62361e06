//! What the preparation process (`guesthouse prepare`) does: it reads and checks the configuration, decides where each module
//! runs, and compiles what is not compiled yet. What it tells the parent is [`Prepared`]'s. Serves nothing, and nothing of it
//! runs in the parent or a child.

mod drop_ins;
mod module;
#[cfg(test)]
mod testing;
mod wasm;

use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use self::drop_ins::Stock;
pub use self::drop_ins::check;
use self::module::prepare_module;
use self::wasm::Wasm;
use crate::clock::epoch_secs;
use crate::config::{self, Finding, LogTarget};
use crate::deploy::{Histories, Prepared, Sources, published, versions};
use crate::dev;
use crate::guest::compile::limit_memory_of_this_process;
use crate::guest::{self, Needs};
use crate::placement;
use crate::runtime_dir;

/// Does the preparation process's work.
///
/// # Errors
/// A text for the operator that names every mistake found, one on each line.
pub fn prepare(config_path: &Path) -> Result<Prepared, String> {
    let read = match std::env::var_os(dev::VARIABLE) {
        Some(output) => dev::read(config_path, Path::new(&output)),
        None => config::read(config_path),
    };
    let (mut config, warnings) = read.map_err(|errors| errors.to_string())?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let published = published::read(&published::path(&config.server.runtime_dir));
    make_directories(&config.server, published.as_ref())?;
    let sources = Sources::of(&config);
    let seen = sources.look();
    let mut refused = BTreeMap::new();
    limit_memory_of_this_process().map_err(|error| format!("cannot limit the compiler's memory: {error}"))?;
    let mut modules = Vec::new();
    let mut pools = Vec::new();
    let mut mistakes = Vec::new();
    for module in &config.modules {
        let found = |line, text| Finding { path: config_path.to_owned(), line: Some(line), text }.to_string();
        let prepared = Wasm::of(module, &config.server, published.as_ref()).and_then(|wasm| {
            let (placement, warning) = placement::place(module, wasm.nature(), &config)?;
            if let Some((line, text)) = warning {
                tracing::warn!("{}", found(line, text));
            }
            let prepared = prepare_module(module, &wasm, placement, &config, &mut pools, published.as_ref());
            prepared.map_err(|(line, refusal)| (line, refusal.problem().to_owned()))
        });
        match prepared {
            Ok(prepared) => modules.push(prepared),
            Err((line, text)) => mistakes.push(found(line, text)),
        }
    }
    if mistakes.is_empty() {
        let (config, modules, pools) = (&mut config, &mut modules, &mut pools);
        let published = published.as_ref();
        drop_ins::prepare(&mut Stock { config, modules, pools, seen: &seen, refused: &mut refused, published });
    }
    if !pools.is_empty()
        && let Err(problem) = runtime_dir::make_confined(&config.server.runtime_dir)
    {
        mistakes.push(problem);
    }
    config.mpm.pools.append(&mut pools);
    if !mistakes.is_empty() {
        clean_up(&config.server, None, published.as_ref());
        return Err(mistakes.join("\n"));
    }
    let mut prepared =
        Prepared { config, modules, sources, seen, refused, versions: Histories::new(), made_by: published::made_by() };
    prepared.versions = versions::next(&prepared, published.as_ref(), epoch_secs());
    clean_up(&prepared.config.server, Some(&prepared), published.as_ref());
    Ok(prepared)
}

/// Removes kept versions and native code that nobody needs, also what preparations have left that came to nothing. What serves
/// stays, what is to serve, and what may be brought back.
///
/// Where nothing `published` is known, another build of this program may serve, and this one may never come to: its parent has
/// not looked yet whether there is a server. So nothing is taken from that until this one has served.
fn clean_up(server: &config::Server, prepared: Option<&Prepared>, published: Option<&Prepared>) {
    let config::Server { runtime_dir, cache_dir, cache_limit, .. } = server;
    let both = || [prepared, published].into_iter().flatten();
    if published.is_some() {
        versions::sweep(runtime_dir, both());
    }
    let served = both().flat_map(|prepared| &prepared.modules).map(|module| module.native.as_path());
    let kept = both().flat_map(|prepared| prepared.versions.values().flatten()).map(|version| version.native.as_path());
    let natives = served.chain(kept).collect();
    let needs = Needs { runtime_dir, natives, are_all: published.is_some() };
    match guest::evict(cache_dir, &needs, *cache_limit, epoch_secs()) {
        Ok(None) => {}
        Ok(Some(needed)) => tracing::warn!(
            "{needed} bytes of native code are needed in {}, but cache_limit is {cache_limit}: write cache_limit = \"{}MiB\" \
             or more, or a lower keep_versions",
            cache_dir.display(),
            needed.div_ceil(1 << 20)
        ),
        Err(error) => tracing::warn!("cannot keep {} within cache_limit: {error}", cache_dir.display()),
    }
}

/// Makes the directories that the server needs and may make.
fn make_directories(server: &config::Server, published: Option<&Prepared>) -> Result<(), String> {
    // One that was there has vanished: an empty one in its place would withdraw what is served from it.
    let is_new = |dir: &PathBuf| published.and_then(|it| it.config.server.modules_dir.as_ref()) != Some(dir);
    let make = |dir: &Path, mode| {
        let made = std::fs::DirBuilder::new().recursive(true).mode(mode).create(dir);
        made.map_err(|error| format!("cannot make the directory {}: {error}", dir.display()))
    };
    runtime_dir::make(&server.runtime_dir)?;
    make(&server.cache_dir, 0o700)?;
    if let Some(dir) = &server.modules_dir
        && is_new(dir)
    {
        make(dir, 0o755)?;
    }
    let logs = [Some(&server.error_log), server.access_log.as_ref()];
    for log in logs.into_iter().flatten() {
        if let LogTarget::File(path) = log
            && let Some(dir) = path.parent()
        {
            make(dir, 0o755)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::testing::prepared;
    use super::*;

    #[test]
    fn what_shows_only_when_a_module_is_compiled_is_told_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("no.wasm"), "no wasm").unwrap();
        let guest = include_str!("../guest/testing.wat")
            .replace("(memory (export \"memory\") 1)", "(memory (export \"memory\") 20)");
        std::fs::write(dir.path().join("large.wat"), guest.replace("(; BODY ;)", "nop")).unwrap();
        let file = dir.path().join("guesthouse.toml");
        let text = "server.access_log = \"off\"\n\
                    [[module]]\nname = \"a\"\npath = \"no.wasm\"\n\
                    [[module]]\nname = \"b\"\npath = \"large.wat\"\n[module.limits]\nmemory = \"1MiB\"\n";
        std::fs::write(&file, text).unwrap();
        let mistakes = prepare(&file).unwrap_err();
        let named = mistakes.replace(&format!("{}", dir.path().display()), "DIR");
        assert_eq!(
            named.lines().collect::<Vec<_>>(),
            [
                "DIR/guesthouse.toml:4: module \"a\": DIR/no.wasm is not a Wasm file",
                "DIR/guesthouse.toml:9: module \"b\" starts with 1310720 bytes of memory, but limits.memory is 1048576: \
                 write memory = \"2MiB\" or more",
            ]
        );
    }

    /// The Wasm files that are kept in the runtime directory below `dir`, and `left`, which nobody needs, if that is there still.
    fn kept(dir: &Path) -> (usize, bool) {
        let names = std::fs::read_dir(dir.join("run/versions")).unwrap().map(|entry| entry.unwrap().file_name());
        let (left, kept): (Vec<_>, Vec<_>) = names.partition(|name| name == "left.wasm");
        (kept.len(), !left.is_empty())
    }

    fn publish(dir: &Path, prepared: &Prepared) {
        published::write(&dir.join("run"), &serde_json::to_vec(prepared).unwrap()).unwrap();
        std::fs::write(dir.join("run/versions/left.wasm"), "").unwrap();
    }

    #[test]
    fn what_another_build_keeps_stays_until_this_one_has_served() {
        let dir = tempfile::tempdir().unwrap();
        let prepared = || prepared(dir.path(), "event", "", "");
        publish(dir.path(), &Prepared { made_by: String::from("another"), ..prepared() });
        let ours = prepared();
        assert_eq!(kept(dir.path()), (1, true));
        publish(dir.path(), &ours);
        prepared();
        assert_eq!(kept(dir.path()), (1, false));
    }

    #[test]
    fn what_a_preparation_leaves_that_comes_to_nothing_goes() {
        let dir = tempfile::tempdir().unwrap();
        publish(dir.path(), &prepared(dir.path(), "event", "", ""));
        std::fs::write(dir.path().join("b.wat"), include_str!("../guest/testing.wat").replace("(; BODY ;)", "nop nop"))
            .unwrap();
        let file = dir.path().join("guesthouse.toml");
        let two =
            "\n[[module]]\nname = \"b\"\npath = \"b.wat\"\n[[module]]\nname = \"c\"\npath = \"guesthouse.toml\"\n";
        std::fs::write(&file, std::fs::read_to_string(&file).unwrap() + two).unwrap();
        assert!(prepare(&file).unwrap_err().contains("module \"c\""));
        assert_eq!(kept(dir.path()), (1, false));
    }
}
