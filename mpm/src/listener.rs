//! A listening socket: bound and closed by the parent, accepted from by children.
//!
//! What an accepted connection does is not here.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::stat::{Mode, umask};
use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use crate::settings::ListenAddress;
use crate::stream::{self, Stream};

/// A socket that listens on one address, non-blocking, shared by all children that were forked while it was open.
#[derive(Debug)]
pub(crate) struct Listener {
    configured: ListenAddress,
    socket: Listening,
}

#[derive(Debug)]
enum Listening {
    Tcp { socket: TcpListener, bound: SocketAddr },
    Unix { socket: UnixListener, file: SocketFile },
}

/// A connection that was just accepted, with its peer's address and its own; both are `None` on a Unix socket.
pub(crate) type Taken = (Stream, Option<SocketAddr>, Option<SocketAddr>);

impl Listener {
    /// Binds `address` and listens. The kernel holds up to `backlog` connections (ListenBacklog) until they are
    /// accepted, or `net.core.somaxconn` if that is less.
    ///
    /// # Errors
    /// What `bind(2)` and `listen(2)` say. `AddrInUse` for a Unix socket: a server answers there, or the path is
    /// that of another kind of file.
    pub(crate) fn bind(address: &ListenAddress, backlog: u32) -> io::Result<Self> {
        let backlog = as_kernel(backlog);
        let socket = match address {
            ListenAddress::Tcp(address) => {
                let socket = bind_tcp(*address, backlog)?;
                Listening::Tcp { bound: socket.local_addr()?, socket }
            }
            ListenAddress::Unix(path) => {
                let socket = bind_unix(path, backlog)?;
                Listening::Unix { socket, file: SocketFile::of(path)? }
            }
        };
        Ok(Self { configured: address.clone(), socket })
    }

    /// Changes how many connections the kernel holds. Those that it holds already stay.
    ///
    /// # Errors
    /// None that `listen(2)` has for a socket that listens.
    pub(crate) fn set_backlog(&self, backlog: u32) -> io::Result<()> {
        SockRef::from(self).listen(as_kernel(backlog))
    }

    /// The address as the settings have it: port 0 stays 0.
    pub(crate) fn configured(&self) -> &ListenAddress {
        &self.configured
    }

    /// The address as it is.
    pub(crate) fn address(&self) -> ListenAddress {
        match &self.socket {
            Listening::Tcp { bound, .. } => ListenAddress::Tcp(*bound),
            Listening::Unix { .. } => self.configured.clone(),
        }
    }

    /// Takes one connection that is waiting; `None` if none is. What went wrong with a connection that nobody has
    /// accepted yet is no concern of anybody's: the next one is taken.
    ///
    /// # Errors
    /// Descriptors or memory are out (`EMFILE`, `ENFILE`, `ENOBUFS`, `ENOMEM`): to be tried again later, and not
    /// at once, because the connection goes on waiting and so the listener stays ready. Anything else: this
    /// listener is broken.
    pub(crate) fn accept(&self) -> io::Result<Option<Taken>> {
        loop {
            let taken = match &self.socket {
                Listening::Tcp { socket, bound } => accept_tcp(socket, *bound),
                Listening::Unix { socket, .. } => accept_unix(socket),
            };
            match taken {
                Ok(taken) => return Ok(Some(taken)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if is_about_one_connection(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Removes the file of a Unix socket, unless somebody else has taken the path over. The parent's business
    /// alone, when it stops to listen: a child that drops a listener must leave the file where it is.
    pub(crate) fn remove_file(&self) {
        if let Listening::Unix { file, .. } = &self.socket {
            file.remove();
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Listening::Tcp { socket, .. } => socket.as_fd(),
            Listening::Unix { socket, .. } => socket.as_fd(),
        }
    }
}

fn as_kernel(backlog: u32) -> i32 {
    i32::try_from(backlog).unwrap_or(i32::MAX)
}

fn bind_tcp(address: SocketAddr, backlog: i32) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // A restart must not wait for the connections of the server before to leave TIME_WAIT.
    socket.set_reuse_address(true)?;
    // Linux hands this on to every connection that is accepted: one system call less for each.
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    Ok(socket.into())
}

fn bind_unix(path: &Path, backlog: i32) -> io::Result<UnixListener> {
    let address = SockAddr::unix(path)?;
    remove_stale_file(path, &address)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    // The file is born private (0600): nobody else can connect between bind and a chmod. The mask is the process's,
    // and the parent, which alone binds, has one thread.
    let before = umask(Mode::S_IXUSR | Mode::S_IRWXG | Mode::S_IRWXO);
    let bound = socket.bind(&address);
    umask(before);
    bound?;
    socket.listen(backlog)?;
    Ok(OwnedFd::from(socket).into())
}

/// A server that was killed has left its socket's file behind: nobody answers there any more.
fn remove_stale_file(path: &Path, address: &SockAddr) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(found) if !found.file_type().is_socket() => return Err(io::ErrorKind::AddrInUse.into()),
        Ok(_) => {}
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A full backlog would make a blocking probe wait; it is an answer, too.
    probe.set_nonblocking(true)?;
    match probe.connect(address) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(error),
        _ => Err(io::ErrorKind::AddrInUse.into()),
    }
}

fn accept_tcp(socket: &TcpListener, bound: SocketAddr) -> io::Result<Taken> {
    let (connection, peer) = socket.accept()?;
    connection.set_nonblocking(true)?;
    // Where the listener has one address, so has every connection: no need to ask.
    let local = if bound.ip().is_unspecified() { connection.local_addr()? } else { bound };
    Ok((Stream::new(stream::Socket::Tcp(connection)), Some(peer), Some(local)))
}

fn accept_unix(socket: &UnixListener) -> io::Result<Taken> {
    let (connection, _) = socket.accept()?;
    connection.set_nonblocking(true)?;
    Ok((Stream::new(stream::Socket::Unix(connection)), None, None))
}

/// Errors that `accept(2)` passes on from a connection that broke while it was waiting.
fn is_about_one_connection(error: &io::Error) -> bool {
    let Some(number) = error.raw_os_error() else { return false };
    matches!(
        Errno::from_raw(number),
        Errno::EINTR
            | Errno::ECONNABORTED
            | Errno::EPROTO
            | Errno::ENETDOWN
            | Errno::ENOPROTOOPT
            | Errno::EHOSTDOWN
            | Errno::ENONET
            | Errno::EHOSTUNREACH
            | Errno::EOPNOTSUPP
            | Errno::ENETUNREACH
            | Errno::ENOTCONN
            | Errno::EPERM
            | Errno::ETIMEDOUT
    )
}

/// The file of a Unix socket, known by more than its name.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        let found = fs::symlink_metadata(path)?;
        Ok(Self { path: path.to_owned(), device: found.dev(), inode: found.ino() })
    }

    fn remove(&self) {
        let ours = Self::of(&self.path).is_ok_and(|now| now.device == self.device && now.inode == self.inode);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!("cannot remove the socket {}: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests;
