//! The functions of maps on JSON text: `map_keys`, `map_values`, a key that is no literal, and a
//! place in an array.
//!
//! Invariant: on a map of the engine's own they are the engine's own functions.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, ListBuilder, StringViewArray, StringViewBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, internal_err, plan_err};
use datafusion::functions_nested::{map_keys, map_values};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use icecore_store::model::value::{find_key, plain_text, raw_entries};
use serde_json::value::RawValue;

/// What is listed of a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Part {
    Keys,
    Values,
}

/// `map_keys(attributes)` and `map_values(attributes)`: the values as text.
#[derive(Debug, PartialEq, Eq, Hash)]
struct MapPart {
    part: Part,
    signature: Signature,
    native: Arc<ScalarUDF>,
}

/// All of them, to stand before the engine's.
pub(crate) fn functions() -> [Arc<ScalarUDF>; 2] {
    let of = |part, native| {
        let signature = Signature::any(1, Volatility::Immutable);
        Arc::new(ScalarUDF::new_from_impl(MapPart { part, signature, native }))
    };
    [of(Part::Keys, map_keys::map_keys_udf()), of(Part::Values, map_values::map_values_udf())]
}

impl ScalarUDFImpl for MapPart {
    fn name(&self) -> &'static str {
        match self.part {
            Part::Keys => "map_keys",
            Part::Values => "map_values",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        internal_err!("the type of {} is that of its field", self.name())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        match args.arg_fields {
            [map] if is_text(map.data_type()) => {
                let text = Field::new_list_field(DataType::Utf8View, true);
                Ok(Arc::new(Field::new_list(self.name(), text, true)))
            }
            [map] if matches!(map.data_type(), DataType::Map(_, _)) => {
                self.native.return_field_from_args(args)
            }
            [other] => plan_err!("{} takes a map, not {}", self.name(), other.data_type()),
            _ => plan_err!("{} takes one map", self.name()),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if args.args.first().is_some_and(|map| !is_text(&map.data_type())) {
            return self.native.invoke_with_args(args);
        }
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let texts = cast(&arrays[0], &DataType::Utf8View)?;
        Ok(ColumnarValue::Array(list(texts.as_string_view(), self.part)))
    }
}

fn list(texts: &StringViewArray, part: Part) -> ArrayRef {
    let mut out = ListBuilder::new(StringViewBuilder::new());
    for text in texts {
        // What is no map, such as a plain body of a log, has neither keys nor values.
        let entries = text.and_then(raw_entries);
        for (key, raw) in entries.iter().flatten() {
            match part {
                Part::Keys => out.values().append_value(key),
                Part::Values => out.values().append_option(plain_text(raw)),
            }
        }
        out.append(entries.is_some());
    }
    Arc::new(out.finish())
}

/// `map[key]` where the key is known only as the query runs: always text.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct AnyKey {
    signature: Signature,
}

impl AnyKey {
    /// Whether an expression is such a call.
    pub(crate) fn is(expr: &Expr) -> bool {
        let Expr::ScalarFunction(call) = expr else { return false };
        (call.func.inner().as_ref() as &dyn std::any::Any).is::<Self>()
    }

    /// The call of the function.
    pub(crate) fn call(map: Expr, key: Expr) -> Expr {
        let signature = Signature::any(2, Volatility::Immutable);
        ScalarUDF::new_from_impl(Self { signature }).call(vec![map, key])
    }
}

impl ScalarUDFImpl for AnyKey {
    fn name(&self) -> &'static str {
        "attribute_of"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8View)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let maps = cast(&arrays[0], &DataType::Utf8View)?;
        let keys = cast(&arrays[1], &DataType::Utf8View)?;
        let rows = maps.as_string_view().iter().zip(keys.as_string_view());
        let values: StringViewArray = rows.map(|(map, key)| part_of(map?, key?)).collect();
        Ok(ColumnarValue::Array(Arc::new(values)))
    }
}

/// What a map has of a key, or an array at a place: 1 is the first, -1 the last, as in lists.
fn part_of<'t>(text: &'t str, key: &str) -> Option<Cow<'t, str>> {
    if !text.starts_with('[') {
        return plain_text(find_key(text, key)?);
    }
    let items: Vec<&'t RawValue> = serde_json::from_str(text).ok()?;
    let place: i64 = key.parse().ok()?;
    let length = i64::try_from(items.len()).ok()?;
    let at = if place > 0 { place - 1 } else { length.checked_add(place)? };
    let item: &'t RawValue = items.get(usize::try_from(at).ok()?).filter(|_| place != 0)?;
    plain_text(item.get())
}

pub(super) fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8View | DataType::Utf8 | DataType::LargeUtf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: places of an array and keys of a map, that are there and that are not.
    /// Guarantees: the value as text, null for null and for what is not there.
    #[test]
    fn arrays_have_places() {
        let check = |text: &str, key: &str, expected: Option<&str>| {
            assert_eq!(part_of(text, key).as_deref(), expected, "{text} {key}");
        };
        let array = r#"["a",2.0,null,[1],{"k":"v"}]"#;
        check(array, "1", Some("a"));
        check(array, "2", Some("2.0"));
        check(array, "3", None);
        check(array, "4", Some("[1]"));
        check(array, "-1", Some(r#"{"k":"v"}"#));
        for nowhere in ["0", "6", "-6", "k", "9223372036854775807", "-9223372036854775808"] {
            check(array, nowhere, None);
        }
        check(r#"{"1":"one"}"#, "1", Some("one"));
        check("[not json", "1", None);
    }
}
