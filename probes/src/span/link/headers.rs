//! What a request's headers say of its caller's span: `traceparent` and B3.
//!
//! Invariant: exactly what the recommendations call valid is honoured; what is not says nothing.

/// The caller's span, as the headers of a request name it.
pub(crate) fn parent<'a>(header: impl Fn(&str) -> Option<&'a str>) -> Option<TraceParent> {
    let w3c = header("traceparent").and_then(traceparent);
    let b3 = || header("b3").and_then(b3);
    let several = || {
        let sampled = header("x-b3-sampled").unwrap_or("1");
        b3_of(header("x-b3-traceid")?, header("x-b3-spanid")?, sampled)
    };
    w3c.or_else(b3).or_else(several)
}

/// Reads a `b3` header: trace, span, and perhaps whether it is sampled and whose child it is.
fn b3(value: &str) -> Option<TraceParent> {
    let mut parts = value.trim().split('-');
    let (trace_id, span_id) = (parts.next()?, parts.next()?);
    b3_of(trace_id, span_id, parts.next().unwrap_or("1"))
}

fn b3_of(trace_id: &str, span_id: &str, sampled: &str) -> Option<TraceParent> {
    // Eight bytes are the last ones of a trace's sixteen.
    let short = || hex::<8>(trace_id).map(|id| u128::from(u64::from_be_bytes(id)).to_be_bytes());
    let trace_id = hex::<16>(trace_id).or_else(short)?;
    let span_id = hex::<8>(span_id)?;
    let flags = u8::from(matches!(sampled, "1" | "d" | "true"));
    let valid = trace_id != [0; 16] && span_id != [0; 8];
    valid.then_some(TraceParent { trace_id, span_id, flags })
}

/// What a request says of its caller's span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TraceParent {
    pub(crate) trace_id: [u8; 16],
    pub(crate) span_id: [u8; 8],
    pub(crate) flags: u8,
}

/// Reads a `traceparent`; none where the recommendation says to ignore it.
fn traceparent(value: &str) -> Option<TraceParent> {
    let mut parts = value.trim().split('-');
    let version = parts.next()?;
    let [trace_id, span_id, flags] = [parts.next()?, parts.next()?, parts.next()?];
    let more = parts.next().is_some();
    let [version] = hex::<1>(version)?;
    if version == 0xff || version == 0 && more {
        return None;
    }
    let (trace_id, span_id, [flags]) = (hex::<16>(trace_id)?, hex::<8>(span_id)?, hex::<1>(flags)?);
    let valid = trace_id != [0; 16] && span_id != [0; 8];
    valid.then_some(TraceParent { trace_id, span_id, flags })
}

/// Lower-case hex of exactly `N` bytes.
fn hex<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let digits = digits.as_bytes();
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    if pairs.len() != N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: the examples of the W3C recommendation and ways to get them wrong.
    /// Guarantees: exactly the valid ones are honoured.
    #[test]
    fn traceparents() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let read = traceparent(good).unwrap();
        assert_eq!(read.trace_id[..2], [0x4b, 0xf9]);
        assert_eq!((read.span_id[7], read.flags), (0xb7, 1));
        assert!(traceparent(&good.replacen("00", "cc", 1)).is_some());
        assert!(traceparent(&format!("{}-more", good.replacen("00", "cc", 1))).is_some());
        for bad in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
        ] {
            assert_eq!(traceparent(bad), None, "{bad}");
        }
    }

    /// Scenario: B3 headers of one and of two parts, with traces of 8 and 16 bytes, and bad ones.
    /// Guarantees: exactly the valid ones are honoured.
    #[test]
    fn b3_headers() {
        let long = "80f198ee56343ba864fe8b2a57d3eff7";
        let read = b3(&format!("{long}-e457b5a2e4d86bd1-1-05e3ac9a4f6e3b90")).unwrap();
        assert_eq!((read.trace_id[0], read.span_id[7], read.flags), (0x80, 0xd1, 1));
        let read = b3_of("64fe8b2a57d3eff7", "e457b5a2e4d86bd1", "0").unwrap();
        assert_eq!((read.trace_id[7..10].to_vec(), read.flags), (vec![0, 0x64, 0xfe], 0));
        for bad in ["0", "", "80f1-e457b5a2e4d86bd1", "64fe8b2a57d3eff7-0000000000000000-1"] {
            assert_eq!(b3(bad), None, "{bad}");
        }
    }
}
