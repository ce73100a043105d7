use super::super::stretch::Stretch;
use super::*;
use crate::clock::monotonic;

/// Scenario: names of functions as two ways of writing them have it, with what compilers append; and names that are near.
/// Guarantees: those that are hooked are told, and no other.
#[test]
fn functions_are_told_by_their_names() {
    let hash = "17h1332163842e8d187E";
    let seal = |name: &str| {
        format!(
            "_ZN111_$LT$rustls..crypto..ring..tls13..Tls13MessageEncrypter$u20$as$u20$rustls..crypto..cipher..MessageEncrypter$GT${name}{hash}"
        )
    };
    let legacy = |name: &str| format!("_ZN6rustls{name}{hash}");
    for (name, expected) in [
        (seal("7encrypt"), Some(Part::Seals)),
        (seal("7encrypt") + ".llvm.6049537205934952121", Some(Part::Seals)),
        (seal("21encrypted_payload_len"), None),
        (legacy("12common_state11CommonState23take_received_plaintext"), Some(Part::Takes)),
        (legacy("6server11server_conn14EarlyDataState23take_received_plaintext"), None),
        (legacy("6vecbuf14ChunkVecBuffer8write_to"), Some(Part::Sends)),
        (legacy("6vecbuf14ChunkVecBuffer8write_to28_$u7b$$u7b$closure$u7d$$u7d$"), None),
        ("_RNvMs_NtCs6Jmb8mcHTtX_6rustls12common_stateNtB4_11CommonState23take_received_plaintext".to_owned(), Some(Part::Takes)),
        ("take_received_plaintext".to_owned(), None),
    ] {
        assert_eq!(part(name.as_bytes()), expected, "{name}");
    }
    assert_eq!(part(b"_ZN\xffMessageEncrypter"), None);
}

const SENT: &[u8] = b"_ZN6rustls6vecbuf14ChunkVecBuffer8write_to17h1332163842e8d187E";

/// A name with a word in it, each part of which stands for the one before twice: in full, it has 2^40.
fn doubling() -> String {
    let digit = |number: usize| {
        let all = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
        char::from(all[number % 62])
    };
    let mut name = "INvC1a14ChunkVecBufferTuuE".to_owned();
    // References are distances from the beginning.
    let mut to = "l".to_owned();
    for _ in 0..40 {
        let next = name.len() - 1;
        name += &format!("TB{to}_B{to}_E");
        to = if next < 62 { String::new() } else { digit(next / 62).to_string() };
        to.push(digit(next));
    }
    format!("_R{name}E")
}

/// Scenario: tables of 64 MB made to keep somebody busy: one name without end with 30,000 of the words in it, one that has an
/// end, and 20,000 short names that each stand for one without end. Behind each, a name that is wanted.
/// Guarantees: what is longer than a name may be is nobody's name; a table is told in the time of a search, whatever is in it.
#[test]
fn tables_made_to_keep_somebody_busy_do_not() {
    let endless = b"_ZN16ChunkVecBuffer__".repeat(30_000);
    let mut filled = endless.clone();
    filled.resize(64 << 20, b'x');
    let doubling = doubling();
    assert!(rustc_demangle::try_demangle(&doubling).is_ok());
    let nested = format!("{doubling}\0").into_bytes().repeat(20_000);
    let begun = monotonic();
    for (names, wanted) in [(&endless, 0), (&filled, 0), (&[SENT, b"\0"].concat(), 1)] {
        assert_eq!(parts(names).len(), wanted);
        assert_eq!(parts(&[names, &b"\0"[..]].concat()).len(), wanted);
    }
    assert_eq!(parts(&[SENT, b"\0", &nested].concat()), HashMap::from([(0, Part::Sends)]));
    assert!(monotonic() - begun < 20_000_000_000);
}

/// Scenario: a wanted name at the beginning of a table, with a word twice, behind another name, and without an end.
/// Guarantees: it is told once, by where it begins; not where it has no end.
#[test]
fn names_are_told_by_where_they_begin() {
    let twice = [b"_ZN14ChunkVecBuffer14ChunkVecBuffer17h1332163842e8d187E\0", SENT].concat();
    let check = |before: &[u8], after: &[u8], wanted: &[u32]| {
        let parts = parts(&[before, SENT, after].concat());
        assert_eq!(parts, wanted.iter().map(|&at| (at, Part::Sends)).collect(), "{before:?}");
    };
    check(b"", b"\0", &[0]);
    check(b"\0main\0", b"\0", &[6]);
    check(&[b'x'; NAME_BYTES_MAX], b"\0", &[]);
    check(b"", b"", &[]);
    check(b"", &[b'x'; NAME_BYTES_MAX], &[]);
    check(&twice, b"\0", &[]);
}

/// Scenario: programs in which functions are missing, are as many as may be, and are one more; and as many places where they
/// return.
/// Guarantees: a program with more than that is refused, and no other that is whole.
#[test]
fn programs_with_too_much_to_hook_are_refused() {
    let check = |takes, sends, seals, refused| {
        let parts = [(Part::Takes, takes), (Part::Sends, sends), (Part::Seals, seals)];
        let parts = parts.into_iter().flat_map(|(part, times)| vec![part; times]);
        assert_eq!(whole(parts).is_err(), refused, "{takes} {sends} {seals}");
    };
    check(1, 1, 1, false);
    check(OTHERS_MAX, OTHERS_MAX, SEALS_MAX, false);
    check(OTHERS_MAX + 1, 1, 1, true);
    check(1, OTHERS_MAX + 1, 1, true);
    check(1, 1, SEALS_MAX + 1, true);
    check(0, 1, 1, true);
    check(1, 0, 1, true);
    check(1, 1, 0, true);
    let function = |exits| Function { place: 0, shape: 0, exits, programs: RUSTLS_SEAL };
    let at = |count| function(Exits::At(vec![0; count]));
    assert!(few_exits(&[function(Exits::Caught), at(EXITS_MAX - 1), at(1)]).is_ok());
    assert!(few_exits(&[at(EXITS_MAX), at(1)]).is_err());
}

/// Scenario: a thousand symbols of one function, and one of another behind them; and functions without end.
/// Guarantees: each is told once, and none is left out unless the program is refused.
#[test]
fn functions_that_are_one_are_told_once() {
    let one = (Part::Seals, 100, 10);
    let other = (Part::Sends, 50, 10);
    let symbols = std::iter::repeat_n(one, 1_000).chain([other]);
    assert_eq!(distinct(symbols), [other, one]);
    let first = [(Part::Takes, 10, 10), (Part::Sends, 20, 10)];
    let endless = distinct(first.into_iter().chain((30..).map(|at| (Part::Seals, at, 10))));
    assert!(whole(endless.iter().map(|(part, ..)| *part)).is_err());
}

/// Scenario: this very test, which has rustls with its symbols.
/// Guarantees: three functions that encrypt, one that hands over records and one that takes bytes are found; those of which
/// it matters with the instructions by which they return.
#[test]
fn this_program_is_told_by_its_symbols() {
    let file = File::open(std::env::current_exe().unwrap()).unwrap();
    let found = functions(&file).unwrap().unwrap();
    let of = |programs| found.functions.iter().filter(move |one| one.programs == programs);
    let counts = [RUSTLS_SEAL, RUSTLS_SENT, RUSTLS_OPENED].map(|programs| of(programs).count());
    assert_eq!(counts, [3, 1, 1]);
    for Function { place, exits, .. } in of(RUSTLS_SEAL).chain(of(RUSTLS_SENT)) {
        let Exits::At(exits) = exits else { panic!("{exits:?}") };
        let all = Stretch { file: &file, start: 0, len: u64::MAX };
        assert!(!exits.is_empty());
        assert!(exits.iter().all(|at| at > place && all.read(*at, 1).unwrap() == [0xc3]));
    }
}
