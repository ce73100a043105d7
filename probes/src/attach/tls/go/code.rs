//! How a function of a Go program begins, by its code.

use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic, Register};

/// Instructions within which a function asks whether its stack has room.
const PROLOGUE: usize = 3;
/// Where a goroutine says how far its stack may grow.
const STACK_BOUND: u64 = 0x10;

/// A function begins as Go has them begin.
pub(super) fn begins(code: &[u8]) -> bool {
    let mut decoder = Decoder::with_ip(64, code, 0, DecoderOptions::NONE);
    decoder.iter().take(PROLOGUE).any(|instruction| asks_for_room(&instruction))
}

/// The stack is compared with its bound, which the goroutine holds in register 14.
fn asks_for_room(instruction: &Instruction) -> bool {
    instruction.mnemonic() == Mnemonic::Cmp
        && instruction.memory_base() == Register::R14
        && instruction.memory_displacement64() == STACK_BOUND
}
