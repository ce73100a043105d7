//! `text['key']` in SQL becomes a call of [`Attribute`], and what is done with it may be done.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::planner::{
    ExprPlanner, PlannerResult, RawAggregateExpr, RawBinaryExpr, RawFieldAccessExpr,
};
use datafusion::logical_expr::{ExprSchemable, GetFieldAccess, Operator};
use datafusion::sql::sqlparser::ast::BinaryOperator;
use icecore_store::Table;
use icecore_store::schema::{AttributeType, MapColumn};

use super::agree::{as_number, pair};
use super::attribute::Attribute;
use super::maps::{AnyKey, is_text};
use crate::hint::nearest;
use crate::snapshot::{QuerySnapshot, settle};
use crate::table::columns::map_of;
use crate::table::live_error;

/// Plans the access to keys of maps. Works on the maps of the tables, whose types it knows, and on
/// any other JSON text (`events[1]['attributes']['key']`, `body['key']`), where it answers text.
#[derive(Debug)]
pub(crate) struct MapAccess {
    snapshot: Arc<QuerySnapshot>,
    notes: Notes,
}

/// What a caller should know of an answer that is right and may not be what was meant.
/// By the key that it is about.
pub(crate) type Notes = Arc<Mutex<BTreeMap<String, String>>>;

impl MapAccess {
    /// For one query.
    pub(crate) fn new(snapshot: Arc<QuerySnapshot>, notes: Notes) -> Self {
        Self { snapshot, notes }
    }

    /// Notes that a key, which has no values, is nowhere, where another one is nearly called so.
    fn note(&self, table: Table, map: MapColumn, key: &str) {
        let keys = self.snapshot.keys(table);
        if keys.contains(&(map, key.to_owned())) {
            return;
        }
        let of_map = keys.iter().filter(|(of, _)| *of == map).map(|(_, key)| key.as_str());
        let Some(close) = nearest(key, of_map) else { return };
        let map = map.name();
        let note = format!("no row of {table} has {map}['{key}']; did you mean {map}['{close}']?");
        if let Ok(mut notes) = self.notes.lock() {
            notes.insert(key.to_owned(), note);
        }
    }
}

impl ExprPlanner for MapAccess {
    fn plan_field_access(
        &self,
        access: RawFieldAccessExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawFieldAccessExpr>> {
        let (_, field) = access.expr.to_field(schema)?;
        if !is_text(field.data_type()) {
            return Ok(PlannerResult::Original(access));
        }
        let key = match &access.field_access {
            GetFieldAccess::NamedStructField { name } => name.try_as_str().flatten(),
            GetFieldAccess::ListIndex { key } => {
                return Ok(PlannerResult::Planned(AnyKey::call(access.expr, (**key).clone())));
            }
            GetFieldAccess::ListRange { .. } => None,
        };
        let Some(key) = key else { return Ok(PlannerResult::Original(access)) };
        let kind = match map_of(&field) {
            Some((table, map)) => {
                let kinds = self.snapshot.kinds(table, map, key).map_err(live_error)?;
                if kinds.is_empty() {
                    self.note(table, map, key);
                }
                settle(&kinds)
            }
            None => AttributeType::String,
        };
        Ok(PlannerResult::Planned(Attribute::call(access.expr, key, kind)))
    }

    /// Before the engine looks at types, which it does of arithmetic at once.
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        let op = match expr.op {
            BinaryOperator::Plus => Operator::Plus,
            BinaryOperator::Minus => Operator::Minus,
            BinaryOperator::Multiply => Operator::Multiply,
            BinaryOperator::Divide => Operator::Divide,
            BinaryOperator::Modulo => Operator::Modulo,
            BinaryOperator::Eq => Operator::Eq,
            BinaryOperator::NotEq => Operator::NotEq,
            _ => return Ok(PlannerResult::Original(expr)),
        };
        Ok(PlannerResult::Original(match pair(&expr.left, op, &expr.right, schema) {
            Some((left, right)) => RawBinaryExpr { left, right, ..expr },
            None => expr,
        }))
    }

    fn plan_aggregate(
        &self,
        mut expr: RawAggregateExpr,
    ) -> Result<PlannerResult<RawAggregateExpr>> {
        for argument in &mut expr.args {
            if let Some(number) = as_number(expr.func.name(), argument) {
                *argument = number;
            }
        }
        Ok(PlannerResult::Original(expr))
    }
}
