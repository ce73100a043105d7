//! From registers and a copy of the stack to the addresses of the callers.
//!
//! Invariants: no address is given that is not in code of the process; a stack that could not be followed
//! to its end says so. Rules are kept by file and address, whatever process has mapped the file where.

use std::sync::Arc;

use framehop::{
    CacheNative, Error, ExplicitModuleSectionInfo, FrameAddress, MayAllocateDuringUnwind, Module,
    UnwindRegsNative, Unwinder as _, UnwinderNative,
};

use gimli::{BaseAddresses, EhFrame, EhFrameHdr, LittleEndian, UnwindSection as _};

use super::elf::{Image, Section};

type Unwinder = UnwinderNative<Arc<[u8]>, MayAllocateDuringUnwind>;
type Cache = CacheNative<MayAllocateDuringUnwind>;

/// Frames of a program in one stack; a deeper one is cut.
const FRAMES_MAX: usize = 512;
/// Tables speak of addresses by 32 bits.
const IMAGE_END: u64 = 1 << 32;

/// How the code of one file goes back to its callers.
pub(super) struct Rules {
    unwinder: Unwinder,
    cache: Cache,
    /// The table of functions, and what it is an index of.
    index: Option<(Section, Section)>,
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
        Self { unwinder: Unwinder::new(), cache: Cache::new(), index: None }
    }

    /// Of a file with tables.
    pub(super) fn new(image: &Image) -> Self {
        let range = |section: &Option<Section>| {
            let section = section.as_ref()?;
            Some(section.address..section.address.saturating_add(section.bytes.len() as u64))
        };
        let bytes = |section: &Option<Section>| section.as_ref().map(|one| Arc::clone(&one.bytes));
        let info = ExplicitModuleSectionInfo {
            text_svma: image.text.map(|(start, end)| start..end),
            eh_frame_svma: range(&image.eh_frame),
            eh_frame: bytes(&image.eh_frame),
            eh_frame_hdr_svma: range(&image.eh_frame_hdr),
            eh_frame_hdr: bytes(&image.eh_frame_hdr),
            debug_frame: bytes(&image.debug_frame),
            ..ExplicitModuleSectionInfo::default()
        };
        let mut rules = Self::of_frame_pointers();
        rules.unwinder.add_module(Module::new(String::new(), 0..IMAGE_END, 0, info));
        rules.index = image.eh_frame_hdr.clone().zip(image.eh_frame.clone());
        rules
    }

    /// Where the function begins that an address is in, as far as the tables know, whatever its name.
    pub(super) fn function(&self, address: u64) -> Option<u64> {
        let (index, frames) = self.index.as_ref()?;
        let bases =
            BaseAddresses::default().set_eh_frame_hdr(index.address).set_eh_frame(frames.address);
        let index = EhFrameHdr::new(&index.bytes, LittleEndian).parse(&bases, 8).ok()?;
        let frames = EhFrame::new(&frames.bytes, LittleEndian);
        let table = index.table()?;
        let find = table.fde_for_address(&frames, &bases, address, EhFrame::cie_from_offset);
        find.ok().map(|function| function.initial_address())
    }
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
        let Rules { unwinder, cache, index: _ } = rules;
        let relative = relative(place, bias);
        match unwinder.unwind_frame(relative, &mut machine, cache, &mut read) {
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
