use super::*;

const NOW: UnixNanos = UnixNanos(1_795_381_200_000_000_000);

/// Scenario: every script of the catalogue, and every file of its folder.
/// Guarantees: each file is in the catalogue, and its head is whole.
#[test]
fn the_catalogue_is_whole() {
    for (name, text) in catalogue::TEXTS {
        let script = Script::parse(name, text, false).unwrap_or_else(|why| panic!("{name}: {why}"));
        script.question(&Map::new(), NOW).unwrap_or_else(|why| panic!("{name}: {why}"));
        let documented = script.columns.iter().all(|column| !column.about.is_empty());
        assert!(documented && script.parameters.iter().all(|p| !p.about.is_empty()), "{name}");
    }
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts");
    let files = std::fs::read_dir(folder).unwrap().count();
    assert_eq!((catalogue::TEXTS.len(), true), (files, files >= 25));
}

const HEAD: &str = "-- title: T\n-- about: A\n-- param: n int = 3; a number\n-- column: a int; b\n-- draw: table\n";

/// Scenario: heads that lack a part, name what is not there, or say something unknown.
/// Guarantees: each fault is named.
#[test]
fn faults_of_heads_are_named() {
    let check = |text: &str, why: &str| {
        let fault = Script::parse("x", text, true).unwrap_err();
        assert!(fault.contains(why), "{fault}");
    };
    assert!(Script::parse("x", &format!("{HEAD}SELECT $n AS a"), true).is_ok());
    check("SELECT 1", "no `title`");
    check(HEAD, "no SQL");
    check(&format!("{HEAD}SELECT 1"), "does not use `$n`");
    check(&format!("{HEAD}-- colour: red\nSELECT $n"), "line 6: `colour`");
    check(&HEAD.replace("table", "bars x=a y=z"), "it has no SQL");
    check(&format!("{}SELECT $n", HEAD.replace("table", "bars x=a y=z")), "draws `z`");
    check(&format!("{}SELECT $n", HEAD.replace("table", "bars x=a")), "needs `y=`");
    check(&format!("{}SELECT $n", HEAD.replace("int = 3", "int = many")), "no whole number");
    check(&format!("{}SELECT $n", HEAD.replace("a int;", "a int miles;")), "none of the units");
}

/// Scenario: values of every type, as JSON and as text, right and wrong; names that are none.
/// Guarantees: right ones are taken, wrong ones refused with the name and what it is.
#[test]
fn values_have_their_type() {
    let text = format!(
        "{}SELECT $n, $t, $w, $f",
        HEAD.replace("-- column", "-- param: t text = null; a text\n-- param: w time = 15m; when\n-- param: f float = 0.5; half\n-- column")
    );
    let script = Script::parse("x", &text, true).unwrap();
    let ask = |name: &str, value: Json| {
        script.question(&Map::from_iter([(name.to_owned(), value)]), NOW).map(drop)
    };
    for (name, value) in [
        ("n", 7.into()),
        ("n", "7".into()),
        ("t", "a'b".into()),
        ("t", Json::Null),
        ("w", "now".into()),
        ("f", 2.into()),
    ] {
        ask(name, value).unwrap();
    }
    for (name, value, why) in [
        ("n", Json::from("x"), "`n` of `x`"),
        ("n", 1.5.into(), "whole number"),
        ("t", 1.into(), "no text"),
        ("w", "yesterday".into(), "not a time"),
        ("z", 1.into(), "no parameter `z`"),
    ] {
        let refused = ask(name, value).unwrap_err().to_string();
        assert!(refused.contains(why), "{refused}");
    }
}

/// Scenario: a folder with a script, one that is none, one of a name that is in the catalogue.
/// Guarantees: the operator's own stands before ours; what is none is named; nothing else is.
#[test]
fn a_folder_adds_scripts() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("mine.sql", &format!("{HEAD}SELECT $n AS a"));
    write("services.sql", &format!("{HEAD}SELECT $n AS a"));
    write("broken.sql", "SELECT 1");
    write("notes.txt", "no script");
    let scripts = Scripts::open(Some(folder.path())).unwrap();
    let listed = scripts.list();
    assert_eq!(listed.scripts.len(), catalogue::TEXTS.len() + 1);
    assert_eq!(listed.scripts.iter().filter(|script| script.own).count(), 2);
    assert!(
        listed.faults.len() == 1 && listed.faults[0].contains("broken.sql"),
        "{:?}",
        listed.faults
    );
    assert!(scripts.find("mine").is_ok());
    let error = scripts.find("servces").unwrap_err();
    assert_eq!(error.hint(), "did you mean `services`?");
    assert!(Scripts::open(Some(&folder.path().join("nowhere"))).is_err());
}
