use std::io::Write as _;

use super::*;

fn layers(arguments: &[&str]) -> Result<Layers, crate::error::Failure> {
    let command = clap::Command::new("icecore").args(args());
    let given = ["icecore"].iter().chain(arguments);
    Layers::read(&command.try_get_matches_from(given).unwrap())
}

fn check_refused(arguments: &[&str], parts: &[&str]) {
    let failure = layers(arguments).and_then(|layers| layers.settings()).unwrap_err().to_string();
    for part in parts {
        assert!(failure.contains(part), "`{failure}` does not say `{part}`");
    }
}

/// Scenario: nothing is given.
/// Guarantees: the embedded defaults parse, every setting has one, and none is unknown.
#[test]
fn the_defaults_are_whole() {
    let settings = layers(&[]).unwrap().settings().unwrap();
    assert_eq!(settings.http_addr.to_string(), "127.0.0.1:7070");
    assert_eq!(settings.otlp_grpc_addr.to_string(), "127.0.0.1:4317");
    assert_eq!(settings.otlp_http_addr.to_string(), "127.0.0.1:4318");
    assert_eq!(settings.flush_after, Duration::from_secs(10));
}

/// Scenario: a setting in the file, another in file and flag.
/// Guarantees: the stronger wins, and the report says where each came from.
#[test]
fn stronger_layers_win() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "flush_after = \"5s\"\nqueries_max = 3\nforward = [{{ url = \"http://a:4317\", headers = {{ api-key = \"hush\" }} }}]").unwrap();
    let path = file.path().to_str().unwrap();
    let layers = layers(&["--config", path, "--flush-after", "9s", "--probes=false"]).unwrap();
    let settings = layers.settings().unwrap();
    assert_eq!((settings.flush_after, settings.queries_max), (Duration::from_secs(9), 3));
    assert!(!settings.probes);
    let report = layers.report();
    assert!(report.contains("flush_after = \"9s\"  # flag --flush-after"), "{report}");
    assert!(report.contains(&format!("queries_max = 3  # file {path}")), "{report}");
    assert!(report.contains("log = \"info\"  # default"), "{report}");
    assert!(!report.contains("hush") && !format!("{settings:?}").contains("hush"), "{report}");
}

/// Scenario: repeated flags and comma lists, as for `--forward`.
/// Guarantees: each becomes one element; header values are never shown.
#[test]
fn lists_repeat() {
    let given = [
        "--forward",
        "http://a:4317",
        "--forward",
        "http://b:4318,http://c",
        "--forward-headers",
        "X-Key=hush",
    ];
    let layers = layers(&given).unwrap();
    let settings = layers.settings().unwrap();
    assert_eq!(settings.forward.len(), 3);
    assert_eq!(settings.forward_headers[0].name, "x-key");
    assert!(!layers.report().contains("hush") && !format!("{settings:?}").contains("hush"));
}

/// Scenario: rules of retention by flag, one with commas in its SQL; a rule that is none.
/// Guarantees: rules are parted by semicolons; a wrong one is told with its setting.
#[test]
fn rules_keep_their_commas() {
    let given = ["--retention", "spans 30d; logs 7d where service_name in ('a', 'b')"];
    let settings = layers(&given).unwrap().settings().unwrap();
    assert_eq!(settings.retention.len(), 2);
    let condition = settings.retention[1].condition.as_deref();
    assert_eq!(condition, Some("service_name in ('a', 'b')"));
    check_refused(&["--retention", "spans soon"], &["retention", "flag --retention", "30d"]);
}

/// Scenario: values of the wrong type, unknown keys, files that are not there.
/// Guarantees: the message names the key, its origin, and what would be right.
#[test]
fn faults_are_named() {
    check_refused(&["--flush-after", "soon"], &["flush_after", "flag --flush-after", "soon", "2s"]);
    check_refused(&["--http-addr", "nowhere"], &["http_addr", "flag --http-addr"]);
    check_refused(&["--queries-max", "many"], &["--queries-max", "many"]);
    check_refused(&["--durability", "paper"], &["durability", "paper", "disk"]);
    check_refused(&["--forward-headers", "hush"], &["forward_headers", "name=value"]);
    check_refused(&["--config", "/does/not/exist"], &["/does/not/exist"]);
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "flush_aftr = \"5s\"").unwrap();
    check_refused(&["--config", file.path().to_str().unwrap()], &["flush_aftr", "flush_after"]);
}

/// Scenario: variables of the environment that are nearly a setting's, that are one, and that others
/// make.
/// Guarantees: the first are refused with what was meant, the rest are let be.
#[test]
fn misspelt_variables_are_refused() {
    let command = clap::Command::new("icecore").args(args());
    let matches = command.try_get_matches_from(["icecore"]).unwrap();
    let check = |name: &str| Layers::read_beside(&matches, std::iter::once(name.to_owned()));
    for (name, meant) in
        [("ICECORE_FLUSH_AFTR", "ICECORE_FLUSH_AFTER"), ("ICECORE_DURABILTY", "ICECORE_DURABILITY")]
    {
        let text = check(name).unwrap_err().to_string();
        assert!(text.contains(name) && text.contains(&format!("did you mean {meant}?")), "{text}");
    }
    for name in [
        "ICECORE_FLUSH_AFTER",
        "ICECORE_PORT",
        "ICECORE_SERVICE_HOST",
        "ICECORE_PORT_7070_TCP_ADDR",
        "ICECORE_QUERY_SERVICE_PORT",
        "ICECORE_CONFIG",
        "ICECORE_URL",
        "ICECORE_CACHE",
        "ICECORE_WEBHOOK",
        "OTHER_FLUSH_AFTR",
    ] {
        assert!(check(name).is_ok(), "{name}");
    }
}

/// Scenario: an endpoint to forward to with a misspelt key, one that is a number, and one whose
/// address has a password.
/// Guarantees: the key is named with the nearest; the password is not shown.
#[test]
fn endpoints_are_checked_and_masked() {
    let file = |text: &str| {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    };
    let typo = file("forward = [{ url = \"http://a:1\", protcol = \"grpc\" }]");
    let path = typo.path().to_str().unwrap();
    check_refused(&["--config", path], &["`forward`", "no `protcol`", "did you mean `protocol`?"]);
    let number = file("forward = [5]");
    check_refused(&["--config", number.path().to_str().unwrap()], &["an endpoint is an address"]);
    let report = layers(&["--forward", "https://u:hush@a:1/x@y"]).unwrap().report();
    assert!(report.contains("https://<secret>@a:1/x@y"), "{report}");
}
