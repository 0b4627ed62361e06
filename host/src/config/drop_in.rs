//! A module that was dropped into `modules_dir`: its settings stand in a file of its own beside it, or nowhere.

use std::path::Path;

use super::report::{Errors, Report};
use super::surroundings::{Surroundings, ThisMachine};
use super::table::Table;
use super::{Config, Module, Route, SERVER_POOL, Target, Warning, module, names, route};

/// A module and the routes that lead to it, not yet part of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DropIn {
    pub module: Module,
    /// Their target is the module, whatever index it says.
    pub routes: Vec<Route>,
}

/// Reads what stands in `text`, the file at `settings`, about the module `name` whose Wasm is the file at `wasm`. Both paths are
/// absolute.
///
/// # Errors
/// The name or the text is wrong; then with every mistake.
#[expect(clippy::missing_panics_doc, reason = "a module whose name and file are given is always read")]
pub fn read_text(name: &str, wasm: &Path, settings: &Path, text: &str) -> Result<(DropIn, Vec<Warning>), Errors> {
    let report = Report::new(settings, text);
    let folder = settings.parent().unwrap_or(settings);
    let surroundings = Surroundings { folder, machine: &ThisMachine };
    if let Err(why) = names::module(name) {
        report.mistake(None, format_args!("the name of its module: {why}: give the file another name"));
    }
    if name == SERVER_POOL {
        report
            .mistake(None, format_args!("{name:?} is what the server's own children are called: give it another name"));
    }
    let (document, syntax_errors) = toml::de::DeTable::parse_recoverable(text);
    if !syntax_errors.is_empty() {
        return Err(report.conclude_syntax(&syntax_errors));
    }
    let mut table = Table::document(document.get_ref(), &report);
    let mut modules = module::read_alone(&mut table, name, wasm, surroundings);
    let routes = route::read_of_module(&mut table, surroundings, &mut modules);
    table.finish();
    let module = modules.read.pop();
    let (module, warnings) = report.conclude(module)?;
    Ok((DropIn { module: module.expect("its name and its file are known"), routes }, warnings))
}

impl Config {
    /// Adds a module that was dropped in, and answers with its index; or says why it has no place: a name or a path that is
    /// taken.
    ///
    /// # Errors
    /// What is taken, and what to do.
    pub fn add(&mut self, drop_in: DropIn) -> Result<usize, String> {
        let DropIn { module, routes } = drop_in;
        if self.modules.iter().any(|other| other.name == module.name) {
            return Err(format!("there is a module {:?} already: give the file another name", module.name));
        }
        for Route { host, path, .. } in &routes {
            if self.routes.iter().any(|other| other.host == *host && other.path == *path) {
                let what = route::described(host.as_ref(), path);
                return Err(format!(
                    "{what} has a route already: write other routes into {}.toml beside it",
                    module.name
                ));
            }
        }
        let index = self.modules.len();
        self.routes.extend(routes.into_iter().map(|route| Route { target: Target::Module(index), ..route }));
        self.modules.push(module);
        Ok(index)
    }

    /// Takes the last module out again, with its routes.
    pub fn remove_last(&mut self) {
        self.modules.pop();
        let index = self.modules.len();
        self.routes.retain(|route| route.target != Target::Module(index));
    }
}
