//! What the preparation tells the parent, and the parent its children, the lookout and who starts the server next: plain data that
//! is written as JSON. Nothing here decides anything.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use guesthouse_mpm::settings::ListenAddress;
use serde::{Deserialize, Serialize};

use super::{Refusal, Snapshot, Sources};
use crate::config::{Config, Module};
use crate::guest::ModuleSource;
use crate::identity::Sighting;
use crate::module::{Facts, Kind};
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
    /// Which program can use the native code: [`published::made_by`](super::published::made_by).
    pub made_by: String,
}

impl Prepared {
    /// What is served under this name, with its settings.
    #[must_use]
    pub fn module(&self, name: &str) -> Option<(&Module, &PreparedModule)> {
        self.config.modules.iter().zip(&self.modules).find(|(settings, _)| settings.name == name)
    }
}

/// A module that can be served: what it says of itself and what the operator says of it, made one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreparedModule {
    pub kind: Kind,
    /// BLAKE3 of its Wasm in the binary format, in hexadecimal digits: names the version.
    pub hash: String,
    pub native: PathBuf,
    /// How its file looked when it was read, if one that looks the same is the same.
    pub(crate) file: Option<Sighting>,
    /// What it says of itself.
    pub facts: Facts,
    /// The last word on that.
    pub thread_safe: bool,
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
    /// Since when it serves as it does, in seconds since the Unix epoch; begins anew with the server. Likewise.
    #[serde(default)]
    pub since: u64,
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
    /// Requests that wait for one.
    pub queue_length: usize,
}

/// What is kept of each module, by name; the version that serves is the first, and the newest of the others the next.
pub type Histories = BTreeMap<String, Vec<Version>>;

/// One version of a module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// BLAKE3 of its Wasm in the binary format, in hexadecimal digits.
    pub hash: String,
    /// When it first served: seconds since the Unix epoch.
    pub published: u64,
    /// What the module calls this version.
    pub version: Option<String>,
    /// Its native code, which is there for as long as it is kept.
    pub native: PathBuf,
}
