//! The columns that SQL sees: which there are, in which order, and what each reads.
//!
//! Invariant: `SELECT *` names every fixed column of the table once, those of the documented table
//! first and in its order, then the bookkeeping columns. Ids are text, maps are JSON text, a stack is a
//! list.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use icecore_store::schema::{AttributeType, MapColumn, fixed_fields};
use icecore_store::{ReadColumn, Table, read_field};

use super::present::present_type;
use super::stacks::{is_stack, stack_type};

/// Metadata key of a field whose text is JSON; the name is Arrow's own for that.
const EXTENSION_NAME: &str = "ARROW:extension:name";
const EXTENSION_METADATA: &str = "ARROW:extension:metadata";
const JSON_EXTENSION: &str = "arrow.json";
/// Metadata key of a map column: `<table>.<map>`. Stays inside this crate.
const MAP_KEY: &str = "icecore.map";
/// Metadata key of an id column. Stays inside this crate.
const ID_KEY: &str = "icecore.id";

/// Where the shared columns stand among a table's own: after this column come the maps and scope.
const SHARED_SHOWN: [&str; 4] = ["attributes", "resource", "scope_name", "scope_version"];

/// Columns that keep an export whole and that hardly a query asks for: they come last.
const BOOKKEEPING: [&str; 20] = [
    "profile_id",
    "period_type",
    "period_unit",
    "period",
    "profile_attributes",
    "original_payload_format",
    "original_payload",
    "flags",
    "time_unset",
    "body_is_json",
    "metadata",
    "dropped_attributes_count",
    "dropped_events_count",
    "dropped_links_count",
    "resource_dropped_attributes_count",
    "resource_schema_url",
    "resource_entity_refs",
    "scope_attributes",
    "scope_dropped_attributes_count",
    "scope_schema_url",
];

/// Columns that stand after the maps and the scope, as documented.
const LATE: [&str; 4] = ["events", "links", "frames", "observations"];

/// One column of a table in SQL.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    /// As SQL sees it.
    pub(crate) field: FieldRef,
    /// What is read for it.
    pub(crate) read: ReadColumn,
}

impl Column {
    /// The column of one key of a map, not part of `SELECT *`.
    pub(crate) fn attribute(table: Table, map: MapColumn, key: &str, kind: AttributeType) -> Self {
        let read = ReadColumn::Attribute { map, key: key.to_owned(), kind };
        let data_type = present_type(read_field(table, &read).data_type());
        Self { field: Arc::new(Field::new(map.column(key), data_type, true)), read }
    }
}

/// The schema of some columns.
pub(crate) fn schema_of(columns: &[Column]) -> SchemaRef {
    Arc::new(Schema::new(
        columns.iter().map(|column| Arc::clone(&column.field)).collect::<Vec<_>>(),
    ))
}

/// The columns of `SELECT *`, in order.
pub(crate) fn table_columns(table: Table) -> &'static [Column] {
    shown(table).map_or(&[], |(_, columns, _)| columns)
}

/// The schema of these columns.
pub(crate) fn table_schema(table: Table) -> SchemaRef {
    shown(table).map_or_else(|| Arc::new(Schema::empty()), |(_, _, schema)| Arc::clone(schema))
}

/// What a table shows is the same in each query, and takes longer to make than most of them to plan.
fn shown(table: Table) -> Option<&'static (Table, Vec<Column>, SchemaRef)> {
    static SHOWN: LazyLock<[(Table, Vec<Column>, SchemaRef); Table::ALL.len()]> =
        LazyLock::new(|| {
            Table::ALL.map(|table| {
                let mut fields = fixed_fields(table);
                fields.sort_by_key(|field| rank(field.name()));
                let columns: Vec<_> =
                    fields.iter().map(|field| fixed_column(table, field)).collect();
                let schema = schema_of(&columns);
                (table, columns, schema)
            })
        });
    SHOWN.iter().find(|(of, _, _)| *of == table)
}

/// Whether the text of a field is JSON.
pub(crate) fn is_json(field: &Field) -> bool {
    field.metadata().get(EXTENSION_NAME).is_some_and(|name| name == JSON_EXTENSION)
}

/// Whether the text of a field is an id in hex.
pub(crate) fn is_id(field: &Field) -> bool {
    field.metadata().contains_key(ID_KEY)
}

/// The map that a field is, if it is one.
pub(crate) fn map_of(field: &Field) -> Option<(Table, MapColumn)> {
    let (table, map) = field.metadata().get(MAP_KEY)?.split_once('.')?;
    let map = MapColumn::ALL.into_iter().find(|known| known.name() == map)?;
    Some((table.parse().ok()?, map))
}

/// A field without what only this crate understands.
pub(crate) fn public_field(field: &Field) -> Field {
    let mut metadata = field.metadata().clone();
    metadata.remove(MAP_KEY);
    metadata.remove(ID_KEY);
    field.clone().with_metadata(metadata)
}

/// Marks the text of a field as JSON.
pub(crate) fn json_metadata() -> HashMap<String, String> {
    HashMap::from([
        (EXTENSION_NAME.to_owned(), JSON_EXTENSION.to_owned()),
        (EXTENSION_METADATA.to_owned(), String::new()),
    ])
}

/// Whether a column of this name, at the top or inside a struct, holds JSON text.
pub(crate) fn holds_json(name: &str) -> bool {
    matches!(
        name,
        "attributes"
            | "resource"
            | "scope_attributes"
            | "resource_entity_refs"
            | "metadata"
            | "profile_attributes"
            | "frames"
    )
}

fn rank(name: &str) -> usize {
    if BOOKKEEPING.contains(&name) {
        3
    } else if LATE.contains(&name) {
        2
    } else {
        usize::from(SHARED_SHOWN.contains(&name))
    }
}

fn fixed_column(table: Table, fixed: &Field) -> Column {
    let name = fixed.name().as_str();
    let map = MapColumn::ALL.into_iter().find(|map| map.name() == name);
    let read = map.map_or_else(|| ReadColumn::Fixed(name.to_owned()), ReadColumn::Map);
    let mut metadata = if holds_json(name) { json_metadata() } else { HashMap::new() };
    if map.is_some() {
        metadata.insert(MAP_KEY.to_owned(), format!("{table}.{name}"));
    }
    if matches!(fixed.data_type(), DataType::FixedSizeBinary(_)) {
        metadata.insert(ID_KEY.to_owned(), "hex".to_owned());
    }
    let data_type = if is_stack(name) {
        stack_type()
    } else {
        present_type(read_field(table, &read).data_type())
    };
    let nullable = map.is_some() || fixed.is_nullable();
    let field = Field::new(name, data_type, nullable).with_metadata(metadata);
    Column { field: Arc::new(field), read }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: the columns of each table.
    /// Guarantees: every fixed column once; the maps are JSON and know their table; ids are text.
    #[test]
    fn every_fixed_column_is_there_once() {
        for table in Table::ALL {
            let columns = table_columns(table);
            let mut names: Vec<_> = columns.iter().map(|c| c.field.name().clone()).collect();
            let mut fixed: Vec<_> = fixed_fields(table).iter().map(|f| f.name().clone()).collect();
            names.sort();
            fixed.sort();
            assert_eq!(names, fixed);
            for column in columns {
                let name = column.field.name();
                assert_eq!(is_id(&column.field), name.ends_with("_id"), "{name}");
                let map = MapColumn::ALL.into_iter().find(|map| map.name() == name);
                assert_eq!(map_of(&column.field), map.map(|map| (table, map)), "{name}");
            }
        }
    }

    /// Scenario: the first and last columns of spans.
    /// Guarantees: what people look for comes first.
    #[test]
    fn documented_columns_come_first() {
        let columns = table_columns(Table::Spans);
        let names: Vec<_> = columns.iter().map(|c| c.field.name().as_str()).collect();
        let documented = [
            "trace_id",
            "span_id",
            "parent_span_id",
            "trace_state",
            "service_name",
            "name",
            "kind",
            "start_time",
            "end_time",
            "duration_ns",
            "status_code",
            "status_message",
            "attributes",
            "resource",
            "scope_name",
            "scope_version",
            "events",
            "links",
            "flags",
        ];
        assert_eq!(names.get(..documented.len()), Some(&documented[..]));
    }
}
