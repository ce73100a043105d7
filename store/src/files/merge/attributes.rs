//! Which keys have a column in the output, and how its columns come out of each input's.
//!
//! Invariant: no entry is lost or doubled. What loses its column goes into the overflow of its
//! row, before what was there; what gets one leaves the overflow only where it is the first entry
//! of its key, so that of a repeated key the first stays the first.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanBuilder, Float64Builder, Int64Builder, RecordBatch,
    StringBuilder, StringDictionaryBuilder,
};
use arrow::compute::cast;
use arrow::datatypes::{FieldRef, Int32Type, Int64Type};
use object_store::ObjectStore;

use super::super::cells::{Cells, MapCells, Texts};
use super::super::columns::{Key, choose};
use super::super::ints::{INTS, is_part, split_part};
use super::super::overflow::{EntriesSeen, column_kind};
use super::input::Input;
use crate::error::Error;
use crate::model::Value;
use crate::model::value::{ObjectWriter, find_key, parse_value, raw_entries};
use crate::schema::{AttributeType, MapColumn};
use crate::work::off_runtime;

/// The keys with a column in the output.
pub(super) type Chosen = BTreeMap<Key, AttributeType>;

/// Decides from footers, and from the overflow where there is any.
pub(super) async fn decide(
    bucket: &Arc<dyn ObjectStore>,
    inputs: &Arc<Vec<Input>>,
) -> Result<Chosen, Error> {
    let mut entries = EntriesSeen::default();
    for at in 0..inputs.len() {
        entries = count_overflow(bucket, inputs, at, entries).await?;
    }
    for input in inputs.iter() {
        for ((key, kind), count) in column_entries(input) {
            *entries.0.entry((key, kind)).or_default() += count;
        }
    }
    let rows: u64 = inputs.iter().map(|input| input.entry.rows).sum();
    let rows = usize::try_from(rows).unwrap_or(usize::MAX);
    Ok(choose(entries.0.iter().map(|((key, kind), count)| ((key, *kind), *count)), rows))
}

/// How many rows have an entry in each attribute column, as the footer says.
fn column_entries(input: &Input) -> impl Iterator<Item = ((Key, AttributeType), usize)> {
    input.entry.layout.attributes.iter().map(|attribute| {
        let name = attribute.map.column(&attribute.key);
        let chunks = input.metadata().row_groups().iter().flat_map(|group| group.columns());
        let chunks = chunks.filter(|chunk| chunk.column_path().parts() == [name.as_str()]);
        let entries = chunks.map(|chunk| {
            let nulls = chunk.statistics().and_then(|statistics| statistics.null_count_opt());
            let nulls = nulls.and_then(|nulls| i64::try_from(nulls).ok()).unwrap_or_default();
            usize::try_from(chunk.num_values() - nulls).unwrap_or_default()
        });
        (((attribute.map, attribute.key.clone()), attribute.kind), entries.sum())
    })
}

async fn count_overflow(
    bucket: &Arc<dyn ObjectStore>,
    inputs: &Arc<Vec<Input>>,
    at: usize,
    mut entries: EntriesSeen,
) -> Result<EntriesSeen, Error> {
    let input = &inputs[at];
    if input.entry.layout.overflow_listed && input.entry.layout.overflow.is_empty() {
        return Ok(entries);
    }
    for (_, rows) in input.groups() {
        let names = MapColumn::ALL.map(MapColumn::name);
        let fetched = input.fetch(bucket, &rows, |root| names.contains(&root)).await?;
        let inputs = Arc::clone(inputs);
        let work = move || {
            for batch in inputs[at].decode(&fetched, &rows, &names)? {
                let batch = batch.map_err(|source| arrow_failed("count attributes", source))?;
                for map in MapColumn::ALL {
                    if let Some(texts) = batch.column_by_name(map.name()) {
                        entries.scan(map, texts)?;
                    }
                }
            }
            Ok(entries)
        };
        entries = off_runtime("counting attributes", work).await?;
    }
    Ok(entries)
}

fn arrow_failed(action: &str, source: arrow::error::ArrowError) -> Error {
    Error::Arrow { action: action.to_owned(), source }
}

const fn kind_of_value(value: &Value) -> Option<AttributeType> {
    match value {
        Value::String(_) => Some(AttributeType::String),
        Value::Int(_) => Some(AttributeType::Int),
        Value::Double(_) => Some(AttributeType::Double),
        Value::Bool(_) => Some(AttributeType::Bool),
        _ => None,
    }
}

/// How one column of the output comes out of one input.
#[derive(Debug)]
pub(super) enum Make {
    /// As it is there.
    Copy { root: String },
    /// Of the ints of points, in a file that has them in a column.
    Ints { part: String },
    /// The overflow: with the columns that lose their place, without the entries that get one.
    Overflow { map: MapColumn, leaving: Vec<String>, lifted: Vec<Lift> },
    /// A column with what the overflow has of its key.
    Lifted { map: MapColumn, lift: Lift },
}

/// Entries of one key that leave the overflow.
#[derive(Debug)]
pub(super) struct Lift {
    key: String,
    kind: AttributeType,
    /// The input's own column of the key, of whichever type: where it has a value, that is the
    /// first entry, and the overflow stays.
    own: Option<String>,
}

impl Lift {
    fn of(input: &Input, key: &Key, kind: AttributeType) -> Option<Self> {
        let entry = &input.entry;
        let listed = entry.layout.overflow.iter();
        let mut listed = listed.filter(|other| other.map == key.0 && other.key == key.1);
        if entry.layout.overflow_listed && !listed.any(|other| other.kinds.contains(&kind)) {
            return None;
        }
        let mut own = entry.layout.attributes.iter();
        let own = own.find(|column| column.map == key.0 && column.key == key.1);
        let own = own.map(|_| key.0.column(&key.1));
        Some(Self { key: key.1.clone(), kind, own })
    }

    /// The entry that leaves the overflow text of a row.
    fn value(&self, own: Option<&Cells<'_>>, text: Option<&str>, row: usize) -> Option<Value> {
        if own.is_some_and(|own| own.value(row).is_some()) {
            return None;
        }
        let raw = find_key(text?, &self.key)?;
        let value = (column_kind(raw) == Some(self.kind)).then(|| parse_value(raw).ok()).flatten();
        // What left the overflow must fit the column: a figure too large for an int stays.
        value.filter(|value| kind_of_value(value) == Some(self.kind))
    }
}

impl Make {
    /// How `field`, a column of the output, comes out of `input`; `None` where it has nothing
    /// of it.
    pub(super) fn of(input: &Input, field: &FieldRef, chosen: &Chosen) -> Option<Self> {
        let root = field.name();
        if let Some((map, key)) = MapColumn::parse(root) {
            let key = (map, key.to_owned());
            let kind = *chosen.get(&key)?;
            if let Some(lift) = Lift::of(input, &key, kind) {
                return Some(Self::Lifted { map, lift });
            }
            let same = input.data_type(root).and_then(AttributeType::of) == Some(kind);
            return same.then(|| Self::Copy { root: root.clone() });
        }
        if let Some(map) = MapColumn::ALL.into_iter().find(|map| map.name() == root) {
            let leaving = input.entry.layout.attributes.iter().filter(|column| {
                column.map == map && chosen.get(&(map, column.key.clone())) != Some(&column.kind)
            });
            let leaving: Vec<_> = leaving.map(|column| map.column(&column.key)).collect();
            let lifted = chosen.iter().filter(|(key, _)| key.0 == map);
            let lifted: Vec<_> =
                lifted.filter_map(|(key, kind)| Lift::of(input, key, *kind)).collect();
            if !(leaving.is_empty() && lifted.is_empty()) {
                return Some(Self::Overflow { map, leaving, lifted });
            }
        }
        if is_part(root) && input.data_type(INTS).is_some() {
            return Some(Self::Ints { part: root.clone() });
        }
        Some(Self::Copy { root: root.clone() })
    }

    /// The input's columns that it is made from.
    pub(super) fn roots(&self) -> Vec<&str> {
        match self {
            Self::Copy { root } => vec![root],
            Self::Ints { .. } => vec![INTS],
            Self::Overflow { map, leaving, lifted } => {
                let own = lifted.iter().filter_map(|lift| lift.own.as_deref());
                let mut roots: Vec<_> = leaving.iter().map(String::as_str).chain(own).collect();
                roots.push(map.name());
                roots
            }
            Self::Lifted { map, lift } => {
                lift.own.as_deref().into_iter().chain([map.name()]).collect()
            }
        }
    }

    /// The column, for a batch of those.
    pub(super) fn apply(&self, input: &Input, batch: &RecordBatch) -> Result<ArrayRef, Error> {
        match self {
            Self::Copy { root } => column(input, batch, root).cloned(),
            Self::Ints { part } => {
                let ints = column(input, batch, INTS)?.as_primitive_opt::<Int64Type>();
                let part = ints.and_then(|ints| split_part(part, ints));
                part.ok_or_else(|| input.damaged(format!("`{INTS}` is of another type")))
            }
            Self::Overflow { map, leaving, lifted } => {
                overflow(input, batch, *map, leaving, lifted)
            }
            Self::Lifted { map, lift } => with_lifted(input, batch, *map, lift),
        }
    }
}

fn column<'a>(input: &Input, batch: &'a RecordBatch, root: &str) -> Result<&'a ArrayRef, Error> {
    batch.column_by_name(root).ok_or_else(|| input.damaged(format!("it has no column `{root}`")))
}

fn overflow(
    input: &Input,
    batch: &RecordBatch,
    map: MapColumn,
    leaving: &[String],
    lifted: &[Lift],
) -> Result<ArrayRef, Error> {
    let before = column(input, batch, map.name())?;
    let rows = batch.num_rows();
    let mut columns = Vec::with_capacity(leaving.len());
    for root in leaving {
        let key = MapColumn::parse(root).map_or("", |(_, key)| key);
        columns.push((key, column(input, batch, root)?));
    }
    let joined: ArrayRef = match (columns.is_empty(), map) {
        (true, _) => Arc::clone(before),
        (false, MapColumn::Attributes) => {
            Arc::new(MapCells::new(columns, Some(before)).texts(rows))
        }
        (false, MapColumn::Resource) => {
            Arc::new(MapCells::new(columns, Some(before)).shared_texts(rows))
        }
    };
    if lifted.is_empty() || before.null_count() == rows {
        return Ok(joined);
    }
    let texts = |column| Texts::of(column).ok_or_else(|| input.damaged("no texts".to_owned()));
    let (before, joined_texts) = (texts(before)?, texts(&joined)?);
    let own: Vec<Option<Cells<'_>>> = lifted.iter().map(|lift| own(batch, lift)).collect();
    let mut out = StringBuilder::with_capacity(rows, 0);
    for row in 0..rows {
        let gone = lifted
            .iter()
            .zip(&own)
            .filter(|(lift, own)| lift.value(own.as_ref(), before.get(row), row).is_some());
        let gone: Vec<&str> = gone.map(|(lift, _)| lift.key.as_str()).collect();
        out.append_option(joined_texts.get(row).and_then(|text| without(text, gone)));
    }
    cast(&out.finish(), joined.data_type())
        .map_err(|source| arrow_failed("lift attributes", source))
}

/// A text without the first entry of each of these keys; nothing where no entry is left.
fn without(text: &str, mut gone: Vec<&str>) -> Option<String> {
    if gone.is_empty() {
        return Some(text.to_owned());
    }
    let Some(mut left) = raw_entries(text) else { return Some(text.to_owned()) };
    left.retain(|(key, _)| {
        let at = gone.iter().position(|gone| gone == key);
        at.map(|at| gone.swap_remove(at)).is_none()
    });
    if left.is_empty() {
        return None;
    }
    let mut text = String::new();
    let mut object = ObjectWriter::new(&mut text);
    for (key, raw) in left {
        object.key(&key).push_str(raw);
    }
    object.finish();
    Some(text)
}

fn own<'a>(batch: &'a RecordBatch, lift: &Lift) -> Option<Cells<'a>> {
    batch.column_by_name(lift.own.as_ref()?).and_then(Cells::of)
}

fn with_lifted(
    input: &Input,
    batch: &RecordBatch,
    map: MapColumn,
    lift: &Lift,
) -> Result<ArrayRef, Error> {
    let overflow = column(input, batch, map.name())?;
    let own_column = lift.own.as_ref().and_then(|own| batch.column_by_name(own));
    let same = |column: &&ArrayRef| AttributeType::of(column.data_type()) == Some(lift.kind);
    if overflow.null_count() == overflow.len()
        && let Some(column) = own_column.filter(same)
    {
        return Ok(Arc::clone(column));
    }
    let texts = Texts::of(overflow).ok_or_else(|| input.damaged("no texts".to_owned()))?;
    let own = own(batch, lift);
    let here = own.as_ref().filter(|_| own_column.as_ref().is_some_and(same));
    let values = (0..batch.num_rows()).map(|row| {
        let here = here.and_then(|cells| cells.value(row));
        here.or_else(|| lift.value(own.as_ref(), texts.get(row), row))
    });
    Ok(column_of(lift.kind, values))
}

/// A column of one type; what is of another is left out, and never is.
fn column_of(kind: AttributeType, values: impl Iterator<Item = Option<Value>>) -> ArrayRef {
    match kind {
        AttributeType::String => {
            let mut out = StringDictionaryBuilder::<Int32Type>::new();
            values.for_each(|value| match value {
                Some(Value::String(text)) => out.append_value(text),
                _ => out.append_null(),
            });
            Arc::new(out.finish())
        }
        AttributeType::Int => {
            let mut out = Int64Builder::new();
            values.for_each(|value| match value {
                Some(Value::Int(number)) => out.append_value(number),
                _ => out.append_null(),
            });
            Arc::new(out.finish())
        }
        AttributeType::Double => {
            let mut out = Float64Builder::new();
            values.for_each(|value| match value {
                Some(Value::Double(number)) => out.append_value(number),
                _ => out.append_null(),
            });
            Arc::new(out.finish())
        }
        AttributeType::Bool => {
            let mut out = BooleanBuilder::new();
            values.for_each(|value| match value {
                Some(Value::Bool(flag)) => out.append_value(flag),
                _ => out.append_null(),
            });
            Arc::new(out.finish())
        }
    }
}
