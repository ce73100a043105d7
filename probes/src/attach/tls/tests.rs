use std::fs::File;
use std::os::unix::fs::symlink;

use icecore_probe_events::shape;

use super::*;

/// The file in which this test runs, as a process without libraries would have mapped it.
fn itself() -> Mapped {
    let mapped = mapped::files(Path::new(PROC), std::process::id());
    let path = std::env::current_exe().unwrap();
    mapped.into_iter().find(|mapped| mapped.path == path).unwrap()
}

/// Scenario: this test looks at what it has mapped itself.
/// Guarantees: its own file and the C library are there once, and what is opened is that file.
#[test]
fn mapped_files_are_opened_by_any_way() {
    let mapped = mapped::files(Path::new(PROC), std::process::id());
    let libc = mapped.iter().filter(|one| one.path.to_string_lossy().contains("libc.so"));
    assert_eq!(libc.count(), 1);
    let mine = itself();
    let by_path = Mapped::of_file(&mine.path).unwrap();
    assert_eq!(by_path.id, mine.id);
    let length = |file: File| file.metadata().unwrap().len();
    assert_eq!(length(mine.open().unwrap()), length(by_path.open().unwrap()));
    assert_eq!(elf::functions(&mine.open().unwrap()), None);
    assert!(mapped::files(Path::new(PROC), u32::MAX).is_empty());
}

/// Scenario: a folder like procfs in which another file has taken the place of one that is mapped,
/// which the kernel's own link cannot be asked about.
/// Guarantees: a file that is not the mapped one is not opened; the mapped one is, by the process's
/// root, and a name with spaces is read whole.
#[test]
fn another_file_is_not_opened() {
    let proc_dir = tempfile::tempdir().unwrap();
    let root = tempfile::tempdir().unwrap();
    let library = root.path().join("lib with spaces.so");
    std::fs::write(&library, b"one").unwrap();
    let id = Mapped::of_file(&library).unwrap().id;
    let process = proc_dir.path().join("7");
    std::fs::create_dir(&process).unwrap();
    symlink(root.path(), process.join("root")).unwrap();
    let maps = id.maps_line("00400000-00401000", "/lib with spaces.so");
    std::fs::write(process.join("maps"), format!("{maps}not a line\n")).unwrap();
    let [mapped] = mapped::files(proc_dir.path(), 7).try_into().unwrap();
    assert!(mapped.open().is_ok());
    std::fs::rename(&library, root.path().join("kept")).unwrap();
    assert!(mapped.open().is_err());
    std::fs::write(&library, b"two").unwrap();
    assert!(mapped.open().is_err());
}

/// Scenario: the system's own libraries, as far as they are installed; files that are none.
/// Guarantees: each library has all functions by which bytes pass, at places that differ; what is
/// no library has none.
#[test]
fn system_libraries_are_told_by_their_functions() {
    for path in families::system_libraries() {
        let Some(found) = elf::functions(&File::open(&path).unwrap()) else { continue };
        let of_kind = |kind| {
            let functions = found.functions.iter();
            functions.filter(|one| one.shape & shape::KIND == kind).count()
        };
        assert_eq!((of_kind(shape::READ), of_kind(shape::WRITE)), (2, 2), "{}", path.display());
        let mut places: Vec<u64> = found.functions.iter().map(|one| one.place).collect();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), found.functions.len(), "{}", path.display());
    }
    let folder = tempfile::tempdir().unwrap();
    for bytes in [&b""[..], b"#!/bin/sh\n", b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\xff\xff"] {
        let path = folder.path().join("file");
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(elf::functions(&File::open(&path).unwrap()), None);
    }
}

/// Scenario: a sparse file of 1 TiB whose head says that the number of its sections stands in the first of them, which
/// says as many as would fill the file; one that says the same of its parts.
/// Guarantees: neither is read.
#[test]
fn numbers_that_stand_elsewhere_are_not_believed() {
    use std::io::Write as _;
    for (sections, parts) in [(0_u16, 1_u16), (1, 0xffff)] {
        let mut bytes = vec![0_u8; 64 + 56 + 64];
        bytes[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(18, &62_u16.to_le_bytes());
        put(32, &64_u64.to_le_bytes());
        put(40, &120_u64.to_le_bytes());
        put(52, &64_u16.to_le_bytes());
        put(54, &56_u16.to_le_bytes());
        put(56, &parts.to_le_bytes());
        put(58, &64_u16.to_le_bytes());
        put(60, &sections.to_le_bytes());
        put(120 + 32, &(1_u64 << 34).to_le_bytes());
        put(120 + 44, &u32::MAX.to_le_bytes());
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        file.set_len(1 << 40).unwrap();
        assert!(elf::head(&object::read::ReadCache::new(&file)).is_none());
        assert!(elf::functions(&file).is_none());
        assert!(matches!(go::functions(&file), Ok(None)));
    }
}
