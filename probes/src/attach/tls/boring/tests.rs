use std::io::{Seek as _, Write as _};
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;

const CODE_AT: u64 = 0x1000;
const CODE_BYTES: usize = 600 << 10;
const NAME: &[u8] = b"third_party/boringssl/ssl/ssl_lib.cc\0";
/// Where an error is put into the queue; where a session is read.
const PUT: u64 = CODE_AT + 16;
const WORK: u64 = CODE_AT + 64;
/// Where sessions keep their state, and in there the buffer of what was received.
const STATE: u8 = 0x30;
const BUFFER: u8 = 0x50;

/// A library as a compiler lays it out, one function behind the other.
struct Laid {
    code: Vec<u8>,
    starts: Vec<u64>,
    constants_at: u64,
    /// Errors of a function share one call.
    shares: bool,
}

impl Laid {
    fn new(shares: bool) -> Self {
        let code = vec![0xcc; 64];
        Self { code, starts: vec![CODE_AT], constants_at: CODE_AT + CODE_BYTES as u64, shares }
    }

    fn here(&self) -> u64 {
        CODE_AT + self.code.len() as u64
    }

    fn begin(&mut self) {
        self.code.resize(self.code.len().next_multiple_of(16), 0xcc);
        self.starts.push(self.here());
    }

    fn put(&mut self, bytes: &[u8]) {
        self.code.extend(bytes);
    }

    fn call(&mut self, target: u64) {
        let distance = distance(self.here() + 5, target);
        self.put(b"\xe8");
        self.put(&distance);
    }

    /// Hands reasons to the queue of errors, with a return behind; by a call each, or all by the first one's.
    fn errors(&mut self, reasons: &[u32]) {
        let mut shared = None;
        for reason in reasons {
            // mov edi, 16; xor esi, esi; mov edx, reason; mov r8d, 7; lea rcx, [rip + …]
            self.put(b"\xbf\x10\0\0\0\x31\xf6\xba");
            self.put(&reason.to_le_bytes());
            self.put(b"\x41\xb8\x07\0\0\0\x48\x8d\x0d");
            let to_name = distance(self.here() + 4, self.constants_at + 1);
            self.put(&to_name);
            match shared.filter(|_| self.shares) {
                Some(call) => {
                    let to_call = distance(self.here() + 5, call);
                    self.put(b"\xe9");
                    self.put(&to_call);
                }
                None => {
                    shared = Some(self.here());
                    self.call(PUT);
                    self.put(b"\xc3");
                }
            }
        }
    }

    /// The function that does the work of reading.
    fn work(&mut self) {
        self.begin();
        self.errors(&[226, 50, 215]);
    }

    /// One that reads; without a buffer to empty, it only looks.
    fn read(&mut self, empties: bool) {
        self.begin();
        self.call(WORK);
        // mov rax, [rbx + state]; mov rdi, rax; add rdi, buffer; or nothing of it
        self.put(&[0x48, 0x8b, 0x43, STATE, 0x48, 0x89, 0xc7]);
        if empties {
            self.put(&[0x48, 0x83, 0xc7, BUFFER]);
        }
        self.call(PUT);
        self.put(b"\xc3");
        self.errors(&[66]);
    }

    fn write(&mut self, reasons: &[u32]) {
        self.begin();
        // mov rbp, rdi; mov rax, [rdi + state]; mov dword ptr [rax + 0xc4], 0
        self.put(&[0x48, 0x89, 0xfd, 0x48, 0x8b, 0x47, STATE]);
        self.put(b"\xc7\x80\xc4\0\0\0\0\0\0\0");
        self.call(PUT);
        self.errors(reasons);
    }

    /// Constants, code and the table of frames behind one another, and a head that says where.
    fn file(mut self) -> Vec<u8> {
        self.begin();
        self.code.resize(CODE_BYTES, 0xcc);
        let constants = [b"\0", NAME].concat();
        let frames_at = self.constants_at + constants.len() as u64;
        let mut frames = vec![1, 0x1b, 3, 0x3b, 0, 0, 0, 0];
        frames.extend(u32::try_from(self.starts.len()).unwrap().to_le_bytes());
        for start in &self.starts {
            frames.extend(distance(frames_at, *start));
            frames.extend([0; 4]);
        }
        let names = b"\0.text\0.rodata\0.eh_frame_hdr\0.shstrtab\0";
        let parts: [(u32, u32, u64, &[u8]); 4] = [
            (1, 6, CODE_AT, &self.code),
            (7, 2, self.constants_at, &constants),
            (15, 2, frames_at, &frames),
            (29, 0, 0, names),
        ];
        assemble(&parts)
    }
}

/// How far it is from an address to another, as code says it.
fn distance(from: u64, to: u64) -> [u8; 4] {
    i32::try_from(to.cast_signed() - from.cast_signed()).unwrap().to_le_bytes()
}

/// An ELF file of parts: name, flags, address and bytes of each.
fn assemble(parts: &[(u32, u32, u64, &[u8])]) -> Vec<u8> {
    let mut file = vec![0; 64 + 56];
    let mut table = vec![0; 64];
    for (name, flags, address, bytes) in parts {
        let kind: u32 = if *address == 0 { 3 } else { 1 };
        file.resize(file.len().next_multiple_of(16), 0);
        let numbers = [u64::from(*flags), *address, file.len() as u64, bytes.len() as u64, 0, 1, 0];
        table.extend([name.to_le_bytes(), kind.to_le_bytes()].concat());
        table.extend(numbers.into_iter().flat_map(u64::to_le_bytes));
        file.extend(*bytes);
    }
    let table_at = file.len() as u64;
    file.extend(table);
    let mut put = |at: usize, value: &[u8]| file[at..at + value.len()].copy_from_slice(value);
    put(0, b"\x7fELF\x02\x01\x01");
    put(16, &[3, 0, 62, 0, 1]);
    put(32, &64_u64.to_le_bytes());
    put(40, &table_at.to_le_bytes());
    put(52, &[64, 0, 56, 0, 1, 0, 64, 0]);
    put(60, &[u8::try_from(parts.len() + 1).unwrap(), 0, u8::try_from(parts.len()).unwrap(), 0]);
    // All of it is mapped, the code where it wants to be.
    let mapped_at = CODE_AT - 64 - 56 - 8;
    put(64, &[1, 0, 0, 0, 5]);
    put(64 + 16, &mapped_at.to_le_bytes());
    put(64 + 32, &table_at.to_le_bytes());
    put(64 + 40, &table_at.to_le_bytes());
    file
}

fn library(reasons: &[u32], shares: bool) -> Laid {
    let mut laid = Laid::new(shares);
    laid.work();
    laid.read(false);
    laid.write(reasons);
    laid.read(true);
    laid
}

fn look(bytes: &[u8]) -> Result<Option<Found>, Refusal> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    functions(&file)
}

/// Scenario: a library with the functions that read, write and only look, as of now and of before 2022, and as two
/// compilers make them.
/// Guarantees: those that read and write are found, with the place of the number as their code has it.
#[test]
fn functions_are_told_by_their_reasons() {
    for (reasons, shares) in
        WRITES.into_iter().flat_map(|reasons| [(reasons, false), (reasons, true)])
    {
        let laid = library(reasons, shares);
        let (read, write) = (laid.starts[4], laid.starts[3]);
        let place = |address: u64| address - CODE_AT + 64 + 56 + 8;
        let found = look(&laid.file()).unwrap().unwrap();
        let at = shape::with_random(STATE.into(), u32::from(BUFFER) - 32).unwrap();
        let wanted = [(read, shape::READ), (write, shape::WRITE)].map(|(address, kind)| Function {
            place: place(address),
            shape: kind | shape::BY_RANDOM | at,
            exits: Exits::Caught,
            programs: LIBRARY,
        });
        assert_eq!(found.functions, wanted);
        assert_eq!(found.family.name, "boringssl");
    }
}

/// Scenario: libraries in which a function is missing, has a reason more, is there twice, or has an instruction that is
/// none; one with less code than BoringSSL has, one without the name, one for another machine.
/// Guarantees: the former are refused, of the latter nothing is told.
#[test]
fn what_is_not_clear_is_refused() {
    let refused = |laid: Laid| matches!(look(&laid.file()), Err(Refusal::Hidden { .. }));
    assert!(refused(library(&[66, 215], true)));
    assert!(refused(library(&[66, 111, 215, 226, 300], true)));
    let mut twice = library(WRITES[0], false);
    twice.read(true);
    assert!(refused(twice));
    let mut twice = library(WRITES[0], false);
    twice.write(WRITES[0]);
    assert!(refused(twice));
    let mut unread = library(WRITES[0], false);
    let at = usize::try_from(unread.starts[3] - CODE_AT).unwrap();
    unread.code[at] = 0x06;
    assert!(refused(unread));

    let whole = library(WRITES[0], false).file();
    let mut other = whole.clone();
    other[18] = 183;
    assert!(matches!(look(&other), Ok(None)));
    let mut nameless = whole.clone();
    let at = memchr::memmem::find(&whole, b"ssl_lib").unwrap();
    nameless[at] = b'x';
    assert!(matches!(look(&nameless), Ok(None)));
    let cut = whole.get(..whole.len() / 2).unwrap();
    assert!(matches!(look(cut), Ok(None)));
}

/// Scenario: the libraries that are installed here: gRPC's for Python, in whatever version.
/// Guarantees: each is one in which all is found.
#[test]
fn installed_libraries_have_it() {
    let cache = std::env::var_os("ICECORE_CACHE").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache/icecore"));
    let Some(cache) = cache.or(home) else { return println!("skipped: no folder for peers") };
    let libraries = ["venv", "grpcio"].into_iter().flat_map(|folder| grpc(&cache.join(folder), 0));
    let mut count = 0;
    for path in libraries {
        let found = functions(&File::open(&path).unwrap()).unwrap();
        let found = found.unwrap_or_else(|| panic!("nothing in {}", path.display()));
        assert_eq!(found.functions.len(), 2, "{}", path.display());
        count += 1;
    }
    println!("{count} libraries");
}

/// Where that library lies below a folder.
fn grpc(folder: &Path, depth: usize) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let path = entry.path();
        let way = ["lib", "site-packages", "grpc", "_cython"];
        let name = entry.file_name().to_string_lossy().into_owned();
        let leads = way.contains(&&*name)
            || name.starts_with(char::is_numeric)
            || name.starts_with("python");
        if name.starts_with("cygrpc.") && name.ends_with(".so") {
            found.push(path);
        } else if leads && depth < 6 {
            found.extend(grpc(&path, depth + 1));
        }
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Scenario: a library of which some bytes of the head, of the tables or of the code are others.
    /// Guarantees: whatever it says of itself, nothing panics, and what is found lies in the file.
    #[test]
    fn no_file_makes_it_panic(
        changes in prop::collection::vec((0_usize..1_200, any::<u8>()), 1..8),
        at_the_end in any::<bool>(),
    ) {
        let mut bytes = library(WRITES[0], false).file();
        let len = bytes.len();
        for (at, byte) in changes {
            bytes[if at_the_end { len - 1 - at } else { at }] = byte;
        }
        if let Ok(Some(found)) = look(&bytes) {
            prop_assert!(found.functions.iter().all(|function| function.place < len as u64));
        }
    }
}
