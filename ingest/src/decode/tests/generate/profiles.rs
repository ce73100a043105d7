//! Random requests of profiles: a dictionary, and what refers to it, now and then in vain.

use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::profiles::v1development::{
    Function, KeyValueAndUnit, Line, Link, Location, Mapping, Profile, ProfilesDictionary,
    ResourceProfiles, Sample, ScopeProfiles, Stack, ValueType,
};

use super::Dice;

/// Entries of each table.
const ENTRIES: usize = 5;

impl Dice {
    /// Of an entry that is there, nearly always.
    fn index(&mut self) -> i32 {
        if self.one_in(150) {
            return self.pick(&[-1, 5, 99, i32::MAX]);
        }
        i32::try_from(self.below(ENTRIES)).unwrap_or_default()
    }

    fn indices(&mut self) -> Vec<i32> {
        self.many(3, Self::index)
    }

    /// A table of as many entries as indices may refer to, the first of which is empty.
    fn table<T: Default>(&mut self, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let entries = if self.one_in(20) { self.below(ENTRIES) } else { ENTRIES };
        let first = self.one_in(10);
        let one = |at| if at == 0 && !first { T::default() } else { make(self) };
        (0..entries).map(one).collect()
    }

    fn address(&mut self) -> u64 {
        self.pick(&[0, 1, 4096, 0x7f00_1234_5678, u64::MAX])
    }

    fn line(&mut self) -> Line {
        Line { function_index: self.index(), line: self.number(), column: self.number() }
    }

    fn dictionary(&mut self) -> ProfilesDictionary {
        ProfilesDictionary {
            mapping_table: self.table(|dice| Mapping {
                memory_start: dice.address(),
                memory_limit: dice.address(),
                file_offset: dice.address(),
                filename_strindex: dice.index(),
                attribute_indices: dice.indices(),
            }),
            location_table: self.table(|dice| Location {
                mapping_index: dice.index(),
                address: dice.address(),
                lines: dice.many(2, Self::line),
                attribute_indices: dice.indices(),
            }),
            function_table: self.table(|dice| Function {
                name_strindex: dice.index(),
                system_name_strindex: dice.index(),
                filename_strindex: dice.index(),
                start_line: dice.number(),
            }),
            link_table: self.table(|dice| Link {
                trace_id: if dice.one_in(8) { vec![0; 16] } else { dice.id(16, true) },
                span_id: if dice.one_in(8) { vec![0; 8] } else { dice.id(8, true) },
            }),
            string_table: self.table(Self::text),
            attribute_table: self.table(|dice| KeyValueAndUnit {
                key_strindex: dice.index(),
                value: dice.maybe(|dice| dice.any_value(0)),
                unit_strindex: if dice.one_in(2) { 0 } else { dice.index() },
            }),
            stack_table: self.table(|dice| Stack { location_indices: dice.many(6, Self::index) }),
        }
    }

    fn value_type(&mut self) -> ValueType {
        ValueType { type_strindex: self.index(), unit_strindex: self.index() }
    }

    fn sample(&mut self) -> Sample {
        let observations = self.below(4);
        let shape = if self.one_in(20) { 4 } else { self.below(3) };
        let (values, timestamps) = match shape {
            0 => (1, 0),
            1 => (observations, observations),
            2 => (0, observations),
            _ => (observations, self.below(3)),
        };
        let any = self.one_in(30);
        Sample {
            stack_index: self.index(),
            attribute_indices: self.indices(),
            link_index: self.index(),
            values: (0..values).map(|_| if any { self.number() } else { 7 }).collect(),
            timestamps_unix_nano: (0..timestamps).map(|_| self.time()).collect(),
        }
    }

    fn profile(&mut self) -> Profile {
        Profile {
            sample_type: self.maybe(Self::value_type),
            samples: self.many(4, Self::sample),
            time_unix_nano: self.time(),
            duration_nano: self.time(),
            period_type: self.maybe(Self::value_type),
            period: self.number(),
            profile_id: self.id(16, true),
            dropped_attributes_count: self.small(),
            original_payload_format: self.text(),
            original_payload: self.text().into_bytes(),
            attribute_indices: self.indices(),
        }
    }
}

pub(in super::super) fn profiles(dice: &mut Dice) -> ExportProfilesServiceRequest {
    let dictionary = if dice.one_in(30) { None } else { Some(dice.dictionary()) };
    let resource_profiles = dice.many(3, |dice| ResourceProfiles {
        resource: dice.maybe(Dice::resource),
        scope_profiles: dice.many(2, |dice| ScopeProfiles {
            scope: dice.maybe(Dice::scope),
            profiles: dice.many(2, Dice::profile),
            schema_url: dice.text(),
        }),
        schema_url: dice.text(),
    });
    ExportProfilesServiceRequest { resource_profiles, dictionary }
}
