//! Aggregates that need all rows of a group before they can answer.
//!
//! Invariant: the answer does not depend on the order of rows, nor on how they are spread over
//! threads: what one thread has collected travels to another as the bytes of its rows.

pub(crate) mod bytes;

use std::fmt::Debug;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::expr::AggregateFunctionParams;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Expr, Signature};

use self::bytes::Reader;

/// The rows of one group, and what is asked of them.
pub(crate) trait Collect: Default + Debug + Send + Sync + 'static {
    /// The name of the function.
    const NAME: &'static str;
    /// Arguments that stand in the name of the answer's column; the others are the table's own.
    const ARGUMENTS_SHOWN: usize;

    /// What it takes.
    fn signature() -> Signature;

    /// What it answers.
    fn answer_type() -> DataType;

    /// Takes rows in.
    fn add(&mut self, columns: &[ArrayRef]) -> Result<()>;

    /// The rows as bytes.
    fn write(&self, out: &mut Vec<u8>);

    /// Takes rows in that [`Collect::write`] wrote.
    fn read(&mut self, bytes: &mut Reader<'_>) -> Result<()>;

    /// The answer.
    fn answer(&mut self) -> Result<ScalarValue>;

    /// Memory of the rows.
    fn bytes(&self) -> usize;
}

/// The function that collects as `C` does.
pub(crate) fn function<C: Collect>() -> Arc<AggregateUDF> {
    let signature = C::signature();
    Arc::new(AggregateUDF::new_from_impl(Collecting::<C> { signature, how: PhantomData }))
}

struct Collecting<C> {
    signature: Signature,
    how: PhantomData<fn() -> C>,
}

impl<C: Collect> Debug for Collecting<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(C::NAME)
    }
}

impl<C> PartialEq for Collecting<C> {
    fn eq(&self, other: &Self) -> bool {
        self.signature == other.signature
    }
}

impl<C> Eq for Collecting<C> {}

impl<C: Collect> Hash for Collecting<C> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        C::NAME.hash(state);
    }
}

impl<C: Collect> AggregateUDFImpl for Collecting<C> {
    fn name(&self) -> &str {
        C::NAME
    }

    /// `rate()` and not the dozen columns that it is about, unless they are others.
    fn schema_name(&self, params: &AggregateFunctionParams) -> Result<String> {
        let plain = |expr: &Expr| matches!(expr, Expr::Column(_) | Expr::ScalarFunction(_));
        let shown =
            params.args.get(C::ARGUMENTS_SHOWN..).is_some_and(|rest| rest.iter().all(plain));
        let shown = if shown { C::ARGUMENTS_SHOWN } else { params.args.len() };
        let names: Vec<String> =
            params.args.iter().take(shown).map(|arg| arg.schema_name().to_string()).collect();
        let filter = params.filter.as_ref();
        let filter = filter.map(|f| format!(" FILTER (WHERE {})", f.schema_name()));
        Ok(format!("{}({}){}", C::NAME, names.join(","), filter.unwrap_or_default()))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(C::answer_type())
    }

    fn accumulator(&self, _args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Rows(C::default())))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let name = format_state_name(args.name, "rows");
        Ok(vec![Arc::new(Field::new(name, DataType::LargeBinary, true))])
    }
}

#[derive(Debug)]
struct Rows<C>(C);

impl<C: Collect> Accumulator for Rows<C> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.0.add(values)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.0.answer()
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.0.bytes()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let mut out = Vec::new();
        self.0.write(&mut out);
        Ok(vec![ScalarValue::LargeBinary(Some(out))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let states = states[0].as_binary::<i64>();
        for at in (0..states.len()).filter(|at| states.is_valid(*at)) {
            self.0.read(&mut Reader::new(states.value(at)))?;
        }
        Ok(())
    }
}
