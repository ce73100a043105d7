//! Rows by the resource and the scope that they came from.
//!
//! Invariant: each row is in exactly one group, and two rows are in one group exactly where their
//! resource and scope are equal, whichever entries have a column in their batch.

use arrow::array::{AsArray, RecordBatch, UInt32Array};
use hashbrown::HashMap;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;

use super::attributes::{entity_refs, text_attributes};
use super::rows::Rows;
use crate::error::Error;
use crate::files::cells::Texts;
use crate::model::Table;
use crate::model::value::{parse_object, write_value};
use crate::model::{Value, value::ObjectWriter};
use crate::schema::MapColumn;

/// Reads one record of a batch.
pub(super) trait RecordReader<'a>: Sized {
    /// What a row becomes.
    type Record;

    /// Finds the columns.
    fn new(rows: &Rows<'a>) -> Result<Self, Error>;

    /// The record of one row.
    fn record(&self, row: usize) -> Result<Self::Record, Error>;
}

/// One resource and all that came from it.
#[derive(Debug)]
pub(super) struct ResourceGroup<T> {
    pub(super) resource: Resource,
    pub(super) schema_url: String,
    pub(super) scopes: Vec<ScopeGroup<T>>,
}

/// One scope of a resource and its records.
#[derive(Debug)]
pub(super) struct ScopeGroup<T> {
    pub(super) scope: InstrumentationScope,
    pub(super) schema_url: String,
    pub(super) records: Vec<T>,
}

/// All rows, in the order of their first resource and scope.
pub(super) fn grouped<'a, R: RecordReader<'a>>(
    table: Table,
    batches: &'a [RecordBatch],
) -> Result<Vec<ResourceGroup<R::Record>>, Error> {
    let mut groups = Groups::default();
    for batch in batches {
        let rows = Rows::new(table, batch);
        let reader = R::new(&rows)?;
        let resources = rows.map(MapColumn::Resource).shared_texts(batch.num_rows());
        let resource_texts = resources.values().as_string::<i32>();
        let origins = Origins::new(&rows)?;
        // Rows of one origin stand together: most rows are of the origin before them.
        let mut places: HashMap<Origin<'_>, (usize, usize)> = HashMap::new();
        for row in 0..batch.num_rows() {
            let text = resources.key(row).map(|key| resource_texts.value(key));
            let origin = origins.get(row, text);
            let (resource, scope) = match places.get(&origin) {
                Some(place) => *place,
                None => *places.entry(origin).insert(groups.place(&origin)?).get(),
            };
            groups.resources[resource].scopes[scope].records.push(reader.record(row)?);
        }
    }
    Ok(groups.resources)
}

/// Where a row came from, as its columns say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Origin<'a> {
    resource: Option<&'a str>,
    resource_dropped: u32,
    resource_schema_url: Option<&'a str>,
    entity_refs: Option<&'a str>,
    name: Option<&'a str>,
    version: Option<&'a str>,
    attributes: Option<&'a str>,
    dropped: u32,
    schema_url: Option<&'a str>,
}

struct Origins<'a> {
    resource_dropped: &'a UInt32Array,
    resource_schema_url: Texts<'a>,
    entity_refs: Texts<'a>,
    name: Texts<'a>,
    version: Texts<'a>,
    attributes: Texts<'a>,
    dropped: &'a UInt32Array,
    schema_url: Texts<'a>,
}

impl<'a> Origins<'a> {
    fn new(rows: &Rows<'a>) -> Result<Self, Error> {
        Ok(Self {
            resource_dropped: rows.counts("resource_dropped_attributes_count")?,
            resource_schema_url: rows.texts("resource_schema_url")?,
            entity_refs: rows.texts("resource_entity_refs")?,
            name: rows.texts("scope_name")?,
            version: rows.texts("scope_version")?,
            attributes: rows.texts("scope_attributes")?,
            dropped: rows.counts("scope_dropped_attributes_count")?,
            schema_url: rows.texts("scope_schema_url")?,
        })
    }

    fn get<'r>(&self, row: usize, resource: Option<&'r str>) -> Origin<'r>
    where
        'a: 'r,
    {
        Origin {
            resource,
            resource_dropped: self.resource_dropped.value(row),
            resource_schema_url: self.resource_schema_url.get(row),
            entity_refs: self.entity_refs.get(row),
            name: self.name.get(row),
            version: self.version.get(row),
            attributes: self.attributes.get(row),
            dropped: self.dropped.value(row),
            schema_url: self.schema_url.get(row),
        }
    }
}

/// What makes two resources the same: their entries sorted, and the rest.
type ResourceKey = (String, u32, String, String);
type ScopeKey = (usize, String, String, String, u32, String);

#[derive(Debug)]
struct Groups<T> {
    resources: Vec<ResourceGroup<T>>,
    resource_places: HashMap<ResourceKey, usize>,
    scope_places: HashMap<ScopeKey, usize>,
}

impl<T> Default for Groups<T> {
    fn default() -> Self {
        Self {
            resources: Vec::new(),
            resource_places: HashMap::new(),
            scope_places: HashMap::new(),
        }
    }
}

impl<T> Groups<T> {
    /// Where records of this origin go, making room where there is none yet.
    fn place(&mut self, origin: &Origin<'_>) -> Result<(usize, usize), Error> {
        let resource = self.resource_place(origin)?;
        let Origin { name, version, attributes, dropped, schema_url, .. } = *origin;
        let own = |text: Option<&str>| text.unwrap_or_default().to_owned();
        let entries = text_attributes(attributes)?;
        let sorted = sorted_text(attributes, &entries);
        let key = (resource, own(name), own(version), sorted, dropped, own(schema_url));
        if let Some(scope) = self.scope_places.get(&key) {
            return Ok((resource, *scope));
        }
        let scopes = &mut self.resources[resource].scopes;
        scopes.push(ScopeGroup {
            scope: InstrumentationScope {
                name: own(name),
                version: own(version),
                attributes: entries,
                dropped_attributes_count: dropped,
            },
            schema_url: own(schema_url),
            records: Vec::new(),
        });
        self.scope_places.insert(key, scopes.len() - 1);
        Ok((resource, scopes.len() - 1))
    }

    fn resource_place(&mut self, origin: &Origin<'_>) -> Result<usize, Error> {
        let Origin { resource, resource_dropped, resource_schema_url, entity_refs: refs, .. } =
            *origin;
        let own = |text: Option<&str>| text.unwrap_or_default().to_owned();
        let entries = text_attributes(resource)?;
        let sorted = sorted_text(resource, &entries);
        let key = (sorted, resource_dropped, own(resource_schema_url), own(refs));
        if let Some(place) = self.resource_places.get(&key) {
            return Ok(*place);
        }
        self.resources.push(ResourceGroup {
            resource: Resource {
                attributes: entries,
                dropped_attributes_count: resource_dropped,
                entity_refs: entity_refs(refs)?,
            },
            schema_url: own(resource_schema_url),
            scopes: Vec::new(),
        });
        self.resource_places.insert(key, self.resources.len() - 1);
        Ok(self.resources.len() - 1)
    }
}

/// The text of a map with its keys sorted, those of one key in their order.
fn sorted_text(text: Option<&str>, entries: &[KeyValue]) -> String {
    let unsorted = text.unwrap_or_default();
    if entries.is_sorted_by(|one, other| one.key <= other.key) {
        return unsorted.to_owned();
    }
    let Ok(mut entries): Result<Vec<(String, Value)>, _> = parse_object(unsorted) else {
        return unsorted.to_owned();
    };
    entries.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut sorted = String::with_capacity(unsorted.len());
    let mut object = ObjectWriter::new(&mut sorted);
    for (key, value) in &entries {
        write_value(object.key(key), value);
    }
    object.finish();
    sorted
}
