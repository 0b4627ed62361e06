//! Tests of listeners, on sockets of this machine.

use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use super::*;

fn loopback() -> ListenAddress {
    ListenAddress::Tcp((Ipv4Addr::LOCALHOST, 0).into())
}

fn socket_path(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("mpm-listener-{name}-{}.sock", std::process::id()))
}

#[test]
fn the_address_tells_the_port_that_the_kernel_chose() {
    let listener = Listener::bind(&loopback(), 16).unwrap();
    assert_eq!(listener.configured(), &loopback());
    let ListenAddress::Tcp(address) = listener.address() else { panic!("not TCP") };
    assert_ne!(address.port(), 0);
}

#[test]
fn an_accepted_connection_knows_its_ends_and_does_not_block_or_delay() {
    let listener = Listener::bind(&loopback(), 16).unwrap();
    let ListenAddress::Tcp(address) = listener.address() else { panic!("not TCP") };
    assert!(listener.accept().unwrap().is_none());

    let client = TcpStream::connect(address).unwrap();
    let (mut stream, peer, local) = listener.accept().unwrap().expect("a connection waits");
    assert_eq!(peer, Some(client.local_addr().unwrap()));
    assert_eq!(local, Some(address));
    let read = io::Read::read(&mut stream, &mut [0; 8]);
    assert_eq!(read.unwrap_err().kind(), io::ErrorKind::WouldBlock);
    let no_delay = nix::sys::socket::getsockopt(&stream, nix::sys::socket::sockopt::TcpNoDelay).unwrap();
    assert!(no_delay, "TCP_NODELAY is not inherited from the listener");
}

#[test]
fn a_listener_on_all_addresses_asks_for_the_local_one() {
    let any = ListenAddress::Tcp((Ipv4Addr::UNSPECIFIED, 0).into());
    let listener = Listener::bind(&any, 16).unwrap();
    let ListenAddress::Tcp(bound) = listener.address() else { panic!("not TCP") };
    let client = TcpStream::connect((Ipv4Addr::LOCALHOST, bound.port())).unwrap();
    let (_, _, local) = listener.accept().unwrap().expect("a connection waits");
    assert_eq!(local, Some(client.peer_addr().unwrap()));
}

#[test]
fn a_taken_port_is_an_error() {
    let first = Listener::bind(&loopback(), 16).unwrap();
    assert_eq!(Listener::bind(&first.address(), 16).unwrap_err().kind(), io::ErrorKind::AddrInUse);
}

#[test]
fn a_unix_socket_is_private_and_is_removed() {
    let path = socket_path("private");
    let listener = Listener::bind(&ListenAddress::Unix(path.clone()), 16).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let mut client = UnixStream::connect(&path).unwrap();
    let (mut stream, peer, local) = listener.accept().unwrap().expect("a connection waits");
    assert_eq!((peer, local), (None, None));
    client.write_all(b"hi").unwrap();
    assert_eq!(io::Read::read(&mut stream, &mut [0; 8]).unwrap(), 2);
    listener.remove_file();
    assert!(!path.exists());
}

#[test]
fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
    let address = ListenAddress::Unix(socket_path("stale"));
    drop(Listener::bind(&address, 16).unwrap());
    let live = Listener::bind(&address, 16).unwrap();
    assert_eq!(Listener::bind(&address, 16).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    live.remove_file();
}

#[test]
fn a_longer_backlog_takes_effect_at_once() {
    let path = socket_path("backlog");
    let listener = Listener::bind(&ListenAddress::Unix(path.clone()), 1).unwrap();
    let connect = || {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket.connect(&SockAddr::unix(&path).unwrap()).map(|()| socket)
    };
    let mut held: Vec<_> = std::iter::from_fn(|| connect().ok()).take(16).collect();
    assert!(held.len() < 16, "the backlog has no end");
    listener.set_backlog(16).unwrap();
    held.push(connect().unwrap());
    listener.remove_file();
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let path = socket_path("file");
    fs::write(&path, "precious").unwrap();
    let refused = Listener::bind(&ListenAddress::Unix(path.clone()), 16).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    fs::remove_file(&path).unwrap();
}

#[test]
fn a_socket_that_somebody_else_has_made_meanwhile_stays() {
    let address = ListenAddress::Unix(socket_path("other"));
    let ListenAddress::Unix(path) = &address else { unreachable!() };
    let old = Listener::bind(&address, 16).unwrap();
    fs::remove_file(path).unwrap();
    let new = Listener::bind(&address, 16).unwrap();
    old.remove_file();
    assert!(path.exists());
    new.remove_file();
}
