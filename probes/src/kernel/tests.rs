use super::btf::Types;
use super::{
    Level, Rung, Survey, effective_capabilities, findings, hooks_finding, offsets, permits,
};
use crate::{CaptureConfig, Config, RungChoice};

/// A kernel's types with a structure `outer { u64 a; struct { u32 b; u32 c; }; }`, a tracepoint
/// `seen` and a function `outer(a, b)`.
fn types() -> Vec<u8> {
    let strings = b"\0outer\0a\0b\0c\0btf_trace_seen\0";
    let structure = |name: u32, size: u32, members: &[[u32; 3]]| {
        let count = u32::try_from(members.len()).unwrap();
        let mut words = vec![name, 4 << 24 | count, size];
        words.extend(members.iter().flatten());
        words
    };
    let words: Vec<u32> = [
        vec![0, 1 << 24, 8, 64],
        structure(0, 8, &[[9, 1, 0], [11, 1, 32]]),
        structure(1, 16, &[[7, 1, 0], [0, 2, 64]]),
        vec![13, 8 << 24, 1],
        vec![0, 13 << 24 | 2, 1, 7, 1, 9, 1],
        vec![1, 12 << 24, 5],
    ]
    .concat();
    let body: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let len = |bytes: usize| u32::try_from(bytes).unwrap().to_ne_bytes();
    let mut data = vec![];
    data.extend(0xeb9f_u16.to_ne_bytes());
    data.extend([1, 0]);
    data.extend([len(24), len(0), len(body.len()), len(body.len()), len(strings.len())].concat());
    data.extend(body);
    data.extend(strings);
    data
}

/// Scenario: a field is asked for by name, directly, inside an anonymous structure, and in vain.
/// Guarantees: offsets are those of the structure; what is not there has none.
#[test]
fn fields_are_found_by_name() {
    let data = types();
    let types = Types::parse(&data).unwrap();
    assert_eq!(types.offset("outer", &["a"]), Some(0));
    assert_eq!(types.offset("outer", &["b"]), Some(8));
    assert_eq!(types.offset("outer", &["c"]), Some(12));
    assert_eq!(types.offset("outer", &["d"]), None);
    assert_eq!(types.offset("inner", &["a"]), None);
    assert!(types.has_tracepoint("seen"));
    assert!(!types.has_tracepoint("unseen"));
}

/// Scenario: an argument of a function is asked for by name, and in vain.
/// Guarantees: its place is that of the signature; what is not there has none.
#[test]
fn arguments_are_found_by_name() {
    let data = types();
    let types = Types::parse(&data).unwrap();
    assert_eq!(types.argument("outer", "a"), Some(0));
    assert_eq!(types.argument("outer", "b"), Some(1));
    assert_eq!(types.argument("outer", "c"), None);
    assert_eq!(types.argument("inner", "a"), None);
}

/// Scenario: type information that is cut off or damaged at every byte.
/// Guarantees: reading it ends, and does not panic.
#[test]
fn damaged_types_are_refused() {
    let data = types();
    let look = |it: Types<'_>| (it.offset("outer", &["c"]), it.argument("outer", "b"));
    for cut in 0..data.len() {
        let mut torn = data.clone();
        torn.truncate(cut);
        let _ = Types::parse(&torn).map(look);
        let mut flipped = data.clone();
        flipped[cut] ^= 0xff;
        let _ = Types::parse(&flipped).map(look);
    }
}

/// Scenario: the running kernel is asked for every field that the programs read.
/// Guarantees: all are found, and those that every kernel has in one place are there.
#[test]
fn the_running_kernel_has_every_field() {
    let Ok(data) = std::fs::read(super::BTF_PATH) else {
        println!("skipped: this kernel tells no types");
        return;
    };
    let found = offsets::offsets(&Types::parse(&data).unwrap()).unwrap();
    assert_eq!((found.sk_daddr, found.sk_rcv_saddr), (0, 4));
    assert!(found.task_files > 0 && found.sk_protocol > 0);
}

/// Scenario: kernels that have all hooks, all but the socket tracepoints, and none but system calls; a rung
/// that is asked for and not there.
/// Guarantees: the rungs are offered best first, and the doctor tells of the first; what is asked for and
/// missing is an error, also for the doctor.
#[test]
fn the_rungs_are_offered_best_first() {
    use super::Rung::{BtfTracepoints, Functions, SyscallTracepoints};
    let kernel = |socket_tracepoints, functions| Survey {
        release: "6.0".to_owned(),
        permitted: true,
        btf: None,
        socket_tracepoints,
        functions,
        offsets_missing: None,
        states: true,
        walks: true,
        lives: true,
    };
    let check = |survey: Survey, choice, rungs: &[Rung], level| {
        let offered = survey.rungs(choice).unwrap_or_default();
        assert_eq!(offered, rungs, "{survey:?} {choice:?}");
        let finding = hooks_finding(&survey, choice);
        assert_eq!(finding.level, level, "{survey:?} {choice:?}");
        assert!(rungs.first().is_none_or(|rung| finding.detail.starts_with(rung.name())));
    };
    let all = [BtfTracepoints, Functions, SyscallTracepoints];
    check(kernel(true, true), RungChoice::Auto, &all, Level::Good);
    check(kernel(false, true), RungChoice::Auto, &all[1..], Level::Good);
    check(kernel(false, false), RungChoice::Auto, &all[2..], Level::Limited);
    check(kernel(true, true), RungChoice::BtfTracepoints, &all[..1], Level::Good);
    check(kernel(true, true), RungChoice::Functions, &all[1..2], Level::Good);
    check(kernel(true, true), RungChoice::SyscallTracepoints, &all[2..], Level::Limited);
    check(kernel(false, true), RungChoice::BtfTracepoints, &[], Level::Missing);
    check(kernel(true, false), RungChoice::Functions, &[], Level::Missing);
}

/// Scenario: the permissions of root, of an agent with the two that it needs, and of a user.
/// Guarantees: the first two may load programs.
#[test]
fn permissions_are_read_from_the_status_file() {
    assert!(permits(effective_capabilities("Name:\tx\nCapEff:\t000001ffffffffff\n")));
    assert!(permits(effective_capabilities("CapEff:\t000000c000000000\n")));
    assert!(!permits(effective_capabilities("CapEff:\t0000000000000000\n")));
    assert!(!permits(effective_capabilities("")));
}

/// Scenario: the doctor asks about this machine, and about settings that cannot be used.
/// Guarantees: whatever is not good says so with a detail; bad settings are a finding as well.
#[test]
fn findings_tell_what_is_missing() {
    let found = findings(&Config::default());
    assert_eq!(found.len(), 11);
    assert!(found.iter().all(|finding| !finding.detail.is_empty()));
    let hinted = found.iter().all(|it| it.level == Level::Good || it.hint.is_some());
    assert!(hinted, "{found:?}");
    let capture = CaptureConfig { data_ring_bytes: 100_000, ..CaptureConfig::default() };
    let found = findings(&Config { capture, ..Config::default() });
    let settings = found.iter().find(|finding| finding.name == "probe settings").unwrap();
    assert!(settings.detail.contains("data_ring_bytes = 100000"), "{settings:?}");
}
