//! One module, in the preparation: compiled, asked whether it is well, kept as a version, and given a pool if it needs one.

use std::path::{Path, PathBuf};

use guesthouse_mpm::settings::{ListenAddress, Mpm, Pool};

use super::wasm::Wasm;
use crate::config::{Config, Module, ModuleLines, ModulePool, RequestLimits};
use crate::deploy::{ConfinedPool, Prepared, PreparedModule, Refusal, health};
use crate::placement::{Placement, Remark, Reuse};
use crate::runtime_dir;
use crate::tally::Row;

/// Makes a module ready to be served that was placed, and adds the pool that it needs to `pools`, which follow those of `config`.
/// It is asked whether it is well, unless it is `published` as it is.
///
/// # Errors
/// What is wrong with it, and on which line of its settings.
pub(super) fn prepare_module(
    module: &Module,
    wasm: &Wasm,
    placement: Placement,
    config: &Config,
    pools: &mut Vec<Pool>,
    published: Option<&Prepared>,
) -> Result<PreparedModule, (usize, Refusal)> {
    let Placement { thread_safe, confined, reuse } = placement;
    let Reuse { max_requests_per_instance, max_concurrent_requests_per_instance } = reuse;
    let native = native_code(module, wasm, &config.server.cache_dir)?;
    let mut prepared = PreparedModule {
        kind: wasm.nature().kind,
        hash: wasm.hash().to_owned(),
        native,
        file: wasm.sighting().cloned(),
        facts: wasm.nature().facts.clone(),
        thread_safe,
        max_requests_per_instance,
        max_concurrent_requests_per_instance,
        pool: None,
        was_dropped_in: false,
        row: Row::default(),
        since: 0,
    };
    health::ask(module, &prepared, config, published).map_err(|refusal| {
        let refusal = refusal.map(|problem| format!("module {:?}: {problem}", module.name));
        (module.lines.health.unwrap_or(module.lines.path), refusal)
    })?;
    if let Err(problem) = wasm.keep(&config.server.runtime_dir) {
        tracing::warn!("module {:?}: {problem}: this version cannot be brought back later", module.name);
    }
    if confined {
        let pool = confine(module, &prepared.native, config, pools);
        prepared.pool = Some(pool.map_err(|(line, problem)| (line, Refusal::lasting(problem)))?);
    }
    Ok(prepared)
}

/// Gives a module a pool of its own.
///
/// # Errors
/// Its socket has no place.
pub(super) fn confine(
    module: &Module,
    native: &Path,
    config: &Config,
    pools: &mut Vec<Pool>,
) -> Result<ConfinedPool, Remark> {
    let version = version_of(module, native, &config.server.request_limits);
    let socket = runtime_dir::socket(&config.server.runtime_dir, &module.name, version)
        .map_err(|problem| (module.lines.path, format!("module {:?}: {problem}", module.name)))?;
    let address = ListenAddress::Unix(socket);
    let ModulePool { prefork, queue_timeout } = module.pool.clone().unwrap_or_default();
    let index = config.mpm.pools.len() + pools.len();
    // The kernel holds one more than it is asked to.
    let queue_length = prefork.common.listen_backlog as usize + 1;
    pools.push(Pool { name: module.name.clone(), listen: vec![address.clone()], mpm: Mpm::Prefork(prefork) });
    Ok(ConfinedPool { index, address, queue_timeout, queue_length })
}

/// Tells versions of a module apart: another file or another setting is another version, the same in another place of
/// the configuration is not.
fn version_of(module: &Module, native: &Path, limits: &RequestLimits) -> u32 {
    let settings = Module { lines: ModuleLines::default(), ..module.clone() };
    let mut hasher = blake3::Hasher::new();
    // Native code is named by the content that it was compiled from.
    hasher.update(native.file_name().unwrap_or_default().as_encoded_bytes());
    hasher.update(&serde_json::to_vec(&settings).expect("a module's settings are plain data"));
    // They decide how long a head its children accept from a server child.
    hasher.update(&serde_json::to_vec(limits).expect("numbers are plain data"));
    let hash = hasher.finalize();
    u32::from_be_bytes(*hash.as_bytes().first_chunk().expect("a hash has 32 bytes"))
}

/// The native code of a module; or what is wrong with the module, and on which line of the configuration.
fn native_code(module: &Module, wasm: &Wasm, cache_dir: &Path) -> Result<PathBuf, (usize, Refusal)> {
    let name = &module.name;
    let compiled = wasm.compiled(&module.path, cache_dir).map_err(|error| {
        let refusal = Refusal::of_compiler(&error).map(|problem| format!("module {name:?}: {problem}"));
        (module.lines.path, refusal)
    })?;
    let (needs, has) = (compiled.memory_initial, module.limits.memory);
    if needs > has {
        let mebibytes = needs.div_ceil(1 << 20);
        let text = format!(
            "module {name:?} starts with {needs} bytes of memory, but limits.memory is {has}: write memory = \
             \"{mebibytes}MiB\" or more"
        );
        return Err((module.lines.memory.unwrap_or(module.lines.path), Refusal::lasting(text)));
    }
    Ok(compiled.native)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::prepare;
    use super::super::testing::{UNSAFE, prepared};
    use super::*;
    use crate::module::Facts;

    #[test]
    fn a_module_that_is_not_thread_safe_has_a_pool_behind_the_servers_own_where_there_are_threads() {
        let dir = tempfile::tempdir().unwrap();
        let at_most = "[module.pool]\nmax_request_workers = 2\nqueue_timeout = \"1s\"";
        for mpm in ["worker", "event"] {
            let Prepared { config, modules, .. } = prepared(dir.path(), mpm, UNSAFE, at_most);
            let [PreparedModule { thread_safe, pool: Some(pool), .. }] = &modules[..] else { panic!("{modules:?}") };
            assert_eq!((*thread_safe, pool.index, pool.queue_timeout), (false, 1, Duration::from_secs(1)));
            let [own, confined] = &config.mpm.pools[..] else { panic!("{:?}", config.mpm.pools) };
            assert_eq!((own.name.as_str(), confined.name.as_str()), ("server", "a"));
            assert_eq!(confined.listen, std::slice::from_ref(&pool.address));
            assert_eq!((confined.mpm.name(), confined.mpm.children_max()), ("prefork", 2));
            let ListenAddress::Unix(socket) = &pool.address else { panic!("{pool:?}") };
            assert_eq!(socket.parent(), Some(&*dir.path().join("run/confined")));
            assert!(socket.parent().unwrap().is_dir());
        }
    }

    #[test]
    fn no_other_module_has_a_pool() {
        let dir = tempfile::tempdir().unwrap();
        for (mpm, facts, line) in [
            ("prefork", UNSAFE, ""),
            ("event", "", ""),
            ("event", UNSAFE, "thread_safe = true"),
            ("prefork", UNSAFE, "[module.pool]"),
        ] {
            let Prepared { config, modules, .. } = prepared(dir.path(), mpm, facts, line);
            assert_eq!((config.mpm.pools.len(), &modules[0].pool), (1, &None), "{mpm} {facts} {line}");
        }
        assert!(!dir.path().join("run/confined").exists());
    }

    #[test]
    fn what_a_module_says_of_itself_is_handed_on() {
        let dir = tempfile::tempdir().unwrap();
        let module = |facts, line| prepared(dir.path(), "prefork", facts, line).modules.remove(0);
        let said = module(UNSAFE, "");
        assert_eq!((said.facts.version.as_deref(), said.facts.description.as_deref()), (Some("1.2"), Some("counts")));
        assert!(said.native.is_file());
        let silent = module("", "");
        assert_eq!((silent.thread_safe, silent.facts), (true, Facts::default()));
    }

    #[test]
    fn an_instance_serves_once_if_it_is_thread_safe_and_for_ever_if_not_unless_said() {
        let dir = tempfile::tempdir().unwrap();
        let times = |facts, line| prepared(dir.path(), "event", facts, line).modules[0].max_requests_per_instance;
        assert_eq!((times("", ""), times(UNSAFE, "")), (1, 0));
        assert_eq!((times("", "thread_safe = false"), times(UNSAFE, "thread_safe = true")), (0, 1));
        for facts in ["", UNSAFE] {
            assert_eq!(times(facts, "max_requests_per_instance = 7"), 7);
        }
    }

    #[test]
    fn a_module_keeps_its_socket_for_as_long_as_it_is_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let address =
            |facts, lines| prepared(dir.path(), "event", facts, lines).modules.remove(0).pool.unwrap().address;
        let first = address(UNSAFE, "");
        assert_eq!(address(UNSAFE, ""), first);
        assert_eq!(address(UNSAFE, "# a comment\n\n[module.limits]\nmemory = \"64MiB\""), first);
        assert_ne!(address("thread_safe = false", ""), first, "the file is another");
        for lines in ["env.A = \"1\"", "limits.cpu = \"1s\"", "max_requests_per_instance = 5", "outbound = [\"a.b\"]"] {
            assert_ne!(address(UNSAFE, lines), first, "{lines}");
        }
    }

    #[test]
    fn sockets_are_not_put_where_others_may_write() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let _ = prepared(dir.path(), "event", UNSAFE, "");
        let confined = dir.path().join("run/confined");
        std::fs::set_permissions(&confined, std::fs::Permissions::from_mode(0o777)).unwrap();
        let mistake = prepare(&dir.path().join("guesthouse.toml")).unwrap_err();
        assert!(mistake.contains(&format!("run `chmod go-w {}`", confined.display())), "{mistake}");
    }
}
