//! Profiles: what a row says of a stack, what is refused, and what a few bytes may stand for.

use icecore_store::Signal;
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::profiles::v1development::{
    Function, KeyValueAndUnit, Line, Link, Location, Mapping, Profile, ProfilesDictionary,
    ResourceProfiles, Sample, ScopeProfiles, Stack, ValueType,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;

use super::super::{Batch, Decoded, Wanted, decode, json_to_protobuf};
use super::plain::{self, Row};

fn text(text: &str) -> Option<AnyValue> {
    Some(AnyValue { value: Some(Value::StringValue(text.to_owned())) })
}

/// `memcpy` inlined into `copy`, called by an address of libc that nobody knows the name of.
fn dictionary() -> ProfilesDictionary {
    let strings = ["", "cpu", "ns", "memcpy", "copy", "_ZN4copyE", "/usr/lib/libc.so.6", "service"];
    let function = |name_strindex, system_name_strindex| Function {
        name_strindex,
        system_name_strindex,
        ..Function::default()
    };
    let line = |function_index, line| Line { function_index, line, column: 0 };
    ProfilesDictionary {
        mapping_table: vec![
            Mapping::default(),
            Mapping { memory_start: 4096, filename_strindex: 6, ..Mapping::default() },
        ],
        location_table: vec![
            Location::default(),
            Location { lines: vec![line(1, 7), line(2, 0)], ..Location::default() },
            Location { mapping_index: 1, address: 0x1234, ..Location::default() },
            Location { mapping_index: 9, ..Location::default() },
        ],
        function_table: vec![Function::default(), function(3, 0), function(4, 5)],
        link_table: vec![
            Link::default(),
            Link { trace_id: vec![1; 16], span_id: vec![2; 8] },
            Link { trace_id: vec![1; 3], span_id: Vec::new() },
        ],
        string_table: strings.map(str::to_owned).to_vec(),
        attribute_table: vec![
            KeyValueAndUnit::default(),
            KeyValueAndUnit { key_strindex: 7, value: text("x"), unit_strindex: 2 },
        ],
        stack_table: vec![
            Stack::default(),
            Stack { location_indices: vec![1, 2] },
            Stack { location_indices: vec![1, 3] },
        ],
    }
}

fn sample(stack_index: i32) -> Sample {
    Sample { stack_index, values: vec![5], ..Sample::default() }
}

fn request(
    samples: Vec<Sample>,
    dictionary: ProfilesDictionary,
    attributes: Vec<KeyValue>,
) -> Vec<u8> {
    let profile = Profile {
        sample_type: Some(ValueType { type_strindex: 1, unit_strindex: 2 }),
        samples,
        time_unix_nano: 1_700_000_000_000_000_000,
        duration_nano: 10,
        ..Profile::default()
    };
    let scope_profiles = vec![ScopeProfiles { profiles: vec![profile], ..Default::default() }];
    let resource = Some(Resource { attributes, ..Resource::default() });
    let resource_profiles =
        vec![ResourceProfiles { resource, scope_profiles, ..ResourceProfiles::default() }];
    let dictionary = Some(dictionary);
    ExportProfilesServiceRequest { resource_profiles, dictionary }.encode_to_vec()
}

fn decoded(payload: &[u8]) -> Decoded {
    let decoded = decode(Signal::Profiles, payload);
    super::foretold(Signal::Profiles, payload, &decoded);
    decoded.unwrap()
}

fn rows(samples: Vec<Sample>) -> Vec<Row> {
    let decoded = decoded(&request(samples, dictionary(), Vec::new()));
    assert_eq!(decoded.rejected, 0, "{:?}", decoded.reason);
    plain::rows(&decoded.rows.unwrap())
}

/// Scenario: inlined functions, a function with a mangled name, an address without a function.
/// Guarantees: each is a frame, leaf first, by the best name there is; the rest is in its details.
#[test]
fn a_stack_names_its_frames() {
    let rows = rows(vec![sample(1), sample(0)]);
    let cell = |row: usize, name: &str| rows[row].cells[name].clone();
    assert_eq!(cell(0, "stack"), plain::text(r#"["memcpy","copy","libc.so.6+0x1234"]"#));
    let frames = r#"[{"line":7,"inlined":true},{"system_name":"_ZN4copyE"},{"unsymbolized":true,"address":"0x1234","mapping":"/usr/lib/libc.so.6","mapping_start":"0x1000"}]"#;
    assert_eq!(cell(0, "frames"), plain::text(frames));
    assert_eq!((cell(1, "stack"), cell(1, "frames")), (plain::text("[]"), plain::NULL.to_owned()));
    assert_eq!((cell(0, "sample_type"), cell(0, "unit")), (plain::text("cpu"), plain::text("ns")));
}

/// Scenario: one value; points of time alone; points of time with values; a link and an attribute
/// with a unit.
/// Guarantees: the value is the sum, and what made it up is listed where the sum does not tell.
#[test]
fn observations_add_up() {
    let timestamps_unix_nano = vec![11, 12];
    let timed = Sample { values: vec![], timestamps_unix_nano, ..sample(1) };
    let both = Sample { values: vec![3, 4], link_index: 1, ..timed.clone() };
    let attributed = Sample { attribute_indices: vec![0, 1], ..sample(1) };
    let rows = rows(vec![sample(1), timed, both, attributed]);
    let cells = |name: &str| rows.iter().map(|row| row.cells[name].clone()).collect::<Vec<_>>();
    assert_eq!(cells("value"), ["5", "2", "7", "5"]);
    assert_eq!(cells("observations"), ["[]", "[[11,null],[12,null]]", "[[11,3],[12,4]]", "[]"]);
    assert_eq!(cells("trace_id")[2], plain::bytes(&[1; 16]));
    let entry = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(rows[3].attributes, [entry("service", "\"x\""), entry("service.unit", "\"ns\"")]);
}

/// Scenario: indices of a stack, an attribute, a link, a location's mapping that lead nowhere; a short
/// trace id; no observations; values that do not go with timestamps, or are too much for a sum.
/// Guarantees: such a sample is counted as refused, with a reason that names the index; others are taken.
#[test]
fn what_leads_nowhere_is_refused() {
    let cases = [
        (sample(7), "`stack_index` is 7, the dictionary has 3 stacks"),
        (sample(-1), "`stack_index` is -1, the dictionary has 3 stacks"),
        (sample(2), "`mapping_index` is 9, the dictionary has 2 mappings"),
        (
            Sample { attribute_indices: vec![2], ..sample(1) },
            "`attribute_indices` is 2, the dictionary has 2 attributes",
        ),
        (Sample { link_index: 3, ..sample(1) }, "`link_index` is 3, the dictionary has 3 links"),
        (Sample { link_index: 2, ..sample(1) }, "`link.trace_id` has 3 bytes instead of 16"),
        (Sample { values: vec![], ..sample(1) }, "a sample has neither values nor timestamps"),
        (
            Sample { timestamps_unix_nano: vec![1, 2], ..sample(1) },
            "a sample has 1 values for 2 timestamps",
        ),
        (
            Sample { values: vec![i64::MAX, 1], ..sample(1) },
            "the values of a sample add up to more than 64 bits",
        ),
    ];
    for (bad, reason) in cases {
        let decoded = decoded(&request(vec![bad, sample(1)], dictionary(), Vec::new()));
        assert_eq!((decoded.accepted, decoded.rejected), (1, 1), "{reason}");
        assert_eq!(decoded.reason.as_deref(), Some(reason));
    }
}

/// Scenario: a resource whose keys and values are in the dictionary, as Collectors send it; one of them
/// leads nowhere.
/// Guarantees: the texts are in the row; where one is missing, so is every sample of the resource.
#[test]
fn a_resource_may_refer_to_the_dictionary() {
    let entry = |key_strindex, value| KeyValue {
        key: String::new(),
        key_strindex,
        value: Some(AnyValue { value: Some(Value::StringValueStrindex(value)) }),
    };
    let payload = request(vec![sample(1)], dictionary(), vec![entry(7, 3)]);
    let rows = plain::rows(&decoded(&payload).rows.unwrap());
    assert_eq!(rows[0].resource, [("service".to_owned(), "\"memcpy\"".to_owned())]);
    let decoded = decoded(&request(vec![sample(1); 2], dictionary(), vec![entry(7, 30)]));
    assert_eq!((decoded.accepted, decoded.rejected), (0, 2));
    let reason = "`string_value_strindex` is 30, the dictionary has 8 strings";
    assert_eq!(decoded.reason.as_deref(), Some(reason));
}

/// Scenario: a kilobyte-long name in a location that each of many stacks has a thousand times; an
/// attribute of a megabyte that a thousand samples have.
/// Guarantees: what fits the budget is taken, the rest refused with the reason, in little time; one
/// batch of many such requests ends before its columns are full.
#[test]
fn a_few_bytes_cannot_stand_for_everything() {
    let mut deep = dictionary();
    deep.string_table.push("f".repeat(1 << 10));
    deep.function_table.push(Function { name_strindex: 8, ..Function::default() });
    let lines = vec![Line { function_index: 3, ..Line::default() }];
    deep.location_table.push(Location { lines, ..Location::default() });
    deep.stack_table = vec![Stack { location_indices: vec![4; 1 << 10] }; 1 << 10];
    let samples: Vec<Sample> = (0..1 << 10).map(sample).collect();
    let payload = request(samples, deep, Vec::new());
    let flood = decoded(&payload);
    assert!(flood.accepted > 100 && flood.rejected > 700, "{}", flood.accepted);
    let reason = "the request has more than 268435456 bytes in its stacks and attributes";
    assert_eq!(flood.reason.as_deref(), Some(reason));

    let mut batch = Batch::new(Signal::Profiles, Wanted::ALL);
    batch.push(&payload).unwrap();
    assert!(batch.cells() >= super::super::CELLS_MAX, "{}", batch.cells());

    let mut wide = dictionary();
    let bytes = Some(AnyValue { value: Some(Value::BytesValue(vec![0; 1 << 20])) });
    wide.attribute_table.push(KeyValueAndUnit { key_strindex: 7, value: bytes, unit_strindex: 0 });
    let samples = vec![Sample { attribute_indices: vec![2], ..sample(1) }; 1_000];
    let decoded = decoded(&request(samples, wide, Vec::new()));
    // Each is 1.4 MB of base64, and attributes have 32 MiB in all.
    assert_eq!((decoded.accepted, decoded.rejected), (23, 977));
    let reason =
        "the request has more than 33554432 bytes in attributes of its samples and profiles";
    assert_eq!(decoded.reason.as_deref(), Some(reason));
}

/// Scenario: one text of a megabyte that JSON writes six times as long, which hundreds of profiles,
/// samples with more attributes than there are columns, and stacks have, each beside something of
/// its own.
/// Guarantees: the rows of a request take no more than its budgets, and are counted so that a batch
/// ends; what is beyond is refused with the reason, as it was foretold.
#[test]
fn what_json_writes_longer_is_paid_as_it_is_written() {
    let long = "\u{1}".repeat(1 << 20);
    let own =
        |at: i32| KeyValueAndUnit { key_strindex: 8 + at, value: text("x"), unit_strindex: 0 };
    let mut tables = dictionary();
    tables.string_table.extend((0..300).map(|at| format!("key{at}")));
    tables.attribute_table = (0..300).map(own).collect();
    let value = text(&long);
    tables.attribute_table.push(KeyValueAndUnit { key_strindex: 7, value, unit_strindex: 0 });
    let long_attribute = 300;

    let single = request(vec![sample(1)], tables.clone(), Vec::new());
    let mut heads = ExportProfilesServiceRequest::decode(single.as_slice()).unwrap();
    let profiles = &mut heads.resource_profiles[0].scope_profiles[0].profiles;
    let profile =
        |at| Profile { attribute_indices: vec![long_attribute, at], ..profiles[0].clone() };
    *profiles = (1..256).map(profile).collect();
    let bytes = check_bounded(&heads.encode_to_vec());
    assert!(bytes > 24 << 20, "{bytes}");

    // The long one has no column: so many came before it.
    let mut samples: Vec<_> =
        (0..300).map(|at| Sample { attribute_indices: vec![at], ..sample(1) }).collect();
    let overflowing = Sample { attribute_indices: vec![long_attribute], ..sample(1) };
    samples.extend(vec![overflowing; 255]);
    let bytes = check_bounded(&request(samples, tables.clone(), Vec::new()));
    assert!(bytes > 24 << 20, "{bytes}");

    tables.string_table.push(long);
    let name_strindex = i32::try_from(tables.string_table.len() - 1).unwrap();
    tables.function_table.push(Function { name_strindex, ..Function::default() });
    let lines = vec![Line { function_index: 3, ..Line::default() }];
    tables.location_table.push(Location { lines, ..Location::default() });
    let stack = |deep| Stack { location_indices: [vec![1; deep], vec![4]].concat() };
    tables.stack_table = (0..255).map(stack).collect();
    let bytes = check_bounded(&request((0..255).map(sample).collect(), tables, Vec::new()));
    assert!((128 << 20..256 << 20).contains(&bytes), "{bytes}");
}

/// That some of a request is refused; the bytes that a batch counts for the others.
fn check_bounded(payload: &[u8]) -> usize {
    let decoded = decoded(payload);
    assert!(decoded.accepted > 1 && decoded.rejected > 200, "{}", decoded.accepted);
    let reason = decoded.reason.unwrap();
    assert!(reason.contains("the request has more than"), "{reason}");
    let mut batch = Batch::new(Signal::Profiles, Wanted::ALL);
    batch.push(payload).unwrap();
    let bytes = batch.cells() * size_of::<i32>();
    let rows = batch.finish().unwrap().unwrap();
    let size = rows.rows.get_array_memory_size();
    assert!(size < 3 * bytes, "{size} of {bytes}");
    bytes
}

/// Scenario: a request as OTLP/JSON, ids in hex, 64-bit numbers as texts and as numbers.
/// Guarantees: it is the request that it says.
#[test]
fn json_says_the_same() {
    let json = r#"{"resourceProfiles":[{"scopeProfiles":[{"profiles":[{
        "sampleType":{"typeStrindex":1,"unitStrindex":2},"timeUnixNano":"1700000000000000000",
        "durationNano":10,"profileId":"000102030405060708090a0b0c0d0e0f","originalPayload":"aGk=",
        "samples":[{"stackIndex":1,"values":["5"],"linkIndex":1,"timestampsUnixNano":["11"]}]}]}]}],
        "dictionary":{"stringTable":["","cpu","ns","main"],"stackTable":[{},{"locationIndices":[1]}],
        "linkTable":[{},{"traceId":"0102030405060708090A0B0C0D0E0F10","spanId":"0102030405060708"}],
        "locationTable":[{},{"address":"18446744073709551615","lines":[{"functionIndex":1}]}],
        "functionTable":[{},{"nameStrindex":3}]}}"#;
    let payload = json_to_protobuf(Signal::Profiles, json.as_bytes()).unwrap();
    let rows = plain::rows(&decoded(&payload).rows.unwrap());
    let cell = |name: &str| rows[0].cells[name].as_str();
    assert_eq!((cell("stack"), cell("value")), (r#""[\"main\"]""#, "5"));
    assert_eq!(cell("frames"), plain::text(r#"[{"address":"0xffffffffffffffff"}]"#));
    assert_eq!(cell("trace_id"), "x0102030405060708090a0b0c0d0e0f10");
    assert_eq!(cell("profile_id"), "x000102030405060708090a0b0c0d0e0f");
    assert_eq!((cell("original_payload"), cell("observations")), ("\"aGk=\"", "[[11,5]]"));
}

/// A request whose dictionary has such an entry behind the others in one table.
fn padded(table: u8, samples: Vec<Sample>, tables: ProfilesDictionary) -> Vec<u8> {
    let mut payload = request(samples, tables, Vec::new());
    let mut entry = Vec::new();
    // A field that nobody knows.
    let mut padding = Vec::new();
    prost::encoding::bytes::encode(2_000, &vec![0; 1 << 20], &mut padding);
    prost::encoding::bytes::encode(u32::from(table), &padding, &mut entry);
    prost::encoding::bytes::encode(2, &entry, &mut payload);
    payload
}

/// Scenario: a thousand samples that refer to one entry of a megabyte, in each table of which an
/// entry is read for whoever refers to it.
/// Guarantees: each reference is paid for, so that the last ones are refused.
#[test]
fn every_table_is_paid_for() {
    let many = |sample: &dyn Fn(i32) -> Sample| (0..1_000).map(sample).collect::<Vec<_>>();
    // A stack of its own for each sample, as one is looked at once.
    let stacks = |location| vec![Stack { location_indices: vec![location] }; 1_000];
    let line = |function_index| vec![Line { function_index, ..Line::default() }];
    let location = |location| {
        let mut tables = dictionary();
        tables.location_table.push(location);
        ProfilesDictionary { stack_table: stacks(4), ..tables }
    };
    let by_stack = many(&sample);
    let cases = [
        (1, by_stack.clone(), location(Location { mapping_index: 2, ..Location::default() })),
        (2, by_stack.clone(), ProfilesDictionary { stack_table: stacks(4), ..dictionary() }),
        (3, by_stack, location(Location { lines: line(3), ..Location::default() })),
        (4, many(&|_| Sample { link_index: 3, ..sample(1) }), dictionary()),
        (6, many(&|_| Sample { attribute_indices: vec![2], ..sample(1) }), dictionary()),
    ];
    for (table, samples, tables) in cases {
        let decoded = decoded(&padded(table, samples, tables));
        if table == 6 {
            // What nobody knows of an attribute is read once, and goes nowhere.
            assert_eq!((decoded.accepted, decoded.rejected), (1_000, 0));
            continue;
        }
        assert!(decoded.accepted > 200 && decoded.rejected > 700, "{table}: {}", decoded.accepted);
    }
}

/// Scenario: a profile and a location that name an attribute of a few bytes two million times.
/// Guarantees: they are refused before that takes a hundred times the room.
#[test]
fn attributes_of_profiles_and_locations_are_bounded() {
    let attribute_indices = vec![2; 2 << 20];
    let mut tables = dictionary();
    let short = KeyValueAndUnit { key_strindex: 7, value: text("x"), unit_strindex: 0 };
    tables.attribute_table.push(short);
    let payload = request(vec![sample(1)], tables.clone(), Vec::new());
    let (indices, address) = (attribute_indices.clone(), 1);
    tables.location_table.push(Location {
        attribute_indices: indices,
        address,
        ..Location::default()
    });
    tables.stack_table.push(Stack { location_indices: vec![4] });
    let decoded_location = decoded(&request(vec![sample(3), sample(1)], tables, Vec::new()));
    let reason = "the request has more than 1048576 attributes of one message";
    assert_eq!((decoded_location.accepted, decoded_location.rejected), (1, 1));
    assert_eq!(decoded_location.reason.as_deref(), Some(reason));

    let mut request = ExportProfilesServiceRequest::decode(payload.as_slice()).unwrap();
    request.resource_profiles[0].scope_profiles[0].profiles[0].attribute_indices =
        attribute_indices;
    let decoded = decoded(&request.encode_to_vec());
    assert_eq!((decoded.accepted, decoded.rejected), (0, 1));
    assert_eq!(decoded.reason.as_deref(), Some(reason));
}
