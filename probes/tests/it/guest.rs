//! Other kernels: a guest is booted under QEMU with this very test program in its initial file system,
//! and runs tests of it by name.
//!
//! Invariant: a guest passes only if its console says that each of the tests was run and passed; one that
//! fails, hangs, panics or leaves a test out does not.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};

/// The kernels that `./dev` takes out of Debian's packages, oldest first.
pub(crate) const KERNELS: [&str; 2] = ["6.1", "6.12"];
const QEMU: &str = "qemu-system-x86_64";
const PYTHON: &str = "python3";
/// Parts of Python's library that are large and that no script of ours uses.
const NOT_OF_PYTHON: [&str; 4] = ["test", "site-packages", "dist-packages", "idlelib"];
/// What a guest gets before it counts as hung: ten times of what one takes on an idle machine.
const GUEST_SECONDS_MAX: &str = "600";
/// What is shown of the console of a guest that failed.
const SHOWN_LINES: usize = 120;
/// What a kernel says of itself when something is wrong with it.
const COMPLAINTS: [&str; 4] = ["Kernel panic", "BUG:", "Oops:", "WARNING: CPU:"];
/// Each guest takes a core for itself.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// What a guest is to do, and what it needs for that.
pub(crate) struct Guest<'a> {
    /// Tests of this program, by their whole names.
    pub(crate) tests: &'a [&'a str],
    /// Programs that they start.
    pub(crate) programs: &'a [&'a str],
}

/// Runs the tests on one kernel, and panics with the guest's console unless all of them pass there. Says so
/// where there is no QEMU or no such kernel.
pub(crate) fn check(kernel: &str, guest: &Guest<'_>) {
    let image = cache().join("kernels").join(kernel).join("vmlinuz");
    let missing = [QEMU, "busybox"].into_iter().find(|program| found(program).is_none());
    if let Some(program) = missing {
        return println!("skipped: Linux {kernel} in a guest: there is no {program}");
    }
    if !image.exists() {
        return println!("skipped: Linux {kernel} in a guest: there is no {}", image.display());
    }
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    let initial = folder.path().join("initial.cpio");
    pack(&furnish(folder.path(), guest), &initial);
    let console = boot(&image, &initial);
    if let Err(fault) = judge(&console, guest.tests) {
        let from = console.lines().count().saturating_sub(SHOWN_LINES);
        let shown: Vec<&str> = console.lines().skip(from).collect();
        panic!("Linux {kernel}: {fault}\n{}", shown.join("\n"));
    }
    let told = console.lines().find(|line| line.starts_with("guest: Linux")).unwrap_or_default();
    println!("{}: {} tests passed", told.trim(), guest.tests.len());
}

/// What is wrong with what a guest says of these tests.
fn judge(console: &str, tests: &[&str]) -> Result<(), String> {
    let lines = || console.lines().map(str::trim);
    if let Some(complaint) = lines().find(|line| COMPLAINTS.iter().any(|it| line.contains(it))) {
        return Err(format!("the kernel complains: {complaint}"));
    }
    if let Some(skipped) = lines().find(|line| line.contains("skipped:")) {
        return Err(format!("a test was left out: {skipped}"));
    }
    let Some(exit) = lines().find_map(|line| line.strip_prefix("guest: exit ")) else {
        return Err("the guest hung or died on the way".to_owned());
    };
    if exit != "0" {
        return Err(format!("the tests ended with {exit}"));
    }
    let wanted = format!("test result: ok. {} passed; 0 failed; 0 ignored", tests.len());
    if !lines().any(|line| line.starts_with(&wanted)) {
        return Err(format!("it does not say {wanted:?}"));
    }
    Ok(())
}

/// Everything that the guest has, as files below a folder.
fn furnish(folder: &Path, guest: &Guest<'_>) -> PathBuf {
    let root = folder.join("root");
    let test = folder.join("test-program");
    let program = std::env::current_exe().unwrap();
    // What a debugger wants is nine tenths of the file.
    let stripped = Command::new("strip").arg("-o").arg(&test).arg(&program).status();
    let program = if stripped.is_ok_and(|it| it.success()) { test } else { program };
    place(&root, &program, "/usr/bin/tests".as_ref());
    place(&root, &found("busybox").unwrap(), "/bin/busybox".as_ref());
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers");
    place_all(&root, &scripts);
    place(&root, &scripts.join("guest.sh"), "/init".as_ref());
    let mut programs = vec![program];
    for name in guest.programs {
        if *name == PYTHON {
            programs.extend(python(&root));
            continue;
        }
        let path = found(name).unwrap_or_else(|| panic!("there is no {name}: run ./dev test"));
        place(&root, &path, &path);
        programs.push(path);
    }
    for library in needed(&programs) {
        place(&root, &library, &library);
    }
    let tests = guest.tests.join(" ");
    let line = format!("exec tests --exact --test-threads=1 --show-output {tests}\n");
    std::fs::write(root.join("tests"), line).unwrap();
    std::fs::create_dir_all(root.join("etc")).unwrap();
    let users = "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n";
    std::fs::write(root.join("etc/passwd"), users).unwrap();
    std::fs::write(root.join("etc/group"), "root:x:0:\nnogroup:x:65534:\n").unwrap();
    root
}

/// Copies Python with the library that belongs to it, and tells of the parts that need other libraries.
fn python(root: &Path) -> Vec<PathBuf> {
    let line = "import os, sys, sysconfig\n\
                print(os.path.realpath(sys.executable), sysconfig.get_path('stdlib'))";
    let told = said(Command::new(PYTHON).args(["-I", "-c", line]));
    let (program, library) = told.trim().split_once(' ').unwrap();
    let (program, library) = (PathBuf::from(program), PathBuf::from(library));
    place(root, &program, &program);
    std::os::unix::fs::symlink(&program, root.join("usr/bin").join(PYTHON)).unwrap();
    for part in library.read_dir().unwrap().flatten().map(|part| part.path()) {
        let name = part.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if part.exists() && !NOT_OF_PYTHON.contains(&name) {
            place_all(root, &part);
        }
    }
    let parts = library.join("lib-dynload").read_dir().into_iter().flatten().flatten();
    std::iter::once(program).chain(parts.map(|part| part.path())).collect()
}

/// Copies a file, or a folder with all that is in it, to the same place.
fn place_all(root: &Path, path: &Path) {
    let to = below(root, path);
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    said(Command::new("cp").arg("-rLT").arg(path).arg(to));
}

fn place(root: &Path, file: &Path, at: &Path) {
    let to = below(root, at);
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    std::fs::copy(file, &to).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
}

fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap())
}

/// The shared libraries of programs, and what loads them.
fn needed(programs: &[PathBuf]) -> BTreeSet<PathBuf> {
    let output = Command::new("ldd").args(programs).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let path = |line: &str| {
        let name = line.split_once("=>").map_or(line, |(_, name)| name).trim();
        let name = name.split_once(" (").map_or("", |(name, _)| name);
        name.starts_with('/').then(|| PathBuf::from(name))
    };
    text.lines().filter_map(path).collect()
}

/// An initial file system as the kernel takes it.
fn pack(root: &Path, archive: &Path) {
    let pack = "find . | busybox cpio -o -H newc > \"$0\" 2> /dev/null";
    said(Command::new("sh").args(["-c", pack]).arg(archive).current_dir(root));
}

/// The console of a guest, from its first line to its end, or to where its time was up.
fn boot(image: &Path, initial: &Path) -> String {
    let mut command = Command::new("timeout");
    command.args(["--signal=KILL", GUEST_SECONDS_MAX, "nice", QEMU]);
    // Not by KVM: what runs these tests is seldom allowed to have guests of its own.
    command.args(["-accel", "tcg", "-smp", "2", "-m", "2048", "-no-reboot", "-nodefaults"]);
    command.args(["-display", "none", "-serial", "stdio"]).arg("-kernel").arg(image);
    // On a machine that is busy the guest's timer is late, which its kernel would take for broken.
    let line = "console=ttyS0 quiet panic=-1 no_timer_check";
    command.arg("-initrd").arg(initial).args(["-append", line]);
    let Output { stdout, stderr, .. } = command.output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr))
}

/// Where a program is.
fn found(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let mut folders = std::env::split_paths(&path).chain(more);
    folders.find_map(|folder| Some(folder.join(program)).filter(|path| path.is_file()))
}

/// What a command prints; it is to succeed.
fn said(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn cache() -> PathBuf {
    let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("/root"), PathBuf::from);
    std::env::var_os("ICECORE_CACHE").map_or_else(|| home.join(".cache/icecore"), PathBuf::from)
}

/// Scenario: consoles of guests that pass, fail, hang, panic, leave a test out, and run fewer than asked.
/// Guarantees: the first passes and no other does, each for its own reason.
#[test]
fn a_guest_passes_only_when_it_says_so() {
    let end = "test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured\r\nguest: exit 0\r\n";
    let check = |console: &str, fault: &str| {
        let told = judge(console, &["a", "b"]).expect_err(console);
        assert!(told.contains(fault), "{told}");
    };
    judge(&format!("guest: Linux 6.1\r\n{end}"), &["a", "b"]).unwrap();
    check("", "hung or died");
    check("guest: Linux 6.1\r\ntest result: ok. 2 passed; 0 failed; 0 ignored\r\n", "hung");
    check(&end.replace("exit 0", "exit 101"), "101");
    check(&end.replace("2 passed", "1 passed"), "2 passed");
    check(&format!("skipped: no such tracepoint\r\n{end}"), "left out");
    check(&format!("{end}[ 9.1] Kernel panic - not syncing"), "complains");
    check(&format!("[ 3.0] WARNING: CPU: 0 PID: 1\r\n{end}"), "complains");
}
