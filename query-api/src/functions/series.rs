//! `series(…)`: one text for what tells series apart, whatever order its keys come in.

use std::sync::Arc;

use arrow::array::{Array, AsArray, StringBuilder, StringViewArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use icecore_store::model::value::raw_entries;

/// Between parts; JSON never holds it as it is.
const BETWEEN: char = '\u{1f}';

#[derive(Debug, PartialEq, Eq, Hash)]
struct Series {
    signature: Signature,
}

/// The function.
pub(crate) fn function() -> Arc<ScalarUDF> {
    let signature = Signature::variadic_any(Volatility::Immutable);
    Arc::new(ScalarUDF::new_from_impl(Series { signature }))
}

impl ScalarUDFImpl for Series {
    fn name(&self) -> &'static str {
        "series"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let parts = args
            .args
            .iter()
            .map(|part| Ok(cast(&part.to_array(args.number_rows)?, &DataType::Utf8View)?));
        let parts = parts.collect::<Result<Vec<_>>>()?;
        let parts: Vec<&StringViewArray> = parts.iter().map(|part| part.as_string_view()).collect();
        let mut out = StringBuilder::new();
        let mut text = String::new();
        for row in 0..args.number_rows {
            text.clear();
            for part in &parts {
                if part.is_valid(row) {
                    push(&mut text, part.value(row));
                }
                text.push(BETWEEN);
            }
            out.append_value(&text);
        }
        Ok(ColumnarValue::Array(Arc::new(out.finish())))
    }
}

/// A map with its keys in order; any other text as it is.
fn push(out: &mut String, part: &str) {
    let Some(mut entries) = raw_entries(part).filter(|_| part.starts_with('{')) else {
        out.push_str(part);
        return;
    };
    entries.sort_unstable();
    for (key, raw) in entries {
        out.push_str(&key);
        out.push('=');
        out.push_str(raw);
        out.push(',');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: one map with its keys in two orders, another map, and text that is no map.
    /// Guarantees: only the order makes no difference.
    #[test]
    fn the_order_of_keys_is_nothing() {
        let series = |part: &str| {
            let mut out = String::new();
            push(&mut out, part);
            out
        };
        assert_eq!(series(r#"{"a":1,"b":"x"}"#), series(r#"{"b":"x","a":1}"#));
        assert_ne!(series(r#"{"a":1}"#), series(r#"{"a":2}"#));
        assert_ne!(series(r#"{"a":1}"#), series(r#"{"a":"1"}"#));
        assert_eq!(series("plain"), "plain");
    }
}
