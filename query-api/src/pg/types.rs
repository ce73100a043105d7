//! Types as PostgreSQL has them, by the numbers that its clients know.
//!
//! Invariant: a column has one type whatever its rows are, and a type that is told has a text form
//! and a binary form that both say the same.

use arrow::datatypes::{DataType, Field, FieldRef, IntervalUnit, TimeUnit};

use crate::table::columns::is_json;

/// A type of one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Bytea,
    Int2,
    Int4,
    Int8,
    Oid,
    Float4,
    Float8,
    Numeric,
    Text,
    Varchar,
    Bpchar,
    Name,
    Char,
    Uuid,
    Json,
    Jsonb,
    Date,
    Timestamp,
    Timestamptz,
    Interval,
}

/// What is known of a kind: its name, its name in the standard, its number, the number of arrays of
/// it, its bytes (-1 where they differ), and the letter of its category.
pub(super) struct Facts {
    pub(super) kind: Kind,
    pub(super) name: &'static str,
    pub(super) sql_name: &'static str,
    pub(super) oid: u32,
    pub(super) array_oid: u32,
    pub(super) bytes: i16,
    pub(super) category: &'static str,
}

const fn facts(
    kind: Kind,
    (name, sql_name): (&'static str, &'static str),
    (oid, array_oid): (u32, u32),
    bytes: i16,
    category: &'static str,
) -> Facts {
    Facts { kind, name, sql_name, oid, array_oid, bytes, category }
}

/// Every kind, in the order of [`Kind`].
pub(super) const KINDS: [Facts; 21] = [
    facts(Kind::Bool, ("bool", "boolean"), (16, 1000), 1, "B"),
    facts(Kind::Bytea, ("bytea", "bytea"), (17, 1001), -1, "U"),
    facts(Kind::Int2, ("int2", "smallint"), (21, 1005), 2, "N"),
    facts(Kind::Int4, ("int4", "integer"), (23, 1007), 4, "N"),
    facts(Kind::Int8, ("int8", "bigint"), (20, 1016), 8, "N"),
    facts(Kind::Oid, ("oid", "oid"), (26, 1028), 4, "N"),
    facts(Kind::Float4, ("float4", "real"), (700, 1021), 4, "N"),
    facts(Kind::Float8, ("float8", "double precision"), (701, 1022), 8, "N"),
    facts(Kind::Numeric, ("numeric", "numeric"), (1700, 1231), -1, "N"),
    facts(Kind::Text, ("text", "text"), (25, 1009), -1, "S"),
    facts(Kind::Varchar, ("varchar", "character varying"), (1043, 1015), -1, "S"),
    facts(Kind::Bpchar, ("bpchar", "character"), (1042, 1014), -1, "S"),
    facts(Kind::Name, ("name", "name"), (19, 1003), 64, "S"),
    facts(Kind::Char, ("char", "\"char\""), (18, 1002), 1, "Z"),
    facts(Kind::Uuid, ("uuid", "uuid"), (2950, 2951), 16, "U"),
    facts(Kind::Json, ("json", "json"), (114, 199), -1, "U"),
    facts(Kind::Jsonb, ("jsonb", "jsonb"), (3802, 3807), -1, "U"),
    facts(Kind::Date, ("date", "date"), (1082, 1182), 4, "D"),
    facts(Kind::Timestamp, ("timestamp", "timestamp without time zone"), (1114, 1115), 8, "D"),
    facts(Kind::Timestamptz, ("timestamptz", "timestamp with time zone"), (1184, 1185), 8, "D"),
    facts(Kind::Interval, ("interval", "interval"), (1186, 1187), 16, "T"),
];

const _: () = {
    let mut at = 0;
    while at < KINDS.len() {
        assert!(KINDS[at].kind as usize == at, "facts are found by their kind");
        at += 1;
    }
};

impl Kind {
    /// What is known of it.
    pub(super) const fn facts(self) -> &'static Facts {
        &KINDS[self as usize]
    }

    fn of(data_type: &DataType) -> Self {
        match data_type {
            DataType::Boolean => Self::Bool,
            DataType::Int8 | DataType::Int16 | DataType::UInt8 => Self::Int2,
            DataType::Int32 | DataType::UInt16 => Self::Int4,
            DataType::Int64 | DataType::UInt32 => Self::Int8,
            DataType::UInt64 | DataType::Decimal128(_, _) | DataType::Decimal256(_, _) => {
                Self::Numeric
            }
            DataType::Float16 | DataType::Float32 => Self::Float4,
            DataType::Float64 => Self::Float8,
            DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_) => Self::Bytea,
            DataType::Date32 | DataType::Date64 => Self::Date,
            DataType::Timestamp(_, Some(_)) => Self::Timestamptz,
            DataType::Timestamp(_, None) => Self::Timestamp,
            DataType::Interval(_) | DataType::Duration(_) => Self::Interval,
            DataType::List(_)
            | DataType::LargeList(_)
            | DataType::FixedSizeList(_, _)
            | DataType::ListView(_)
            | DataType::Struct(_)
            | DataType::Map(_, _)
            | DataType::Union(_, _) => Self::Jsonb,
            DataType::Dictionary(_, values) => Self::of(values),
            _ => Self::Text,
        }
    }
}

/// The type of a column or of a parameter: one value, or an array of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Type {
    pub(super) kind: Kind,
    pub(super) is_array: bool,
}

impl Type {
    /// One value.
    pub(super) const fn one(kind: Kind) -> Self {
        Self { kind, is_array: false }
    }

    /// With this number, if it is one that is known here.
    pub(super) fn of_oid(oid: u32) -> Option<Self> {
        KINDS.iter().find_map(|facts| match oid {
            oid if oid == facts.oid => Some(Self::one(facts.kind)),
            oid if oid == facts.array_oid => Some(Self { kind: facts.kind, is_array: true }),
            _ => None,
        })
    }

    /// With this name, as a cast has it.
    pub(super) fn named(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let (name, is_array) = match name.strip_suffix("[]") {
            Some(item) => (item, true),
            None => (name.as_str(), false),
        };
        let name = match name {
            "int" => "integer",
            "double" => "float8",
            name => name,
        };
        let known = KINDS.iter().find(|facts| facts.name == name || facts.sql_name == name);
        known.map(|facts| Self { kind: facts.kind, is_array })
    }

    /// That values of an Arrow type have. Lists of plain values are arrays; what is nested more
    /// deeply is JSON.
    pub(super) fn of(data_type: &DataType) -> Self {
        let item = match data_type {
            DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
                Kind::of(item.data_type())
            }
            other => return Self::one(Kind::of(other)),
        };
        match item {
            Kind::Jsonb => Self::one(Kind::Jsonb),
            kind => Self { kind, is_array: true },
        }
    }

    /// That a column has.
    pub(super) fn of_field(field: &Field) -> Self {
        if is_json(field) { Self::one(Kind::Jsonb) } else { Self::of(field.data_type()) }
    }

    /// Its number.
    pub(super) const fn oid(self) -> u32 {
        let facts = self.kind.facts();
        if self.is_array { facts.array_oid } else { facts.oid }
    }

    /// Its bytes; -1 where they differ.
    pub(super) const fn bytes(self) -> i16 {
        if self.is_array { -1 } else { self.kind.facts().bytes }
    }

    /// Its name in the standard.
    pub(super) fn sql_name(self) -> String {
        let name = self.kind.facts().sql_name;
        if self.is_array { format!("{name}[]") } else { name.to_owned() }
    }
}

/// The Arrow type that a column is written from: few of them have a form of their own.
pub(super) fn written_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
        DataType::Interval(_) => DataType::Interval(IntervalUnit::MonthDayNano),
        DataType::Duration(_) => DataType::Duration(TimeUnit::Microsecond),
        DataType::Date64 => DataType::Date32,
        DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            DataType::Binary
        }
        DataType::Int8 | DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 => DataType::Int64,
        DataType::Float16 => DataType::Float32,
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::Dictionary(_, values) => written_type(values),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _)
            if Type::of(data_type).is_array =>
        {
            DataType::List(written_item(item))
        }
        other => other.clone(),
    }
}

fn written_item(item: &FieldRef) -> FieldRef {
    Field::new(item.name(), written_type(item.data_type()), true).into()
}
