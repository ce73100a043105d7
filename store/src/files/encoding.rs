//! How each column of a file is encoded, by its type and place.
//!
//! Measured with zstd 3 on 300,000 spans with 22 attributes, in row groups of 131,072 (`tests/size.rs` prints
//! it): 39.0 bytes a span, of which span_id 8.0, parent_span_id 6.8, trace_id 6.7, duration 3.7,
//! end 3.9, start 3.7, all attributes 5.5. Row groups of 65,536 make it 41.6, because a trace id
//! then repeats less often in one dictionary; of 262,144 36.9.

use std::collections::HashSet;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, Schema};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{
    BloomFilterPosition, DEFAULT_WRITE_BATCH_SIZE, EnabledStatistics, WriterProperties,
    WriterPropertiesBuilder, WriterVersion,
};
use parquet::schema::types::ColumnPath;

use super::numbers::{self, Numbers};
use super::order::sort_columns;
use super::seldom::straight;
use crate::model::Table;
use crate::schema::MapColumn;

/// Of compression. Over three runs of the bench each, 3 made 41.1 bytes a span of 41.5, and took
/// 2.02 to 2.17 prost units in all instead of 1.89 to 2.12, and 25 MB more memory.
const ZSTD_LEVEL: i32 = 1;

/// Of a trace id that is not in a row group to be looked for in vain; each tenth of it costs five
/// bits an id.
const BLOOM_FALSE_POSITIVES: f64 = 0.01;

/// The largest dictionary of ids: all ids of a row group, so that the choice made here stands.
const ID_DICTIONARY_BYTES_MAX: usize = 64 << 20;

/// The largest dictionary of stacks: those of a row group take some megabytes, of which a tenth is left
/// once they are compressed, and without a dictionary each row would have all of its frames.
const STACK_DICTIONARY_BYTES_MAX: usize = 32 << 20;

/// Of its compression. Stacks share their outer frames, which level 1 hardly sees: of 5,823 samples of a
/// machine that compiles, with 3,243 stacks of 34 frames, it left 46 and 31 bytes a row of names and
/// details, this one 27 and 22, in a microsecond a row more.
const STACK_ZSTD_LEVEL: i32 = 7;

/// A page of data. To read one row its page is unpacked, of every column, and a trace has its rows
/// in as many places as it has operations. In rows that is 2,048 span ids or 4,400 durations; what
/// repeats takes less room and gets longer pages, so that small pages cost few of them.
const PAGE_BYTES: usize = 16 << 10;

/// A page of a column that rows are sorted by: some thousand rows, so that the rows of one service
/// are told from their neighbours.
const SORTED_PAGE_BYTES: usize = 2 << 10;

/// A page of times in metrics: all 262,144 of a row group. Many series of one process have the same
/// times: a page must be long enough to see it.
const TIMES_PAGE_BYTES: usize = 2 << 20;

/// Of compression of times in metrics: level 1 does not see that their remainders repeat, which
/// four bytes apart take one of the point.
const TIMES_ZSTD_LEVEL: i32 = 3;

/// Of attributes that are numbers, in metrics: each comes again for all points of its series.
const ATTRIBUTES_PAGE_BYTES: usize = 64 << 10;
const ATTRIBUTES_ZSTD_LEVEL: i32 = 3;

/// Of what was measured: level 5 takes 25 ns a value more than level 1, and a tenth less room, but only
/// where a page is within 16 KiB with all that belongs to it: zstd looks harder at short inputs.
const NUMBERS_PAGE_BYTES: usize = 12 << 10;
const NUMBERS_ZSTD_LEVEL: i32 = 5;

/// Values after which the length of a page is looked at: a fraction of such a page.
const NUMBERS_BATCH: usize = 512;

/// Columns that queries compare with constants: they get statistics for each page, too.
const PRUNED_BY: [&str; 8] = [
    "start_time",
    "time",
    "service_name",
    "name",
    "metric_name",
    "duration_ns",
    "status_code",
    "severity_number",
];

/// Rows of a row group of metrics for each row of one of another table: a point takes a tenth of what
/// a span takes, and each row group says the texts and times of its series anew.
const POINTS_PER_ROW: usize = 4;

/// Rows of a row group, where so many are set.
pub(crate) const fn row_group_rows(table: Table, set: usize) -> usize {
    match table {
        Table::Metrics => set.saturating_mul(POINTS_PER_ROW),
        _ => set,
    }
}

/// Whether all values of a row group decide how a column is encoded.
pub(super) fn is_encoded_by_values(table: Table, field: &Field) -> bool {
    match field.data_type() {
        DataType::FixedSizeBinary(_) => true,
        DataType::Dictionary(_, _) | DataType::Utf8 | DataType::Boolean => false,
        _ => matches!(table, Table::Metrics),
    }
}

/// Properties for files of `schema`. How some columns are encoded depends on their values: those
/// of `columns`, where they are given.
pub(super) fn properties(
    table: Table,
    schema: &Schema,
    columns: &[ArrayRef],
    rows_max: usize,
) -> WriterProperties {
    let (version, batch) = match table {
        // Version 1 compresses where lists begin and end, too, which took half a byte a point.
        Table::Metrics => (WriterVersion::PARQUET_1_0, NUMBERS_BATCH),
        // Dictionaries of ids need version 2 of the format.
        _ => (WriterVersion::PARQUET_2_0, DEFAULT_WRITE_BATCH_SIZE),
    };
    let mut properties = WriterProperties::builder()
        .set_writer_version(version)
        .set_write_batch_size(batch)
        .set_created_by(concat!("icecore version ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(compression(ZSTD_LEVEL))
        .set_encoding(Encoding::PLAIN)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_data_page_size_limit(PAGE_BYTES)
        // A column of one value takes a page a row group.
        .set_data_page_row_count_limit(rows_max)
        .set_max_row_group_row_count(Some(rows_max))
        .set_sorting_columns(Some(sorting(table, schema)));
    for (at, field) in schema.fields().iter().enumerate() {
        let path = vec![field.name().clone()];
        properties = column_properties(table, properties, field, path, columns.get(at));
        if PRUNED_BY.contains(&field.name().as_str()) {
            let path = ColumnPath::from(field.name().as_str());
            properties = properties.set_column_statistics_enabled(path, EnabledStatistics::Page);
        }
    }
    for name in sort_columns(table).iter().filter(|name| **name != table.time_column()) {
        let path = ColumnPath::from(*name);
        properties = properties.set_column_data_page_size_limit(path, SORTED_PAGE_BYTES);
    }
    if let Ok(at) = schema.index_of("trace_id") {
        let path = || ColumnPath::from("trace_id");
        properties = properties
            // One behind the other, so that all of them are one request.
            .set_bloom_filter_position(BloomFilterPosition::End)
            .set_column_bloom_filter_enabled(path(), true)
            .set_column_bloom_filter_fpp(path(), BLOOM_FALSE_POSITIVES);
        if let Some(ids) = columns.get(at) {
            // Otherwise it has room for an id in each row, four times what there are.
            properties =
                properties.set_column_bloom_filter_max_ndv(path(), distinct(ids).max(1) as u64);
        }
    }
    properties.build()
}

fn sorting(table: Table, schema: &Schema) -> Vec<SortingColumn> {
    let leaves = sort_columns(table).iter().filter_map(|name| {
        // The columns sorted by come before the first nested one, so that a field is a leaf.
        let at = schema.index_of(name).ok()?;
        i32::try_from(at).ok()
    });
    leaves
        .map(|column_idx| SortingColumn { column_idx, descending: false, nulls_first: false })
        .collect()
}

/// The properties of the leaves of one field, whose values are those of `column` where it is there.
fn column_properties(
    table: Table,
    properties: WriterPropertiesBuilder,
    field: &Field,
    path: Vec<String>,
    column: Option<&ArrayRef>,
) -> WriterPropertiesBuilder {
    let leaf = ColumnPath::new(path.clone());
    match field.data_type() {
        DataType::List(item) => {
            let path = [path, vec!["list".to_owned(), item.name().clone()]].concat();
            let items = column.and_then(|column| column.as_list_opt::<i32>());
            let items = items.map(|list| list.values());
            column_properties(table, properties, item, path, items)
        }
        DataType::Struct(fields) => {
            let members = column.and_then(|column| column.as_struct_opt());
            (0..).zip(fields).fold(properties, |properties, (at, field)| {
                let path = [path.as_slice(), &[field.name().clone()]].concat();
                let member = members.map(|members| members.column(at));
                column_properties(table, properties, field, path, member)
            })
        }
        _ => {
            let properties = leaf_properties(properties, field, leaf.clone(), column);
            let Some(column) = column else { return properties };
            if table == Table::Metrics {
                return match numbers::best(column) {
                    Some(best) => number_properties(properties, field, &path, best),
                    None => properties,
                };
            }
            let attribute = MapColumn::parse(field.name()).is_some();
            let straight = attribute.then(|| straight(column));
            match straight.flatten() {
                Some(encoding) => properties
                    .set_column_dictionary_enabled(leaf.clone(), false)
                    .set_column_encoding(leaf, encoding),
                None => properties,
            }
        }
    }
}

/// Numbers of metrics are of any kind, from one row group to the next.
fn number_properties(
    properties: WriterPropertiesBuilder,
    field: &Field,
    path: &[String],
    best: Numbers,
) -> WriterPropertiesBuilder {
    let attribute = path.first().is_some_and(|root| MapColumn::parse(root).is_some());
    let (level, page_bytes) = match field.data_type() {
        // The remainder of a time is the only number of 16 bits.
        DataType::Timestamp(_, _) | DataType::Int16 => (TIMES_ZSTD_LEVEL, TIMES_PAGE_BYTES),
        _ if attribute => (ATTRIBUTES_ZSTD_LEVEL, ATTRIBUTES_PAGE_BYTES),
        _ => (NUMBERS_ZSTD_LEVEL, NUMBERS_PAGE_BYTES),
    };
    let leaf = ColumnPath::new(path.to_vec());
    let properties = properties
        .set_column_compression(leaf.clone(), compression(level))
        .set_column_data_page_size_limit(leaf.clone(), page_bytes)
        .set_column_dictionary_enabled(leaf.clone(), best.encoding().is_none());
    match best.encoding() {
        Some(encoding) => properties.set_column_encoding(leaf, encoding),
        None => properties,
    }
}

fn compression(level: i32) -> Compression {
    Compression::ZSTD(ZstdLevel::try_new(level).unwrap_or_default())
}

/// The properties of one leaf by its type and name.
fn leaf_properties(
    properties: WriterPropertiesBuilder,
    field: &Field,
    leaf: ColumnPath,
    column: Option<&ArrayRef>,
) -> WriterPropertiesBuilder {
    match field.data_type() {
        DataType::Dictionary(_, _) if matches!(field.name().as_str(), "stack" | "frames") => {
            properties
                .set_column_dictionary_page_size_limit(leaf.clone(), STACK_DICTIONARY_BYTES_MAX)
                .set_column_compression(leaf, compression(STACK_ZSTD_LEVEL))
        }
        // Sorted within runs: differences are short.
        DataType::Timestamp(_, _) => properties
            .set_column_dictionary_enabled(leaf.clone(), false)
            .set_column_encoding(leaf, Encoding::DELTA_BINARY_PACKED),
        DataType::Int64 if field.name() == "duration_ns" => properties
            .set_column_dictionary_enabled(leaf.clone(), false)
            .set_column_encoding(leaf, Encoding::DELTA_BINARY_PACKED),
        DataType::Int64 | DataType::UInt64 | DataType::Int32 | DataType::UInt32 => {
            properties.set_column_encoding(leaf, Encoding::DELTA_BINARY_PACKED)
        }
        DataType::Int16 => properties
            .set_column_encoding(leaf.clone(), Encoding::DELTA_BINARY_PACKED)
            .set_column_statistics_enabled(leaf, EnabledStatistics::None),
        DataType::Boolean => properties.set_column_encoding(leaf, Encoding::RLE),
        DataType::FixedSizeBinary(_) => {
            let shared = column.is_some_and(dictionary_pays);
            // Ids are random: compressing them takes time and saves nothing.
            properties
                .set_column_dictionary_enabled(leaf.clone(), shared)
                .set_column_dictionary_page_size_limit(leaf.clone(), ID_DICTIONARY_BYTES_MAX)
                .set_column_compression(leaf.clone(), Compression::UNCOMPRESSED)
                .set_column_statistics_enabled(leaf, EnabledStatistics::None)
        }
        _ => properties,
    }
}

/// Whether ids repeat so often that a dictionary and places in it are shorter than the ids.
fn dictionary_pays(column: &ArrayRef) -> bool {
    let ids = column.as_fixed_size_binary();
    let distinct = distinct(column);
    let width = usize::try_from(ids.value_length()).unwrap_or_default();
    let here = ids.len() - ids.null_count();
    let place_bits = usize::BITS - distinct.leading_zeros();
    distinct * width + here * place_bits as usize / 8 < here * width
}

/// How many different ids there are.
fn distinct(column: &ArrayRef) -> usize {
    column.as_fixed_size_binary().iter().flatten().collect::<HashSet<_>>().len()
}
