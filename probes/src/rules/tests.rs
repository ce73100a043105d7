//! Files of rules, and what follows from them.

use std::path::PathBuf;

use super::matching::{Call, Subject};
use super::*;
use crate::protocol::Role;
use crate::redact::Taken;

fn parse(text: &str) -> Result<Rules, String> {
    let config = RulesConfig { body_bytes: 100, ..RulesConfig::default() };
    file::parse(Path::new("rules.toml"), text.as_bytes(), &config)
        .map_err(|error| error.to_string())
}

fn cart() -> Subject {
    Subject {
        namespace: "shop".to_owned(),
        pod: "cart-1".to_owned(),
        labels: vec![("tier".to_owned(), "web".to_owned())],
        container: "app".to_owned(),
        process: "python3".to_owned(),
        executable: "/usr/bin/python3.11".to_owned(),
        service: "cart".to_owned(),
    }
}

const CALL: Call<'static> =
    Call { role: Role::Server, protocol: "http", port: 8080, path: "/healthz" };

/// Scenario: rules that ask for each thing that can be asked for, met and not met.
/// Guarantees: all that a rule asks for must fit, and what is not known fits nothing.
#[test]
fn what_rules_ask_for() {
    let traced = |when: &str, subject: &Subject| {
        let rules = parse(&format!("[[rule]]\nwhen = {{ {when} }}\ntrace = false")).unwrap();
        rules.decide(subject, &CALL).trace
    };
    let unknown = Subject::default();
    for (fits, not) in [
        ("namespace = 'shop'", "namespace = 'sho'"),
        ("namespace = ['x', 'sh*']", "namespace = ['x', 'y*']"),
        ("pod = 'cart-*'", "pod = 'cart'"),
        ("label = { tier = 'web' }", "label = { tier = 'web', other = '*' }"),
        ("container = 'app'", "container = ''"),
        ("process = 'python*'", "process = '/usr/bin/python'"),
        ("process = '*/python3.11'", "process = '/python3.11'"),
        ("service = 'cart'", "service = 'Cart'"),
    ] {
        assert!(!traced(fits, &cart()), "{fits}");
        assert!(traced(not, &cart()), "{not}");
        assert!(traced(fits, &unknown), "{fits} of nobody");
    }
    assert!(traced("namespace = '*'", &unknown));
    for (fits, not) in [
        ("role = 'server'", "role = 'client'"),
        ("protocol = ['grpc', 'http']", "protocol = 'grpc'"),
        ("port = 8080", "port = 80"),
        ("port = [1, '8000-8100']", "port = '8081-9000'"),
        ("path = '/health*'", "path = '/'"),
    ] {
        assert!(!traced(fits, &unknown), "{fits}");
        assert!(traced(not, &unknown), "{not}");
        assert!(!traced(&format!("namespace = 'shop', {fits}"), &cart()), "{fits}");
        assert!(traced(&format!("namespace = 'other', {fits}"), &cart()), "{fits}");
    }
}

/// Scenario: several rules that match, each with a word on some matters.
/// Guarantees: of each matter the first decides that speaks of it; what none speaks of is as set.
#[test]
fn the_first_word_counts() {
    let rules = parse(
        "[[pattern]]\nname = 'id'\nregex = 'ID\\d{4}'\n\
         [[rule]]\nwhen = { service = 'cart' }\nsample = 0.5\n\
         [[rule]]\nwhen = { namespace = 'shop' }\nsample = 0.1\nbody_bytes = '2KiB'\nservice_name = 'named'\n\
         [[rule]]\nbody_bytes = 0\nredact = ['email']\n",
    )
    .unwrap();
    let Decision { trace, share, body_bytes, redaction } = rules.decide(&cart(), &CALL);
    assert_eq!((trace, body_bytes), (true, 2_048));
    assert_eq!(Some(share), Share::new(0.5));
    assert!(
        redaction.emails && !redaction.cards && !redaction.sql && redaction.patterns.is_empty()
    );
    assert_eq!(rules.service_name(&cart()), Some("named"));
    assert_eq!(rules.service_name(&Subject::default()), None);
    assert_eq!(rules.decide(&Subject::default(), &CALL).body_bytes, 0);
    assert_eq!(rules.body_bytes_max(), 2_048);
    let silent = parse("[[pattern]]\nname = 'id'\nregex = 'ID\\d{4}'").unwrap();
    let Decision { body_bytes, redaction, .. } = silent.decide(&cart(), &CALL);
    assert_eq!(body_bytes, 100);
    assert_eq!(redaction.text("ID1234 a@b.co", false, &mut Taken::default()), "REDACTED REDACTED");
}

/// Scenario: files with a fault of every kind.
/// Guarantees: each is refused, and the reason names what is wrong.
#[test]
fn faults() {
    for (text, wanted) in [
        ("[[rule]]\ntrace = 'no'", "boolean"),
        ("[[rule]]\nwhen = { namespaces = 'x' }\ntrace = false", "unknown field `namespaces`"),
        ("[[rules]]\ntrace = false", "unknown field `rules`"),
        ("[[rule]]\nwhen = { namespace = 1 }\ntrace = true", "a text or a list of texts"),
        ("[[rule]]\nwhen = { namespace = 'x' }", "says nothing"),
        ("[[rule]]\nsample = 1.5", "between 0 and 1"),
        ("[[rule]]\nbody_bytes = '4KB'", "body_bytes"),
        ("[[rule]]\nbody_bytes = '2MiB'", "at most 1MiB"),
        (
            "[[rule]]\ntrace = true\n[[rule]]\nwhen = { port = '9-8' }\ntrace = true",
            "rule 2: port `9-8`",
        ),
        ("[[rule]]\nwhen = { protocol = 'htp' }\ntrace = true", "there is no protocol `htp`"),
        ("[[rule]]\nredact = ['cards']", "there is no `cards`"),
        ("[[rule]]\nwhen = { port = 1 }\nservice_name = 'x'", "service_name is of a process"),
        ("[[pattern]]\nname = 'a'\nregex = '('", "pattern `a`"),
        ("[[pattern]]\nname = 'a'\nregex = 'x*'", "matches the empty text"),
        ("[[pattern]]\nname = 'card'\nregex = 'x'", "two patterns called `card`"),
        ("[[pattern]]\nname = 'a'\nregex = '(?:\\w{100}){100}{100}'", "exceeds size limit"),
        ("[[rule]\n", "1 |"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.contains(wanted), "{text}: {error}");
    }
    assert!(parse(&"[[rule]]\ntrace = true\n".repeat(1_001)).unwrap_err().contains("1001 rules"));
}

fn figure(registry: &Registry, name: &str) -> String {
    let mut shown = String::new();
    prometheus_client::encoding::text::encode(&mut shown, registry).unwrap();
    shown.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned()
}

async fn until(mut met: impl FnMut() -> bool) {
    let wait = async {
        while !met() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap();
}

/// Scenario: a file of rules is changed, broken, taken away and put back while it is in force.
/// Guarantees: what has no fault is in force soon; what has one changes nothing and is counted; at the
/// start a fault is refused.
#[tokio::test]
async fn a_file_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("rules.toml");
    let config = RulesConfig {
        file: Some(file.clone()),
        every: Duration::from_millis(10),
        ..RulesConfig::default()
    };
    let refused =
        |config: &RulesConfig| open(config.clone(), &mut Registry::default()).unwrap_err();
    assert!(matches!(refused(&config), RulesError::Read { .. }));
    std::fs::write(&file, "[[rule]]\nsample = 2").unwrap();
    assert!(matches!(refused(&config), RulesError::Fault { .. }));
    assert!(check(&file).is_err() && check(&PathBuf::from("/none")).is_err());
    std::fs::write(&file, "[[rule]]\nbody_bytes = 1").unwrap();
    assert!(check(&file).unwrap().contains("1 rules, 0 patterns"));

    let mut registry = Registry::default();
    let (in_force, task) = open(config, &mut registry).unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let task = tokio::spawn(task.run(stop.clone()));
    let bytes = || in_force.rules().body_bytes_max();
    let refused = || figure(&registry, "icecore_probes_rules_changes_total{outcome=\"refused\"}");
    assert_eq!(bytes(), 1);
    let write = |text: &str| {
        std::fs::write(dir.path().join("new"), text).unwrap();
        std::fs::rename(dir.path().join("new"), &file).unwrap();
    };
    write("[[rule]]\nbody_bytes = 2");
    until(|| bytes() == 2).await;
    let stale = || figure(&registry, "icecore_probes_rules_stale");
    assert_eq!(stale(), "0");
    for (broken, count) in [(Some("[[rule]]\nbody_bytes = x"), "1"), (None, "2")] {
        match broken {
            Some(text) => write(text),
            None => std::fs::remove_file(&file).unwrap(),
        }
        until(|| stale() == "1" && refused() == count).await;
        assert_eq!(bytes(), 2);
    }
    write("[[rule]]\nbody_bytes = 3");
    until(|| bytes() == 3 && stale() == "0").await;
    stop.cancel();
    task.await.unwrap();
}
