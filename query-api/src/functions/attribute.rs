//! The function behind `attributes['key']`: one key out of JSON text, as one type.
//!
//! Invariant: it answers what the column of that key answers, row by row, so that either may stand
//! for the other in a plan.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, StringViewArray,
    StringViewBuilder,
};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::scalar::ScalarValue;
use icecore_store::Value;
use icecore_store::model::value::{find_key, parse_value, plain_text};
use icecore_store::schema::AttributeType;

/// `map['key']` as one type.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Attribute {
    /// The key.
    pub(crate) key: String,
    /// The type of the answer.
    pub(crate) kind: AttributeType,
    signature: Signature,
}

impl Attribute {
    /// The call of the function on an expression that is JSON text.
    pub(crate) fn call(map: Expr, key: &str, kind: AttributeType) -> Expr {
        let signature = Signature::any(1, Volatility::Immutable);
        let function = Self { key: key.to_owned(), kind, signature };
        ScalarUDF::new_from_impl(function).call(vec![map])
    }

    /// The function and its argument, where an expression is such a call.
    pub(crate) fn of(expr: &Expr) -> Option<(&Self, &Expr)> {
        let Expr::ScalarFunction(call) = expr else { return None };
        let function = (call.func.inner().as_ref() as &dyn std::any::Any).downcast_ref()?;
        Some((function, call.args.first()?))
    }
}

impl ScalarUDFImpl for Attribute {
    fn name(&self) -> &'static str {
        "attribute"
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        let map = args.first().map(|map| map.schema_name().to_string()).unwrap_or_default();
        Ok(format!("{map}['{}']", self.key))
    }

    fn display_name(&self, args: &[Expr]) -> Result<String> {
        self.schema_name(args)
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(match self.kind {
            AttributeType::String => DataType::Utf8View,
            AttributeType::Int => DataType::Int64,
            AttributeType::Double => DataType::Float64,
            AttributeType::Bool => DataType::Boolean,
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let texts = cast(&arrays[0], &DataType::Utf8View)?;
        let values = evaluate(texts.as_string_view(), &self.key, self.kind);
        Ok(if scalar {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&values, 0)?)
        } else {
            ColumnarValue::Array(values)
        })
    }
}

fn evaluate(texts: &StringViewArray, key: &str, kind: AttributeType) -> ArrayRef {
    let raw = texts.iter().map(|text| find_key(text?, key));
    match kind {
        AttributeType::String => {
            let mut out = StringViewBuilder::with_capacity(texts.len());
            raw.for_each(|raw| out.append_option(raw.and_then(plain_text)));
            Arc::new(out.finish())
        }
        AttributeType::Int => Arc::new(raw.map(|raw| int(raw?)).collect::<Int64Array>()),
        AttributeType::Double => Arc::new(raw.map(|raw| double(raw?)).collect::<Float64Array>()),
        AttributeType::Bool => Arc::new(raw.map(|raw| raw?.parse().ok()).collect::<BooleanArray>()),
    }
}

fn int(raw: &str) -> Option<i64> {
    raw.parse().ok()
}

fn double(raw: &str) -> Option<f64> {
    match parse_value(raw) {
        // In the map as SQL shows it, what JSON has no number for is text; a key of which some
        // values are other text is never asked for as a double.
        Ok(Value::String(name)) => match name.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        Ok(Value::Double(number)) => Some(number),
        // Documented: beyond 2^53 the nearest double.
        #[expect(clippy::cast_precision_loss, reason = "a double is what the query's type says")]
        Ok(Value::Int(number)) => Some(number as f64),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts() -> StringViewArray {
        StringViewArray::from(vec![
            Some(r#"{"k":"te\"xt","k":1}"#),
            Some(r#"{"k":7}"#),
            Some(r#"{"k":1.5}"#),
            Some(r#"{"k":true}"#),
            Some(r#"{"k":[1,"a"]}"#),
            Some(r#"{"k":{"$double":"Infinity"}}"#),
            Some(r#"{"other":1}"#),
            Some(r#"{"k":null}"#),
            None,
        ])
    }

    /// Scenario: one key with a value of each type, asked for as text.
    /// Guarantees: strings as they are, the rest as JSON text, null where the key is not.
    #[test]
    fn text_holds_every_type() {
        let values = evaluate(&texts(), "k", AttributeType::String);
        let shown: Vec<_> = values.as_string_view().iter().collect();
        let expected = [Some("te\"xt"), Some("7"), Some("1.5"), Some("true"), Some(r#"[1,"a"]"#)];
        assert_eq!(shown.get(..5), Some(&expected[..]));
        assert_eq!(shown.get(5..), Some(&[Some("Infinity"), None, None, None][..]));
    }

    /// Scenario: the same values asked for as ints, doubles and booleans.
    /// Guarantees: ints widen to doubles; what is of another type is null.
    #[test]
    fn other_types_are_null() {
        let ints = evaluate(&texts(), "k", AttributeType::Int);
        let ints: Vec<_> =
            ints.as_primitive::<arrow::datatypes::Int64Type>().iter().flatten().collect();
        assert_eq!(ints, [7]);
        let doubles = evaluate(&texts(), "k", AttributeType::Double);
        let doubles: Vec<_> =
            doubles.as_primitive::<arrow::datatypes::Float64Type>().iter().flatten().collect();
        assert_eq!(doubles, [7.0, 1.5, f64::INFINITY]);
        let flags = evaluate(&texts(), "k", AttributeType::Bool);
        assert_eq!(flags.as_boolean().iter().flatten().collect::<Vec<_>>(), [true]);
    }
}
