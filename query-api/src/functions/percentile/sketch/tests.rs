use super::*;

/// Numbers that look random and are the same in every run.
fn chances(seed: u64) -> impl Iterator<Item = u64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    })
}

fn sketch(values: &[f64]) -> Sketch {
    let mut sketch = Sketch::default();
    let mut bytes = 0;
    for value in values {
        bytes += sketch.add(*value);
    }
    assert!(bytes >= sketch.bytes(), "{bytes} bytes were said of {}", sketch.bytes());
    sketch
}

fn exact(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(|one, other| order(*one, *other));
    let rank = share * (sorted.len() - 1) as f64;
    #[expect(clippy::cast_possible_truncation, reason = "a place among the values")]
    let below = rank.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    between(sorted[below], sorted[above], rank - below as f64)
}

/// Every way of values: durations, ints, negative ones, zeros, tiny and huge ones.
fn values(kind: u64, count: usize) -> Vec<f64> {
    let numbers = chances(kind + 7).take(count);
    let value = |number: u64| {
        let unit = (number >> 11) as f64 / (1_u64 << 53) as f64;
        match kind % 6 {
            0 => (unit * 14.0 + 6.0).exp(),
            1 => (number % 1_000) as f64,
            2 => (unit - 0.5) * 1e9,
            3 => f64::from_bits(number % 0x7fe0_0000_0000_0000).max(f64::MIN_POSITIVE),
            4 => [0.0, -0.0, 1.0, -1.0][(number % 4) as usize],
            _ => -(unit * 40.0 - 20.0).exp(),
        }
    };
    numbers.map(value).collect()
}

fn check(sketch: &mut Sketch, values: &[f64], what: &str) {
    for share in [0.0, 0.001, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0] {
        let (wanted, found) = (exact(values, share), sketch.quantile(share).unwrap());
        let off = (found - wanted).abs();
        // Between values of different signs the error is that of the larger.
        let of = wanted.abs().max(exact(values, (share + 0.01).min(1.0)).abs() * 1e-9);
        assert!(off <= of * 0.01, "{what}: {found} for {wanted} at {share}");
    }
}

/// Scenario: few and many values of every kind.
/// Guarantees: quantiles are exact up to 1,024 values, and within 1 % beyond; the ends always exact.
#[test]
fn quantiles_are_near() {
    for kind in 0..6 {
        for count in [1, 2, 3, 100, EXACT_MAX, EXACT_MAX + 1, 6_000] {
            let values = values(kind, count);
            let mut sketch = sketch(&values);
            check(&mut sketch, &values, &format!("{count} of kind {kind}"));
            for share in [0.0, 1.0] {
                assert_eq!(sketch.quantile(share), Some(exact(&values, share)));
            }
            if count <= EXACT_MAX {
                assert_eq!(sketch.quantile(0.37), Some(exact(&values, 0.37)));
            }
        }
    }
    assert_eq!(Sketch::default().quantile(0.5), None);
}

/// Scenario: values are spread over sketches of any size, which are written, read and merged.
/// Guarantees: the same quantiles as of one sketch of all values, to the last bit.
#[test]
fn merging_loses_nothing() {
    for kind in 0..6 {
        for parts in [1, 2, 40] {
            let values = values(kind, 3_000);
            let mut merged = Sketch::default();
            let mut rest = values.as_slice();
            for (part, chance) in (0..parts).zip(chances(parts)) {
                let most = rest.len() / 2;
                let here = if part + 1 == parts {
                    rest.len()
                } else {
                    usize::try_from(chance).unwrap() % (most + 1)
                };
                let (now, after) = rest.split_at(here);
                rest = after;
                let mut bytes = Vec::new();
                sketch(now).write(&mut bytes);
                merged.merge(&Sketch::read(&bytes).unwrap());
            }
            let mut whole = sketch(&values);
            for share in [0.0, 0.1, 0.5, 0.9, 0.99, 1.0] {
                assert_eq!(merged.quantile(share), whole.quantile(share), "kind {kind}, {parts}");
            }
        }
    }
}

/// Scenario: infinities and values that are no number among others, few and many.
/// Guarantees: they stand at their ends and do not spoil what is between.
#[test]
fn what_is_no_number_comes_last() {
    for count in [10, 10_000] {
        let mut values: Vec<f64> = (1..=count).map(f64::from).collect();
        values.extend([f64::NAN, f64::INFINITY, f64::NEG_INFINITY]);
        let mut sketch = sketch(&values);
        assert_eq!(sketch.quantile(0.0), Some(f64::NEG_INFINITY));
        assert!(sketch.quantile(1.0).is_some_and(f64::is_nan));
        let middle = sketch.quantile(0.5).unwrap();
        assert!((middle / exact(&values, 0.5) - 1.0).abs() < 0.01, "{middle}");
    }
}

/// Scenario: bytes that no sketch wrote: cut, and with another first byte.
/// Guarantees: no panic, and nothing is read where the kind is unknown.
#[test]
fn torn_states_are_refused() {
    let mut bytes = Vec::new();
    sketch(&values(0, 1_000)).write(&mut bytes);
    for cut in 0..bytes.len().min(40) {
        drop(Sketch::read(&bytes[..cut]));
    }
    assert!(Sketch::read(&[9, 1, 2]).is_none());
    assert!(Sketch::read(&[]).is_none());
    assert!(Sketch::read(&[0, 1]).is_none());
}
