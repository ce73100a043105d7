//! Packets of a fixed head, which tells operation, lengths and a number that the answer repeats.
//!
//! Invariant: pure but for the queue; keys are looked at for their length only.

use super::{Answers, Command, Mark, Memcached, Queue, Read, Side, Unit, Waiting};
use crate::protocol::dialogue::Head;

pub(super) const REQUEST: u8 = 0x80;
pub(super) const RESPONSE: u8 = 0x81;
const HEAD_BYTES: usize = 24;
/// Packets are smaller.
const BODY_BYTES_MAX: u32 = 1 << 30;
const STAT: u8 = 0x10;

/// Operations by number: name, and whether it keeps silent when all is as usual.
fn operation(opcode: u8) -> Option<(&'static str, bool)> {
    Some(match opcode {
        0x00 => ("get", false),
        0x01 => ("set", false),
        0x02 => ("add", false),
        0x03 => ("replace", false),
        0x04 => ("delete", false),
        0x05 => ("incr", false),
        0x06 => ("decr", false),
        0x07 => ("quit", false),
        0x08 => ("flush_all", false),
        0x09 => ("get", true),
        0x0a => ("noop", false),
        0x0b => ("version", false),
        0x0c => ("get", false),
        0x0d => ("get", true),
        0x0e => ("append", false),
        0x0f => ("prepend", false),
        STAT => ("stats", false),
        0x11 => ("set", true),
        0x12 => ("add", true),
        0x13 => ("replace", true),
        0x14 => ("delete", true),
        0x15 => ("incr", true),
        0x16 => ("decr", true),
        0x17 => ("quit", true),
        0x18 => ("flush_all", true),
        0x19 => ("append", true),
        0x1a => ("prepend", true),
        0x1c => ("touch", false),
        0x1d => ("gat", false),
        0x1e => ("gat", true),
        0x20 => ("sasl_list_mechs", false),
        0x21 => ("sasl_auth", false),
        0x22 => ("sasl_step", false),
        _ => return None,
    })
}

pub(super) fn head(side: Side, bytes: &[u8], keep: usize) -> Head {
    let magic = match side {
        Side::Requests => REQUEST,
        Side::Responses => RESPONSE,
    };
    let Some(head) = bytes.first_chunk::<HEAD_BYTES>() else {
        return if bytes.first() == Some(&magic) { Head::More } else { Head::Broken };
    };
    let &[first, opcode, key_high, key_low, extras, data_type, _, _, a, b, c, d, ..] = head;
    let body = u32::from_be_bytes([a, b, c, d]);
    let parts = u32::from(u16::from_be_bytes([key_high, key_low])) + u32::from(extras);
    let fits = first == magic && data_type == 0 && parts <= body && body <= BODY_BYTES_MAX;
    if !fits || operation(opcode).is_none() {
        return Head::Broken;
    }
    // Credentials are not kept.
    let keep = if matches!(opcode, 0x21 | 0x22) { 0 } else { keep };
    Head::Whole { len: HEAD_BYTES, body: u64::from(body), keep }
}

fn mark(head: &[u8]) -> Mark {
    let opaque = head.get(12..16).map(<[u8]>::to_vec);
    Mark { opcode: head.get(1).copied(), opaque, key: None }
}

pub(super) fn command(unit: &Unit<'_>) -> Result<Option<Command>, Read> {
    let opcode = unit.head.get(1).copied().unwrap_or_default();
    let Some((name, quiet)) = operation(opcode) else { return Err(Read::Broken) };
    if name == "quit" {
        return Ok(None);
    }
    let key = unit.head.get(2..4).is_some_and(|length| length != [0, 0]);
    let text = if key { format!("{name} ?") } else { name.to_owned() };
    let answers = if opcode == STAT { Answers::Packets } else { Answers::Packet };
    let call = Memcached::call(name, text);
    let waiting = Waiting { call, answers, quiet, mark: mark(unit.head) };
    Ok(Some(Command { waiting, silent: false }))
}

pub(super) fn answer(unit: &Unit<'_>, queue: &mut Queue<Waiting>) -> Read {
    let mark = mark(unit.head);
    Memcached::pass_silent(&mark, |_| false, queue);
    queue.answer(unit);
    let Some(front) = queue.front() else {
        queue.unasked();
        return Read::Understood;
    };
    if !front.call.mark.fits(&mark) {
        return Read::Broken;
    }
    let status =
        unit.head.get(6..8).and_then(<[u8]>::first_chunk).map_or(0, |s| u16::from_be_bytes(*s));
    // Not found, exists, not stored: outcomes, not errors.
    if !matches!(status, 0 | 1 | 2 | 5 | 0x21) {
        front.call.call.status = Some(format!("0x{status:02x}"));
    }
    let key = unit.head.get(2..4).is_some_and(|length| length != [0, 0]);
    if front.call.answers != Answers::Packets || !key || status != 0 {
        queue.finish();
    }
    Read::Understood
}
