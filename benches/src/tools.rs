//! The programs that are measured against, and the one that makes the load: where they are, or how to get them.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What was found. A program that is not there is left out of the table.
pub struct Tools {
    pub wrk: Option<PathBuf>,
    pub nginx: Option<PathBuf>,
    pub apache: Option<PathBuf>,
    /// PHP as a module of Apache: a shared library. Before PHP 8 it had another name.
    pub mod_php: Option<PathBuf>,
    /// PHP as a server of its own, for nginx.
    pub php_fpm: Option<PathBuf>,
    pub wasmtime: Option<Wasmtime>,
}

/// The command `wasmtime`.
pub struct Wasmtime {
    pub program: PathBuf,
    /// As it says itself.
    pub version: String,
}

/// Where distributions put servers, which need not be on a user's PATH.
const SYSTEM_FOLDERS: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];

/// Where Debian and Ubuntu put Apache's modules.
pub const APACHE_MODULES: &str = "/usr/lib/apache2/modules";

impl Tools {
    pub fn find() -> Self {
        Self {
            wrk: find("wrk"),
            nginx: find("nginx"),
            apache: find("apache2"),
            mod_php: newest(Path::new(APACHE_MODULES), "libphp8", ".so"),
            php_fpm: SYSTEM_FOLDERS.iter().find_map(|folder| newest(Path::new(folder), "php-fpm", "")),
            wasmtime: find("wasmtime").and_then(version),
        }
    }

    /// What is missing, each with the command that installs it.
    pub fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        if self.wrk.is_none() {
            missing.push("wrk, without which there is no load (apt-get install wrk)".to_owned());
        }
        if self.nginx.is_none() {
            missing.push("nginx (apt-get install nginx)".to_owned());
        }
        if self.apache.is_none() {
            missing.push("Apache (apt-get install apache2)".to_owned());
        }
        if self.mod_php.is_none() {
            missing.push("PHP in Apache (apt-get install libapache2-mod-php)".to_owned());
        }
        if self.php_fpm.is_none() {
            missing.push("PHP behind nginx (apt-get install php-fpm)".to_owned());
        }
        let ours = locked_version();
        match &self.wasmtime {
            None => missing.push(format!("wasmtime serve (cargo install wasmtime-cli --version {ours} --locked)")),
            Some(wasmtime) if !wasmtime.version.contains(&ours) => missing.push(format!(
                "the wasmtime that Guesthouse is built on, {ours}; {} is measured instead \
                 (cargo install wasmtime-cli --version {ours} --locked)",
                wasmtime.version
            )),
            Some(_) => {}
        }
        missing
    }
}

/// The program's path, looked for on PATH first.
fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(SYSTEM_FOLDERS.map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|program| program.is_file())
}

/// The newest of the files in a folder whose names begin and end so; between stands a version.
fn newest(folder: &Path, begin: &str, end: &str) -> Option<PathBuf> {
    let files = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    let is_one = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(begin) && name.ends_with(end)
    };
    files.filter(is_one).max()
}

fn version(program: PathBuf) -> Option<Wasmtime> {
    let output = Command::new(&program).arg("--version").output().ok()?;
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Some(Wasmtime { program, version })
}

/// The version of Wasmtime that the server is built on, as the workspace's lock file has it.
fn locked_version() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.lock");
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let entry = text.split_once("name = \"wasmtime\"\nversion = \"").and_then(|(_, rest)| rest.split_once('"'));
    entry.map_or_else(|| "48".to_owned(), |(version, _)| version.to_owned())
}
