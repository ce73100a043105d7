use proptest::prelude::*;

use super::*;

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<String>().prop_map(Value::String),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        any::<f64>()
            .prop_filter("NaN never equals itself", |d| !d.is_nan())
            .prop_map(Value::Double),
        any::<Vec<u8>>().prop_map(Value::Bytes),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        let key = prop_oneof!["\\$[a-z]*", "[a-z.]*", any::<String>()];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::vec((key, inner), 0..6).prop_map(Value::Map),
        ]
    })
}

proptest! {
    /// Scenario: any value, nested, with any text as keys.
    /// Guarantees: the text reads back as the same value, type by type; any JSON reader takes it.
    #[test]
    fn values_round_trip(value in any_value()) {
        let mut text = String::new();
        write_value(&mut text, &value);
        prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{}", text);
        // An unwrapped map with one `$` key inside a map that is not wrapped cannot be written.
        prop_assert_eq!(parse_value(&text).unwrap(), value, "{}", text);
    }

    /// Scenario: an object with any keys, one of them asked for.
    /// Guarantees: `find_key` finds the first entry of that name and nothing else.
    #[test]
    fn one_key_is_found(entries in prop::collection::vec(("[$a-c]{0,2}", any_value()), 0..8), wanted in "[$a-c]{0,2}") {
        let mut text = String::new();
        let mut object = ObjectWriter::new(&mut text);
        for (key, value) in &entries {
            write_value(object.key(key), value);
        }
        object.finish();
        prop_assert_eq!(&parse_object(&text).unwrap(), &entries);
        let expected = entries.iter().find(|(key, _)| *key == wanted).map(|(_, value)| value.clone());
        let found = find_key(&text, &wanted).map(|raw| parse_value(raw).unwrap());
        prop_assert_eq!(found, expected);
    }
}

/// Scenario: doubles that JSON has no form for, and doubles that look like ints.
/// Guarantees: they stay doubles.
#[test]
fn doubles_stay_doubles() {
    for number in [f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, 1.0, 1e300, f64::MIN_POSITIVE] {
        let mut text = String::new();
        write_double(&mut text, number);
        let Value::Double(back) = parse_value(&text).unwrap() else { panic!("{text}") };
        assert_eq!(back.to_bits(), number.to_bits());
    }
    let mut text = String::new();
    write_double(&mut text, f64::NAN);
    assert!(matches!(parse_value(&text).unwrap(), Value::Double(d) if d.is_nan()));
}

/// Scenario: doubles whose shortest text a fast parser reads one bit off; texts nested deeper than
/// OTLP allows; texts that only Rust takes for numbers.
/// Guarantees: doubles are exact, the rest is refused without filling the stack.
#[test]
fn doubles_are_exact_and_depth_is_bounded() {
    for text in ["1.1235582092889474e307", "5e-324", "1.7976931348623157e308", "-2.5"] {
        assert_eq!(parse_value(text).unwrap(), Value::Double(text.parse().unwrap()));
    }
    let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    assert!(parse_value(&nested(100)).is_ok());
    for bad in [nested(100_000).as_str(), "1.", "01", "1e", "-", "1 2", "[1", "{\"$no\":1}"] {
        assert!(parse_value(bad).is_err());
    }
}
