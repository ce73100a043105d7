//! Which traces a stretch of the log has spans of, in a few bytes a trace.
//!
//! Invariant: a trace that has a span here is never said to be elsewhere.

/// The prints of traces.
#[derive(Debug, Clone)]
pub(super) struct Traces {
    /// Sorted, each once, after [`Self::settle`]. `None` once somebody added spans of which nobody
    /// knows the traces: those that a start found in the log.
    prints: Option<Vec<u32>>,
}

impl Default for Traces {
    fn default() -> Self {
        Self { prints: Some(Vec::new()) }
    }
}

impl Traces {
    /// Adds the traces of one request; `None` where they are not known.
    pub(super) fn add(&mut self, prints: Option<&[u32]>) {
        match (self.prints.as_mut(), prints) {
            (Some(known), Some(prints)) => known.extend_from_slice(prints),
            _ => self.prints = None,
        }
    }

    /// Those of both.
    pub(super) fn joined(&self, other: &Self) -> Self {
        let mut joined = self.clone();
        joined.add(other.prints.as_deref());
        joined.settle();
        joined
    }

    /// No more will come.
    pub(super) fn settle(&mut self) {
        if let Some(prints) = &mut self.prints {
            prints.sort_unstable();
            prints.dedup();
            prints.shrink_to_fit();
        }
    }

    /// Sorted, each once, after [`Self::settle`]; `None` where nobody knows them.
    pub(super) fn prints(&self) -> Option<&[u32]> {
        self.prints.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use icecore_store::TraceId;

    use super::*;

    fn prints(ids: std::ops::Range<u128>) -> Vec<u32> {
        ids.map(|id| TraceId(id.to_be_bytes()).print()).collect()
    }

    /// Scenario: requests of many traces, some of them in several, and one that nobody looked at.
    /// Guarantees: each trace is found, hardly another one is, and where anything can be, all are.
    #[test]
    fn each_trace_is_found() {
        let mut traces = Traces::default();
        traces.add(Some(&prints(0..600)));
        traces.add(Some(&prints(400..1000)));
        traces.settle();
        let has = |traces: &Traces, id: u128| {
            let print = TraceId(id.to_be_bytes()).print();
            traces.prints().is_none_or(|prints| prints.binary_search(&print).is_ok())
        };
        assert!((0..1000).all(|id| has(&traces, id)));
        assert!((1000..3000).filter(|id| has(&traces, *id)).count() < 10);
        let mut other = Traces::default();
        other.add(Some(&prints(5000..5001)));
        other.settle();
        let both = traces.joined(&other);
        assert!(has(&both, 5000) && has(&both, 999) && !has(&other, 999));
        other.add(None);
        assert!(has(&traces.joined(&other), 77_777));
    }
}
