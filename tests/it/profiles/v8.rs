//! A profile as V8 writes it (`node --cpu-prof`), as OTLP.

use std::collections::HashMap;

use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::profiles::v1development::{
    Function, Line, Link, Location, Profile, ProfilesDictionary, ResourceProfiles, Sample,
    ScopeProfiles, Stack, ValueType,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use serde::Deserialize;

use crate::otlp::text;

/// What V8 writes.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CpuProfile {
    nodes: Vec<Node>,
    start_time: i64,
    end_time: i64,
    samples: Vec<u32>,
    time_deltas: Vec<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    id: u32,
    call_frame: CallFrame,
    #[serde(default)]
    children: Vec<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CallFrame {
    function_name: String,
    url: String,
    line_number: i64,
    column_number: i64,
}

/// Microseconds that each sample stands for, by the name of its function.
pub(super) fn self_time(profile: &CpuProfile) -> HashMap<String, i64> {
    let names = profile.nodes.iter().map(|node| (node.id, name(node)));
    let names: HashMap<u32, String> = names.collect();
    let mut times = HashMap::new();
    for (node, delta) in profile.samples.iter().zip(&profile.time_deltas) {
        *times.entry(names[node].clone()).or_default() += delta;
    }
    times
}

fn name(node: &Node) -> String {
    let name = &node.call_frame.function_name;
    if name.is_empty() { "(anonymous)".to_owned() } else { name.clone() }
}

/// The trace that all samples are linked to.
pub(super) const TRACE_ID: [u8; 16] = [0xab; 16];

/// The profile as a request of OTLP: a sample a node of the tree, with a value for each time that it was
/// seen. `began` is when it began, in nanoseconds.
pub(super) fn otlp(
    profile: &CpuProfile,
    service: &str,
    began: u64,
) -> ExportProfilesServiceRequest {
    let mut dictionary = ProfilesDictionary {
        mapping_table: vec![Default::default()],
        location_table: vec![Location::default()],
        function_table: vec![Function::default()],
        link_table: vec![
            Link::default(),
            Link { trace_id: TRACE_ID.to_vec(), span_id: vec![0xcd; 8] },
        ],
        string_table: ["", "cpu", "microseconds"].map(str::to_owned).to_vec(),
        attribute_table: vec![Default::default()],
        stack_table: vec![Stack::default()],
    };
    let mut parents = HashMap::new();
    for node in &profile.nodes {
        parents.extend(node.children.iter().map(|child| (*child, node.id)));
    }
    let locations: HashMap<u32, i32> =
        profile.nodes.iter().map(|node| (node.id, locate(node, &mut dictionary))).collect();
    let mut samples: HashMap<u32, Sample> = HashMap::new();
    let mut time = began;
    for (node, delta) in profile.samples.iter().zip(&profile.time_deltas) {
        time += u64::try_from(*delta * 1_000).unwrap_or_default();
        let sample = samples.entry(*node).or_insert_with(|| {
            let path = std::iter::successors(Some(*node), |node| parents.get(node).copied());
            let location_indices = path.map(|node| locations[&node]).collect();
            dictionary.stack_table.push(Stack { location_indices });
            let stack_index = newest(&dictionary.stack_table);
            Sample { stack_index, link_index: 1, ..Sample::default() }
        });
        sample.values.push(*delta);
        sample.timestamps_unix_nano.push(time);
    }
    let profile = Profile {
        sample_type: Some(ValueType { type_strindex: 1, unit_strindex: 2 }),
        samples: samples.into_values().collect(),
        time_unix_nano: began,
        duration_nano: u64::try_from(profile.end_time - profile.start_time).unwrap() * 1_000,
        profile_id: vec![7; 16],
        ..Profile::default()
    };
    let resource =
        Resource { attributes: vec![text("service.name", service)], ..Resource::default() };
    let scope_profiles = vec![ScopeProfiles { profiles: vec![profile], ..Default::default() }];
    let resource_profiles = vec![ResourceProfiles {
        resource: Some(resource),
        scope_profiles,
        ..ResourceProfiles::default()
    }];
    ExportProfilesServiceRequest { resource_profiles, dictionary: Some(dictionary) }
}

/// The location of a node: one for each, as a profiler that does not look back would make them.
fn locate(node: &Node, dictionary: &mut ProfilesDictionary) -> i32 {
    let mut string = |text: &str| {
        let table = &mut dictionary.string_table;
        let at = table.iter().position(|known| known == text).unwrap_or_else(|| {
            table.push(text.to_owned());
            table.len() - 1
        });
        i32::try_from(at).unwrap()
    };
    let function = Function {
        name_strindex: string(&name(node)),
        filename_strindex: string(&node.call_frame.url),
        start_line: node.call_frame.line_number + 1,
        ..Function::default()
    };
    dictionary.function_table.push(function);
    let line = Line {
        function_index: newest(&dictionary.function_table),
        line: node.call_frame.line_number + 1,
        column: node.call_frame.column_number + 1,
    };
    dictionary.location_table.push(Location { lines: vec![line], ..Location::default() });
    newest(&dictionary.location_table)
}

/// The index of the last entry.
fn newest<T>(table: &[T]) -> i32 {
    i32::try_from(table.len() - 1).unwrap()
}
