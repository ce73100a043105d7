//! One direction of a connection: where the next byte is expected.
//!
//! Invariant: bytes that were lost between two pieces are reported exactly once, before the later
//! one.

use icecore_probe_events::Piece;

/// Position in one direction.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Stream {
    next: Option<u64>,
}

/// How a piece follows on what came before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Right behind it.
    Next,
    /// This many bytes are missing in between.
    After(u64),
}

impl Stream {
    /// A direction of which every byte should be seen.
    pub(crate) fn from_start() -> Self {
        Self { next: Some(0) }
    }

    /// Takes note of a piece. Positions are given out in the order of the calls, so a piece that
    /// lies before the expected one comes from two threads in one socket at the same moment: it is
    /// taken as the next.
    pub(crate) fn place(&mut self, piece: &Piece) -> Place {
        let expected = self.next.unwrap_or(piece.position);
        let end = piece.position + u64::from(piece.captured) + piece.omitted;
        self.next = Some(end.max(expected));
        match piece.position.checked_sub(expected) {
            Some(missing) if missing > 0 => Place::After(missing),
            _ => Place::Next,
        }
    }

    /// Bytes that no piece told of, when so many passed in all; none where the start is not known.
    pub(crate) fn missing_of(self, passed: u64) -> u64 {
        self.next.map_or(0, |next| passed.saturating_sub(next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::table::tests::piece;

    fn check(stream: &mut Stream, position: u64, captured: u16, omitted: u64, want: Place) {
        let piece = Piece { position, captured, omitted, ..piece(1, 0) };
        assert_eq!(stream.place(&piece), want);
    }

    /// Scenario: pieces that follow each other, with bytes not copied and with bytes lost.
    /// Guarantees: what was not copied is no gap; what was lost is one, once, with its size.
    #[test]
    fn a_gap_is_told_once() {
        let mut stream = Stream::from_start();
        check(&mut stream, 0, 10, 0, Place::Next);
        check(&mut stream, 10, 10, 80, Place::Next);
        check(&mut stream, 100, 10, 0, Place::Next);
        check(&mut stream, 150, 10, 0, Place::After(40));
        check(&mut stream, 160, 10, 0, Place::Next);
        check(&mut stream, 155, 5, 0, Place::Next);
    }

    /// Scenario: the first piece of a connection from its start, and of one that is older.
    /// Guarantees: only the first is missing something.
    #[test]
    fn an_older_connection_starts_anywhere() {
        check(&mut Stream::from_start(), 7, 1, 0, Place::After(7));
        check(&mut Stream::default(), 7, 1, 0, Place::Next);
    }
}
