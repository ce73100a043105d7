//! Segments that are whole, cut and damaged.

use std::collections::BTreeMap;

use tempfile::TempDir;

use super::*;

const FILES: u32 = 40;

fn files() -> Vec<FileKey> {
    let key = |number: u32| {
        (UnixNanos(i64::from(number / 10)), FileId(Ulid::from_parts(u64::from(number), 1)))
    };
    (0..FILES).map(key).collect()
}

/// Prints far apart, one that is in every file for more than a page, and the last of all.
fn pairs() -> Vec<Pair> {
    let mut pairs: Vec<Pair> =
        (0..6000_u64).map(|at| (at * 77_777_777, u32::try_from(at % 40).unwrap())).collect();
    pairs.extend((0..3000).map(|at| (77_777_777 * 50, at % FILES)));
    pairs.push(((1 << super::super::prints::BITS) - 1, 3));
    pairs.sort_unstable();
    pairs
}

fn written(folder: &TempDir) -> Segment {
    write(&folder.path().join("a"), files(), pairs().into_iter().map(Ok)).unwrap()
}

/// Scenario: every print of a segment is looked up, and some that are not there; it is opened
/// again.
/// Guarantees: exactly the files of the print, however many pages it goes over.
#[test]
fn every_pair_is_found() {
    let folder = TempDir::new().unwrap();
    let made = written(&folder);
    let opened = Segment::open(&made.path).unwrap();
    assert!(made.firsts.len() > 4, "{} pages", made.firsts.len());
    assert_eq!((&opened.files, opened.pairs, opened.bytes), (&made.files, made.pairs, made.bytes));
    assert_eq!(opened.firsts, made.firsts);
    assert_eq!(made.bytes, std::fs::metadata(&made.path).unwrap().len());
    let mut expected: BTreeMap<u64, Vec<FileKey>> = BTreeMap::new();
    for (print, file) in pairs() {
        expected.entry(print).or_default().push(files()[file as usize]);
    }
    // A long run of one print, the pages around it, and every so many others.
    let some = expected.keys().enumerate().filter(|(at, _)| *at < 300 || at % 37 == 0);
    for print in some.flat_map(|(_, print)| [*print, *print + 1]) {
        let expected = expected.get(&print).cloned().unwrap_or_default();
        assert_eq!(opened.find(print).unwrap(), expected, "{print}");
    }
    let read: Vec<Pair> = opened.pairs().unwrap().map(Result::unwrap).collect();
    assert_eq!(read, pairs());
}

/// Scenario: a byte of a segment is turned, anywhere in it, or it is cut anywhere, or gone.
/// Guarantees: it does not open, or each look-up is right or fails.
#[test]
fn damage_is_never_an_answer() {
    let folder = TempDir::new().unwrap();
    let made = written(&folder);
    let whole = std::fs::read(&made.path).unwrap();
    let some = pairs().into_iter().step_by(700).map(|pair| pair.0).collect::<Vec<_>>();
    let answers: Vec<_> = some.iter().map(|print| made.find(*print).unwrap()).collect();
    let mut failed = 0;
    let mut check = |bytes: &[u8]| {
        std::fs::write(&made.path, bytes).unwrap();
        for segment in [Some(&made), Segment::open(&made.path).ok().as_ref()].into_iter().flatten()
        {
            for (print, answer) in some.iter().zip(&answers) {
                match segment.find(*print) {
                    Ok(found) => assert_eq!(&found, answer),
                    Err(_) => failed += 1,
                }
            }
        }
    };
    for at in (0..whole.len()).step_by(397).chain(whole.len() - 40..whole.len()) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        check(&bytes);
    }
    (0..whole.len()).step_by(2003).for_each(|cut| check(&whole[..cut]));
    assert!(failed > 0);
    std::fs::remove_file(&made.path).unwrap();
    assert!(Segment::open(&made.path).is_err() && made.find(some[0]).is_err());
}

/// Scenario: the pairs fail while a segment is written.
/// Guarantees: an error, and no file is left.
#[test]
fn a_failed_write_leaves_nothing() {
    let folder = TempDir::new().unwrap();
    let pairs = pairs().into_iter().map(Ok).chain([Err(torn())]);
    assert!(write(&folder.path().join("a"), files(), pairs).is_err());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
