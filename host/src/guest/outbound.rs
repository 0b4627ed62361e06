//! Requests that a guest sends: checked against the module's list, to exactly the address that was checked.
//!
//! Runs on the child's background runtime. No request outlives the call that sent it: the end of the call ends it,
//! also if the guest lives on and holds what the request has brought. Whom a guest may call is decided in
//! `outbound_policy`.

use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderName, Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};
use tokio_util::sync::CancellationToken;
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::{DEFAULT_FORBIDDEN_HEADERS, Error, RequestOptions, WasiBody, WasiHttpHooks};

use super::grants::{CallName, Grants};
use super::limits::{CHUNK_BYTES, OUTBOUND_LINES, OUTBOUND_REQUESTS};
use super::outbound_policy::{Permission, is_public, permission};

/// Bytes that the head of an answer may have.
const ANSWER_HEAD_BYTES: usize = 64 << 10;

/// The longest time that connecting, with the name's resolution and TLS, may take.
const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(30);

/// How far the request is in its life: the answer, and the connection that has to be driven while it is read.
type Sent = (Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>);

/// The hooks of one call, or of one instance that serves many at once.
pub(super) struct Outbound {
    grants: Arc<Grants>,
    call: CallName,
    /// Requests that may be open.
    open_max: usize,
    /// Made with the first request. One clone goes with every open one, so that counting the clones counts them.
    tally: Option<Arc<Tally>>,
}

/// What is counted over all requests of a call, and what ends them.
#[derive(Debug, Default)]
struct Tally {
    lines: AtomicUsize,
    over: CancellationToken,
}

impl Tally {
    /// Whether one more line may go to the log: a guest that is denied a hundred thousand times must not fill it.
    fn may_tell(&self) -> bool {
        self.lines.fetch_add(1, Ordering::Relaxed) < OUTBOUND_LINES
    }
}

/// The TLS settings of a child: the roots that browsers trust, no client certificate.
pub(super) fn tls() -> Result<Arc<ClientConfig>, tokio_rustls::rustls::Error> {
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.into() };
    let config = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

impl Outbound {
    /// `at_once`: calls that the instance serves.
    pub(super) fn new(grants: Arc<Grants>, call: CallName, at_once: usize) -> Outbound {
        Outbound { grants, call, open_max: OUTBOUND_REQUESTS.saturating_mul(at_once), tally: None }
    }

    /// Another call begins: the log may be told of its requests again, under its name.
    pub(super) fn begin_request(&mut self, call: CallName) {
        self.call = call;
        if let Some(tally) = &self.tally {
            tally.lines.store(0, Ordering::Relaxed);
        }
    }

    /// The call is over. Its requests end, also those whose answer the guest has not read to its end.
    pub(super) fn end_all(&mut self) {
        if let Some(tally) = self.tally.take() {
            tally.over.cancel();
        }
    }

    /// A place among the requests that the call may have open, if one is left.
    fn place(&mut self) -> Option<Arc<Tally>> {
        let tally = self.tally.get_or_insert_default();
        (Arc::strong_count(tally) <= self.open_max).then(|| Arc::clone(tally))
    }

    /// Everything that can be said about a request before anything is sent or resolved.
    fn check(&mut self, uri: &Uri) -> Result<(Destination, Arc<Tally>), Error> {
        let place = self.place().ok_or(Error::ConnectionLimitReached)?;
        let destination = Destination::of(uri).ok_or(Error::HttpRequestUriInvalid)?;
        let Destination { host, port, default_port, .. } = &destination;
        let permission = permission(&self.grants.outbound, host, *port, *default_port);
        if permission == Permission::Denied {
            if place.may_tell() {
                tracing::warn!(
                    module = %self.grants.name, request = self.call.shown(), host = %host.escape_debug(), port,
                    "outbound request denied: the module's `outbound` does not name this host and port"
                );
            }
            return Err(Error::HttpRequestDenied);
        }
        Ok((Destination { permission, ..destination }, place))
    }
}

impl WasiHttpHooks for Outbound {
    /// The default builds a new filter for every header.
    fn is_forbidden_header(&mut self, name: &HeaderName) -> bool {
        DEFAULT_FORBIDDEN_HEADERS.contains(name)
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _processed: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Sent, Error>> + Send> {
        let checked = self.check(request.uri());
        let grants = Arc::clone(&self.grants);
        let call = self.call;
        Box::new(async move {
            let (destination, place) = checked?;
            let timeouts = Timeouts::new(options, grants.limits.wall);
            let caller = Caller { grants: &grants, call, tally: &place };
            let sent = place.over.run_until_cancelled(send(&caller, &destination, request, &timeouts)).await;
            let Some(sent) = sent else { return Err(Error::ConnectionTerminated) };
            if let Err(error) = &sent
                && place.may_tell()
            {
                tracing::info!(
                    module = %grants.name, request = call.shown(), host = %destination.host.escape_debug(),
                    "outbound request failed: {error}"
                );
            }
            let (response, connection) = sent?;
            let driven: Box<dyn Future<Output = _> + Send> = Box::new(async move {
                // The end of the call is nothing that anybody needs to be told.
                place.over.run_until_cancelled(connection).await.unwrap_or(Ok(()))
            });
            Ok((response, driven))
        })
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        CHUNK_BYTES
    }

    fn p3_outgoing_body_chunk_size(&mut self) -> usize {
        CHUNK_BYTES
    }
}

/// Who sends a request.
struct Caller<'a> {
    grants: &'a Grants,
    call: CallName,
    tally: &'a Arc<Tally>,
}

/// Whom a request is for.
struct Destination {
    /// A name, or an address without brackets.
    host: String,
    port: u16,
    default_port: u16,
    tls: bool,
    permission: Permission,
}

impl Destination {
    fn of(uri: &Uri) -> Option<Destination> {
        let scheme = uri.scheme()?;
        let tls = *scheme == Scheme::HTTPS;
        // Anything else would be sent as if it were http.
        if !tls && *scheme != Scheme::HTTP {
            return None;
        }
        let default_port = if tls { 443 } else { 80 };
        let authority = uri.authority()?;
        if authority.as_str().contains('@') {
            return None;
        }
        let host = authority.host();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() {
            return None;
        }
        Some(Destination {
            host: host.to_owned(),
            port: authority.port_u16().unwrap_or(default_port),
            default_port,
            tls,
            permission: Permission::Denied,
        })
    }
}

/// What the guest asked for, within what it may ask for.
struct Timeouts {
    connect: Duration,
    first_byte: Duration,
    between_bytes: Duration,
}

impl Timeouts {
    fn new(options: Option<RequestOptions>, wall: Duration) -> Timeouts {
        let options = options.unwrap_or_default();
        Timeouts {
            connect: options.connect_timeout.unwrap_or(CONNECT_TIMEOUT_MAX).min(CONNECT_TIMEOUT_MAX),
            first_byte: options.first_byte_timeout.unwrap_or(wall).min(wall),
            between_bytes: options.between_bytes_timeout.unwrap_or(wall).min(wall),
        }
    }
}

async fn send(
    caller: &Caller<'_>,
    to: &Destination,
    mut request: Request<WasiBody>,
    timeouts: &Timeouts,
) -> Result<(Response<WasiBody>, impl Future<Output = Result<(), Error>> + Send + use<>), Error> {
    let stream = timeout(timeouts.connect, connect(caller, to)).await.map_err(|_| Error::ConnectionTimeout)??;
    let (mut sender, mut connection) =
        http1::Builder::new().max_buf_size(ANSWER_HEAD_BYTES).handshake(TokioIo::new(stream)).await?;
    // hyper writes the URI as it is, and only a proxy is sent the absolute form (RFC 9112, 3.2).
    let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from(path);

    // Nothing moves unless the connection is polled together with the request.
    let mut over = false;
    let mut answer = pin!(sender.send_request(request));
    let exchange = poll_fn(|cx| {
        if !over && let Poll::Ready(ended) = Pin::new(&mut connection).poll(cx) {
            over = true;
            ended?;
        }
        answer.as_mut().poll(cx)
    });
    let response = timeout(timeouts.first_byte, exchange).await.map_err(|_| Error::ConnectionReadTimeout)??;
    let between = timeouts.between_bytes;
    let response = response.map(|incoming| AnswerBody::new(incoming, between).boxed_unsync());
    Ok((response, async move { if over { Ok(()) } else { connection.await.map_err(Error::from) } }))
}

/// A TCP connection, or TLS on top of one.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn connect(caller: &Caller<'_>, to: &Destination) -> Result<Box<dyn Stream>, Error> {
    let tcp = connect_to_one_of(&addresses(caller, to).await?).await?;
    // What a guest writes in small pieces should not wait for the peer's acknowledgement.
    let _ = tcp.set_nodelay(true);
    if !to.tls {
        return Ok(Box::new(tcp));
    }
    let name = match to.host.parse::<IpAddr>() {
        Ok(address) => ServerName::from(address),
        Err(_) => ServerName::try_from(to.host.clone()).map_err(|_| Error::HttpRequestUriInvalid)?,
    };
    let tls = TlsConnector::from(Arc::clone(&caller.grants.tls))
        .connect(name, tcp)
        .await
        .map_err(|error| tls_error(&error))?;
    Ok(Box::new(tls))
}

/// Resolves a name, once: what is checked here is what is connected to, so a name server cannot answer differently
/// the second time.
async fn addresses(caller: &Caller<'_>, to: &Destination) -> Result<Vec<SocketAddr>, Error> {
    let found = caller
        .grants
        .resolver
        .addresses(&to.host, to.port, Arc::clone(caller.tally))
        .await
        .map_err(|error| Error::DnsError { rcode: Some(error.to_string()), info_code: None })?;
    if found.is_empty() {
        return Err(Error::DestinationNotFound);
    }
    if to.permission == Permission::Anywhere {
        return Ok(found);
    }
    let public: Vec<SocketAddr> = found.iter().copied().filter(|address| is_public(address.ip())).collect();
    if public.is_empty() {
        if caller.tally.may_tell() {
            tracing::warn!(
                module = %caller.grants.name, request = caller.call.shown(), host = %to.host.escape_debug(),
                addresses = ?found,
                "outbound request denied: the host's addresses are not public; `outbound` must say `private = true`"
            );
        }
        return Err(Error::DestinationIpProhibited);
    }
    Ok(public)
}

async fn connect_to_one_of(addresses: &[SocketAddr]) -> Result<TcpStream, Error> {
    let mut last = Error::DestinationNotFound;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => {
                last = match error.kind() {
                    std::io::ErrorKind::ConnectionRefused => Error::ConnectionRefused,
                    std::io::ErrorKind::HostUnreachable | std::io::ErrorKind::NetworkUnreachable => {
                        Error::DestinationIpUnroutable
                    }
                    std::io::ErrorKind::TimedOut => Error::ConnectionTimeout,
                    _ => Error::DestinationUnavailable,
                }
            }
        }
    }
    Err(last)
}

fn tls_error(error: &std::io::Error) -> Error {
    use tokio_rustls::rustls;

    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(_)) => Error::TlsCertificateError,
        Some(rustls::Error::AlertReceived(alert)) => {
            Error::TlsAlertReceived { alert_id: Some(u8::from(*alert)), alert_message: Some(format!("{alert:?}")) }
        }
        _ => Error::TlsProtocolError,
    }
}

/// The answer's body, with a deadline for every next piece of it.
struct AnswerBody {
    incoming: Incoming,
    between_bytes: Duration,
    deadline: Pin<Box<Sleep>>,
}

impl AnswerBody {
    fn new(incoming: Incoming, between_bytes: Duration) -> AnswerBody {
        AnswerBody { incoming, between_bytes, deadline: Box::pin(tokio::time::sleep(between_bytes)) }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) {
            let deadline = Instant::now() + self.between_bytes;
            self.deadline.as_mut().reset(deadline);
            return Poll::Ready(frame.map(|frame| frame.map_err(Error::from)));
        }
        ready!(self.deadline.as_mut().poll(cx));
        Poll::Ready(Some(Err(Error::ConnectionReadTimeout)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::super::testing::{call_name, grants, settings};
    use super::*;
    use crate::config::OutboundHost;

    fn destination(uri: &str) -> Option<(String, u16, bool)> {
        Destination::of(&uri.parse().unwrap()).map(|to| (to.host, to.port, to.tls))
    }

    #[test]
    fn the_port_follows_from_the_scheme_unless_it_is_given() {
        assert_eq!(destination("https://a.example/x"), Some(("a.example".into(), 443, true)));
        assert_eq!(destination("http://a.example/x"), Some(("a.example".into(), 80, false)));
        assert_eq!(destination("http://a.example:81/"), Some(("a.example".into(), 81, false)));
    }

    #[test]
    fn a_scheme_other_than_http_and_https_is_refused() {
        for uri in ["ftp://a.example/x", "ws://a.example/", "/x", "a.example"] {
            assert_eq!(destination(uri), None, "{uri}");
        }
        assert_eq!(destination("HTTPS://a.example/x"), Some(("a.example".into(), 443, true)));
    }

    #[test]
    fn a_call_brings_only_so_many_lines_to_the_log() {
        let tally = Tally::default();
        assert_eq!((0..3 * OUTBOUND_LINES).filter(|_| tally.may_tell()).count(), OUTBOUND_LINES);
    }

    #[test]
    fn brackets_do_not_belong_to_an_address() {
        assert_eq!(destination("http://[::1]:81/"), Some(("::1".into(), 81, false)));
    }

    #[test]
    fn a_destination_with_user_information_is_refused() {
        assert_eq!(destination("http://a.example@b.example/"), None);
    }

    #[test]
    fn a_guest_cannot_wait_longer_than_its_call_may_last() {
        let wall = Duration::from_secs(3);
        let day = Some(Duration::from_secs(86_400));
        let asked = RequestOptions { connect_timeout: day, first_byte_timeout: day, between_bytes_timeout: None };
        let timeouts = Timeouts::new(Some(asked), wall);
        assert_eq!((timeouts.connect, timeouts.first_byte), (CONNECT_TIMEOUT_MAX, wall));
        assert_eq!(timeouts.between_bytes, wall);
    }

    /// A server that answers one connection with `answer` and then keeps it open.
    fn server(answer: &'static str) -> SocketAddr {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let read = stream.read(&mut request).unwrap();
            assert!(request[..read].starts_with(b"GET /x?y HTTP/1.1\r\n"));
            stream.write_all(answer.as_bytes()).unwrap();
            // Until the other end closes.
            let _ = stream.read(&mut request);
        });
        address
    }

    /// Sends one GET as a guest would, with the module's list as given, and reads the answer.
    fn fetch(list: &[(&str, Option<u16>)], uri: &str, wall: Duration) -> Result<(u16, Bytes), Error> {
        let mut settings = settings();
        settings.limits.wall = wall;
        settings.outbound = list
            .iter()
            .map(|(host, port)| OutboundHost { host: (*host).into(), port: *port, private: false })
            .collect();
        let mut hooks = Outbound::new(grants(&settings), call_name(), 1);
        let empty = http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync();
        let request = Request::get(uri).body(empty).unwrap();
        let sent = Box::into_pin(hooks.send_request(request, None, Box::new(std::future::ready(Ok(())))));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (response, connection) = sent.await?;
            let driver = tokio::spawn(Box::into_pin(connection));
            let status = response.status().as_u16();
            let body = response.into_body().collect().await?.to_bytes();
            driver.abort();
            Ok((status, body))
        })
    }

    const LONG: Duration = Duration::from_secs(10);

    #[test]
    fn a_host_that_is_named_is_reached() {
        let address = server("HTTP/1.1 203 ok\r\ncontent-length: 2\r\n\r\nhi");
        let list = [("127.0.0.1", Some(address.port()))];
        let (status, body) = fetch(&list, &format!("http://{address}/x?y"), LONG).unwrap();
        assert_eq!((status, body), (203, Bytes::from_static(b"hi")));
    }

    #[test]
    fn a_host_that_is_not_named_is_denied() {
        assert!(matches!(fetch(&[], "http://127.0.0.1/", LONG), Err(Error::HttpRequestDenied)));
        let other = [("127.0.0.1", Some(1))];
        assert!(matches!(fetch(&other, "http://127.0.0.1:2/", LONG), Err(Error::HttpRequestDenied)));
    }

    #[test]
    fn a_name_that_hides_a_private_address_is_denied() {
        // The resolver takes this spelling of 127.0.0.1 for an address, but it names none.
        let list = [("127.1", None)];
        assert!(matches!(fetch(&list, "http://127.1/", LONG), Err(Error::DestinationIpProhibited)));
    }

    #[test]
    fn a_server_that_never_answers_is_given_up() {
        let address = server("");
        let list = [("127.0.0.1", Some(address.port()))];
        let result = fetch(&list, &format!("http://{address}/x?y"), Duration::from_millis(50));
        assert!(matches!(result, Err(Error::ConnectionReadTimeout)), "{result:?}");
    }

    #[test]
    fn a_server_that_stops_within_its_answer_is_given_up() {
        let address = server("HTTP/1.1 200 ok\r\ncontent-length: 20\r\n\r\nhi");
        let list = [("127.0.0.1", Some(address.port()))];
        let result = fetch(&list, &format!("http://{address}/x?y"), Duration::from_millis(50));
        assert!(matches!(result, Err(Error::ConnectionReadTimeout)), "{result:?}");
    }

    #[test]
    fn a_call_has_only_so_many_requests_open() {
        let mut hooks = Outbound::new(grants(&settings()), call_name(), 1);
        let mut places: Vec<_> = (0..OUTBOUND_REQUESTS).map(|_| hooks.place()).collect();
        assert!(places.iter().all(Option::is_some));
        assert!(hooks.place().is_none());
        places.pop();
        assert!(hooks.place().is_some());
    }
}
