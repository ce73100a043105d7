//! What the rows of a request of profiles should be: references are looked up in the structs first.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::profiles::v1development::{
    Line, Location, Mapping, Profile, ProfilesDictionary, Sample,
};
use prost::{DecodeError, Message};

use super::super::plain::{NULL, list, text};
use super::{
    Expected, Item, id_or_null, json, object, option, optional, or_null, row, shared, time,
};

pub(super) fn expect(payload: &[u8]) -> Result<Expected, DecodeError> {
    let request = ExportProfilesServiceRequest::decode(payload)?;
    let mut expected = Expected::default();
    let dictionary = Dictionary(request.dictionary.unwrap_or_default());
    for owner in request.resource_profiles {
        let resource = dictionary.attributes_of(owner.resource, |it| &mut it.attributes);
        for scope in owner.scope_profiles {
            let named = dictionary.attributes_of(scope.scope, |it| &mut it.attributes);
            let whole = resource.is_some() && named.is_some();
            let items = scope.profiles.iter().flat_map(|profile| dictionary.rows(profile));
            let items = items.map(|item| item.filter(|_| whole)).collect();
            let shared = shared(&resource.clone().flatten(), &owner.schema_url);
            expected.put(items, shared, &named.flatten(), &scope.schema_url);
        }
    }
    Ok(expected)
}

/// The entry, or the first one that means nothing.
fn entry<T: Clone + Default>(table: &[T], index: i32) -> Option<T> {
    let found = usize::try_from(index).ok().and_then(|at| table.get(at).cloned());
    found.or_else(|| (index == 0).then(T::default))
}

struct Dictionary(ProfilesDictionary);

impl Dictionary {
    fn string(&self, index: i32) -> Option<String> {
        entry(&self.0.string_table, index)
    }

    /// A resource or scope without references; `None` where one of them leads nowhere.
    #[expect(clippy::option_option, reason = "the one is damage, the other absence")]
    fn attributes_of<T>(
        &self,
        owner: Option<T>,
        attributes: impl Fn(&mut T) -> &mut Vec<KeyValue>,
    ) -> Option<Option<T>> {
        let Some(mut owner) = owner else { return Some(None) };
        self.resolve(attributes(&mut owner))?;
        Some(Some(owner))
    }

    fn resolve(&self, entries: &mut [KeyValue]) -> Option<()> {
        for entry in entries {
            if entry.key_strindex != 0 {
                entry.key = self.string(entry.key_strindex)?;
                entry.key_strindex = 0;
            }
            entry.value.as_mut().map_or(Some(()), |value| self.resolve_value(value))?;
        }
        Some(())
    }

    fn resolve_value(&self, any: &mut AnyValue) -> Option<()> {
        match &mut any.value {
            Some(Any::StringValueStrindex(index)) => {
                any.value = Some(Any::StringValue(self.string(*index)?));
                Some(())
            }
            Some(Any::ArrayValue(array)) => {
                array.values.iter_mut().try_for_each(|value| self.resolve_value(value))
            }
            Some(Any::KvlistValue(map)) => self.resolve(&mut map.values),
            _ => Some(()),
        }
    }

    fn attributes(&self, indices: &[i32]) -> Option<Vec<KeyValue>> {
        let mut entries = Vec::new();
        for index in indices {
            let mut found = entry(&self.0.attribute_table, *index)?;
            if *index == 0 && found.encode_to_vec().is_empty() {
                continue;
            }
            found.value.as_mut().map_or(Some(()), |value| self.resolve_value(value))?;
            let key = self.string(found.key_strindex)?;
            let unit = self.string(found.unit_strindex)?;
            let name = format!("{key}.unit");
            entries.push(KeyValue { key, value: found.value, key_strindex: 0 });
            if !unit.is_empty() {
                let value = Some(AnyValue { value: Some(Any::StringValue(unit)) });
                entries.push(KeyValue { key: name, value, key_strindex: 0 });
            }
        }
        Some(entries)
    }

    fn rows(&self, profile: &Profile) -> Vec<Item> {
        let mut payload_told = false;
        let rows = profile.samples.iter().map(|sample| {
            let (time, mut row) = self.row(profile, sample)?;
            if !payload_told {
                row.set("original_payload", or_null(&base64(&profile.original_payload)));
            }
            payload_told = true;
            Some((time, row))
        });
        rows.collect()
    }

    fn row(&self, profile: &Profile, sample: &Sample) -> Item {
        let sample_type = profile.sample_type.unwrap_or_default();
        let period_type = profile.period_type.unwrap_or_default();
        let start = time(profile.time_unix_nano)?;
        let link = entry(&self.0.link_table, sample.link_index)?;
        let none =
            |id: &[u8]| if id.iter().all(|byte| *byte == 0) { Vec::new() } else { id.into() };
        id_or_null(&link.trace_id, 16)?;
        id_or_null(&link.span_id, 8)?;
        let (names, frames) = self.stack(sample.stack_index)?;
        let (value, observations) = observed(sample)?;
        let profile_attributes = self.attributes(&profile.attribute_indices)?;
        let cells = vec![
            ("time", start.to_string()),
            ("duration_ns", time(profile.duration_nano)?.to_string()),
            ("sample_type", text(&self.string(sample_type.type_strindex)?)),
            ("unit", text(&self.string(sample_type.unit_strindex)?)),
            ("value", value.to_string()),
            ("stack", text(&serde_json::to_string(&names).ok()?)),
            ("frames", frames.map_or_else(|| NULL.to_owned(), |frames| text(&frames))),
            ("trace_id", id_or_null(&none(&link.trace_id), 16)?),
            ("span_id", id_or_null(&none(&link.span_id), 8)?),
            ("observations", observations),
            ("profile_id", id_or_null(&profile.profile_id, 16)?),
            ("period_type", or_null(&self.string(period_type.type_strindex)?)),
            ("period_unit", or_null(&self.string(period_type.unit_strindex)?)),
            (
                "period",
                option((profile.period != 0).then_some(profile.period), |it| it.to_string()),
            ),
            ("profile_attributes", object(&profile_attributes)),
            ("original_payload_format", or_null(&profile.original_payload_format)),
            ("original_payload", NULL.to_owned()),
        ];
        let attributes = self.attributes(&sample.attribute_indices)?;
        Some((start, row(cells, &attributes, profile.dropped_attributes_count)))
    }

    fn stack(&self, index: i32) -> Option<(Vec<String>, Option<String>)> {
        let (mut names, mut details) = (Vec::new(), Vec::new());
        for index in entry(&self.0.stack_table, index)?.location_indices {
            let location = entry(&self.0.location_table, index)?;
            let mapping = entry(&self.0.mapping_table, location.mapping_index)?;
            let lines = location.lines.iter().map(Some);
            let none = location.lines.is_empty().then_some(None);
            let lines: Vec<_> = lines.chain(none).collect();
            for (at, line) in lines.iter().enumerate() {
                let last = at + 1 == lines.len();
                let (name, detail) = self.frame(&location, &mapping, *line, last)?;
                names.push(name);
                details.push(format!("{{{}}}", detail.join(",")));
            }
        }
        let detailed = details.iter().any(|detail| detail != "{}");
        Some((names, detailed.then(|| list(details))))
    }

    /// The name and the details of a frame.
    fn frame(
        &self,
        location: &Location,
        mapping: &Mapping,
        line: Option<&Line>,
        last: bool,
    ) -> Option<(String, Vec<String>)> {
        let mut details = Details::default();
        let file = self.string(mapping.filename_strindex)?;
        let short = file.split('/').next_back().unwrap_or_default();
        let plus = if short.is_empty() { "" } else { "+" };
        let mut name = format!("{short}{plus}{:#x}", location.address);
        if let Some(line) = line {
            let function = entry(&self.0.function_table, line.function_index)?;
            let own = self.string(function.name_strindex)?;
            let system = self.string(function.system_name_strindex)?;
            if own.is_empty() {
                details.0.push("\"function\":\"\"".to_owned());
            }
            details.text("system_name", &system);
            details.text("file", &self.string(function.filename_strindex)?);
            details.number("line", line.line);
            details.number("column", line.column);
            details.number("start_line", function.start_line);
            let known = [own, system].into_iter().find(|name| !name.is_empty());
            name = known.unwrap_or(name);
        } else {
            details.0.push("\"unsymbolized\":true".to_owned());
        }
        let location_attributes = object_text(&self.attributes(&location.attribute_indices)?);
        let mapping_attributes = object_text(&self.attributes(&mapping.attribute_indices)?);
        if !last {
            details.0.push("\"inlined\":true".to_owned());
            return Some((name, details.0));
        }
        details.address("address", location.address);
        details.object("attributes", location_attributes);
        details.text("mapping", &file);
        details.address("mapping_start", mapping.memory_start);
        details.address("mapping_limit", mapping.memory_limit);
        details.address("mapping_offset", mapping.file_offset);
        details.object("mapping_attributes", mapping_attributes);
        Some((name, details.0))
    }
}

#[derive(Default)]
struct Details(Vec<String>);

impl Details {
    fn text(&mut self, key: &str, content: &str) {
        if !content.is_empty() {
            self.0.push(format!("{key:?}:{}", serde_json::to_string(content).unwrap()));
        }
    }

    fn number(&mut self, key: &str, number: i64) {
        if number != 0 {
            self.0.push(format!("{key:?}:{number}"));
        }
    }

    fn address(&mut self, key: &str, address: u64) {
        if address != 0 {
            self.0.push(format!("{key:?}:\"{address:#x}\""));
        }
    }

    fn object(&mut self, key: &str, object: Option<String>) {
        self.0.extend(object.map(|object| format!("{key:?}:{object}")));
    }
}

/// The sum, and what was observed one by one where that says more.
fn observed(sample: &Sample) -> Option<(i64, String)> {
    let Sample { values, timestamps_unix_nano, .. } = sample;
    let times: Option<Vec<i64>> = timestamps_unix_nano.iter().map(|at| time(*at)).collect();
    let times = times?;
    let (value, count) = match (values.len(), times.len()) {
        (0, 0) => return None,
        (1, 0) => (values[0], 0),
        (0, count) => (i64::try_from(count).ok()?, count),
        (values_count, count) if count == 0 || count == values_count => {
            let sum: i128 = values.iter().map(|value| i128::from(*value)).sum();
            (i64::try_from(sum).ok()?, values_count)
        }
        _ => return None,
    };
    let number = |numbers: &[i64], at| option(numbers.get(at), |number: &i64| number.to_string());
    let observations = (0..count).map(|at| list([number(&times, at), number(values, at)]));
    Some((value, list(observations)))
}

/// The JSON object of some entries, none where there are none.
fn object_text(entries: &[KeyValue]) -> Option<String> {
    let one = |entry: &KeyValue| {
        format!(
            "{}:{}",
            serde_json::to_string(&entry.key).unwrap(),
            json(&optional(entry.value.as_ref()))
        )
    };
    let entries: Vec<String> = entries.iter().map(one).collect();
    (!entries.is_empty()).then(|| format!("{{{}}}", entries.join(",")))
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
