use std::io::{Seek as _, Write as _};
use std::path::PathBuf;

use icecore_probe_events::shape;
use proptest::prelude::*;

use super::super::returns::returns;
use super::table::Named;
use super::*;

const NAMES: [&str; 3] = ["main.main", "crypto/tls.(*Conn).Read", "not.there"];

/// A table of Go 1.20 and later: each name a function of 16 bytes.
fn table(names: &[&str], text: u64) -> Vec<u8> {
    let mut all = vec![0];
    let (mut index, mut described, mut start) = (Vec::new(), Vec::new(), 0_u32);
    let index_bytes = u32::try_from(names.len() * 8 + 4).unwrap();
    for name in names {
        let place = u32::try_from(all.len()).unwrap();
        all.extend([name.as_bytes(), b"\0"].concat());
        let at = index_bytes + u32::try_from(described.len()).unwrap();
        index.extend([start.to_le_bytes(), at.to_le_bytes()].concat());
        described.extend([start.to_le_bytes(), place.to_le_bytes(), [7; 4]].concat());
        start += 16;
    }
    index.extend(start.to_le_bytes());
    let names_end = 72 + all.len() as u64;
    let mut bytes = vec![0xf1, 0xff, 0xff, 0xff, 0, 0, 1, 8];
    for number in [names.len() as u64, 1, text, 72, names_end, names_end, names_end, names_end] {
        bytes.extend(number.to_le_bytes());
    }
    [bytes, all, index, described].concat()
}

fn found(bytes: &[u8]) -> Result<Option<Named>, Refusal> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    let stretch = Stretch { file: &file, start: 0, len: bytes.len() as u64 };
    table::find(&stretch, &NAMES)
}

/// Scenario: a table of three functions, whole and cut at every byte; one without the names that are asked
/// for; those of older versions.
/// Guarantees: functions are where the table says, those of other names are not there; of a cut table
/// either the same is told or nothing; an older one is refused by name.
#[test]
fn a_table_says_where_functions_are() {
    let whole = table(&["main.main", "fmt.Println", "crypto/tls.(*Conn).Read"], 0x401_000);
    let functions =
        vec![Some(Range { start: 0, end: 16 }), Some(Range { start: 32, end: 48 }), None];
    let expected = Named { text: 0x401_000, functions, polls: false };
    assert_eq!(found(&whole).unwrap().unwrap(), expected);
    for cut in 0..whole.len() {
        if let Ok(Some(named)) = found(whole.get(..cut).unwrap()) {
            assert_eq!(named, expected, "{cut}");
        }
    }
    assert_eq!(found(&table(&["fmt.Println"], 0)).unwrap(), None);
    for magic in [0xfa, 0xfb] {
        let mut old = whole.clone();
        *old.first_mut().unwrap() = magic;
        assert!(matches!(found(&old), Err(Refusal::Old)));
    }
}

/// Scenario: programs with the runtime's own waiting, and with functions of theirs or of libraries that ask for what is ready.
/// Guarantees: the latter are told; what merely sounds so is not.
#[test]
fn event_loops_are_told_by_their_functions() {
    let polls = |name: &str| {
        let runtime = "internal/runtime/syscall.EpollWait";
        let all = table(&["main.main", runtime, "internal/poll.runtime_pollWait", name], 0x401_000);
        found(&all).unwrap().unwrap().polls
    };
    for name in [
        "golang.org/x/sys/unix.EpollWait",
        "syscall.EpollWait",
        "github.com/panjf2000/gnet/v2/pkg/netpoll.epollWait",
        "golang.org/x/sys/unix.Poll",
        "syscall.Select",
    ] {
        assert!(polls(name), "{name}");
    }
    for name in ["reflect.Select", "golang.org/x/sys/unix.PollFd.String", "runtime.epollwait"] {
        assert!(!polls(name), "{name}");
    }
}

/// Scenario: functions as Go compiles them, and such as it does not.
/// Guarantees: each instruction that returns is found, and none inside another; a function that begins in
/// another way, has nothing that returns, or an instruction that nobody knows, is refused.
#[test]
fn returns_are_instructions() {
    // cmp rsp, [r14+16]; jbe +9; mov eax, 0xc3; ret; nop; mov bl, 0xc3; ret; int3
    let whole = b"\x49\x3b\x66\x10\x76\x09\xb8\xc3\0\0\0\xc3\x90\xb3\xc3\xc3\xcc";
    assert!(code::begins(whole));
    assert_eq!(returns(whole), Ok(vec![11, 15]));
    // lea r12, [rsp-0x68]; cmp r12, [r14+16]; ret
    let large = b"\x4c\x8d\x64\x24\x98\x4d\x3b\x66\x10\xc3";
    assert!(code::begins(large));
    assert_eq!(returns(large), Ok(vec![9]));
    assert!(!code::begins(b"\xb8\xc3\0\0\0\xc3"));
    assert!(returns(b"\x49\x3b\x66\x10\x90").is_err());
    assert!(returns(b"\x49\x3b\x66\x10\x06\xc3").is_err());
    assert!(returns(b"").is_err() && !code::begins(b""));
}

proptest! {
    /// Scenario: a table in which bytes were changed; bytes that are no code.
    /// Guarantees: nothing panics, and no place is outside of what was given.
    #[test]
    fn nonsense_is_read_without_a_panic(
        changes in prop::collection::vec((0_usize..200, any::<u8>()), 1..8),
        code in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut bytes = table(&NAMES, 0);
        for (at, byte) in changes {
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
        }
        drop(found(&bytes));
        let begun = [&b"\x49\x3b\x66\x10"[..], &code].concat();
        for place in returns(&begun).unwrap_or_default() {
            prop_assert!(begun.get(usize::try_from(place).unwrap()).is_some());
        }
    }
}

/// Scenario: a table amid other things, behind what begins like one and is none, also behind a thousand such.
/// Guarantees: it is found, and all of it is read; behind the thousand nobody looks for it.
#[test]
fn a_table_is_found_amid_other_things() {
    let whole = table(&NAMES, 0x401_000);
    let mut bytes = vec![3; 300_000];
    bytes[64..72].copy_from_slice(whole.first_chunk::<8>().unwrap());
    bytes.truncate(299_968);
    let nothing = bytes.clone();
    bytes.extend(&whole);
    let head = [*whole.first_chunk::<8>().unwrap(), [0; 8]].concat();
    let crowd = [head.repeat(1_000), nothing.clone(), whole.clone()].concat();
    for (bytes, found) in [(bytes, true), (nothing, false), (crowd, false)] {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        let stretch = Stretch { file: &file, start: 0, len: bytes.len() as u64 };
        let table = table::within(&stretch).map(|table| (table.start, table.len));
        assert_eq!(table, found.then_some((299_968, whole.len() as u64)));
    }
}

/// Scenario: programs by two versions of Go, one stripped of its symbols and linked by C's linker so that it
/// may lie anywhere in memory, and one without TLS; where
/// `./dev peers` has built them.
/// Guarantees: of the first all five functions are found, those that move bytes with the instructions by which they return;
/// of the other none. Nobody's goroutines are taken for event loops.
#[test]
fn go_programs_are_told_by_their_tables() {
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache/icecore"));
    let cache = std::env::var_os("ICECORE_CACHE").map(PathBuf::from).or(home).unwrap_or_default();
    for (name, wanted) in [("tls-go-1.27", 5), ("tls-go-1.21-pie", 5), ("busy-go", 0)] {
        let path = cache.join("bin").join(name);
        let Ok(file) = File::open(&path) else {
            println!("skipped: no {} (`./dev peers` makes it)", path.display());
            continue;
        };
        let found = functions(&file).unwrap();
        assert!(found.as_ref().is_none_or(|found| found.goroutines_wait));
        let functions = found.map_or_else(Vec::new, |found| found.functions);
        assert_eq!(functions.len(), wanted, "{name}");
        for Function { place, shape, exits, .. } in functions {
            let Exits::At(exits) = exits else { panic!("{name}: {shape}") };
            let all = Stretch { file: &file, start: 0, len: u64::MAX };
            let returns = |&at: &u64| at > place && all.read(at, 1).unwrap() == [0xc3];
            assert_eq!(exits.is_empty(), shape & shape::KIND == shape::TOUCH, "{name}: {shape:x}");
            assert!(exits.iter().all(returns), "{name}: {shape:x}");
        }
    }
}
