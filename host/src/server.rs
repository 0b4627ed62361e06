//! The application that the parent runs: what to prepare, what to load, and what a child starts with.
//!
//! The parent never reads what an operator or a developer wrote. A preparation process does, and writes what came of it
//! ([`Prepared`]) to its standard output; the parent takes that over and its children inherit it. What the preparation
//! does, and guests and connections, are elsewhere.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use guesthouse_mpm::{Application, ChildContext, LoadError, Lookout, Settings, StartError};
use nix::sys::prctl::set_thp_disable;

use crate::clock::{Began, epoch_secs};
use crate::config::{self, Config, LogTarget, Module};
use crate::confined::Cell;
use crate::control::{self, Inherited};
use crate::deploy::{Prepared, PreparedModule, published};
use crate::error_log::{self, ErrorLog};
use crate::service::Service;
use crate::site::{self, Ground};
use crate::sites::Sites;
use crate::tally::rows::{Counted, Rows, TooManyModules};
use crate::tally::{Counting, ModuleTallies, Row};

/// Readings that are remembered. More generations than that have requests that go on at the same time only where modules are
/// deployed all the time.
const READINGS_MAX: usize = 64;

/// The server as its parent sees it.
#[derive(Debug)]
pub struct Server {
    config_path: PathBuf,
    error_log: ErrorLog,
    /// The latest reading behind those before it: the latest may be abandoned, and pools that older requests speak to may need
    /// children of an older one.
    readings: Vec<Reading>,
    began: Began,
    counting: Counting,
    rows: Rows,
}

#[derive(Debug)]
struct Reading {
    generation: u32,
    prepared: Prepared,
    /// The same as JSON.
    text: Vec<u8>,
    access_log: Option<Arc<File>>,
}

impl Server {
    /// `config_path` is read at the start and again at every reload.
    ///
    /// # Errors
    /// There is no memory for the counters.
    pub fn new(config_path: PathBuf, error_log: ErrorLog) -> io::Result<Self> {
        // A guest's memory and the allocator's of each process begin with a few pages of a large range: where the kernel gives
        // everybody huge pages, each would take megabytes for them. Inherited by all processes that serve. One that cannot is as
        // large as it is.
        let _best_effort = set_thp_disable(true);
        let (counting, rows) = (Counting::new()?, Rows::default());
        Ok(Self { config_path, error_log, readings: Vec::new(), began: Began::now(), counting, rows })
    }

    /// Where the preparation writes what it has to say.
    fn preparation_log(&self) -> Stdio {
        let Some(LogTarget::File(path)) = self.readings.last().map(|now| &now.prepared.config.server.error_log) else {
            return Stdio::inherit();
        };
        error_log::append_to(path).map_or_else(|_| Stdio::inherit(), Stdio::from)
    }

    fn open_logs(&self, server: &config::Server) -> Result<Option<Arc<File>>, LoadError> {
        let cannot =
            |what: &str, path: &Path, error| LoadError(format!("cannot open the {what} {}: {error}", path.display()));
        let access_log = match &server.access_log {
            None => None,
            Some(LogTarget::StandardError) => {
                let standard_error = std::io::stderr();
                let copy = std::os::fd::AsFd::as_fd(&standard_error).try_clone_to_owned();
                Some(copy.map_err(|error| LoadError(format!("cannot use standard error for the access log: {error}")))?)
                    .map(|fd| Arc::new(File::from(fd)))
            }
            Some(LogTarget::File(path)) => {
                let file = error_log::append_to(path).map_err(|error| cannot("access log", path, error))?;
                Some(Arc::new(file))
            }
        };
        if let Err(error) = self.error_log.reopen(&server.error_log)
            && let LogTarget::File(path) = &server.error_log
        {
            return Err(cannot("error log", path, error));
        }
        Ok(access_log)
    }
}

/// Says of each module where it is counted: one that was there before goes on where it was, and so does a version.
fn assign_rows(
    rows: &mut Rows,
    tallies: &ModuleTallies,
    running: Option<&Prepared>,
    prepared: &mut Prepared,
) -> Result<(), TooManyModules> {
    let kept: BTreeSet<Counted> = running.into_iter().chain([&*prepared]).flat_map(counted).collect();
    rows.keep_only(|counted| kept.contains(counted));
    let mut row_of = |counted: Counted| {
        let (row, was_used) = rows.of(counted)?;
        if was_used {
            tallies.row(row).reset();
        }
        Ok(row)
    };
    for (settings, module) in prepared.config.modules.iter().zip(&mut prepared.modules) {
        let version = version_counted(settings, module).map(&mut row_of).transpose()?;
        module.row = Row { module: row_of((settings.name.clone(), None))?, version };
    }
    Ok(())
}

/// Whatever is counted by itself.
fn counted(prepared: &Prepared) -> impl Iterator<Item = Counted> {
    let modules = prepared.config.modules.iter().zip(&prepared.modules);
    modules
        .flat_map(|(settings, module)| [Some((settings.name.clone(), None)), version_counted(settings, module)])
        .flatten()
}

/// A version, if it has to be told from its module.
fn version_counted(settings: &Module, module: &PreparedModule) -> Option<Counted> {
    settings.rollback_on_errors.map(|_| (settings.name.clone(), Some(module.hash.clone())))
}

/// Says of each module since when it serves as it does: `now`, unless it did before.
fn date(running: Option<&Prepared>, prepared: &mut Prepared, now: u64) {
    for (settings, module) in prepared.config.modules.iter().zip(&mut prepared.modules) {
        let before = running.and_then(|running| published::served(running, settings, module));
        module.since = before.map_or(now, |before| before.since);
    }
}

/// Whether children that serve the one can serve the other: nothing that belongs to a child as a whole is different.
fn is_for_the_same_children(one: &Config, other: &Config) -> bool {
    one.server == other.server && one.time_slice == other.time_slice && one.server_pool() == other.server_pool()
}

/// The MPM stays as it is while the server runs. Which modules are confined was decided for the one that is configured
/// now: under another, one that must not share threads might.
fn check_mpm(running: &Config, next: &Config) -> Result<(), LoadError> {
    let [running, next] = [running, next].map(|config| config.server_pool().mpm.name());
    if running == next {
        return Ok(());
    }
    Err(LoadError(format!(
        "mpm cannot change from {running} to {next} while the server runs: stop it and start it again, or write mpm = \
         \"{running}\""
    )))
}

impl Application for Server {
    type Protocol = Service;

    fn preparation(&mut self) -> Option<Command> {
        // The program that runs, even if another has taken its place on the disk by now.
        let mut command = Command::new("/proc/self/exe");
        command.arg("prepare").arg(&self.config_path).stderr(self.preparation_log());
        Some(command)
    }

    fn load(&mut self, generation: u32, text: &[u8]) -> Result<Settings, LoadError> {
        let mut prepared: Prepared = serde_json::from_slice(text)
            .map_err(|error| LoadError(format!("cannot read what the preparation wrote: {error}")))?;
        if let Some(running) = self.readings.last() {
            check_mpm(&running.prepared.config, &prepared.config)?;
        }
        let running = self.readings.last().map(|reading| &reading.prepared);
        assign_rows(&mut self.rows, &self.counting.modules, running, &mut prepared)
            .map_err(|error| LoadError(error.to_string()))?;
        date(running, &mut prepared, epoch_secs());
        let text = serde_json::to_vec(&prepared)
            .map_err(|error| LoadError(format!("cannot write what the preparation wrote: {error}")))?;
        // Last: what is refused is told in the log of what goes on.
        let access_log = self.open_logs(&prepared.config.server)?;
        let settings = prepared.config.mpm.clone();
        self.readings.push(Reading { generation, prepared, text, access_log });
        // What is older than the one to go back to is remembered for confined children alone, who log no access: a descriptor for
        // each would be inherited by all.
        let older = self.readings.len().saturating_sub(2);
        self.readings[..older].iter_mut().for_each(|reading| reading.access_log = None);
        let superseded = self.readings.len().saturating_sub(READINGS_MAX);
        self.readings.drain(..superseded);
        Ok(settings)
    }

    fn abandon(&mut self) {
        if self.readings.len() > 1 {
            self.readings.pop();
        }
        if let Some(reading) = self.readings.last()
            && let Err(error) = self.error_log.reopen(&reading.prepared.config.server.error_log)
        {
            tracing::error!("cannot go back to the former error log: {error}");
        }
    }

    fn handover(&self) -> Option<Vec<u8>> {
        let [.., before, now] = &self.readings[..] else { return None };
        is_for_the_same_children(&before.prepared.config, &now.prepared.config).then(|| now.text.clone())
    }

    fn reset_counters(&mut self) {
        let uptime = self.began.at.elapsed();
        // What is in neither is counted from nothing if it comes back.
        let latest = self.readings.iter().rev().take(2);
        let rows = latest.flat_map(|reading| reading.prepared.modules.iter().map(|module| module.row));
        self.counting.of(rows).reset(uptime);
    }

    fn publish(&mut self) -> String {
        let [.., Reading { prepared, text, .. }] = &self.readings[..] else { return String::new() };
        let runtime_dir = &prepared.config.server.runtime_dir;
        match published::write(runtime_dir, text) {
            Ok(()) => published::path(runtime_dir).display().to_string(),
            // A lookout that compares with what served before would ask for what has been done.
            Err(error) => {
                tracing::error!(
                    "cannot write down what serves, in {}: {error}: files that change are not taken over; mend that, and \
                     reload the configuration (kill -USR1)",
                    runtime_dir.display()
                );
                String::new()
            }
        }
    }

    fn published(&mut self) {
        if let [.., before, now] = &self.readings[..] {
            published::changes(&before.prepared, &now.prepared).iter().for_each(|line| tracing::info!("{line}"));
        }
    }

    fn has_lookout(&self) -> bool {
        true
    }

    fn look_out(&self, lookout: Lookout) {
        let reading = self.readings.last().expect("the server has come to serve");
        control::look_out(
            lookout,
            Inherited {
                prepared: reading.prepared.clone(),
                error_log: self.error_log.clone(),
                began: self.began,
                counting: self.counting.clone(),
            },
        );
    }

    fn start(&self, child: &ChildContext) -> Result<Service, StartError> {
        let reading = self.readings.iter().rev().find(|reading| reading.generation == child.generation);
        let forgotten = || StartError(format!("generation {} is too old to be known", child.generation));
        let Reading { prepared, access_log, .. } = reading.ok_or_else(forgotten)?;
        let Prepared { config, modules, .. } = prepared;
        if child.pool == 0 {
            let (began, counting, access_log) = (self.began, self.counting.clone(), access_log.clone());
            let ground = Ground { child: child.clone(), began, counting, access_log };
            return Ok(Service::Sites(Box::new(Sites::start(prepared, ground)?)));
        }
        let is_confined_here =
            |module: &PreparedModule| module.pool.as_ref().is_some_and(|pool| pool.index == child.pool);
        let index = modules.iter().position(is_confined_here);
        let index = index.ok_or_else(|| StartError(format!("no module has the pool {:?}", child.pool_name)))?;
        let source = modules[index].source(&config.modules[index]);
        let limits = site::head_limits(&config.server.request_limits);
        let is_counted = config.mpm.pools[child.pool].mpm.common().max_connections_per_child > 0;
        Ok(Service::Cell(Box::new(Cell::start(source, config.time_slice, &limits, is_counted, child)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deploy::testing::prepared;

    #[test]
    fn a_version_has_a_row_of_its_own_for_as_long_as_it_may_serve() {
        let (mut rows, tallies, mut running) = (Rows::default(), ModuleTallies::new().unwrap(), None);
        let mut row = |native: &str, share_max| {
            let mut prepared = prepared(&[("a", native)]);
            prepared.config.modules[0].rollback_on_errors = share_max;
            assign_rows(&mut rows, &tallies, running.as_ref(), &mut prepared).unwrap();
            let row = prepared.modules[0].row;
            running = Some(prepared);
            row
        };
        let rows = [("1", None), ("1", Some(20)), ("2", Some(20)), ("2", Some(5)), ("1", Some(5)), ("3", None)];
        let rows = rows.map(|(native, share_max)| row(native, share_max));
        assert!(rows.iter().all(|row| row.module == 0));
        // Nothing of version 1 was left when it came back: it is counted anew.
        assert_eq!(rows.map(|row| row.version), [None, Some(1), Some(2), Some(2), Some(3), None]);
    }

    #[test]
    fn what_changes_serves_since_then() {
        let mut running = None;
        let mut since = |modules: &[(&str, &str)], now| {
            let mut prepared = prepared(modules);
            date(running.as_ref(), &mut prepared, now);
            let since: Vec<u64> = prepared.modules.iter().map(|module| module.since).collect();
            running = Some(prepared);
            since
        };
        assert_eq!(since(&[("a", "1"), ("b", "2")], 10), [10, 10]);
        assert_eq!(since(&[("b", "3"), ("a", "1"), ("c", "4")], 20), [20, 10, 20]);
        assert_eq!(since(&[("a", "1"), ("b", "2")], 30), [10, 30]);
    }

    #[test]
    fn another_mpm_is_not_taken_over_while_the_server_runs() {
        let config = |mpm: &str| {
            let text = format!("[server]\nmpm = \"{mpm}\"\naccess_log = \"off\"\n");
            config::read_text(&text, Path::new("/nowhere/guesthouse.toml")).unwrap().0
        };
        assert!(check_mpm(&config("event"), &config("event")).is_ok());
        assert_eq!(
            check_mpm(&config("event"), &config("prefork")).unwrap_err().to_string(),
            "mpm cannot change from event to prefork while the server runs: stop it and start it again, or write mpm = \
             \"event\""
        );
    }
}
