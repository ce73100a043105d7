//! Programs whose goroutines serve: what one of them reads and sends.

use super::*;

const FIRST: u32 = 0x608e;
const SECOND: u32 = 0x6095;

impl Machine {
    /// More of a request passes.
    fn read_on(&mut self, at: &At) {
        let time = self.pass(at, INBOUND);
        let (start, headers) = (at.start, at.headers.as_slice());
        let begun = Some(Begun { start, ordinal: Some(0), headers, waiting: 1 });
        let (connection, role) = (&at.info(), Some(at.role));
        self.ties.begun(&Newest { connection, role, begun, beside: vec![], place: None }, time);
    }

    /// What a call belongs to that is made now.
    fn call(&mut self, at: At) -> Ids {
        let call = self.begin(at);
        let end = self.end(&call);
        self.ids(&end)
    }
}

fn serves(connection: u64, goroutine: u32) -> At {
    At::new(Role::Server, connection, 1).goroutine(goroutine)
}

fn calls(goroutine: u32) -> At {
    At::new(Role::Client, 90, 1).goroutine(goroutine)
}

/// Scenario: two goroutines of a process serve a request each, on descriptors that do not block, and call somebody; so does
/// a third one, and a thread that has the number of the first.
/// Guarantees: what the two call is the child of their own; what the others call is nobody's for certain; no thread
/// has spent its time on them.
#[test]
fn each_goroutine_has_its_own() {
    let mut machine = Machine::new();
    let (first, second) = (machine.begin(serves(11, FIRST)), machine.begin(serves(21, SECOND)));
    let called = [machine.call(calls(FIRST)), machine.call(calls(SECOND))];
    for other in [calls(7), At::new(Role::Client, 90, 1).thread(FIRST)] {
        assert_eq!(machine.call(other).parent, None);
    }
    assert_eq!(machine.ties.served_now().count(), 0);
    for (at, call) in [first, second].iter().zip(called) {
        let end = machine.end(at);
        assert!(end.served().is_none());
        assert_eq!((call.parent, call.how), (certain(&machine.ids(&end), false), Some("thread")));
    }
}

/// Scenario: another goroutine reads the first byte of a request, as Go's servers have one do.
/// Guarantees: it belongs to the one that reads the rest, and what that calls is its child; the other one serves nobody.
#[test]
fn who_reads_the_rest_serves() {
    let mut machine = Machine::new();
    let at = machine.begin(serves(11, SECOND));
    let at = at.goroutine(FIRST);
    machine.read_on(&at);
    assert_eq!(machine.call(calls(SECOND)).parent, None);
    let call = machine.call(calls(FIRST));
    let end = machine.end(&at);
    assert_eq!(call.parent, certain(&machine.ids(&end), false));
    assert_eq!(machine.ties.serving.len(), 0);
    assert_eq!(machine.call(calls(FIRST)).how, None);
}

/// Scenario: a goroutine reads what another one answers.
/// Guarantees: from then on it has nothing for certain, and all others have theirs.
#[test]
fn who_hands_over_is_known_by_itself() {
    let mut machine = Machine::new();
    let handed_over = machine.begin(serves(11, FIRST));
    machine.end(&handed_over.goroutine(SECOND));
    for (goroutine, known) in [(FIRST, false), (SECOND, true)] {
        let at = machine.begin(serves(21, goroutine));
        let call = machine.call(calls(goroutine));
        assert_eq!(call.parent.is_some(), known);
        machine.end(&at);
    }
}

/// Scenario: a goroutine that serves one request sends several in one call, which may be those of others as well.
/// Guarantees: they are likely its own, and not for certain.
#[test]
fn what_is_sent_together_may_be_of_several() {
    let mut machine = Machine::new();
    machine.begin(serves(11, FIRST));
    let at = calls(FIRST);
    let start = machine.begin_several(&at, &[vec![], vec![]]);
    let ids = machine.end_one(&at, start, 0, &[]);
    assert_eq!((ids.parent, ids.how), (None, Some("likely")));
}
