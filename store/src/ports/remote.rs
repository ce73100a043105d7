//! Live rows of another process: what is asked over Arrow Flight, and what is answered.
//!
//! A process that ingests answers `DoGet`. Its ticket is an [`Ask`]:
//!
//! - A [`Look`] is answered by messages whose metadata are [`Seen`], in order, the last of them with
//!   `whole`. The answer does not end then: for as long as it is held open, the rows of its blocks
//!   can be read, whatever is flushed meanwhile.
//! - A [`Read`] is answered by the rows of one block, as record batches in row shape. Batches with
//!   other columns begin with a schema of their own.
//!
//! Invariant: what is received is checked before it is believed; a message that says what cannot be
//! is an error, never a panic.

use prost::Message;

use super::{LiveBlock, LiveSnapshot};
use crate::files::ReadColumn;
use crate::model::{LogPosition, Table, TimeRange, UnixNanos, WriterId};
use crate::schema::{AttributeType, MapColumn};

/// Blocks that one message tells of.
const BLOCKS_TOLD: usize = 64;

/// What a ticket asks for.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Ask {
    /// One of these.
    #[prost(oneof = "Asked", tags = "1, 2")]
    pub asked: Option<Asked>,
}

/// Either kind.
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub enum Asked {
    /// Which blocks there are.
    #[prost(message, tag = "1")]
    Look(Look),
    /// The rows of one.
    #[prost(message, tag = "2")]
    Read(Read),
}

/// Which blocks have rows of a table that overlap a time.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Look {
    /// Its name.
    #[prost(string, tag = "1")]
    pub table: String,
    /// Nanoseconds since 1970 UTC; rows from here on.
    #[prost(sint64, tag = "2")]
    pub start: i64,
    /// The same; rows before it.
    #[prost(sint64, tag = "3")]
    pub end: i64,
}

/// The rows of a block that a look found.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Read {
    /// Whose answer is still held open.
    #[prost(fixed64, tag = "1")]
    pub look: u64,
    /// Where the block begins.
    #[prost(uint64, tag = "2")]
    pub position: u64,
    /// Whether all columns are wanted.
    #[prost(bool, tag = "3")]
    pub all: bool,
    /// Where they are not: those from which these can be made.
    #[prost(message, repeated, tag = "4")]
    pub columns: Vec<Column>,
}

/// A [`ReadColumn`].
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Column {
    /// A fixed column where no map is given; a key of the map where one is; empty for the whole map.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The map, by its name.
    #[prost(string, optional, tag = "2")]
    pub map: Option<String>,
    /// Whether it is the whole map.
    #[prost(bool, tag = "3")]
    pub whole: bool,
}

/// What a look found, or a part of it.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Seen {
    /// By what its blocks are read.
    #[prost(fixed64, tag = "1")]
    pub look: u64,
    /// Whose rows they are: a ULID.
    #[prost(string, tag = "2")]
    pub writer: String,
    /// See [`LiveSnapshot::covered_to`].
    #[prost(uint64, tag = "3")]
    pub covered_to: u64,
    /// In log order.
    #[prost(message, repeated, tag = "4")]
    pub blocks: Vec<SeenBlock>,
    /// Whether no more will be told.
    #[prost(bool, tag = "5")]
    pub whole: bool,
}

/// A [`LiveBlock`] without its rows.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct SeenBlock {
    /// Where its first request stands.
    #[prost(uint64, tag = "1")]
    pub position: u64,
    /// Where the first request behind it stands.
    #[prost(uint64, tag = "2")]
    pub next: u64,
    /// The first of its times.
    #[prost(sint64, tag = "3")]
    pub start: i64,
    /// The first time after them.
    #[prost(sint64, tag = "4")]
    pub end: i64,
    /// How many rows there are.
    #[prost(uint64, tag = "5")]
    pub rows: u64,
    /// See [`LiveBlock::trace_prints`]; nothing of `prints` is said where not known.
    #[prost(bool, tag = "6")]
    pub prints_known: bool,
    /// The prints, sorted.
    #[prost(fixed32, repeated, tag = "7")]
    pub prints: Vec<u32>,
}

/// A message that says what cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RemoteError {
    /// It is no message of this protocol, or one of another version of it.
    #[error("`{what}` is missing or not understood: is it another version of Icecore?")]
    NotUnderstood {
        /// Which part of it.
        what: &'static str,
    },
    /// A range ends before it begins.
    #[error("{what} ends before it begins")]
    Empty {
        /// Of what.
        what: &'static str,
    },
    /// Blocks are not in log order.
    #[error("blocks are not in log order")]
    Unordered,
}

const fn not_understood(what: &'static str) -> RemoteError {
    RemoteError::NotUnderstood { what }
}

impl Ask {
    /// For a look.
    #[must_use]
    pub fn look(table: Table, time: TimeRange) -> Self {
        let (start, end) = (time.start().0, time.end().0);
        let look = Look { table: table.name().to_owned(), start, end };
        Self { asked: Some(Asked::Look(look)) }
    }

    /// For the rows of a block; `None` for all columns.
    #[must_use]
    pub fn read(look: u64, position: LogPosition, columns: Option<&[ReadColumn]>) -> Self {
        let all = columns.is_none();
        let columns = columns.unwrap_or_default().iter().map(Column::of).collect();
        Self { asked: Some(Asked::Read(Read { look, position: position.0, all, columns })) }
    }

    /// What a ticket holds.
    ///
    /// # Errors
    /// Where it holds no such thing.
    pub fn parse(ticket: &[u8]) -> Result<Asked, RemoteError> {
        let ask = Self::decode(ticket).map_err(|_none| not_understood("ticket"))?;
        ask.asked.ok_or(not_understood("ticket"))
    }
}

impl Look {
    /// The table and the time.
    ///
    /// # Errors
    /// Where there is no such table or time.
    pub fn wanted(&self) -> Result<(Table, TimeRange), RemoteError> {
        let table = self.table.parse().map_err(|_none| not_understood("table"))?;
        Ok((table, time_range(self.start, self.end)?))
    }
}

impl Read {
    /// The columns; `None` for all of them.
    ///
    /// # Errors
    /// Where one cannot be.
    pub fn wanted(&self) -> Result<Option<Vec<ReadColumn>>, RemoteError> {
        if self.all {
            return Ok(None);
        }
        self.columns.iter().map(Column::wanted).collect::<Result<_, _>>().map(Some)
    }
}

impl Column {
    /// What of a column matters to whoever makes rows: of a key not the type that it is read as.
    fn of(column: &ReadColumn) -> Self {
        let (name, map, whole) = match column {
            ReadColumn::Fixed(name) => (name.clone(), None, false),
            ReadColumn::Attribute { map, key, kind: _ } => (key.clone(), Some(*map), false),
            ReadColumn::Map(map) => (String::new(), Some(*map), true),
        };
        Self { name, map: map.map(|map| map.name().to_owned()), whole }
    }

    fn wanted(&self) -> Result<ReadColumn, RemoteError> {
        let Some(name) = &self.map else { return Ok(ReadColumn::Fixed(self.name.clone())) };
        let map = MapColumn::ALL.into_iter().find(|map| map.name() == name);
        let map = map.ok_or(not_understood("map"))?;
        if self.whole {
            return Ok(ReadColumn::Map(map));
        }
        let key = self.name.clone();
        Ok(ReadColumn::Attribute { map, key, kind: AttributeType::String })
    }
}

impl Seen {
    /// What is told of a snapshot, in as many messages as that takes.
    #[must_use]
    pub fn tell(look: u64, snapshot: &LiveSnapshot) -> Vec<Self> {
        let (writer, covered_to) = (snapshot.writer.to_string(), snapshot.covered_to.0);
        let told = |blocks| Self { look, writer: writer.clone(), covered_to, blocks, whole: false };
        let blocks = |part: &[std::sync::Arc<dyn LiveBlock>]| {
            told(part.iter().map(|block| SeenBlock::of(block.as_ref())).collect())
        };
        let mut messages: Vec<Self> = snapshot.blocks.chunks(BLOCKS_TOLD).map(blocks).collect();
        messages.push(Self { whole: true, ..told(Vec::new()) });
        messages
    }

    /// What the metadata of a message hold.
    ///
    /// # Errors
    /// Where they hold no such thing.
    pub fn parse(metadata: &[u8]) -> Result<Self, RemoteError> {
        Self::decode(metadata).map_err(|_none| not_understood("look"))
    }

    /// Whose rows they are.
    ///
    /// # Errors
    /// Where it is no writer.
    pub fn writer(&self) -> Result<WriterId, RemoteError> {
        self.writer.parse().map_err(|_none| not_understood("writer"))
    }
}

impl SeenBlock {
    fn of(block: &dyn LiveBlock) -> Self {
        let (time, prints) = (block.time(), block.trace_prints());
        Self {
            position: block.position().0,
            next: block.next().0,
            start: time.start().0,
            end: time.end().0,
            rows: block.rows(),
            prints_known: prints.is_some(),
            prints: prints.unwrap_or_default().to_vec(),
        }
    }

    /// The times of its rows.
    ///
    /// # Errors
    /// Where there are none.
    pub fn time(&self) -> Result<TimeRange, RemoteError> {
        time_range(self.start, self.end)
    }

    /// Where it begins and ends, behind what ends at `after`.
    ///
    /// # Errors
    /// Where it is empty or begins before that.
    pub fn place(&self, after: LogPosition) -> Result<(LogPosition, LogPosition), RemoteError> {
        match (self.position, self.next) {
            (position, next) if position >= next => Err(RemoteError::Empty { what: "a block" }),
            (position, _) if position < after.0 => Err(RemoteError::Unordered),
            (position, next) => Ok((LogPosition(position), LogPosition(next))),
        }
    }
}

fn time_range(start: i64, end: i64) -> Result<TimeRange, RemoteError> {
    let range = TimeRange::new(UnixNanos(start), UnixNanos(end));
    range.ok_or(RemoteError::Empty { what: "a time" })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: asks of each kind, as bytes and back.
    /// Guarantees: the same table, time, block and columns come out, but for the types of keys.
    #[test]
    fn asks_come_back() {
        let time = TimeRange::new(UnixNanos(-5), UnixNanos(7)).unwrap();
        for (table, time) in Table::ALL.into_iter().zip([time, TimeRange::ALL].into_iter().cycle())
        {
            let ticket = Ask::look(table, time).encode_to_vec();
            let Ok(Asked::Look(look)) = Ask::parse(&ticket) else { panic!("no look") };
            assert_eq!(look.wanted(), Ok((table, time)));
        }
        let key =
            |kind| ReadColumn::Attribute { map: MapColumn::Resource, key: String::new(), kind };
        let columns = vec![
            ReadColumn::Fixed("name".to_owned()),
            key(AttributeType::String),
            ReadColumn::Map(MapColumn::Attributes),
        ];
        for wanted in [None, Some(columns), Some(Vec::new())] {
            let ticket = Ask::read(9, LogPosition(70), wanted.as_deref()).encode_to_vec();
            let Ok(Asked::Read(read)) = Ask::parse(&ticket) else { panic!("no read") };
            assert_eq!((read.look, read.position, read.wanted()), (9, 70, Ok(wanted)));
        }
        let ticket = Ask::read(9, LogPosition(70), Some(&[key(AttributeType::Int)]));
        let Some(Asked::Read(read)) = ticket.asked else { panic!("no read") };
        assert_eq!(read.wanted(), Ok(Some(vec![key(AttributeType::String)])));
    }

    /// Scenario: bytes that are no messages, tables and maps that are not there, times and blocks
    /// that end before they begin, blocks out of order.
    /// Guarantees: each is refused.
    #[test]
    fn what_cannot_be_is_refused() {
        for bytes in [&b""[..], b"\xff", b"SELECT 1"] {
            assert_eq!(Ask::parse(bytes), Err(not_understood("ticket")), "{bytes:?}");
        }
        let look = Look { table: "sponsors".to_owned(), start: 0, end: 1 };
        assert_eq!(look.wanted(), Err(not_understood("table")));
        let look = Look { table: "spans".to_owned(), start: 1, end: 1 };
        assert_eq!(look.wanted(), Err(RemoteError::Empty { what: "a time" }));
        let column = Column { map: Some("sea".to_owned()), ..Column::default() };
        assert_eq!(column.wanted(), Err(not_understood("map")));
        assert_eq!(Seen::default().writer(), Err(not_understood("writer")));
        let block = SeenBlock { position: 5, next: 9, ..SeenBlock::default() };
        assert!(block.place(LogPosition(5)).is_ok() && block.time().is_err());
        assert_eq!(block.place(LogPosition(6)), Err(RemoteError::Unordered));
        let empty = SeenBlock { next: 5, ..block };
        assert_eq!(empty.place(LogPosition(0)), Err(RemoteError::Empty { what: "a block" }));
    }
}
