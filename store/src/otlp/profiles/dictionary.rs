//! The dictionary of a request under construction.

use hashbrown::HashMap;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::profiles::v1development::{
    Function, KeyValueAndUnit, Line, Link, Location, Mapping, ProfilesDictionary, Stack,
};
use prost::Message;
use serde_json::value::RawValue;

use super::super::attributes::text_attributes;
use super::frames::{Frame, StackRow};
use crate::error::Error;

/// Equal entries are one.
#[derive(Debug)]
struct Table<T> {
    entries: Vec<T>,
    places: HashMap<Vec<u8>, i32>,
}

impl<T: Default + Message> Default for Table<T> {
    fn default() -> Self {
        let first = T::default();
        let places = HashMap::from([(first.encode_to_vec(), 0)]);
        Self { entries: vec![first], places }
    }
}

impl<T: Message> Table<T> {
    fn place(&mut self, entry: T) -> i32 {
        let next = i32::try_from(self.entries.len()).unwrap_or(i32::MAX);
        let Self { entries, places } = self;
        *places.entry(entry.encode_to_vec()).or_insert_with(|| {
            entries.push(entry);
            next
        })
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(in super::super) struct Dictionary {
    mappings: Table<Mapping>,
    locations: Table<Location>,
    functions: Table<Function>,
    links: Table<Link>,
    strings: Table<String>,
    attributes: Table<KeyValueAndUnit>,
    stacks: Table<Stack>,
    /// Texts are read once.
    known: HashMap<StackRow, i32>,
}

impl Dictionary {
    pub(in super::super) fn finish(self) -> ProfilesDictionary {
        ProfilesDictionary {
            mapping_table: self.mappings.entries,
            location_table: self.locations.entries,
            function_table: self.functions.entries,
            link_table: self.links.entries,
            string_table: self.strings.entries,
            attribute_table: self.attributes.entries,
            stack_table: self.stacks.entries,
        }
    }

    pub(super) fn string(&mut self, text: &str) -> i32 {
        self.strings.place(text.to_owned())
    }

    pub(super) fn link(&mut self, link: Link) -> i32 {
        self.links.place(link)
    }

    pub(super) fn attributes(&mut self, entries: Vec<KeyValue>) -> Vec<i32> {
        let place = |KeyValue { key, value, .. }| {
            let key_strindex = self.string(&key);
            self.attributes.place(KeyValueAndUnit { key_strindex, value, unit_strindex: 0 })
        };
        entries.into_iter().map(place).collect()
    }

    fn attributes_of(&mut self, text: Option<&RawValue>) -> Result<Vec<i32>, Error> {
        Ok(self.attributes(text_attributes(text.map(RawValue::get))?))
    }

    pub(super) fn stack(&mut self, row: &StackRow) -> Result<i32, Error> {
        if let Some(place) = self.known.get(row) {
            return Ok(*place);
        }
        let (mut location_indices, mut lines) = (Vec::new(), Vec::new());
        for (name, frame) in row.read()? {
            if !frame.unsymbolized {
                lines.push(self.line(name, &frame));
            }
            if !frame.inlined {
                location_indices.push(self.location(&frame, std::mem::take(&mut lines))?);
            }
        }
        let place = self.stacks.place(Stack { location_indices });
        self.known.insert(row.clone(), place);
        Ok(place)
    }

    fn line(&mut self, name: String, frame: &Frame<'_>) -> Line {
        let name = frame.function.clone().unwrap_or(name);
        let function = Function {
            name_strindex: self.string(&name),
            system_name_strindex: self.string(&frame.system_name),
            filename_strindex: self.string(&frame.file),
            start_line: frame.start_line,
        };
        let function_index = self.functions.place(function);
        Line { function_index, line: frame.line, column: frame.column }
    }

    fn location(&mut self, frame: &Frame<'_>, lines: Vec<Line>) -> Result<i32, Error> {
        let (memory_start, memory_limit, file_offset) = frame.bounds();
        let mapping = Mapping {
            memory_start,
            memory_limit,
            file_offset,
            filename_strindex: self.string(&frame.mapping),
            attribute_indices: self.attributes_of(frame.mapping_attributes)?,
        };
        let location = Location {
            mapping_index: self.mappings.place(mapping),
            address: frame.address(),
            lines,
            attribute_indices: self.attributes_of(frame.attributes)?,
        };
        Ok(self.locations.place(location))
    }
}
