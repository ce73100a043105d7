//! Where a function of a Go program returns, by its code.
//!
//! Invariant: a place that is told is the beginning of an instruction that returns; where one of the
//! instructions before it is not known, none is told.

use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic, Register};

/// The longest function that is looked through: many times the longest of those that are hooked.
pub(super) const BYTES_MAX: u64 = 64 << 10;
/// Returns of one function.
const RETURNS_MAX: usize = 64;
/// Instructions within which a function asks whether its stack has room.
const PROLOGUE: usize = 3;
/// Where a goroutine says how far its stack may grow.
const STACK_BOUND: u64 = 0x10;

/// Where in `code` the instructions begin by which it returns, or what is wrong with it.
pub(super) fn returns(code: &[u8]) -> Result<Vec<u64>, &'static str> {
    let mut decoder = Decoder::with_ip(64, code, 0, DecoderOptions::NONE);
    let mut instruction = Instruction::default();
    let (mut begun, mut count) = (false, 0);
    let mut found = Vec::new();
    while decoder.can_decode() {
        decoder.decode_out(&mut instruction);
        if instruction.is_invalid() {
            return Err("an instruction is not known");
        }
        count += 1;
        begun |= count <= PROLOGUE && asks_for_room(&instruction);
        if instruction.mnemonic() == Mnemonic::Ret {
            found.push(instruction.ip());
        }
    }
    match found.len() {
        _ if !begun => Err("a function does not begin as Go has it"),
        0 => Err("a function does not return"),
        RETURNS_MAX.. => Err("a function has too many returns"),
        _ => Ok(found),
    }
}

/// The stack is compared with its bound, which the goroutine holds in register 14.
fn asks_for_room(instruction: &Instruction) -> bool {
    instruction.mnemonic() == Mnemonic::Cmp
        && instruction.memory_base() == Register::R14
        && instruction.memory_displacement64() == STACK_BOUND
}
