//! From registers and a copy of the stack to the addresses of the callers.
//!
//! Invariants: no address is given that is not in code of the process; a stack that could not be followed
//! to its end says so. Rules are kept by file and address, whatever process has mapped the file where; the
//! tables of a function are read when it is first seen.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use framehop::{
    CacheNative, Error, ExplicitModuleSectionInfo, FrameAddress, MayAllocateDuringUnwind, Module,
    UnwindRegsNative, Unwinder as _, UnwinderNative,
};

use gimli::{BaseAddresses, EhFrame, EhFrameOffset, LittleEndian, UnwindSection as _};

use super::elf::{FunctionPart, Image, Index, Section};

type Unwinder = UnwinderNative<Arc<[u8]>, MayAllocateDuringUnwind>;
type Cache = CacheNative<MayAllocateDuringUnwind>;

/// Frames of a program in one stack; a deeper one is cut.
const FRAMES_MAX: usize = 512;
/// Tables speak of addresses by 32 bits.
const IMAGE_END: u64 = 1 << 32;

/// What a function takes beside its tables, measured: its unwinder is mostly an index of its own.
const FUNCTION_BYTES: usize = 1 << 10;

/// What rules take without any function, measured: the unwinder's cache, and what it works with.
pub(super) const RULES_BYTES: usize = 34 << 10;

/// How the code of one file goes back to its callers.
pub(super) struct Rules {
    /// What there is without an index.
    unwinder: Unwinder,
    /// What was found of any function.
    cache: Cache,
    index: Option<Index>,
    text: Option<(u64, u64)>,
    /// By where they begin.
    functions: BTreeMap<u64, Function>,
    learnt: Learnt,
}

/// What functions take, of these rules and of all that have their share from the same.
#[derive(Debug, Default)]
pub(super) struct Learnt {
    all: Arc<AtomicUsize>,
    own: usize,
}

/// A function that was seen. Its unwinder is its own, since one that learns of another function forgets all that it
/// has in its cache.
struct Function {
    /// Where the next one begins.
    next: u64,
    unwinder: Unwinder,
    /// Where its tables end to speak of it.
    end: u64,
}

/// Where a thread was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Registers {
    pub(super) ip: u64,
    pub(super) sp: u64,
    pub(super) fp: u64,
    /// Only on machines with such a register.
    pub(super) lr: u64,
}

/// What was copied of its stack, from the stack pointer on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stack<'a> {
    pub(super) start: u64,
    pub(super) bytes: &'a [u8],
    /// The stack goes on behind what was copied.
    pub(super) cut: bool,
}

/// How the way back has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Ending {
    /// At the beginning of the thread.
    Whole,
    /// Where the copy of the stack, or the bound of frames, ends.
    Cut,
    /// Where nothing tells the way.
    Lost,
}

/// The code of a process.
pub(super) trait Code {
    /// The rules for an address, and what to take from it to speak of it as its file does; none where no
    /// code is.
    fn rules(&mut self, address: u64) -> Option<(&mut Rules, u64)>;
}

impl std::fmt::Debug for Rules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rules").finish_non_exhaustive()
    }
}

impl Rules {
    /// Of code that has no tables: it goes back by frame pointers.
    pub(super) fn of_frame_pointers() -> Self {
        let (unwinder, cache) = (Unwinder::new(), Cache::new());
        let (functions, learnt) = (BTreeMap::new(), Learnt::default());
        Self { unwinder, cache, index: None, text: None, functions, learnt }
    }

    /// Of a file, from which its tables are taken.
    pub(super) fn new(image: &mut Image, learnt: Learnt) -> Self {
        let mut rules = Self { learnt, ..Self::of_frame_pointers() };
        (rules.index, rules.text) = (image.index.take(), image.text);
        if rules.index.is_none() {
            let debug_frame = image.debug_frame.take().map(|section| section.bytes);
            rules.unwinder = unwinder(image.text, image.eh_frame.take(), debug_frame);
        }
        rules
    }

    /// Forgets its functions, which are read again when they are seen.
    pub(super) fn forget(&mut self) {
        self.functions.clear();
        self.learnt.give_back();
    }

    /// Where the function begins that an address is in, as far as the tables know, whatever its name.
    pub(super) fn function(&mut self, address: u64) -> Option<u64> {
        let start = self.known(address)?;
        self.functions.get(&start).filter(|function| address < function.end).map(|_| start)
    }

    /// Which function begins at an address, or is the last one before it.
    fn known(&mut self, address: u64) -> Option<u64> {
        let before = self.functions.range(..=address).next_back();
        let known = before.filter(|(_, function)| address < function.next).map(|(start, _)| *start);
        known.or_else(|| self.learn(address))
    }

    /// Reads the tables of a function.
    fn learn(&mut self, address: u64) -> Option<u64> {
        let part = self.index.as_ref()?.find(address)?;
        let (start, bytes) = (part.start, FUNCTION_BYTES + part.tables.bytes.len());
        self.functions.insert(start, Function::new(part, self.text)?);
        self.learnt.add(bytes);
        Some(start)
    }

    /// The caller of an address, as the file speaks of it.
    fn caller(
        &mut self,
        place: FrameAddress,
        machine: &mut UnwindRegsNative,
        read: &mut impl FnMut(u64) -> Result<u64, ()>,
    ) -> Result<Option<u64>, Error> {
        let start = self.known(place.address_for_lookup());
        let known = start.and_then(|start| self.functions.get(&start));
        let unwinder = known.map_or(&self.unwinder, |function| &function.unwinder);
        unwinder.unwind_frame(place, machine, &mut self.cache, read)
    }
}

impl Learnt {
    /// Another share of the same.
    pub(super) fn share(&self) -> Self {
        Self { all: Arc::clone(&self.all), own: 0 }
    }

    /// What all take.
    pub(super) fn all(&self) -> usize {
        self.all.load(Ordering::Relaxed)
    }

    fn add(&mut self, bytes: usize) {
        self.own += bytes;
        self.all.fetch_add(bytes, Ordering::Relaxed);
    }

    fn give_back(&mut self) {
        self.all.fetch_sub(std::mem::take(&mut self.own), Ordering::Relaxed);
    }
}

impl Drop for Learnt {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl Function {
    fn new(part: FunctionPart, text: Option<(u64, u64)>) -> Option<Self> {
        let FunctionPart { start, next, tables, at } = part;
        let bases = BaseAddresses::default().set_eh_frame(tables.address);
        let bases = text.map_or_else(|| bases.clone(), |(start, _)| bases.clone().set_text(start));
        let section = EhFrame::new(&tables.bytes, LittleEndian);
        let own = section.fde_from_offset(&bases, EhFrameOffset(at), EhFrame::cie_from_offset);
        // The index may lie: one part of the tables is of one function.
        let own = own.ok().filter(|own| own.initial_address() == start)?;
        let end = own.initial_address().saturating_add(own.len());
        Some(Self { next, end, unwinder: unwinder(text, Some(tables), None) })
    }
}

fn unwinder(
    text: Option<(u64, u64)>,
    eh_frame: Option<Section>,
    debug_frame: Option<Arc<[u8]>>,
) -> Unwinder {
    let range = |one: &Section| one.address..one.address.saturating_add(one.bytes.len() as u64);
    let info = ExplicitModuleSectionInfo {
        text_svma: text.map(|(start, end)| start..end),
        eh_frame_svma: eh_frame.as_ref().map(range),
        eh_frame: eh_frame.map(|section| section.bytes),
        debug_frame,
        ..ExplicitModuleSectionInfo::default()
    };
    let mut unwinder = Unwinder::new();
    unwinder.add_module(Module::new(String::new(), 0..IMAGE_END, 0, info));
    unwinder
}

/// Follows a stack back, innermost first: of each caller the address inside of its call.
pub(super) fn unwind(
    code: &mut impl Code,
    registers: Registers,
    stack: Stack<'_>,
    frames: &mut Vec<u64>,
) -> Ending {
    let mut machine = machine(registers);
    let mut read = |address: u64| stack.read(address);
    let mut place = FrameAddress::from_instruction_pointer(registers.ip);
    for _ in 0..FRAMES_MAX {
        let address = place.address_for_lookup();
        let Some((rules, bias)) = code.rules(address) else {
            // Where a thread was is told, even if it is nowhere; where it came from is not.
            frames.extend((!place.is_return_address()).then_some(address));
            return Ending::Lost;
        };
        frames.push(address);
        match rules.caller(relative(place, bias), &mut machine, &mut read) {
            Ok(Some(caller)) => match FrameAddress::from_return_address(caller) {
                Some(caller) => place = caller,
                None => return Ending::Whole,
            },
            Ok(None) | Err(Error::ReturnAddressIsNull) => return Ending::Whole,
            Err(Error::CouldNotReadStack(at)) if stack.is_cut_before(at) => return Ending::Cut,
            Err(_) => return Ending::Lost,
        }
    }
    Ending::Cut
}

#[cfg(target_arch = "x86_64")]
fn machine(registers: Registers) -> UnwindRegsNative {
    let Registers { ip, sp, fp, lr: _ } = registers;
    UnwindRegsNative::new(ip, sp, fp)
}

/// Return addresses may be signed in the bits that no address uses.
#[cfg(target_arch = "aarch64")]
fn machine(registers: Registers) -> UnwindRegsNative {
    let Registers { ip: _, sp, fp, lr } = registers;
    let mask = framehop::aarch64::PtrAuthMask::from_max_known_address((1 << 48) - 1);
    UnwindRegsNative::new_with_ptr_auth_mask(mask, lr, sp, fp)
}

fn relative(place: FrameAddress, bias: u64) -> FrameAddress {
    let address = place.address().wrapping_sub(bias);
    let inner = FrameAddress::from_instruction_pointer(address);
    match place.is_return_address() {
        true => FrameAddress::from_return_address(address).unwrap_or(inner),
        false => inner,
    }
}

impl Stack<'_> {
    fn read(&self, address: u64) -> Result<u64, ()> {
        let at = usize::try_from(address.checked_sub(self.start).ok_or(())?).map_err(|_far| ())?;
        let word = self.bytes.get(at..).and_then(|rest| rest.first_chunk()).ok_or(())?;
        Ok(u64::from_le_bytes(*word))
    }

    fn is_cut_before(&self, address: u64) -> bool {
        let end = self.start.saturating_add(self.bytes.len() as u64);
        // What is far away is no part of this stack.
        self.cut && address.saturating_add(8) > end && address - end.min(address) < 16 << 20
    }
}

#[cfg(test)]
mod tests;
