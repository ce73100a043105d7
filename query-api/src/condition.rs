//! SQL conditions, for those who keep or remove rows by them.
//!
//! Invariants: a condition accepts the rows that `SELECT … WHERE` over the same snapshot finds, and
//! no others; its answer about a row depends on that row alone, now and next year.

use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::prep_null_mask_filter;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, DataFusionError, Result as EngineResult, plan_err};
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator, Volatility};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_plan::PhysicalExpr;
use datafusion::prelude::SessionConfig;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use icecore_store::schema::MapColumn;
use icecore_store::{Condition, ConditionError, Conditions, ReadColumn, RowPlace, Snapshot, Table};

use crate::Error;
use crate::depth::{self, TooDeep};
use crate::engine::base_session;
use crate::functions::access::{MapAccess, Notes};
use crate::functions::operators;
use crate::functions::rewrite::rewrite_condition;
use crate::hint::Asked;
use crate::snapshot::QuerySnapshot;
use crate::table::columns::{Column, schema_of, table_columns};
use crate::table::{Place, shown};

/// Understands conditions as the SQL API does.
#[derive(Debug)]
pub struct SqlConditions {
    base: SessionState,
}

impl SqlConditions {
    /// Gathers the functions that conditions may use.
    #[must_use]
    pub fn new() -> Self {
        Self { base: base_session(SessionConfig::new()) }
    }

    fn plan(
        &self,
        table: Table,
        sql: &str,
        types: Arc<QuerySnapshot>,
    ) -> EngineResult<SqlCondition> {
        let access = Arc::new(MapAccess::new(types, Notes::default()));
        let planners =
            std::iter::once(access as _).chain(self.base.expr_planners().iter().cloned());
        let session = SessionStateBuilder::new_from_existing(self.base.clone())
            .with_expr_planners(planners.collect())
            .build();
        let mut columns = table_columns(table).to_vec();
        let expr = session.create_logical_expr(sql, &df_schema(table, &columns)?)?;
        check(&expr)?;
        let mut carry = |map, key: &str, kind| {
            let column = Column::attribute(table, map, key, kind);
            let name = column.field.name().clone();
            if !columns.iter().any(|known| known.read == column.read) {
                columns.push(column);
            }
            datafusion::common::Column::new(Some(table.name()), name)
        };
        let schema = df_schema(table, table_columns(table))?;
        let expr = rewrite_condition(expr, &schema, &mut carry)?;
        compiled(table, expr, &columns, &session)
    }
}

impl SqlConditions {
    /// A condition whose keys have the types that they have in this snapshot, live rows included.
    /// Takes long: call it where a thread may be held.
    pub(crate) fn of_rows(
        &self,
        table: Table,
        sql: &str,
        types: Arc<QuerySnapshot>,
    ) -> Result<Arc<dyn Condition>, ConditionError> {
        depth::check(sql, &GenericDialect {}, depth::CONDITION_MAX).map_err(|deep| {
            let hint = Some(TooDeep::HINT.to_owned());
            ConditionError { reason: deep.to_string(), hint }
        })?;
        let planned = self.plan(table, sql, types).map_err(in_words)?;
        Ok(Arc::new(planned))
    }
}

impl Default for SqlConditions {
    fn default() -> Self {
        Self::new()
    }
}

impl Conditions for SqlConditions {
    fn compile(
        &self,
        table: Table,
        sql: &str,
        snapshot: &Snapshot,
    ) -> Result<Arc<dyn Condition>, ConditionError> {
        self.of_rows(table, sql, Arc::new(QuerySnapshot::of_files(snapshot.clone())))
    }
}

/// A condition that is understood.
#[derive(Debug)]
struct SqlCondition {
    expr: Arc<dyn PhysicalExpr>,
    schema: SchemaRef,
    reads: Vec<ReadColumn>,
    place: RowPlace,
}

impl Condition for SqlCondition {
    fn columns(&self) -> &[ReadColumn] {
        &self.reads
    }

    fn place(&self) -> &RowPlace {
        &self.place
    }

    fn matches(&self, columns: &RecordBatch) -> Result<BooleanArray, ConditionError> {
        self.evaluate(columns).map_err(in_words)
    }
}

impl SqlCondition {
    fn evaluate(&self, columns: &RecordBatch) -> EngineResult<BooleanArray> {
        let rows = shown(columns, &self.schema)?;
        let answer = self.expr.evaluate(&rows)?.into_array(rows.num_rows())?;
        if answer.data_type() == &DataType::Null {
            return Ok(BooleanArray::from(vec![false; rows.num_rows()]));
        }
        let Some(answer) = answer.as_boolean_opt() else {
            return plan_err!("it is no condition: it gives {}", answer.data_type());
        };
        let nulls = Array::nulls(answer).is_some();
        Ok(if nulls { prep_null_mask_filter(answer) } else { answer.clone() })
    }
}

/// The condition over those of the columns that it uses.
fn compiled(
    table: Table,
    expr: Expr,
    columns: &[Column],
    session: &SessionState,
) -> EngineResult<SqlCondition> {
    let whole = df_schema(table, columns)?;
    let simplifier = ExprSimplifier::new(
        SimplifyContext::builder().with_schema(Arc::new(whole.clone())).build(),
    );
    let expr = operators::check(simplifier.coerce(expr, &whole)?, &whole)?.data;
    let expr = simplifier.simplify(expr)?;
    match expr.get_type(&whole)? {
        DataType::Boolean | DataType::Null => {}
        other => return plan_err!("it is no condition: it gives {other}, not true or false"),
    }
    let used = expr.column_refs();
    let is_used = |column: &&Column| used.iter().any(|used| used.name == *column.field.name());
    let used: Vec<Column> = columns.iter().filter(is_used).cloned().collect();
    let place = place_of(table, &expr, &used);
    let expr = session.create_physical_expr(expr, &df_schema(table, &used)?)?;
    let reads = used.iter().map(|column| column.read.clone()).collect();
    Ok(SqlCondition { expr, schema: schema_of(&used), reads, place })
}

fn df_schema(table: Table, columns: &[Column]) -> EngineResult<DFSchema> {
    DFSchema::try_from_qualified_schema(table.name(), &schema_of(columns))
}

/// Refuses what looks beyond one row, or would answer otherwise tomorrow.
fn check(expr: &Expr) -> EngineResult<()> {
    expr.apply(|part| {
        let what = match part {
            Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_) => "a query in it",
            Expr::AggregateFunction(_) => "an aggregate",
            Expr::WindowFunction(_) => "a window function",
            Expr::Placeholder(_) => "a parameter",
            Expr::ScalarFunction(call)
                if call.func.signature().volatility != Volatility::Immutable =>
            {
                return plan_err!(
                    "`{}()` cannot be in it: a condition must mean the same at any time",
                    call.func.name()
                );
            }
            _ => return Ok(TreeNodeRecursion::Continue),
        };
        plan_err!("{what} cannot be in it: a condition is about one row")
    })?;
    Ok(())
}

/// Where the rows are that a condition can accept.
fn place_of(table: Table, expr: &Expr, columns: &[Column]) -> RowPlace {
    let Place { time, trace_id, service_name } = Place::of(table, columns, expr);
    let key_of = |name: &str| {
        let column = columns.iter().find(|column| column.field.name() == name)?;
        match &column.read {
            ReadColumn::Attribute { map, key, .. } => Some((*map, key.clone())),
            _ => None,
        }
    };
    let mut keys: Vec<(MapColumn, String)> = Vec::new();
    for term in split_conjunction(expr) {
        keys.extend(strict_columns(term).into_iter().filter_map(key_of));
    }
    RowPlace { time, trace_id, service_name, keys }
}

/// The columns without which a term is null, so that it accepts nothing.
fn strict_columns(term: &Expr) -> Vec<&str> {
    let sides: &[&Expr] = match term {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if is_strict(*op) => &[left, right],
        Expr::Like(like) | Expr::SimilarTo(like) => &[&like.expr],
        Expr::InList(list) => &[&list.expr],
        Expr::Between(between) => &[&between.expr],
        Expr::IsNotNull(inner) | Expr::IsTrue(inner) | Expr::IsFalse(inner) => &[inner],
        Expr::Column(_) | Expr::Not(_) => &[term],
        _ => &[],
    };
    sides.iter().filter_map(|side| bare_column(side)).collect()
}

fn bare_column(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Column(column) => Some(&column.name),
        Expr::Cast(cast) => bare_column(&cast.expr),
        Expr::TryCast(cast) => bare_column(&cast.expr),
        Expr::Not(inner) => bare_column(inner),
        _ => None,
    }
}

const fn is_strict(op: Operator) -> bool {
    matches!(
        op,
        Operator::Eq
            | Operator::NotEq
            | Operator::Lt
            | Operator::LtEq
            | Operator::Gt
            | Operator::GtEq
            | Operator::RegexMatch
            | Operator::RegexIMatch
            | Operator::RegexNotMatch
            | Operator::RegexNotIMatch
    )
}

/// Conditions are no queries: no bound of theirs can be reached.
fn in_words(error: DataFusionError) -> ConditionError {
    match crate::hint::explain(error, &Asked::default()) {
        Error::Sql { message, hint, .. } => ConditionError { reason: message, hint },
        other => ConditionError { reason: other.to_string(), hint: None },
    }
}
