//! Attributes that seldom repeat, and whether a dictionary is still the shortest way for them.
//!
//! To read one value of a dictionary all of it is unpacked, and it is longer than plain values where
//! most of them are new. Where the texts of a trial are more is told from looking at few.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Float64Type, Int32Type, Int64Type, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};

use super::numbers;

/// Texts that are tried: some pages of them.
const TRIED: usize = 32_768;

/// Values that are looked at to tell whether a trial is worth its time.
const SAMPLE: usize = 1_024;

/// What is better than a dictionary for values that seldom repeat; `None` where that is nothing.
pub(super) fn straight(
    values: &ArrayRef,
    compression: Compression,
    page_bytes: usize,
) -> Option<Encoding> {
    if !seldom_repeats(values) {
        return None;
    }
    if !matches!(values.data_type(), DataType::Dictionary(_, _)) {
        return numbers::best(values).and_then(numbers::Numbers::encoding);
    }
    let first = (values.len() / 3).min(values.len().saturating_sub(TRIED));
    let tried = values.slice(first, TRIED.min(values.len()));
    let size = |dictionary| size(&tried, dictionary, compression, page_bytes).ok();
    (size(false)? < size(true)?).then_some(Encoding::PLAIN)
}

/// Whether of some values that lie far apart a quarter was not there before.
fn seldom_repeats(values: &ArrayRef) -> bool {
    let valid = values.len() - values.null_count();
    let here = (0..values.len()).filter(|row| values.is_valid(*row));
    let sample = here.step_by((valid / SAMPLE).max(1)).take(SAMPLE);
    let (mut seen, mut distinct) = (0, HashSet::new());
    for row in sample {
        let value = match values.data_type() {
            DataType::Int64 => values.as_primitive::<Int64Type>().value(row).cast_unsigned(),
            DataType::Float64 => values.as_primitive::<Float64Type>().value(row).to_bits(),
            // Places in a dictionary stand for the texts.
            DataType::Dictionary(_, _) => match values.as_dictionary_opt::<Int32Type>() {
                Some(texts) => u64::from(texts.keys().value(row).cast_unsigned()),
                None => return false,
            },
            _ => return false,
        };
        seen += 1;
        distinct.insert(value);
    }
    distinct.len() * 4 > seen
}

/// Bytes of a file with these values alone: what is not theirs is the same each way.
fn size(
    values: &ArrayRef,
    dictionary: bool,
    compression: Compression,
    page_bytes: usize,
) -> Result<usize, ParquetError> {
    let properties = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_2_0)
        .set_compression(compression)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_data_page_size_limit(page_bytes)
        .set_encoding(Encoding::PLAIN)
        .set_dictionary_enabled(dictionary);
    let field = Field::new("values", values.data_type().clone(), true);
    let schema = Arc::new(Schema::new(vec![field]));
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::clone(values)])?;
    let mut writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties.build()))?;
    writer.write(&batch)?;
    Ok(writer.into_inner()?.len())
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

    use arrow::array::{BooleanArray, DictionaryArray, Int64Array};

    use super::*;

    fn way(values: impl Array + 'static) -> Option<Encoding> {
        straight(&(Arc::new(values) as ArrayRef), Compression::ZSTD(Default::default()), 16 << 10)
    }

    /// As good as random.
    fn mixed(at: i64) -> i64 {
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        hasher.hash_one(at).cast_signed()
    }

    /// Scenario: texts and numbers of which each is another, and a few again and again in any order;
    /// no values, and values that are neither.
    /// Guarantees: only the first go without a dictionary.
    #[test]
    fn what_repeats_is_in_dictionaries() {
        let texts = |distinct: i64| -> DictionaryArray<Int32Type> {
            let texts = (0..20_000).map(|at| format!("/carts/{:x}", mixed(mixed(at) % distinct)));
            let texts: Vec<String> = texts.collect();
            texts.iter().map(String::as_str).collect()
        };
        assert_eq!(way(texts(i64::MAX)), Some(Encoding::PLAIN));
        assert_eq!(way(texts(90)), None);
        let ints = |distinct: i64| {
            Int64Array::from_iter_values((0..20_000).map(|at| mixed(mixed(at) % distinct)))
        };
        assert_eq!(way(ints(i64::MAX)), Some(Encoding::PLAIN));
        assert_eq!(way(ints(90)), None);
        assert_eq!(way(Int64Array::from(vec![None; 10])), None);
        assert_eq!(way(BooleanArray::from(vec![true])), None);
    }
}
