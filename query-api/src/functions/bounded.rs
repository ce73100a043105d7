//! Functions whose answer can be far longer than what they are given, within a bound.
//!
//! Invariant: what one call makes of a batch of rows is measured before it is made. The engine bounds
//! what its operators hold, not what functions make, and calls of constants are made while it plans:
//! `repeat('x', 1000000000)` took seven gigabytes of the process that records.

pub(super) mod growth;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, exec_err};
use datafusion::functions::{regex, string, unicode};
use datafusion::functions_nested::{
    concat, make_array, range, repeat, replace, resize, string as nested_string,
};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature,
};

use self::growth::Growth;

/// What one call may make of a batch of rows, which is a quarter of what a query may hold by default.
const MADE_BYTES_MAX: u64 = 64 << 20;

/// A function of the engine, measured.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Bounded {
    growth: Growth,
    native: Arc<ScalarUDF>,
}

/// By their names and other names.
static BY_NAME: LazyLock<HashMap<String, Arc<ScalarUDF>>> = LazyLock::new(|| {
    let mut by_name = HashMap::new();
    for function in functions() {
        for name in function.aliases().iter().map(String::as_str).chain([function.name()]) {
            by_name.insert(name.to_owned(), Arc::clone(&function));
        }
    }
    by_name
});

/// All of them, to stand before the engine's.
pub(super) fn functions() -> impl Iterator<Item = Arc<ScalarUDF>> {
    let all = [
        (Growth::Copies, string::repeat()),
        (Growth::Replaced, string::replace()),
        (Growth::Substituted, regex::regexp_replace()),
        (Growth::Letters, unicode::lpad()),
        (Growth::Letters, unicode::rpad()),
        (Growth::Together, string::concat()),
        (Growth::Between, string::concat_ws()),
        (Growth::Joined, nested_string::array_to_string_udf()),
        (Growth::Items, repeat::array_repeat_udf()),
        (Growth::Items, resize::array_resize_udf()),
        (Growth::Steps, range::range_udf()),
        (Growth::Steps, range::gen_series_udf()),
        (Growth::Together, make_array::make_array_udf()),
        (Growth::Together, concat::array_concat_udf()),
        (Growth::Together, concat::array_append_udf()),
        (Growth::Together, concat::array_prepend_udf()),
        (Growth::Exchanged, replace::array_replace_udf()),
        (Growth::Exchanged, replace::array_replace_n_udf()),
        (Growth::Exchanged, replace::array_replace_all_udf()),
    ];
    all.into_iter()
        .map(|(growth, native)| Arc::new(ScalarUDF::new_from_impl(Bounded { growth, native })))
}

/// The measured one, where the engine's planner put its own.
pub(super) fn measured(function: &ScalarUDF) -> Option<Arc<ScalarUDF>> {
    if function.inner().is::<Bounded>() {
        return None;
    }
    BY_NAME.get(function.name()).map(Arc::clone)
}

/// Refuses what would take too much.
pub(super) fn check(growth: Growth, name: &str, args: &[ColumnarValue], rows: usize) -> Result<()> {
    if growth.made(args, rows)? > MADE_BYTES_MAX {
        return exec_err!("{name} would make more than {MADE_BYTES_MAX} bytes at once");
    }
    Ok(())
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.native.name()
    }

    fn aliases(&self) -> &[String] {
        self.native.aliases()
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
        self.native.coerce_types(arg_types)
    }

    /// The engine puts its own `concat` for what it made simpler of one.
    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        if matches!(self.growth, Growth::Together | Growth::Between) {
            return Ok(ExprSimplifyResult::Original(args));
        }
        self.native.simplify(args, info)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.native.documentation()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        check(self.growth, &format!("{}()", self.name()), &args.args, args.number_rows)?;
        self.native.invoke_with_args(args)
    }
}
