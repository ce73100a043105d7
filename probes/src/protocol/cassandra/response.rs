//! What an answer says.
//!
//! Invariant: pure; what was cut off before it was said is not known, and never guessed.

use super::envelope::{Kind, SEGMENTED, Start};
use super::field::Fields;
use super::request::id;

/// Types of columns may hold others, so deep at most.
const DEPTH_MAX: u32 = 16;

/// What is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answered<'a> {
    /// It failed, for the reason with this number.
    Error(i32),
    /// It went well, and so many rows are sent if that is known.
    Rows(Option<u64>),
    /// The connection has this keyspace from now on.
    Keyspace(&'a str),
    /// The statement has this name from now on.
    Prepared(&'a [u8]),
    /// It went well, or goes on.
    Fine,
}

/// Reads the body of an answer, as much of it as was kept. None: it is none, or too little is there.
pub(super) fn read<'a>(start: Start, mut fields: Fields<'a>) -> Option<Answered<'a>> {
    match start.kind {
        Kind::Error => fields.i32().map(Answered::Error),
        Kind::Result => Some(match fields.i32()? {
            1 | 5 => Answered::Fine,
            2 => Answered::Rows(rows(&mut fields, start.version)),
            3 => Answered::Keyspace(fields.string()?),
            4 => Answered::Prepared(id(&mut fields)?),
            _ => return None,
        }),
        _ => Some(Answered::Fine),
    }
}

/// How many rows there are: that stands behind what describes their columns.
fn rows(fields: &mut Fields<'_>, version: u8) -> Option<u64> {
    let flags = fields.i32()?;
    let has = |flag: i32| flags & flag != 0;
    let columns = fields.i32()?;
    if has(0x02) {
        // Where the next page begins.
        fields.value()?;
    }
    if has(0x08) && version >= SEGMENTED {
        // The columns differ from those that the client knows.
        fields.short()?;
    }
    if !has(0x04) {
        let global = has(0x01);
        if global {
            table(fields)?;
        }
        for _ in 0..columns {
            if !global {
                table(fields)?;
            }
            fields.short()?;
            column_type(fields, DEPTH_MAX)?;
        }
    }
    u64::try_from(fields.i32()?).ok()
}

/// Its keyspace and its name.
fn table(fields: &mut Fields<'_>) -> Option<()> {
    fields.short()?;
    fields.short().map(drop)
}

fn column_type(fields: &mut Fields<'_>, depth: u32) -> Option<()> {
    let depth = depth.checked_sub(1)?;
    match fields.u16()? {
        // Of its own, by name.
        0x00 => fields.short().map(drop),
        // A list, a set.
        0x20 | 0x22 => column_type(fields, depth),
        // A map.
        0x21 => {
            column_type(fields, depth)?;
            column_type(fields, depth)
        }
        // Made by users: names and types.
        0x30 => {
            table(fields)?;
            for _ in 0..fields.u16()? {
                fields.short()?;
                column_type(fields, depth)?;
            }
            Some(())
        }
        // A tuple.
        0x31 => {
            for _ in 0..fields.u16()? {
                column_type(fields, depth)?;
            }
            Some(())
        }
        _ => Some(()),
    }
}
