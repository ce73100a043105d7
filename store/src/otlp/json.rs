//! OTLP as JSON, with the doubles that JSON has no numbers for.
//!
//! Invariant: what is written is what `serde_json` writes, but for NaN and the infinities, which are
//! the texts that the JSON of protobuf has for them; `serde_json` by itself makes them null, and an
//! attribute would come back without its value.

use serde::ser::{
    Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

/// A message as the JSON of OTLP.
///
/// # Errors
/// Where a part of it cannot be written, which those of OTLP always can.
pub fn json(message: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&Told(message))
}

/// A value whose doubles are told.
struct Told<'a, T: ?Sized>(&'a T);

impl<T: Serialize + ?Sized> Serialize for Told<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(Doubles(serializer))
    }
}

/// A serializer, or what it makes of a value with parts, that hands on everything but such doubles.
struct Doubles<S>(S);

/// Methods that hand their value on as it is.
macro_rules! hand_on {
    ($($method:ident($value:ty)),* $(,)?) => {
        $(fn $method(self, value: $value) -> Result<S::Ok, S::Error> {
            self.0.$method(value)
        })*
    };
}

/// Methods that begin a value with parts.
macro_rules! begin {
    ($($method:ident($($name:ident: $type:ty),*) -> $of:ident),* $(,)?) => {
        $(fn $method(self, $($name: $type),*) -> Result<Self::$of, S::Error> {
            self.0.$method($($name),*).map(Doubles)
        })*
    };
}

impl<S: Serializer> Serializer for Doubles<S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Doubles<S::SerializeSeq>;
    type SerializeTuple = Doubles<S::SerializeTuple>;
    type SerializeTupleStruct = Doubles<S::SerializeTupleStruct>;
    type SerializeTupleVariant = Doubles<S::SerializeTupleVariant>;
    type SerializeMap = Doubles<S::SerializeMap>;
    type SerializeStruct = Doubles<S::SerializeStruct>;
    type SerializeStructVariant = Doubles<S::SerializeStructVariant>;

    fn serialize_f64(self, value: f64) -> Result<S::Ok, S::Error> {
        if value.is_nan() {
            self.0.serialize_str("NaN")
        } else if value.is_infinite() {
            self.0.serialize_str(if value > 0.0 { "Infinity" } else { "-Infinity" })
        } else {
            self.0.serialize_f64(value)
        }
    }

    hand_on! {
        serialize_bool(bool), serialize_char(char), serialize_str(&str), serialize_bytes(&[u8]),
        serialize_i8(i8), serialize_i16(i16), serialize_i32(i32), serialize_i64(i64),
        serialize_u8(u8), serialize_u16(u16), serialize_u32(u32), serialize_u64(u64),
        serialize_f32(f32), serialize_unit_struct(&'static str),
    }

    begin! {
        serialize_seq(len: Option<usize>) -> SerializeSeq,
        serialize_tuple(len: usize) -> SerializeTuple,
        serialize_tuple_struct(name: &'static str, len: usize) -> SerializeTupleStruct,
        serialize_tuple_variant(
            name: &'static str, index: u32, variant: &'static str, len: usize
        ) -> SerializeTupleVariant,
        serialize_map(len: Option<usize>) -> SerializeMap,
        serialize_struct(name: &'static str, len: usize) -> SerializeStruct,
        serialize_struct_variant(
            name: &'static str, index: u32, variant: &'static str, len: usize
        ) -> SerializeStructVariant,
    }

    fn serialize_none(self) -> Result<S::Ok, S::Error> {
        self.0.serialize_none()
    }

    fn serialize_unit(self) -> Result<S::Ok, S::Error> {
        self.0.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.0.serialize_some(&Told(value))
    }

    fn serialize_unit_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
    ) -> Result<S::Ok, S::Error> {
        self.0.serialize_unit_variant(name, index, variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        self.0.serialize_newtype_struct(name, &Told(value))
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        self.0.serialize_newtype_variant(name, index, variant, &Told(value))
    }
}

/// The parts of a value, in order.
macro_rules! parts {
    ($($of:ident::$method:ident),* $(,)?) => {
        $(impl<S: $of> $of for Doubles<S> {
            type Ok = S::Ok;
            type Error = S::Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
                self.0.$method(&Told(value))
            }

            fn end(self) -> Result<S::Ok, S::Error> {
                self.0.end()
            }
        })*
    };
}

parts! {
    SerializeSeq::serialize_element, SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field, SerializeTupleVariant::serialize_field,
}

/// The parts of a value, by their names.
macro_rules! fields {
    ($($of:ident),*) => {
        $(impl<S: $of> $of for Doubles<S> {
            type Ok = S::Ok;
            type Error = S::Error;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                key: &'static str,
                value: &T,
            ) -> Result<(), S::Error> {
                self.0.serialize_field(key, &Told(value))
            }

            fn end(self) -> Result<S::Ok, S::Error> {
                self.0.end()
            }
        })*
    };
}

fields!(SerializeStruct, SerializeStructVariant);

impl<S: SerializeMap> SerializeMap for Doubles<S> {
    type Ok = S::Ok;
    type Error = S::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), S::Error> {
        self.0.serialize_key(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
        self.0.serialize_value(&Told(value))
    }

    fn end(self) -> Result<S::Ok, S::Error> {
        self.0.end()
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue};

    use super::*;

    fn check(value: Value, expected: &str) {
        let value = Some(AnyValue { value: Some(value) });
        let pair = KeyValue { key: "k".to_owned(), value, ..KeyValue::default() };
        let text = String::from_utf8(json(&pair).unwrap()).unwrap();
        assert_eq!(text, format!(r#"{{"key":"k","value":{expected}}}"#));
    }

    /// Scenario: doubles that JSON has no numbers for, alone and in a list, and other values.
    /// Guarantees: the former are the texts of protobuf's JSON, the latter as they always were.
    #[test]
    fn every_double_is_told() {
        check(Value::DoubleValue(f64::NAN), r#"{"doubleValue":"NaN"}"#);
        check(Value::DoubleValue(f64::INFINITY), r#"{"doubleValue":"Infinity"}"#);
        check(Value::DoubleValue(f64::NEG_INFINITY), r#"{"doubleValue":"-Infinity"}"#);
        check(Value::DoubleValue(-0.0), r#"{"doubleValue":-0.0}"#);
        check(Value::IntValue(i64::MIN), r#"{"intValue":"-9223372036854775808"}"#);
        check(Value::StringValue("NaN".to_owned()), r#"{"stringValue":"NaN"}"#);
        check(Value::BytesValue(vec![0, 255]), r#"{"bytesValue":"AP8="}"#);
        let values = [f64::NAN, 1.5].map(|it| AnyValue { value: Some(Value::DoubleValue(it)) });
        let list = ArrayValue { values: values.into() };
        let expected = r#"{"arrayValue":{"values":[{"doubleValue":"NaN"},{"doubleValue":1.5}]}}"#;
        check(Value::ArrayValue(list), expected);
    }
}
