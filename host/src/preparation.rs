//! What the preparation process (`guesthouse prepare`) does, and what it tells the parent: it reads and checks the
//! configuration, decides where each module runs, and compiles what is not compiled yet. Serves nothing, and nothing of
//! it runs in the parent or a child.

use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use guesthouse_mpm::settings::{ListenAddress, Mpm, Pool};
use serde::{Deserialize, Serialize};

use crate::clock::epoch_secs;
use crate::config::{self, Config, Finding, LogTarget, Module, ModuleLines, ModulePool, RequestLimits};
use crate::deploy::{self, Histories, Refusal, Snapshot, Sources, Stock, health, published, versions};
use crate::dev;
use crate::guest::compile::{compile, limit_memory_of_this_process};
use crate::guest::{self, ModuleSource, Needs};
use crate::module::{Kind, WasmFile};
use crate::placement::{self, Placement, Remark, Reuse};
use crate::runtime_dir;
use crate::tally::Row;

/// What the preparation process tells the parent: a configuration that can be served as it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Prepared {
    /// With a pool for each confined module.
    pub config: Config,
    /// In the order of `config.modules`.
    pub modules: Vec<PreparedModule>,
    /// Where all modules come from.
    pub sources: Sources,
    /// How that looked before any was read.
    pub seen: Snapshot,
    /// Why modules of `modules_dir` are not served, or not as their file has them, by name.
    pub refused: BTreeMap<String, Refusal>,
    /// What is kept of each module.
    pub versions: Histories,
    /// Which program can use the native code: [`published::made_by`].
    pub made_by: String,
}

/// A module that can be served: what it says of itself and what the operator says of it, made one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreparedModule {
    pub kind: Kind,
    /// BLAKE3 of its Wasm in the binary format, in hexadecimal digits: names the version.
    pub hash: String,
    pub native: PathBuf,
    pub thread_safe: bool,
    pub version: Option<String>,
    pub description: Option<String>,
    /// 0: an instance is never retired.
    pub max_requests_per_instance: u64,
    pub max_concurrent_requests_per_instance: usize,
    /// `Some`: it runs there and nowhere else.
    pub pool: Option<ConfinedPool>,
    /// It is from `modules_dir`.
    pub was_dropped_in: bool,
    /// Where its requests are counted: the parent fills it in.
    #[serde(default)]
    pub row: Row,
}

impl PreparedModule {
    /// What a child loads the module from.
    #[must_use]
    pub fn source<'a>(&'a self, settings: &'a Module) -> ModuleSource<'a> {
        ModuleSource {
            settings,
            kind: self.kind,
            native: &self.native,
            max_requests_per_instance: self.max_requests_per_instance,
            max_concurrent_requests_per_instance: self.max_concurrent_requests_per_instance,
        }
    }
}

/// The pool that one module is confined to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfinedPool {
    /// Into `config.mpm.pools`.
    pub index: usize,
    pub address: ListenAddress,
    /// How long a request waits for a child.
    pub queue_timeout: Duration,
}

/// Does the preparation process's work.
///
/// # Errors
/// A text for the operator that names every mistake found, one on each line.
pub fn prepare(config_path: &Path) -> Result<Prepared, String> {
    let (mut config, warnings) = config::read(config_path).map_err(|errors| errors.to_string())?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    if let Some(output) = std::env::var_os(dev::VARIABLE).map(PathBuf::from)
        && dev::adapt(&mut config, &output) == 0
    {
        tracing::warn!("no [[module]] has the path {}, which is what the project builds", output.display());
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
        let prepared = placement::place(module, &config).and_then(|(placement, warning)| {
            if let Some((line, text)) = warning {
                tracing::warn!("{}", found(line, text));
            }
            let prepared = prepare_module(module, placement, &config, &mut pools, published.as_ref());
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
        deploy::prepare(&mut Stock { config, modules, pools, seen: &seen, refused: &mut refused, published });
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

/// Makes a module ready to be served that was read and placed, and adds the pool that it needs to `pools`, which follow those of
/// `config`. It is asked whether it is well, unless it is `published` as it is.
///
/// # Errors
/// What is wrong with it, and on which line of its settings.
pub(crate) fn prepare_module(
    module: &Module,
    placement: Placement,
    config: &Config,
    pools: &mut Vec<Pool>,
    published: Option<&Prepared>,
) -> Result<PreparedModule, (usize, Refusal)> {
    let Placement { file, kind, facts, thread_safe, confined, reuse } = placement;
    let Reuse { max_requests_per_instance, max_concurrent_requests_per_instance } = reuse;
    let native = compile_module(module, &file, kind, &config.server.cache_dir)?;
    let mut prepared = PreparedModule {
        kind,
        hash: versions::hash(file.binary()),
        native,
        thread_safe,
        version: facts.version,
        description: facts.description,
        max_requests_per_instance,
        max_concurrent_requests_per_instance,
        pool: None,
        was_dropped_in: false,
        row: Row::default(),
    };
    health::ask(module, &prepared, config, published).map_err(|refusal| {
        let refusal = refusal.map(|problem| format!("module {:?}: {problem}", module.name));
        (module.lines.health.unwrap_or(module.lines.path), refusal)
    })?;
    if let Err(problem) = versions::keep(&config.server.runtime_dir, &prepared.hash, file.binary()) {
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
pub(crate) fn confine(
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
    pools.push(Pool { name: module.name.clone(), listen: vec![address.clone()], mpm: Mpm::Prefork(prefork) });
    Ok(ConfinedPool { index, address, queue_timeout })
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
fn compile_module(module: &Module, file: &WasmFile, kind: Kind, cache_dir: &Path) -> Result<PathBuf, (usize, Refusal)> {
    let name = &module.name;
    let compiled = compile(file, kind, &module.path, cache_dir).map_err(|error| {
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
    use super::*;

    #[test]
    fn what_shows_only_when_a_module_is_compiled_is_told_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("no.wasm"), "no wasm").unwrap();
        let guest = include_str!("guest/testing.wat")
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
        std::fs::write(dir.path().join("b.wat"), include_str!("guest/testing.wat").replace("(; BODY ;)", "nop nop"))
            .unwrap();
        let file = dir.path().join("guesthouse.toml");
        let two =
            "\n[[module]]\nname = \"b\"\npath = \"b.wat\"\n[[module]]\nname = \"c\"\npath = \"guesthouse.toml\"\n";
        std::fs::write(&file, std::fs::read_to_string(&file).unwrap() + two).unwrap();
        assert!(prepare(&file).unwrap_err().contains("module \"c\""));
        assert_eq!(kept(dir.path()), (1, false));
    }

    const UNSAFE: &str = "thread_safe = false\nversion = '1.2'\ndescription = 'counts'";

    /// What is prepared of a module `a`, whose file says `facts` of itself.
    fn prepared(dir: &Path, mpm: &str, facts: &str, lines: &str) -> Prepared {
        let guest = include_str!("guest/testing.wat").replace("(; BODY ;)", "nop");
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
        assert_eq!((said.version.as_deref(), said.description.as_deref()), (Some("1.2"), Some("counts")));
        assert!(said.native.is_file());
        let silent = module("", "");
        assert_eq!((silent.thread_safe, silent.version, silent.description), (true, None, None));
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
