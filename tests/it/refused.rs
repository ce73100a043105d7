//! Settings that are wrong, and what is there when they were refused.

use std::net::TcpListener;

use crate::icecore::Start;

/// Scenario: one setting of each part is wrong, such that only that part knows; the ports that `run` would
/// bind first are taken.
/// Guarantees: exit code 2 and the setting by its name, before any port was tried and without a file.
#[test]
fn wrong_settings_touch_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (name, value, part) in [
        ("forward", "ftp://collector", "`forward`"),
        ("forward", "grpc://collector/path", "`forward`"),
        ("pg-addr", "nowhere", "`pg_addr`"),
        ("grpc-addr", "7071", "`grpc_addr`"),
        ("script-dir", "/nowhere/at/all", "/nowhere/at/all"),
        ("queries-max", "0", "queries_max"),
        ("retention", "spans 30d where no_such_column = 1", "no_such_column"),
    ] {
        let start = Start::new(&data)
            .arg("probes", "true")
            .arg("otlp-grpc-addr", &taken)
            .arg("http-addr", &taken)
            .arg(name, value);
        let (code, said) = start.refused();
        assert_eq!(code, Some(2), "{name}={value}: {said}");
        assert!(said.contains(part), "{name}={value}: {said}");
        assert!(!data.exists(), "{name}={value} made files");
    }
}
