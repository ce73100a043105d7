//! What a request asks for.
//!
//! Invariant: pure; nothing of a value is read but its length, and of credentials nothing at all.

use super::envelope::{Kind, SEGMENTED, Start};
use super::field::{Fields, Text};

/// Names of digests are 16 bytes long; what is longer is no name.
const ID_BYTES_MAX: usize = 64;

/// What stands behind a statement.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Parameters<'a> {
    pub(super) consistency: Option<&'static str>,
    pub(super) page_size: Option<i32>,
    /// The keyspace that it is for, whatever that of the connection.
    pub(super) keyspace: Option<&'a str>,
}

/// A statement of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum One<'a> {
    Text(Text<'a>),
    Id(&'a [u8]),
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asked<'a> {
    /// What its kind says.
    Plain,
    /// A connection, with its bodies compressed by this.
    Startup {
        compression: Option<&'a str>,
    },
    Query {
        text: Text<'a>,
        parameters: Parameters<'a>,
    },
    Prepare {
        text: Text<'a>,
        keyspace: Option<&'a str>,
    },
    Execute {
        id: &'a [u8],
        parameters: Parameters<'a>,
    },
    Batch(Batch<'a>),
}

/// Statements that are sent together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Batch<'a> {
    pub(super) kind: &'static str,
    pub(super) size: u16,
    fields: Fields<'a>,
    version: u8,
}

impl<'a> Batch<'a> {
    /// Hands out what of its statements is there; returns what stands behind the last one.
    pub(super) fn each(self, mut take: impl FnMut(One<'a>)) -> Option<Parameters<'a>> {
        let Self { mut fields, size, version, .. } = self;
        for _ in 0..size {
            take(match fields.u8()? {
                0 => One::Text(fields.text()?),
                1 => One::Id(fields.short()?),
                _ => return None,
            });
            fields.values(false)?;
        }
        Some(parameters(&mut fields, version))
    }
}

/// Reads the body of a request, as much of it as was kept. None: it is none, or too little is there.
pub(super) fn read<'a>(start: Start, mut fields: Fields<'a>) -> Option<Asked<'a>> {
    let version = start.version;
    Some(match start.kind {
        Kind::Options | Kind::Register | Kind::Response => Asked::Plain,
        Kind::Startup => Asked::Startup { compression: startup(fields).compression },
        Kind::Query => {
            let text = fields.text()?;
            Asked::Query { text, parameters: parameters(&mut fields, version) }
        }
        Kind::Prepare => {
            let text = fields.text()?;
            let flags = if version >= SEGMENTED { fields.i32().unwrap_or(0) } else { 0 };
            let keyspace = if flags & 1 == 0 { None } else { fields.string() };
            Asked::Prepare { text, keyspace }
        }
        Kind::Execute => {
            let id = id(&mut fields)?;
            if version >= SEGMENTED {
                // What the client knows the columns of the answer by.
                fields.short()?;
            }
            Asked::Execute { id, parameters: parameters(&mut fields, version) }
        }
        Kind::Batch => {
            let kind = match fields.u8()? {
                0 => "logged",
                1 => "unlogged",
                2 => "counter",
                _ => return None,
            };
            Asked::Batch(Batch { kind, size: fields.u16()?, fields, version })
        }
        _ => return None,
    })
}

/// The name of a prepared statement.
pub(super) fn id<'a>(fields: &mut Fields<'a>) -> Option<&'a [u8]> {
    fields.short().filter(|id| (1..=ID_BYTES_MAX).contains(&id.len()))
}

/// What a client asks for as it begins.
#[derive(Debug, Default)]
pub(super) struct Startup<'a> {
    pub(super) compression: Option<&'a str>,
    /// It says the version of the language, as every one does.
    pub(super) versioned: bool,
}

/// Reads the options of a beginning, as many as are there.
pub(super) fn startup(mut fields: Fields<'_>) -> Startup<'_> {
    let mut startup = Startup::default();
    for _ in 0..fields.u16().unwrap_or(0) {
        match (fields.string(), fields.string()) {
            (Some("COMPRESSION"), name) => startup.compression = name,
            (Some("CQL_VERSION"), _) => startup.versioned = true,
            (Some(_), Some(_)) => {}
            _ => break,
        }
    }
    startup
}

/// What stands behind a statement, as far as it is there.
fn parameters<'a>(fields: &mut Fields<'a>, version: u8) -> Parameters<'a> {
    let mut found = Parameters::default();
    // What is cut off behind it says less, not nothing.
    read_parameters(fields, version, &mut found).unwrap_or_default();
    found
}

fn read_parameters<'a>(
    fields: &mut Fields<'a>,
    version: u8,
    found: &mut Parameters<'a>,
) -> Option<()> {
    found.consistency = Some(consistency(fields.u16()?)?);
    let flags = if version >= SEGMENTED { fields.i32()? } else { i32::from(fields.u8()?) };
    let has = |flag: i32| flags & flag != 0;
    if has(0x01) {
        fields.values(has(0x40))?;
    }
    if has(0x04) {
        found.page_size = Some(fields.i32()?);
    }
    if has(0x08) {
        fields.value()?;
    }
    if has(0x10) {
        fields.u16()?;
    }
    if has(0x20) {
        fields.skip(8)?;
    }
    if has(0x80) && version >= SEGMENTED {
        found.keyspace = Some(fields.string()?);
    }
    Some(())
}

/// Levels of consistency, in the words of the conventions.
pub(super) fn consistency(level: u16) -> Option<&'static str> {
    let levels = [
        "any",
        "one",
        "two",
        "three",
        "quorum",
        "all",
        "local_quorum",
        "each_quorum",
        "serial",
        "local_serial",
        "local_one",
    ];
    levels.get(usize::from(level)).copied()
}
