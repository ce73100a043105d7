//! From SQL to rows: one session a query, over one snapshot.
//!
//! Invariant: nothing that one query sets up is seen by another.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use chrono::DateTime;
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList,
    MemorySchemaProvider, SchemaProvider,
};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{ParamValues, Result as EngineResult};
use datafusion::config::Dialect;
use datafusion::execution::FunctionRegistry as _;
use datafusion::execution::{SendableRecordBatchStream, SessionState, SessionStateBuilder};
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::SessionConfig;
use datafusion::scalar::ScalarValue;
use datafusion::sql::parser::Statement;
use icecore_store::{Clock, LiveRows, Store, Table, TimeRange};
use serde_json::Value as Json;

use crate::functions::access::MapAccess;
use crate::functions::rewrite::rewrite;
use crate::functions::{maps, percentile};
use crate::limits::Limits;
use crate::plan::rules;
use crate::snapshot::QuerySnapshot;
use crate::statement::{check_plan, check_reads};
use crate::table::columns::public_field;
use crate::table::{ScanStats, TableRows, TelemetryTable};
use crate::{Config, Error};

/// A query as it came in.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    /// The SQL, one statement.
    pub(crate) sql: String,
    /// Values for `$1`, `$2`, ….
    pub(crate) params: Vec<Json>,
}

/// A query that gives rows.
pub(crate) struct Running {
    /// Of the rows, without marks that only this crate understands.
    pub(crate) schema: SchemaRef,
    /// The rows, as they come.
    pub(crate) rows: SendableRecordBatchStream,
    /// What they are read from.
    pub(crate) snapshot: Arc<QuerySnapshot>,
    /// What was read so far.
    pub(crate) stats: Arc<ScanStats>,
}

/// Plans queries over one store and its live rows.
#[derive(Debug)]
pub(crate) struct Engine {
    store: Arc<Store>,
    live: Vec<Arc<dyn LiveRows>>,
    clock: Arc<dyn Clock>,
    live_wait: std::time::Duration,
    // Functions and rules, which cost a millisecond to gather; each session is a copy of it.
    base: SessionState,
}

impl Engine {
    /// Over these parts.
    pub(crate) fn new(
        config: &Config,
        store: Arc<Store>,
        live: Vec<Arc<dyn LiveRows>>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let mut session = SessionConfig::new()
            .with_target_partitions(config.threads)
            .with_batch_size(config.batch_rows)
            .with_information_schema(true);
        // The check compares marks on fields that a plan may drop, and fails correct queries.
        session.options_mut().execution.skip_physical_aggregate_schema_check = true;
        let base = base_session(session);
        Self { store, live, clock, live_wait: config.live_wait, base }
    }

    /// Plans the query and starts it. What it needs of memory comes from `limits`.
    pub(crate) async fn start(
        &self,
        question: &Question,
        limits: &Limits,
    ) -> Result<Running, Error> {
        let explain = |error| limits.explain(error);
        let statement =
            self.base.sql_to_statement(&question.sql, &Dialect::Generic).map_err(explain)?;
        check_reads(&statement)?;
        let params = parameters(&question.params)?;
        let tables = self.tables(&statement).map_err(explain)?;
        let snapshot = self.snapshot(&tables).await;
        let stats = Arc::<ScanStats>::default();
        let rows = TableRows {
            store: Arc::clone(&self.store),
            snapshot: Arc::clone(&snapshot),
            stats: Arc::clone(&stats),
        };
        let session = self.session(Arc::new(rows), limits).map_err(explain)?;
        let plan = session.statement_to_plan(statement).await.map_err(explain)?;
        check_plan(&plan, &question.sql)?;
        let plan = plan.with_param_values(params).and_then(rewrite).map_err(explain)?;
        let plan = session.create_physical_plan(&plan).await.and_then(interruptible);
        let rows = execute_stream(plan.map_err(explain)?, session.task_ctx()).map_err(explain)?;
        Ok(Running { schema: public_schema(&rows.schema()), rows, snapshot, stats })
    }

    /// Live rows and files of these tables at this moment.
    pub(crate) async fn snapshot(&self, tables: &[Table]) -> Arc<QuerySnapshot> {
        let (live, wait) = (&self.live, self.live_wait);
        Arc::new(QuerySnapshot::take(&self.store, live, tables, TimeRange::ALL, wait).await)
    }

    /// Where files are read from.
    pub(crate) fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// The tables that a statement names; live rows of others are not asked for.
    fn tables(&self, statement: &Statement) -> EngineResult<Vec<Table>> {
        let names = self.base.resolve_table_references(statement)?;
        let named = |table: &Table| names.iter().any(|name| name.table() == table.name());
        Ok(Table::ALL.into_iter().filter(named).collect())
    }

    fn session(&self, rows: Arc<TableRows>, limits: &Limits) -> EngineResult<SessionState> {
        let access = Arc::new(MapAccess::new(Arc::clone(&rows.snapshot)));
        let planners =
            std::iter::once(access as _).chain(self.base.expr_planners().iter().cloned());
        let mut state = SessionStateBuilder::new_from_existing(self.base.clone())
            .with_catalog_list(self.catalog(&rows)?)
            .with_expr_planners(planners.collect())
            .with_runtime_env(limits.memory()?)
            .build();
        let now = DateTime::from_timestamp_nanos(self.clock.now().0);
        state.execution_props_mut().query_execution_start_time = Some(now);
        Ok(state)
    }

    /// The tables and nothing else.
    fn catalog(&self, rows: &Arc<TableRows>) -> EngineResult<Arc<dyn CatalogProviderList>> {
        let schema = MemorySchemaProvider::new();
        for table in Table::ALL {
            let provider = TelemetryTable::new(table, Arc::clone(rows));
            schema.register_table(table.name().to_owned(), Arc::new(provider))?;
        }
        let names = &self.base.config_options().catalog;
        let catalog = MemoryCatalogProvider::new();
        catalog.register_schema(&names.default_schema, Arc::new(schema))?;
        let list = MemoryCatalogProviderList::new();
        list.register_catalog(names.default_catalog.clone(), Arc::new(catalog));
        Ok(Arc::new(list))
    }
}

/// Functions and rules of every query and condition.
pub(crate) fn base_session(config: SessionConfig) -> SessionState {
    let mut builder = SessionStateBuilder::new_with_default_features().with_config(config);
    for rule in rules() {
        builder = builder.with_physical_optimizer_rule(rule);
    }
    let mut base = builder.build();
    for function in maps::functions() {
        // Into a map in memory, which takes every name.
        drop(base.register_udf(function));
    }
    for function in percentile::functions() {
        drop(base.register_udaf(function));
    }
    base
}

/// A join can make millions of rows from one read, and the engine gives its thread back only where
/// it reads. Here it does so behind every join as well, so that a query can always be ended.
fn interruptible(plan: Arc<dyn ExecutionPlan>) -> EngineResult<Arc<dyn ExecutionPlan>> {
    let wrapped = plan.transform_up(|node| {
        if node.children().len() < 2 {
            return Ok(Transformed::no(node));
        }
        Ok(Transformed::yes(Arc::new(CooperativeExec::new(node)) as _))
    });
    Ok(wrapped?.data)
}

/// What a caller may see of a schema.
fn public_schema(schema: &Schema) -> SchemaRef {
    Arc::new(Schema::new(schema.fields().iter().map(|f| public_field(f)).collect::<Vec<_>>()))
}

fn parameters(values: &[Json]) -> Result<ParamValues, Error> {
    let values = values.iter().enumerate().map(|(at, value)| parameter(at + 1, value));
    Ok(values.collect::<Result<Vec<_>, _>>()?.into())
}

fn parameter(at: usize, value: &Json) -> Result<ScalarValue, Error> {
    Ok(match value {
        Json::Null => ScalarValue::Null,
        Json::Bool(flag) => ScalarValue::from(*flag),
        Json::String(text) => ScalarValue::from(text.as_str()),
        Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(number), _, _) => ScalarValue::from(number),
            (_, Some(number), _) => ScalarValue::from(number),
            (_, _, number) => ScalarValue::Float64(number),
        },
        Json::Array(_) | Json::Object(_) => {
            let text = format!("parameter ${at} is no text, number, boolean or null");
            return Err(Error::Request(text));
        }
    })
}
