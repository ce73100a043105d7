//! Folded stacks, read back from requests as a receiver reads them.

use super::super::fold::{Fold, Moment};
use super::*;

/// By the monotonic clock, behind which the wall is.
fn interval() -> Interval {
    Interval { start: 2_000, end: 12_000, clock: WallClock::ahead(-1_000), hertz: 19 }
}

fn place(places: &mut Places, kind: Kind, origin: &str, functions: &[&str]) -> u32 {
    let build_id = (origin == "app").then(|| Arc::from("abcd"));
    let origin = Arc::new(Origin { name: Arc::from(origin), build_id, range: (0x1000, 0x2000) });
    let line = |function: &&str| frames::Line {
        function: Arc::from(*function),
        file: Arc::from("a.rs"),
        line: 7,
    };
    let lines = functions.iter().map(line).collect();
    places.number(Place { kind, origin, address: 0x1234, lines })
}

/// A sample as a receiver understands it: its stack, each frame with its functions, and its count.
fn read(export: &Export) -> Vec<(u32, String, i64)> {
    let samples = read_profiles(export, (1_000, 10_000), false);
    samples.into_iter().map(|(pid, stack, sample, _)| (pid, stack, sample.values[0])).collect()
}

/// Samples of a time, of those with or without times of their own, and where each leads.
fn read_profiles(
    export: &Export,
    (start, duration): (u64, u64),
    timed: bool,
) -> Vec<(u32, String, Sample, Link)> {
    let dictionary = export.request.dictionary.as_ref().unwrap();
    let at = |index: i32| usize::try_from(index).unwrap();
    let text = |index: i32| dictionary.string_table[at(index)].as_str();
    let location = |index: &i32| {
        let location = &dictionary.location_table[at(*index)];
        let names = location.lines.iter().map(|line| {
            let function = &dictionary.function_table[at(line.function_index)];
            format!("{}:{}", text(function.name_strindex), line.line)
        });
        let mapping = &dictionary.mapping_table[at(location.mapping_index)];
        let kind = &dictionary.attribute_table[at(location.attribute_indices[0])];
        assert_eq!(text(kind.key_strindex), "profile.frame.type");
        format!("{}@{}", names.collect::<Vec<_>>().join(","), text(mapping.filename_strindex))
    };
    let mut samples = Vec::new();
    for (profile, (owner, _)) in export.request.resource_profiles.iter().zip(&export.owners) {
        let profile = &profile.scope_profiles[0].profiles[0];
        let kind = profile.sample_type.unwrap();
        assert_eq!((text(kind.type_strindex), text(kind.unit_strindex)), ("samples", "count"));
        let period = profile.period_type.unwrap();
        assert_eq!(
            (text(period.type_strindex), text(period.unit_strindex)),
            ("cpu", "nanoseconds")
        );
        assert_eq!((profile.period, profile.profile_id.len()), (52_631_578, 16));
        // All samples of a profile have one form.
        let is_timed = |sample: &&Sample| !sample.timestamps_unix_nano.is_empty();
        let count = profile.samples.iter().filter(is_timed).count();
        assert!(count == 0 || count == profile.samples.len(), "{profile:?}");
        if (count > 0) != timed {
            continue;
        }
        assert_eq!((profile.time_unix_nano, profile.duration_nano), (start, duration));
        for sample in &profile.samples {
            let stack = &dictionary.stack_table[at(sample.stack_index)].location_indices;
            let stack: Vec<String> = stack.iter().map(location).collect();
            let link = dictionary.link_table[at(sample.link_index)].clone();
            samples.push((owner.pid, stack.join(";"), sample.clone(), link));
        }
    }
    samples.sort_by(|one, other| (one.0, &one.1).cmp(&(other.0, &other.1)));
    samples
}

/// Scenario: a stack of a process is seen in two requests at several times, one of them before the interval
/// began, without a request, and late.
/// Guarantees: those with times are in a profile of their own, whose time is theirs; each leads to its span, and
/// each span is in the table once; the others are as they were.
#[test]
fn samples_of_a_request_lead_to_it() {
    let mut places = Places::new(100);
    let work = place(&mut places, Kind::Native, "app", &["work"]);
    let other = place(&mut places, Kind::Native, "app", &["other"]);
    let mut fold = Fold::new(100);
    let owner = Owner { pid: 1, started: 5 };
    let link = |number: u8| SpanLink { trace_id: [number; 16], span_id: [number; 8] };
    let mut told = |stack: &[u32], time, link| {
        let moment = Moment { time, link };
        assert!(fold.add_moment(&owner, String::new, stack, moment));
    };
    told(&[work], 5_000, Some(link(1)));
    told(&[work], 1_500, Some(link(1)));
    told(&[other, work], 6_000, Some(link(1)));
    told(&[work], 7_000, Some(link(2)));
    told(&[work], 1_700, None);
    fold.add(&owner, String::new, &[work]);
    let exports = exports(fold.take().0, &places, interval(), 1 << 20);
    let [export] = exports.as_slice() else { panic!("{exports:?}") };
    assert_eq!(read(export), [(1, "work:7@app".to_owned(), 1)]);
    let mut seen: Vec<_> = read_profiles(export, (500, 5_501), true)
        .into_iter()
        .map(|(_, stack, sample, link)| {
            assert!(sample.values.is_empty());
            let trace = link.trace_id.first().copied().unwrap_or(0);
            assert!(
                link.trace_id.is_empty() || (link.trace_id.len(), link.span_id.len()) == (16, 8)
            );
            (trace, stack, sample.timestamps_unix_nano)
        })
        .collect();
    seen.sort();
    let row = |trace, stack: &str, times: &[u64]| (trace, stack.to_owned(), times.to_vec());
    assert_eq!(
        seen,
        [
            row(0, "work:7@app", &[700]),
            row(1, "other:7@app;work:7@app", &[5_000]),
            row(1, "work:7@app", &[4_000, 500]),
            row(2, "work:7@app", &[6_000]),
        ]
    );
    assert_eq!(export.request.dictionary.as_ref().unwrap().link_table.len(), 3);
    assert_eq!(export.owners.len(), 2);
}

/// Scenario: stacks of two processes through shared code, kernel code, inlined functions and code without
/// names.
/// Guarantees: a receiver reads them as they were, innermost first, each process's own; entries for none come
/// first in every table and nothing is there twice; build ids are told.
#[test]
fn a_receiver_reads_what_was_folded() {
    let mut places = Places::new(100);
    let kernel = place(&mut places, Kind::Kernel, "[kernel]", &["vfs_read"]);
    let work = place(&mut places, Kind::Native, "app", &["inlined", "work"]);
    let nameless = place(&mut places, Kind::Native, "libc.so.6", &[]);
    let mut fold = Fold::new(100);
    let (a, b) = (Owner { pid: 1, started: 5 }, Owner { pid: 2, started: 6 });
    fold.add(&a, || "a".to_owned(), &[kernel, work, nameless]);
    fold.add(&a, || "a".to_owned(), &[kernel, work, nameless]);
    fold.add(&b, || "b".to_owned(), &[work, nameless]);
    fold.add(&b, || "b".to_owned(), &[frames::OTHER]);
    let exports = exports(fold.take().0, &places, interval(), 1 << 20);
    let [export] = exports.as_slice() else { panic!("{exports:?}") };
    let sample = |pid, stack: &str, count| (pid, stack.to_owned(), count);
    assert_eq!(
        read(export),
        [
            sample(1, "vfs_read:7@[kernel];inlined:7,work:7@app;@libc.so.6", 2),
            sample(2, "[other]:0@", 1),
            sample(2, "inlined:7,work:7@app;@libc.so.6", 1),
        ]
    );
    let dictionary = export.request.dictionary.as_ref().unwrap();
    assert_eq!(dictionary.mapping_table[0], Mapping::default());
    assert_eq!(dictionary.location_table[0], Location::default());
    assert_eq!(dictionary.stack_table[0], Stack::default());
    assert_eq!(dictionary.link_table, [Link::default()]);
    assert_eq!(dictionary.string_table[0], "");
    let mut texts = dictionary.string_table.clone();
    texts.sort();
    texts.dedup();
    assert_eq!(texts.len(), dictionary.string_table.len());
    let value = Some(AnyValue { value: Some(Value::StringValue("abcd".to_owned())) });
    assert!(dictionary.attribute_table.iter().any(|attribute| attribute.value == value));
}

/// Scenario: more stacks than one request may have, of one process and of several, some with names so long
/// that a request has no room for another.
/// Guarantees: no request takes more than it may but one with a single stack; they are no smaller than
/// they need be; all of them together have every stack once.
#[test]
fn many_stacks_are_several_requests() {
    const BYTES_MAX: usize = 4_096;
    let mut places = Places::new(1_000);
    let mut fold = Fold::new(1_000);
    for number in 0..200_u32 {
        let long = if number % 50 == 7 { 6_000 } else { usize::try_from(number).unwrap() };
        let name = format!("f{number}").repeat(long / 4 + 1);
        let one = place(&mut places, Kind::Native, "app", &[&name]);
        fold.add(&Owner { pid: number / 12, started: 1 }, String::new, &[one]);
    }
    let exports = exports(fold.take().0, &places, interval(), BYTES_MAX);
    let mut sizes: Vec<usize> = Vec::new();
    for export in &exports {
        let bytes = export.request.encoded_len();
        assert!(bytes <= BYTES_MAX || read(export).len() == 1, "{bytes}");
        assert_eq!(export.owners.len(), export.request.resource_profiles.len());
        sizes.push(bytes);
    }
    let full = sizes.iter().filter(|bytes| **bytes > BYTES_MAX / 2).count();
    assert!(full * 2 > sizes.len(), "{sizes:?}");
    let mut all: Vec<_> = exports.iter().flat_map(read).collect();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 200);
}
