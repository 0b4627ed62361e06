//! The program `guesthouse`: reads the command line, runs what it names, prints errors once, and says how it ended.

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use clap::Parser;
use guesthouse::cli::{
    Arguments, Build, Check, Command, Deploy, Dev, Inspect, Logs, Module, ModuleCommand, Modules, New, OfServer,
    Prepare, Reload, Rollback, Serve, Status, Stop, Tag, Undeploy, Vet,
};
use guesthouse::control::{Control, ControlError, logs};
use guesthouse::deploy::Refusal;
use guesthouse::error_log::ErrorLog;
use guesthouse::module::{self, Change, WasmFile};
use guesthouse::preparation;
use guesthouse::server::Server;
use guesthouse::status::ask::{Told, ask};
use guesthouse::status::terminal;
use guesthouse::{config, demo, deploy, dev, placement, project};

/// A request is more than a hundred small allocations, made and freed by one thread, most of them Wasmtime's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The configuration that is used if none is named.
const DEFAULT_FILE: &str = "guesthouse.toml";

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Serve(Serve { file }) => serve(file),
        Command::Check(Check { file }) => check(&file.unwrap_or_else(|| PathBuf::from(DEFAULT_FILE))),
        Command::New(arguments) => new(arguments),
        Command::Build(Build { folder }) => build(&folder.unwrap_or_else(|| PathBuf::from("."))),
        Command::Status(Status { file, json, server }) => status(&file.unwrap_or_else(|| configuration(server)), json),
        Command::Deploy(Deploy { file, name, server }) => {
            control(server, |control| control.deploy(&file, name.as_deref()))
        }
        Command::Undeploy(Undeploy { name, server }) => control(server, |control| control.undeploy(&name)),
        Command::Rollback(Rollback { name, version, server }) => {
            control(server, |control| control.roll_back(&name, version.as_deref()))
        }
        Command::Modules(Modules { json: false, server }) => control(server, Control::modules_as_text),
        Command::Modules(Modules { json: true, server }) => modules_as_json(server),
        Command::Reload(Reload { server }) => control(server, Control::reload),
        Command::Stop(Stop { graceful, server }) => control(server, |control| control.stop(graceful)),
        Command::Logs(Logs { name, follow, server }) => logs(server, &name, follow),
        Command::Dev(Dev { folder }) => develop(&folder.unwrap_or_else(|| PathBuf::from("."))),
        Command::Module(Module { command }) => match command {
            ModuleCommand::Inspect(Inspect { file, json }) => inspect(&file, json),
            ModuleCommand::Tag(arguments) => tag(arguments),
        },
        Command::Prepare(Prepare { file }) => prepare(&file),
        Command::Vet(Vet { file, cache_dir }) => vet(&file, &cache_dir),
        Command::Health => Ok(health()),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("{error:#}");
        ExitCode::FAILURE
    })
}

/// Returns when the server has ended, and in every child and in the lookout when these have.
fn serve(file: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let file = match file {
        Some(file) => file,
        None if Path::new(DEFAULT_FILE).exists() => PathBuf::from(DEFAULT_FILE),
        None => demo::unpack()?,
    };
    let server =
        Server::new(file, ErrorLog::install()).context("cannot get memory for the counters of the server status")?;
    let exit = guesthouse_mpm::serve(server)?;
    Ok(ExitCode::from(exit.code()))
}

fn check(file: &Path) -> anyhow::Result<ExitCode> {
    let (mut config, mut warnings) = config::read(file)?;
    warnings.extend(placement::check_all(&config, file)?);
    let (of_drop_ins, mistakes) = preparation::check(&mut config);
    warnings.extend(of_drop_ins);
    for warning in &warnings {
        eprintln!("{warning}");
    }
    anyhow::ensure!(mistakes.is_empty(), "{}", mistakes.join("\n"));
    println!("{}: no mistakes", file.display());
    Ok(ExitCode::SUCCESS)
}

fn new(New { name, lang, interpreter }: New) -> anyhow::Result<ExitCode> {
    project::create(Path::new(""), &name, lang, interpreter.as_deref())?;
    println!(
        "{name} is ready. Go on with:\n  cd {name}\n  guesthouse build\n  guesthouse serve\n\
         or, there too, to have it built again whenever it changes:\n  guesthouse dev"
    );
    Ok(ExitCode::SUCCESS)
}

fn build(folder: &Path) -> anyhow::Result<ExitCode> {
    let built = project::build(folder, |command| eprintln!("+ {command}"))?;
    println!("built {}, {} KB", built.module.display(), built.size.div_ceil(1000));
    Ok(ExitCode::SUCCESS)
}

/// Returns when it is told to stop.
fn develop(folder: &Path) -> anyhow::Result<ExitCode> {
    dev::run(folder)?;
    Ok(ExitCode::SUCCESS)
}

fn prepare(file: &Path) -> anyhow::Result<ExitCode> {
    let _standard_error = ErrorLog::install();
    let prepared = preparation::prepare(file).map_err(anyhow::Error::msg)?;
    serde_json::to_writer(std::io::stdout().lock(), &prepared)?;
    Ok(ExitCode::SUCCESS)
}

/// The hash, or what is wrong, is told to the preparation, which has started this.
fn vet(file: &Path, cache_dir: &Path) -> anyhow::Result<ExitCode> {
    let _standard_error = ErrorLog::install();
    match deploy::vet::vet(file, cache_dir) {
        Ok(hash) => print(&hash),
        Err(refusal) => Ok(refuse(&refusal)),
    }
}

fn health() -> ExitCode {
    let _standard_error = ErrorLog::install();
    deploy::health::answer(std::io::stdin().lock()).map_or_else(|refusal| refuse(&refusal), |()| ExitCode::SUCCESS)
}

/// What is wrong is told to the preparation, which has started this.
fn refuse(refusal: &Refusal) -> ExitCode {
    println!("{}", refusal.problem());
    ExitCode::from(refusal.exit_status())
}

fn inspect(file: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let wasm = WasmFile::read(file).map_err(anyhow::Error::msg)?;
    let inspection = wasm.inspect().map_err(|error| anyhow!("cannot inspect {}: {error}", file.display()))?;
    let text = if json {
        serde_json::to_string_pretty(&module::Told::from(&inspection))? + "\n"
    } else {
        inspection.to_string()
    };
    print(&text)
}

/// Over the control socket; or as anybody may ask who cannot reach that.
fn status(file: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let told = match Control::connect(file) {
        Ok(control) => Told::of(control.status()?),
        Err(ControlError::Configuration(errors)) => return Err(errors.into()),
        Err(unreachable) => {
            let (config, _) = config::read(file)?;
            ask(&config).with_context(|| format!("{}: {unreachable}", file.display()))?
        }
    };
    print(&if json { told.json } else { terminal::render(&told.snapshot) })
}

fn configuration(OfServer { config }: OfServer) -> PathBuf {
    config.unwrap_or_else(|| PathBuf::from(DEFAULT_FILE))
}

/// Has a running server do something, and prints what came of it.
fn control(server: OfServer, work: impl FnOnce(Control) -> Result<String, ControlError>) -> anyhow::Result<ExitCode> {
    print(&work(Control::connect(&configuration(server))?)?)
}

fn modules_as_json(server: OfServer) -> anyhow::Result<ExitCode> {
    let modules = Control::connect(&configuration(server))?.modules()?;
    print(&(serde_json::to_string_pretty(&modules)? + "\n"))
}

fn logs(server: OfServer, module: &str, follow: bool) -> anyhow::Result<ExitCode> {
    let (config, _) = config::read(&configuration(server))?;
    logs::show(&config.server, module, follow, &mut std::io::stdout().lock()).map_err(anyhow::Error::msg)?;
    Ok(ExitCode::SUCCESS)
}

fn print(text: &str) -> anyhow::Result<ExitCode> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        // Who reads only the beginning has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        written => Ok(written.map(|()| ExitCode::SUCCESS).context("cannot write to standard output")?),
    }
}

fn tag(Tag { file, thread_safe, version, description, out }: Tag) -> anyhow::Result<ExitCode> {
    module::tag(&file, Change { thread_safe, version, description }, out.as_deref()).map_err(anyhow::Error::msg)?;
    Ok(ExitCode::SUCCESS)
}
