use super::*;

fn span(id: u64, parent: u64, start: i64, end: i64) -> Span {
    Span { id, parent, start, end }
}

fn check(spans: &[Span], expected: &[(u64, i64, i64, i64)]) {
    let placed = place(spans.to_vec());
    let found: Vec<_> = placed.iter().map(|p| (p.id, p.depth, p.own, p.critical)).collect();
    assert_eq!(found, expected);
}

/// Scenario: a request that asks two services side by side, then a third, and works in between.
/// Guarantees: the slower of the two is waited for, the faster is not; time without children is
/// the parent's own.
#[test]
fn the_slowest_is_waited_for() {
    let spans = [
        span(1, 0, 0, 100),
        span(2, 1, 10, 40),
        span(3, 1, 10, 60),
        span(4, 1, 70, 90),
        span(5, 3, 20, 30),
    ];
    let expected = [(1, 0, 30, 30), (3, 1, 40, 40), (5, 2, 10, 10), (2, 1, 30, 0), (4, 1, 20, 20)];
    check(&spans, &expected);
    let placed = place(spans.to_vec());
    let offsets: Vec<_> = placed.iter().map(|p| (p.id, p.critical_offset)).collect();
    assert_eq!(offsets, [(1, 0), (3, 10), (5, 20), (2, -1), (4, 70)]);
}

/// Scenario: a child that outlives its parent, one that begins before it, and two that overlap.
/// Guarantees: only what is within the parent counts; of two that overlap the earlier is not
/// what the later waited for.
#[test]
fn children_count_within_their_parents() {
    check(&[span(1, 0, 0, 100), span(2, 1, 80, 150)], &[(1, 0, 80, 80), (2, 1, 70, 20)]);
    check(&[span(1, 0, 10, 20), span(2, 1, 0, 15)], &[(1, 0, 5, 5), (2, 1, 15, 5)]);
    let overlapping = [span(1, 0, 0, 100), span(2, 1, 0, 60), span(3, 1, 50, 100)];
    check(&overlapping, &[(1, 0, 0, 50), (2, 1, 60, 0), (3, 1, 50, 50)]);
}

/// Scenario: a missing parent, a span that is its own parent, a circle of three with a tail, one
/// id twice, no span at all.
/// Guarantees: each id is there once, and what cannot be below anything is a root.
#[test]
fn broken_traces_have_a_tree() {
    check(&[span(2, 9, 0, 10)], &[(2, 0, 10, 10)]);
    check(&[span(1, 1, 0, 10)], &[(1, 0, 10, 10)]);
    check(&[span(1, 0, 0, 10), span(1, 0, 0, 4)], &[(1, 0, 10, 10)]);
    check(&[], &[]);
    let circle =
        place(vec![span(1, 3, 0, 9), span(2, 1, 1, 8), span(3, 2, 2, 7), span(4, 3, 3, 4)]);
    let mut ids: Vec<_> = circle.iter().map(|placed| placed.id).collect();
    ids.sort_unstable();
    assert_eq!(ids, [1, 2, 3, 4]);
    assert_eq!(circle.iter().filter(|placed| placed.depth == 0).count(), 1);
}

/// Scenario: ten thousand random forests.
/// Guarantees: own and critical times are those of a model that looks at every moment by itself.
#[test]
fn times_are_those_of_every_moment() {
    let mut seed = 7_u64;
    let mut below = |bound: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % bound
    };
    for _ in 0..10_000 {
        let count = 1 + below(7);
        let spans: Vec<Span> = (1..=count)
            .map(|id| {
                let start = below(20).cast_signed();
                span(id, below(id), start, start + below(12).cast_signed())
            })
            .collect();
        let placed = place(spans.clone());
        let total: i64 = placed.iter().map(|placed| placed.critical).sum();
        let from = spans.iter().map(|span| span.start).min().unwrap();
        let to = spans.iter().map(|span| span.end).max().unwrap();
        assert!(total <= to - from, "{spans:?} {placed:?}");
        for one in &placed {
            let me = spans.iter().find(|span| span.id == one.id).unwrap();
            let alone = |moment: &i64| {
                let runs = |span: &&Span| span.start <= *moment && *moment < span.end;
                !spans
                    .iter()
                    .filter(|span| span.parent == me.id && span.id != me.id)
                    .any(|s| runs(&s))
            };
            let own = (me.start..me.end).filter(alone).count() as i64;
            assert_eq!(one.own, own, "{me:?} in {spans:?}");
            assert!(one.critical <= me.end - me.start, "{me:?} in {spans:?}");
        }
        // With one root the whole of it is waited for, by somebody.
        let roots: Vec<_> = spans.iter().filter(|span| span.parent == 0).collect();
        if let [root] = roots.as_slice() {
            let to_end = to - root.end;
            let within: i64 = placed.iter().map(|placed| placed.critical).sum();
            assert_eq!(within, root.end - root.start, "{to_end} {spans:?} {placed:?}");
        }
    }
}
