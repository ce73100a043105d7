//! Any text as what a file's footer says of it: read or refused, and what was read survives being
//! written.
#![no_main]

use icecore_store::untrusted::file_footer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _read = file_footer("icecore", text);
});
