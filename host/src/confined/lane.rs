//! Frames over a pool's socket: what is on its way in and out at one end. What they mean is decided elsewhere.

use std::io::{self, IoSlice, Read, Write};

use bytes::BytesMut;
use guesthouse_mpm::Stream;

use super::frame::{self, BadFrame, Frame};
use crate::http::Output;

/// Slices that one write hands to the kernel.
const SLICES_MAX: usize = 16;

/// One end's buffers.
#[derive(Debug, Default)]
pub(super) struct Lane {
    inbox: BytesMut,
    outbox: Output,
}

/// What a read came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filled {
    Something,
    /// Nothing is there at the moment.
    Nothing,
    /// The other end has closed or is gone.
    End,
}

/// What a write came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flushed {
    All,
    /// The socket takes no more at the moment.
    Blocked,
    /// The other end takes nothing any more. What it said before may still be unread.
    Broken,
}

impl Lane {
    /// Puts a frame behind those that wait to be sent.
    pub(super) fn say(&mut self, frame: impl Frame) {
        frame.put(&mut self.outbox);
    }

    /// Bytes that wait to be sent.
    pub(super) fn unsent(&self) -> usize {
        self.outbox.len()
    }

    /// Takes a frame that has arrived; `None`: none is whole yet. `max`: bytes of one frame.
    pub(super) fn hear<F: Frame>(&mut self, max: usize) -> Result<Option<F>, BadFrame> {
        frame::take(&mut self.inbox, max)?.map(|(kind, content)| F::read(kind, content)).transpose()
    }

    /// Reads once. `scratch` is where the bytes are put first.
    pub(super) fn fill(&mut self, stream: &mut Stream, scratch: &mut [u8]) -> Filled {
        loop {
            match stream.read(scratch) {
                Ok(0) => return Filled::End,
                Ok(count) => {
                    self.inbox.extend_from_slice(&scratch[..count]);
                    return Filled::Something;
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock => return Filled::Nothing,
                    _ => return Filled::End,
                },
            }
        }
    }

    /// Writes as much as the socket takes.
    pub(super) fn flush(&mut self, stream: &mut Stream) -> Flushed {
        while !self.outbox.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let count = self.outbox.io_slices(&mut slices);
            match stream.write_vectored(&slices[..count]) {
                Ok(0) => return Flushed::Broken,
                Ok(written) => self.outbox.advance(written),
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock => return Flushed::Blocked,
                    _ => return Flushed::Broken,
                },
            }
        }
        Flushed::All
    }

    /// Drops what waits to be sent: nobody will take it.
    pub(super) fn fall_silent(&mut self) {
        self.outbox = Output::new();
    }
}
