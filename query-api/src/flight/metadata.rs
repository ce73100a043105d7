//! What drivers ask about the server: its catalog, its tables, itself.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_flight::error::FlightError;
use arrow_flight::sql::metadata::{SqlInfoData, SqlInfoDataBuilder};
use arrow_flight::sql::{
    CommandGetCatalogs, CommandGetDbSchemas, CommandGetTableTypes, CommandGetTables, SqlInfo,
};
use icecore_store::Table;

use crate::answer::plain_schema;
use crate::table::columns::{schema_of, table_columns};

/// What the engine calls the only catalog and schema.
const CATALOG: &str = "datafusion";
const SCHEMA: &str = "public";
/// A table has rows of its own, a view those of a table.
const TABLE: &str = "TABLE";
const VIEW: &str = "VIEW";

type Answer = Result<RecordBatch, FlightError>;

/// The catalogs.
pub(super) fn catalogs(query: CommandGetCatalogs) -> Answer {
    let mut builder = query.into_builder();
    builder.append(CATALOG);
    builder.build()
}

/// The schemas.
pub(super) fn schemas(query: CommandGetDbSchemas) -> Answer {
    let mut builder = query.into_builder();
    builder.append(CATALOG, SCHEMA);
    builder.build()
}

/// The tables, and these views.
pub(super) fn tables(query: CommandGetTables, views: &[(&str, SchemaRef)]) -> Answer {
    let mut builder = query.into_builder();
    for table in Table::ALL {
        let schema = plain_schema(&schema_of(table_columns(table)));
        builder.append(CATALOG, SCHEMA, table.name(), TABLE, &schema)?;
    }
    for (name, schema) in views {
        builder.append(CATALOG, SCHEMA, *name, VIEW, schema)?;
    }
    builder.build()
}

/// The kinds of tables.
pub(super) fn table_types(query: CommandGetTableTypes) -> Answer {
    let mut builder = query.into_builder();
    builder.append(TABLE);
    builder.append(VIEW);
    builder.build()
}

/// What the server is.
pub(super) fn sql_info() -> Result<SqlInfoData, FlightError> {
    let mut builder = SqlInfoDataBuilder::new();
    builder.append(SqlInfo::FlightSqlServerName, "Icecore");
    builder.append(SqlInfo::FlightSqlServerVersion, env!("CARGO_PKG_VERSION"));
    builder.append(SqlInfo::FlightSqlServerArrowVersion, "1.3");
    builder.append(SqlInfo::FlightSqlServerReadOnly, true);
    builder.append(SqlInfo::FlightSqlServerSql, true);
    builder.append(SqlInfo::FlightSqlServerSubstrait, false);
    builder.append(SqlInfo::FlightSqlServerCancel, false);
    builder.append(SqlInfo::SqlIdentifierQuoteChar, "\"");
    builder.build()
}
