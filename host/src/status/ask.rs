//! Asks a running server for its status, as `guesthouse status` does: finds in its configuration where it tells, and
//! reads the JSON that it answers with. Shows nothing.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use guesthouse_mpm::settings::ListenAddress;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use ureq::Agent;

use super::snapshot::Snapshot;
use crate::config::{Config, HostPattern, Route, Target};

/// For everything from the connection to the end of the answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of an answer; a child or a module takes about a thousand.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// All of a path that is not written as it is (RFC 3986 section 3.3).
const NOT_IN_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Why the status is not to be had, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error(
        "no [[route]] of the configuration tells the status: add these lines, and reload the server:\n\n\
         [[route]]\npath = \"/server-status\"\nhandler = \"server-status\""
    )]
    NoRoute,
    #[error("cannot ask a server that listens on {0}: port 0 lets the kernel choose, and only its log tells which")]
    AnyPort(SocketAddr),
    #[error("cannot ask a server that listens on {0} only: add an address with a port to listen")]
    NoPort(ListenAddress),
    #[error("cannot ask the server at {0}: nobody listens there: is it running?")]
    NotRunning(SocketAddr),
    #[error("cannot ask the server at {0}: it did not answer within {seconds} s", seconds = TIMEOUT.as_secs())]
    Timeout(SocketAddr),
    #[error("the server at {0} does not tell this machine (403): name its address in allow of the [[route]]")]
    Forbidden(SocketAddr),
    #[error(
        "the server at {0} answers {1} at {2}: another configuration is in service there, or another server: reload it"
    )]
    Status(SocketAddr, u16, String),
    #[error("cannot ask the server at {0}: {1}")]
    Failed(SocketAddr, String),
    #[error("cannot read what the server at {0} answers: {1}: is it of another version?")]
    Unreadable(SocketAddr, String),
}

/// What the server said.
#[derive(Debug)]
pub struct Told {
    /// The snapshot as JSON.
    pub json: String,
    pub snapshot: Snapshot,
}

impl Told {
    /// As the server would say it.
    #[must_use]
    pub fn of(snapshot: Snapshot) -> Self {
        Self { json: super::json(&snapshot), snapshot }
    }
}

/// Asks the server that serves this configuration.
///
/// # Errors
/// See [`AskError`].
pub fn ask(config: &Config) -> Result<Told, AskError> {
    let question = Question::of(config)?;
    let json = question.put()?;
    let unreadable = |error: serde_json::Error| AskError::Unreadable(question.address, error.to_string());
    let snapshot = serde_json::from_str(&json).map_err(unreadable)?;
    Ok(Told { json, snapshot })
}

/// Where to ask, and as whom to address the server.
#[derive(Debug, PartialEq, Eq)]
struct Question {
    address: SocketAddr,
    host: Option<String>,
    /// Percent-encoded.
    path: String,
}

impl Question {
    fn of(config: &Config) -> Result<Self, AskError> {
        let tells = |route: &&Route| matches!(route.target, Target::ServerStatus { .. });
        let route = config.routes.iter().find(tells).ok_or(AskError::NoRoute)?;
        Ok(Self {
            address: address(&config.server_pool().listen)?,
            host: match &route.host {
                None => None,
                Some(HostPattern::Exact(name)) => Some(name.clone()),
                // Any name below it is as good.
                Some(HostPattern::Below(suffix)) => Some(format!("status.{suffix}")),
            },
            path: utf8_percent_encode(&route.path, NOT_IN_PATH).to_string(),
        })
    }

    fn put(&self) -> Result<String, AskError> {
        let Self { address, host, path } = self;
        let config = Agent::config_builder().timeout_global(Some(TIMEOUT)).http_status_as_error(false).proxy(None);
        let agent: Agent =
            config.max_redirects(0).user_agent(concat!("guesthouse/", env!("CARGO_PKG_VERSION"))).build().into();
        let mut request = agent.get(format!("http://{address}{path}?json"));
        if let Some(host) = host {
            request = request.header("host", host);
        }
        let mut answer = request.call().map_err(|error| self.failed(&error))?;
        match answer.status().as_u16() {
            200 => {}
            403 => return Err(AskError::Forbidden(*address)),
            status => return Err(AskError::Status(*address, status, path.clone())),
        }
        let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string();
        body.map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &ureq::Error) -> AskError {
        match error {
            ureq::Error::Timeout(_) => AskError::Timeout(self.address),
            ureq::Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                AskError::NotRunning(self.address)
            }
            ureq::Error::Io(error) if error.kind() == io::ErrorKind::TimedOut => AskError::Timeout(self.address),
            error => AskError::Failed(self.address, error.to_string()),
        }
    }
}

/// The first address, as this machine reaches it.
fn address(listen: &[ListenAddress]) -> Result<SocketAddr, AskError> {
    let mut address = match listen.first().expect("a server listens somewhere") {
        ListenAddress::Tcp(address) => *address,
        unix @ ListenAddress::Unix(_) => return Err(AskError::NoPort(unix.clone())),
    };
    if address.port() == 0 {
        return Err(AskError::AnyPort(address));
    }
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd as _;
    use std::path::Path;

    use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, getsockname, socket};

    use super::*;
    use crate::config;

    fn question(text: &str) -> Result<Question, String> {
        let text = text.replacen("listen", "access_log = \"off\"\nlisten", 1);
        let (config, _) = config::read_text(&text, Path::new("guesthouse.toml")).unwrap();
        Question::of(&config).map_err(|error| error.to_string())
    }

    fn with_route(listen: &str, route: &str) -> String {
        format!("[server]\nlisten = [\"{listen}\"]\n[[route]]\nhandler = \"server-status\"\n{route}\n")
    }

    #[test]
    fn the_server_is_asked_where_its_configuration_says() {
        for (listen, route, address, host, path) in [
            ("127.0.0.1:8080", "path = \"/server-status\"", "127.0.0.1:8080", None, "/server-status"),
            ("0.0.0.0:80", "path = \"/a b/ü\"", "127.0.0.1:80", None, "/a%20b/%C3%BC"),
            ("[::]:80", "path = \"/\"\nhost = \"example.org\"", "[::1]:80", Some("example.org"), "/"),
            ("192.0.2.1:1", "path = \"/\"\nhost = \"*.example.org\"", "192.0.2.1:1", Some("status.example.org"), "/"),
        ] {
            let expected =
                Question { address: address.parse().unwrap(), host: host.map(str::to_owned), path: path.to_owned() };
            assert_eq!(question(&with_route(listen, route)), Ok(expected));
        }
    }

    #[test]
    fn what_cannot_be_asked_is_told_with_what_to_do() {
        let error = question("[server]\nlisten = [\"127.0.0.1:80\"]\n").unwrap_err();
        assert!(error.ends_with("[[route]]\npath = \"/server-status\"\nhandler = \"server-status\""), "{error}");
        let error = question(&with_route("127.0.0.1:0", "path = \"/\"")).unwrap_err();
        assert!(error.contains("port 0"), "{error}");
    }

    #[test]
    fn a_server_that_does_not_run_is_told_as_such() {
        // Bound and not listening: nobody else can take the port meanwhile.
        let family = AddressFamily::Inet;
        let bound = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        bind(bound.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0)).unwrap();
        let address = SocketAddr::V4(getsockname::<SockaddrIn>(bound.as_raw_fd()).unwrap().into());
        let question = Question { address, host: None, path: "/".to_owned() };
        let error = question.put().unwrap_err();
        assert!(matches!(error, AskError::NotRunning(_)), "{error}");
    }
}
