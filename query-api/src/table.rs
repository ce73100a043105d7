//! A table as the engine sees it: the files of the catalog and the live rows, as one.

mod bounds;
pub(crate) mod columns;
mod conditions;
mod filter;
mod live;
mod parts;
mod place;
mod present;
pub(crate) mod scan;
mod stacks;
mod stats;
pub(crate) mod top;

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use icecore_store::schema::{AttributeType, MapColumn};
use icecore_store::{FileEntry, LiveBlock, Store, Table, TimeRange};

use self::columns::{Column, schema_of, table_columns, table_schema};
use self::conditions::{Conditions, can_apply};
pub(crate) use self::live::{LiveReads, live_error};
use self::parts::Part;
pub(crate) use self::place::Place;
pub(crate) use self::present::shown;
use self::scan::TelemetryScan;
use self::stats::Considered;
pub(crate) use self::stats::{ScanFigures, ScanStats};
use crate::snapshot::QuerySnapshot;

/// The files of more traces are not looked up one by one.
const TRACES_MAX: usize = 32;

/// One table under one snapshot.
#[derive(Debug, Clone)]
pub(crate) struct TelemetryTable {
    table: Table,
    rows: Arc<TableRows>,
    columns: Cow<'static, [Column]>,
    schema: SchemaRef,
}

/// Where the rows of a query are.
#[derive(Debug)]
pub(crate) struct TableRows {
    /// Reads files.
    pub(crate) store: Arc<Store>,
    /// Says which files, and holds the live rows.
    pub(crate) snapshot: Arc<QuerySnapshot>,
    /// Reads live rows.
    pub(crate) live_reads: LiveReads,
    /// Counts what is read.
    pub(crate) stats: Arc<ScanStats>,
}

impl TelemetryTable {
    /// A table with the columns of `SELECT *`.
    pub(crate) fn new(table: Table, rows: Arc<TableRows>) -> Self {
        let (columns, schema) = (Cow::Borrowed(table_columns(table)), table_schema(table));
        Self { table, rows, columns, schema }
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
        let mut columns = self.columns.to_vec();
        if !columns.iter().any(|known| known.read == column.read) {
            columns.push(column);
        }
        let (table, rows, schema) = (self.table, Arc::clone(&self.rows), schema_of(&columns));
        let columns = Cow::Owned(columns);
        (Self { table, rows, columns, schema }, name)
    }
}

impl TelemetryTable {
    /// Of these files those that can have a row of the traces that are asked for.
    async fn of_traces(
        &self,
        files: Vec<Arc<FileEntry>>,
        conditions: &Conditions,
    ) -> Vec<Arc<FileEntry>> {
        let asked = conditions.traces.as_deref().filter(|traces| traces.len() <= TRACES_MAX);
        let (Table::Spans, Some(traces)) = (self.table, asked) else { return files };
        let mut having = HashSet::new();
        for trace in traces {
            let here = self.rows.store.files_with_trace(&self.rows.snapshot.files, *trace).await;
            having.extend(here.all().map(|file| file.id));
        }
        files.into_iter().filter(|file| having.contains(&file.id)).collect()
    }

    /// The live blocks of this time that can have a row of the traces that are asked for.
    fn live_of_traces(&self, time: TimeRange, conditions: &Conditions) -> Vec<Arc<dyn LiveBlock>> {
        let traces = conditions.traces.as_deref();
        let blocks = self.rows.snapshot.live_blocks(self.table, time);
        let can = |block: &&Arc<dyn LiveBlock>| {
            traces.is_none_or(|traces| traces.iter().any(|trace| block.may_have(*trace)))
        };
        blocks.filter(can).cloned().collect()
    }
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
        let supported = filters.iter().map(|filter| match can_apply(filter) {
            true => TableProviderFilterPushDown::Exact,
            false => TableProviderFilterPushDown::Unsupported,
        });
        Ok(supported.collect())
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let columns = match projection {
            Some(wanted) => wanted.iter().map(|at| self.columns[*at].clone()).collect(),
            None => self.columns.to_vec(),
        };
        let conditions = Conditions::new(session, self.table, &self.columns, filters)?;
        let snapshot = &self.rows.snapshot;
        let known = snapshot.files.files(self.table, TimeRange::ALL).len();
        let (of_time, live) = match conditions.time {
            Some(time) => {
                (snapshot.files.files(self.table, time), self.live_of_traces(time, &conditions))
            }
            None => Default::default(),
        };
        let not_of_time = known - of_time.len();
        let files = self.of_traces(of_time, &conditions).await;
        let not_of_trace = known - not_of_time - files.len();
        let considered = Considered { files: known, not_of_time, not_of_trace };
        self.rows.stats.planned(considered);
        let parts = Part::split(files, live, session.config().target_partitions());
        let (table, rows) = (self.table, Arc::clone(&self.rows));
        let scan = TelemetryScan::new(table, rows, columns, conditions, parts, considered);
        Ok(Arc::new(scan.limited(limit.is_some())))
    }
}
