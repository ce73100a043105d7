//! Rules of the house that a machine can keep. Each says what it found and where.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const FILE_LINES_MAX: usize = 500;
const MAIN_LINES_MAX: usize = 70;
const CRATES: [&str; 8] = [
    "store",
    "ingest",
    "probes",
    "probes/events",
    "query-api",
    "otel-bridge",
    "deploy",
    "loadtest",
];

/// The dependency arrows that are allowed between our crates; nothing else, and no cycles.
const ARROWS: [(&str, &[&str]); 8] = [
    ("store", &[]),
    ("ingest", &["icecore-store"]),
    ("probes", &["icecore-probe-events"]),
    ("probes/events", &[]),
    ("query-api", &["icecore-store"]),
    ("otel-bridge", &["icecore-store"]),
    ("deploy", &[]),
    ("loadtest", &[]),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file that git knows or would add, with this ending.
fn files(ending: &str) -> Vec<PathBuf> {
    let output = Command::new("git")
        .current_dir(root())
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .output()
        .unwrap();
    let list = String::from_utf8(output.stdout).unwrap();
    let names = list.lines().filter(|name| name.ends_with(ending));
    let files: Vec<PathBuf> =
        names.map(PathBuf::from).filter(|path| root().join(path).exists()).collect();
    assert!(!files.is_empty(), "git lists no file that ends in {ending}");
    files
}

fn read(path: &Path) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

fn check(rule: &str, faults: &[String]) {
    assert!(faults.is_empty(), "{rule}:\n{}", faults.join("\n"));
}

/// Scenario: the manifests as they stand.
/// Guarantees: crates depend on each other only along the arrows of ARCHITECTURE.md.
#[test]
fn arrows_between_crates() {
    let mut faults = Vec::new();
    for (folder, allowed) in ARROWS {
        let manifest: toml::Table = read(&Path::new(folder).join("Cargo.toml")).parse().unwrap();
        for section in ["dependencies", "build-dependencies"] {
            let names = manifest.get(section).and_then(toml::Value::as_table).into_iter().flatten();
            for (name, _) in names {
                if name.starts_with("icecore") && !allowed.contains(&name.as_str()) {
                    faults.push(format!("{folder} may not depend on {name}"));
                }
            }
        }
    }
    check("dependencies point one way", &faults);
}

/// Scenario: the source of the root binary.
/// Guarantees: parts meet under `compose` (and in the commands that are a part's own face).
#[test]
fn parts_meet_in_one_place() {
    let faces =
        ["check", "deploy", "doctor", "store"].map(|face| format!("src/commands/{face}.rs"));
    let mut faults = Vec::new();
    for path in files(".rs") {
        let name = path.to_str().unwrap();
        let is_face = faces.iter().any(|face| face == name);
        let may = !name.starts_with("src/") || name.starts_with("src/compose") || is_face;
        if !may && read(&path).contains("icecore_") {
            faults.push(format!("{name} imports a part"));
        }
    }
    check("only src/compose knows parts", &faults);
}

/// Scenario: every Rust file.
/// Guarantees: it opens with its purpose, is short, is not `mod.rs`, and is finished.
#[test]
fn files_are_short_and_say_what_they_are() {
    let mut faults = Vec::new();
    for path in files(".rs") {
        let text = read(&path);
        let name = path.display();
        let lines = text.lines().count();
        let max = if path.ends_with("src/main.rs") { MAIN_LINES_MAX } else { FILE_LINES_MAX };
        // The kernel program's main.rs is where its entry points must stand.
        let max = if path.starts_with("probes/ebpf") || path.starts_with("loadtest") {
            FILE_LINES_MAX
        } else {
            max
        };
        if lines > max {
            faults.push(format!("{name}: {lines} lines, at most {max}"));
        }
        let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        let is_tests = path.file_stem().is_some_and(|stem| stem == "tests");
        if !first.starts_with("//!") && !is_tests {
            faults.push(format!("{name}: does not open with //!"));
        }
        if path.file_name().is_some_and(|file| file == "mod.rs") {
            faults.push(format!("{name}: use {}.rs", path.parent().unwrap().display()));
        }
        for word in [
            concat!("FIX", "ME"),
            concat!("todo", "!("),
            concat!("unimplemented", "!("),
            concat!("#[", "ignore"),
        ] {
            if text.contains(word) {
                faults.push(format!("{name}: has {word}"));
            }
        }
    }
    check("files", &faults);
}

/// Scenario: the words under store/src/model.
/// Guarantees: pure values: no I/O, no clock, no lock, no runtime.
#[test]
fn the_model_is_pure() {
    let banned = [
        "std::fs",
        "std::net",
        "std::io",
        "std::sync::Mutex",
        "tokio",
        "object_store",
        "Instant",
        "SystemTime",
        "sled",
    ];
    let mut faults = Vec::new();
    for path in files(".rs").into_iter().filter(|path| path.starts_with("store/src/model")) {
        let text = read(&path);
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        for (line, word) in code.flat_map(|line| banned.iter().map(move |word| (line, word))) {
            if line.contains(word) {
                faults.push(format!("{}: {}", path.display(), line.trim()));
            }
        }
    }
    check("nothing under model/ does I/O", &faults);
}

/// Scenario: the source of the store, without its tests.
/// Guarantees: time, chance and threads come in one way, so that the simulation decides them.
#[test]
fn the_store_has_one_clock_and_one_chance() {
    let banned = ["spawn_blocking(", "rand::random", "tokio::time::", "tokio::spawn("];
    let doors = ["work.rs", "chance.rs", "ports.rs", "folder.rs", "folder/upload.rs", "loops.rs"];
    let mut faults = Vec::new();
    for path in files(".rs").into_iter().filter(|path| path.starts_with("store/src")) {
        let name = path.display().to_string();
        // Trace filters are a cache that the simulation does without.
        let is_door = doors.iter().any(|door| name.ends_with(door)) || name.contains("traces");
        if is_door || name.ends_with("tests.rs") || name.contains("/tests/") {
            continue;
        }
        for line in read(&path).lines().filter(|line| !line.trim_start().starts_with("//")) {
            if banned.iter().any(|word| line.contains(word)) {
                faults.push(format!("{name}: {}", line.trim()));
            }
        }
    }
    check("the store asks its clock, its chance and work.rs", &faults);
}

/// Scenario: every library crate.
/// Guarantees: it has the files that a reader looks for first, and denies missing docs.
#[test]
fn crates_have_the_same_rooms() {
    let mut faults = Vec::new();
    for folder in CRATES {
        let library = root().join(folder).join("src/lib.rs");
        let Ok(text) = fs::read_to_string(&library) else { continue };
        if !text.contains("#![deny(missing_docs)]") {
            faults.push(format!("{folder}/src/lib.rs does not deny missing docs"));
        }
        if !["probes/events", "deploy"].contains(&folder) {
            for room in ["config.rs", "error.rs", "metrics.rs"] {
                let path = root().join(folder).join("src").join(room);
                if !path.exists() {
                    faults.push(format!("{folder}/src/{room} is missing"));
                }
            }
        }
    }
    check("the tenth crate is known before it is opened", &faults);
}

/// Scenario: the pages under docs/decisions.
/// Guarantees: each is dated, short, and named in the index.
#[test]
fn decisions_are_dated() {
    let index = read(Path::new("docs/decisions/README.md"));
    let mut faults = Vec::new();
    for path in files(".md").into_iter().filter(|path| path.starts_with("docs/decisions")) {
        let name = path.file_name().unwrap().to_str().unwrap();
        if name == "README.md" {
            continue;
        }
        let text = read(&path);
        if !text.lines().take(4).any(|line| line.starts_with("Date: 20")) {
            faults.push(format!("{name}: no `Date: YYYY-MM-DD` in its first lines"));
        }
        if !index.contains(name) {
            faults.push(format!("{name}: not in docs/decisions/README.md"));
        }
    }
    check("decisions", &faults);
}

/// Scenario: the dependency tree as Cargo.lock has it.
/// Guarantees: every licence is one that deny.toml allows, every crate comes from the registry or
/// from here, and what deny.toml bans is not there.
#[test]
fn licences_and_sources() {
    let deny: toml::Table = read(Path::new("deny.toml")).parse().unwrap();
    let allowed: Vec<&str> = deny["licenses"]["allow"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|name| name.as_str())
        .collect();
    let output = Command::new(env!("CARGO"))
        .current_dir(root())
        .args(["metadata", "--format-version", "1", "--locked"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut faults = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let licence = package["license"].as_str().unwrap_or_default();
        let fits = |one: &str| allowed.contains(&one.trim().trim_matches(['(', ')']).trim());
        // `A OR B` needs one that fits, `A AND B` all; `/` is the old way to write OR.
        let fine =
            licence.replace('/', " OR ").split(" AND ").all(|part| part.split(" OR ").any(fits));
        if !fine {
            faults.push(format!("{name}: licence `{licence}`"));
        }
        let source = package["source"].as_str();
        if source.is_some_and(|source| !source.starts_with("registry+")) {
            faults.push(format!("{name}: from {}", source.unwrap()));
        }
        if deny["bans"]["deny"]
            .as_array()
            .unwrap()
            .iter()
            .any(|ban| ban["crate"].as_str() == Some(name))
        {
            faults.push(format!("{name}: is banned"));
        }
    }
    check("licences and sources", &faults);
}
