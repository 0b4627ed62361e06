//! The client's side of the control socket: finds the server of a configuration, says what is wanted, and makes of what the
//! server answers what `guesthouse` prints. The server is not trusted to answer at all.

use std::fs::File;
use std::io::{self, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::modules::render;
use super::protocol::{ANSWER_BYTES_MAX, Answer, ModuleTold, Request, line_of, read_line};
use super::socket;
use crate::config;
use crate::deploy::versions::short;
use crate::status::Snapshot;

/// The server says once a second that it is there.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Why there is no connection, or what was wanted was not done.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// In the words of the configuration's reader.
    #[error(transparent)]
    Configuration(#[from] config::Errors),
    #[error("no server runs with this configuration: nobody listens at {}", .0.display())]
    NotRunning(PathBuf),
    #[error("cannot reach the server at {}: {error}: only its owner and root may control it", path.display())]
    NotAllowed { path: PathBuf, error: io::Error },
    #[error("cannot reach the server at {}: {error}", path.display())]
    Unreachable { path: PathBuf, error: io::Error },
    /// The server's own words.
    #[error("{0}")]
    Refused(String),
    #[error("the server has answered nothing for {} s", SILENCE_MAX.as_secs())]
    Silent,
    #[error("the connection ended before the server had told the outcome: `guesthouse modules` tells what serves")]
    BrokenOff,
    #[error("cannot read what the server answers: {0}: is it of another version?")]
    Unreadable(String),
    #[error("cannot read {}: {error}", path.display())]
    File { path: PathBuf, error: io::Error },
    #[error("{} has no name that a module may have: give it one with --name", .0.display())]
    Nameless(PathBuf),
}

type Result<T> = std::result::Result<T, ControlError>;

/// A connection to the server of a configuration.
#[derive(Debug)]
pub struct Control {
    reader: BufReader<UnixStream>,
}

impl Control {
    /// Connects to the server that runs with the configuration in `file`, of which only `runtime_dir` is read: a server can be
    /// reached also while its configuration is wrong. If there is none, to one that has been told to stop and still finishes.
    ///
    /// # Errors
    /// There is none, or it belongs to somebody else.
    pub fn connect(file: &Path) -> Result<Self> {
        let runtime_dir = config::runtime_dir_of(file)?;
        let (path, stopping) = (socket::path(&runtime_dir), socket::path_of_stopping(&runtime_dir));
        let unreachable = |error| ControlError::Unreachable { path: path.clone(), error };
        socket::check_length(&runtime_dir).map_err(unreachable)?;
        let stream = match UnixStream::connect(&path) {
            Err(error) if is_nobody(&error) => UnixStream::connect(stopping),
            connected => connected,
        };
        let stream = stream.map_err(|error| match error.kind() {
            _ if is_nobody(&error) => ControlError::NotRunning(path.clone()),
            io::ErrorKind::PermissionDenied => ControlError::NotAllowed { path: path.clone(), error },
            _ => unreachable(error),
        })?;
        stream.set_read_timeout(Some(SILENCE_MAX)).map_err(unreachable)?;
        stream.set_write_timeout(Some(SILENCE_MAX)).map_err(unreachable)?;
        Ok(Self { reader: BufReader::new(stream) })
    }

    /// Puts a Wasm file into service, under the name of the file if none is given.
    ///
    /// # Errors
    /// It was refused, or could not be sent.
    pub fn deploy(mut self, file: &Path, name: Option<&str>) -> Result<String> {
        let began = Instant::now();
        let stem = || file.file_stem().and_then(|stem| stem.to_str()).filter(|stem| !stem.is_empty());
        let name = name.or_else(stem).ok_or_else(|| ControlError::Nameless(file.to_owned()))?;
        let unreadable = |error| ControlError::File { path: file.to_owned(), error };
        let opened = File::open(file).map_err(unreadable)?;
        let facts = opened.metadata().map_err(unreadable)?;
        if !facts.is_file() {
            return Err(unreadable(io::Error::other("it is no file")));
        }
        let bytes = facts.len();
        self.send(&Request::Deploy { name: name.to_owned(), bytes });
        let _refused = io::copy(&mut opened.take(bytes), self.reader.get_mut());
        match self.last_word()? {
            Answer::Deployed { name, hash, unchanged: true } => {
                Ok(format!("{name} serves this file already: version {}\n", short(&hash)))
            }
            Answer::Deployed { name, hash, unchanged: false } => {
                let seconds = began.elapsed().as_secs_f64();
                Ok(format!("{name} is deployed: version {}, in {seconds:.3} s\n", short(&hash)))
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Withdraws a module.
    ///
    /// # Errors
    /// There is none, or it goes on.
    pub fn undeploy(mut self, name: &str) -> Result<String> {
        self.send(&Request::Undeploy { name: name.to_owned() });
        match self.last_word()? {
            Answer::Undeployed { name } => Ok(format!("{name} is withdrawn\n")),
            other => Err(unexpected(&other)),
        }
    }

    /// Brings a version of a module back: the one before, if none is named.
    ///
    /// # Errors
    /// There is none, or it was refused.
    pub fn roll_back(mut self, name: &str, version: Option<&str>) -> Result<String> {
        let began = Instant::now();
        self.send(&Request::Rollback { name: name.to_owned(), version: version.map(str::to_owned) });
        match self.last_word()? {
            Answer::RolledBack { name, hash } => {
                let seconds = began.elapsed().as_secs_f64();
                Ok(format!("{name} is rolled back: version {}, in {seconds:.3} s\n", short(&hash)))
            }
            other => Err(unexpected(&other)),
        }
    }

    /// What there is to say of each module.
    ///
    /// # Errors
    /// The server does not answer.
    pub fn modules(mut self) -> Result<Vec<ModuleTold>> {
        self.send(&Request::Modules);
        match self.last_word()? {
            Answer::Modules { modules } => Ok(modules),
            other => Err(unexpected(&other)),
        }
    }

    /// As [`modules`](Self::modules), for a terminal.
    ///
    /// # Errors
    /// The server does not answer.
    pub fn modules_as_text(self) -> Result<String> {
        self.modules().map(|modules| render(&modules))
    }

    /// What the server does.
    ///
    /// # Errors
    /// The server does not answer.
    pub fn status(mut self) -> Result<Snapshot> {
        self.send(&Request::Status);
        match self.last_word()? {
            Answer::Status { status } => Ok(*status),
            other => Err(unexpected(&other)),
        }
    }

    /// Has the configuration and all files taken over anew, gracefully.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn reload(mut self) -> Result<String> {
        self.send(&Request::Reload);
        match self.last_word()? {
            Answer::Reloaded { generation } => Ok(format!("reloaded: generation {generation} serves\n")),
            other => Err(unexpected(&other)),
        }
    }

    /// Stops the server, and waits until it has stopped.
    ///
    /// # Errors
    /// The server does not answer.
    pub fn stop(mut self, graceful: bool) -> Result<String> {
        self.send(&Request::Stop { graceful });
        match self.answer()? {
            Answer::Stopping => {}
            Answer::Refused { reason } => return Err(ControlError::Refused(reason)),
            other => return Err(unexpected(&other)),
        }
        loop {
            match self.answer()? {
                Answer::Waiting => {}
                Answer::Stopped => return Ok(String::from("stopped\n")),
                other => return Err(unexpected(&other)),
            }
        }
    }

    /// What cannot be sent was refused already, and the server has said why: that is read next, or that it is gone.
    fn send(&mut self, request: &Request) {
        let _refused = self.reader.get_mut().write_all(&line_of(request));
    }

    fn last_word(&mut self) -> Result<Answer> {
        loop {
            match self.answer()? {
                Answer::Waiting => {}
                Answer::Refused { reason } => return Err(ControlError::Refused(reason)),
                answer => return Ok(answer),
            }
        }
    }

    fn answer(&mut self) -> Result<Answer> {
        let line = read_line(&mut self.reader, ANSWER_BYTES_MAX).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ControlError::Silent,
            io::ErrorKind::InvalidData => ControlError::Unreadable(error.to_string()),
            _ => ControlError::BrokenOff,
        })?;
        serde_json::from_str(&line).map_err(|error| ControlError::Unreadable(error.to_string()))
    }
}

/// Whether nobody listens there.
fn is_nobody(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

fn unexpected(answer: &Answer) -> ControlError {
    ControlError::Unreadable(format!("{answer:?} is no answer to this"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(file: &Path) -> String {
        // As the program prints it, with every cause.
        format!("{:#}", anyhow::Error::from(Control::connect(file).unwrap_err()))
    }

    #[test]
    fn what_is_wrong_with_a_configuration_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("guesthouse.toml");
        assert_eq!(told(&file), format!("cannot read {}: no such file or directory", file.display()));
        std::fs::write(&file, "\nserver.runtime_dir = 5").unwrap();
        let expected = format!("{}:2: runtime_dir: expected a path, found the number 5", file.display());
        assert_eq!(told(&file), expected);
    }

    #[test]
    fn who_is_refused_before_anything_was_sent_hears_why() {
        let (client, mut server) = UnixStream::pair().unwrap();
        server.write_all(&line_of(&Answer::Refused { reason: String::from("why") })).unwrap();
        drop(server);
        let refused = Control { reader: BufReader::new(client) }.modules().unwrap_err();
        assert_eq!(refused.to_string(), "why");
    }

    #[test]
    fn a_server_that_cannot_be_is_told_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("guesthouse.toml");
        std::fs::write(&file, format!("server.runtime_dir = \"{}\"", "d".repeat(100))).unwrap();
        let told = told(&file);
        assert!(
            told.starts_with("cannot reach the server at ") && told.contains("name a shorter runtime_dir"),
            "{told}"
        );
    }
}
