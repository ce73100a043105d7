//! Where bytes of the bucket enter, opened to the fuzz targets (feature `fuzz`) and to nobody else.
//!
//! Invariant: whatever the bytes are, each function returns; what it could read, it wrote down and
//! read again to the same.

use parquet::file::metadata::KeyValue;

use crate::catalog::checkpoint;
use crate::catalog::record::Record;
use crate::files::footer_description;

/// A record of the catalog.
///
/// # Panics
/// Where a record that was read is another one when it was written and read again.
#[must_use]
pub fn catalog_record(bytes: &[u8]) -> bool {
    let Ok(record) = Record::decode("fuzz", bytes) else { return false };
    let again = Record::decode("fuzz", &record.encode());
    assert_eq!(again.ok(), Some(record), "a record must survive its own bytes");
    true
}

/// A checkpoint of the catalog.
#[must_use]
pub fn catalog_checkpoint(bytes: &[u8]) -> bool {
    checkpoint::decode(bytes).is_ok()
}

/// What a file's footer says about it, by key and value.
#[must_use]
pub fn file_footer(key: &str, value: &str) -> bool {
    footer_description(&vec![KeyValue::new(key.to_owned(), value.to_owned())])
}
