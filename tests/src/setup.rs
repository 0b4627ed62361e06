//! What a test says about the server that it wants: a configuration file, put together in the order of TOML's tables.

use std::fmt::Write as _;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use tempfile::TempDir;

use crate::server::Server;

/// The three ways to use processes and threads, and the way of a module that is not thread-safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mpm {
    Prefork,
    Worker,
    Event,
    /// Event, with the probe confined to a pool of its own.
    Confined,
    /// Prefork, with the probe for WASI 0.3.
    Prefork03,
    /// Worker, with the probe for WASI 0.3.
    Worker03,
    /// Event, with the probe for WASI 0.3.
    Event03,
    /// Event, with the probe for WASI 0.3 confined to a pool of its own.
    Confined03,
}

impl Mpm {
    /// As the configuration has it.
    fn name(self) -> &'static str {
        match self {
            Mpm::Prefork | Mpm::Prefork03 => "prefork",
            Mpm::Worker | Mpm::Worker03 => "worker",
            Mpm::Event | Mpm::Confined | Mpm::Event03 | Mpm::Confined03 => "event",
        }
    }

    /// Whether the probe is one of WASI 0.3.
    #[must_use]
    pub fn is_wasi_0_3(self) -> bool {
        self.probe() == "probe-p3"
    }

    /// The guest that is the probe.
    fn probe(self) -> &'static str {
        match self {
            Mpm::Prefork | Mpm::Worker | Mpm::Event | Mpm::Confined => "probe",
            Mpm::Prefork03 | Mpm::Worker03 | Mpm::Event03 | Mpm::Confined03 => "probe-p3",
        }
    }

    /// Few processes, so that many tests can run at once; two at least, so that one can be killed.
    fn directives(self) -> &'static str {
        match self {
            Mpm::Prefork | Mpm::Prefork03 => "start_servers = 4\nmin_spare_servers = 2\nmax_spare_servers = 8\n",
            Mpm::Worker | Mpm::Worker03 => {
                "start_servers = 2\nthreads_per_child = 4\nmin_spare_threads = 4\nmax_spare_threads = 16\n\
                 max_request_workers = 64\n"
            }
            Mpm::Event | Mpm::Confined | Mpm::Event03 | Mpm::Confined03 => "start_servers = 2\nthreads_per_child = 2\n",
        }
    }
}

/// A server that is not started yet: the module `probe` on every path, unless a test says more.
pub struct Setup {
    folder: TempDir,
    mpm: Mpm,
    cache: PathBuf,
    server: String,
    directives: String,
    /// In the place of the probe.
    guest: Option<&'static str>,
    probe: String,
    probe_route: &'static str,
    tables: String,
}

impl Setup {
    /// # Panics
    /// If no temporary folder can be made.
    #[must_use]
    pub fn new(mpm: Mpm) -> Self {
        Self {
            folder: folder(),
            mpm,
            cache: shared_cache(),
            server: String::new(),
            directives: String::new(),
            guest: None,
            probe: String::new(),
            probe_route: "/",
            tables: String::new(),
        }
    }

    /// Adds lines to `[server]`.
    #[must_use]
    pub fn server(mut self, lines: &str) -> Self {
        self.server += &format!("{lines}\n");
        self
    }

    /// Adds lines to the table of the MPM.
    #[must_use]
    pub fn directives(mut self, lines: &str) -> Self {
        self.directives += &format!("{lines}\n");
        self
    }

    /// Another guest in the place of the probe; the module is still called so.
    #[must_use]
    pub fn guest(mut self, name: &'static str) -> Self {
        self.guest = Some(name);
        self
    }

    /// Adds lines to the module `probe`, sub-tables after plain keys.
    #[must_use]
    pub fn probe(mut self, lines: &str) -> Self {
        self.probe += &format!("{lines}\n");
        self
    }

    /// Adds lines to `[module.limits]` of the probe.
    #[must_use]
    pub fn limits(self, lines: &str) -> Self {
        self.probe(&format!("[module.limits]\n{lines}"))
    }

    /// Serves the probe under this path in place of every path. The probe looks only at the last segment.
    #[must_use]
    pub fn probe_route(mut self, path: &'static str) -> Self {
        self.probe_route = path;
        self
    }

    /// Adds whole tables at the end, such as routes and other modules.
    #[must_use]
    pub fn tables(mut self, lines: &str) -> Self {
        self.tables += &format!("{lines}\n");
        self
    }

    /// Adds a module from the folder of guests, and a route to it.
    #[must_use]
    pub fn module(self, name: &str, route: &str) -> Self {
        let path = guest(name);
        self.tables(&format!(
            "[[module]]\nname = \"{name}\"\npath = \"{}\"\n[[route]]\npath = \"{route}\"\nmodule = \"{name}\"",
            path.display()
        ))
    }

    /// A code cache of its own, in place of the one that all tests share.
    #[must_use]
    pub fn own_cache(mut self) -> Self {
        self.cache = self.folder.path().join("cache");
        self
    }

    /// The folder of the configuration file; it is gone when the server is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Compiles the modules into the cache first, which for large ones takes longer than a server is waited for.
    ///
    /// # Panics
    /// If the configuration is not accepted.
    #[must_use]
    pub fn compiled(self) -> Self {
        compile(self.folder(), &self.text());
        self
    }

    /// Writes the configuration file, starts the server, and waits until it is ready.
    ///
    /// # Panics
    /// If it does not become ready; with its log.
    #[must_use]
    pub fn start(self) -> Server {
        let server = self.launch();
        server.wait_until_ready()
    }

    /// Writes the configuration file and starts the server, which may fail to.
    ///
    /// # Panics
    /// If the program cannot be started.
    #[must_use]
    pub fn launch(self) -> Server {
        let text = self.text();
        Server::launch(self.folder, &text)
    }

    fn text(&self) -> String {
        let Self { server, directives, guest: name, probe, probe_route, tables, .. } = self;
        let mpm = self.mpm.name();
        let defaults = without_keys_of(self.mpm.directives(), directives);
        let mut text = format!("[server]\nmpm = \"{mpm}\"\ncache_dir = \"{}\"\n", self.cache.display());
        text += &without_keys_of("listen = [\"127.0.0.1:0\"]\naccess_log = \"off\"\n", server);
        let _ = write!(text, "{server}\n[{mpm}]\n{defaults}{directives}\n");
        let path = guest(name.unwrap_or(self.mpm.probe()));
        let confined = if matches!(self.mpm, Mpm::Confined | Mpm::Confined03) { "thread_safe = false\n" } else { "" };
        let _ = write!(text, "[[module]]\nname = \"probe\"\npath = \"{}\"\n{confined}{probe}\n", path.display());
        let _ = write!(text, "[[route]]\npath = \"{probe_route}\"\nmodule = \"probe\"\n\n{tables}");
        text
    }
}

/// A temporary folder, which goes when it is dropped.
///
/// # Panics
/// If none can be made.
#[must_use]
pub(crate) fn folder() -> TempDir {
    tempfile::Builder::new().prefix("guesthouse-").tempdir().expect("there is a temporary folder")
}

/// The default lines whose keys the test does not set itself.
fn without_keys_of(defaults: &str, own: &str) -> String {
    let key = |line: &str| line.split('=').next().unwrap_or_default().trim().to_owned();
    let own: Vec<String> = own.lines().map(key).collect();
    let kept = defaults.lines().filter(|line| !own.contains(&key(line)));
    kept.flat_map(|line| [line, "\n"]).collect()
}

/// Compiles the modules of a configuration into its cache, however long that takes. One test at a time does, so that
/// those that share a cache do not compile the same.
///
/// # Panics
/// If the configuration is not accepted.
pub fn compile(folder: &Path, configuration: &str) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let file = folder.join("guesthouse.toml");
    std::fs::write(&file, configuration).expect("the folder can be written");
    let output = Command::new(program()).arg("prepare").arg(&file).output().expect("the program can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A guest that was built before the tests.
///
/// # Panics
/// If it was not.
#[must_use]
pub fn guest(name: &str) -> PathBuf {
    let folder = std::env::var_os("GUESTHOUSE_GUESTS").map_or_else(|| target().join("guests"), PathBuf::from);
    let path = folder.join(format!("{name}.wasm"));
    assert!(path.exists(), "there is no guest {}: build the guests with `cargo xtask guests`", path.display());
    path
}

/// The server's program, built before the tests.
///
/// # Panics
/// If it was not.
#[must_use]
pub fn program() -> PathBuf {
    let path = std::env::var_os("GUESTHOUSE_BIN").map_or_else(|| target().join("debug/guesthouse"), PathBuf::from);
    assert!(path.exists(), "there is no {}: build it with `cargo build --bin guesthouse`", path.display());
    path
}

/// The folder that cargo builds into: a test runs as TARGET/debug/deps/NAME.
///
/// # Panics
/// If it does not.
#[must_use]
pub fn target() -> PathBuf {
    let own = std::env::current_exe().expect("a test knows where it is");
    own.ancestors().nth(3).expect("a test lies in the target folder").to_owned()
}

/// One code cache for all tests, so that each guest is compiled once.
///
/// # Panics
/// If it cannot be made.
#[must_use]
pub fn shared_cache() -> PathBuf {
    let path = target().join("test-cache");
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path).expect("the target folder can be written");
    path
}
