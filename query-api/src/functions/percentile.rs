//! `approx_percentile_cont` and `approx_median`, under the engine's names and signatures.
//!
//! Invariant: an answer is exact for up to 1,024 values a group, and within 1 % of the exact one
//! beyond. Nulls are left out; what is no number counts as larger than any.
//!
//! The engine keeps a t-digest a group and feeds it slices of rows that it first sorts; a value here
//! costs a shift of its bits and an addition.

mod groups;
mod sketch;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::functions_aggregate::approx_median::approx_median_udaf;
use datafusion::functions_aggregate::approx_percentile_cont::approx_percentile_cont_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, ColumnarValue, Documentation, GroupsAccumulator,
    Signature,
};

use self::groups::{Asked, Percentile, Percentiles};

/// Both functions, to stand before the engine's.
pub(crate) fn functions() -> [Arc<AggregateUDF>; 2] {
    let of = |engines, aliases: &[&str]| {
        let aliases = aliases.iter().map(|&alias| alias.to_owned()).collect();
        Arc::new(AggregateUDF::new_from_impl(ByBuckets { engines, aliases }))
    };
    [of(approx_percentile_cont_udaf(), &["approx_percentile"]), of(approx_median_udaf(), &[])]
}

/// A function of the engine, but for how it counts.
#[derive(Debug, PartialEq, Eq, Hash)]
struct ByBuckets {
    engines: Arc<AggregateUDF>,
    aliases: Vec<String>,
}

impl ByBuckets {
    /// What is asked; `None` where that is the engine's own affair, such as of nulls without a type.
    fn asked(args: &AccumulatorArgs<'_>) -> Result<Option<Asked>> {
        let data_type = args.expr_fields[0].data_type().clone();
        if !data_type.is_floating() {
            return Ok(None);
        }
        let share = match args.exprs.get(1) {
            None => 0.5,
            Some(share) => {
                let nothing = RecordBatch::new_empty(Arc::new(Schema::empty()));
                let ColumnarValue::Scalar(share) = share.evaluate(&nothing)? else {
                    return plan_err!("a percentile is no constant");
                };
                let ScalarValue::Float64(Some(share)) = share.cast_to(&DataType::Float64)? else {
                    return plan_err!("a percentile is null");
                };
                share
            }
        };
        let descending = args.order_bys.first().is_some_and(|order| order.options.descending);
        let share = if descending { 1.0 - share } else { share };
        Ok(Some(Asked { share, data_type }))
    }
}

impl AggregateUDFImpl for ByBuckets {
    fn name(&self) -> &str {
        self.engines.name()
    }

    /// What Presto and its like call it.
    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        self.engines.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.engines.return_type(arg_types)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let asked = Self::asked(&args)?;
        // Also where it is not used: it refuses arguments that make no sense.
        let engines = self.engines.accumulator(args)?;
        Ok(match asked {
            Some(asked) => Box::new(Percentile::new(asked)),
            None => engines,
        })
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        if !args.input_fields[0].data_type().is_floating() {
            return self.engines.state_fields(args);
        }
        let name = format_state_name(args.name, "sketch");
        Ok(vec![Arc::new(Field::new(name, DataType::Binary, true))])
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        args.expr_fields[0].data_type().is_floating()
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        let asked = Self::asked(&args)?;
        drop(self.engines.accumulator(args)?);
        match asked {
            Some(asked) => Ok(Box::new(Percentiles::new(asked))),
            None => plan_err!("{} has no groups of this type", self.name()),
        }
    }

    fn supports_within_group_clause(&self) -> bool {
        self.engines.supports_within_group_clause()
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.engines.documentation()
    }
}
