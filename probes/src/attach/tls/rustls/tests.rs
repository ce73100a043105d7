use super::*;

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
