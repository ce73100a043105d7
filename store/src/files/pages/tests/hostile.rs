//! The page cache where its files are damaged, are no files, lie, or cannot be opened.
#![expect(clippy::single_range_in_vec_init, reason = "one range is meant")]

use super::*;

/// Scenario: what is kept of a file is changed, cut, put in the place of that of another, and deleted, while the
/// process runs and before it starts.
/// Guarantees: nothing but what the data file has is ever found; what was damaged goes, and is kept anew.
#[tokio::test(flavor = "multi_thread")]
async fn damage_is_never_answered_from() {
    let bench = Bench::new(1..3, u64::MAX);
    for restarts in [false, true] {
        for (at, damage) in ["change", "cut", "swap", "delete"].iter().enumerate() {
            let pages = bench.open();
            keep(&pages, 1, 0..6).await;
            keep(&pages, 2, 0..6).await;
            let path =
                |number| bench.base.join("pages-1").join(Name::of(&file(number)).file_name());
            let pages = if restarts {
                drop(pages);
                None
            } else {
                Some(pages)
            };
            let mut bytes = std::fs::read(path(1)).unwrap();
            match *damage {
                "change" => {
                    bytes[1000 + at] ^= 1;
                    std::fs::write(path(1), &bytes).unwrap();
                }
                "cut" => std::fs::write(path(1), &bytes[..50]).unwrap(),
                "swap" => drop(std::fs::copy(path(2), path(1)).unwrap()),
                _ => std::fs::remove_file(path(1)).unwrap(),
            }
            let pages = pages.unwrap_or_else(|| bench.open());
            let found = pages.find(&file(1), &[0..6]).await;
            assert!(found.is_empty(), "{damage}: {:?}", found.first().map(|(run, _)| run));
            check(&pages, 2, &[0..6], &[0..6]).await;
            keep(&pages, 1, 0..6).await;
            check(&pages, 1, &[0..6], &[0..6]).await;
        }
    }
    assert!(bench.dropped("damaged") > 0 && bench.dropped("gone") > 0);
}

/// Scenario: links, a folder and a pipe lie in the folder under names of the cache, and beside it a file that is
/// called like a folder of another version; later no cache is wanted, while a process has it and after.
/// Guarantees: it opens, follows none of them, and what they lead to stays as it was; what was kept is gone once
/// nobody has it.
#[tokio::test]
async fn what_is_no_file_of_ours_is_not_followed() {
    let bench = Bench::new(0..5, 1 << 30);
    let pages = bench.open();
    for number in 0..3 {
        keep(&pages, number, 0..1).await;
    }
    drop(pages);
    let elsewhere = bench.base.parent().unwrap().join("elsewhere");
    std::fs::write(&elsewhere, "not ours").unwrap();
    std::fs::write(bench.base.join("pages-old"), "no folder").unwrap();
    let folder = bench.base.join("pages-1");
    let names = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let mut names: Vec<PathBuf> = names.filter(|path| !path.ends_with("lock")).collect();
    names.sort();
    names.iter().take(2).for_each(|name| std::fs::remove_file(name).unwrap());
    std::os::unix::fs::symlink(&elsewhere, &names[0]).unwrap();
    std::fs::create_dir(&names[1]).unwrap();
    let pages = bench.open();
    assert!(!names[0].exists() && !names[1].exists() && names[2].exists());
    check(&pages, 2, &[0..1], &[0..1]).await;
    assert_eq!(std::fs::read_to_string(&elsewhere).unwrap(), "not ours");
    Pages::clear(&bench.base);
    assert!(names[2].exists(), "a process has it");
    drop(pages);
    while folder.exists() {
        Pages::clear(&bench.base);
        tokio::task::yield_now().await;
    }
    assert!(bench.base.join("pages-old").exists());
    Pages::clear(&bench.base.join("nowhere"));
}

/// Scenario: under a running process a file of the cache becomes a link to another, a pipe, and a folder; then one
/// whose checksums are right says that it has what the data file has not.
/// Guarantees: nobody waits, nothing is answered from it, and no query fails; it is dropped, what the link leads to
/// stays as it was, and the blocks are kept anew.
#[tokio::test(flavor = "multi_thread")]
async fn what_becomes_something_else_is_dropped() {
    let bench = Bench::new(1..2, u64::MAX);
    let elsewhere = bench.base.parent().unwrap().join("elsewhere");
    std::fs::write(&elsewhere, "not ours").unwrap();
    let name = Name::of(&file(1));
    let path = bench.base.join("pages-1").join(name.file_name());
    let lying = [(0, part(&file(1), 0..1).1.slice(..9)), (u64::MAX, part(&file(1), 5..6).1)];
    for (at, reopened) in (0..4).flat_map(|at| [(at, false), (at, true)]) {
        let mut pages = bench.open();
        keep(&pages, 1, 0..6).await;
        disk::remove(&path).unwrap();
        match at {
            0 => std::os::unix::fs::symlink(&elsewhere, &path).unwrap(),
            1 => {
                assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success())
            }
            2 => std::fs::create_dir_all(path.join("deeper")).unwrap(),
            _ => drop(disk::append(&path, name.id, 0, &lying).unwrap()),
        }
        if reopened {
            drop(pages);
            pages = bench.open();
        }
        check(&pages, 1, &[0..6], &[]).await;
        assert!(!path.exists());
        keep(&pages, 1, 0..6).await;
        check(&pages, 1, &[0..6], &[0..6]).await;
        assert_eq!(std::fs::read_to_string(&elsewhere).unwrap(), "not ours");
    }
    assert!(bench.dropped("damaged") > 0);
}

/// Scenario: the folder of the cache is a link to another, and its lock is a pipe.
/// Guarantees: there is no cache; nobody waits, and what is in the other folder stays.
#[test]
fn a_folder_that_leads_elsewhere_is_none() {
    let bench = Bench::new(0..1, u64::MAX);
    let elsewhere = bench.base.parent().unwrap().join("elsewhere");
    std::fs::create_dir_all(elsewhere.join("mine")).unwrap();
    std::fs::create_dir(&bench.base).unwrap();
    let folder = bench.base.join("pages-1");
    std::os::unix::fs::symlink(&elsewhere, &folder).unwrap();
    assert!(bench.try_open().is_none() && elsewhere.join("mine").exists());
    std::fs::remove_file(&folder).unwrap();
    std::fs::create_dir(&folder).unwrap();
    let made = std::process::Command::new("mkfifo").arg(folder.join("lock")).status();
    assert!(made.unwrap().success() && bench.try_open().is_none());
}

/// Scenario: what is kept of a file cannot be opened, as this process has all the files open that it may; then it
/// can again. For what was there before the process began, what it has put there itself, and what is added.
/// Guarantees: nothing is found meanwhile and nothing fails; nothing is dropped, and all is found afterwards.
#[test]
fn too_many_open_files_are_no_damage() {
    // In a process of its own, as others need their files.
    const CHILD: &str = "ICECORE_TEST_FEW_FILES";
    let run = || tokio::runtime::Runtime::new().unwrap().block_on(with_no_file_to_open());
    if std::env::var_os(CHILD).is_some() {
        return run();
    }
    let mut child = std::process::Command::new("sh");
    child.args(["-c", "ulimit -n 64; exec \"$0\" \"$@\""]).arg(std::env::current_exe().unwrap());
    child.args(["--exact", "files::pages::tests::hostile::too_many_open_files_are_no_damage"]);
    let ended = child.env(CHILD, "1").output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success() && said.contains("1 passed"), "{said}");
}

async fn with_no_file_to_open() {
    let bench = Bench::new(1..3, u64::MAX);
    let pages = bench.open();
    keep(&pages, 1, 0..3).await;
    drop(pages);
    let pages = bench.open();
    keep(&pages, 2, 0..3).await;
    let before = bench.on_disk();
    {
        let opened = std::iter::from_fn(|| File::open("/dev/null").ok());
        let _all: Vec<File> = opened.collect();
        for number in [1, 2] {
            check(&pages, number, &[0..6], &[]).await;
            keep(&pages, number, 3..4).await;
        }
    }
    assert_eq!((bench.on_disk(), bench.skipped("failed")), (before, 2));
    assert_eq!(bench.dropped("damaged") + bench.dropped("failed"), 0);
    assert!(bench.figure("icecore_store_page_cache_failures_total") >= 4);
    for number in [1, 2] {
        check(&pages, number, &[0..6], &[0..3]).await;
        keep(&pages, number, 3..4).await;
        check(&pages, number, &[0..6], &[0..4]).await;
    }
}
