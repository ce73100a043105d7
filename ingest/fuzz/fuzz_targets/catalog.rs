//! Any bytes as a record or a checkpoint of the catalog: read or refused, and what was read survives
//! being written. The first byte chooses.
#![no_main]

use icecore_store::untrusted::{catalog_checkpoint, catalog_record};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((first, bytes)) = data.split_first() else { return };
    let _read = if first % 2 == 0 { catalog_record(bytes) } else { catalog_checkpoint(bytes) };
});
