use super::*;

/// Numbers that look random and are the same in every run.
struct Chance(u64);

impl Chance {
    fn unit(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// About log-normal, as durations are.
    fn duration(&mut self) -> f64 {
        let normal: f64 = (0..12).map(|_| self.unit()).sum::<f64>() - 6.0;
        (normal - 2.0).exp()
    }
}

fn explicit(values: &[f64], bounds: &[f64], ends: bool) -> Shape {
    let mut counts = vec![0; bounds.len() + 1];
    for value in values {
        counts[bounds.partition_point(|bound| bound < value)] += 1;
    }
    let min = values.iter().copied().reduce(f64::min).filter(|_| ends);
    let max = values.iter().copied().reduce(f64::max).filter(|_| ends);
    Shape::explicit(bounds.to_vec(), counts, min, max).unwrap()
}

/// As the OpenTelemetry data model says: a bucket has the values up to its upper bound.
fn exponential(values: &[f64], scale: i32) -> Shape {
    let side = |values: Vec<f64>| {
        let index = |value: &f64| ((value.log2() * f64::from(scale).exp2()).ceil() as i32) - 1;
        let indices: Vec<i32> = values.iter().map(index).collect();
        let offset = indices.iter().copied().min().unwrap_or_default();
        let span = indices.iter().copied().max().map_or(0, |max| max - offset + 1);
        let mut counts = vec![0; span as usize];
        indices.iter().for_each(|index| counts[(index - offset) as usize] += 1);
        Buckets { offset, counts }
    };
    let positive = side(values.iter().copied().filter(|value| *value > 0.0).collect());
    let negative = side(values.iter().map(|value| -value).filter(|value| *value > 0.0).collect());
    let zeros = values.iter().filter(|value| **value == 0.0).count() as u64;
    Shape::Exponential { scale, zeros, threshold: 0.0, positive, negative, min: None, max: None }
}

fn quantile(shapes: &[Shape], share: f64) -> Option<f64> {
    let mut merged = Merged::default();
    shapes.iter().for_each(|shape| merged.add(shape));
    merged.quantile(share)
}

fn exact(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (share * sorted.len() as f64).ceil().max(1.0) as usize;
    sorted[rank - 1]
}

const SHARES: [f64; 7] = [0.0, 0.01, 0.25, 0.5, 0.9, 0.99, 1.0];

/// Scenario: the example of Prometheus's own documentation of the rule: a hundred observations in
/// known buckets.
/// Guarantees: along the line between the bounds; the last bucket answers its lower bound.
#[test]
fn explicit_buckets_go_along_a_line() {
    let shape = Shape::explicit(vec![1.0, 2.0, 4.0], vec![20, 40, 30, 10], None, None).unwrap();
    let check = |share: f64, expected: f64| {
        let found = quantile(std::slice::from_ref(&shape), share).unwrap();
        assert!((found - expected).abs() < 1e-12, "{share}: {found}");
    };
    check(0.1, 0.5);
    check(0.2, 1.0);
    check(0.4, 1.5);
    check(0.75, 3.0);
    check(0.95, 4.0);
    check(1.0, 4.0);
    let above = Shape::explicit(vec![1.0], vec![0, 10], Some(2.0), Some(6.0)).unwrap();
    assert_eq!(quantile(&[above], 0.5), Some(3.5));
}

/// Scenario: random durations in explicit buckets, in two sets of bounds at once.
/// Guarantees: every quantile is in the bucket that the exact one is in.
#[test]
fn explicit_quantiles_are_in_their_bucket() {
    let mut chance = Chance(1);
    let bounds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
    for _ in 0..200 {
        let values: Vec<f64> = (0..300).map(|_| chance.duration()).collect();
        let (left, right) = values.split_at(100);
        let shapes = [explicit(left, &bounds, true), explicit(right, &bounds, true)];
        for share in SHARES {
            let (found, exact) = (quantile(&shapes, share).unwrap(), exact(&values, share));
            let bucket = |value: f64| bounds.partition_point(|bound| *bound < value);
            let distance = bucket(found).abs_diff(bucket(exact));
            assert!(distance == 0 || bounds.contains(&found), "{share}: {found} for {exact}");
        }
        let other = explicit(right, &[0.07, 0.3], false);
        let found = quantile(&[explicit(left, &bounds, false), other], 0.5).unwrap();
        assert!((0.005..=0.3).contains(&found), "{found}");
    }
}

/// Scenario: random numbers of either sign, in exponential buckets of several scales at once.
/// Guarantees: every quantile is within the width of a bucket of the coarsest scale.
#[test]
fn exponential_quantiles_are_within_a_bucket() {
    let mut chance = Chance(2);
    for round in 0..200 {
        let values: Vec<f64> = (0..400)
            .map(|at| {
                let value = chance.duration();
                if round % 2 == 0 && at % 3 == 0 { -value } else { value }
            })
            .collect();
        let (left, right) = values.split_at(150);
        let shapes = [exponential(left, 5), exponential(right, 3)];
        let width = 2_f64.powf(0.125);
        for share in SHARES {
            let (found, exact) = (quantile(&shapes, share).unwrap(), exact(&values, share));
            let ratio = found / exact;
            assert!(
                (1.0 / width - 1e-9..=width + 1e-9).contains(&ratio),
                "{share}: {found} for {exact}"
            );
        }
    }
    let zeros = exponential(&[0.0, 0.0, 0.0, 1.0], 2);
    assert_eq!(quantile(&[zeros], 0.5), Some(0.0));
}

/// Scenario: nothing, a point without observations, and one bucket without a bound.
/// Guarantees: null where nothing is known; what min and max tell where they do.
#[test]
fn what_is_not_known_is_null() {
    assert_eq!(quantile(&[], 0.5), None);
    assert_eq!(quantile(&[explicit(&[], &[1.0], false)], 0.5), None);
    assert_eq!(quantile(&[explicit(&[1.0, 3.0], &[], false)], 0.5), None);
    assert_eq!(quantile(&[explicit(&[1.0, 3.0], &[], true)], 0.5), Some(2.0));
    assert!(Shape::explicit(vec![1.0], vec![1, 2, 3], None, None).is_none());
}

/// Scenario: shapes of both kinds as bytes and back.
/// Guarantees: the same shapes.
#[test]
fn shapes_travel_as_bytes() {
    for shape in [explicit(&[1.0, 7.0], &[2.0, 3.0], true), exponential(&[-1.0, 0.0, 9.0], -2)] {
        let mut bytes = Vec::new();
        shape.write(&mut bytes);
        assert_eq!(Shape::read(&mut Reader::new(&bytes)).unwrap(), shape);
    }
}

/// Scenario: three cumulative points of one stream, a restart of it, another series, two deltas.
/// Guarantees: the newest of each stream and every delta count, and nothing twice.
#[test]
fn observations_count_once() {
    let point = |series: u128, time: i64, start: i64, is_delta: bool| Point {
        series,
        time,
        start,
        is_delta,
        shape: explicit(&[1.0], &[2.0], false),
    };
    let points = vec![
        point(1, 20, 5, false),
        point(1, 30, 5, false),
        point(1, 10, 5, false),
        point(1, 50, 40, false),
        point(2, 10, 5, false),
        point(3, 10, 5, true),
        point(3, 20, 5, true),
    ];
    let counted = counted_once(points);
    let mut times: Vec<_> = counted.iter().map(|point| (point.series, point.time)).collect();
    times.sort_unstable();
    assert_eq!(times, [(1, 30), (1, 50), (2, 10), (3, 10), (3, 20)]);
}
