//! `sum` of integers, which is exact or an error.
//!
//! Invariant: a sum is kept in 128 bits, which no number of rows fills, and is brought to the 64 bits
//! of its type at the end, in which it fits or the query fails. The engine's own wraps: two large values
//! made a negative one. Of other types this is the engine's.

mod groups;
mod kept;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Int64Type, UInt64Type};
use datafusion::common::Result;
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, GroupsAccumulator, ReversedUDAF,
    SetMonotonicity, Signature,
};

use self::groups::Sums;
use self::kept::{OfDistinct, Sum};

/// Digits of what a sum is kept in.
const DIGITS: u8 = 38;

/// The function, to stand before the engine's.
pub(crate) fn function() -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::new_from_impl(Exact { engines: sum_udaf() }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Exact {
    engines: Arc<AggregateUDF>,
}

impl AggregateUDFImpl for Exact {
    fn name(&self) -> &str {
        self.engines.name()
    }

    fn aliases(&self) -> &[String] {
        self.engines.aliases()
    }

    fn signature(&self) -> &Signature {
        self.engines.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.engines.return_type(arg_types)
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        if args.is_distinct || !args.return_type().is_integer() {
            return self.engines.state_fields(args);
        }
        let kept = DataType::Decimal128(DIGITS, 0);
        Ok(vec![Arc::new(Field::new(format_state_name(args.name, "sum"), kept, true))])
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        self.one(args, AggregateUDF::accumulator)
    }

    fn create_sliding_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn Accumulator>> {
        self.one(args, AggregateUDF::create_sliding_accumulator)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        self.engines.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        match args.return_field.data_type() {
            DataType::Int64 => Ok(Box::new(Sums::<Int64Type>::default())),
            DataType::UInt64 => Ok(Box::new(Sums::<UInt64Type>::default())),
            _ => self.engines.create_groups_accumulator(args),
        }
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn set_monotonicity(&self, data_type: &DataType) -> SetMonotonicity {
        self.engines.inner().set_monotonicity(data_type)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.engines.documentation()
    }
}

impl Exact {
    /// Of one group; `engines` makes what keeps distinct values, or values of other types.
    fn one(
        &self,
        args: AccumulatorArgs<'_>,
        engines: impl Fn(&AggregateUDF, AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>>,
    ) -> Result<Box<dyn Accumulator>> {
        let data_type = args.return_field.data_type().clone();
        if !data_type.is_integer() {
            return engines(&self.engines, args);
        }
        if args.is_distinct {
            return Ok(Box::new(OfDistinct { values: engines(&self.engines, args)?, data_type }));
        }
        Ok(match data_type {
            DataType::UInt64 => Box::new(Sum::<UInt64Type>::default()),
            _ => Box::new(Sum::<Int64Type>::default()),
        })
    }
}
