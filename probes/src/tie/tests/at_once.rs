//! Spans that are told at once are told as those that wait.

use proptest::prelude::*;

use super::*;

/// A chain of three services whose callers are seen late or not, and may be named by headers.
fn chain(named: bool) -> Vec<At> {
    let context = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let header = |at: At| if named { at.header("traceparent", context) } else { at };
    vec![
        header(At::new(Role::Server, 11, 1)),
        header(At::new(Role::Client, 20, 1)),
        header(At::new(Role::Server, 21, 2)),
        At::new(Role::Client, 30, 2),
        At::new(Role::Server, 31, 3),
    ]
}

/// Plays this order of what begins and ends, as often as each is in it, and says how each is known: where
/// `at_once`, of those that are final as soon as they are over.
fn play(order: &[usize], named: bool, at_once: bool) -> Vec<Option<Ids>> {
    let mut machine = Machine::new();
    let mut chain = chain(named);
    let (mut begun, mut ids) = ([false; 5], vec![None; 5]);
    for &nth in order {
        if !begun[nth] {
            begun[nth] = true;
            chain[nth] = machine.begin(chain[nth].clone());
            continue;
        }
        let end = machine.end(&chain[nth]);
        if at_once && end.is_final() {
            machine.ties.leave(&end);
            ids[nth] = Some(end.ids());
            continue;
        }
        let (resource, share) = (Arc::default(), Share::default());
        machine.ties.hold(Held { resource, span: Draft::default(), end, share });
    }
    // One turn finds all of it late.
    let due = std::iter::from_fn(|| machine.ties.release(Some(machine.time + 2_000_000)));
    let due: Vec<_> = due.map(|held| held.end).collect();
    let known = due.iter().map(|end| end.ids());
    for one in known {
        let place = chain.iter().zip(&mut ids).find(|(at, place)| {
            place.is_none() && {
                let client = at.role == Role::Client;
                let shared = Shared::new(&at.info(), Some(0));
                let role = if client { Role::Client } else { Role::Server };
                shared.is_some_and(|shared| shared.span_id(role) == one.span_id)
            }
        });
        if let Some((_, place)) = place {
            *place = Some(one);
        }
    }
    ids
}

proptest! {
    /// Scenario: what three services do is seen in any order in which each end begins before it ends, with the
    /// callers named in headers or not.
    /// Guarantees: each span has the trace, the parent and the links that it has when all of them wait.
    #[test]
    fn nothing_changes_for_those_that_do_not_wait(
        order in Just([0, 0, 1, 1, 2, 2, 3, 3, 4, 4].to_vec()).prop_shuffle(),
        named in any::<bool>(),
    ) {
        let (waited, told) = (play(&order, named, false), play(&order, named, true));
        prop_assert!(waited.iter().all(Option::is_some), "{:?}", waited);
        prop_assert_eq!(waited, told);
    }
}

/// Scenario: a call, what it reached, and both over in the order in which that is.
/// Guarantees: both are told at once; one whose other end may be elsewhere waits.
#[test]
fn most_do_not_wait() {
    let mut machine = Machine::new();
    let call = machine.begin(At::new(Role::Client, 20, 1));
    let called = machine.begin(At::new(Role::Server, 21, 2));
    assert!([&called, &call].map(|at| machine.end(at)).iter().all(|end| end.is_final()));
    let serving = machine.begin(At::new(Role::Server, 31, 3));
    let elsewhere = machine.begin(At::new(Role::Client, 40, 3));
    assert!([&elsewhere, &serving].map(|at| machine.end(at)).iter().all(|end| !end.is_final()));
}
