//! One read and one write of a socket, as everybody here does them: interruptions are not worth a word, and a broken
//! socket is an end. What the bytes mean is known elsewhere.

use std::io::{self, IoSlice, Read, Write};

use guesthouse_mpm::Stream;

use crate::http::Output;

/// Slices that one write hands to the kernel.
const SLICES_MAX: usize = 16;

/// What a read came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filled {
    /// So many bytes are in the buffer.
    Bytes(usize),
    /// Nothing is there at the moment.
    Nothing,
    /// Nothing will come any more: the peer has closed, or the connection is broken.
    End,
    /// The same, and the peer has not read all that it was sent.
    Reset,
}

/// What writing came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    All,
    /// The socket takes no more at the moment.
    Blocked {
        /// It has taken something before.
        progress: bool,
    },
    /// The peer takes nothing any more. What it said before may still be unread.
    Broken,
}

/// Reads once.
pub(crate) fn read(stream: &mut Stream, into: &mut [u8]) -> Filled {
    loop {
        match stream.read(into) {
            Ok(0) => return Filled::End,
            Ok(count) => return Filled::Bytes(count),
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted => {}
                io::ErrorKind::WouldBlock => return Filled::Nothing,
                io::ErrorKind::ConnectionReset => return Filled::Reset,
                _ => return Filled::End,
            },
        }
    }
}

/// Writes as much as the socket takes.
pub(crate) fn write(stream: &mut Stream, output: &mut Output) -> Sent {
    let mut progress = false;
    while !output.is_empty() {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let count = output.io_slices(&mut slices);
        match stream.write_vectored(&slices[..count]) {
            Ok(0) => return Sent::Broken,
            Ok(written) => {
                output.advance(written);
                progress = true;
            }
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted => {}
                io::ErrorKind::WouldBlock => return Sent::Blocked { progress },
                _ => return Sent::Broken,
            },
        }
    }
    Sent::All
}
