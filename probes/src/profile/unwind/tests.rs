//! The way back through this very program, and through code without tables.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;

use super::super::elf::{self, Image};
use super::super::maps::{self, Backing};
use super::*;

/// The program that these tests run in.
struct Own {
    image: Image,
    rules: Rules,
    range: (u64, u64),
    bias: u64,
}

impl Own {
    fn new() -> Self {
        let mut image = elf::image(File::open("/proc/self/exe").unwrap(), 1 << 30).unwrap();
        let list = maps::parse(&std::fs::read_to_string("/proc/self/maps").unwrap());
        let inside = maps::find(&list, Own::new as fn() -> Self as usize as u64).unwrap();
        let mapping = &list[inside];
        let Backing::File { offset, .. } = mapping.backing else { panic!("{mapping:?}") };
        let bias = mapping.range.start - image.address(offset).unwrap();
        let rules = Rules::new(&mut image, Learnt::default());
        Self { image, rules, range: (mapping.range.start, mapping.range.end), bias }
    }

    fn name(&self, address: u64) -> String {
        let found = self.image.symbols.as_ref().unwrap().find(address - self.bias);
        found.map_or_else(String::new, |(_, name)| name.to_string())
    }
}

impl Code for Own {
    fn rules(&mut self, address: u64) -> Option<(&mut Rules, u64)> {
        (self.range.0..self.range.1).contains(&address).then_some((&mut self.rules, self.bias))
    }
}

/// Where this thread is, and its stack from there on.
struct Moment {
    registers: Registers,
    stack: Vec<u8>,
}

#[inline(never)]
fn outermost(depth: u32) -> Moment {
    std::hint::black_box(middle(std::hint::black_box(depth)))
}

#[inline(never)]
fn middle(depth: u32) -> Moment {
    if depth > 0 {
        return std::hint::black_box(middle(std::hint::black_box(depth - 1)));
    }
    std::hint::black_box(innermost())
}

#[inline(never)]
fn innermost() -> Moment {
    let registers = here();
    let memory = File::open("/proc/self/mem").unwrap();
    let mut stack = vec![0; 16 << 10];
    // A thread's stack may be shorter.
    let bytes = memory.read_at(&mut stack, registers.sp).unwrap();
    stack.truncate(bytes);
    Moment { registers, stack }
}

#[inline(always)]
fn here() -> Registers {
    let (ip, sp, fp): (u64, u64, u64);
    #[cfg(target_arch = "x86_64")]
    // SAFETY: registers are read, and nothing is changed.
    unsafe {
        std::arch::asm!("lea {}, [rip]", "mov {}, rsp", "mov {}, rbp", out(reg) ip, out(reg) sp, out(reg) fp);
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: registers are read, and nothing is changed.
    unsafe {
        std::arch::asm!("adr {}, .", "mov {}, sp", "mov {}, x29", out(reg) ip, out(reg) sp, out(reg) fp);
    }
    Registers { ip, sp, fp, lr: 0 }
}

fn follow(code: &mut impl Code, moment: &Moment, bytes: usize) -> (Vec<u64>, Ending) {
    let Moment { registers, stack } = moment;
    let stack = Stack { start: registers.sp, bytes: &stack[..bytes], cut: true };
    let mut frames = Vec::new();
    let ending = unwind(code, *registers, stack, &mut frames);
    (frames, ending)
}

/// Scenario: this program, which has no frame pointers, some calls deep, and its tables.
/// Guarantees: each call is there with its function, in order, and behind them who called this test; the
/// address of a function is found by the tables alone as well.
#[test]
fn follows_itself() {
    let mut own = Own::new();
    let moment = outermost(3);
    let (frames, ending) = follow(&mut own, &moment, moment.stack.len());
    let names: Vec<String> = frames.iter().map(|address| own.name(*address)).collect();
    let wanted =
        ["innermost", "middle", "middle", "middle", "middle", "outermost", "follows_itself"];
    assert!(names.len() > wanted.len() + 2, "{names:?} {ending:?}");
    for (name, wanted) in names.iter().zip(wanted) {
        assert!(name.ends_with(wanted), "{wanted} in {names:?}");
    }
    let start = middle as fn(u32) -> Moment as usize as u64 - own.bias;
    assert_eq!(own.rules.function(frames[1] - own.bias), Some(start));
    assert_eq!(own.rules.function(0), None);
}

/// Scenario: the copy of the stack ends anywhere.
/// Guarantees: what is found is the beginning of what the whole copy shows, and that it is not whole is said.
#[test]
fn a_copy_that_ends_gives_the_beginning() {
    let mut own = Own::new();
    let moment = outermost(3);
    let (whole, _) = follow(&mut own, &moment, moment.stack.len());
    let mut cut = 0;
    for bytes in (0..4096).step_by(8) {
        let (frames, ending) = follow(&mut own, &moment, bytes);
        assert!(whole.starts_with(&frames), "{bytes}: {frames:x?} of {whole:x?}");
        cut += usize::from(ending == Ending::Cut && frames.len() < whole.len());
    }
    assert!(cut > 10, "{cut}");
}

/// Code without tables at some addresses.
struct Plain(HashMap<u64, ()>, Rules);

impl Code for Plain {
    fn rules(&mut self, address: u64) -> Option<(&mut Rules, u64)> {
        self.0.contains_key(&(address >> 12)).then_some((&mut self.1, 0))
    }
}

/// Scenario: code that has no tables and keeps frame pointers: a chain of them to the beginning, one that
/// leads out of all code, and one that leads in a circle.
/// Guarantees: callers are followed as far as they are in code; nothing is made up, and nothing without end.
#[test]
fn frame_pointers_are_followed() {
    let code = HashMap::from([(0x10, ()), (0x11, ())]);
    let mut plain = Plain(code, Rules::of_frame_pointers());
    let mut check = |words: [u64; 6], wanted: &[u64], ending: Ending| {
        let stack = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let registers = Registers { ip: 0x10_010, sp: 0x7000, fp: 0x7000, lr: 0 };
        let (frames, found) = follow(&mut plain, &Moment { registers, stack }, 48);
        assert_eq!((frames.as_slice(), found), (wanted, ending), "{words:x?}");
    };
    check([0x7010, 0x11_020, 0, 0x10_030, 0, 0], &[0x10_010, 0x11_01f, 0x10_02f], Ending::Whole);
    check([0x7010, 0x11_020, 0x7020, 0x99_030, 0, 0], &[0x10_010, 0x11_01f], Ending::Lost);
    check([0x7000, 0x11_020, 0, 0, 0, 0], &[0x10_010, 0x11_01f], Ending::Lost);
}
