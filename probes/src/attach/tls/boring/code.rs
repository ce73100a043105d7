//! What a function of BoringSSL's says of itself by its code.
//!
//! Invariant: what is told stands in instructions that follow one another; of a function with an instruction that is not
//! known, nothing is told.

use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};

/// `ERR_LIB_SSL`: the part of BoringSSL that a reason belongs to.
const LIBRARY: u32 = 16;

/// What a function says of itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// The reasons that it hands to the queue of errors with the name of the source file, in order, each once.
    pub(super) reasons: Vec<u32>,
    /// What it calls.
    pub(super) calls: Vec<u64>,
    /// Where its first argument, a session, has a pointer of which it sets a field to zero before it calls anything.
    pub(super) state: Option<u32>,
    /// How far into something the address lies that it hands to a call as its first argument, each once.
    pub(super) handed: Vec<u32>,
}

/// The arguments of a call, as far as they stand in the instructions right before it.
#[derive(Debug, Default)]
struct Arguments {
    library: Option<u32>,
    reason: Option<u32>,
    named: bool,
    /// By the very last instruction.
    handed: Option<u32>,
}

/// Reads the code of a function that begins at `address`; `name` is where the name of the source file stands.
pub(super) fn said(code: &[u8], address: u64, name: u64) -> Option<Said> {
    let mut decoder = Decoder::with_ip(64, code, address, DecoderOptions::NONE);
    let mut instruction = Instruction::default();
    let (mut said, mut arguments) = (Said::default(), Arguments::default());
    let (mut pointer, mut reports) = (None, Reports::default());
    while decoder.can_decode() {
        decoder.decode_out(&mut instruction);
        if instruction.is_invalid() {
            return None;
        }
        if said.calls.is_empty() && said.state.is_none() {
            said.state = state(&instruction, &mut pointer);
        }
        match instruction.mnemonic() {
            Mnemonic::Call => {
                said.called(&instruction, &arguments);
                reports.called(instruction.ip(), &arguments);
            }
            Mnemonic::Jmp => reports.left(instruction.near_branch_target(), &arguments),
            _ => {}
        }
        let goes_on = instruction.op0_kind() != OpKind::NearBranch64
            && !matches!(instruction.mnemonic(), Mnemonic::Call | Mnemonic::Jmp | Mnemonic::Ret);
        if goes_on {
            arguments.note(&instruction, name);
        } else {
            arguments = Arguments::default();
        }
    }
    said.reasons = reports.reasons();
    Some(said)
}

impl Said {
    fn called(&mut self, instruction: &Instruction, arguments: &Arguments) {
        if instruction.op0_kind() == OpKind::NearBranch64 {
            self.calls.push(instruction.near_branch64());
        }
        if let Some(handed) = arguments.handed.filter(|handed| !self.handed.contains(handed)) {
            self.handed.push(handed);
        }
    }
}

/// The errors that a function reports.
#[derive(Debug, Default)]
struct Reports {
    /// Where it calls what takes them, and with which reason.
    calls: Vec<(u64, u32)>,
    /// Where it goes on with another reason: to one of these calls, where a compiler has several share it.
    shared: Vec<(u64, u32)>,
}

impl Reports {
    fn called(&mut self, at: u64, arguments: &Arguments) {
        self.calls.extend(arguments.error().map(|reason| (at, reason)));
    }

    fn left(&mut self, to: u64, arguments: &Arguments) {
        self.shared.extend(arguments.error().map(|reason| (to, reason)));
    }

    /// In order, each once.
    fn reasons(self) -> Vec<u32> {
        let is_call = |to: u64| self.calls.iter().any(|&(at, _)| at == to);
        let shared = self.shared.iter().filter(|&&(to, _)| is_call(to));
        let mut reasons: Vec<u32> = self.calls.iter().chain(shared).map(|&(_, it)| it).collect();
        reasons.sort_unstable();
        reasons.dedup();
        reasons
    }
}

impl Arguments {
    /// The reason, if they are those of an error of this file's.
    fn error(&self) -> Option<u32> {
        self.reason.filter(|_| self.named && self.library == Some(LIBRARY))
    }

    fn note(&mut self, instruction: &Instruction, name: u64) {
        self.handed = None;
        let to = instruction.op0_register();
        let value = || match instruction.op1_kind() {
            OpKind::Immediate32 => Some(instruction.immediate32()),
            OpKind::Immediate8to64 => u32::try_from(instruction.immediate8to64()).ok(),
            OpKind::Immediate32to64 => u32::try_from(instruction.immediate32to64()).ok(),
            _ => None,
        };
        match (instruction.mnemonic(), to) {
            (Mnemonic::Mov, Register::EDI) => self.library = value(),
            (Mnemonic::Mov, Register::EDX) => self.reason = value(),
            (Mnemonic::Lea, Register::RCX) => {
                self.named = instruction.is_ip_rel_memory_operand()
                    && instruction.ip_rel_memory_address() == name;
            }
            (Mnemonic::Add, Register::RDI) => self.handed = value(),
            (Mnemonic::Lea, Register::RDI) => self.handed = displacement(instruction),
            _ => {}
        }
    }
}

/// How far behind a register that is no stack's an instruction's memory lies.
fn displacement(instruction: &Instruction) -> Option<u32> {
    let plain = instruction.memory_index() == Register::None
        && !matches!(instruction.memory_base(), Register::RSP | Register::RBP | Register::RIP);
    u32::try_from(instruction.memory_displacement64()).ok().filter(|_| plain)
}

/// Where a session has a pointer of which this instruction sets a field to zero; `pointer` is what an earlier one has taken
/// from the session, and in which register.
fn state(instruction: &Instruction, pointer: &mut Option<(Register, u32)>) -> Option<u32> {
    if instruction.mnemonic() != Mnemonic::Mov {
        return None;
    }
    if instruction.op0_kind() == OpKind::Register && instruction.op1_kind() == OpKind::Memory {
        let of_session = instruction.memory_base() == Register::RDI;
        let at = displacement(instruction).filter(|_| of_session);
        *pointer = at.map(|at| (instruction.op0_register(), at));
        return None;
    }
    let (register, at) = (*pointer)?;
    let is = instruction.op0_kind() == OpKind::Memory
        && instruction.memory_base() == register
        && instruction.op1_kind() == OpKind::Immediate32
        && instruction.immediate32() == 0;
    is.then_some(at)
}
