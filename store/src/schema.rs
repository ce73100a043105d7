//! The row shape: one Arrow schema a table, the same from the wire to the file.
//!
//! A batch in row shape has, in this order: the table's fixed columns ([`fixed_fields`]); then any
//! number of *attribute columns*, one a key, named `attributes.<key>` or `resource.<key>` and of
//! one of the types in [`AttributeType`]. The fixed columns `attributes` and `resource` are the
//! *overflow*: JSON text (see [`crate::model::value`]) of the entries that are not in an attribute
//! column, null where there are none.
//!
//! Invariants: an entry is in its attribute column or in the overflow, never in both; a null in an
//! attribute column says "not here". Of a repeated key the first entry may have the column, the
//! rest are in the overflow. The order of entries is not kept, everything else is.
//!
//! Timestamps are nanoseconds in memory. Files hold microseconds and the remainder beside them
//! (`crate::files`), because Spark, Delta and Iceberg refuse nanoseconds.

mod fields;

use arrow::datatypes::DataType;
use serde::{Deserialize, Serialize};

pub(crate) use fields::as_stored;
pub use fields::{fixed_fields, fixed_schema, text_type};

/// The two maps of every table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MapColumn {
    /// The row's own attributes.
    Attributes,
    /// The attributes of the resource that the row came from.
    Resource,
}

impl MapColumn {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Attributes, Self::Resource];

    /// The name of the overflow column, and of the map in SQL.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Attributes => "attributes",
            Self::Resource => "resource",
        }
    }

    /// The name of the column that holds one key.
    #[must_use]
    pub fn column(self, key: &str) -> String {
        format!("{}.{key}", self.name())
    }

    /// The inverse of [`Self::column`]: which map and key a column name stands for.
    #[must_use]
    pub fn parse(column: &str) -> Option<(Self, &str)> {
        Self::ALL.into_iter().find_map(|map| {
            let key = column.strip_prefix(map.name())?.strip_prefix('.')?;
            Some((map, key))
        })
    }
}

/// The types that an attribute column can have. Everything else stays in the overflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AttributeType {
    /// `Dictionary(Int32, Utf8)`.
    String,
    /// `Int64`.
    Int,
    /// `Float64`.
    Double,
    /// `Boolean`.
    Bool,
}

impl AttributeType {
    /// The Arrow type of such a column in row shape.
    #[must_use]
    pub fn data_type(self) -> DataType {
        match self {
            Self::String => text_type(),
            Self::Int => DataType::Int64,
            Self::Double => DataType::Float64,
            Self::Bool => DataType::Boolean,
        }
    }

    /// The attribute type of a column of this Arrow type; any string encoding counts as a string.
    #[must_use]
    pub fn of(data_type: &DataType) -> Option<Self> {
        match data_type {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Some(Self::String),
            DataType::Dictionary(_, values) => Self::of(values),
            DataType::Int64 => Some(Self::Int),
            DataType::Float64 => Some(Self::Double),
            DataType::Boolean => Some(Self::Bool),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Table;

    /// Scenario: keys with dots, empty keys, and names that only look like attribute columns.
    /// Guarantees: naming is invertible, and no fixed column is taken for an attribute column.
    #[test]
    fn column_names_are_invertible() {
        for key in ["http.route", "", "a b", "resource.x"] {
            for map in MapColumn::ALL {
                assert_eq!(MapColumn::parse(&map.column(key)), Some((map, key)));
            }
        }
        for table in Table::ALL {
            for field in fixed_fields(table) {
                assert_eq!(MapColumn::parse(field.name()), None, "{}", field.name());
            }
        }
    }
}
