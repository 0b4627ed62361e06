//! Finding lines in bytes that arrive piece by piece, without looking at any byte twice.
//!
//! What a line says is nobody's business here.

use std::ops::Range;

use super::grammar::find_lf;

/// Where the search for the next line stands. Positions count from the front of the input, from which nobody may
/// take anything meanwhile.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Lines {
    /// Where the line begins.
    start: usize,
    /// Up to here there is no LF.
    searched: usize,
}

/// Why a line is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineFault {
    /// More bytes than allowed, CRLF not counted. Decided as soon as they are there, without waiting for the end.
    TooLong,
    /// It ends in LF without CR.
    BareLineFeed,
}

impl Lines {
    /// Where the line begins that is being searched.
    pub(super) fn start(&self) -> usize {
        self.start
    }

    /// Whether no byte of the first line was seen yet.
    pub(super) fn is_fresh(&self) -> bool {
        self.searched == 0
    }

    /// The next complete line, without its CRLF, or `None` until there is more input.
    pub(super) fn next(&mut self, input: &[u8], bytes_max: usize) -> Result<Option<Range<usize>>, LineFault> {
        let found = find_lf(&input[self.searched..]).map(|at| self.searched + at);
        let line = &input[self.start..found.unwrap_or(input.len())];
        // A CR at the end is most likely half of a CRLF; if it is not, the next byte will make it count.
        let content = line.strip_suffix(b"\r");
        let length = content.unwrap_or(line).len();
        if length > bytes_max {
            return Err(LineFault::TooLong);
        }
        let Some(found) = found else {
            self.searched = input.len();
            return Ok(None);
        };
        if content.is_none() {
            return Err(LineFault::BareLineFeed);
        }
        let range = self.start..self.start + length;
        self.start = found + 1;
        self.searched = self.start;
        Ok(Some(range))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_without_their_end() {
        let mut lines = Lines::default();
        let input = b"one\r\n\r\nthree\r\nfou";
        assert_eq!(lines.next(input, 10), Ok(Some(0..3)));
        assert_eq!(lines.next(input, 10), Ok(Some(5..5)));
        assert_eq!(lines.next(input, 10), Ok(Some(7..12)));
        assert_eq!(lines.next(input, 10), Ok(None));
        assert_eq!(lines.next(b"one\r\n\r\nthree\r\nfour\r\n", 10), Ok(Some(14..18)));
    }

    #[test]
    fn a_line_without_cr_is_a_fault() {
        assert_eq!(Lines::default().next(b"\n", 10), Err(LineFault::BareLineFeed));
        assert_eq!(Lines::default().next(b"a\r\rb\n", 10), Err(LineFault::BareLineFeed));
    }

    #[test]
    fn a_line_is_too_long_before_it_ends() {
        assert_eq!(Lines::default().next(b"1234\r", 4), Ok(None));
        assert_eq!(Lines::default().next(b"1234\r\n", 4), Ok(Some(0..4)));
        assert_eq!(Lines::default().next(b"12345", 4), Err(LineFault::TooLong));
        assert_eq!(Lines::default().next(b"1234\rx", 4), Err(LineFault::TooLong));
        assert_eq!(Lines::default().next(b"12345\r\n", 4), Err(LineFault::TooLong));
    }
}
