//! The modules of `modules_dir`, in the preparation: each is read, checked and compiled for itself, and one that is no good
//! leaves the place to what served before it.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use guesthouse_mpm::settings::Pool;

use super::module::{confine, prepare_module};
use super::wasm::Wasm;
use crate::config::{self, Config, DropIn, Module, Warning};
use crate::deploy::folder::{self, Candidate};
use crate::deploy::vet::{self, Verdict, Vetted};
use crate::deploy::{Prepared, PreparedModule, Refusal, Snapshot};
use crate::guest::compile::find_compiled;
use crate::placement::{self, Remark};

/// What is prepared so far.
pub(super) struct Stock<'a> {
    pub(super) config: &'a mut Config,
    /// In the order of `config.modules`.
    pub(super) modules: &'a mut Vec<PreparedModule>,
    /// Beside those of `config`.
    pub(super) pools: &'a mut Vec<Pool>,
    /// As the files looked before they were read.
    pub(super) seen: &'a Snapshot,
    /// By name.
    pub(super) refused: &'a mut BTreeMap<String, Refusal>,
    /// What serves, or did.
    pub(super) published: Option<&'a Prepared>,
}

/// Adds the modules of `modules_dir`, if there is one. What is wrong with one of them is logged, and costs no other anything.
pub(super) fn prepare(stock: &mut Stock<'_>) {
    let Some(folder) = stock.config.server.modules_dir.clone() else { return };
    let candidates = match folder::candidates(&folder) {
        Ok(candidates) => candidates,
        Err(error) => {
            tracing::error!("cannot read modules_dir, {}: {error}: what was served from it goes on", folder.display());
            return stock.go_on_with_all();
        }
    };
    // What serves already has its routes before anything new can take them.
    let others: Vec<&Candidate> = candidates.iter().filter(|candidate| !stock.add_unchanged(candidate)).collect();
    let (changed, new): (Vec<_>, Vec<_>) =
        others.into_iter().partition(|candidate| stock.last_good(&candidate.name).is_some());
    let others: Vec<&Candidate> = changed.into_iter().chain(new).collect();
    let mut vetted = stock.vet(&others);
    for candidate in others {
        stock.add(candidate, &mut vetted);
    }
}

/// Looks at the modules of `modules_dir`, if there is one, without compiling any. Answers with every warning and every mistake.
#[must_use]
pub fn check(config: &mut Config) -> (Vec<Warning>, Vec<String>) {
    let Some(folder) = config.server.modules_dir.clone() else { return (Vec::new(), Vec::new()) };
    let candidates = match folder::candidates(&folder) {
        Ok(candidates) => candidates,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return (Vec::new(), Vec::new()),
        Err(error) => return (Vec::new(), vec![format!("cannot read modules_dir, {}: {error}", folder.display())]),
    };
    let (mut warnings, mut mistakes) = (Vec::new(), Vec::new());
    for candidate in &candidates {
        match read(candidate).and_then(|(drop_in, told)| config.add(drop_in).map(|index| (index, told))) {
            Ok((index, told)) => {
                warnings.extend(told);
                if let Err((line, text)) = placement::check(&config.modules[index], config) {
                    mistakes.push(candidate.complaint(line, &text));
                }
            }
            Err(mistake) => mistakes.push(mistake),
        }
    }
    (warnings, mistakes)
}

impl Stock<'_> {
    /// Whether it goes on as it is. If it cannot (its native code was removed, or a folder of its), its file is taken anew.
    fn add_unchanged(&mut self, candidate: &Candidate) -> bool {
        let unchanged = self.unchanged(candidate);
        unchanged.is_some_and(|(drop_in, prepared)| self.take(drop_in, &prepared).is_ok())
    }

    /// Looks at the files of those that may be served, beside each other: that is what takes long.
    fn vet(&self, candidates: &[&Candidate]) -> Vetted {
        let may_be_served = |candidate: &&Candidate| self.still_refused(candidate).is_none() && read(candidate).is_ok();
        let candidates = candidates.iter().copied().filter(may_be_served);
        vet::all(candidates.map(|candidate| candidate.wasm.as_path()), &self.config.server.cache_dir)
    }

    fn add(&mut self, candidate: &Candidate, vetted: &mut Vetted) {
        let name = &candidate.name;
        let refusal = match self.still_refused(candidate) {
            Some(refusal) => {
                tracing::warn!(
                    "module {name:?} is still refused, as its files have not changed: {}",
                    refusal.problem()
                );
                refusal
            }
            None => match self.add_new(candidate, vetted) {
                Ok(()) => return,
                Err(refusal) => {
                    tracing::error!("{}", candidate.naming_module(refusal.problem()));
                    refusal
                }
            },
        };
        self.refused.insert(name.clone(), refusal);
        self.go_on_with(name);
    }

    fn add_new(&mut self, candidate: &Candidate, vetted: &mut Vetted) -> Result<(), Refusal> {
        let (drop_in, warnings) = read(candidate).map_err(Refusal::for_now)?;
        for warning in warnings {
            tracing::warn!("{}", candidate.naming_module(&warning.to_string()));
        }
        let taken = |problem| Refusal::for_now(format!("{}: {problem}", candidate.wasm.display()));
        let index = self.config.add(drop_in).map_err(taken)?;
        match self.prepare_new(candidate, index, vetted.remove(&candidate.wasm)) {
            Ok((prepared, warning)) => {
                if let Some((_, text)) = warning {
                    tracing::warn!("{text}");
                }
                self.modules.push(PreparedModule { was_dropped_in: true, ..prepared });
                Ok(())
            }
            Err(refusal) => {
                self.config.remove_last();
                Err(refusal)
            }
        }
    }

    /// Makes the module that has this index in the configuration ready. Nothing is compiled here: that has been done by who
    /// looked at the file.
    fn prepare_new(
        &mut self,
        candidate: &Candidate,
        index: usize,
        verdict: Option<Verdict>,
    ) -> Result<(PreparedModule, Option<Remark>), Refusal> {
        let config = &*self.config;
        let module = &config.modules[index];
        let complaint = |line, refusal: Refusal| refusal.map(|text| candidate.complaint(line, &text));
        let look = || vet::in_its_own_process(&candidate.wasm, &config.server.cache_dir);
        let place = || {
            let placed = Wasm::read(module).and_then(|wasm| {
                let (placement, warning) = placement::place(module, wasm.nature(), config)?;
                Ok((wasm, placement, warning))
            });
            // The file was found good: what is wrong now are settings, or what they name, and is cheap to look at again.
            let placed = placed.map_err(|(line, text)| complaint(line, Refusal::for_now(text)))?;
            let hash = placed.0.hash().to_owned();
            Ok((placed, hash))
        };
        // Its settings may have been mended since the files were looked at.
        let verdict = verdict.unwrap_or_else(look);
        let (wasm, placement, warning) = vet::read_as_vetted(verdict, look, place)?;
        let prepared = prepare_module(module, &wasm, placement, config, self.pools, self.published);
        let prepared = prepared.map_err(|(line, refusal)| complaint(line, refusal))?;
        Ok((prepared, warning))
    }

    /// Whether the files of a module are as they were for what was published, and so is all that they depend on.
    fn is_as_published(&self, candidate: &Candidate) -> bool {
        self.published.is_some_and(|published| {
            let (then, now) = (&published.config, &*self.config);
            let same_server =
                then.server == now.server && then.server_pool().mpm.name() == now.server_pool().mpm.name();
            let files = [&candidate.wasm, &candidate.settings];
            same_server && files.iter().all(|path| self.seen.agrees_with(&published.seen, path))
        })
    }

    /// What served until now, if nothing about it has changed.
    fn unchanged(&self, candidate: &Candidate) -> Option<(DropIn, PreparedModule)> {
        // A version that stands in for a bad file is not what its file says.
        let is_refused = self.published.is_some_and(|published| published.refused.contains_key(&candidate.name));
        let last_good = self.last_good(&candidate.name)?;
        (!is_refused && self.is_as_published(candidate)).then_some(last_good)
    }

    /// Why a module was refused, if it would be for the same reason.
    fn still_refused(&self, candidate: &Candidate) -> Option<Refusal> {
        let refusal = self.published?.refused.get(&candidate.name)?;
        (refusal.is_lasting() && self.is_as_published(candidate)).then(|| refusal.clone())
    }

    fn last_good(&self, name: &str) -> Option<(DropIn, PreparedModule)> {
        last_good(self.published?, name)
    }

    fn go_on_with_all(&mut self) {
        let published = self.published.into_iter();
        let modules = published.flat_map(|published| published.config.modules.iter().zip(&published.modules));
        let dropped_in = modules.filter(|(_, prepared)| prepared.was_dropped_in);
        let names: Vec<String> = dropped_in.map(|(module, _)| module.name.clone()).collect();
        names.iter().for_each(|name| self.go_on_with(name));
    }

    /// Serves the last good version of a module, if there is one.
    fn go_on_with(&mut self, name: &str) {
        let Some((drop_in, prepared)) = self.last_good(name) else {
            return tracing::error!("module {name:?} is not served: there is no version of it that was");
        };
        match self.take(drop_in, &prepared) {
            Ok(()) => tracing::warn!("module {name:?}: the version that was served before goes on"),
            Err(problem) => {
                tracing::error!("module {name:?} is not served: {problem}");
                self.refused.entry(name.to_owned()).or_insert_with(|| Refusal::for_now(problem));
            }
        }
    }

    /// Adds a module that was prepared before, perhaps under another configuration.
    fn take(&mut self, drop_in: DropIn, prepared: &PreparedModule) -> Result<(), String> {
        if find_compiled(&prepared.native).is_none() {
            return Err(String::from(
                "the native code of its last version is no longer in the cache, or that is not private any more: replace its file",
            ));
        }
        if let Some(missing) = missing_folder(&drop_in.module) {
            return Err(format!(
                "the folder {missing} that it is granted is not there: make it again, or change its settings"
            ));
        }
        let index = self.config.add(drop_in)?;
        let pool = if placement::needs_pool(prepared.thread_safe, self.config) {
            confine(&self.config.modules[index], &prepared.native, self.config, self.pools).map(Some)
        } else {
            Ok(None)
        };
        match pool {
            Ok(pool) => {
                self.modules.push(PreparedModule { pool, ..prepared.clone() });
                Ok(())
            }
            Err((_, text)) => {
                self.config.remove_last();
                Err(text)
            }
        }
    }
}

impl Candidate {
    /// A text for the log, where those who look for a module's lines find it.
    fn naming_module(&self, text: &str) -> String {
        let module = format!("module {:?}", self.name);
        if text.contains(&module) { text.to_owned() } else { format!("{module}: {text}") }
    }

    /// A mistake, with the place where the operator can mend it.
    fn complaint(&self, line: usize, text: &str) -> String {
        if self.settings.exists() { format!("{}:{line}: {text}", self.settings.display()) } else { text.to_owned() }
    }
}

fn read(candidate: &Candidate) -> Result<(DropIn, Vec<Warning>), String> {
    let Candidate { name, wasm, settings } = candidate;
    let text = read_settings(settings).map_err(|error| format!("cannot read {}: {error}", settings.display()))?;
    config::read_drop_in(name, wasm, settings, &text).map_err(|errors| errors.to_string())
}

/// Empty if there are none.
fn read_settings(path: &Path) -> io::Result<String> {
    match path.metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error),
        // A pipe or a device may never end.
        Ok(facts) if !facts.is_file() => Err(io::Error::other("it is no file: remove it")),
        Ok(_) => config::read_file(path),
    }
}

/// A folder that a module's children open when they start, and that is not there any more.
fn missing_folder(module: &Module) -> Option<String> {
    let folders = module.dirs.iter().map(|dir| &dir.host).chain(&module.roots);
    folders.into_iter().find(|folder| !folder.is_dir()).map(|folder| folder.display().to_string())
}

/// A module of `modules_dir` as it was published.
fn last_good(published: &Prepared, name: &str) -> Option<(DropIn, PreparedModule)> {
    let (module, prepared) = published.module(name).filter(|(_, prepared)| prepared.was_dropped_in)?;
    let routes = published.config.routes_of(module).cloned().collect();
    Some((DropIn { module: module.clone(), routes }, prepared.clone()))
}
