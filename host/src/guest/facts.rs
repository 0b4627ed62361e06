//! What a guest is told of its request beyond what HTTP says: plain data, which also crosses to a confined child.

use std::net::{IpAddr, SocketAddr};

use http::HeaderValue;
use serde::{Deserialize, Serialize};

use crate::request_id::RequestId;

/// How the client reached the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Plain.
    Http,
    /// TLS.
    Https,
}

/// What a guest is told beyond the request itself.
#[derive(Debug, Clone)]
pub struct CallFacts {
    /// `incoming-request.scheme`.
    pub scheme: Scheme,
    /// `incoming-request.authority`: host and port as the client named them. A request whose URI has an authority
    /// keeps that one.
    pub authority: HeaderValue,
    /// Names the request in the log.
    pub request_id: RequestId,
    /// What a guest is told that speaks CGI; `None` for any other.
    pub cgi: Option<Box<CgiFacts>>,
}

/// What a guest that speaks CGI is told beyond that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgiFacts {
    /// `None`: the request came over a Unix socket, whose ends have no addresses.
    pub ends: Option<Ends>,
    /// SCRIPT_NAME: the part of the path, decoded, that led to the guest or its script; empty for a guest that has every
    /// path.
    pub script_name: String,
    /// PATH_INFO: what follows.
    pub path_info: String,
    /// Which script the guest is to run, if it is an interpreter.
    pub script: Option<Script>,
}

/// Both ends of the connection that a request came over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ends {
    pub client: SocketAddr,
    /// Of this machine's addresses, the one that the client has reached.
    pub server: IpAddr,
}

/// A file that an interpreter is to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Script {
    /// Which of the module's folders it lies in.
    pub root: usize,
    /// Below that folder; begins with "/".
    pub path: String,
}

impl CgiFacts {
    /// Of a request of which nothing is known but its path: all of it belongs to the guest.
    pub(super) fn of_path(path: &str) -> CgiFacts {
        CgiFacts { ends: None, script_name: String::new(), path_info: path.to_owned(), script: None }
    }
}
