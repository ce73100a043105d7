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
    let mut pointer = None;
    while decoder.can_decode() {
        decoder.decode_out(&mut instruction);
        if instruction.is_invalid() {
            return None;
        }
        if said.calls.is_empty() && said.state.is_none() {
            said.state = state(&instruction, &mut pointer);
        }
        if instruction.mnemonic() == Mnemonic::Call {
            said.called(&instruction, &arguments);
        }
        let goes_on = instruction.op0_kind() != OpKind::NearBranch64
            && !matches!(instruction.mnemonic(), Mnemonic::Call | Mnemonic::Jmp | Mnemonic::Ret);
        if goes_on {
            arguments.note(&instruction, name);
        } else {
            arguments = Arguments::default();
        }
    }
    said.reasons.sort_unstable();
    said.reasons.dedup();
    Some(said)
}

impl Said {
    fn called(&mut self, instruction: &Instruction, arguments: &Arguments) {
        if instruction.op0_kind() == OpKind::NearBranch64 {
            self.calls.push(instruction.near_branch64());
        }
        if arguments.named && arguments.library == Some(LIBRARY) {
            self.reasons.extend(arguments.reason);
        }
        if let Some(handed) = arguments.handed.filter(|handed| !self.handed.contains(handed)) {
            self.handed.push(handed);
        }
    }
}

impl Arguments {
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
