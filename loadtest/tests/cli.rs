//! The load generator as a program, which also puts it where tests of the whole line look for it.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::process::Command;

/// Scenario: a load is described twice with one seed, and a command is not known.
/// Guarantees: the same text both times, with the spans asked for; the fault is told by exit code 2.
#[test]
fn a_seed_describes_one_load() {
    let run = |args: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_icecore-loadtest")).args(args).output().unwrap()
    };
    let load =
        ["describe", "--items", "2000", "--run", "one", "--start-nanos", "1700000000000000000"];
    let (one, again) = (run(&load), run(&load));
    assert!(one.status.success(), "{one:?}");
    assert!(!one.stdout.is_empty());
    assert_eq!(one.stdout, again.stdout);
    assert_eq!(run(&["describe", "--no-such-flag"]).status.code(), Some(2));
}
