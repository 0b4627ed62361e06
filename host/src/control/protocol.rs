//! What is said over the control socket: a request, and answers to it, each a JSON object on a line of its own. The words
//! are those of docs/control.md. Nothing here reads or writes a socket.

use std::io::{self, BufRead, Read as _};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::status::Snapshot;
use crate::status::snapshot::Runs;

/// Bytes of a request's line.
pub(super) const REQUEST_BYTES_MAX: u64 = 4096;
/// Bytes of an answer's line; a child or a module takes about a thousand.
pub(super) const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// For a file, which comes from this machine.
pub(super) const FILE_TIME: Duration = Duration::from_secs(120);
/// A client that waits hears so often that it is not waited for in vain; one that is gone is noticed.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(1);

/// What may be asked for, once on each connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// So many bytes of a Wasm file follow the line.
    Deploy {
        name: String,
        bytes: u64,
    },
    Undeploy {
        name: String,
    },
    /// To a version that is kept; without one, to the one before.
    Rollback {
        name: String,
        #[serde(default)]
        version: Option<String>,
    },
    Modules,
    Status,
    Reload,
    Stop {
        #[serde(default)]
        graceful: bool,
    },
}

/// What is answered. All but `Waiting` and `Stopping` are the last word.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    /// It is under way. Comes once a second.
    Waiting,
    Deployed {
        name: String,
        /// Of the Wasm, in the binary format: its BLAKE3 hash.
        hash: String,
        /// Whether this file was served already.
        unchanged: bool,
    },
    Undeployed {
        name: String,
    },
    RolledBack {
        name: String,
        /// Of the version that serves again.
        hash: String,
    },
    Modules {
        modules: Vec<ModuleTold>,
    },
    Status {
        status: Box<Snapshot>,
    },
    Reloaded {
        generation: u32,
    },
    /// The server stops.
    Stopping,
    /// It has, and nothing of it is left but who says so.
    Stopped,
    /// It was not done.
    Refused {
        reason: String,
    },
}

/// One module, as `guesthouse modules` tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleTold {
    pub name: String,
    pub state: State,
    /// Why its file is not served.
    pub reason: Option<String>,
    /// Of the Wasm that is served, in the binary format: its BLAKE3 hash.
    pub hash: Option<String>,
    /// By the module's own word.
    pub version: Option<String>,
    /// Since when it has been served as it is now, in seconds since the Unix epoch.
    pub since_secs: Option<u64>,
    /// `None` if it was never served, as what follows.
    pub requests: Option<u64>,
    pub errors: Option<u64>,
    pub runs: Option<Runs>,
    /// Versions that can be brought back, the newest first.
    pub kept: Vec<KeptVersion>,
}

/// A version that does not serve at the moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptVersion {
    pub hash: String,
    /// By the module's own word.
    pub version: Option<String>,
    /// When it was first published, in seconds since the Unix epoch.
    pub published_secs: u64,
}

/// What has become of a module's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    Serving,
    /// Its file was refused, and the version before goes on.
    ServingEarlier,
    /// Its file was refused, and there is no version before.
    Refused,
}

/// Reads a line without its end.
///
/// # Errors
/// The connection has ended (`UnexpectedEof`), the line is too long or no text (`InvalidData`), or what `read(2)` says.
pub(super) fn read_line(from: &mut impl BufRead, bytes_max: u64) -> io::Result<String> {
    let mut line = Vec::new();
    let read = from.take(bytes_max + 1).read_until(b'\n', &mut line)?;
    match line.strip_suffix(b"\n") {
        Some(line) => String::from_utf8(line.to_vec()).map_err(|_| io::Error::from(io::ErrorKind::InvalidData)),
        None if read as u64 > bytes_max => Err(io::ErrorKind::InvalidData.into()),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// As it is sent.
pub(super) fn line_of(message: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(message).expect("what is said is plain data");
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_as_documented() {
        for (line, request) in [
            (r#"{"command":"deploy","name":"shop","bytes":3}"#, Request::Deploy { name: "shop".into(), bytes: 3 }),
            (r#"{"command":"undeploy","name":"shop"}"#, Request::Undeploy { name: "shop".into() }),
            (r#"{"command":"rollback","name":"a"}"#, Request::Rollback { name: "a".into(), version: None }),
            (r#"{"command":"modules"}"#, Request::Modules),
            (r#"{"command":"status"}"#, Request::Status),
            (r#"{"command":"reload"}"#, Request::Reload),
            (r#"{"command":"stop"}"#, Request::Stop { graceful: false }),
            (r#"{"command":"stop","graceful":true}"#, Request::Stop { graceful: true }),
        ] {
            assert_eq!(serde_json::from_str::<Request>(line).unwrap(), request, "{line}");
        }
        for line in ["", "{}", "[]", r#"{"command":"sever"}"#, r#"{"command":"deploy","name":"a"}"#, "\"modules\""] {
            assert!(serde_json::from_str::<Request>(line).is_err(), "{line}");
        }
    }

    #[test]
    fn answers_survive_their_lines() {
        for answer in [
            Answer::Waiting,
            Answer::Reloaded { generation: 7 },
            Answer::Refused { reason: "two\nlines".into() },
            Answer::Status { status: Box::new(crate::status::testing::snapshot()) },
        ] {
            let line = line_of(&answer);
            assert_eq!(line.split(|byte| *byte == b'\n').count(), 2, "it is one line");
            let read = read_line(&mut &line[..], ANSWER_BYTES_MAX).unwrap();
            assert_eq!(serde_json::from_str::<Answer>(&read).unwrap(), answer);
        }
    }

    #[test]
    fn a_line_has_an_end_within_its_limit() {
        let kind = |bytes: &[u8]| read_line(&mut &bytes[..], 4).map_err(|error| error.kind());
        assert_eq!(kind(b"abcd\nmore"), Ok(String::from("abcd")));
        assert_eq!(kind(b"abcdefgh\n"), Err(io::ErrorKind::InvalidData));
        assert_eq!(kind(b"abc"), Err(io::ErrorKind::UnexpectedEof));
        assert_eq!(kind(b"\xff\n"), Err(io::ErrorKind::InvalidData));
    }
}
