//! Requests that are sent again and again as new ones: times and ids are overwritten where they
//! stand, which costs a ten-thousandth of making spans anew, so that no sender is ever the limit.
//!
//! Invariant: what is stamped differs from the request it was made of in times and ids alone, and
//! spans of a trace stay together.

use super::chance::mix;

/// Field numbers on the way to a span, and in it.
const RESOURCE_SPANS: u64 = 1;
const SCOPE_SPANS: u64 = 2;
const SPANS: u64 = 2;
const TRACE_ID: u64 = 1;
const SPAN_ID: u64 = 2;
const PARENT_SPAN_ID: u64 = 4;
const START: u64 = 7;
const END: u64 = 8;
const EVENTS: u64 = 11;
const EVENT_TIME: u64 = 1;

/// A request of spans, and where its times and ids stand.
#[derive(Debug)]
pub(crate) struct Stamp {
    message: Vec<u8>,
    times: Vec<usize>,
    /// The first 8 bytes of ids that are not spans' own.
    other_ids: Vec<usize>,
    span_ids: Vec<usize>,
    /// When the last span ends.
    latest: u64,
}

impl Stamp {
    /// `None` where the message is not one of spans.
    pub(crate) fn new(message: &[u8]) -> Option<Self> {
        let mut stamp = Self {
            message: message.to_vec(),
            times: Vec::new(),
            other_ids: Vec::new(),
            span_ids: Vec::new(),
            latest: 0,
        };
        for resource in inner(message, (0, message.len()), RESOURCE_SPANS)? {
            for scope in inner(message, resource, SCOPE_SPANS)? {
                for span in inner(message, scope, SPANS)? {
                    stamp.add_span(message, span)?;
                }
            }
        }
        Some(stamp)
    }

    fn add_span(&mut self, message: &[u8], span: Place) -> Option<()> {
        for field in fields(message, span) {
            let (number, (from, to)) = field?;
            match number {
                SPAN_ID => self.span_ids.push(from),
                TRACE_ID | PARENT_SPAN_ID if to > from => self.other_ids.push(from),
                START | END => {
                    self.latest = self.latest.max(fixed(message, from)?);
                    self.times.push(from);
                }
                EVENTS => {
                    for field in fields(message, (from, to)) {
                        let (number, (from, _)) = field?;
                        self.times.extend((number == EVENT_TIME).then_some(from));
                    }
                }
                _ => {}
            }
        }
        Some(())
    }

    pub(crate) fn spans(&self) -> u64 {
        self.span_ids.len() as u64
    }

    /// The same spans as new ones: another `round` has other ids, and the last of them ends at
    /// `latest`. Gives the message and the spans' ids.
    pub(crate) fn stamped(&self, round: u64, latest: u64) -> (Vec<u8>, Vec<[u8; 8]>) {
        let mut message = self.message.clone();
        let later = latest.wrapping_sub(self.latest);
        for &at in &self.times {
            change(&mut message, at, |bytes| {
                u64::from_le_bytes(bytes).wrapping_add(later).to_le_bytes()
            });
        }
        let round = mix(round).to_be_bytes();
        let other = |bytes: [u8; 8]| std::array::from_fn(|at| bytes[at] ^ round[at]);
        for &at in &self.other_ids {
            change(&mut message, at, other);
        }
        let ids = self.span_ids.iter().map(|&at| change(&mut message, at, other)).collect();
        (message, ids)
    }
}

/// Overwrites 8 bytes and gives what they are now. Places were found in this very message.
fn change(message: &mut [u8], at: usize, to: impl Fn([u8; 8]) -> [u8; 8]) -> [u8; 8] {
    let Some(bytes) = message.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<8>()) else {
        return [0; 8];
    };
    *bytes = to(*bytes);
    *bytes
}

fn fixed(message: &[u8], at: usize) -> Option<u64> {
    message.get(at..)?.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes))
}

/// From where to where.
type Place = (usize, usize);

/// The places of all fields with this number.
fn inner(message: &[u8], within: Place, wanted: u64) -> Option<Vec<Place>> {
    let of_number = |field: Option<(u64, Place)>| match field {
        Some((number, place)) => (number == wanted).then_some(Some(place)),
        None => Some(None),
    };
    fields(message, within).filter_map(of_number).collect()
}

/// Numbers and places of the fields within a message of protobuf; a `None` where it cannot be read.
fn fields(message: &[u8], within: Place) -> impl Iterator<Item = Option<(u64, Place)>> {
    let (mut at, to) = within;
    std::iter::from_fn(move || {
        if at >= to {
            return None;
        }
        let field = one_field(message, at).filter(|(_, (_, end))| *end <= to);
        at = field.map_or(to, |(_, (_, end))| end);
        Some(field)
    })
}

fn one_field(message: &[u8], at: usize) -> Option<(u64, Place)> {
    let (tag, from) = varint(message, at)?;
    let (from, to) = match tag & 7 {
        0 => (from, varint(message, from)?.1),
        1 => (from, from + 8),
        2 => {
            let (length, from) = varint(message, from)?;
            (from, from.checked_add(usize::try_from(length).ok()?)?)
        }
        5 => (from, from + 4),
        _ => return None,
    };
    Some((tag >> 3, (from, to)))
}

/// A number and where what follows begins.
fn varint(message: &[u8], at: usize) -> Option<(u64, usize)> {
    let mut value = 0;
    for (nth, byte) in message.get(at..)?.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * nth);
        if byte & 0x80 == 0 {
            return Some((value, at + nth + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::trace::v1::Span;
    use prost::Message;

    use super::super::{Plan, Signal, requests};
    use super::*;

    fn spans(message: &[u8]) -> Vec<Span> {
        let decoded = ExportTraceServiceRequest::decode(message).unwrap();
        let resources = decoded.resource_spans.into_iter().flat_map(|it| it.scope_spans);
        resources.flat_map(|scope| scope.spans).collect()
    }

    /// Scenario: a request, stamped for two rounds.
    /// Guarantees: durations, names and ties within a trace stay; ids are others each round, those
    /// that are told; the last span ends when it should.
    #[test]
    fn a_stamped_request_is_a_new_one() {
        let plan = Plan {
            seed: 5,
            run: "r".to_owned(),
            signal: Signal::Traces,
            items: 900,
            start_nanos: 1_700_000_000_000_000_000,
            items_per_second: 10_000,
            series: 1,
        };
        let request = requests(&plan).next().unwrap();
        let stamp = Stamp::new(&request.message).unwrap();
        assert_eq!(stamp.spans(), request.items);
        let before = spans(&request.message);
        let mut ids = BTreeSet::new();
        for round in [1, 2] {
            let latest = 1_800_000_000_000_000_000 + round;
            let (message, told) = stamp.stamped(round, latest);
            let after = spans(&message);
            assert_eq!(after.iter().map(|it| it.end_time_unix_nano).max(), Some(latest));
            for ((one, other), id) in before.iter().zip(&after).zip(&told) {
                let length = |it: &Span| it.end_time_unix_nano - it.start_time_unix_nano;
                assert_eq!((length(one), &one.name), (length(other), &other.name));
                assert_eq!(other.span_id, id);
                assert_eq!(one.attributes, other.attributes);
            }
            let traces = |spans: &[Span]| -> BTreeSet<Vec<u8>> {
                spans.iter().map(|it| it.trace_id.clone()).collect()
            };
            assert_eq!(traces(&before).len(), traces(&after).len());
            assert!(traces(&before).is_disjoint(&traces(&after)));
            let known: BTreeSet<&[u8]> = after.iter().map(|it| it.span_id.as_slice()).collect();
            let tied = |spans: &[Span], known: &BTreeSet<&[u8]>| {
                spans.iter().filter(|it| known.contains(it.parent_span_id.as_slice())).count()
            };
            let known_before: BTreeSet<&[u8]> =
                before.iter().map(|it| it.span_id.as_slice()).collect();
            assert_eq!(tied(&after, &known), tied(&before, &known_before));
            ids.extend(told);
        }
        assert_eq!(ids.len() as u64, 2 * request.items);
        assert!(Stamp::new(&[0x0a, 0xff]).is_none());
    }
}
