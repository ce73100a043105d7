//! No secret survives, wherever it stands.

use proptest::prelude::*;

use super::*;

fn clean(text: &str) -> String {
    Redaction::default().text(text, false, &mut Taken::default()).into_owned()
}

/// Scenario: presigned links, tokens and harmless parameters.
/// Guarantees: secrets are gone and counted, everything else is as it was.
#[test]
fn queries() {
    for (given, wanted, bytes) in [
        ("a=1&b=2", "a=1&b=2", 0),
        ("sig=abc&x", "sig=REDACTED&x", 3),
        ("X-Amz-Signature=1&X-Amz-Date=2", "X-Amz-Signature=REDACTED&X-Amz-Date=2", 1),
        ("access_token=a=b&API-Key=c", "access_token=REDACTED&API-Key=REDACTED", 4),
        ("design=x&signal=y&tokens=3", "design=x&signal=y&tokens=3", 0),
        ("code=de&page=2", "code=de&page=2", 0),
        ("code=S1x&state=ab", "code=REDACTED&state=ab", 3),
        (
            "a=1&code=x&code_verifier=y&redirect_uri=%2F",
            "a=1&code=REDACTED&code_verifier=REDACTED&redirect_uri=%2F",
            2,
        ),
        ("to=ann%40shop.example", "to=REDACTED", 18),
        ("", "", 0),
    ] {
        let mut taken = Taken::default();
        assert_eq!(Redaction::default().query(given, false, &mut taken), wanted);
        assert_eq!(taken.counts().map(|(_, count)| count).sum::<u64>(), bytes, "{given}");
    }
}

/// Scenario: texts and queries that come again, some of which are secrets as the one and not as the other, or when they were
/// cut; and one redaction beside another.
/// Guarantees: whatever was told before of the other, each is told as the first time, and counted each time.
#[test]
fn what_comes_again() {
    let lenient = Redaction { emails: false, ..Redaction::default() };
    let asked =
        ["a=1&b=2", "x-amz-credential=1", "to=ann@shop.example", "ua/1.0 (of; this)", "n=41111111"];
    for redaction in [Redaction::default(), lenient] {
        let tell = |one: &Redaction, text| {
            let mut taken = Taken::default();
            let told = [
                one.text(text, false, &mut taken).into_owned(),
                one.query(text, false, &mut taken).into_owned(),
                one.text(text, true, &mut taken).into_owned(),
            ];
            (told, taken)
        };
        let first = asked.map(|text| tell(&redaction.clone(), text));
        for _ in 0..3 {
            assert_eq!(asked.map(|text| tell(&redaction, text)), first);
        }
    }
}

/// Scenario: what a browser is sent back with, what is posted for a token, and codes that are none.
/// Guarantees: a code that is traded for a token is gone, any other is left.
#[test]
fn codes_for_tokens() {
    for (given, wanted) in [
        ("https://a/b?code=4/0Ab&state=x#top", "https://a/b?code=REDACTED&state=x#top"),
        (
            "grant_type=authorization_code&code=xyz&code_verifier=q-1",
            "grant_type=authorization_code&code=REDACTED&code_verifier=REDACTED",
        ),
        ("https://a/b?postcode=12345&state=x", "https://a/b?postcode=12345&state=x"),
        ("https://a/b?code=de", "https://a/b?code=de"),
    ] {
        assert_eq!(clean(given), wanted);
    }
}

/// Scenario: secrets as options, as assignments, in URLs and on their own.
/// Guarantees: none is left.
#[test]
fn command_lines() {
    let given = ["app", "--token", "x", "--password=y", "DB_PASSWORD=z", "--port", "80"];
    let given = given.map(str::to_owned).into_iter();
    let more = ["postgres://u:p@h/db?x@y".to_owned(), format!("ghp_{}", "a1".repeat(18))];
    let given: Vec<_> = given.chain(more).collect();
    assert_eq!(
        arguments(&given, 1_024).join(" "),
        "app --token REDACTED --password=REDACTED DB_PASSWORD=REDACTED --port 80 \
         postgres://REDACTED@h/db?x@y REDACTED"
    );
}

/// Scenario: a text with several secrets that overlap, and what a rule leaves in.
/// Guarantees: each byte counts once, for the kind that comes first; what is left in is whole.
#[test]
fn each_byte_counts_once() {
    let text = r#"{"password":"4111111111111111","to":"ann@shop.example","n":"4111111111111111"}"#;
    let mut taken = Taken::default();
    let all = Redaction::default().text(text, false, &mut taken).into_owned();
    assert_eq!(all, r#"{"password":"REDACTED","to":"REDACTED","n":"REDACTED"}"#);
    let counts: Vec<_> = taken.counts().collect();
    assert_eq!(counts, [(Kind::Credential, 16), (Kind::Card, 16), (Kind::Email, 16)]);
    let lenient = Redaction { cards: false, emails: false, ..Redaction::default() };
    let left = lenient.text(text, false, &mut taken).into_owned();
    assert!(left.contains("ann@shop.example") && left.contains("\"n\":\"4111111111111111\""));
    assert!(left.contains(r#""password":"REDACTED""#), "always");
    let pattern = Arc::new(Regex::new(r"EMP-\d{6}").unwrap());
    let own = Redaction { patterns: vec![pattern], ..Redaction::default() };
    assert_eq!(own.text("EMP-123456x", false, &mut Taken::default()), "REDACTEDx");
}

/// A number of a card with its check digit.
fn card() -> impl Strategy<Value = String> {
    let issuers = prop_oneof![
        Just(("4", 16)),
        Just(("4", 13)),
        Just(("4", 19)),
        Just(("51", 16)),
        Just(("55", 16)),
        Just(("2221", 16)),
        Just(("2720", 16)),
        Just(("34", 15)),
        Just(("37", 15)),
        Just(("6011", 16)),
        Just(("65", 16)),
        Just(("300", 14)),
        Just(("36", 14)),
        Just(("3528", 16)),
        Just(("62", 16)),
        Just(("62", 19)),
        Just(("50", 17)),
        Just(("6304", 18)),
        Just(("9792", 16)),
    ];
    (issuers, prop::collection::vec(0_u32..10, 19)).prop_map(|((prefix, length), random)| {
        let random = random.into_iter().map(|digit| char::from_digit(digit, 10).unwrap());
        let mut number: String = prefix.chars().chain(random).take(length - 1).collect();
        let sum: u32 = number
            .chars()
            .rev()
            .enumerate()
            .map(|(at, digit)| {
                let digit = digit.to_digit(10).unwrap() * if at % 2 == 0 { 2 } else { 1 };
                digit / 10 + digit % 10
            })
            .sum();
        number.push(char::from_digit((10 - sum % 10) % 10, 10).unwrap());
        number
    })
}

/// The same with marks between groups of digits.
fn written(card: &str, mark: &str, group: usize) -> String {
    let digits: Vec<char> = card.chars().collect();
    digits.chunks(group).map(|one| one.iter().collect::<String>()).collect::<Vec<_>>().join(mark)
}

fn token() -> impl Strategy<Value = String> {
    prop_oneof![
        "ghp_[A-Za-z0-9]{36}",
        "glpat-[A-Za-z0-9_-]{20}",
        "xoxb-[0-9]{11}-[A-Za-z0-9]{24}",
        "sk_live_[A-Za-z0-9]{24}",
        "sk-[A-Za-z0-9]{40}",
        "AKIA[A-Z0-9]{16}",
        "AIza[A-Za-z0-9_-]{35}",
        "eyJ[A-Za-z0-9_-]{20}\\.[A-Za-z0-9_-]{20}\\.[A-Za-z0-9_-]{20}",
    ]
}

/// Where a secret may stand: nothing that would be part of it is right beside it.
fn around(secret: &str, before: &str, after: &str, place: usize) -> String {
    match place {
        0 => format!("{before} {secret} {after}"),
        1 => format!("{{\"{before}\":\"{secret}\",\"x\":\"{after}\"}}"),
        2 => format!("x={secret}&y={after}"),
        3 => format!("/{before}/{secret}/{after}"),
        4 => format!("<a>{secret}</a>{after}"),
        _ => format!("{before}\n{secret}\n{after}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Scenario: card numbers of all issuers, written in all ways, in texts of all kinds.
    /// Guarantees: none is left.
    #[test]
    fn no_card_survives(
        card in card(), group in prop_oneof![Just(4), Just(6), Just(19)],
        mark in prop_oneof![Just(" "), Just("-"), Just("+"), Just("%20"), Just("")],
        before in "[a-zé\"&=:]{0,12}", after in "[a-zé\"&=:]{0,12}", place in 0_usize..6,
    ) {
        let number = written(&card, mark, group);
        let text = around(&number, &before, &after, place);
        let left = clean(&text);
        prop_assert!(!left.contains(&number), "{text} became {left}");
        let digits = left.chars().filter(char::is_ascii_digit).count();
        prop_assert!(digits < 2, "{text} became {left}");
    }

    /// Scenario: tokens of many issuers, also behind a scheme and under a name.
    /// Guarantees: none is left, and not the better part of one.
    #[test]
    fn no_token_survives(
        token in token(), before in ".{0,12}", after in ".{0,12}", place in 0_usize..6,
        scheme in prop_oneof![Just(""), Just("Bearer "), Just("bearer%20"), Just("token=")],
    ) {
        let text = around(&format!("{scheme}{token}"), &before, &after, place);
        let left = clean(&text);
        let part: String = token.chars().skip(token.len() / 2).collect();
        prop_assert!(!left.contains(&part), "{text} became {left}");
    }

    /// Scenario: a secret of any letters under a secret's name.
    /// Guarantees: it is gone.
    #[test]
    fn no_named_secret_survives(secret in "[A-Za-z0-9!#$*./~^-]{6,40}", name in prop_oneof![
        Just("password"), Just("client_secret"), Just("accessToken"), Just("X-Api-Key"), Just("DB_PASSWORD"),
    ], place in 0_usize..4) {
        prop_assume!(!name.contains(secret.as_str()));
        let text = match place {
            0 => format!("{{\"user\":1,\"{name}\":\"{secret}\"}}"),
            1 => format!("a=1&{name}={secret}&b=2"),
            2 => format!("{name}: {secret}\nx"),
            _ => format!("<{name}>{secret}</{name}>"),
        };
        let left = clean(&text);
        prop_assert!(!left.contains(&secret), "{text} became {left}");
    }

    /// Scenario: any text, cut anywhere.
    /// Guarantees: nothing panics; what is clean stays as it is when it is looked at again.
    #[test]
    fn any_text(text in "(?s).{0,300}", cut in any::<bool>()) {
        let redaction = Redaction::default();
        let once = redaction.text(&text, cut, &mut Taken::default()).into_owned();
        let twice = redaction.text(&once, false, &mut Taken::default()).into_owned();
        prop_assert!(twice.matches(REDACTED).count() <= once.matches(REDACTED).count() + 2);
    }

    /// Scenario: a body with a card number or a token that is cut at every place.
    /// Guarantees: of a card less is left than would tell it, of a token no more than its prefix.
    #[test]
    fn what_is_cut_is_no_less_secret(card in card(), token in token(), keep in 6_usize..40) {
        let redaction = Redaction::default();
        let number: String = card.chars().take(keep).collect();
        let left = redaction.text(&format!("n {number}"), true, &mut Taken::default()).into_owned();
        prop_assert_eq!(left, "n REDACTED");
        let part: String = token.chars().take(keep).collect();
        let left = redaction.text(&format!("t {part}"), true, &mut Taken::default()).into_owned();
        prop_assert!(keep < 9 || !left.contains(&part), "{} became {}", part, left);
    }
}
