//! What will become of a request, without making rows of it.
//!
//! Invariant: a payload is accepted here exactly where [`decode`] accepts it, with the same items
//! accepted and rejected for the same first reason, and the same range of times. Whoever keeps the
//! payload can make the rows later: it cannot fail then.

use icecore_store::{Signal, TimeRange, TraceId, UnixNanos};

use super::attributes::COLUMNS_MAX;
use super::logs::Record;
use super::metrics;
use super::profiles;
use super::rows::{Level, Quota, cells_max};
use super::spans::{self, Span};
use super::wire::{Broken, LIMIT, Reader, delimited};
use super::{DecodeError, PAYLOAD_BYTES_MAX, decode, refuse, shape};

/// What [`decode`] will make of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Spans, data points, log records or samples that will become rows.
    pub accepted: u64,
    /// Spans, data points, log records or samples that will not.
    pub rejected: u64,
    /// Why the first rejected item will not, for the partial-success answer.
    pub reason: Option<String>,
    /// The times of the rows; `None` where there are none.
    pub time: Option<TimeRange>,
    /// Whether it must not share columns with other requests: it has so many small rows that only
    /// its own columns tell which of them fit.
    pub alone: bool,
    /// What tells the traces of the spans from others, each once, in order; `None` where nobody
    /// looked, or where there are no spans.
    pub traces: Option<Vec<u32>>,
}

/// Looks at all of a request.
///
/// # Errors
/// As [`decode`].
pub fn check(signal: Signal, payload: &[u8]) -> Result<Checked, DecodeError> {
    if payload.len() > PAYLOAD_BYTES_MAX {
        return Err(DecodeError::TooLarge { bytes: payload.len() });
    }
    let broken = |broken| refuse(signal, payload, broken);
    shape::check(shape::request(signal), payload, LIMIT).map_err(broken)?;
    let mut tally = Tally::default();
    match signal {
        Signal::Traces => tally.count(payload, &mut spans::Parts::default(), Tally::span),
        Signal::Metrics => tally.count(payload, &mut metrics::Parts::default(), Tally::points),
        Signal::Logs => tally.count(payload, &mut Vec::new(), Tally::record),
        Signal::Profiles => tally.profiles(payload),
    }
    .map_err(broken)?;
    tally.traces.sort_unstable();
    tally.traces.dedup();
    // With the most columns that there can be, do all rows fit?
    if tally.quota.rows * (2 * COLUMNS_MAX) <= cells_max(payload.len()) {
        return Ok(tally.finish(signal == Signal::Traces));
    }
    let decoded = decode(signal, payload)?;
    let time = decoded.rows.map(|rows| rows.time);
    let (accepted, rejected, reason) = (decoded.accepted, decoded.rejected, decoded.reason);
    Ok(Checked { accepted, rejected, reason, time, alone: true, traces: None })
}

const RESOURCE_ITEMS: u32 = delimited(1);
const SCOPE_ITEMS: u32 = delimited(2);
const ITEM: u32 = delimited(2);

struct Tally {
    quota: Quota,
    first: i64,
    last: i64,
    traces: Vec<u32>,
}

impl Default for Tally {
    fn default() -> Self {
        Self { quota: Quota::roomy(), first: i64::MAX, last: i64::MIN, traces: Vec::new() }
    }
}

impl Tally {
    /// Calls `item` with each item and the limit within it.
    fn count<'a, P>(
        &mut self,
        payload: &'a [u8],
        parts: &mut P,
        item: impl Fn(&mut Self, &'a [u8], u32, &mut P) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        each(payload, LIMIT, RESOURCE_ITEMS, |resource, limit| {
            each(resource, limit, SCOPE_ITEMS, |scope, limit| {
                each(scope, limit, ITEM, |bytes, limit| item(self, bytes, limit, parts))
            })
        })
    }

    fn span<'a>(
        &mut self,
        bytes: &'a [u8],
        limit: u32,
        parts: &mut spans::Parts<'a>,
    ) -> Result<(), Broken> {
        let span = Span::read(bytes, limit, parts)?;
        let room = self.quota.admit(0, parts.attributes(), parts.nested());
        match span.check(parts, room) {
            Ok(checked) => {
                let print = TraceId(*checked.trace_id).print();
                // Spans of a trace often come together.
                if self.traces.last() != Some(&print) {
                    self.traces.push(print);
                }
                self.take(checked.start, parts.nested());
            }
            Err(refusal) => self.quota.reject(&refusal),
        }
        Ok(())
    }

    fn points<'a>(
        &mut self,
        bytes: &'a [u8],
        limit: u32,
        parts: &mut metrics::Parts<'a>,
    ) -> Result<(), Broken> {
        metrics::points(bytes, limit, parts, |point, parts| {
            let room = self.quota.admit(0, parts.attributes.len(), parts.nested());
            match point.check(parts, room) {
                Ok(times) => self.take(times.time, parts.nested()),
                Err(refusal) => self.quota.reject(&refusal),
            }
        })
    }

    fn record<'a>(
        &mut self,
        bytes: &'a [u8],
        limit: u32,
        attributes: &mut Vec<&'a [u8]>,
    ) -> Result<(), Broken> {
        let record = Record::read(bytes, limit, attributes)?;
        match record.check(self.quota.admit(0, attributes.len(), 0)) {
            Ok(checked) => self.take(checked.row_time(), 0),
            Err(refusal) => self.quota.reject(&refusal),
        }
        Ok(())
    }

    /// Profiles share a dictionary, and their resource and scope may refer to it as well.
    fn profiles(&mut self, payload: &[u8]) -> Result<(), Broken> {
        let mut parts = profiles::Parts::default();
        parts.begin(payload)?;
        each(payload, LIMIT, RESOURCE_ITEMS, |resource, limit| {
            parts.enter(Level::Resource, resource)?;
            each(resource, limit, SCOPE_ITEMS, |scope, limit| {
                parts.enter(Level::Scope, scope)?;
                each(scope, limit, ITEM, |profile, limit| self.samples(profile, limit, &mut parts))
            })
        })
    }

    fn samples<'a>(
        &mut self,
        bytes: &'a [u8],
        limit: u32,
        parts: &mut profiles::Parts<'a>,
    ) -> Result<(), Broken> {
        let head = parts.each_sample(bytes, limit, |parts, head, sample| {
            let nested = sample.nested();
            let room = self.quota.admit(0, sample.attributes.len(), nested);
            match parts.check(head, sample, room)? {
                Ok(checked) => self.take(checked.time, nested),
                Err(refusal) => self.quota.reject(&refusal),
            }
            Ok(())
        });
        head.map(drop)
    }

    fn take(&mut self, time: i64, nested: usize) {
        self.quota.take(nested);
        self.first = self.first.min(time);
        self.last = self.last.max(time);
    }

    fn finish(self, spans: bool) -> Checked {
        let Self { quota: Quota { rows, rejected, reason, .. }, first, last, traces } = self;
        let time = TimeRange::covering(UnixNanos(first), UnixNanos(last));
        let (time, traces) = ((rows > 0).then_some(time), spans.then_some(traces));
        Checked { accepted: rows as u64, rejected, reason, time, alone: false, traces }
    }
}

/// Calls `inner` with every message in this field, and the limit within it.
pub(super) fn each<'a>(
    bytes: &'a [u8],
    limit: u32,
    field: u32,
    mut inner: impl FnMut(&'a [u8], u32) -> Result<(), Broken>,
) -> Result<(), Broken> {
    let mut reader = Reader::new(bytes, limit);
    while let Some(key) = reader.key()? {
        if key == field {
            inner(reader.message()?, limit - 1)?;
        } else {
            reader.skip(key, 0)?;
        }
    }
    Ok(())
}
