//! What the trace filters tell.

use std::fmt;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::signed;

label_names!(State { Covered => "covered", Waiting => "waiting" });

/// How a span file stands with the trace filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum State {
    Covered,
    Waiting,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    state: State,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct TraceMetrics {
    files: Family<Labels, Gauge>,
    bytes: Gauge,
    read: Counter,
    segments_lost: Counter,
}

impl TraceMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "icecore_store_trace_filter_files",
            "Span files by whether a trace filter answers for them",
            self.files.clone(),
        );
        registry.register_with_unit(
            "icecore_store_trace_filter",
            "Disk that trace filters take",
            Unit::Bytes,
            self.bytes.clone(),
        );
        registry.register(
            "icecore_store_trace_filters_read",
            "Span files that were read from the bucket to make their trace filter",
            self.read.clone(),
        );
        registry.register(
            "icecore_store_trace_segments_lost",
            "Files of trace filters that could not be read and were thrown away",
            self.segments_lost.clone(),
        );
    }

    /// How many span files wait for a filter, how many have one, and the disk they take.
    pub(crate) fn stand(&self, waiting: usize, covered: usize, bytes: u64) {
        for (state, files) in [(State::Waiting, waiting), (State::Covered, covered)] {
            self.files.get_or_create(&Labels { state }).set(signed(files as u64));
        }
        self.bytes.set(signed(bytes));
    }

    /// Files were read for their filters.
    pub(crate) fn built(&self, files: usize) {
        self.read.inc_by(files as u64);
    }

    /// A file of filters is lost.
    pub(crate) fn segment_lost(&self) {
        self.segments_lost.inc();
    }
}
