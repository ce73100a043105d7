//! What this crate adds to SQL: `attributes['key']`, the functions of maps, percentiles by
//! buckets, and ids that compare in either case.
//!
//! Invariant: a query that uses them answers the same whether or not a key has a column.

pub(crate) mod access;
mod agree;
pub(crate) mod attribute;
pub(crate) mod hoist;
mod ids;
pub(crate) mod maps;
pub(crate) mod percentile;
pub(crate) mod rewrite;
