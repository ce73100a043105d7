//! `text['key']` in SQL becomes a call of [`Attribute`].

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawFieldAccessExpr};
use datafusion::logical_expr::{ExprSchemable, GetFieldAccess};
use icecore_store::schema::AttributeType;

use super::attribute::Attribute;
use crate::snapshot::QuerySnapshot;
use crate::table::columns::map_of;

/// Plans the access to keys of maps. Works on the maps of the tables, whose types it knows, and on
/// any other JSON text (`events[1]['attributes']['key']`, `body['key']`), where it answers text.
#[derive(Debug)]
pub(crate) struct MapAccess {
    snapshot: Arc<QuerySnapshot>,
}

impl MapAccess {
    /// For one query.
    pub(crate) fn new(snapshot: Arc<QuerySnapshot>) -> Self {
        Self { snapshot }
    }
}

impl ExprPlanner for MapAccess {
    fn plan_field_access(
        &self,
        access: RawFieldAccessExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawFieldAccessExpr>> {
        let GetFieldAccess::NamedStructField { name } = &access.field_access else {
            return Ok(PlannerResult::Original(access));
        };
        let Some(Some(key)) = name.try_as_str() else {
            return Ok(PlannerResult::Original(access));
        };
        let (_, field) = access.expr.to_field(schema)?;
        if !matches!(field.data_type(), DataType::Utf8View | DataType::Utf8 | DataType::LargeUtf8) {
            return Ok(PlannerResult::Original(access));
        }
        let kind = map_of(&field)
            .map_or(AttributeType::String, |(table, map)| self.snapshot.kind(table, map, key));
        Ok(PlannerResult::Planned(Attribute::call(access.expr, key, kind)))
    }
}
