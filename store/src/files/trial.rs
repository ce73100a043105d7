//! How a column of numbers is encoded shortest, found out by trying on a part of it.
//!
//! No encoding of Parquet suits all numbers: a counter, a random walk and a clock that ticks alike in
//! many series each want another, and a column of metrics is any of them, from one row group to the
//! next. Each trial costs what half a row group's column takes to encode.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};

/// Values that are tried: some pages, so that what repeats from one series to the next is seen.
const VALUES: usize = 32_768;

/// How numbers can be encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Numbers {
    Dictionary,
    Straight(Encoding),
}

/// Every reader knows these. `BYTE_STREAM_SPLIT` of whole numbers would often be shorter still, but
/// not every reader knows it.
const WHOLE: [Numbers; 3] = [
    Numbers::Straight(Encoding::DELTA_BINARY_PACKED),
    Numbers::Straight(Encoding::PLAIN),
    Numbers::Dictionary,
];
const DOUBLE: [Numbers; 3] = [
    Numbers::Straight(Encoding::BYTE_STREAM_SPLIT),
    Numbers::Straight(Encoding::PLAIN),
    Numbers::Dictionary,
];

/// The shortest way for these values; `None` where they are no numbers or none is there to try.
pub(super) fn shortest(values: &ArrayRef, compression: Compression) -> Option<Numbers> {
    let ways = match values.data_type() {
        DataType::Float64 => DOUBLE,
        DataType::Int16 | DataType::Int32 | DataType::UInt32 => WHOLE,
        DataType::Int64 | DataType::UInt64 | DataType::Timestamp(_, _) => WHOLE,
        _ => return None,
    };
    let tried = values.slice(
        (values.len() / 3).min(values.len().saturating_sub(VALUES)),
        VALUES.min(values.len()),
    );
    if tried.null_count() == tried.len() {
        return None;
    }
    // A way that cannot be tried is not taken.
    let sizes =
        ways.into_iter().filter_map(|way| Some((size(&tried, way, compression).ok()?, way)));
    sizes.min_by_key(|(bytes, _)| *bytes).map(|(_, way)| way)
}

/// Bytes of a file with these values alone: what is not theirs is the same each way.
fn size(values: &ArrayRef, way: Numbers, compression: Compression) -> Result<usize, ParquetError> {
    let properties = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_2_0)
        .set_compression(compression)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_dictionary_enabled(way == Numbers::Dictionary);
    let properties = match way {
        Numbers::Dictionary => properties,
        Numbers::Straight(encoding) => properties.set_encoding(encoding),
    };
    let field = Field::new("numbers", values.data_type().clone(), true);
    let schema = Arc::new(Schema::new(vec![field]));
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::clone(values)])?;
    let mut writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties.build()))?;
    writer.write(&batch)?;
    Ok(writer.into_inner()?.len())
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

    use arrow::array::{Float64Array, Int64Array, StringArray};

    use super::*;

    fn way(values: impl Array + 'static) -> Option<Numbers> {
        shortest(&(Arc::new(values) as ArrayRef), Compression::ZSTD(Default::default()))
    }

    /// As good as random.
    fn mixed(at: i64) -> i64 {
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        hasher.hash_one(at).cast_signed()
    }

    /// Scenario: a steady counter, one pattern again and again, few values in any order, doubles
    /// that are near each other, nulls, and texts.
    /// Guarantees: each gets what it is for.
    #[test]
    fn each_kind_of_numbers_has_its_way() {
        let steady =
            Int64Array::from_iter_values((0..50_000).map(|at| at * 1_000 + (mixed(at) & 63)));
        assert_eq!(way(steady), Some(Numbers::Straight(Encoding::DELTA_BINARY_PACKED)));
        let pattern = Int64Array::from_iter_values((0..50_000).map(|at| mixed(at % 240)));
        assert_ne!(way(pattern), Some(Numbers::Straight(Encoding::DELTA_BINARY_PACKED)));
        let few = Int64Array::from_iter_values((0..50_000).map(|at| mixed(mixed(at) & 3)));
        assert_eq!(way(few), Some(Numbers::Dictionary));
        let near = (0..50_000).map(|at| 0.5 + (mixed(at) & 0xffff) as f64 * 1e-9);
        let split = Numbers::Straight(Encoding::BYTE_STREAM_SPLIT);
        assert_eq!(way(Float64Array::from_iter_values(near)), Some(split));
        assert_eq!(way(Float64Array::from(vec![None; 10])), None);
        assert_eq!(way(Float64Array::from(Vec::<f64>::new())), None);
        assert_eq!(way(StringArray::from(vec!["a"])), None);
    }
}
