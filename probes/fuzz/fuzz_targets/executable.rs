//! Looks for what to hook in files of arbitrary bytes: `cargo +nightly fuzz run executable`. The first byte of the input says
//! whether it is all of a file, Go's table of functions in a program that is whole otherwise, or code and frames of a
//! library that has BoringSSL's name.
//!
//! Invariant under test: no panic, and a bounded amount of work.
#![no_main]

use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::os::fd::FromRawFd as _;

use icecore_probes::functions_to_hook;
use libfuzzer_sys::fuzz_target;

/// Where code is mapped, which lies in the file right behind its heads.
const CODE_AT: u64 = 0x1000;
const HEADS_BYTES: usize = 64 + 56;
/// BoringSSL is looked for in no less.
const CODE_BYTES: usize = 513 << 10;
const NAMES: &[u8] =
    b"\0.text\0.rodata\0.eh_frame_hdr\0.shstrtab\0.gopclntab\0.go.buildinfo\0.data.rel.ro\0";
const BORING: &[u8] = b"\0third_party/boringssl/ssl/ssl_lib.cc\0";

/// A section: where its name stands, its flags, its address, its bytes.
type Part<'a> = (u32, u32, u64, &'a [u8]);

fuzz_target!(|input: &[u8]| {
    let Some((kind, rest)) = input.split_first() else { return };
    // A quarter of it is code, where there is a table as well.
    let (code, table) = rest.split_at(rest.len() / 4);
    match kind % 4 {
        0 => look(rest),
        1 => look(&assemble(&[(1, 6, CODE_AT, code), (40, 2, 0x9000_0000, table)])),
        2 => look(&assemble(&[
            (1, 6, CODE_AT, code),
            (51, 2, 0x9000_0000, b"x"),
            (66, 3, 0x9001_0000, table),
        ])),
        _ => {
            let mut code = code.to_vec();
            code.resize(CODE_BYTES, 0xcc);
            let constants_at = CODE_AT + CODE_BYTES as u64;
            name_it(&mut code, constants_at + 1);
            let frames_at = constants_at + BORING.len() as u64;
            let parts =
                [(1, 6, CODE_AT, &*code), (7, 2, constants_at, BORING), (15, 2, frames_at, table)];
            look(&assemble(&parts));
        }
    }
});

/// What in code looks like handing over an address hands over that of the name.
fn name_it(code: &mut [u8], name: u64) {
    let places =
        code.windows(7).enumerate().filter(|(_, bytes)| bytes.starts_with(b"\x48\x8d\x0d"));
    for at in places.map(|(at, _)| at).collect::<Vec<_>>() {
        let here = CODE_AT + at as u64 + 7;
        let distance = u32::try_from(name - here).expect("code is short");
        code[at + 3..at + 7].copy_from_slice(&distance.to_le_bytes());
    }
}

/// An ELF file of these sections, whose names come last.
fn assemble(parts: &[Part<'_>]) -> Vec<u8> {
    let names: Part<'_> = (29, 0, 0, NAMES);
    let mut file = vec![0; HEADS_BYTES];
    let mut table = vec![0; 64];
    for (name, flags, address, bytes) in parts.iter().chain([&names]) {
        let kind: u32 = if *address == 0 { 3 } else { 1 };
        let numbers = [u64::from(*flags), *address, file.len() as u64, bytes.len() as u64, 0, 1, 0];
        table.extend([name.to_le_bytes(), kind.to_le_bytes()].concat());
        table.extend(numbers.into_iter().flat_map(u64::to_le_bytes));
        file.extend(*bytes);
    }
    let table_at = file.len() as u64;
    file.extend(table);
    let mut put = |at: usize, value: &[u8]| file[at..at + value.len()].copy_from_slice(value);
    let last = u8::try_from(parts.len() + 1).expect("they are few");
    put(0, b"\x7fELF\x02\x01\x01");
    put(16, &[3, 0, 62, 0, 1]);
    put(32, &64_u64.to_le_bytes());
    put(40, &table_at.to_le_bytes());
    put(52, &[64, 0, 56, 0, 1, 0, 64, 0, last + 1, 0, last, 0]);
    // All of it is mapped, the code where it wants to be.
    put(64, &[1, 0, 0, 0, 5]);
    put(64 + 16, &(CODE_AT - HEADS_BYTES as u64).to_le_bytes());
    put(64 + 32, &table_at.to_le_bytes());
    put(64 + 40, &table_at.to_le_bytes());
    file
}

fn look(bytes: &[u8]) {
    // SAFETY: the name is a text of C, and the descriptor is nobody else's.
    let mut file = unsafe { File::from_raw_fd(libc::memfd_create(c"fuzz".as_ptr(), 0)) };
    file.write_all(bytes).expect("memory takes it");
    file.rewind().expect("a file in memory has a beginning");
    let _ = functions_to_hook(&file);
}
