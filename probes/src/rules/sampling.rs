//! Which traces have spans, where not all do.
//!
//! Invariants: pure; the trace id alone decides, so that all spans of a trace are kept or none, on
//! every node that keeps the same share; a larger share keeps all that a smaller one keeps. What was
//! decided is told in the trace state as W3C and OpenTelemetry have it, so that a reader can count.

/// Random bits of a trace id: the last 56, by W3C Trace Context level 2.
const RANDOM_BITS: u32 = 56;
const ALL: u64 = 1 << RANDOM_BITS;

/// The share of traces that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Share {
    /// Traces whose random part is below are left out.
    threshold: u64,
}

impl Share {
    /// None unless it is between 0 and 1.
    pub(crate) fn new(share: f64) -> Option<Self> {
        if !(0.0..=1.0).contains(&share) {
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is between 0 and 2 to the 56, which both sides hold"
        )]
        let threshold = ((1.0 - share) * ALL as f64).round() as u64;
        Some(Self { threshold })
    }

    /// Nothing is left out.
    pub(crate) fn is_all(self) -> bool {
        self.threshold == 0
    }

    /// Spans of this trace are kept.
    pub(crate) fn keeps(self, trace_id: [u8; 16]) -> bool {
        let [.., a, b, c, d, e, f, g, h] = trace_id;
        u64::from_be_bytes([a, b, c, d, e, f, g, h]) & (ALL - 1) >= self.threshold
    }

    /// How many requests a span that was kept stands for; none where all are kept.
    pub(crate) fn adjusted_count(self) -> Option<f64> {
        (self.threshold > 0).then(|| ALL as f64 / (ALL - self.threshold) as f64)
    }

    /// The share that both keep: the smaller one, since the larger keeps all of it.
    pub(crate) fn and(self, other: Self) -> Self {
        Self { threshold: self.threshold.max(other.threshold) }
    }

    /// The trace state of a span that was kept; `state`: what came with the request. Who sent that has its own
    /// share, of its own spans: every request is seen here, whether or not its caller was kept, so that ours alone
    /// says of how many this span is one.
    pub(crate) fn state(self, state: &str) -> String {
        let members = || state.split(',').map(str::trim).filter(|member| !member.is_empty());
        let ours = members().find_map(|member| member.strip_prefix("ot="));
        let fields = || ours.unwrap_or_default().split(';').filter(|field| !field.is_empty());
        let theirs = fields().any(|field| field.starts_with("th:"));
        if self.threshold == 0 && !theirs {
            return state.to_owned();
        }
        let digits = format!("{:014x}", self.threshold);
        let digits = match digits.trim_end_matches('0') {
            "" => "0",
            digits => digits,
        };
        let others = fields().filter(|field| !field.starts_with("th:"));
        let own = [format!("th:{digits}")].into_iter().chain(others.map(str::to_owned));
        let own = format!("ot={}", own.collect::<Vec<_>>().join(";"));
        let rest = members().filter(|member| !member.starts_with("ot=")).map(str::to_owned);
        [own].into_iter().chain(rest).collect::<Vec<_>>().join(",")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn share(share: f64) -> Share {
        Share::new(share).unwrap()
    }

    /// Scenario: shares and trace states as W3C and OpenTelemetry write them.
    /// Guarantees: thresholds in their notation, other members kept, the threshold of whoever sent
    /// the request replaced by our own.
    #[test]
    fn states() {
        assert_eq!(share(1.0).state("a=b"), "a=b");
        assert_eq!(share(0.5).state(""), "ot=th:8");
        assert_eq!(share(0.25).state("a=b"), "ot=th:c,a=b");
        assert_eq!(share(0.5).state("a=b,ot=rv:1234;th:c"), "ot=th:8;rv:1234,a=b");
        assert_eq!(share(0.25).state("ot=th:8,a=b"), "ot=th:c,a=b");
        assert_eq!(share(1.0).state("a=b,ot=th:c;rv:1234"), "ot=th:0;rv:1234,a=b");
        assert_eq!(share(0.25).adjusted_count(), Some(4.0));
        assert_eq!(share(1.0).adjusted_count(), None);
        assert_eq!(share(0.75).and(share(0.5)), share(0.5));
        assert_eq!(share(0.5).state("ot=th:zz"), "ot=th:8");
        assert_eq!([Share::new(1.1), Share::new(-0.1), Share::new(f64::NAN)], [None; 3]);
        assert!(!share(0.0).keeps([0xff; 16]) && share(1.0).keeps([0; 16]));
    }

    proptest! {
        /// Scenario: many traces at two shares.
        /// Guarantees: the larger share keeps all that the smaller one does, and about as many as it says.
        #[test]
        fn shares(ids in prop::collection::vec(any::<u128>(), 2_000), a in 0.0..1.0, b in 0.0..1.0) {
            let (small, large) = if a < b { (a, b) } else { (b, a) };
            let kept = |one: f64| {
                let share = share(one);
                ids.iter().map(|id| share.keeps(id.to_be_bytes())).collect::<Vec<_>>()
            };
            let (few, many) = (kept(small), kept(large));
            prop_assert!(few.iter().zip(&many).all(|(few, many)| !few || *many));
            let count = many.iter().filter(|kept| **kept).count() as f64 / 2_000.0;
            prop_assert!((count - large).abs() < 0.08, "{count} of {large}");
        }
    }
}
