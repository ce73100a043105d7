//! A table as the engine sees it: the files of the catalog and the live rows, as one.

pub(crate) mod columns;
mod present;
mod prune;
mod scan;

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use icecore_store::schema::{AttributeType, MapColumn};
use icecore_store::{Store, Table, TimeRange};

use self::columns::{Column, table_columns};
pub(crate) use self::prune::Prune;
use self::scan::{Part, TelemetryScan};
pub(crate) use self::scan::{ScanFigures, ScanStats, shown};
use crate::snapshot::QuerySnapshot;

/// One table under one snapshot.
#[derive(Debug, Clone)]
pub(crate) struct TelemetryTable {
    table: Table,
    rows: Arc<TableRows>,
    columns: Vec<Column>,
    schema: SchemaRef,
}

/// Where the rows of a query are.
#[derive(Debug)]
pub(crate) struct TableRows {
    /// Reads files.
    pub(crate) store: Arc<Store>,
    /// Says which files, and holds the live rows.
    pub(crate) snapshot: Arc<QuerySnapshot>,
    /// Counts what is read.
    pub(crate) stats: Arc<ScanStats>,
}

impl TelemetryTable {
    /// A table with the columns of `SELECT *`.
    pub(crate) fn new(table: Table, rows: Arc<TableRows>) -> Self {
        let columns = table_columns(table);
        Self { table, rows, schema: schema_of(&columns), columns }
    }

    /// The same table with the column of one key after the others, and the name of that column.
    pub(crate) fn with_attribute(
        &self,
        map: MapColumn,
        key: &str,
        kind: AttributeType,
    ) -> (Self, String) {
        let column = Column::attribute(self.table, map, key, kind);
        let name = column.field.name().clone();
        let mut columns = self.columns.clone();
        if !columns.iter().any(|known| known.read == column.read) {
            columns.push(column);
        }
        let (table, rows, schema) = (self.table, Arc::clone(&self.rows), schema_of(&columns));
        (Self { table, rows, columns, schema }, name)
    }
}

fn schema_of(columns: &[Column]) -> SchemaRef {
    Arc::new(Schema::new(
        columns.iter().map(|column| Arc::clone(&column.field)).collect::<Vec<_>>(),
    ))
}

#[async_trait]
impl TableProvider for TelemetryTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        // Conditions only say where rows can be: the engine still applies them to each row.
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let columns = match projection {
            Some(wanted) => wanted.iter().map(|at| self.columns[*at].clone()).collect(),
            None => self.columns.clone(),
        };
        let prune = Prune::from_filters(self.table, filters);
        let snapshot = &self.rows.snapshot;
        let known = snapshot.files.files(self.table, TimeRange::ALL).len();
        let (files, live) = match prune.time {
            Some(time) => (
                snapshot.files.files(self.table, time),
                snapshot.live_rows(self.table, time).cloned().collect(),
            ),
            None => Default::default(),
        };
        self.rows.stats.planned(known, files.len());
        let partitions = session.config().target_partitions();
        let parts = Part::split(files, live, partitions);
        let rows = Arc::clone(&self.rows);
        Ok(Arc::new(TelemetryScan::new(
            self.table,
            rows,
            schema_of(&columns),
            columns,
            prune,
            parts,
        )))
    }
}
