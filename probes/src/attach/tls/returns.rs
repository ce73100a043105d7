//! Where a function returns, by its code.
//!
//! Invariant: a place that is told is the beginning of an instruction that returns; where one of the
//! instructions before it is not known, none is told.

use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic};

/// The longest function that is looked through: many times the longest of those that are hooked.
pub(super) const BYTES_MAX: u64 = 64 << 10;
/// Returns of one function.
const RETURNS_MAX: usize = 64;

/// Where in `code` the instructions begin by which it returns, or what is wrong with it.
pub(super) fn returns(code: &[u8]) -> Result<Vec<u64>, &'static str> {
    let mut decoder = Decoder::with_ip(64, code, 0, DecoderOptions::NONE);
    let mut instruction = Instruction::default();
    let mut found = Vec::new();
    while decoder.can_decode() {
        decoder.decode_out(&mut instruction);
        if instruction.is_invalid() {
            return Err("an instruction is not known");
        }
        if instruction.mnemonic() == Mnemonic::Ret {
            found.push(instruction.ip());
        }
    }
    match found.len() {
        0 => Err("a function does not return"),
        RETURNS_MAX.. => Err("a function has too many returns"),
        _ => Ok(found),
    }
}
