//! Any text as the overflow of attributes: what is understood survives being written, and the quick
//! ways to one key or to plain JSON agree with the whole parse.
#![no_main]

use icecore_store::model::value::{
    ObjectWriter, Value, find_key, parse_object, parse_value, plain_object, plain_text,
    raw_entries, write_value,
};
use libfuzzer_sys::fuzz_target;

/// NaN is not itself.
fn same(one: &Value, other: &Value) -> bool {
    format!("{one:?}") == format!("{other:?}")
}

fuzz_target!(|text: &str| {
    let _text = plain_text(text);
    let _plain = plain_object(text);
    let _raw = raw_entries(text);
    if let Ok(value) = parse_value(text) {
        let mut written = String::new();
        write_value(&mut written, &value);
        let again = parse_value(&written).expect("what was written can be read");
        assert!(same(&again, &value), "{text} is {value:?}, and then {again:?}");
    }
    let Ok(entries) = parse_object(text) else { return };
    let mut written = String::new();
    let mut object = ObjectWriter::new(&mut written);
    for (key, value) in &entries {
        write_value(object.key(key), value);
    }
    object.finish();
    let again = parse_object(&written).expect("what was written can be read");
    assert!(same(&Value::Map(again), &Value::Map(entries.clone())), "{text}, and then {written}");
    for (key, _) in &entries {
        // A key may repeat: the first or the last is found, but one of them.
        let raw = find_key(&written, key).expect("a key that is there is found");
        let found = parse_value(raw).expect("its value can be read");
        let mut of_key = entries.iter().filter(|(name, _)| name == key);
        assert!(of_key.any(|(_, value)| same(value, &found)), "{key} of {written} is {raw}");
    }
});
