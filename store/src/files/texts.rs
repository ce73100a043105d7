//! A column of texts that repeat, encoded from their places in a dictionary.
//!
//! Invariant: the chunk is what Parquet's own writer would make of the texts, but that its pages are
//! of version 1. That writer looks each row's text up by its letters; here a text is looked up once a
//! dictionary that comes in, and rows are numbers.

mod chunk;
mod steps;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, DictionaryArray, Int32Array, StringArray};
use arrow::datatypes::Int32Type;
use bytes::Bytes;
use hashbrown::HashMap;
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::Result;
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnDescPtr;

pub(super) use steps::steps;

/// A row without a text.
const ABSENT: u32 = u32::MAX;

/// Of a text that was not looked up yet.
const UNKNOWN: u32 = u32::MAX;

/// Unpacking a dictionary that is no longer than a page takes no longer than that.
const LONG_BYTES: usize = 16 << 10;

/// Texts of a row group, row by row.
#[derive(Debug, Default)]
pub(super) struct TextColumn {
    places: HashMap<Arc<str>, u32>,
    texts: Vec<Arc<str>>,
    text_bytes: usize,
    /// The place of each row's text.
    rows: Vec<u32>,
    /// The dictionary that came last, and the places of its texts.
    known: Option<(ArrayRef, Vec<u32>)>,
}

/// A chunk that is not in a file yet; its offsets begin with it.
pub(super) struct TextChunk {
    pub(super) bytes: Bytes,
    pub(super) close: ColumnCloseResult,
}

impl TextColumn {
    /// Adds rows, of `Dictionary(Int32, Utf8)`; `None` where they are of another type.
    pub(super) fn write(&mut self, values: &ArrayRef) -> Option<()> {
        let shared = values.as_dictionary_opt::<Int32Type>()?;
        let texts = shared.values().as_string_opt::<i32>()?;
        let mut known = match self.known.take() {
            Some((dictionary, known)) if Arc::ptr_eq(&dictionary, shared.values()) => known,
            _ => vec![UNKNOWN; texts.len()],
        };
        let nulls = shared.keys().nulls();
        self.rows.reserve(shared.len());
        for (row, key) in shared.keys().values().iter().enumerate() {
            let key = usize::try_from(*key).unwrap_or_default();
            if nulls.is_some_and(|nulls| nulls.is_null(row)) || texts.is_null(key) {
                self.rows.push(ABSENT);
                continue;
            }
            if known[key] == UNKNOWN {
                known[key] = self.place(texts.value(key))?;
            }
            self.rows.push(known[key]);
        }
        self.known = Some((Arc::clone(shared.values()), known));
        Some(())
    }

    fn place(&mut self, text: &str) -> Option<u32> {
        if let Some(place) = self.places.get(text) {
            return Some(*place);
        }
        let place = u32::try_from(self.texts.len()).ok()?;
        let text: Arc<str> = text.into();
        self.text_bytes += text.len();
        self.places.insert(Arc::clone(&text), place);
        self.texts.push(text);
        Some(place)
    }

    /// Whether the texts are short enough for one page of a dictionary.
    pub(super) const fn fits(&self, dictionary_bytes_max: usize) -> bool {
        self.text_bytes <= dictionary_bytes_max
    }

    /// Whether a quarter of the texts were not there before, and they are long in all.
    pub(super) fn seldom_repeat(&self) -> bool {
        let here = self.rows.iter().filter(|place| **place != ABSENT).count();
        self.text_bytes > LONG_BYTES && self.texts.len() * 4 > here
    }

    /// All rows as they came, for another writer.
    pub(super) fn rows(&self) -> Result<ArrayRef> {
        let keys = self.rows.iter().map(|place| i32::try_from(*place).ok());
        let texts = StringArray::from_iter_values(self.texts.iter().map(|text| &**text));
        let rows = DictionaryArray::try_new(keys.collect::<Int32Array>(), Arc::new(texts))?;
        Ok(Arc::new(rows))
    }

    /// Encodes all rows.
    pub(super) fn encode(
        &self,
        column: &ColumnDescPtr,
        properties: &WriterProperties,
    ) -> Result<TextChunk> {
        let texts: Vec<&str> = self.texts.iter().map(|text| &**text).collect();
        chunk::write(&texts, &self.rows, column, properties)
    }
}

#[cfg(test)]
mod tests;
