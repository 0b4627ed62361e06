//! Frames over a pool's socket: what is on its way in and out at one end. What they mean is decided elsewhere.

use bytes::BytesMut;
use guesthouse_mpm::Stream;

use super::frame::{self, BadFrame, Frame};
use crate::http::Output;
use crate::transfer::{self, Filled, Sent};

/// One end's buffers.
#[derive(Debug, Clone, Default)]
pub(super) struct Lane {
    inbox: BytesMut,
    outbox: Output,
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

    /// Whether nothing is under way, in neither direction.
    pub(super) fn is_still(&self) -> bool {
        self.inbox.is_empty() && self.outbox.is_empty()
    }

    /// Takes a frame that has arrived; `None`: none is whole yet. `max`: bytes of one frame.
    pub(super) fn hear<F: Frame>(&mut self, max: usize) -> Result<Option<F>, BadFrame> {
        frame::take(&mut self.inbox, max)?.map(|(kind, content)| F::read(kind, content)).transpose()
    }

    /// Reads once. `scratch` is where the bytes are put first.
    pub(super) fn fill(&mut self, stream: &mut Stream, scratch: &mut [u8]) -> Filled {
        let filled = transfer::read(stream, scratch);
        if let Filled::Bytes(count) = filled {
            self.inbox.extend_from_slice(&scratch[..count]);
        }
        filled
    }

    /// Writes as much as the socket takes.
    pub(super) fn flush(&mut self, stream: &mut Stream) -> Sent {
        transfer::write(stream, &mut self.outbox)
    }

    /// Drops what waits to be sent: nobody will take it.
    pub(super) fn fall_silent(&mut self) {
        self.outbox = Output::new();
    }
}
