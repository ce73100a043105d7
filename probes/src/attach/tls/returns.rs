//! Where a function returns, by its code.
//!
//! Invariant: a place that is told is the beginning of an instruction that returns; where one of the
//! instructions before it is not known, none is told.

use std::fs::File;

use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic};

use super::stretch::Stretch;

/// The longest function that is looked through: many times the longest of those that are hooked.
const BYTES_MAX: u64 = 64 << 10;
/// Returns of one function.
const RETURNS_MAX: usize = 64;

/// The code of a function that begins at this place of a file, or what is wrong with it.
pub(super) fn code(file: &File, place: u64, len: u64) -> Result<Vec<u8>, &'static str> {
    if !(1..=BYTES_MAX).contains(&len) {
        return Err("a function has no end");
    }
    let code = Stretch { file, start: place, len }.read(0, len);
    code.ok_or("a function lies outside of the file")
}

/// Where in a file the function returns that begins at this place of it with this code, or what is wrong with it.
pub(super) fn exits(place: u64, code: &[u8]) -> Result<Vec<u64>, &'static str> {
    Ok(returns(code)?.into_iter().map(|at| place + at).collect())
}

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
