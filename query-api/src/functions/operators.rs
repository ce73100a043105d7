//! Operators whose answer may be wrong or too long, as functions that say so: `+`, `-` and `*` of
//! integers, and `||` of texts.
//!
//! Invariant: no integer wraps. The engine's operators do, and where it plans there is no setting for
//! it: `9223372036854775807 + 1` was a negative number. What `||` makes is measured before it is made.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::compute::kernels::concat_elements::concat_elements_dyn;
use arrow::compute::kernels::numeric::{add, mul, sub};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue, exec_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    BinaryExpr, Cast, ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, ReturnFieldArgs,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::optimizer::AnalyzerRule;
use datafusion::physical_expr_common::datum::apply;

use super::bounded;
use super::bounded::growth::Growth;
use super::maps::is_text;

/// The rule, to be applied once the types of all expressions are settled.
#[derive(Debug)]
pub(crate) struct Checked;

/// Operators between values of one type, from left to right: a chain of a thousand is one of these, because
/// what is a thousand levels deep the engine plans in the square of that. Without any, it is the minus sign.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Operation {
    steps: Vec<Step>,
    data_type: DataType,
    name: String,
    signature: Signature,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Step {
    Add,
    Subtract,
    Multiply,
    Append,
}

impl AnalyzerRule for Checked {
    fn name(&self) -> &'static str {
        "checked"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan.transform_up_with_subqueries(check_node)?.data)
    }
}

fn check_node(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let schema = merge_schema(&node.inputs());
    let names = NamePreserver::new(&node);
    let checked = node.map_expressions(|expr| {
        let name = names.save(&expr);
        Ok(check(expr, &schema)?.update_data(|expr| name.restore(expr)))
    })?;
    if checked.transformed { checked.map_data(LogicalPlan::recompute_schema) } else { Ok(checked) }
}

/// The same expression, of operators and functions that are bounded; its types are settled.
pub(crate) fn check(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    expr.transform_up(|expr| match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            match Operation::of(op, &left, &right, schema) {
                Some((step, data_type)) => {
                    Ok(Transformed::yes(chain(*left, step, *right, data_type)))
                }
                None => Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right }))),
            }
        }
        Expr::Negative(of) => match type_of(&of, schema) {
            Some(data_type) if data_type.is_signed_integer() => {
                Ok(Transformed::yes(Operation::new(Vec::new(), data_type).call(vec![*of])))
            }
            _ => Ok(Transformed::no(Expr::Negative(of))),
        },
        Expr::ScalarFunction(call) => Ok(match bounded::measured(&call.func) {
            Some(func) => Transformed::yes(Expr::ScalarFunction(ScalarFunction { func, ..call })),
            None => Transformed::no(Expr::ScalarFunction(call)),
        }),
        other => Ok(Transformed::no(other)),
    })
}

/// The step behind those that led to what stands on its left.
fn chain(left: Expr, step: Step, right: Expr, data_type: DataType) -> Expr {
    let before = operation(&left).map_or_else(Vec::new, |operation| operation.steps.clone());
    match left {
        Expr::ScalarFunction(call) if !before.is_empty() => {
            let (mut steps, mut args) = (before, call.args);
            steps.push(step);
            args.push(right);
            Operation::new(steps, data_type).call(args)
        }
        left => Operation::new(vec![step], data_type).call(vec![left, right]),
    }
}

fn operation(expr: &Expr) -> Option<&Operation> {
    let Expr::ScalarFunction(call) = expr else { return None };
    call.func.inner().downcast_ref::<Operation>()
}

/// The type of an expression, without a walk to its leaves where it is known already.
fn type_of(expr: &Expr, schema: &DFSchema) -> Option<DataType> {
    match (operation(expr), expr) {
        (Some(operation), _) => Some(operation.data_type.clone()),
        (None, Expr::Cast(Cast { field, .. })) => Some(field.data_type().clone()),
        (None, other) => other.get_type(schema).ok(),
    }
}

impl Operation {
    fn new(steps: Vec<Step>, data_type: DataType) -> Self {
        let name = match steps.as_slice() {
            [] => "-".to_owned(),
            steps => steps.iter().map(|step| step.sign()).collect(),
        };
        Self { steps, data_type, name, signature: Signature::variadic_any(Volatility::Immutable) }
    }

    /// What an operator does here and the type of its answer, where it is one of these.
    fn of(op: Operator, left: &Expr, right: &Expr, schema: &DFSchema) -> Option<(Step, DataType)> {
        let step = match op {
            Operator::Plus => Step::Add,
            Operator::Minus => Step::Subtract,
            Operator::Multiply => Step::Multiply,
            Operator::StringConcat => Step::Append,
            _ => return None,
        };
        let (left, right) = (type_of(left, schema)?, type_of(right, schema)?);
        let fits = if step == Step::Append { is_text(&left) } else { left.is_integer() };
        (fits && left == right).then_some((step, left))
    }

    fn call(self, args: Vec<Expr>) -> Expr {
        let func = Arc::new(ScalarUDF::new_from_impl(self));
        Expr::ScalarFunction(ScalarFunction { func, args })
    }

    /// Less than nothing.
    fn negated(&self, of: &ColumnarValue) -> Result<ColumnarValue> {
        let zero = ColumnarValue::Scalar(ScalarValue::new_zero(&self.data_type)?);
        apply(&zero, of, sub)
    }
}

impl Step {
    const fn sign(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Append => "||",
        }
    }

    fn take(
        self,
        left: &ColumnarValue,
        right: &ColumnarValue,
        rows: usize,
    ) -> Result<ColumnarValue> {
        match self {
            Self::Add => apply(left, right, add),
            Self::Subtract => apply(left, right, sub),
            Self::Multiply => apply(left, right, mul),
            Self::Append => appended(left, right, rows),
        }
    }
}

impl ScalarUDFImpl for Operation {
    fn name(&self) -> &str {
        &self.name
    }

    /// As of the operators, so that nothing else notices.
    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        let mut args = args.iter();
        let first = args.next().map(|arg| arg.schema_name().to_string()).unwrap_or_default();
        if self.steps.is_empty() {
            return Ok(format!("(- {first})"));
        }
        let rest = self.steps.iter().zip(args);
        Ok(rest.fold(first, |name, (step, arg)| {
            format!("{name} {} {}", step.sign(), arg.schema_name())
        }))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(self.data_type.clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(self.name(), self.data_type.clone(), nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [first, rest @ ..] = args.args.as_slice() else {
            return exec_err!("`{}` has no sides", self.name);
        };
        if self.steps.is_empty() {
            return self.negated(first);
        }
        let mut made = first.clone();
        for (step, arg) in self.steps.iter().zip(rest) {
            made = step.take(&made, arg, args.number_rows)?;
        }
        Ok(made)
    }
}

fn appended(left: &ColumnarValue, right: &ColumnarValue, rows: usize) -> Result<ColumnarValue> {
    let args = [left.clone(), right.clone()];
    bounded::check(Growth::Together, "`||`", &args, rows)?;
    let both = |rows: usize| -> Result<ArrayRef> {
        let (left, right) = (left.to_array(rows)?, right.to_array(rows)?);
        Ok(concat_elements_dyn(&left, &right)?)
    };
    if let [ColumnarValue::Scalar(_), ColumnarValue::Scalar(_)] = args {
        return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&both(1)?, 0)?));
    }
    Ok(ColumnarValue::Array(both(rows)?))
}
