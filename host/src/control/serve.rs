//! The lookout's side of the control socket: a thread for each connection, which reads one request, sees to it, and answers.

use std::io::{self, BufReader, Read, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use guesthouse_mpm::lookout;

use super::deploy::{self, Change, Incoming, Put, Removed};
use super::desk::{Desk, Published};
use super::protocol::{Answer, FILE_TIME, HEARTBEAT, REQUEST_BYTES_MAX, Request, line_of, read_line};
use super::rounds::STOPS;
use super::socket::{self, Door};
use super::{modules, rollback};
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
    let before = open.fetch_add(1, Ordering::Relaxed);
    let leaving = Leaving(Arc::clone(open));
    if before >= CONNECTIONS_MAX {
        return client.refuse(format!("{CONNECTIONS_MAX} others are being served: try again"));
    }
    let desk = Arc::clone(desk);
    let served = thread::Builder::new().name(String::from("control")).spawn(move || {
        let _leaving = leaving;
        client.serve(&desk);
    });
    if let Err(error) = served {
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

/// Why there is no answer.
enum NotDone {
    /// To be told.
    Refused(String),
    /// The client is gone.
    Gone,
}

impl From<String> for NotDone {
    fn from(reason: String) -> Self {
        NotDone::Refused(reason)
    }
}

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
        let mut reader = BufReader::new(Timed::new(&self.stream, REQUEST_TIME));
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
            return self.refuse(STOPS.to_owned());
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
                rolled_back.map(|hash| Answer::RolledBack { name, hash }).map_err(NotDone::Refused)
            }
            Request::Modules => Ok(modules(desk)),
            Request::Status => Ok(Answer::Status { status: Box::new(desk.board.snapshot(&desk.published())) }),
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
            Ok(answer) => self.last_word(&answer),
            Err(NotDone::Refused(reason)) => self.refuse(reason),
            Err(NotDone::Gone) => {}
        }
    }

    fn deploy(
        &self,
        desk: &Desk,
        name: &str,
        bytes: u64,
        reader: &mut BufReader<Timed<'_>>,
    ) -> Result<Answer, NotDone> {
        if bytes > FILE_SIZE_MAX {
            return Err(format!("the file has {bytes} bytes, and no module has more than {FILE_SIZE_MAX}").into());
        }
        let incoming = receive(Incoming::begin(&desk.published().prepared, name)?, bytes, reader)?;
        let published = desk.published();
        let (unchanged, published) = match incoming.finish(&published)? {
            Put::Unchanged => (true, published),
            Put::There(change) => (false, self.publish(desk, &change)?),
        };
        let served = published.prepared.module(name);
        let (_, module) = served.expect("what was just judged to serve is among what serves");
        Ok(Answer::Deployed { name: name.to_owned(), hash: module.hash.clone(), unchanged })
    }

    fn undeploy(&self, desk: &Desk, name: &str) -> Result<Answer, NotDone> {
        let Removed { change, left } = deploy::remove(&desk.published().prepared, name)?;
        match (self.publish(desk, &change), left) {
            (Ok(_), None) => Ok(Answer::Undeployed { name: change.name }),
            (Ok(_), Some(left)) => Err(NotDone::Refused(left)),
            (Err(NotDone::Refused(reason)), Some(left)) => Err(NotDone::Refused(format!("{left}\n{reason}"))),
            (Err(not_done), _) => Err(not_done),
        }
    }

    fn publish(&self, desk: &Desk, change: &Change) -> Result<Arc<Published>, NotDone> {
        desk.publish(|published, reload| change.outcome(published, reload), || self.wait())
    }

    fn reload(&self, desk: &Desk) -> Result<Answer, NotDone> {
        let ticket = desk.ask(lookout::Request::Reload)?;
        let reloaded = desk.wait_long_for(
            || self.wait(),
            |rounds, published| {
                let problem = rounds.outcome_of(ticket)?.problem();
                Some(problem.map_or(Ok(published.generation), Err))
            },
        )?;
        Ok(Answer::Reloaded { generation: reloaded? })
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

    /// Tells the client that it does not wait in vain.
    fn wait(&self) -> Result<(), NotDone> {
        self.say(&Answer::Waiting).map_err(|_| NotDone::Gone)
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
    *reader.get_mut() = Timed::new(reader.get_ref().stream, FILE_TIME);
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
        incoming.write(&piece[..read])?;
        left -= read as u64;
    }
    Ok(incoming)
}

fn modules(desk: &Desk) -> Answer {
    Answer::Modules { modules: modules::tell(&desk.published(), |module| desk.board.reading(module)) }
}

/// Reads for so long, and no longer than [`STALL_TIME`] for a piece.
struct Timed<'a> {
    stream: &'a UnixStream,
    limit: Duration,
    until: Instant,
}

impl<'a> Timed<'a> {
    fn new(stream: &'a UnixStream, limit: Duration) -> Self {
        Self { stream, limit, until: Instant::now() + limit }
    }

    fn too_long(&self) -> io::Error {
        let (all, piece) = (self.limit.as_secs(), STALL_TIME.as_secs());
        let text = format!("it takes too long: {all} s may pass in all, and {piece} s until something comes");
        io::Error::new(io::ErrorKind::TimedOut, text)
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.until.saturating_duration_since(Instant::now()).min(STALL_TIME);
        if left.is_zero() {
            return Err(self.too_long());
        }
        self.stream.set_read_timeout(Some(left))?;
        match self.stream.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(self.too_long()),
            read => read,
        }
    }
}
