//! The lookout's side of the control socket: a thread for each connection, which reads one request, sees to it, and answers.

use std::io::{self, BufReader, Read, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use guesthouse_mpm::lookout;

use super::deploy::{self, Change, Incoming, Put, Removed};
use super::desk::{Desk, Published, parent_gone};
use super::protocol::{Answer, FILE_TIME, HEARTBEAT, REQUEST_BYTES_MAX, Request, line_of, read_line};
use super::rounds::Outcome;
use super::socket::{self, Door};
use super::{modules, rollback};
use crate::deploy::Prepared;
use crate::module::FILE_SIZE_MAX;

/// Connections at once. More are told to come again.
const CONNECTIONS_MAX: usize = 32;
/// For a request's line.
const REQUEST_TIME: Duration = Duration::from_secs(10);
/// Nothing may be read or written for so long.
const STALL_TIME: Duration = Duration::from_secs(10);
/// The socket is tried again so often where it cannot be bound.
const RETRY: Duration = Duration::from_secs(1);

/// Opens the socket, wherever it is to be, and serves those who connect. Returns when the server stops.
pub(super) fn attend(desk: &Arc<Desk>) {
    let open = Arc::new(AtomicUsize::new(0));
    let mut told = None;
    while let Some(runtime_dir) = desk.place() {
        match Door::open(&runtime_dir) {
            Ok(door) => {
                told = None;
                deploy::sweep(&desk.published().prepared);
                let door = Arc::new(door);
                desk.opened(&door, &runtime_dir);
                loop {
                    match door.accept() {
                        Ok(stream) => admit(desk, stream, &open),
                        // It was closed.
                        Err(error) if error.kind() == io::ErrorKind::InvalidInput => break,
                        Err(error) => {
                            tracing::error!("cannot accept a connection on the control socket: {error}");
                            thread::sleep(RETRY);
                        }
                    }
                }
            }
            Err(problem) => {
                if told.as_ref() != Some(&problem) {
                    tracing::error!("{problem}");
                }
                told = Some(problem);
            }
        }
        thread::sleep(RETRY);
    }
}

fn admit(desk: &Arc<Desk>, stream: UnixStream, open: &Arc<AtomicUsize>) {
    let client = Client { stream };
    if open.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS_MAX {
        open.fetch_sub(1, Ordering::Relaxed);
        return client.refuse(format!("{CONNECTIONS_MAX} others are being served: try again"));
    }
    let (desk, count) = (Arc::clone(desk), Arc::clone(open));
    let served = thread::Builder::new().name(String::from("control")).spawn(move || {
        let _leaving = Leaving(count);
        client.serve(&desk);
    });
    if let Err(error) = served {
        open.fetch_sub(1, Ordering::Relaxed);
        tracing::error!("cannot start a thread for a connection of the control socket: {error}");
    }
}

/// Makes room for another connection, whatever ended this one.
struct Leaving(Arc<AtomicUsize>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Who has connected.
struct Client {
    stream: UnixStream,
}

/// Why there is no last word: the client is gone, or has had it.
struct Gone;

impl Client {
    fn serve(&self, desk: &Desk) {
        if let Err(error) = self.stream.set_write_timeout(Some(STALL_TIME)) {
            return tracing::error!("cannot serve a connection of the control socket: {error}");
        }
        let user = match socket::user_of(&self.stream) {
            Ok(user) => user,
            Err(reason) => {
                tracing::warn!("refused on the control socket: {reason}");
                return self.refuse(reason);
            }
        };
        let mut reader = BufReader::new(Timed { stream: &self.stream, until: Instant::now() + REQUEST_TIME });
        let line = match read_line(&mut reader, REQUEST_BYTES_MAX) {
            Ok(line) => line,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return self.refuse(format!("a request is a line of JSON of at most {REQUEST_BYTES_MAX} bytes"));
            }
            Err(error) => return self.refuse(format!("cannot read the request: {error}")),
        };
        let request = match serde_json::from_str(&line) {
            Ok(request) => request,
            Err(error) => return self.refuse(format!("this is no request: {error}; docs/control.md has them")),
        };
        tracing::debug!("user {user} asks for {request:?}");
        if desk.is_stopping() && !matches!(request, Request::Stop { .. } | Request::Status | Request::Modules) {
            return self.refuse(String::from("the server stops"));
        }
        let answer = match request {
            Request::Deploy { name, bytes } => {
                tracing::info!("user {user} deploys module {name:?}");
                self.deploy(desk, &name, bytes, &mut reader)
            }
            Request::Undeploy { name } => {
                tracing::info!("user {user} withdraws module {name:?}");
                self.undeploy(desk, &name)
            }
            Request::Rollback { name, version } => {
                tracing::info!("user {user} rolls module {name:?} back");
                // It goes on also if the client does not: nothing is left half-way.
                let rolled_back = rollback::roll_back(desk, &name, version.as_deref(), || {
                    let _ = self.say(&Answer::Waiting);
                });
                Ok(rolled_back.map(|hash| Answer::RolledBack { name, hash }))
            }
            Request::Modules => Ok(Ok(modules(desk))),
            Request::Status => Ok(Ok(Answer::Status { status: Box::new(desk.board.snapshot(&desk.published())) })),
            Request::Reload => {
                tracing::info!("user {user} orders a reload");
                self.reload(desk)
            }
            Request::Stop { graceful } => {
                tracing::info!("user {user} stops the server");
                return self.stop(desk, graceful);
            }
        };
        match answer {
            Ok(Ok(answer)) => self.last_word(&answer),
            Ok(Err(reason)) => self.refuse(reason),
            Err(Gone) => {}
        }
    }

    fn deploy(
        &self,
        desk: &Desk,
        name: &str,
        bytes: u64,
        reader: &mut BufReader<Timed<'_>>,
    ) -> Result<Result<Answer, String>, Gone> {
        if bytes > FILE_SIZE_MAX {
            return Ok(Err(format!("the file has {bytes} bytes, and no module has more than {FILE_SIZE_MAX}")));
        }
        let incoming = Incoming::begin(&desk.published().prepared, name);
        let incoming = incoming.and_then(|incoming| receive(incoming, bytes, reader));
        let put = incoming.and_then(|incoming| incoming.finish(&desk.published()));
        let (unchanged, outcome) = match put {
            Ok(Put::Unchanged) => (true, Ok(())),
            Ok(Put::There(change)) => (false, self.publish(desk, &change)?),
            Err(reason) => (false, Err(reason)),
        };
        let hash = || hash_of(desk, name).unwrap_or_default();
        Ok(outcome.map(|()| Answer::Deployed { name: name.to_owned(), hash: hash(), unchanged }))
    }

    fn undeploy(&self, desk: &Desk, name: &str) -> Result<Result<Answer, String>, Gone> {
        match deploy::remove(&desk.published().prepared, name) {
            Ok(Removed { change, left }) => {
                let outcome = self.publish(desk, &change)?;
                Ok(left.map_or(outcome, Err).map(|()| Answer::Undeployed { name: change.name }))
            }
            Err(reason) => Ok(Err(reason)),
        }
    }

    /// Has a change published, and waits for what becomes of it.
    fn publish(&self, desk: &Desk, change: &Change) -> Result<Result<(), String>, Gone> {
        let ticket = match desk.ask(lookout::Request::Publish) {
            Ok(ticket) => ticket,
            Err(error) => return Ok(Err(parent_gone(&error))),
        };
        self.wait_for(desk, |outcome_of, published| change.outcome(published, outcome_of(ticket)))
    }

    fn reload(&self, desk: &Desk) -> Result<Result<Answer, String>, Gone> {
        let ticket = match desk.ask(lookout::Request::Reload) {
            Ok(ticket) => ticket,
            Err(error) => return Ok(Err(parent_gone(&error))),
        };
        self.wait_for(desk, |outcome_of, published| {
            Some(match outcome_of(ticket)? {
                Outcome::Serving => Ok(Answer::Reloaded { generation: published.generation }),
                Outcome::Failed(reason) => {
                    Err(format!("{reason}: the error log says more, and so does `guesthouse check`"))
                }
                Outcome::Stopping => Err(String::from("the server stops")),
            })
        })
    }

    fn stop(&self, desk: &Desk, graceful: bool) {
        let request = if graceful { lookout::Request::StopGracefully } else { lookout::Request::Stop };
        desk.see_off(|| {
            if self.say(&Answer::Stopping).is_err() {
                return;
            }
            // If the parent is gone already, that is told in a moment.
            let _heard = desk.line.send(request);
            while !desk.ends_within(HEARTBEAT) {
                if self.say(&Answer::Waiting).is_err() {
                    return;
                }
            }
            self.last_word(&Answer::Stopped);
        });
    }

    /// Waits until `look` finds something, and tells the client meanwhile that it is waited for.
    fn wait_for<T>(
        &self,
        desk: &Desk,
        look: impl Fn(&dyn Fn(lookout::Ticket) -> Option<Outcome>, &Published) -> Option<T>,
    ) -> Result<T, Gone> {
        loop {
            let found =
                desk.wait_for(HEARTBEAT, |rounds, published| look(&|ticket| rounds.outcome_of(ticket), published));
            match found {
                Some(found) => return Ok(found),
                None => self.say(&Answer::Waiting).map_err(|_| Gone)?,
            }
        }
    }

    fn say(&self, answer: &Answer) -> io::Result<()> {
        (&self.stream).write_all(&line_of(answer))
    }

    /// Nobody may be there any more to hear it.
    fn last_word(&self, answer: &Answer) {
        if let Err(error) = self.say(answer) {
            tracing::debug!("a client of the control socket has not waited for its answer: {error}");
        }
    }

    fn refuse(&self, reason: String) {
        self.last_word(&Answer::Refused { reason });
    }
}

fn receive(mut incoming: Incoming, bytes: u64, reader: &mut BufReader<Timed<'_>>) -> Result<Incoming, String> {
    reader.get_mut().until = Instant::now() + FILE_TIME;
    let mut piece = vec![0; 64 << 10];
    let mut left = bytes;
    while left > 0 {
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
        let read = match reader.read(&mut piece[..wanted]) {
            Ok(0) => return Err(format!("the file ends {left} bytes too soon")),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(format!("cannot read the file: {error}")),
        };
        incoming.write(&piece[..read]).map_err(|error| format!("cannot write the file: {error}"))?;
        left -= read as u64;
    }
    Ok(incoming)
}

fn modules(desk: &Desk) -> Answer {
    Answer::Modules { modules: modules::tell(&desk.published(), |module| desk.board.reading(module)) }
}

/// Of what is served under this name.
fn hash_of(desk: &Desk, name: &str) -> Option<String> {
    let Prepared { config, modules, .. } = &desk.published().prepared;
    let index = config.modules.iter().position(|module| module.name == name)?;
    Some(modules[index].hash.clone())
}

/// Reads until a time, and no longer than [`STALL_TIME`] for a piece.
struct Timed<'a> {
    stream: &'a UnixStream,
    until: Instant,
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.until.saturating_duration_since(Instant::now()).min(STALL_TIME);
        if left.is_zero() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "it takes too long"));
        }
        self.stream.set_read_timeout(Some(left))?;
        match self.stream.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(io::Error::new(io::ErrorKind::TimedOut, "it takes too long"))
            }
            read => read,
        }
    }
}
