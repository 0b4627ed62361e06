//! Bytes on their way out: a gather list, so that head and body leave in one system call.
//!
//! Nothing is sent here; what the bytes mean is not known here.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

/// Content of at most so many bytes is copied behind the head: cheaper than an entry of its own in the list.
const COPIED_BYTES_MAX: usize = 512;

/// What is still to be sent, in order. Boxed, because most connections have nothing to send most of the time.
#[derive(Debug, Clone, Default)]
pub struct Output(Option<Box<Gathered>>);

#[derive(Debug, Clone, Default)]
struct Gathered {
    /// Complete parts, none of them empty.
    parts: VecDeque<Bytes>,
    /// What comes after them: heads, sizes of chunks, small content.
    tail: BytesMut,
    /// Of both together.
    bytes: usize,
}

impl Output {
    /// Nothing to be sent; nothing allocated.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether everything was sent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes still to be sent.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |gathered| gathered.bytes)
    }

    /// Appends bytes, which are copied only if they are few.
    pub fn push(&mut self, data: Bytes) {
        if data.len() <= COPIED_BYTES_MAX {
            self.copy(&data);
            return;
        }
        let Gathered { parts, tail, bytes } = self.gathered();
        if !tail.is_empty() {
            parts.push_back(tail.split().freeze());
        }
        *bytes += data.len();
        parts.push_back(data);
    }

    /// Appends a copy of the bytes.
    pub fn copy(&mut self, data: &[u8]) {
        let Gathered { tail, bytes, .. } = self.gathered();
        tail.extend_from_slice(data);
        *bytes += data.len();
    }

    /// Makes room for so many copied bytes at once.
    pub(super) fn reserve(&mut self, bytes: usize) {
        self.gathered().tail.reserve(bytes);
    }

    /// Fills `slices` from the front with what comes next, and says how many were filled.
    pub fn io_slices<'a, const N: usize>(&'a self, slices: &mut [IoSlice<'a>; N]) -> usize {
        let Some(Gathered { parts, tail, .. }) = self.0.as_deref() else { return 0 };
        let tail = (!tail.is_empty()).then_some(&tail[..]);
        let next = parts.iter().map(|part| &part[..]).chain(tail);
        slices.iter_mut().zip(next).map(|(slice, part)| *slice = IoSlice::new(part)).count()
    }

    /// So many bytes were sent.
    ///
    /// # Panics
    /// If that is more than there was to send.
    pub fn advance(&mut self, sent: usize) {
        assert!(sent <= self.len(), "more bytes were sent than there were");
        let Gathered { parts, tail, bytes } = self.gathered();
        *bytes -= sent;
        let mut left = sent;
        while left > 0 {
            let Some(part) = parts.front_mut() else {
                tail.advance(left);
                break;
            };
            let of_this = left.min(part.len());
            part.advance(of_this);
            left -= of_this;
            if part.is_empty() {
                parts.pop_front();
            }
        }
        if *bytes == 0 {
            tail.clear();
        }
    }

    fn gathered(&mut self) -> &mut Gathered {
        self.0.get_or_insert_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(output: &Output) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); 16];
        let filled = output.io_slices(&mut slices);
        slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect()
    }

    #[test]
    fn bytes_leave_in_the_order_they_came() {
        let mut output = Output::new();
        let large = Bytes::from(vec![b'x'; COPIED_BYTES_MAX + 1]);
        output.copy(b"head");
        output.push(large.clone());
        output.push(Bytes::from_static(b"small"));
        output.push(large.clone());
        let expected = [b"head", &large[..], b"small", &large[..]].concat();
        assert_eq!(output.len(), expected.len());
        for step in [1, 3, 2, 600, 7] {
            assert_eq!(all(&output), expected[expected.len() - output.len()..]);
            output.advance(step.min(output.len()));
        }
        output.advance(output.len());
        assert!(output.is_empty());
        assert_eq!(all(&output), b"");
    }

    #[test]
    fn large_content_is_not_copied() {
        let mut output = Output::new();
        let large = Bytes::from(vec![b'x'; COPIED_BYTES_MAX + 1]);
        output.copy(b"head");
        output.push(large.clone());
        let mut slices = [IoSlice::new(&[]); 4];
        assert_eq!(output.io_slices(&mut slices), 2);
        assert_eq!(slices[1].as_ptr(), large.as_ptr());
    }

    #[test]
    fn a_small_answer_is_one_slice() {
        let mut output = Output::new();
        output.copy(b"head");
        output.push(Bytes::from_static(b"body"));
        let mut slices = [IoSlice::new(&[]); 4];
        assert_eq!(output.io_slices(&mut slices), 1);
        assert_eq!(&*slices[0], b"headbody");
    }

    #[test]
    fn no_more_slices_are_filled_than_there_are() {
        let mut output = Output::new();
        for _ in 0..5 {
            output.push(Bytes::from(vec![b'x'; COPIED_BYTES_MAX + 1]));
        }
        let mut slices = [IoSlice::new(&[]); 2];
        assert_eq!(output.io_slices(&mut slices), 2);
    }

    #[test]
    #[should_panic(expected = "more bytes were sent")]
    fn sending_more_than_there_is_is_a_mistake() {
        Output::new().advance(1);
    }
}
