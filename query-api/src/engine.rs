//! From SQL to rows: one session a query, over one snapshot.
//!
//! Invariant: nothing that one query sets up is seen by another.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use chrono::DateTime;
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList,
    MemorySchemaProvider, SchemaProvider,
};
use datafusion::common::Result as EngineResult;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::config::Dialect;
use datafusion::datasource::ViewTable;
use datafusion::execution::FunctionRegistry as _;
use datafusion::execution::{SendableRecordBatchStream, SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::SessionConfig;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use icecore_store::{Clock, Store, Table, TimeRange};

use crate::expand::{Params, expand};
use crate::functions::access::{MapAccess, Notes};
use crate::functions::operators::Checked;
use crate::functions::rewrite::rewrite;
use crate::functions::{aggregates, scalars};
use crate::hint::Asked;
use crate::limits::Limits;
use crate::pg::catalog as pg;
use crate::plan::rules;
use crate::snapshot::QuerySnapshot;
use crate::sources::Sources;
use crate::statement::{check_heard, check_plan, check_reads};
use crate::table::columns::public_field;
use crate::table::{LiveReads, ScanStats, TableRows, TelemetryTable};
use crate::views::{VIEWS, View};
use crate::{Config, Error, depth};

/// What a part of a sort keeps at most to merge what it put on disk.
const SORT_KEEPS_MAX: usize = 10 << 20;
/// Where the engine lists tables and columns.
const INFORMATION_SCHEMA: &str = "information_schema";

/// A query as it came in.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    /// The SQL, one statement.
    pub(crate) sql: String,
    /// Values for `$1`, `$2`, … and `$name`.
    pub(crate) params: Params,
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
    /// What makes one doubt that the query asked what was meant.
    pub(crate) notes: Vec<String>,
}

/// A query that can be started, or only looked at.
pub(crate) struct Prepared {
    /// Of the rows, without marks that only this crate understands.
    pub(crate) schema: SchemaRef,
    plan: Arc<dyn ExecutionPlan>,
    session: SessionState,
    snapshot: Arc<QuerySnapshot>,
    stats: Arc<ScanStats>,
    notes: Notes,
}

/// A query as the engine understands it.
struct Logical {
    plan: LogicalPlan,
    tables: Vec<Table>,
    session: SessionState,
    snapshot: Arc<QuerySnapshot>,
    stats: Arc<ScanStats>,
    notes: Notes,
}

/// What a statement names.
struct Named {
    tables: Vec<Table>,
    views: Vec<&'static View>,
    /// Whether it looks into PostgreSQL's lists of tables.
    pg_catalog: bool,
}

/// Plans queries over one store and its live rows.
#[derive(Debug)]
pub(crate) struct Engine {
    store: Arc<Store>,
    sources: Sources,
    clock: Arc<dyn Clock>,
    live_reads: LiveReads,
    // Functions and rules, which cost a millisecond to gather; each session is a copy of it.
    base: SessionState,
}

impl Engine {
    /// Over these parts.
    pub(crate) fn new(
        config: &Config,
        store: Arc<Store>,
        sources: Sources,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let mut session = SessionConfig::new()
            .with_target_partitions(config.threads)
            .with_batch_size(config.batch_rows)
            .with_information_schema(true);
        // What `now()` and casts without a zone are of is what the columns are of.
        session.options_mut().execution.time_zone = Some("UTC".to_owned());
        // The check compares marks on fields that a plan may drop, and fails correct queries.
        session.options_mut().sql_parser.collect_spans = true;
        // A table function answers in its own order.
        session.options_mut().sql_parser.enable_subquery_sort_elimination = false;
        session.options_mut().execution.skip_physical_aggregate_schema_check = true;
        // Kept by each part of a sort to merge what it put on disk: what is kept cannot be sorted in.
        let kept = config.query_memory_bytes_max / (8 * config.threads);
        session.options_mut().execution.sort_spill_reservation_bytes = kept.min(SORT_KEEPS_MAX);
        let base = base_session(session);
        let live_reads = LiveReads::new(config.threads);
        Self { store, sources, clock, live_reads, base }
    }

    /// Plans the query and starts it. What it needs of memory comes from `limits`.
    pub(crate) async fn start(
        &self,
        question: &Question,
        limits: &Limits,
    ) -> Result<Running, Error> {
        let prepared = self.prepare(question, limits).await?;
        let Prepared { schema, plan, session, snapshot, stats, notes } = prepared;
        let explain =
            |error| limits.explain_of(error, &Asked { sql: &question.sql, ..Asked::default() });
        let rows = execute_stream(plan, session.task_ctx()).map_err(explain)?;
        let notes = written_about(&notes, &question.sql);
        Ok(Running { schema, rows, snapshot, stats, notes })
    }

    /// Plans the query.
    pub(crate) async fn prepare(
        &self,
        question: &Question,
        limits: &Limits,
    ) -> Result<Prepared, Error> {
        let Logical { plan, tables, session, snapshot, stats, notes } =
            self.logical(question, limits).await?;
        let sql = question.sql.as_str();
        let keys = || tables.iter().flat_map(|table| snapshot.keys(*table)).collect();
        let asked = Asked { sql, keys: Some(&keys), ..Asked::default() };
        let explain = |error| limits.explain_of(error, &asked);
        let plan = session.create_physical_plan(&plan).await.and_then(interruptible);
        let plan = plan.map_err(explain)?;
        let schema = public_schema(&plan.schema());
        Ok(Prepared { schema, plan, session, snapshot, stats, notes })
    }

    /// The types of the values that a query takes and that were not given, by their names; none
    /// for one that could be of any.
    pub(crate) async fn parameter_types(
        &self,
        question: &Question,
        limits: &Limits,
    ) -> Result<HashMap<String, Option<DataType>>, Error> {
        let plan = self.logical(question, limits).await?.plan;
        plan.get_parameter_types().map_err(|error| limits.explain(error))
    }

    async fn logical(&self, question: &Question, limits: &Limits) -> Result<Logical, Error> {
        let sql = question.sql.as_str();
        let asked = Asked { sql, ..Asked::default() };
        let explain = |error| limits.explain_of(error, &asked);
        depth::check(sql, &GenericDialect {}, depth::STATEMENT_MAX)?;
        let mut statement = self.base.sql_to_statement(sql, &Dialect::Generic).map_err(explain)?;
        check_reads(&statement)?;
        check_heard(&statement)?;
        depth::weigh(&statement)?;
        expand(&mut statement, &question.params, self.clock.now())?;
        let Named { tables, views, pg_catalog } = self.named(&statement).map_err(explain)?;
        let snapshot = self.snapshot(&tables).await;
        let keys = || tables.iter().flat_map(|table| snapshot.keys(*table)).collect();
        let asked = Asked { sql, keys: Some(&keys), ..Asked::default() };
        let explain = |error| limits.explain_of(error, &asked);
        let stats = Arc::<ScanStats>::default();
        let rows = TableRows {
            store: Arc::clone(&self.store),
            snapshot: Arc::clone(&snapshot),
            live_reads: self.live_reads.clone(),
            stats: Arc::clone(&stats),
        };
        let notes = Notes::default();
        let (session, schema) = self.session(Arc::new(rows), limits, &notes).map_err(explain)?;
        add_views(&session, &*schema, &views).await.map_err(explain)?;
        if pg_catalog {
            add_pg_catalog(&session, &*schema).await.map_err(explain)?;
        }
        let plan = session.statement_to_plan(statement).await.map_err(explain)?;
        check_plan(&plan, sql)?;
        let plan = rewrite(plan).map_err(explain)?;
        Ok(Logical { plan, tables, session, snapshot, stats, notes })
    }

    /// Live rows and files of these tables at this moment.
    pub(crate) async fn snapshot(&self, tables: &[Table]) -> Arc<QuerySnapshot> {
        Arc::new(QuerySnapshot::take(&self.store, &self.sources, tables, TimeRange::ALL).await)
    }

    /// Where acknowledged rows are that may not be in files yet.
    pub(crate) const fn sources(&self) -> &Sources {
        &self.sources
    }

    /// Where live rows are read.
    pub(crate) const fn live_reads(&self) -> &LiveReads {
        &self.live_reads
    }

    /// The names of all functions.
    pub(crate) fn functions(&self) -> Vec<String> {
        let base = &self.base;
        let names = base.scalar_functions().keys().chain(base.aggregate_functions().keys());
        let mut names: Vec<String> = names.chain(base.window_functions().keys()).cloned().collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Where files are read from.
    pub(crate) fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// The tables and views that a statement needs; live rows of others are not asked for.
    fn named(&self, statement: &Statement) -> EngineResult<Named> {
        let names = self.base.resolve_table_references(statement)?;
        let is_of = |schema: &str| names.iter().any(|name| name.schema() == Some(schema));
        let pg_catalog = pg::SCHEMAS.into_iter().any(is_of);
        // Who looks at the list of tables sees all views.
        let lists = pg_catalog || is_of(INFORMATION_SCHEMA);
        let is_named = |wanted: &str| names.iter().any(|name| name.table() == wanted);
        let views: Vec<_> = VIEWS.iter().filter(|view| lists || is_named(view.name)).collect();
        let needed = |table: &Table| {
            is_named(table.name()) || (!lists && views.iter().any(|view| view.of == *table))
        };
        let tables = Table::ALL.into_iter().filter(needed).collect();
        Ok(Named { tables, views, pg_catalog })
    }

    fn session(
        &self,
        rows: Arc<TableRows>,
        limits: &Limits,
        notes: &Notes,
    ) -> EngineResult<(SessionState, Arc<dyn SchemaProvider>)> {
        let access = Arc::new(MapAccess::new(Arc::clone(&rows.snapshot), Arc::clone(notes)));
        let planners =
            std::iter::once(access as _).chain(self.base.expr_planners().iter().cloned());
        let (catalog, schema) = self.catalog(&rows)?;
        let mut state = SessionStateBuilder::new_from_existing(self.base.clone())
            .with_catalog_list(catalog)
            .with_expr_planners(planners.collect())
            .with_runtime_env(limits.memory()?)
            .build();
        let now = DateTime::from_timestamp_nanos(self.clock.now().0);
        state.execution_props_mut().query_execution_start_time = Some(now);
        Ok((state, schema))
    }

    /// The tables and nothing else.
    fn catalog(
        &self,
        rows: &Arc<TableRows>,
    ) -> EngineResult<(Arc<dyn CatalogProviderList>, Arc<dyn SchemaProvider>)> {
        let schema: Arc<dyn SchemaProvider> = Arc::new(MemorySchemaProvider::new());
        for table in Table::ALL {
            let provider = TelemetryTable::new(table, Arc::clone(rows));
            schema.register_table(table.name().to_owned(), Arc::new(provider))?;
        }
        let names = &self.base.config_options().catalog;
        let catalog = MemoryCatalogProvider::new();
        catalog.register_schema(&names.default_schema, Arc::clone(&schema))?;
        let list = MemoryCatalogProviderList::new();
        list.register_catalog(names.default_catalog.clone(), Arc::new(catalog));
        Ok((Arc::new(list), schema))
    }
}

/// The notes about keys that the caller wrote; those of views are no news to anybody.
fn written_about(notes: &Notes, sql: &str) -> Vec<String> {
    let Ok(notes) = notes.lock() else { return Vec::new() };
    notes
        .iter()
        .filter(|(key, _)| sql.contains(key.as_str()))
        .map(|(_, note)| note.clone())
        .collect()
}

/// Puts the views beside the tables.
async fn add_views(
    session: &SessionState,
    schema: &dyn SchemaProvider,
    views: &[&View],
) -> EngineResult<()> {
    for View { name, sql, .. } in views {
        let statement = session.sql_to_statement(sql, &Dialect::Generic)?;
        let plan = session.statement_to_plan(statement).await?;
        let view = ViewTable::new(plan, Some((*sql).to_owned()));
        schema.register_table((*name).to_owned(), Arc::new(view))?;
    }
    Ok(())
}

/// Puts PostgreSQL's lists of tables beside them.
async fn add_pg_catalog(session: &SessionState, public: &dyn SchemaProvider) -> EngineResult<()> {
    let name = &session.config_options().catalog.default_catalog;
    if let Some(catalog) = session.catalog_list().catalog(name) {
        for (schema, lists) in pg::of(public).await? {
            catalog.register_schema(schema, lists)?;
        }
    }
    Ok(())
}

/// Functions and rules of every query and condition.
pub(crate) fn base_session(config: SessionConfig) -> SessionState {
    let mut builder = SessionStateBuilder::new_with_default_features()
        .with_config(config)
        .with_analyzer_rule(Arc::new(Checked));
    for rule in rules() {
        builder = builder.with_physical_optimizer_rule(rule);
    }
    let mut base = builder.build();
    for function in scalars() {
        // Into a map in memory, which takes every name.
        drop(base.register_udf(function));
    }
    for function in aggregates() {
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
