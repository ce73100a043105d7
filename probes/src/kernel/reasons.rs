//! Why the kernel throws packets away, in its own words.
//!
//! Invariant: a number that this kernel has no word for is told as a number.

use std::collections::HashMap;
use std::sync::Arc;

use super::btf::Types;

/// What all of the kernel's names begin with.
const PREFIX: &str = "SKB_DROP_REASON_";

/// Words by number.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reasons(HashMap<u32, Arc<str>>);

impl Reasons {
    /// Those of the kernel whose types these are.
    pub(crate) fn read(btf: &[u8]) -> Self {
        let names = Types::parse(btf).map(|types| types.names("skb_drop_reason"));
        let word = |name: &str| Arc::from(name.trim_start_matches(PREFIX).to_ascii_lowercase());
        Self(names.into_iter().flatten().map(|(number, name)| (number, word(name))).collect())
    }

    /// The word for a number.
    pub(crate) fn name(&self, number: u32) -> Arc<str> {
        let known = self.0.get(&number).map(Arc::clone);
        known.unwrap_or_else(|| Arc::from(number.to_string()))
    }
}
