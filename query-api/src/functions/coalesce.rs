//! `coalesce` of values of which some are text and some are not.
//!
//! Invariant: its type goes by the types of its arguments and never by a value. What a key holds is
//! only known from its values: `coalesce(attributes['code'], 'none')` must not fail on the day on
//! which all codes are ints.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::Result;
use datafusion::functions::core;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature,
};

use super::maps::is_text;

/// The engine's own function, but for the type that its arguments are brought to.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Coalesce {
    native: Arc<ScalarUDF>,
}

/// To stand before the engine's.
pub(super) fn function() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(Coalesce { native: core::coalesce() }))
}

impl ScalarUDFImpl for Coalesce {
    fn name(&self) -> &str {
        self.native.name()
    }

    fn signature(&self) -> &Signature {
        self.native.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.native.return_type(arg_types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.native.return_field_from_args(args)
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let plain = |kind: &DataType| kind.is_numeric() || *kind == DataType::Boolean;
        if arg_types.iter().any(is_text) && arg_types.iter().any(plain) {
            return Ok(vec![DataType::Utf8View; arg_types.len()]);
        }
        self.native.coerce_types(arg_types)
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        self.native.simplify(args, info)
    }

    fn short_circuits(&self) -> bool {
        self.native.short_circuits()
    }

    fn conditional_arguments<'a>(
        &self,
        args: &'a [Expr],
    ) -> Option<(Vec<&'a Expr>, Vec<&'a Expr>)> {
        self.native.conditional_arguments(args)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.native.invoke_with_args(args)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.native.documentation()
    }
}
