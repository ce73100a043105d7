//! From folded stacks to OTLP profiles.
//!
//! Samples of a process that are told one by one, as those of a request are, make a profile of their own. Invariants:
//! pure; each request can be read by itself: its dictionary has all that it refers to, and nothing twice; a profile is
//! that of the process with its place in the list of owners, and its time is that of all of its samples.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value::Value};
use opentelemetry_proto::tonic::profiles::v1development::{
    Function, KeyValueAndUnit, Line, Link, Location, Mapping, Profile, ProfilesDictionary,
    ResourceProfiles, Sample, ScopeProfiles, Stack, ValueType,
};

use prost::Message;

use super::fold::{Owner, Stacks};
use super::frames::{self, Kind, Origin, Place, Places};
use super::links::SpanLink;
use crate::clock::WallClock;
use crate::histogram::scope;

/// When samples were taken, by the monotonic clock, and how often in a second.
#[derive(Debug, Clone, Copy)]
pub(super) struct Interval {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) clock: WallClock,
    pub(super) hertz: u64,
}

impl Interval {
    /// All of these moments, and no more.
    fn of<'a>(self, moments: impl Iterator<Item = &'a u64> + Clone) -> Self {
        let start = moments.clone().min().map_or(self.start, |first| *first);
        let end = moments.max().map_or(self.end, |last| last.saturating_add(1));
        Self { start, end, ..self }
    }
}

/// What was seen of a stack.
#[derive(Debug)]
struct Row {
    stack: Box<[u32]>,
    link: Option<SpanLink>,
    seen: Seen,
}

#[derive(Debug)]
enum Seen {
    Times(u64),
    /// By the monotonic clock.
    At(Vec<u64>),
}

/// One request, whose profiles still want the resources of their owners.
#[derive(Debug)]
pub(crate) struct Export {
    pub(crate) request: ExportProfilesServiceRequest,
    /// In the order of the request's profiles: whose each is, and what the kernel calls it.
    pub(crate) owners: Vec<(Owner, String)>,
}

/// Requests of no more than so many bytes each, before their resources, but for a stack that has more
/// alone.
pub(super) fn exports(
    processes: HashMap<Owner, Stacks>,
    places: &Places,
    interval: Interval,
    bytes_max: usize,
) -> Vec<Export> {
    let mut packing = Packing { done: Vec::new(), draft: Draft::new(), places, bytes_max };
    for (owner, Stacks { comm, counts, moments }) in processes {
        let process = (owner, comm);
        let during = interval.of(moments.values().flatten());
        let counted = counts.into_iter().map(|(stack, count)| {
            let seen = Seen::Times(count);
            Row { stack, link: None, seen }
        });
        packing.profile(&process, interval, counted);
        let told = moments.into_iter().map(|((stack, link), times)| {
            let seen = Seen::At(times);
            Row { stack, link, seen }
        });
        packing.profile(&process, during, told);
    }
    packing.finish()
}

/// Requests while they are filled.
#[derive(Debug)]
struct Packing<'a> {
    done: Vec<Export>,
    draft: Draft,
    places: &'a Places,
    bytes_max: usize,
}

impl Packing<'_> {
    fn profile(
        &mut self,
        process: &(Owner, String),
        interval: Interval,
        rows: impl Iterator<Item = Row>,
    ) {
        let Self { done, draft, places, bytes_max } = self;
        let mut samples = Vec::new();
        for row in rows {
            let before = draft.marks();
            let sample = draft.sample(&row, interval, places);
            let alone = draft.profiles.is_empty() && samples.is_empty();
            if draft.bytes + PROFILE_BYTES <= *bytes_max || alone {
                samples.push(sample);
                continue;
            }
            draft.back_to(before);
            draft.add(process, interval, std::mem::take(&mut samples));
            done.push(std::mem::replace(draft, Draft::new()).finish());
            samples.push(draft.sample(&row, interval, places));
        }
        draft.add(process, interval, samples);
    }

    fn finish(self) -> Vec<Export> {
        let Self { mut done, draft, .. } = self;
        if !draft.profiles.is_empty() {
            done.push(draft.finish());
        }
        done
    }
}

/// What a profile takes beside its samples, and the words that all of them need.
const PROFILE_BYTES: usize = 256;
/// What stands before an entry of a table, at most: its tag and its length.
const HEAD_BYTES: usize = 6;

/// A table whose entries are told by what they are.
#[derive(Debug)]
struct Table<K, V> {
    numbers: HashMap<K, i32>,
    keys: Vec<K>,
    list: Vec<V>,
}

impl<K: Hash + Eq + Clone, V: Default> Table<K, V> {
    /// The first entry of each table stands for none.
    fn new() -> Self {
        Self { numbers: HashMap::new(), keys: Vec::new(), list: vec![V::default()] }
    }

    /// How many entries there are.
    fn mark(&self) -> usize {
        self.keys.len()
    }

    /// Forgets the entries that were added since.
    fn back_to(&mut self, mark: usize) {
        for key in self.keys.drain(mark.min(self.keys.len())..) {
            self.numbers.remove(&key);
            self.list.pop();
        }
    }

    fn known(&self, key: &K) -> Option<i32> {
        self.numbers.get(key).copied()
    }

    fn add(&mut self, key: K, value: V) -> i32 {
        let number = i32::try_from(self.list.len()).unwrap_or(0);
        self.list.push(value);
        self.keys.push(key.clone());
        self.numbers.insert(key, number);
        number
    }
}

/// A request while it is made.
#[derive(Debug)]
struct Draft {
    strings: Table<Arc<str>, String>,
    functions: Table<(i32, i32), Function>,
    mappings: Table<Arc<Origin>, Mapping>,
    attributes: Table<(i32, Arc<str>), KeyValueAndUnit>,
    locations: Table<u32, Location>,
    stack_table: Table<Box<[u32]>, Stack>,
    links: Table<SpanLink, Link>,
    profiles: Vec<ResourceProfiles>,
    owners: Vec<(Owner, String)>,
    /// What all of it takes on the wire, or a little less.
    bytes: usize,
}

/// How far a draft was.
#[derive(Debug, Clone, Copy)]
struct Marks {
    tables: [usize; 7],
    bytes: usize,
}

impl Draft {
    fn new() -> Self {
        let mut strings = Table::new();
        strings.numbers.insert(Arc::from(""), 0);
        Self {
            strings,
            functions: Table::new(),
            mappings: Table::new(),
            attributes: Table::new(),
            locations: Table::new(),
            stack_table: Table::new(),
            links: Table::new(),
            profiles: Vec::new(),
            owners: Vec::new(),
            bytes: 0,
        }
    }

    fn marks(&self) -> Marks {
        let Self {
            strings, functions, mappings, attributes, locations, stack_table, links, ..
        } = self;
        let tables = [
            strings.mark(),
            functions.mark(),
            mappings.mark(),
            attributes.mark(),
            locations.mark(),
            stack_table.mark(),
            links.mark(),
        ];
        Marks { tables, bytes: self.bytes }
    }

    fn back_to(&mut self, Marks { tables, bytes }: Marks) {
        let [strings, functions, mappings, attributes, locations, stacks, links] = tables;
        self.strings.back_to(strings);
        self.functions.back_to(functions);
        self.mappings.back_to(mappings);
        self.attributes.back_to(attributes);
        self.locations.back_to(locations);
        self.stack_table.back_to(stacks);
        self.links.back_to(links);
        self.bytes = bytes;
    }

    /// Counts what an entry takes.
    fn paid<V: Message>(&mut self, entry: V) -> V {
        self.bytes += entry.encoded_len() + HEAD_BYTES;
        entry
    }

    fn sample(&mut self, row: &Row, interval: Interval, places: &Places) -> Sample {
        let Row { stack, link, seen } = row;
        let (values, timestamps_unix_nano) = match seen {
            Seen::Times(count) => (vec![i64::try_from(*count).unwrap_or(i64::MAX)], Vec::new()),
            // Each counts one.
            Seen::At(times) => {
                (Vec::new(), times.iter().map(|time| interval.clock.wall(*time)).collect())
            }
        };
        let (stack_index, attribute_indices) = (self.stack(stack, places), Vec::new());
        let link_index = link.map_or(0, |link| self.link(link));
        self.paid(Sample {
            stack_index,
            attribute_indices,
            link_index,
            values,
            timestamps_unix_nano,
        })
    }

    fn link(&mut self, link: SpanLink) -> i32 {
        self.links.known(&link).unwrap_or_else(|| {
            let SpanLink { trace_id, span_id } = link;
            let entry = Link { trace_id: trace_id.to_vec(), span_id: span_id.to_vec() };
            let entry = self.paid(entry);
            self.links.add(link, entry)
        })
    }

    /// Samples of one process; none make no profile.
    fn add(&mut self, process: &(Owner, String), interval: Interval, samples: Vec<Sample>) {
        if samples.is_empty() {
            return;
        }
        self.bytes += PROFILE_BYTES;
        let Interval { start, end, clock, hertz } = interval;
        let profile = Profile {
            sample_type: Some(self.value_type("samples", "count")),
            samples,
            time_unix_nano: clock.wall(start),
            duration_nano: end.saturating_sub(start),
            period_type: Some(self.value_type("cpu", "nanoseconds")),
            period: i64::try_from(1_000_000_000 / hertz.max(1)).unwrap_or(0),
            profile_id: rand::random::<u128>().max(1).to_be_bytes().to_vec(),
            ..Profile::default()
        };
        let scope =
            ScopeProfiles { scope: Some(scope()), profiles: vec![profile], ..Default::default() };
        self.profiles.push(ResourceProfiles { scope_profiles: vec![scope], ..Default::default() });
        self.owners.push(process.clone());
    }

    fn value_type(&mut self, name: &str, unit: &str) -> ValueType {
        ValueType {
            type_strindex: self.string(&Arc::from(name)),
            unit_strindex: self.string(&Arc::from(unit)),
        }
    }

    fn string(&mut self, text: &Arc<str>) -> i32 {
        let known = self.strings.known(text);
        known.unwrap_or_else(|| {
            self.bytes += text.len() + HEAD_BYTES;
            self.strings.add(Arc::clone(text), text.to_string())
        })
    }

    fn stack(&mut self, stack: &[u32], places: &Places) -> i32 {
        let stack: Box<[u32]> = Box::from(stack);
        if let Some(known) = self.stack_table.known(&stack) {
            return known;
        }
        let location_indices = stack.iter().map(|number| self.location(*number, places)).collect();
        let entry = self.paid(Stack { location_indices });
        self.stack_table.add(stack, entry)
    }

    fn location(&mut self, number: u32, places: &Places) -> i32 {
        if let Some(known) = self.locations.known(&number) {
            return known;
        }
        let Some(place) = places.place(number) else { return 0 };
        let Place { kind, origin, address, lines } = &**place;
        let kind = match kind {
            Kind::Native => "native",
            Kind::Kernel => "kernel",
            Kind::Made => "jit",
        };
        let location = Location {
            mapping_index: self.mapping(origin),
            address: *address,
            lines: lines.iter().map(|line| self.line(line)).collect(),
            attribute_indices: vec![self.attribute("profile.frame.type", &Arc::from(kind))],
        };
        let location = self.paid(location);
        self.locations.add(number, location)
    }

    fn line(&mut self, line: &frames::Line) -> Line {
        let (name, file) = (self.string(&line.function), self.string(&line.file));
        let known = self.functions.known(&(name, file));
        let function_index = known.unwrap_or_else(|| {
            let filename_strindex = file;
            let function =
                Function { name_strindex: name, filename_strindex, ..Default::default() };
            let function = self.paid(function);
            self.functions.add((name, file), function)
        });
        Line { function_index, line: i64::from(line.line), column: 0 }
    }

    fn mapping(&mut self, origin: &Arc<Origin>) -> i32 {
        if origin.name.is_empty() {
            return 0;
        }
        if let Some(known) = self.mappings.known(origin) {
            return known;
        }
        let build_id = origin.build_id.as_ref();
        let attributes =
            build_id.map(|id| self.attribute("process.executable.build_id.gnu", id)).into_iter();
        let (memory_start, memory_limit) = origin.range;
        let mapping = Mapping {
            memory_start,
            memory_limit,
            file_offset: 0,
            filename_strindex: self.string(&origin.name),
            attribute_indices: attributes.collect(),
        };
        let mapping = self.paid(mapping);
        self.mappings.add(Arc::clone(origin), mapping)
    }

    fn attribute(&mut self, key: &str, text: &Arc<str>) -> i32 {
        let key_strindex = self.string(&Arc::from(key));
        let known = self.attributes.known(&(key_strindex, Arc::clone(text)));
        known.unwrap_or_else(|| {
            let value = Some(AnyValue { value: Some(Value::StringValue(text.to_string())) });
            let attribute = self.paid(KeyValueAndUnit { key_strindex, value, unit_strindex: 0 });
            self.attributes.add((key_strindex, Arc::clone(text)), attribute)
        })
    }

    fn finish(self) -> Export {
        let dictionary = ProfilesDictionary {
            mapping_table: self.mappings.list,
            location_table: self.locations.list,
            function_table: self.functions.list,
            link_table: self.links.list,
            string_table: self.strings.list,
            attribute_table: self.attributes.list,
            stack_table: self.stack_table.list,
        };
        let request = ExportProfilesServiceRequest {
            resource_profiles: self.profiles,
            dictionary: Some(dictionary),
        };
        Export { request, owners: self.owners }
    }
}

#[cfg(test)]
mod tests;
