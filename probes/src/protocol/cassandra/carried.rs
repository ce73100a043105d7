//! Messages out of the segments of one direction: several in one segment, or one in several.
//!
//! Invariants: of a message over several segments only what its grammar wants is held; what a hole
//! may have hidden is said to be lost, and nothing behind it is made up; a segment has no more messages than its bytes
//! on the wire can be for.

use super::envelope::{HEAD_BYTES, SEGMENTED, Start, start};
use super::segment::{Form, header};
use crate::protocol::dialogue::{Side, Unit};

/// Messages of a segment, and for how many bytes on the wire there may be one more: a compressed one could else be
/// tens of thousands in a few hundred bytes. Those that travel together have different streams, which does not
/// compress to less.
const MESSAGES_MAX: u64 = 16;
const MESSAGE_BYTES_MIN: u64 = 4;

/// One direction.
#[derive(Debug, Default)]
pub(super) struct Carried {
    under_way: Option<Partial>,
}

/// A message of which more is to come.
#[derive(Debug)]
struct Partial {
    head: [u8; HEAD_BYTES],
    body: Vec<u8>,
    body_bytes: u64,
    passed: u64,
    holed: bool,
    began: u64,
}

/// What came of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Came {
    /// All of it was read.
    Whole,
    /// It is a segment, and messages in it or begun before it were lost.
    Lost,
    /// It is none.
    Broken,
}

impl Carried {
    /// What is held is not wanted any more.
    pub(super) fn forget(&mut self) {
        self.under_way = None;
    }

    /// Memory that is held.
    pub(super) fn held_bytes(&self) -> usize {
        self.under_way.as_ref().map_or(0, |partial| partial.body.capacity())
    }

    /// Reads a segment; messages that it completes go to `take`, which returns false for what is none.
    pub(super) fn segment(
        &mut self,
        side: Side,
        form: Form,
        unit: &Unit<'_>,
        keep: usize,
        take: impl FnMut(&Unit<'_>) -> bool,
    ) -> Came {
        let Some(header) = header(form, unit.head) else { return Came::Broken };
        let Some(carried) = header.carried(unit.body, usize::MAX) else { return Came::Broken };
        let messages_max = MESSAGES_MAX + header.body_bytes() / MESSAGE_BYTES_MIN;
        let bytes = header.carried_bytes();
        let segment = Segment { side, unit, carried: &carried, bytes, messages_max };
        if header.contained {
            // The end of what was under way never came.
            let lost = self.under_way.take().is_some();
            match segment.messages(take) {
                Came::Whole if lost => Came::Lost,
                came => came,
            }
        } else {
            self.part(&segment, keep, take)
        }
    }

    /// A part of one message.
    fn part(
        &mut self,
        segment: &Segment<'_, '_>,
        keep: usize,
        mut take: impl FnMut(&Unit<'_>) -> bool,
    ) -> Came {
        let begun = self.under_way.take();
        let (mut partial, data, bytes) = match begun {
            Some(partial) => (partial, segment.carried, segment.bytes),
            None => match segment.begins() {
                Some(begins) => begins,
                None => return Came::Lost,
            },
        };
        partial.push(data, bytes, keep);
        partial.holed |= (data.len() as u64) < bytes && partial.body.len() < keep;
        if partial.passed > partial.body_bytes {
            return Came::Broken;
        }
        if partial.passed < partial.body_bytes {
            self.under_way = Some(partial);
            return Came::Whole;
        }
        let whole = partial.unit(segment.unit.ended);
        if take(&whole) { Came::Whole } else { Came::Broken }
    }
}

impl Partial {
    fn push(&mut self, data: &[u8], bytes: u64, keep: usize) {
        let gapless = self.body.len() as u64 == self.passed;
        self.passed += bytes;
        if gapless {
            let room = keep.saturating_sub(self.body.len());
            self.body.extend_from_slice(data.split_at(room.min(data.len())).0);
        }
    }

    fn unit(&self, ended: u64) -> Unit<'_> {
        let Self { head, body, body_bytes, holed, began, .. } = self;
        Unit { head, body, holed: *holed, body_bytes: *body_bytes, began: *began, ended }
    }
}

/// What a segment carries, as much of it as is there.
struct Segment<'a, 'u> {
    side: Side,
    unit: &'a Unit<'u>,
    carried: &'a [u8],
    bytes: u64,
    messages_max: u64,
}

impl<'a> Segment<'a, '_> {
    fn start(&self, bytes: &[u8]) -> Option<([u8; HEAD_BYTES], Start)> {
        let head = *bytes.first_chunk::<HEAD_BYTES>()?;
        start(self.side, head).filter(|start| start.version >= SEGMENTED).map(|start| (head, start))
    }

    /// The first part of a message that is too long for one segment.
    fn begins(&self) -> Option<(Partial, &'a [u8], u64)> {
        let (head, start) = self.start(self.carried)?;
        let (bytes, data) = (self.bytes - HEAD_BYTES as u64, self.carried.get(HEAD_BYTES..)?);
        if start.body_bytes <= bytes {
            return None;
        }
        let partial = Partial {
            head,
            body: Vec::new(),
            body_bytes: start.body_bytes,
            passed: 0,
            holed: false,
            began: self.unit.began,
        };
        Some((partial, data, bytes))
    }

    /// Messages that begin and end here.
    fn messages(&self, mut take: impl FnMut(&Unit<'_>) -> bool) -> Came {
        let (mut at, mut messages) = (0_u64, 0);
        while at < self.bytes {
            messages += 1;
            if messages > self.messages_max {
                return Came::Lost;
            }
            let rest = usize::try_from(at).ok().and_then(|at| self.carried.get(at..));
            let Some(rest) = rest.filter(|rest| rest.len() >= HEAD_BYTES) else {
                // A hole, or no room for a message.
                let hole = (self.carried.len() as u64) < self.bytes;
                return if hole { Came::Lost } else { Came::Broken };
            };
            let Some((head, start)) = self.start(rest) else { return Came::Broken };
            at += HEAD_BYTES as u64 + start.body_bytes;
            if at > self.bytes {
                return Came::Broken;
            }
            let body = rest.get(HEAD_BYTES..).unwrap_or_default();
            let kept = usize::try_from(start.body_bytes).unwrap_or(usize::MAX).min(body.len());
            let (body, _) = body.split_at(kept);
            let holed = (kept as u64) < start.body_bytes;
            let Unit { began, ended, .. } = *self.unit;
            let body_bytes = start.body_bytes;
            if !take(&Unit { head: &head, body, holed, body_bytes, began, ended }) {
                return Came::Broken;
            }
        }
        Came::Whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::cassandra::segment::tests::segment;

    /// Scenario: a segment of half a kilobyte that holds fourteen thousand messages once it is unpacked, and one of
    /// a hundred different ones.
    /// Guarantees: of the first hardly more are read than it has bytes for, and the rest is said to be lost; of the
    /// second all are.
    #[test]
    fn a_bomb_is_not_taken() {
        let message = |stream: u16| [&[5, 0][..], &stream.to_be_bytes(), &[5, 0, 0, 0, 0]].concat();
        let read = |messages: &[u8]| {
            let packed = lz4_flex::block::compress(messages);
            let bytes = segment(messages, Some(&packed), Form::Packed, true);
            let (head, body) = bytes.split_at(Form::Packed.head_bytes());
            let body_bytes = body.len() as u64;
            let unit = Unit { head, body, holed: false, body_bytes, began: 1, ended: 2 };
            let mut count = 0;
            let came = Carried::default().segment(Side::Requests, Form::Packed, &unit, 1, |_| {
                count += 1;
                true
            });
            (came, count, bytes.len())
        };
        let (came, count, bytes) = read(&message(0).repeat(14_000));
        assert_eq!(came, Came::Lost);
        assert!(bytes < 700 && count < 16 + bytes, "{count} of {bytes} bytes");
        let different: Vec<u8> = (0..100).flat_map(message).collect();
        assert_eq!((read(&different).0, read(&different).1), (Came::Whole, 100));
    }
}
