//! The command line: what may be written after `guesthouse`, and its help. Runs nothing and looks at no file.

mod control;
mod module;
mod project;
mod server;

use clap::{Parser, Subcommand};

pub use self::control::{Deploy, Logs, Modules, OfServer, Reload, Rollback, Status, Stop, Undeploy};
pub use self::module::{Inspect, Module, ModuleCommand, Tag};
pub use self::project::{Build, Dev, New};
pub use self::server::{Check, Prepare, Serve, Vet};

/// `guesthouse ...` as parsed.
#[derive(Debug, Parser)]
#[command(
    name = "guesthouse",
    version,
    about = "A web server whose request handlers are sandboxed WebAssembly modules",
    long_about = ABOUT,
    after_help = "`guesthouse help COMMAND` tells all about a command.",
    after_long_help = AFTER,
    max_term_width = 100
)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start the server and stay in the foreground
    #[command(long_about = server::SERVE, after_long_help = server::SERVE_AFTER)]
    Serve(Serve),
    /// Write a small project: handler, configuration, build, test
    #[command(long_about = project::NEW, after_long_help = project::NEW_AFTER)]
    New(New),
    /// Build the project in a folder
    #[command(long_about = project::BUILD, after_long_help = project::BUILD_AFTER)]
    Build(Build),
    /// Build the project in a folder whenever it changes, serve it, and show what becomes of it
    #[command(long_about = project::DEV, after_long_help = project::DEV_AFTER)]
    Dev(Dev),
    /// Check a configuration file and report every mistake
    #[command(long_about = server::CHECK, after_long_help = server::CHECK_AFTER)]
    Check(Check),
    /// Put a Wasm file into service, and wait until it serves
    #[command(long_about = control::DEPLOY, after_long_help = control::DEPLOY_AFTER)]
    Deploy(Deploy),
    /// Withdraw a module
    #[command(long_about = control::UNDEPLOY, after_long_help = control::UNDEPLOY_AFTER)]
    Undeploy(Undeploy),
    /// Bring a version of a module back that was served before
    #[command(long_about = control::ROLLBACK, after_long_help = control::ROLLBACK_AFTER)]
    Rollback(Rollback),
    /// Tell which modules a running server has, in which versions, and what became of files that it refused
    #[command(long_about = control::MODULES, after_long_help = control::MODULES_AFTER)]
    Modules(Modules),
    /// Have a running server take over its configuration and all files anew, without losing a request
    #[command(long_about = control::RELOAD, after_long_help = control::RELOAD_AFTER)]
    Reload(Reload),
    /// Stop a running server, and wait until it has stopped
    #[command(long_about = control::STOP, after_long_help = control::STOP_AFTER)]
    Stop(Stop),
    /// Print the lines of the log files that are about one module
    #[command(long_about = control::LOGS, after_long_help = control::LOGS_AFTER)]
    Logs(Logs),
    /// Tell what a running server does: its pools, modules and children
    #[command(long_about = control::STATUS, after_long_help = control::STATUS_AFTER)]
    Status(Status),
    /// Look at a Wasm file, or write into it what it says of itself
    #[command(long_about = module::MODULE, after_long_help = module::MODULE_AFTER)]
    Module(Module),
    /// Check a configuration file, compile what is missing in the cache, print the configuration as JSON
    #[command(hide = true, long_about = server::PREPARE)]
    Prepare(Prepare),
    /// Check one Wasm file and compile it into a cache; standard output has its hash, or what is wrong with it
    #[command(hide = true)]
    Vet(Vet),
    /// Ask a module whether it is well, as standard input says; standard output has what is wrong with it
    #[command(hide = true)]
    Health,
}

const ABOUT: &str = "\
A web server whose request handlers are sandboxed WebAssembly modules.

Handlers are components that export wasi:http/incoming-handler@0.2 or wasi:http/handler@0.3, or programs that speak \
CGI, written in any language that compiles to WebAssembly. Each request gets a fresh instance, unless its module is to \
be reused or is of wasi:http 0.3, where one instance serves many requests, several at once. All have limits on memory, \
time and size, and no access to environment, files and network but what the configuration grants. What a guest does \
wrong ends its own request; where requests share an instance, one that traps or passes a limit of the instance ends \
those that are in it. A module that is not thread-safe is confined to processes of its own.

Processes and threads are used as Apache's MPMs use them: prefork, worker or event, with Apache's directives in one \
TOML file and Apache's signals.";

const AFTER: &str = "\
Examples:
  guesthouse serve                      serve ./guesthouse.toml, or a demo on 127.0.0.1:8080
  guesthouse serve /etc/guesthouse.toml
  guesthouse check                      report every mistake in ./guesthouse.toml
  guesthouse help serve                 signals, files and exit status of the server
  guesthouse status                     what the server of ./guesthouse.toml does now
  guesthouse deploy shop.wasm           put a module into service, while it runs
  guesthouse module inspect hello.wasm  tell what the module is and what it will ask for

A configuration to begin with:
  [server]
  listen = [\"127.0.0.1:8080\"]
  access_log = \"off\"

  [[module]]
  name = \"hello\"
  path = \"hello.wasm\"

  [[route]]
  path = \"/\"
  module = \"hello\"

Every key is described in docs/configuration.md.";

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use clap::error::ErrorKind;

    use std::path::PathBuf;

    use super::*;

    fn parsed(line: &str) -> Result<Command, ErrorKind> {
        Arguments::try_parse_from(line.split(' ')).map(|arguments| arguments.command).map_err(|error| error.kind())
    }

    fn help(line: &str) -> String {
        Arguments::try_parse_from(line.split(' ')).unwrap_err().to_string()
    }

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_file_may_be_named_or_left_out() {
        assert!(matches!(parsed("guesthouse serve"), Ok(Command::Serve(Serve { file: None }))));
        let Ok(Command::Serve(serve)) = parsed("guesthouse serve a.toml") else { panic!("not serve") };
        assert_eq!(serve.file, Some(PathBuf::from("a.toml")));
        let Ok(Command::Check(check)) = parsed("guesthouse check a.toml") else { panic!("not check") };
        assert_eq!(check.file, Some(PathBuf::from("a.toml")));
        let Ok(Command::Prepare(prepare)) = parsed("guesthouse prepare a.toml") else { panic!("not prepare") };
        assert_eq!(prepare.file, PathBuf::from("a.toml"));
    }

    #[test]
    fn a_project_may_be_named_or_left_out() {
        assert!(matches!(parsed("guesthouse dev"), Ok(Command::Dev(Dev { folder: None }))));
        let Ok(Command::Dev(dev)) = parsed("guesthouse dev shop") else { panic!("not dev") };
        assert_eq!(dev.folder, Some(PathBuf::from("shop")));
    }

    #[test]
    fn the_status_is_asked_for_with_a_file_or_without() {
        assert!(matches!(parsed("guesthouse status"), Ok(Command::Status(Status { file: None, json: false, .. }))));
        let Ok(Command::Status(status)) = parsed("guesthouse status a.toml --json") else { panic!("not status") };
        assert_eq!((status.file, status.json), (Some(PathBuf::from("a.toml")), true));
    }

    #[test]
    fn a_module_is_inspected_and_tagged() {
        let Ok(Command::Module(Module { command: ModuleCommand::Inspect(inspect) })) =
            parsed("guesthouse module inspect a.wasm --json")
        else {
            panic!("not inspect")
        };
        assert_eq!((inspect.file, inspect.json), (PathBuf::from("a.wasm"), true));
        let Ok(Command::Module(Module { command: ModuleCommand::Tag(tag) })) =
            parsed("guesthouse module tag a.wasm --thread-safe=false --version 1 --description= -o b.wasm")
        else {
            panic!("not tag")
        };
        assert_eq!((tag.file, tag.out), (PathBuf::from("a.wasm"), Some(PathBuf::from("b.wasm"))));
        assert_eq!(tag.thread_safe, Some(false));
        assert_eq!((tag.version.as_deref(), tag.description.as_deref()), (Some("1"), Some("")));
    }

    #[test]
    fn a_running_server_is_named_by_its_configuration() {
        let Ok(Command::Deploy(deploy)) = parsed("guesthouse deploy a.wasm --name b --config c.toml") else {
            panic!("not deploy")
        };
        assert_eq!((deploy.file, deploy.name.as_deref()), (PathBuf::from("a.wasm"), Some("b")));
        assert_eq!(deploy.server.config, Some(PathBuf::from("c.toml")));
        assert!(matches!(parsed("guesthouse stop --graceful"), Ok(Command::Stop(Stop { graceful: true, .. }))));
        assert!(matches!(parsed("guesthouse logs a -f"), Ok(Command::Logs(Logs { follow: true, .. }))));
        assert!(matches!(parsed("guesthouse modules --json"), Ok(Command::Modules(Modules { json: true, .. }))));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (line, kind) in [
            ("guesthouse", ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand),
            ("guesthouse sever", ErrorKind::InvalidSubcommand),
            ("guesthouse serve a b", ErrorKind::UnknownArgument),
            ("guesthouse serve --fast", ErrorKind::UnknownArgument),
            ("guesthouse prepare", ErrorKind::MissingRequiredArgument),
            ("guesthouse deploy", ErrorKind::MissingRequiredArgument),
            ("guesthouse undeploy", ErrorKind::MissingRequiredArgument),
            ("guesthouse status a.toml --config b.toml", ErrorKind::ArgumentConflict),
            ("guesthouse module", ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand),
            ("guesthouse module inspect", ErrorKind::MissingRequiredArgument),
            ("guesthouse module tag a.wasm", ErrorKind::MissingRequiredArgument),
            ("guesthouse module tag a.wasm -o b.wasm", ErrorKind::MissingRequiredArgument),
            ("guesthouse module tag a.wasm --thread-safe=no", ErrorKind::InvalidValue),
        ] {
            assert_eq!(parsed(line).err(), Some(kind), "{line}");
        }
    }

    #[test]
    fn the_help_of_serve_tells_signals_files_and_exit_status() {
        let help = help("guesthouse help serve");
        for word in ["TERM", "INT", "HUP", "USR1", "WINCH", "Exit status:", "guesthouse.pid", "Examples:"] {
            assert!(help.contains(word), "{word} is missing in:\n{help}");
        }
    }

    #[test]
    fn the_help_of_module_tells_what_the_section_holds() {
        let help = help("guesthouse help module");
        for word in ["thread_safe", "version", "description", "64 KiB", "inspect", "tag"] {
            assert!(help.contains(word), "{word} is missing in:\n{help}");
        }
    }

    #[test]
    fn the_help_shows_the_commands_of_users_only() {
        let help = help("guesthouse --help");
        assert!(help.contains("\n  serve ") && help.contains("\n  check "), "{help}");
        for hidden in ["prepare", "vet", "health"] {
            assert!(!help.contains(&format!("\n  {hidden} ")), "{help}");
        }
    }

    #[test]
    fn the_configuration_in_the_help_is_right() {
        let example = AFTER.split_once("A configuration to begin with:\n").unwrap().1;
        let example = example.split_once("Every key").unwrap().0;
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("hello.wasm"), b"").unwrap();
        let (_, warnings) = crate::config::read_text(example, &folder.path().join("guesthouse.toml")).unwrap();
        assert_eq!(warnings, []);
    }
}
