use super::*;

/// Scenario: every mixture of types that a key can have.
/// Guarantees: the SQL type holds every value without loss.
#[test]
fn types_settle_on_one_that_holds_all() {
    use AttributeType::{Bool, Double, Int, String};
    let check = |kinds: &[AttributeType], settled| {
        assert_eq!(settle(&kinds.iter().copied().collect()), settled, "{kinds:?}");
    };
    check(&[], String);
    check(&[Int], Int);
    check(&[Int, Double], Double);
    check(&[Bool], Bool);
    check(&[Bool, Int], String);
    check(&[Double, Bool, Int], String);
    check(&[String, Int], String);
}

/// Scenario: the JSON text of each type of value.
/// Guarantees: its first letters tell the type.
#[test]
fn raw_texts_tell_their_type() {
    let check = |raw, kind| assert_eq!(raw_kind(raw), kind, "{raw}");
    check("\"x\"", AttributeType::String);
    check("-12", AttributeType::Int);
    check("1.5", AttributeType::Double);
    check("1e300", AttributeType::Double);
    check("{\"$double\":\"NaN\"}", AttributeType::Double);
    check("{\"$bytes\":\"\"}", AttributeType::String);
    check("[1]", AttributeType::String);
    check("null", AttributeType::String);
    check("false", AttributeType::Bool);
}
