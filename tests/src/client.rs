//! A client that sends the bytes that it is given and reads what comes back.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::answer::Answer;
use crate::patience::PATIENCE;

/// One connection to a server.
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    /// # Panics
    /// If there is no connection within [`PATIENCE`].
    #[must_use]
    pub fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"))
    }

    /// # Errors
    /// What `connect(2)` says.
    pub fn try_connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// One GET on a connection of its own, where nobody may answer.
    ///
    /// # Errors
    /// As [`try_connect`](Self::try_connect), [`try_send`](Self::try_send) and [`try_receive`](Self::try_receive).
    pub fn try_get(address: SocketAddr, target: &str) -> io::Result<Answer> {
        let mut client = Self::try_connect(address)?;
        client.try_send(get(target))?;
        client.try_receive()
    }

    /// # Panics
    /// If the server takes nothing for [`PATIENCE`], or has closed the connection.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("the server takes what is sent");
    }

    /// # Errors
    /// The server takes nothing, or has closed the connection.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes.as_ref())
    }

    /// Sends a GET with a Host and nothing else.
    ///
    /// # Panics
    /// As [`send`](Self::send).
    pub fn send_get(&mut self, target: &str) {
        self.send(get(target));
    }

    /// Sends a GET and reads the answer.
    ///
    /// # Panics
    /// As [`send`](Self::send) and [`receive`](Self::receive).
    pub fn get(&mut self, target: &str) -> Answer {
        self.send_get(target);
        self.receive()
    }

    /// Reads one answer (or an interim one).
    ///
    /// # Panics
    /// If it does not arrive whole.
    pub fn receive(&mut self) -> Answer {
        self.try_receive().expect("an answer arrives whole")
    }

    /// Reads one answer to a HEAD request.
    ///
    /// # Panics
    /// If it does not arrive whole.
    pub fn receive_head(&mut self) -> Answer {
        Answer::read(&mut self.stream, true).expect("an answer arrives whole")
    }

    /// # Errors
    /// As [`Answer::read`].
    pub fn try_receive(&mut self) -> io::Result<Answer> {
        Answer::read(&mut self.stream, false)
    }

    /// Waits until something arrives, and leaves it for [`receive`](Self::receive).
    ///
    /// # Panics
    /// If nothing does.
    pub fn wait_for_bytes(&mut self) {
        self.try_wait_for_bytes().expect("something arrives");
    }

    /// # Errors
    /// The server closed the connection without a word, or nothing arrived within [`PATIENCE`].
    pub fn try_wait_for_bytes(&mut self) -> io::Result<()> {
        match self.stream.fill_buf()? {
            [] => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Reads some bytes as they are.
    ///
    /// # Errors
    /// What `read(2)` says; an end of the connection is an error too.
    pub fn read_some(&mut self, bytes_max: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; bytes_max];
        let read = self.stream.read(&mut bytes)?;
        bytes.truncate(read);
        if read == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(bytes) }
    }

    /// Waits until the server closes the connection, and says how long that took and what arrived meanwhile.
    ///
    /// # Panics
    /// If the server does not within [`PATIENCE`].
    pub fn wait_for_close(&mut self) -> (Duration, Vec<u8>) {
        let began = Instant::now();
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Err(error) if error.kind() != io::ErrorKind::ConnectionReset => {
                panic!("the server does not close the connection: {error}")
            }
            Ok(_) | Err(_) => (began.elapsed(), rest),
        }
    }

    /// Ends the sending side; answers can still arrive.
    ///
    /// # Panics
    /// If the connection is gone.
    pub fn finish_sending(&self) {
        self.stream.get_ref().shutdown(Shutdown::Write).expect("the connection is open");
    }

    /// A second handle on the connection, to send from another thread while this one receives.
    ///
    /// # Panics
    /// If there are no descriptors left.
    #[must_use]
    pub fn sender(&self) -> TcpStream {
        self.stream.get_ref().try_clone().expect("there are descriptors left")
    }
}

/// A GET with a Host and nothing else.
fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}
